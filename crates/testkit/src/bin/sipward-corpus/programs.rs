//! The programs, how each is started and what it calls itself.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use sipward_testkit::asterisk::{Driver, Settings};
use sipward_testkit::lab::PHONES;
use sipward_testkit::namespace::Namespace;
use sipward_testkit::process::Process;
use sipward_testkit::require::{asterisk_root, corpus_programs, kamailio};

use crate::servers;

/// What is recorded.
pub struct Program {
    /// Of the files.
    pub name: &'static str,
    /// What people call it.
    pub software: &'static str,
    package: Package,
    pub party: Party,
}

/// Where it comes from, and so who knows its version.
enum Package {
    Debian(&'static str),
    Python(&'static str),
    Asterisk,
    Kamailio,
}

/// How it is run.
pub enum Party {
    Driver(Script),
    Asterisk(Box<Settings>),
    Kamailio,
}

/// A script that drives the program.
pub struct Script {
    interpreter: Interpreter,
    text: &'static str,
    /// One run for each, with it as an argument; one run without any where there is none.
    user_agents: &'static [&'static str],
}

enum Interpreter {
    Shell,
    Python,
}

/// What devices call themselves that cannot be run here.
const DEVICES: &[&str] = &[
    "Yealink SIP-T46S 66.86.0.15",
    "snom370/8.7.5.35",
    "PolycomVVX-VVX_411-UA/5.9.5.0614",
    "Cisco/SPA504G-7.6.2f",
    "Cisco-CP8861-3PCC/11.3.7",
    "Linksys/SPA942-6.1.5(a)",
    "Grandstream GXP2170 1.0.11.64",
    "Mitel-6867i-SIP/5.1.0.2051 08000F-ABCDEF",
    "Avaya J129 IP Phone 4.0.10.3.2",
    "Fanvil X5U 2.12.1.2",
    "Gigaset N510 IP PRO/42.262.00.000.000;7C2F80ABCDEF",
    "eyeBeam release 1102q stamp 51814",
    "PhonerLite/2.95",
    "Zoiper rv2.10.11.1",
    "AVM FRITZ!Box 7590 154.07.57 TAL (Nov 20 2023)",
    "Cisco-SIPGateway/IOS-15.5.3.M",
    "DX800A/41.175.00.000.000;7C2F80ABCDEF",
    "OBIHAI/OBi202-3.2.2.8680EX",
];

pub fn all() -> Vec<Program> {
    use Interpreter::{Python, Shell};
    use Package::Debian;
    let driven = |name, software, package, interpreter, text| Program {
        name,
        software,
        package,
        party: Party::Driver(Script {
            interpreter,
            text,
            user_agents: &[],
        }),
    };
    let python =
        |name, package, text| driven(name, package, Package::Python(package), Python, text);
    vec![
        driven(
            "baresip",
            "baresip",
            Debian("baresip-core"),
            Shell,
            include_str!("drivers/baresip.sh"),
        ),
        driven(
            "linphone",
            "Linphone",
            Debian("linphone-cli"),
            Shell,
            include_str!("drivers/linphone.sh"),
        ),
        driven(
            "twinkle",
            "Twinkle",
            Debian("twinkle-console"),
            Shell,
            include_str!("drivers/twinkle.sh"),
        ),
        driven(
            "sofia",
            "Sofia-SIP's utilities",
            Debian("sofia-sip-bin"),
            Shell,
            include_str!("drivers/sofia.sh"),
        ),
        python("pyvoip", "pyVoIP", include_str!("drivers/pyvoip.py")),
        python("rfcvoip", "rfcvoip", include_str!("drivers/rfcvoip.py")),
        python("sibilant", "sibilant", include_str!("drivers/sibilant.py")),
        python(
            "simple-sip",
            "simple-sip-client",
            include_str!("drivers/simple_sip.py"),
        ),
        python("nanosip", "nanosip", include_str!("drivers/nanosip.py")),
        python(
            "voip-utils",
            "voip-utils",
            include_str!("drivers/voip_utils.py"),
        ),
        Program {
            name: "pjsua2",
            software: "PJSIP",
            package: Package::Python("pjsua2-python"),
            party: Party::Driver(Script {
                interpreter: Python,
                text: include_str!("drivers/pjsua2.py"),
                user_agents: DEVICES,
            }),
        },
        Program {
            name: "asterisk",
            software: "Asterisk",
            package: Package::Asterisk,
            party: Party::Asterisk(Box::new(servers::branch(None))),
        },
        Program {
            name: "asterisk-freepbx",
            software: "Asterisk",
            package: Package::Asterisk,
            party: Party::Asterisk(Box::new(servers::branch(Some(servers::FREEPBX)))),
        },
        Program {
            name: "kamailio",
            software: "Kamailio",
            package: Package::Kamailio,
            party: Party::Kamailio,
        },
    ]
}

impl Program {
    /// As its package has it.
    pub fn version(&self) -> Result<String> {
        let mut command = match self.package {
            Package::Debian(package) => {
                let mut command = Command::new("dpkg-query");
                command.args(["--show", "--showformat=${Version}", package]);
                command
            }
            Package::Python(package) => {
                let mut command = Command::new(python());
                command.args([
                    "-c",
                    "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))",
                ]);
                command.arg(package);
                command
            }
            Package::Asterisk => {
                let mut command = Command::new("chroot");
                command.arg(asterisk_root()).args(["asterisk", "-V"]);
                command
            }
            Package::Kamailio => {
                let mut command = Command::new(kamailio().join("usr/sbin/kamailio"));
                command.arg("-v");
                command
            }
        };
        let said = Process::run(&mut command, Duration::from_secs(10))?;
        ensure!(said.status.success(), "no version: {}", said.stderr);
        let line = said.stdout.lines().next().unwrap_or_default();
        let version = ["version: kamailio ", "Asterisk "]
            .iter()
            .find_map(|name| line.strip_prefix(name));
        Ok(version.unwrap_or(line).trim().to_owned())
    }

