//! Attackers who take their time, or many addresses.

use anyhow::Result;
use sipward_testkit::asterisk::{Asterisk, Driver};
use sipward_testkit::lab::{ATTACKER, PBX_V6, PHONES};
use sipward_testkit::recording::ExpectedBan;
use sipward_testkit::user_agent::Exchange;

use crate::attacks::{VICTIM, from, password};
use crate::scenario::{DRIVERS, Scenario, attack, ban, extension, hours, minutes, phone, seconds};
use crate::studio::{BOTNET, Studio};

pub fn all() -> Vec<Scenario> {
    let mut all = vec![spread_over_a_48()];
    for driver in DRIVERS {
        all.extend([
            one_number_per_200_seconds(driver),
            three_prefixes(driver),
            guessing(driver),
            enumeration(driver),
            never_acked(driver),
            probing(driver),
            day(driver),
            spread_over_a_24(driver),
            spread_over_one_account(driver),
        ]);
    }
    all
}

/// The n-th attacker of the network that the lab's attacker owns.
fn host(n: u32) -> String {
    format!("203.0.113.{}:5070", 10 + n)
}

fn call(source: &str, n: u32) -> Exchange {
    let number = format!("{}{:07}", 9_000 + n, 5_550_100 + 1_913 * n);
    from(source, "INVITE", "100").to(&number)
}

fn one_number_per_200_seconds(driver: Driver) -> Scenario {
    attack(6, "one-number-per-200s", driver)
        .about("INVITEs to ever new numbers, acknowledged, one every 200 s.")
        .stretched()
        .ban(ExpectedBan {
            answers: Some(12),
            scope: Some("all".to_owned()),
            ..ban(ATTACKER, "toll-fraud-probe")
        })
        .play(|studio| {
            let own = format!("{ATTACKER}:5070");
            let call = |n: u32| call(&own, n).at(seconds(200) * n);
            studio.expect(&[401], (0..20).map(call).collect())
        })
}

fn three_prefixes(driver: Driver) -> Scenario {
    attack(6, "three-prefixes", driver)
        .about("INVITEs to one number behind four prefixes, one every 30 minutes.")
        .stretched()
        .ban(ExpectedBan {
            answers: Some(3),
            ..ban(ATTACKER, "toll-fraud-probe")
        })
        .play(|studio| {
            let call = |(n, prefix): (u32, &str)| {
                let call = from(&format!("{ATTACKER}:5070"), "INVITE", "100");
                call.to(&format!("{prefix}972595123456"))
                    .at(minutes(30) * n)
            };
            let prefixes = [(0, "00"), (1, "900"), (2, "0"), (3, "011")];
            studio.expect(&[401], prefixes.map(call).to_vec())
        })
}

fn slow_guess(n: u32, source: &str) -> Exchange {
    // Ten accounts in turn: no phone that repeats itself, and no ten phones either.
    let account = (110 + n % 10).to_string();
    from(source, "REGISTER", &account)
        .password(&password(n))
        .at(minutes(8) * n)
}

fn guessing(driver: Driver) -> Scenario {
    attack(8, "slow-guessing", driver)
        .about(
            "A password of one of ten accounts every 8 minutes, for 20 hours. Three of them look \
             like phones with a stale password and do not count: so the hundredth is the 143rd.",
        )
        .stretched()
        .ban(ExpectedBan {
            refused: Some(143),
            ..ban(ATTACKER, "password-guessing")
        })
        .play(|studio| {
            let guess = |n| slow_guess(n, &format!("{ATTACKER}:5070"));
            studio.expect(&[401, 403], (0..150).map(guess).collect())
        })
}

fn identity(n: u32, source: &str) -> Exchange {
    from(source, "REGISTER", &(130 + n).to_string()).at(minutes(15) * n)
}

fn enumeration(driver: Driver) -> Scenario {
    attack(8, "slow-enumeration", driver)
        .about("Whether an extension exists is asked every 15 minutes.")
        .stretched()
        .ban(ExpectedBan {
            answers: Some(20),
            ..ban(ATTACKER, "extension-enumeration")
        })
        .play(|studio| {
            let ask = |n| identity(n, &format!("{ATTACKER}:5070"));
            studio.expect(&[401], (0..30).map(ask).collect())
        })
}

fn never_acked(driver: Driver) -> Scenario {
    attack(8, "slow-never-acked", driver)
        .about("An INVITE to one number every hour, never acknowledged.")
        .stretched()
        .ban(ban(ATTACKER, "unanswered-invite"))
        .play(|studio| {
            let call = |n: u32| {
                let call = from(&format!("{ATTACKER}:5070"), "INVITE", "100");
                call.to("900441234567").silent().at(hours(1) * n)
            };
            studio.expect(&[401], (0..9).map(call).collect())?;
            studio.agents.linger(seconds(33))
        })
}

