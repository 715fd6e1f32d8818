//! Stock scanners, unmodified.

use std::process::Command;

use crate::namespace::Namespace;
use crate::require::{Need, sipvicious_folder};

/// Runs one of SIPVicious's tools with other names than its own in what it sends, as most of
/// those who use it do. Arguments: tool, `User-Agent`, the address to send from (empty: any; the
/// tools read their own option for that and do not heed it), the tool's own.
const DISGUISE: &str = "\
import importlib, socket, sys
from sipvicious.libs import svhelper
tool, name, source = sys.argv[1:4]
bind = socket.socket.bind
socket.socket.bind = lambda self, address: bind(self, (source or address[0], address[1]))
send = svhelper.mysendto
def disguised(sock, data, dst):
    data = data.replace('friendly-scanner', name).replace('sipvicious', 'reception')
    return send(sock, data, dst)
svhelper.mysendto = disguised
sys.argv = [tool] + sys.argv[4:]
importlib.import_module('sipvicious.' + tool).main()
";

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

    /// The same for a tool of SIPVicious that calls itself something harmless; `None` for the
    /// others, which need no such help.
    #[must_use]
    pub fn disguised(self, namespace: &Namespace, user_agent: &str) -> Option<Command> {
        self.disguised_from(namespace, user_agent, "")
    }

    /// The same from one of the namespace's own addresses.
    #[must_use]
    pub fn disguised_from(
        self,
        namespace: &Namespace,
        user_agent: &str,
        source: &str,
    ) -> Option<Command> {
        let tool = match self {
            Self::Svmap => "svmap",
            Self::Svwar => "svwar",
            Self::Svcrack => "svcrack",
            Self::Sipsak | Self::Nmap => return None,
        };
        let mut command = namespace.command(sipvicious_folder().join("python3"));
        command.args(["-c", DISGUISE, tool, user_agent, source]);
        Some(command)
    }
}
