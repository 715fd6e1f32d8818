//! Compiles the kernel programs with clang. `CLANG` names another compiler; the source is kept
//! valid for clang 14 to 19.

use std::{env, error::Error, path::Path, path::PathBuf, process::Command};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=bpf");
    println!("cargo:rerun-if-changed=benches/bare.bpf.c");
    println!("cargo:rerun-if-env-changed=CLANG");
    compile("bpf", "shield.bpf")?;
    compile("benches", "bare.bpf")
}

fn compile(folder: &str, name: &str) -> Result<(), Box<dyn Error>> {
    let source = format!("{folder}/{name}.c");
    let object = PathBuf::from(env::var("OUT_DIR")?).join(format!("{name}.o"));
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let arch = env::var("CARGO_CFG_TARGET_ARCH")?;

    let mut command = Command::new(&clang);
    command
        .args(["-O2", "-g", "-target", "bpf", "-mcpu=v3"])
        .args(["-Wall", "-Wextra", "-Werror"])
        .args(["-Wno-unused-parameter", "-Wno-missing-field-initializers"])
        // Paths of the building machine do not belong into the object.
        .arg(format!("-fdebug-prefix-map={folder}=shield"))
        .args(["-c", &source, "-o"])
        .arg(&object);
    // <asm/types.h> is in the folder of the architecture, which -target bpf leaves out.
    let headers = format!("/usr/include/{arch}-linux-gnu");
    if Path::new(&headers).is_dir() {
        command.arg(format!("-I{headers}"));
    }
    let status = command
        .status()
        .map_err(|error| format!("{clang}: {error}: install clang and libbpf-dev"))?;
    if !status.success() {
        return Err(format!("{clang} could not compile {source} ({status})").into());
    }
    Ok(())
}
