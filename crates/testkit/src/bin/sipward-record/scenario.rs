//! One recording: its label, its stage, its play.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use sipward_testkit::asterisk::{Asterisk, Driver, Settings};
use sipward_testkit::lab::{Lab, PHONES};
use sipward_testkit::link::Delay;
use sipward_testkit::pcap::PcapWriter;
use sipward_testkit::recording::{ATTACKS, ExpectedBan, HONEST, Label, Times, folder};
use sipward_testkit::user_agent::Exchange;

use crate::studio::Studio;

/// Where the PBX listens, whichever its driver.
pub const SERVER: &str = "192.0.2.1:5060";

/// 2026-01-05 08:00:00 UTC, a Monday: when every recording begins, so that making one anew
/// changes no more than it must.
pub const BEGIN: Duration = Duration::from_secs(1_767_600_000);

/// What serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// Asterisk 16.28, by this driver.
    Asterisk(Driver),
    /// Debian's Kamailio.
    Kamailio,
}

impl From<Driver> for Server {
    fn from(driver: Driver) -> Self {
        Self::Asterisk(driver)
    }
}

pub const DRIVERS: [Driver; 2] = [Driver::ChanSip, Driver::Pjsip];

type Play = Arc<dyn Fn(&mut Studio) -> Result<()> + Send + Sync>;

/// A recording to be made.
#[derive(Clone)]
pub struct Scenario {
    name: String,
    kind: &'static str,
    server: Server,
    label: Label,
    settings: Settings,
    delay: Delay,
    play: Play,
}

/// A recording of honest parties, by the place of its line in [`HONEST`], from 1.
pub fn honest(line: usize, name: &str, server: impl Into<Server>) -> Scenario {
    Scenario::new("honest", HONEST[line - 1], name, server.into())
}

/// A recording of attackers, by the place of its line in [`ATTACKS`], from 1.
pub fn attack(line: usize, name: &str, server: impl Into<Server>) -> Scenario {
    Scenario::new("attacks", ATTACKS[line - 1], name, server.into())
}

/// A phone of the office, behind the one address that all of them have.
pub fn phone(n: u16, method: &'static str) -> Exchange {
    let source = format!("{PHONES}:{}", 20_000 + n);
    Exchange::new(&source, SERVER, method, &extension(n).to_string())
        .password(&Asterisk::password(extension(n)))
}

/// Its extension: 100 has a password that guessers find.
pub fn extension(n: u16) -> u16 {
    101 + n
}

pub fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub fn minutes(n: u64) -> Duration {
    seconds(60 * n)
}

pub fn hours(n: u64) -> Duration {
    minutes(60 * n)
}

pub fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The PBX' other address.
pub fn address_v6() -> SocketAddr {
    let mut address = Driver::ChanSip.address_v6();
    address.set_port(5060);
    address
}

/// A ban of this address by this detector.
pub fn ban(of: &str, by: &str) -> ExpectedBan {
    ExpectedBan {
        of: of.to_owned(),
        by: by.to_owned(),
        ..ExpectedBan::default()
    }
}

impl Scenario {
    fn new(kind: &'static str, line: &str, name: &str, server: Server) -> Self {
        let (suffix, says) = match server {
            Server::Asterisk(Driver::ChanSip) => ("chan-sip", "Asterisk 16.28, chan_sip"),
            Server::Asterisk(Driver::Pjsip) => ("pjsip", "Asterisk 16.28, PJSIP"),
            Server::Kamailio => ("kamailio", "Kamailio 5.6"),
        };
        let label = Label {
            description: String::new(),
            line: line.to_owned(),
            servers: vec![SERVER.parse().expect("an address")],
            times: Times::Live,
            parameters: BTreeMap::new(),
            config: String::new(),
            alerts: Vec::new(),
            spared: Vec::new(),
            stopped: Vec::new(),
            bans: Vec::new(),
        };
        let settings = match server {
            Server::Asterisk(Driver::ChanSip) | Server::Kamailio => Settings::default(),
            Server::Asterisk(Driver::Pjsip) => Settings {
                chan_sip_port: 5062,
                pjsip_ports: vec![5060],
                ..Settings::default()
            },
        };
        let scenario = Self {
            name: format!("{name}-{suffix}"),
            kind,
            server,
            label,
            settings,
            delay: Delay::default(),
            play: Arc::new(|_| Ok(())),
        };
        scenario.parameter("server", says)
    }

