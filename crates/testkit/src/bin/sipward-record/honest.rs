//! Honest parties, with the numbers that make them look like attackers.

use anyhow::{Context, Result};
use sipward_testkit::asterisk::{Asterisk, Driver};
use sipward_testkit::lab::PHONES;
use sipward_testkit::phone::{Phones, Task};
use sipward_testkit::user_agent::{Acknowledges, Ending, Exchange, Login};

use crate::scenario::{
    DRIVERS, SERVER, Scenario, Server, ban, extension, honest, hours, millis, minutes, phone,
    seconds,
};
use crate::studio::{Studio, all_end_with};

/// A provider's gateway that the PBX knows by its address.
pub const TRUNK: &str = "198.51.100.20";
/// Providers and monitors that nobody told the PBX of.
const UNLISTED: [&str; 2] = ["198.51.100.30", "198.51.100.31"];
/// A user agent keeps its nonce for so long before it uses it again: longer than Asterisk does.
const NONCE_AGE: u64 = 36;

pub fn all() -> Vec<Scenario> {
    let mut all = vec![
        sipp_power_cut(),
        old_port(),
        mistypes(Server::Kamailio),
        nonce_caching(Server::Kamailio, 2),
    ];
    for driver in DRIVERS {
        all.extend([
            power_cut(driver),
            sixty_keys(driver),
            refused_keys(driver),
            gateway(driver),
            stale_passwords(driver),
            stale_passwords_for_a_day(driver),
            mistypes(driver),
            nonce_caching(driver, 3),
            ims(driver),
            misdials(driver),
            misdialling_trunk(driver),
            swallowed_acks(driver),
            provider(driver),
            notify(driver),
            keep_alives(driver),
            trunk(driver),
            forked(driver),
            softphone(driver),
            colleague(driver),
        ]);
    }
    all
}

fn power_cut(driver: Driver) -> Scenario {
    honest(1, "power-cut", driver)
        .about("60 phones behind one address register within 0.1 s.")
        .far(millis(80), millis(5))
        .concurrency(60)
        .play(|studio| {
            let phones = (0..60).map(|n| phone(n, "REGISTER").at(millis(100) * n.into() / 60));
            studio.expect(&[200], phones.collect())
        })
}

fn sipp_power_cut() -> Scenario {
    honest(1, "power-cut-sipp", Driver::ChanSip)
        .about("60 phones behind one address, sipp's, register within 0.1 s; 10 of them call then.")
        .far(millis(80), millis(0))
        .concurrency(60)
        .play(|studio| {
            let phones = PHONES.parse()?;
            let sixty = Phones {
                count: 60,
                ..Phones::one(phones, SERVER.parse()?, Task::Register)
            };
            sixty.start(&studio.lab.phones)?.finish(minutes(1))?;
            let ten = Phones {
                count: 10,
                task: Task::Call,
                ..sixty
            };
            ten.start(&studio.lab.phones)?.finish(minutes(1))
        })
}

fn sixty_keys(driver: Driver) -> Scenario {
    honest(2, "sixty-keys", driver)
        .about("A phone with 60 BLF keys boots: it registers and subscribes to 60 extensions.")
        .far(millis(80), millis(5))
        .concurrency(60)
        .play(|studio| boot_with_keys(studio, 100, &[200]))
}

fn refused_keys(driver: Driver) -> Scenario {
    let (why, status) = match driver {
        Driver::ChanSip => ("the PBX allows no subscriptions (allowsubscribe=no)", 403),
        Driver::Pjsip => ("the extensions behind its keys are gone", 404),
    };
    honest(2, "sixty-keys-refused", driver)
        .about(&format!("A phone with 60 BLF keys boots, and {why}."))
        .far(millis(80), millis(5))
        .concurrency(60)
        .asterisk("sip.conf", "[general](+)\nallowsubscribe = no\n")
        .play(move |studio| boot_with_keys(studio, 300, &[status]))
}

