//! Stock scanners, unmodified.

use std::process::Command;

use crate::namespace::Namespace;
use crate::require::{Need, sipvicious_folder};

/// A scanner that attackers use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scanner {
    /// SIPVicious: finds SIP servers.
    Svmap,
    /// SIPVicious: finds extensions.
    Svwar,
    /// SIPVicious: guesses passwords.
    Svcrack,
    /// sipsak, a diagnostic tool that scanners' users took up.
    Sipsak,
    /// nmap with its SIP probes (`-sU -sV`).
    Nmap,
}

impl Scanner {
    /// What it needs from the machine, besides root.
    #[must_use]
    pub fn need(self) -> Need {
        match self {
            Self::Svmap | Self::Svwar | Self::Svcrack => Need::SipVicious,
            Self::Sipsak => Need::Program("sipsak"),
            Self::Nmap => Need::Program("nmap"),
        }
    }

    /// The command to run it inside the namespace; arguments are the caller's.
    #[must_use]
    pub fn command(self, namespace: &Namespace) -> Command {
        let sipvicious = |tool| namespace.command(sipvicious_folder().join(tool));
        match self {
            Self::Svmap => sipvicious("sipvicious_svmap"),
            Self::Svwar => sipvicious("sipvicious_svwar"),
            Self::Svcrack => sipvicious("sipvicious_svcrack"),
            Self::Sipsak => namespace.command("sipsak"),
            Self::Nmap => {
                let mut command = namespace.command("nmap");
                command.args(["-n", "-Pn", "-sU", "-sV"]);
                command
            }
        }
    }
}
