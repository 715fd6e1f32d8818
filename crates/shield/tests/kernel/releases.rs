//! The whole verdict table on the oldest kernel that is supported and on others: this very program
//! is booted under qemu as all that a small machine runs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sipward_testkit::require::{self, Need};

/// Software emulation of a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(900);

const INIT: &str = r"#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t bpf bpf /sys/fs/bpf
/bin/busybox mount -t tmpfs tmpfs /tmp
echo kernel: $(/bin/busybox uname -r)
CI=1 /tests --test-threads=1 --skip releases::
echo status: $?
/bin/busybox poweroff -f
";

#[test]
fn the_verdict_table_holds_on_linux_6_1() {
    boot("bookworm", "6.1.");
}

#[test]
fn the_verdict_table_holds_on_linux_6_12() {
    boot("trixie", "6.12.");
}

fn boot(suite: &'static str, release: &str) {
    let vmlinuz = require::kernel(suite);
    let needs = [
        Need::Kernel(suite),
        Need::Program("qemu-system-x86_64"),
        Need::Program("cpio"),
    ];
    if !require::require(&needs) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let initramfs = initramfs(folder.path());
    let mut qemu = Command::new("qemu-system-x86_64")
        .args([
            "-nodefaults",
            "-no-reboot",
            "-nographic",
            "-serial",
            "stdio",
        ])
        .args(["-cpu", "max", "-m", "1536"])
        .args(["-append", "console=ttyS0 quiet panic=-1"])
        .arg("-kernel")
        .arg(vmlinuz)
        .arg("-initrd")
        .arg(initramfs)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(qemu.id().cast_signed());
    let (done, waits) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if waits.recv_timeout(PATIENCE).is_err() {
            // Not waited for yet, so the number is still its own.
            let _ = kill(pid, Signal::SIGKILL);
        }
    });
    let mut console = String::new();
    std::io::Read::read_to_string(&mut qemu.stdout.take().unwrap(), &mut console)
        .unwrap_or_else(|error| panic!("the console: {error}"));
    let _ = done.send(());
    watchdog.join().unwrap();
    let output = qemu.wait_with_output().unwrap();

    // From the word on: the firmware's escape sequences stand before it.
    let line = |start: &str| {
        let lines = console.lines();
        lines
            .filter_map(|line| Some(&line[line.find(start)?..]))
            .next()
            .unwrap_or_default()
    };
    let summary = line("test result:").trim();
    println!("{}: {summary}", line("kernel:").trim());
    let whole = format!("{console}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        line("kernel:").contains(&format!("kernel: {release}")),
        "{whole}"
    );
    assert!(line("status:").contains("status: 0"), "{whole}");
    assert!(
        summary.contains("test result: ok") && !summary.contains("ok. 0 passed"),
        "{whole}"
    );
}

/// This program, the libraries it is linked with, and a shell to start it.
fn initramfs(folder: &Path) -> PathBuf {
    let root = folder.join("root");
    for name in ["bin", "proc", "sys", "tmp", "dev"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    let this = std::env::current_exe().unwrap();
    run(Command::new("strip")
        .arg("-o")
        .arg(root.join("tests"))
        .arg(&this));
    for library in libraries(&this) {
        let target = root.join(library.strip_prefix("/").unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&library, target).unwrap();
    }
    let init = root.join("init");
    fs::write(&init, INIT).unwrap();
    fs::set_permissions(&init, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();

    let archive = folder.join("initramfs");
    let script = "cd \"$1\" && find . | cpio --quiet -o -H newc >\"$2\"";
    run(Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(&root)
        .arg(&archive));
    archive
}

fn libraries(program: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(program).output().unwrap();
    assert!(output.status.success(), "ldd {}", program.display());
    String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}