fn probing(driver: Driver) -> Scenario {
    attack(8, "slow-probing", driver)
        .about("OPTIONS for ever new users, one every 15 minutes.")
        .stretched()
        .ban(ExpectedBan {
            answers: Some(60),
            ..ban(ATTACKER, "server-probing")
        })
        .play(|studio| {
            let ask = |n: u32| {
                let options = from(&format!("{ATTACKER}:5070"), "OPTIONS", "x");
                options.to(&(300 + n).to_string()).at(minutes(15) * n)
            };
            studio.expect(&[401, 404], (0..66).map(ask).collect())
        })
}

fn day(driver: Driver) -> Scenario {
    attack(8, "day", driver)
        .about(
            "A day of an office, whose phones register every 4 hours, call and mistype, and beside \
             it a slow guesser, a slow enumerator and a slow caller.",
        )
        .stretched()
        .ban(ban("203.0.113.10", "password-guessing"))
        .ban(ban("203.0.113.11", "extension-enumeration"))
        .ban(ban("203.0.113.12", "toll-fraud-probe"))
        .spared(PHONES)
        .play(|studio| {
            let mut exchanges = office();
            exchanges.extend((0..150).map(|n| slow_guess(n, &host(0))));
            exchanges.extend((0..24).map(|n| identity(n, &host(1))));
            exchanges.extend((0..20).map(|n| call(&host(2), n).at(minutes(40) * n)));
            studio.expect(&[200, 401, 403, 404], exchanges)
        })
}

fn office() -> Vec<Exchange> {
    let mut exchanges = Vec::new();
    for n in 0..6 {
        let offset = minutes(7) * n.into();
        for round in 0..6u32 {
            exchanges.push(phone(n, "REGISTER").at(hours(4) * round + offset));
        }
        let at = hours(4) + offset + minutes(3);
        exchanges.push(phone(n, "INVITE").to("600").at(at));
        exchanges.push(phone(n, "INVITE").to("7001").at(at + minutes(1)));
    }
    let mistyped = phone(6, "REGISTER")
        .password("Strong-107-Secert")
        .at(hours(5));
    exchanges.push(mistyped.clone());
    exchanges.push(
        mistyped
            .password(&Asterisk::password(extension(6)))
            .at(hours(5) + seconds(9)),
    );
    exchanges
}

fn spread_over_a_24(driver: Driver) -> Scenario {
    attack(9, "spread-24", driver)
        .about(
            "Three passwords of an account from each address of a /24 in turn, every 20 minutes.",
        )
        .stretched()
        .ban(ban("203.0.113.0/24", "prefix-campaign"))
        .play(|studio| {
            let guess = |n: u32| {
                let account = (110 + n / 3).to_string();
                let guess = from(&host(n / 3), "REGISTER", &account).password(&password(n));
                guess.at(minutes(20) * (n / 3) + seconds(1) * (n % 3))
            };
            studio.expect(&[401, 403], (0..36).map(guess).collect())
        })
}

fn spread_over_a_48() -> Scenario {
    attack(9, "spread-48", Driver::Pjsip)
        .about(
            "A password of one account from each of 40 /64s of a /48, one a minute. Of the 65,536 \
             there are, as the others would look the same.",
        )
        .stretched()
        .ipv6()
        .ban(ExpectedBan {
            at_least: Some(4),
            ..ban("2001:db8:bad::/48", "account-attacked")
        })
        .ban(ban("2001:db8:bad::/48", "prefix-campaign"))
        .play(|studio: &mut Studio| -> Result<()> {
            let guess = |n: u32| Exchange {
                server: format!("[{PBX_V6}]:5060").parse().expect("an address"),
                source: format!("[2001:db8:bad:{n:x}::1]:5070")
                    .parse()
                    .expect("an address"),
                ..from("192.0.2.9:5070", "REGISTER", VICTIM)
                    .password(&password(n))
                    .at(minutes(1) * n)
            };
            studio.expect(&[401, 403], (0..40).map(guess).collect())
        })
}

fn spread_over_one_account(driver: Driver) -> Scenario {
    attack(9, "spread-account", driver)
        .about(
            "A password of one account from each of 40 addresses all over, one every 10 minutes.",
        )
        .stretched()
        .ban(ExpectedBan {
            at_least: Some(36),
            ..ban(BOTNET, "account-attacked")
        })
        .play(|studio| {
            let guess = |n: u32| {
                let guess = from(&format!("100.{}.7.9:5070", 64 + n), "REGISTER", VICTIM);
                guess.password(&password(n)).at(minutes(10) * n)
            };
            studio.expect(&[401, 403], (0..40).map(guess).collect())
        })
}