fn boot_with_keys(studio: &mut Studio, first: u16, statuses: &[u16]) -> Result<()> {
    studio.expect(&[200], vec![phone(0, "REGISTER")])?;
    let key = |n: u16| {
        phone(0, "SUBSCRIBE")
            .to(&(first + n).to_string())
            .at(millis(5) * n.into())
    };
    studio.expect(statuses, (0..60).map(key).collect())?;
    studio.agents.linger(seconds(1))
}

fn gateway(driver: Driver) -> Scenario {
    honest(3, "gateway", driver)
        .about("A gateway with 48 analogue ports registers all of them from one port.")
        .far(millis(150), millis(10))
        .concurrency(48)
        .play(|studio| {
            let port = |n: u16| Exchange {
                source: format!("{PHONES}:5060").parse().expect("an address"),
                ..phone(n, "REGISTER").at(millis(2) * n.into())
            };
            studio.expect(&[200], (0..48).map(port).collect())
        })
}

fn stale_passwords(driver: Driver) -> Scenario {
    honest(4, "stale-passwords", driver)
        .about(
            "Two phones behind one address have last year's password and try it every 30 s for \
             half an hour; a third has the right one.",
        )
        .stretched()
        .play(|studio| stale(studio, 60, 30))
}

fn stale_passwords_for_a_day(driver: Driver) -> Scenario {
    honest(4, "stale-passwords-day", driver)
        .about(
            "Two phones behind one address have last year's password and try it every half an hour \
             for a day; a third has the right one.",
        )
        .stretched()
        .play(|studio| stale(studio, 48, 1_800))
}

fn stale(studio: &mut Studio, attempts: u16, every: u64) -> Result<()> {
    studio.expect(&[200], vec![phone(2, "REGISTER")])?;
    let attempt = |n: u16, number: u16| {
        let at = seconds(every) * number.into() + seconds(7) * (n + 1).into();
        phone(n, "REGISTER").password("last-years-secret").at(at)
    };
    let attempts = (0..attempts).flat_map(|number| [attempt(0, number), attempt(1, number)]);
    studio.expect(&[401, 403], attempts.collect())
}

fn mistypes(server: impl Into<Server>) -> Scenario {
    honest(5, "mistypes", server)
        .about("A user mistypes the password twice, and gets it right the third time.")
        .stretched()
        .play(|studio| {
            let wrong = |n: u32| {
                let password = format!("Strong-101-Secre{n}");
                phone(0, "REGISTER").password(&password).at(seconds(8) * n)
            };
            studio.expect(&[401, 403], vec![wrong(0), wrong(1)])?;
            studio.expect(&[200], vec![phone(0, "REGISTER").at(seconds(16))])
        })
}

fn nonce_caching(server: impl Into<Server>, rounds: u32) -> Scenario {
    honest(6, "nonce-caching", server)
        .about(&format!(
            "Six phones register and six trunks call, {rounds} times, each with the nonce of the \
             time before, which the PBX no longer knows."
        ))
        .parameter("age-of-nonces", &format!("{NONCE_AGE}s"))
        .concurrency(12)
        .play(move |studio| {
            for round in 0..rounds {
                let kept = |n: u16, method| {
                    let password = Asterisk::password(extension(n));
                    phone(n, method)
                        .login(Login::Kept(password))
                        .at(millis(50) * n.into())
                };
                let phones = (0..6).map(|n| Exchange {
                    call_id: format!("phone-{n}@{PHONES}"),
                    cseq: 1 + 10 * round,
                    ..kept(n, "REGISTER")
                });
                let trunks = (6..12).map(|n| kept(n, "INVITE").to("600"));
                studio.expect(&[200], phones.chain(trunks).collect())?;
                if round + 1 < rounds {
                    studio.agents.linger(seconds(NONCE_AGE))?;
                }
            }
            Ok(())
        })
}