    /// Those that it is told to send.
    pub fn configured_user_agents(&self) -> Vec<String> {
        match &self.party {
            Party::Driver(script) => script
                .user_agents
                .iter()
                .map(|&one| one.to_owned())
                .collect(),
            Party::Asterisk(settings) => servers::user_agent(settings).into_iter().collect(),
            Party::Kamailio => Vec::new(),
        }
    }
}

impl Script {
    /// The runs, all at once; of many each speaks with one driver only.
    pub fn commands(&self, namespace: &Namespace, server: Driver) -> Vec<Command> {
        let mut runs: Vec<Vec<String>> = (101_u16..)
            .zip(self.user_agents)
            .filter(|(extension, _)| (extension % 2 == 0) == (server == Driver::Pjsip))
            .map(|(extension, user_agent)| {
                let port = extension + 6000;
                vec![
                    (*user_agent).to_owned(),
                    extension.to_string(),
                    port.to_string(),
                ]
            })
            .collect();
        if runs.is_empty() {
            runs.push(Vec::new());
        }
        let commands = runs.into_iter().map(|arguments| {
            // Some programs tell the name of their machine: it is to be nobody's.
            let mut command = namespace.command("unshare");
            command.args(["--uts", "sh", "-c", "hostname phone && exec \"$@\"", "sh"]);
            match self.interpreter {
                Interpreter::Shell => command.arg("sh"),
                Interpreter::Python => command.arg(python()),
            };
            command.args(["-c", self.text]);
            if matches!(self.interpreter, Interpreter::Shell) {
                command.arg("sh");
            }
            command.args(arguments);
            command
                .env("SERVER", server.address().to_string())
                .env("LOCAL", PHONES);
            command
        });
        commands.collect()
    }
}

fn python() -> std::path::PathBuf {
    corpus_programs().join("python/bin/python")
}
