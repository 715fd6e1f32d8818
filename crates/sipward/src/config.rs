//! The configuration file: its keys, their defaults, and the checks that no type can make.
//!
//! `config/default.toml` is the whole file with every default; a test keeps it equal to
//! [`Config::default`].

mod asterisk;
mod detect;
mod error;
mod feed;
mod http;
mod limits;
mod values;

use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use serde::Deserialize;
use sipward_engine::policy;
use sipward_shield::{Limits, Policy, PortClass, Ports, Rate};
use sipward_signature::Confidence;

pub use asterisk::{Ami, Asterisk};
pub use detect::Detect;
pub use error::{Problem, Problems};
pub use feed::Feed;
pub use http::{Http, Listen};
pub use limits::{LimitTables, ResponsesLimit, SipLimit, SshLimit, TrustedLimit, UnknownLimit};
pub use values::{BackendChoice, BanScope, GuardMode, OverLimit, RateText, XdpChoice};

use crate::{
    address::Host,
    sensors::{HepPorts, SipPorts},
    span::Span,
};

/// The whole configuration file with its defaults, as `sipward config default` prints it.
pub const DEFAULT_TEXT: &str = include_str!("config/default.toml");

/// Where the configuration is looked for when nobody says otherwise.
pub const DEFAULT_PATH: &str = "/etc/sipward/sipward.toml";

/// Ports on which packets are read at most: so many fit into the filter of the tap in any case.
const MOST_PORTS: usize = 1_000;

/// The configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// Interfaces to guard; empty means those of the default routes.
    pub interfaces: Vec<String>,
    /// Enforce or only watch.
    pub mode: GuardMode,
    /// What enforces.
    pub backend: BackendChoice,
    /// How XDP is attached.
    pub xdp_mode: XdpChoice,
    /// Folder of the pinned maps and links, on a BPF file system.
    pub pin_dir: PathBuf,
    /// Protected ports.
    pub ports: PortLists,
    /// Rate limits.
    pub limits: LimitTables,
    /// The ban ladder.
    pub bans: Bans,
    /// The allowlist of the configuration.
    pub allow: Allow,
    /// Detectors, one table each.
    pub detect: Detect,
    /// Scanner signatures.
    pub signatures: Signatures,
    /// What password guessers are told.
    pub answer: AnswerGuessers,
    /// Where observations come from, besides the packets.
    pub sensors: Sensors,
    /// The Asterisk of this machine.
    pub asterisk: Asterisk,
    /// What is shown over HTTP.
    pub http: Http,
}

/// `[ports]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct PortLists {
    /// Cleartext SIP over UDP.
    pub sip_udp: Vec<u16>,
    /// Cleartext SIP over TCP.
    pub sip_tcp: Vec<u16>,
    /// SIP over TLS.
    pub sip_tls: Vec<u16>,
    /// SIP over WebSocket, ws and wss.
    pub sip_ws: Vec<u16>,
    /// IAX2 (RFC 5456), over UDP.
    pub iax2: Vec<u16>,
    /// Ports that nobody uses, over UDP and TCP.
    pub tripwire: Vec<u16>,
}

/// `[answer]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct AnswerGuessers {
    /// Whether a password guesser that was just banned is told to stop.
    pub enabled: bool,
}

/// `[sensors]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Sensors {
    /// Where HEPv3 is listened for; none: nowhere.
    pub hep: Option<SocketAddr>,
}

impl PortLists {
    /// The ports at which a server's own capture is listened to.
    #[must_use]
    pub fn hep(&self) -> HepPorts {
        HepPorts {
            on_the_wire: self.sip(),
            others: self.sip_tls.clone(),
        }
    }

    /// The ports on which SIP can be read.
    #[must_use]
    pub fn sip(&self) -> SipPorts {
        SipPorts {
            udp: self.sip_udp.clone(),
            tcp: self.sip_tcp.clone(),
            websocket: self.sip_ws.clone(),
        }
    }
}

/// `[bans]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Bans {
    /// Length of the first, second, … ban of a source.
    pub ladder: Vec<Span>,
    /// What a proven ban drops.
    pub scope: BanScope,
}

