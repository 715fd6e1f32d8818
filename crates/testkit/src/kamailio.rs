//! Debian's Kamailio as a registrar with the extensions of [`Asterisk`]: another dialect of the same
//! protocol, and its own log.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::asterisk::{Asterisk, WEAK_PASSWORD};
use crate::lab::PBX;
use crate::namespace::Namespace;
use crate::process::{Process, wait_until};
use crate::require::kamailio;

/// Written as the default configuration and the usual recipes for Fail2Ban are, as far as the log is
/// concerned: `log_prefix`, `pike`, and the line beside a failed authentication.
const CONFIG: &str = r#"
children=1
debug=2
log_stderror=yes
log_prefix="{$mt $hdr(CSeq) $ci} "
auto_aliases=no
loadmodule "pv.so"
loadmodule "sl.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "xlog.so"
loadmodule "pike.so"
loadmodule "sanity.so"
loadmodule "auth.so"
modparam("auth", "nonce_expire", 30)
modparam("pike", "sampling_time_unit", 2)
modparam("pike", "reqs_density_per_unit", PIKE)
request_route {
    if (!pike_check_req()) {
        xlog("L_ALERT", "ALERT: pike blocking $rm from $fu (IP:$si:$sp)\n");
        exit;
    }
    if (!sanity_check("17895", "7")) {
        xlog("Malformed SIP request from $si:$sp\n");
        exit;
    }
    if (is_method("ACK")) {
        exit;
    }
    if (is_method("BYE|CANCEL|OPTIONS")) {
        sl_send_reply("200", "OK");
        exit;
    }
    $var(password) = "Strong-" + $au + "-Secret";
    if ($au == "100") {
        $var(password) = "WEAK";
    }
    $var(result) = -5;
    if ($au != $null) {
        $var(result) = pv_auth_check("pbx", "$var(password)", "0", "0");
    }
    if ($var(result) < 0) {
        xlog("L_NOTICE", "Auth error for $fU@$fd from $si cause $var(result)\n");
        auth_challenge("pbx", "0");
        exit;
    }
    if (is_method("REGISTER") || $rU == "600") {
        sl_send_reply("200", "OK");
        exit;
    }
    sl_send_reply("404", "Not Found");
}
"#;

/// Requests of one address in two seconds from which `pike` blocks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pike {
    /// As the default configuration has it: 16.
    Default,
    /// Never.
    Off,
}

/// A running Kamailio, at UDP port 5060 of [`PBX`].
#[derive(Debug)]
pub struct Kamailio {
    process: Process,
    _folder: TempDir,
}

impl Kamailio {
    /// Starts the one in the cache as a registrar.
    ///
    /// # Errors
    /// If it is not there or does not listen.
    pub fn start(namespace: &Namespace, pike: Pike) -> Result<Self> {
        debug_assert_eq!(Asterisk::password(101), "Strong-101-Secret");
        let pike = match pike {
            Pike::Default => "16",
            Pike::Off => "1000000",
        };
        let config = CONFIG.replace("WEAK", WEAK_PASSWORD).replace("PIKE", pike);
        let files = BTreeMap::from([("kamailio.cfg", config)]);
        Self::with_files(namespace, &format!("{PBX}:5060"), &files)
    }

    /// Starts it at that address and port with files of one's own, of which `kamailio.cfg` is the
    /// configuration; in them `FOLDER` stands for where they are.
    ///
    /// # Errors
    /// As [`Kamailio::start`].
    pub fn with_files(
        namespace: &Namespace,
        address: &str,
        files: &BTreeMap<&str, String>,
    ) -> Result<Self> {
        let folder = TempDir::new()?;
        for (name, text) in files {
            let text = text.replace("FOLDER", &folder.path().display().to_string());
            fs::write(folder.path().join(name), text)?;
        }
        let mut command = namespace.command(kamailio().join("usr/sbin/kamailio"));
        command.args(["-DD", "-E", "-L"]).arg(modules()?);
        command.args(["-l", &format!("udp:{address}")]);
        command.arg("-f").arg(folder.path().join("kamailio.cfg"));
        command.arg("-Y").arg(folder.path());
        command.arg("-P").arg(folder.path().join("pid"));
        let process = Process::spawn(&mut command)?;
        wait_until("Kamailio to listen", Duration::from_secs(30), || {
            namespace
                .run("ss -Hlun sport = :5060")
                .is_ok_and(|said| !said.trim().is_empty())
        })
        .with_context(|| process.output())?;
        Ok(Self {
            process,
            _folder: folder,
        })
    }

    /// What it has logged, as syslog would have it: standard error has the process where syslog has
    /// time, host and program, and the same behind it (measured).
    #[must_use]
    pub fn log(&self) -> String {
        let output = self.process.output();
        let lines = output.lines().map(|line| {
            let behind = line
                .trim_start()
                .split_once(") ")
                .filter(|(process, _)| process.contains('('));
            match behind {
                Some((_, text)) => format!("Nov 22 18:55:31 pbx kamailio[711]: {text}\n"),
                None => format!("{line}\n"),
            }
        });
        lines.collect()
    }
}

/// In a folder that is named after the architecture.
fn modules() -> Result<PathBuf> {
    let architectures = fs::read_dir(kamailio().join("usr/lib"))?;
    let mut folders =
        architectures.filter_map(|folder| Some(folder.ok()?.path().join("kamailio/modules")));
    folders
        .find(|folder| folder.is_dir())
        .context("Kamailio's modules are not there")
}
