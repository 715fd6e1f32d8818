//! The same four attacks against Fail2Ban with its stock jail and against sipward, on the same
//! Asterisk, each from an address of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sipward_testkit::asterisk::{Asterisk, Settings};
use sipward_testkit::count::Capture;
use sipward_testkit::fail2ban::Fail2Ban;
use sipward_testkit::guard::Guard;
use sipward_testkit::lab::{Lab, PBX};
use sipward_testkit::pcap::Frame;
use sipward_testkit::process::{Process, wait_until};
use sipward_testkit::recording::{Datagram, header};
use sipward_testkit::scanner::Scanner;
use sipward_testkit::user_agent::{Exchange, Pace, UserAgents};

use crate::progress;

/// A scan goes on for so long without an answer.
const GIVES_UP: &str = "3";
const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than the 32 s after which Asterisk warns of an INVITE that was never acknowledged.
const WARNED: Duration = Duration::from_secs(45);
/// What SIPVicious calls itself here: a name of no scanner.
const GENUINE: &str = "Yealink SIP-T46S 66.86.0.15";
/// The ports of Fail2Ban's stock jail are 5060 and 5061.
const CHAN_SIP: u16 = 5060;
const PJSIP: u16 = 5061;
/// Calls of one attack. Real ones are slower still.
const CALLS: u32 = 11;
const BETWEEN_CALLS: Duration = Duration::from_secs(2);
/// What toll fraud tries before one number abroad, to find the way out.
const PREFIXES: [&str; 10] = [
    "00", "900", "011", "9011", "+", "000", "0011", "8810", "99900", "1011",
];

/// What an attacker does. The number of each is the last part of its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attack {
    Enumeration,
    Guessing,
    NeverAcknowledged,
    TollFraud,
}

impl Attack {
    const ALL: [Self; 4] = [
        Self::Enumeration,
        Self::Guessing,
        Self::NeverAcknowledged,
        Self::TollFraud,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Enumeration => "svwar: which extensions are there?",
            Self::Guessing => "svcrack: what is the password?",
            Self::NeverAcknowledged => "INVITEs that are never ACKed",
            Self::TollFraud => "calls abroad, prefix after prefix",
        }
    }

    /// An attempt is a request that Asterisk answered; of a guesser, one with a password.
    fn counts(self, status: &str) -> bool {
        match self {
            Self::Guessing => status == "403",
            Self::Enumeration | Self::NeverAcknowledged | Self::TollFraud => status >= "2",
        }
    }

    fn source(self, network: u8) -> Ipv4Addr {
        let number = match self {
            Self::Enumeration => 1,
            Self::Guessing => 2,
            Self::NeverAcknowledged => 3,
            Self::TollFraud => 4,
        };
        Ipv4Addr::new(203, 0, 113, network + number)
    }
}

/// What became of one attack.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    attempts: usize,
    /// From the attacker's first packet to the ban.
    banned_after: Option<Duration>,
}

/// Who keeps attackers away.
enum Blocker<'a> {
    Fail2Ban(Fail2Ban),
    Sipward(Guard<'a>),
}

impl Blocker<'_> {
    /// Who is banned, and since when.
    fn bans(&self) -> Result<BTreeMap<IpAddr, Duration>> {
        let guard = match self {
            Self::Fail2Ban(fail2ban) => return fail2ban.bans(),
            Self::Sipward(guard) => guard,
        };
        let bans = guard.json(&["bans"])?;
        let mut found = BTreeMap::new();
        for ban in bans.as_array().context("bans are an array")? {
            let text = |field: &str| ban[field].as_str().context("a field of a ban is no text");
            let address = text("prefix")?.trim_end_matches("/32").parse()?;
            let since: jiff::Timestamp = text("since")?.parse()?;
            found.insert(address, since.as_duration().try_into()?);
        }
        Ok(found)
    }

    fn stop(self) -> Result<()> {
        match self {
            Self::Fail2Ban(fail2ban) => fail2ban.stop(),
            Self::Sipward(mut guard) => guard.stop().map(drop),
        }
    }
}

/// Runs the contest and prints its table.
pub fn run(lab: &Lab, program: &Path) -> Result<()> {
    println!(
        "Four attacks under the name of a telephone: on a chan_sip that tells which extensions"
    );
    println!("there are, and calls abroad on PJSIP. A call comes every two seconds.\n");
    // `alwaysauthreject = no` was the default for long; with `yes` svwar gives up by itself.
    let mut settings = Settings {
        pjsip_ports: vec![PJSIP],
        ..Settings::default()
    };
    let talks = "[general](+)\nalwaysauthreject = no\n".to_owned();
    settings.appended.insert("sip.conf", talks);
    let asterisk = Asterisk::start(&lab.pbx, &settings)?;

    let fail2ban = progress("attacks with Fail2Ban", || {
        let blocker = Fail2Ban::start(&lab.pbx, &asterisk.log_path("messages"))?;
        attack(lab, &asterisk, Blocker::Fail2Ban(blocker), 10)
    })?;
    let sipward = progress("attacks with sipward", || {
        let ports = format!("[ports]\nsip-udp = [{CHAN_SIP}, {PJSIP}]\nsip-tls = []\n");
        let guard = Guard::start_with(program, &lab.pbx, &ports)?;
        attack(lab, &asterisk, Blocker::Sipward(guard), 20)
    })?;
    println!("{}", table(&fail2ban, &sipward));
    if let Some(late) = Attack::ALL
        .iter()
        .zip(&sipward)
        .find(|(_, outcome)| outcome.banned_after.is_none())
    {
        bail!("sipward did not ban: {}", late.0.name());
    }
    Ok(())
}

