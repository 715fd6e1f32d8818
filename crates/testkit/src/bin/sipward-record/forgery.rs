//! Packets whose sources are not their senders.

use std::net::Ipv4Addr;

use anyhow::Result;
use sipward_testkit::asterisk::Driver;
use sipward_testkit::lab::PHONES;
use sipward_testkit::packet::Packet;
use sipward_testkit::recording::ExpectedBan;
use sipward_testkit::user_agent::{Exchange, Login};

use crate::attacks::{VICTIM, from, password};
use crate::honest::{TRUNK, ask_trunk, open_trunk, with_trunk};
use crate::scenario::{DRIVERS, Scenario, attack, ban, millis, phone, seconds};
use crate::studio::{BOTNET, Studio, all_end_with};

const RESOLVER: &str = "192.0.2.53";
const GATEWAY: &str = "192.0.2.254";

pub fn all() -> Vec<Scenario> {
    let both = |driver| [flood(driver), victims(driver)];
    DRIVERS.into_iter().flat_map(both).collect()
}

fn flood(driver: Driver) -> Scenario {
    attack(10, "forged-flood", driver)
        .about(
            "Requests from 250 forged sources, every second one with a scanner's signature, and an \
             honest phone in the midst of them. Of the 60,000 that there might be: the others would \
             look the same.",
        )
        .parameter("sources", "250")
        .ban(ExpectedBan {
            at_least: Some(1),
            at_most: Some(120),
            scope: Some("sip".to_owned()),
            ..ban(BOTNET, "scanner-signature")
        })
        .spared(PHONES)
        .play(|studio| {
            // Whoever is not there says nothing.
            studio.lab.router.run(&format!("ip route replace blackhole {BOTNET}"))?;
            for n in 0..250u32 {
                if n == 125 {
                    let outcomes = studio.play(vec![phone(0, "REGISTER")])?;
                    all_end_with(&[200], &outcomes)?;
                }
                let source = Ipv4Addr::from(0x6440_0000 + n * 9_973);
                let request = Exchange {
                    user_agent: (n % 2 == 0).then_some("friendly-scanner"),
                    ..from(&format!("{source}:5060"), "REGISTER", &(1_000 + n).to_string())
                };
                forge(studio, request)?;
                studio.agents.linger(millis(5))?;
            }
            studio.agents.linger(seconds(1))
        })
}

/// Puts the first request of the exchange on the PBX's link as if its source had sent it.
fn forge(studio: &mut Studio, exchange: Exchange) -> Result<()> {
    let exchange = studio.agents.name(exchange);
    forge_payload(studio, &exchange, exchange.first_request(None).as_bytes())
}

fn forge_payload(studio: &Studio, exchange: &Exchange, payload: &[u8]) -> Result<()> {
    let frame = Packet::udp(exchange.source, exchange.server)
        .payload(payload)
        .build();
    studio.lab.inject(&frame)
}

fn victims(driver: Driver) -> Scenario {
    with_trunk(attack(12, "forged-victims", driver))
        .about(
            "Every attack there is, with the addresses of the PBX's resolver, its gateway, its \
             trunk and a logged-in phone.",
        )
        .config(&format!(
            "[allow]\naddresses = [\"{RESOLVER}\", \"{GATEWAY}\"]\n"
        ))
        .parameter("resolver", RESOLVER)
        .parameter("gateway", GATEWAY)
        .play(|studio| {
            open_trunk(studio)?;
            ask_trunk(studio)?;
            studio.expect(&[200], vec![phone(0, "REGISTER")])?;
            let victims = [
                format!("{RESOLVER}:53"),
                format!("{GATEWAY}:5060"),
                format!("{TRUNK}:5060"),
                phone(0, "REGISTER").source.to_string(),
            ];
            for n in 0..8 {
                for victim in &victims {
                    attack_in_the_name_of(studio, victim, n)?;
                }
                studio.agents.linger(seconds(1))?;
            }
            studio.expect(
                &[200],
                vec![phone(0, "REGISTER"), phone(0, "INVITE").to("600")],
            )?;
            studio.agents.linger(seconds(1))
        })
}

fn attack_in_the_name_of(studio: &mut Studio, victim: &str, n: u32) -> Result<()> {
    let enumerated = from(victim, "REGISTER", &(300 + n).to_string());
    let oracle = from(victim, "REGISTER", VICTIM);
    let oracle = oracle.login(Login::Unasked(password(n), "facade00facade00".to_owned()));
    let probed = from(victim, "OPTIONS", "x").to(&(400 + n).to_string());
    let scanner = Exchange {
        user_agent: Some("friendly-scanner"),
        ..from(victim, "OPTIONS", "100")
    };
    for request in [enumerated, oracle, probed, scanner] {
        forge(studio, request)?;
    }
    // chan_sip repeats each answer eleven times.
    if n.is_multiple_of(3) {
        let number = format!("{}00441234567{n:03}", 9 + n);
        forge(studio, from(victim, "INVITE", "100").to(&number))?;
    }
    let broken = from(victim, "INVITE", "100");
    forge_payload(
        studio,
        &broken,
        b"INVITE sip:x SIP/2.0\r\nFrom: nobody\r\n\r\n",
    )
}