/// `[allow]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Allow {
    /// Addresses, prefixes, ranges and names.
    pub addresses: Vec<Host>,
    /// Whom Asterisk's configuration names as trunk or registrar, too.
    pub asterisk_peers: bool,
}

/// `[signatures]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Signatures {
    /// Which signatures drop.
    pub profile: Profile,
    /// Files beside the built-in list.
    pub files: Vec<PathBuf>,
    /// What is different about single signatures, by their names.
    #[serde(rename = "override")]
    pub overrides: BTreeMap<String, Override>,
    /// Lists that the daemon fetches.
    #[serde(rename = "feed")]
    pub feeds: Vec<Feed>,
    /// The folder of lists that were taken in; no file says it.
    #[serde(skip)]
    pub feeds_folder: Option<PathBuf>,
}

/// `[signatures.override."name"]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Override {
    /// Whether it is looked for; absent: yes.
    pub enabled: Option<bool>,
    /// Who else sends it; absent: what its file says.
    pub confidence: Option<Confidence>,
    /// What is done with it; absent: what the profile does with such a confidence.
    pub action: Option<OverrideAction>,
}

/// What is done with a message of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OverrideAction {
    /// It is dropped.
    Drop,
    /// It passes.
    Evidence,
}

/// Which signatures drop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// What genuine devices send too is evidence only.
    #[default]
    Standard,
    /// What genuine devices send too drops as well.
    Strict,
}

impl Config {
    /// Reads and checks a file; a path in it is taken from the file's folder.
    ///
    /// # Errors
    /// Every mistake in the file, each with its place.
    pub fn load(path: &Path) -> Result<Self, Problems> {
        let text = fs::read_to_string(path).map_err(|error| Problems::unreadable(path, &error))?;
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        Self::parse(&text, folder).map_err(|problems| Problems::of(path, &text, problems))
    }