fn ims(driver: Driver) -> Scenario {
    honest(7, "ims", driver)
        .about("20 handsets send empty credentials first, as IMS wants it.")
        .concurrency(20)
        .play(|studio| {
            let handset = |n: u16| {
                let login = Login::Ims(Asterisk::password(extension(n)));
                phone(n, "REGISTER").login(login).at(millis(10) * n.into())
            };
            studio.expect(&[200], (0..20).map(handset).collect())
        })
}

fn misdials(driver: Driver) -> Scenario {
    honest(8, "misdials", driver)
        .about("A logged-in user dials 15 numbers that nobody has, one every 10 s.")
        .stretched()
        .play(|studio| {
            studio.expect(&[200], vec![phone(0, "REGISTER")])?;
            let call = |n: u32| {
                let number = (7_000 + n).to_string();
                phone(0, "INVITE")
                    .to(&number)
                    .at(seconds(5) + seconds(10) * n)
            };
            studio.expect(&[404], (0..15).map(call).collect())
        })
}

/// A trunk that both drivers know by its address, and that the PBX asks whether it is there.
pub fn with_trunk(scenario: Scenario) -> Scenario {
    scenario
        .asterisk(
            "sip.conf",
            &format!(
                "[trunk]\ntype = peer\nhost = {TRUNK}\ninsecure = port,invite\ncontext = phones\n\
                 qualify = yes\n"
            ),
        )
        .asterisk(
            "pjsip.conf",
            &format!(
                "[trunk](phone)\naors = trunk\n[trunk]\ntype = aor\ncontact = sip:{TRUNK}:5060\n\
                 [trunk]\ntype = identify\nendpoint = trunk\nmatch = {TRUNK}\n"
            ),
        )
        .asterisk(
            "extensions.conf",
            "[phones](+)\nexten => _49X.,1,Answer()\n same => n,Echo()\n",
        )
}

pub fn open_trunk(studio: &mut Studio) -> Result<()> {
    studio.lab.phones.address("eth0", &format!("{TRUNK}/24"))?;
    let (trunk, server) = (format!("{TRUNK}:5060").parse()?, SERVER.parse()?);
    let udp = sipward_testkit::user_agent::Transport::Udp;
    studio.agents.socket(trunk, server, udp)?;
    // What the PBX asked before the trunk was there is not answered for half a second.
    studio.agents.linger(seconds(1))?;
    studio.begin();
    Ok(())
}

/// The PBX asks whether the trunk is there, and it is.
pub fn ask_trunk(studio: &mut Studio) -> Result<()> {
    let (asterisk, driver) = studio.asterisk()?;
    asterisk.cli(match driver {
        Driver::ChanSip => "sip qualify peer trunk",
        Driver::Pjsip => "pjsip qualify trunk",
    })?;
    studio.agents.linger(seconds(1))
}

fn call_of_trunk(n: u32, number: &str) -> Exchange {
    let trunk = format!("{TRUNK}:5060");
    let call = Exchange::new(&trunk, SERVER, "INVITE", &format!("4930{:06}", 1_234 * n));
    Exchange {
        user_agent: None,
        ..call.to(number)
    }
}

fn misdialling_trunk(driver: Driver) -> Scenario {
    with_trunk(honest(8, "misdialling-trunk", driver))
        .about(
            "A trunk that the PBX asks whether it is there passes on 25 calls to numbers that \
             nobody has.",
        )
        .stretched()
        .play(|studio| {
            open_trunk(studio)?;
            ask_trunk(studio)?;
            let call = |n: u32| {
                call_of_trunk(n, &(8_000 + n).to_string()).at(seconds(5) + seconds(10) * n)
            };
            studio.expect(&[404], (0..25).map(call).collect())
        })
}

fn trunk(driver: Driver) -> Scenario {
    with_trunk(honest(13, "trunk", driver))
        .about("An IP-authenticated trunk calls 45 numbers from 45 numbers, one every 2 s.")
        .stretched()
        .play(|studio| {
            open_trunk(studio)?;
            let call = |n: u32| call_of_trunk(n, &format!("4940{n:04}")).at(seconds(2) * n);
            studio.expect(&[200], (0..45).map(call).collect())?;
            studio.agents.linger(seconds(1))
        })
}

