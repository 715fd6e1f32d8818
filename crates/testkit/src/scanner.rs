//! Stock scanners, unmodified.

use std::process::Command;

use crate::namespace::Namespace;
use crate::require::{Need, sipvicious_folder};

/// Runs one of SIPVicious's tools with other names than its own in what it sends, as most of
/// those who use it do, and on demand with From tags that tell nothing: its own have what it asked
/// for in them, which it reads back from the answers. Arguments: tool, `User-Agent`, the address to
/// send from (empty: any; the tools read their own option for that and do not heed it), `own` or
/// `random` for the tags, the tool's own.
const DISGUISE: &str = "\
import importlib, random, re, socket, sys
from sipvicious.libs import svhelper
tool, name, source, tags = sys.argv[1:5]
bind = socket.socket.bind
socket.socket.bind = lambda self, address: bind(self, (source or address[0], address[1]))
words = {'friendly-scanner': name, 'sipvicious': 'reception'}
asked = {}
def create(data):
    tag = '%08x' % random.getrandbits(32)
    asked[tag] = str(data).encode()
    return tag.encode()
def get(answer):
    tag = re.search('(?:From|f): .*?;tag=([0-9a-f]+)', answer)
    return tag and asked.get(tag.group(1))
if tags == 'random':
    svhelper.createTag, svhelper.getTag = create, get
    # svcrack's tag wherever it asks for a nonce, and who svmap says it is.
    words['3206210844'] = '%08x' % random.getrandbits(32)
    words['100@1.1.1.1'] = '100@pbx.example.com'
send = svhelper.mysendto
def disguised(sock, data, dst):
    for own, other in words.items():
        data = data.replace(own, other)
    return send(sock, data, dst)
svhelper.mysendto = disguised
sys.argv = [tool] + sys.argv[5:]
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

    /// The same for a tool of SIPVicious that calls itself something harmless, and gives itself
    /// away by the rest of what it sends; `None` for the others.
    #[must_use]
    pub fn renamed(self, namespace: &Namespace, user_agent: &str) -> Option<Command> {
        self.changed(namespace, user_agent, "", "own")
    }

    /// The same for one in whose messages nothing is left that is known of SIPVicious: only what it
    /// does gives it away.
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
        self.changed(namespace, user_agent, source, "random")
    }

    fn changed(
        self,
        namespace: &Namespace,
        user_agent: &str,
        source: &str,
        tags: &str,
    ) -> Option<Command> {
        let tool = match self {
            Self::Svmap => "svmap",
            Self::Svwar => "svwar",
            Self::Svcrack => "svcrack",
            Self::Sipsak | Self::Nmap => return None,
        };
        let mut command = namespace.command(sipvicious_folder().join("python3"));
        command.args(["-c", DISGUISE, tool, user_agent, source, tags]);
        Some(command)
    }
}