/// All attacks, from 203.0.113.`network` and up.
fn attack(
    lab: &Lab,
    asterisk: &Asterisk,
    blocker: Blocker<'_>,
    network: u8,
) -> Result<[Outcome; 4]> {
    let capture = Capture::start(&lab.pbx, "eth0", "net 203.0.113.0/25 and udp")?;
    let warnings = timeouts(asterisk);
    let mut agents = UserAgents::new(lab)?;
    let scans = [
        (
            Scanner::Svwar,
            Attack::Enumeration,
            ["-e", "100-999"].as_slice(),
        ),
        (
            Scanner::Svcrack,
            Attack::Guessing,
            &["-u", "110", "-r", "1000-1999"],
        ),
    ]
    .map(|(tool, attack, arguments)| {
        let source = attack.source(network).to_string();
        let mut command = tool
            .disguised_from(&lab.attacker, GENUINE, &source)
            .context("a tool of SIPVicious")?;
        command
            .args(arguments)
            .args(["--maximumtime", GIVES_UP, PBX]);
        Process::spawn(&mut command)
    });
    let calls = (0..CALLS).flat_map(|n| [never_acknowledged(n, network), toll_fraud(n, network)]);
    let calls = calls.map(|call| agents.name(call)).collect();
    agents.play(calls, Pace::Live)?;
    for scan in scans {
        // What it found and how it ended is not what is measured.
        scan?.finish(PATIENCE)?;
    }
    let source = |attack: Attack| IpAddr::V4(attack.source(network));
    let all_are_banned = |bans: &BTreeMap<IpAddr, Duration>| {
        Attack::ALL
            .iter()
            .all(|attack| bans.contains_key(&source(*attack)))
    };
    // Who has not banned until Asterisk itself warns gets the warning, and the time to read it.
    wait_until("a ban, or the warning of Asterisk", WARNED, || {
        blocker.bans().is_ok_and(|bans| all_are_banned(&bans)) || timeouts(asterisk) > warnings
    })?;
    if !all_are_banned(&blocker.bans()?) {
        agents.linger(Duration::from_secs(2))?;
    }
    let bans = blocker.bans()?;
    blocker.stop()?;
    let frames = capture.stop()?;
    Ok(Attack::ALL.map(|attack| outcome(&frames, &bans, attack, source(attack))))
}

fn timeouts(asterisk: &Asterisk) -> usize {
    let messages = asterisk.log("messages");
    messages
        .matches("on non-critical invite transaction")
        .count()
}

fn never_acknowledged(n: u32, network: u8) -> Exchange {
    let source = Attack::NeverAcknowledged.source(network);
    let number = format!("90044{:07}", 5_550_100 + 1_913 * n);
    call(source, CHAN_SIP, "100", n).to(&number).silent()
}

fn toll_fraud(n: u32, network: u8) -> Exchange {
    let source = Attack::TollFraud.source(network);
    let prefix = PREFIXES.iter().cycle().nth(n as usize).unwrap_or(&"");
    let number = format!("{prefix}4420{}", 79_460_000 + n / 10);
    call(source, PJSIP, "1001", n).to(&number)
}

fn call(source: Ipv4Addr, port: u16, user: &str, n: u32) -> Exchange {
    let server = format!("{PBX}:{port}");
    Exchange::new(&format!("{source}:5070"), &server, "INVITE", user).at(BETWEEN_CALLS * n)
}

/// What tcpdump saw on the PBX's interface: a request counts by its answer, because Fail2Ban's
/// rules are behind tcpdump, and an answer that is sent again counts once.
fn outcome(
    frames: &[Frame],
    bans: &BTreeMap<IpAddr, Duration>,
    attack: Attack,
    source: IpAddr,
) -> Outcome {
    let mut first = None;
    let mut answered = BTreeSet::new();
    for frame in frames {
        let Some(datagram) = Datagram::read(&frame.bytes) else {
            continue;
        };
        if datagram.source.ip() == source {
            first.get_or_insert(frame.at);
        }
        let text = String::from_utf8_lossy(datagram.payload);
        let Some(status) = text.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)) else {
            continue;
        };
        if datagram.destination.ip() == source && attack.counts(status) {
            answered.insert(["Call-ID", "CSeq", "Via"].map(|name| header(&text, name).to_owned()));
        }
    }
    let banned = bans.get(&source).zip(first);
    Outcome {
        attempts: answered.len(),
        banned_after: banned.map(|(banned, first)| banned.saturating_sub(first)),
    }
}

fn table(fail2ban: &[Outcome; 4], sipward: &[Outcome; 4]) -> String {
    let cell = |outcome: &Outcome| {
        let after = outcome.banned_after.map_or_else(
            || "never".to_owned(),
            |after| format!("{:.2} s", after.as_secs_f64()),
        );
        format!("{:>7}  {after:>9}", outcome.attempts)
    };
    let mut lines = vec![
        format!("{:<41}{:<20}sipward", "", "Fail2Ban 1.0.2"),
        format!(
            "{:<36}{:>7}  {:>9}  {:>7}  {:>9}",
            "attack", "through", "ban after", "through", "ban after"
        ),
    ];
    for (attack, (theirs, ours)) in Attack::ALL.iter().zip(fail2ban.iter().zip(sipward)) {
        lines.push(format!(
            "{:<36}{}  {}",
            attack.name(),
            cell(theirs),
            cell(ours)
        ));
    }
    lines.push(
        "\nthrough: requests that Asterisk answered, passwords tried for svcrack. Fail2Ban: the stock\n\
         jail, 10 failures in 10 minutes; it had the line that Asterisk writes of INVITEs never\n\
         ACKed after 32 s, too."
            .to_owned(),
    );
    lines.join("\n")
}