fn swallowed_acks(driver: Driver) -> Scenario {
    honest(9, "swallowed-acks", driver)
        .about(
            "A router swallows the ACK of every 200 of a phone's calls, and in every second call \
             that of the challenge, too.",
        )
        .stretched()
        .play(|studio| {
            studio.expect(&[200], vec![phone(0, "REGISTER")])?;
            let call = |n: u32| Exchange {
                acknowledges: match n % 2 {
                    0 => Acknowledges::Refusals,
                    _ => Acknowledges::Nothing,
                },
                ending: Ending::Stays,
                ..phone(0, "INVITE")
                    .to("600")
                    .at(seconds(5) + seconds(40) * n)
            };
            studio.expect(&[200], (0..8).map(call).collect())?;
            studio.agents.linger(seconds(34))
        })
}

fn provider(driver: Driver) -> Scenario {
    honest(10, "provider", driver)
        .about("Two unlisted addresses ask with OPTIONS, one every 5 s, one every 30 s, for 10 minutes.")
        .stretched()
        .play(|studio| {
            let ask = |place: usize, n: u32, every: u64| {
                let source = format!("{}:5060", UNLISTED[place]);
                let options = Exchange::new(&source, SERVER, "OPTIONS", "ping");
                Exchange { user_agent: None, ..options.at(seconds(every) * n) }
            };
            for address in UNLISTED {
                studio.lab.phones.address("eth0", &format!("{address}/24"))?;
            }
            let often = (0..120).map(|n| ask(0, n, 5));
            let seldom = (0..20).map(|n| ask(1, n, 30));
            studio.expect(&[200, 401, 404], often.chain(seldom).collect())
        })
}

fn notify(driver: Driver) -> Scenario {
    let status = match driver {
        Driver::ChanSip => 200,
        Driver::Pjsip => 401,
    };
    honest(11, "notify", driver)
        .about(&format!(
            "A registered phone keeps its NAT open with a NOTIFY every 15 s, each answered {status}."
        ))
        .stretched()
        .play(move |studio| {
            studio.expect(&[200], vec![phone(0, "REGISTER")])?;
            let notify = |n: u32| {
                let notify = phone(0, "NOTIFY").login(Login::Never);
                notify.to("101").at(seconds(15) + seconds(15) * n)
            };
            studio.expect(&[status], (0..100).map(notify).collect())
        })
}

fn keep_alives(driver: Driver) -> Scenario {
    honest(12, "keep-alives", driver)
        .about("60 phones register and keep their NAT open with CRLF, NUL, STUN and empty datagrams every 20 s.")
        .concurrency(60)
        .stretched()
        .play(|studio| {
            let register = (0..60).map(|n| phone(n, "REGISTER").at(millis(50) * n.into()));
            studio.expect(&[200], register.collect())?;
            let stun = b"\0\x01\0\0\x21\x12\xa4\x42sipward-test";
            let payloads: [&[u8]; 5] = [b"\r\n\r\n", b"\r\n", b"\0\0\0\0", stun, b""];
            for round in 1..10u32 {
                studio.moment(seconds(20) * round);
                for n in 0..60 {
                    let Exchange { source, server, .. } = phone(n, "OPTIONS");
                    let payload = payloads[usize::from(n + u16::try_from(round)?) % payloads.len()];
                    studio.agents.send(source, server, payload)?;
                }
                studio.agents.linger(millis(20))?;
            }
            Ok(())
        })
}