    /// What happens, in a sentence.
    pub fn about(mut self, description: &str) -> Self {
        description.clone_into(&mut self.label.description);
        self
    }

    /// Something it was made with.
    pub fn parameter(mut self, name: &str, value: &str) -> Self {
        self.label
            .parameters
            .insert(name.to_owned(), value.to_owned());
        self
    }

    /// How many parties or requests are under way at a time.
    pub fn concurrency(self, number: u16) -> Self {
        self.parameter("concurrency", &number.to_string())
    }

    /// The phones are that far away.
    pub fn far(mut self, round_trip: Duration, jitter: Duration) -> Self {
        self.delay = Delay { round_trip, jitter };
        self.parameter("round-trip", &format!("{round_trip:?}"))
            .parameter("jitter", &format!("{jitter:?}"))
    }

    /// Exchanges are played one after the other and moved apart.
    pub fn stretched(mut self) -> Self {
        self.label.times = Times::Stretched;
        self
    }

    /// Appends to a configuration file of the PBX.
    pub fn asterisk(mut self, file: &'static str, text: &str) -> Self {
        *self.settings.appended.entry(file).or_default() += text;
        self
    }

    /// The PBX listens there instead.
    pub fn port(mut self, port: u16) -> Self {
        match self.server {
            Server::Asterisk(Driver::ChanSip) => self.settings.chan_sip_port = port,
            Server::Asterisk(Driver::Pjsip) => self.settings.pjsip_ports = vec![port],
            Server::Kamailio => {}
        }
        self.label.servers[0].set_port(port);
        self
    }

    /// The PBX is reached by IPv6.
    pub fn ipv6(mut self) -> Self {
        self.label.servers = vec![address_v6()];
        self
    }

    /// The PBX is also reached by IPv6.
    pub fn ipv6_too(mut self) -> Self {
        let v4 = self.label.servers[0];
        self = self.ipv6();
        self.label.servers.insert(0, v4);
        self
    }

    /// Is replayed with this configuration.
    pub fn config(mut self, text: &str) -> Self {
        text.clone_into(&mut self.label.config);
        self
    }

    /// A ban that must be.
    pub fn ban(mut self, ban: ExpectedBan) -> Self {
        self.label.bans.push(ban);
        self
    }

    /// Loses nothing.
    pub fn spared(mut self, address: &str) -> Self {
        self.label.spared.push(address.to_owned());
        self
    }

    /// Is stopped without a ban.
    pub fn stopped(mut self, address: &str) -> Self {
        self.label.stopped.push(address.to_owned());
        self
    }

    /// What is played.
    pub fn play(
        mut self,
        play: impl Fn(&mut Studio) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.play = Arc::new(play);
        self
    }

    /// Its folder and name.
    pub fn path(&self) -> String {
        format!("{}/{}", self.kind, self.name)
    }

    /// Makes it and says what came of it.
    pub fn record(&self) -> Result<String> {
        let lab = Lab::with_phones_behind(self.delay)?;
        let mut studio = Studio::open(&lab, &self.settings, self.server, self.label.times)?;
        (self.play)(&mut studio)?;
        let frames = studio.close()?;

        let path = folder().join(self.path());
        fs::create_dir_all(path.parent().context("a folder")?)?;
        let mut pcap = PcapWriter::create(&path.with_extension("pcap"))?;
        for frame in &frames {
            pcap.write(frame.at, &frame.bytes)?;
        }
        pcap.finish()?;
        fs::write(path.with_extension("toml"), toml::to_string(&self.label)?)?;
        let size = fs::metadata(path.with_extension("pcap"))?.len() / 1000;
        Ok(format!(
            "{}: {} frames, {size} kB",
            self.path(),
            frames.len()
        ))
    }
}
