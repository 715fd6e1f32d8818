//! The same observations give the same commands: whatever the seed of the hashes, and however
//! often the time is told in between.

mod scene;

use proptest::prelude::*;
use scene::{Driver, Job, Login, Scene, millis, minutes};
use sipward_engine::{Command, Config};

#[derive(Clone, Copy, Debug)]
struct Step {
    at: u32,
    host: u8,
    port: u8,
    method: usize,
    user: u8,
    login: u8,
    right: bool,
    silent: bool,
    tcp: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (
        0u32..900_000,
        0u8..6,
        0u8..3,
        0usize..6,
        0u8..12,
        0u8..5,
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    );
    let step = step.prop_map(
        |(at, host, port, method, user, login, right, silent, tcp)| Step {
            at,
            host,
            port,
            method,
            user,
            login,
            right,
            silent,
            tcp,
        },
    );
    prop::collection::vec(step, 1..150)
}

fn play(steps: &[Step], driver: Driver, seed: u64, more_timeouts: bool) -> Vec<Command> {
    let mut scene = Scene::with(driver, Config::default(), seed);
    scene.more_timeouts = more_timeouts;
    for n in 0..12 {
        scene.account(&(100 + n).to_string(), &format!("right-{n}"));
    }
    scene.pbx.numbers.insert("100".to_owned());
    for step in steps {
        let from = match step.host {
            0 => format!("[2001:db8::{}]:{}", step.port, 5060),
            host => format!("203.0.113.{host}:{}", 5060 + u16::from(step.port)),
        };
        let methods = [
            "REGISTER",
            "INVITE",
            "OPTIONS",
            "SUBSCRIBE",
            "BYE",
            "MESSAGE",
        ];
        let password = match step.right {
            true => format!("right-{}", step.user),
            false => format!("{}", step.at),
        };
        let login = match step.login {
            0 => Login::Never,
            1 => Login::Password(password),
            2 => Login::Cached(password),
            3 => Login::Ims(password),
            _ => Login::Oracle(password),
        };
        let job = Job::new(&from, methods[step.method], &(100 + step.user).to_string());
        let job = Job {
            acknowledges: !step.silent,
            tcp: step.tcp,
            ..job.to(&(100 + step.at % 40).to_string()).login(login)
        };
        scene.add(job.at(millis(step.at.into())));
    }
    scene.play(minutes(30));
    scene.commands
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn seeds_and_timeouts_change_no_command(
        steps in steps(), chan_sip: bool, seeds: (u64, u64),
    ) {
        let driver = if chan_sip { Driver::ChanSip } else { Driver::PjSip };
        let commands = play(&steps, driver, seeds.0, false);
        for (seed, more_timeouts) in [(seeds.0, false), (seeds.1, false), (seeds.1, true)] {
            let again = play(&steps, driver, seed, more_timeouts);
            let difference = commands.iter().zip(&again).find(|(a, b)| a != b);
            prop_assert_eq!(difference, None, "more timeouts: {}", more_timeouts);
            prop_assert_eq!(commands.len(), again.len());
        }
    }
}

/// What the property compares is not empty.
#[test]
fn random_traffic_leads_to_commands() {
    let step = |n: u32| Step {
        at: n * 500,
        host: 1 + (n % 2) as u8,
        port: 0,
        method: (n % 3) as usize,
        user: (n % 12) as u8,
        login: (n % 5) as u8,
        right: n.is_multiple_of(7),
        silent: n.is_multiple_of(2),
        tcp: false,
    };
    let steps: Vec<Step> = (0..150).map(step).collect();
    let commands = play(&steps, Driver::ChanSip, 1, true);
    assert!(
        commands
            .iter()
            .any(|command| matches!(command, Command::Ban(_)))
    );
    assert!(
        commands
            .iter()
            .any(|command| matches!(command, Command::Trust(_)))
    );
}