fn forked(driver: Driver) -> Scenario {
    honest(14, "forked", driver)
        .about("A phone calls an extension that rings on two phones, and cancels; eight times.")
        .concurrency(3)
        .asterisk(
            "extensions.conf",
            "[phones](+)\nexten => 700,1,Dial(SIP/102&SIP/103&PJSIP/102&PJSIP/103,20)\n",
        )
        .play(|studio| {
            let register = (0..3).map(|n| phone(n, "REGISTER").at(millis(50) * n.into()));
            studio.expect(&[200], register.collect())?;
            let call = |n: u32| Exchange {
                ending: Ending::Cancels,
                ..phone(0, "INVITE").to("700").at(millis(300) * n)
            };
            studio.expect(&[487], (0..8).map(call).collect())?;
            studio.agents.linger(seconds(1))
        })
}

fn softphone(driver: Driver) -> Scenario {
    honest(15, "softphone", driver)
        .about(
            "A softphone wakes up after a weekend, sends four registrations with Friday's nonce \
             before it reads an answer, and subscribes.",
        )
        .parameter("age-of-nonces", &format!("{NONCE_AGE}s"))
        .stretched()
        .play(|studio| {
            studio.expect(&[200], vec![phone(0, "REGISTER")])?;
            studio.agents.linger(seconds(NONCE_AGE))?;
            let phone = |method| phone(0, method);
            let nonce = studio
                .agents
                .kept(phone("REGISTER").source)
                .context("a nonce")?;
            let login = Login::Unasked(Asterisk::password(extension(0)), nonce.to_owned());
            let wakes = |n: u32| phone("REGISTER").login(login.clone()).at(millis(20) * n);
            let outcomes = studio.play_at(hours(62), (0..4).map(wakes).collect())?;
            all_end_with(&[200], &outcomes)?;
            let key = |n: u32| {
                phone("SUBSCRIBE")
                    .to(&(110 + n).to_string())
                    .at(millis(100) * n)
            };
            let keys = (0..4).map(key).collect();
            let outcomes = studio.play_at(hours(62) + seconds(2), keys)?;
            all_end_with(&[200], &outcomes)
        })
}

fn old_port() -> Scenario {
    honest(16, "old-port", Driver::Pjsip)
        .about(
            "The PBX moved from port 5060 to 5080. An employee's phone logs in there; after a \
             reset it has the old port for a while, and then the new one.",
        )
        .stretched()
        .port(5080)
        .config("[ports]\nsip-udp = [5080]\nsip-tcp = [5080]\ntripwire = [5060]\n")
        .play(|studio| {
            let moved = |at| Exchange {
                server: "192.0.2.1:5080".parse().expect("an address"),
                ..phone(0, "REGISTER").at(at)
            };
            studio.expect(&[200], vec![moved(seconds(0))])?;
            let old = |n: u32| phone(0, "REGISTER").at(hours(24) + seconds(30) * n);
            studio.play_at(
                hours(24),
                (0..8).map(|n| old(n).at(millis(100) * n)).collect(),
            )?;
            studio.expect(&[200], vec![moved(hours(25))])
        })
}

fn colleague(driver: Driver) -> Scenario {
    let guesser = phone(1, "REGISTER").source;
    let mut banned = ban(PHONES, "password-guessing");
    banned.port = Some(guesser.port());
    banned.refused = Some(6);
    honest(17, "colleague", driver)
        .about(
            "Behind the address from which somebody guesses passwords, a colleague registers every \
             minute, and another mistypes in the midst of it.",
        )
        .stretched()
        .ban(banned)
        .play(|studio| {
            let colleague = |n: u32| phone(0, "REGISTER").at(minutes(1) * n);
            let guess = |n: u32| {
                let password = format!("zq{n}-Xw{}", n * 7919);
                phone(1, "REGISTER")
                    .password(&password)
                    .at(minutes(5) + seconds(1) * n)
            };
            let mistyped = phone(2, "REGISTER").password("Strong-103-Secert");
            let mistyped = mistyped.at(minutes(5) + millis(3_500));
            let mut exchanges: Vec<Exchange> = (0..30).map(colleague).collect();
            exchanges.extend((0..40).map(guess));
            exchanges.push(mistyped);
            studio.expect(&[200, 401, 403], exchanges)
        })
}
