//! Four floods against one PBX without protection, with the guide's rules, with Fail2Ban and with
//! sipward, in one run; and what two honest phones make of it.
//!
//! usage: sipward-floods PATH-OF-SIPWARD [SECONDS]
#![expect(clippy::print_stdout, reason = "a demonstration is what it prints")]

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sipward_testkit::asterisk::{Asterisk, Settings};
use sipward_testkit::fail2ban::Fail2Ban;
use sipward_testkit::flood::{FASTEST, Flood, Outcome, endure, log_in};
use sipward_testkit::guard::Guard;
use sipward_testkit::lab::{Lab, PHONES};
use sipward_testkit::namespace::Namespace;
use sipward_testkit::process::wait_until;

/// The guide's list of scanners, as it prints it.
const GUIDE_LIST: &str = include_str!("../../../../sipward/tests/data/guide-rules.sh");
/// One of its rules drops all SIP, phones' too.
const DROPS_ALL: &str = "--string \"-\"";
/// Its limits, by source.
const GUIDE_LIMITS: [&str; 6] = [
    "-N dos-filter-sip-external",
    "-A INPUT -p udp -m udp --dport 5060 -j dos-filter-sip-external",
    "-A INPUT -p tcp -m tcp --dport 5060 -j dos-filter-sip-external",
    "-A INPUT -p udp -m udp --dport 5080 -j dos-filter-sip-external",
    "-A dos-filter-sip-external -m hashlimit --hashlimit 5/sec --hashlimit-burst 30 \
     --hashlimit-mode srcip --hashlimit-name SIPMSG --hashlimit-htable-size 24593 \
     --hashlimit-htable-expire 90000 -j RETURN",
    "-A dos-filter-sip-external -j REJECT --reject-with icmp-admin-prohibited",
];

const SECONDS: u64 = 30;
const TRUSTED: Duration = Duration::from_secs(20);

/// Who protects the PBX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protection {
    Nobody,
    Guide,
    Fail2Ban,
    Sipward,
}

impl Protection {
    const ALL: [Self; 4] = [Self::Nobody, Self::Guide, Self::Fail2Ban, Self::Sipward];

    const fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Guide => "the guide's rules",
            Self::Fail2Ban => "Fail2Ban 1.0.2",
            Self::Sipward => "sipward",
        }
    }
}

/// What runs as long as it is held.
#[expect(dead_code, reason = "held, not read")]
enum Running<'a> {
    Nothing,
    Fail2Ban(Fail2Ban),
    Sipward(Guard<'a>),
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let program = arguments
        .next()
        .context("usage: sipward-floods PATH-OF-SIPWARD [SECONDS]")?;
    let seconds = arguments.next().map_or(Ok(SECONDS), |text| text.parse())?;
    println!(
        "Each flood lasts {seconds} s, from one core. A phone that has logged in once registers each\n\
         second and calls every two; one that nobody has seen tries to register meanwhile. The\n\
         guide's rules are without the one that drops all SIP.\n"
    );
    println!(
        "{:<18} {:<34} {:>9} {:>10} {:>8} {:>7} {:>9}",
        "protection", "flood", "packets/s", "to the PBX", "logins", "calls", "stranger"
    );
    let mut failed = Vec::new();
    for protection in Protection::ALL {
        for (flood, outcome) in floods(protection, Path::new(&program), seconds)? {
            println!("{}", line(protection, flood, &outcome));
            if protection == Protection::Sipward && !outcome.is_harmless() {
                failed.push(flood.name());
            }
        }
    }
    println!(
        "\npackets/s: as the PBX's interface counts them. to the PBX: datagrams handed to Asterisk.\n\
         stranger: when it was registered."
    );
    if !failed.is_empty() {
        bail!("with sipward a phone failed under: {}", failed.join(", "));
    }
    Ok(())
}

/// All floods on a network and a PBX of their own.
fn floods(protection: Protection, program: &Path, seconds: u64) -> Result<Vec<(Flood, Outcome)>> {
    let lab = Lab::new().context("this needs root and iproute2")?;
    Flood::prepare(&lab)?;
    let asterisk = Asterisk::start(&lab.pbx, &Settings::default())?;
    let running = protect(protection, program, &lab.pbx, &asterisk)?;
    log_in(&lab)?;
    if let Running::Sipward(guard) = &running {
        wait_until("the phone to be trusted", TRUSTED, || {
            let trusted = guard.ask(&["trusted"]);
            trusted.is_ok_and(|trusted| trusted.stdout.contains(PHONES))
        })?;
    }
    Flood::ALL
        .into_iter()
        .zip(20..)
        .map(|(flood, host)| {
            let stranger = Ipv4Addr::new(198, 51, 100, host);
            let time = Duration::from_secs(seconds);
            Ok((flood, endure(flood, &lab, time, FASTEST, stranger)?))
        })
        .collect()
}

fn protect<'a>(
    protection: Protection,
    program: &Path,
    pbx: &'a Namespace,
    asterisk: &Asterisk,
) -> Result<Running<'a>> {
    Ok(match protection {
        Protection::Nobody => Running::Nothing,
        Protection::Guide => {
            let list = GUIDE_LIST
                .lines()
                .filter(|rule| !rule.contains(DROPS_ALL))
                .map(str::to_owned);
            let limits = GUIDE_LIMITS.map(|rule| format!("iptables {rule}"));
            let script: Vec<String> = list.chain(limits).collect();
            let mut shell = pbx.command("sh");
            let status = shell.args(["-e", "-c", &script.join("\n")]).status()?;
            if !status.success() {
                bail!("iptables does not take the guide's rules: {status}");
            }
            Running::Nothing
        }
        Protection::Fail2Ban => {
            Running::Fail2Ban(Fail2Ban::start(pbx, &asterisk.log_path("messages"))?)
        }
        Protection::Sipward => {
            Running::Sipward(Guard::start_with(program, pbx, "[ports]\nsip-tls = []\n")?)
        }
    })
}

fn line(protection: Protection, flood: Flood, outcome: &Outcome) -> String {
    let of = |[successes, all]: [u16; 2]| format!("{successes}/{all}");
    let stranger = outcome.stranger.map_or_else(
        || "never".to_owned(),
        |after| format!("{:.1} s", after.as_secs_f64()),
    );
    format!(
        "{:<18} {:<34} {:>9} {:>10} {:>8} {:>7} {:>9}",
        protection.name(),
        flood.name(),
        outcome.packets_per_second,
        outcome.reached,
        of(outcome.logins),
        of(outcome.calls),
        stranger
    )
}