    /// As [`Self::load`] for `--config`; without one, the default path if there is such a file,
    /// else the defaults.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_or_default(path: Option<&Path>) -> Result<Self, Problems> {
        if let Some(path) = path {
            return Self::load(path);
        }
        let path = Path::new(DEFAULT_PATH);
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Ok(_) | Err(_) => Self::load(path),
        }
    }

    fn parse(text: &str, folder: &Path) -> Result<Self, Vec<Problem>> {
        let mut config: Self =
            toml::from_str(text).map_err(|error| vec![Problem::of_toml(text, &error)])?;
        let problems = config.check();
        if !problems.is_empty() {
            return Err(problems);
        }
        for file in &mut config.signatures.files {
            *file = folder.join(&*file);
        }
        for feed in &mut config.signatures.feeds {
            feed.ca_file = feed.ca_file.take().map(|file| folder.join(file));
        }
        config.asterisk.resolve(folder);
        Ok(config)
    }

    /// What is wrong with values that are well formed one by one.
    #[must_use]
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        self.check_interfaces(&mut problems);
        self.check_ports(&mut problems);
        let mut burst = |key: &str, value: u32| {
            if value == 0 {
                problems.push(Problem::new(key, "0 would drop every packet: at least 1"));
            }
        };
        burst("limits.sip.burst", self.sip_burst());
        burst("limits.responses.burst", self.limits.responses.burst);
        burst("limits.unknown.burst", self.limits.unknown.burst);
        burst("limits.trusted.burst", self.limits.trusted.burst);
        burst("limits.ssh.burst", self.limits.ssh.burst);
        if self.bans.ladder.is_empty() {
            problems.push(Problem::new(
                "bans.ladder",
                "at least one length of time, as [\"10m\"]",
            ));
        }
        if self
            .bans
            .ladder
            .iter()
            .zip(self.bans.ladder.iter().skip(1))
            .any(|(a, b)| a > b)
        {
            problems.push(Problem::new(
                "bans.ladder",
                "a later rung is shorter than the one before",
            ));
        }
        self.detect.check(&mut problems);
        if let Some(hep) = self.sensors.hep.filter(|hep| !hep.ip().is_loopback()) {
            problems.push(Problem::new(
                "sensors.hep",
                format!(
                    "{hep} is open to others, who could have anybody banned: as 127.0.0.1:9060"
                ),
            ));
        }
        self.asterisk.check(&mut problems);
        feed::check(&self.signatures.feeds, &mut problems);
        if !self.pin_dir.is_absolute() {
            problems.push(Problem::new("pin-dir", "the path must begin with /"));
        }
        problems
    }

    /// What the kernel is told.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let limit = |rate: RateText, burst| Rate {
            packets: rate.packets,
            per_seconds: rate.per_seconds,
            burst,
        };
        let limits = &self.limits;
        Policy {
            mode: self.mode.into(),
            ports: self.protected_ports(),
            limits: Limits {
                sip: limit(limits.sip.rate, self.sip_burst()),
                responses: limit(limits.responses.rate, limits.responses.burst),
                unknown: limit(limits.unknown.rate, limits.unknown.burst),
                trusted: limit(limits.trusted.rate, limits.trusted.burst),
                ssh: limit(limits.ssh.rate, limits.ssh.burst),
            },
            over: limits.sip.over.into(),
        }
    }

    /// The same for the twin of the kernel's policy.
    #[must_use]
    pub fn policy_twin(&self) -> policy::PolicyConfig {
        let Policy { ports, limits, .. } = self.policy();
        let limit = |rate: Rate| policy::Rate {
            packets: rate.packets,
            per_seconds: rate.per_seconds,
            burst: rate.burst,
        };
        let class = |(port, class)| {
            let class = match class {
                PortClass::Sip => policy::PortClass::Sip,
                PortClass::SipOpaque => policy::PortClass::SipOpaque,
                PortClass::Ssh => policy::PortClass::Ssh,
                PortClass::Tripwire => policy::PortClass::Tripwire,
            };
            (port, class)
        };
        policy::PolicyConfig {
            ports: policy::Ports {
                udp: ports.udp.into_iter().map(class).collect(),
                tcp: ports.tcp.into_iter().map(class).collect(),
            },
            limits: policy::Limits {
                sip: limit(limits.sip),
                responses: limit(limits.responses),
                unknown: limit(limits.unknown),
                trusted: limit(limits.trusted),
                ssh: limit(limits.ssh),
            },
        }
    }

    /// What the engine is told.
    #[must_use]
    pub fn engine(&self) -> sipward_engine::Config {
        let mut config = sipward_engine::Config {
            scope: self.bans.scope.into(),
            ..sipward_engine::Config::default()
        };
        config.ladder.rungs = self
            .bans
            .ladder
            .iter()
            .map(|rung| rung.duration())
            .collect();
        self.detect.apply(&mut config);
        config
    }

    /// The allowlist of the configuration but for its names, without duplicates, in order.
    #[must_use]
    pub fn allowed(&self) -> Vec<IpNet> {
        let prefixes = |host: &Host| match host {
            Host::Address(address) => address.prefixes().to_vec(),
            Host::Name(_) => Vec::new(),
        };
        let mut nets: Vec<IpNet> = self.allow.addresses.iter().flat_map(prefixes).collect();
        nets.sort();
        nets.dedup();
        nets
    }

    /// The names on the allowlist of the configuration.
    pub fn allowed_names(&self) -> impl Iterator<Item = &str> {
        self.allow.addresses.iter().filter_map(|host| match host {
            Host::Address(_) => None,
            Host::Name(name) => Some(name.as_str()),
        })
    }

    fn sip_burst(&self) -> u32 {
        self.limits
            .sip
            .burst
            .unwrap_or(match self.signatures.profile {
                Profile::Standard => 120,
                Profile::Strict => 30,
            })
    }

    /// Every list of ports with its key, its class, and whether it is of UDP and of TCP.
    fn port_lists(&self) -> [(&'static str, &[u16], PortClass, bool, bool); 7] {
        let ports = &self.ports;
        [
            ("ports.sip-udp", &ports.sip_udp, PortClass::Sip, true, false),
            ("ports.sip-tcp", &ports.sip_tcp, PortClass::Sip, false, true),
            (
                "ports.sip-tls",
                &ports.sip_tls,
                PortClass::SipOpaque,
                false,
                true,
            ),
            (
                "ports.sip-ws",
                &ports.sip_ws,
                PortClass::SipOpaque,
                false,
                true,
            ),
            ("ports.iax2", &ports.iax2, PortClass::SipOpaque, true, false),
            (
                "ports.tripwire",
                &ports.tripwire,
                PortClass::Tripwire,
                true,
                true,
            ),
            (
                "limits.ssh.ports",
                &self.limits.ssh.ports,
                PortClass::Ssh,
                false,
                true,
            ),
        ]
    }

    fn protected_ports(&self) -> Ports {
        let mut protected = Ports::default();
        for (_, ports, class, udp, tcp) in self.port_lists() {
            if udp {
                protected
                    .udp
                    .extend(ports.iter().map(|port| (*port, class)));
            }
            if tcp {
                protected
                    .tcp
                    .extend(ports.iter().map(|port| (*port, class)));
            }
        }
        protected
    }

    fn check_interfaces(&self, problems: &mut Vec<Problem>) {
        for (index, name) in self.interfaces.iter().enumerate() {
            // IFNAMSIZ is 16 with the final zero.
            if name.is_empty() || name.len() > 15 || name.contains(['/', ' ']) {
                problems.push(Problem::new(
                    "interfaces",
                    format!("{name:?} cannot be the name of an interface: `ip link` lists them"),
                ));
            }
            if self
                .interfaces
                .iter()
                .take(index)
                .any(|before| before == name)
            {
                problems.push(Problem::new(
                    "interfaces",
                    format!("{name:?} is named twice"),
                ));
            }
        }
    }

    fn check_ports(&self, problems: &mut Vec<Problem>) {
        let mut taken: BTreeMap<(&str, u16), &str> = BTreeMap::new();
        for (key, ports, _, udp, tcp) in self.port_lists() {
            for port in ports {
                if *port == 0 {
                    problems.push(Problem::new(key, "0 is no port: 1 to 65535"));
                }
                for (protocol, _) in [("UDP", udp), ("TCP", tcp)]
                    .iter()
                    .filter(|(_, used)| *used)
                {
                    let Some(other) = taken.insert((protocol, *port), key) else {
                        continue;
                    };
                    problems.push(Problem::new(
                        key,
                        format!(
                            "{protocol} port {port} is in {other} already: a port has one purpose"
                        ),
                    ));
                }
            }
        }
        let ports = &self.ports;
        let read = [
            &ports.sip_udp,
            &ports.sip_tcp,
            &ports.sip_tls,
            &ports.sip_ws,
        ];
        let read: usize = read.map(Vec::len).iter().sum();
        if read > MOST_PORTS {
            problems.push(Problem::new(
                "ports",
                format!("{read} ports for SIP are more than can be watched: at most {MOST_PORTS}"),
            ));
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            mode: GuardMode::Protect,
            backend: BackendChoice::Auto,
            xdp_mode: XdpChoice::Auto,
            pin_dir: PathBuf::from("/sys/fs/bpf/sipward"),
            ports: PortLists::default(),
            limits: LimitTables::default(),
            bans: Bans::default(),
            allow: Allow::default(),
            detect: Detect::default(),
            signatures: Signatures::default(),
            answer: AnswerGuessers::default(),
            sensors: Sensors::default(),
            asterisk: Asterisk::default(),
            http: Http::default(),
        }
    }
}

impl Default for PortLists {
    fn default() -> Self {
        Self {
            sip_udp: vec![5060, 5080],
            sip_tcp: vec![5060],
            sip_tls: vec![5061],
            sip_ws: vec![8088, 8089],
            iax2: vec![4569],
            tripwire: Vec::new(),
        }
    }
}

impl Default for Allow {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            asterisk_peers: true,
        }
    }
}

impl Default for Bans {
    fn default() -> Self {
        const DAY: u64 = 86_400;
        Self {
            ladder: [600, 3_600, DAY, 10 * DAY].map(Span::of_seconds).to_vec(),
            scope: BanScope::All,
        }
    }
}

impl From<Profile> for sipward_signature::Profile {
    fn from(profile: Profile) -> Self {
        match profile {
            Profile::Standard => Self::Standard,
            Profile::Strict => Self::Strict,
        }
    }
}

#[cfg(test)]
mod tests;
