//! Debian's sshd, and somebody who logs in there.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::namespace::Namespace;
use crate::process::{Process, wait_until};
use crate::require::sshd;

const PATIENCE: Duration = Duration::from_secs(30);

const CONFIG: &str = "\
HostKey FOLDER/host
AuthorizedKeysFile FOLDER/user.pub
LoginGraceTime GRACE
MaxStartups 1000
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
PidFile none
";

/// In a mount namespace of its own: sshd wants a user and a folder that its package would make, and no
/// lock on root's account.
const START: &str = "mount --bind \"$0/passwd\" /etc/passwd && mount --bind \"$0/shadow\" /etc/shadow \
    && mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && exec \"$1\" -D -e -r -f \"$0/sshd_config\"";

/// A running sshd, at TCP port 22 of every address of its namespace.
#[derive(Debug)]
pub struct Sshd {
    process: Process,
    folder: TempDir,
}

impl Sshd {
    /// Starts the one in the cache; it closes a connection on which nobody logs in within
    /// `login_grace`, of which the seconds count.
    ///
    /// # Errors
    /// If it is not there or does not listen; without ssh-keygen.
    pub fn start(namespace: &Namespace, login_grace: Duration) -> Result<Self> {
        let folder = TempDir::new()?;
        let at = folder.path();
        for key in ["host", "user"] {
            let mut command = Command::new("ssh-keygen");
            command.args(["-q", "-t", "ed25519", "-N", "", "-f"]);
            Process::run(command.arg(at.join(key)), PATIENCE)?;
        }
        let config = CONFIG
            .replace("FOLDER", &at.display().to_string())
            .replace("GRACE", &login_grace.as_secs().to_string());
        fs::write(at.join("sshd_config"), config)?;
        let users = "root:x:0:0::/root:/bin/sh\nsshd:x:65534:65534::/run/sshd:/bin/false\n";
        fs::write(at.join("passwd"), users)?;
        fs::write(at.join("shadow"), "root:*:1::::::\nsshd:*:1::::::\n")?;

        let mut command = namespace.command("unshare");
        command.args(["--mount", "sh", "-c", START]).arg(at);
        command.arg(sshd().join("usr/sbin/sshd"));
        command.env("LD_LIBRARY_PATH", libraries()?);
        let process = Process::spawn(&mut command)?;
        wait_until("sshd to listen", PATIENCE, || {
            namespace
                .run("ss -Hltn sport = :22")
                .is_ok_and(|said| said.lines().count() == 2)
        })
        .with_context(|| process.output())?;
        Ok(Self { process, folder })
    }

    /// Logs in from another namespace and stays, until the process is dropped.
    ///
    /// # Errors
    /// If nobody is logged in after 30 s; with what both said.
    pub fn login(&self, from: &Namespace, address: &str) -> Result<Process> {
        let mut command = from.command("ssh");
        command
            .arg("-N")
            .arg("-v")
            .arg("-i")
            .arg(self.folder.path().join("user"));
        for option in [
            "BatchMode=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "IdentitiesOnly=yes",
        ] {
            command.args(["-F", "none", "-o", option]);
        }
        let mut session = Process::spawn(command.arg(format!("root@{address}")))?;
        session
            .wait_for("the login", PATIENCE, |said| {
                said.contains("Authenticated to")
            })
            .with_context(|| self.process.output())?;
        Ok(session)
    }
}

/// In a folder that is named after the architecture.
fn libraries() -> Result<PathBuf> {
    let architectures = fs::read_dir(sshd().join("usr/lib"))?;
    let mut folders = architectures.filter_map(|folder| Some(folder.ok()?.path()));
    folders
        .find(|folder| folder.join("libwrap.so.0").exists())
        .context("sshd's libraries are not there")
}
