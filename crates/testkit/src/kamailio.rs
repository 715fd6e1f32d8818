//! Debian's Kamailio as a registrar, where Asterisk cannot be had.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sipward_testkit::asterisk::WEAK_PASSWORD;
use sipward_testkit::lab::PBX;
use sipward_testkit::namespace::Namespace;
use sipward_testkit::process::{Process, wait_until};
use tempfile::TempDir;

const MODULES: &str = "/usr/lib/x86_64-linux-gnu/kamailio/modules";

const CONFIG: &str = r#"
children=1
log_stderror=yes
auto_aliases=no
loadmodule "pv.so"
loadmodule "sl.so"
loadmodule "textops.so"
loadmodule "auth.so"
request_route {
    if (!is_method("REGISTER")) {
        sl_send_reply("200", "OK");
        exit;
    }
    $var(password) = "PASSWORD";
    if (!pv_auth_check("pbx", "$var(password)", "0", "0")) {
        auth_challenge("pbx", "0");
        exit;
    }
    sl_send_reply("200", "OK");
}
"#;

/// A running Kamailio.
pub struct Kamailio {
    _process: Process,
    _folder: TempDir,
}

impl Kamailio {
    /// Installs it if need be, without starting the distribution's service, and runs it.
    pub fn start(namespace: &Namespace) -> Result<Self> {
        if !Path::new(MODULES).is_dir() {
            let mut install = Command::new("apt-get");
            install.args([
                "install",
                "-y",
                "-qq",
                "--no-install-recommends",
                "kamailio",
            ]);
            // Services of packages are started by runlevel; there is none.
            install
                .env("RUNLEVEL", "1")
                .env("DEBIAN_FRONTEND", "noninteractive");
            let finished = Process::run(&mut install, Duration::from_secs(300))?;
            ensure!(finished.status.success(), "apt-get: {}", finished.stderr);
        }
        let folder = TempDir::new()?;
        let config = folder.path().join("kamailio.cfg");
        fs::write(&config, CONFIG.replace("PASSWORD", WEAK_PASSWORD))?;
        let mut command = namespace.command("kamailio");
        command
            .args(["-DD", "-E", "-L", MODULES, "-l"])
            .arg(format!("udp:{PBX}:5060"));
        command.arg("-f").arg(&config).arg("-Y").arg(folder.path());
        command.arg("-P").arg(folder.path().join("pid"));
        let process = Process::spawn(&mut command)?;
        wait_until("Kamailio to listen", Duration::from_secs(30), || {
            namespace
                .run("ss -Hlun sport = :5060")
                .is_ok_and(|said| !said.trim().is_empty())
        })
        .with_context(|| process.output())?;
        Ok(Self {
            _process: process,
            _folder: folder,
        })
    }
}
