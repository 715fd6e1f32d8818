//! Where the site's phones log in by a name, who registers with the bare address is given fewer
//! attempts, where the administrator wants that; nobody is banned for the address alone.

mod scene;

use std::time::Duration;

use scene::{Driver, Job, Scene, minutes, seconds};
use sipward_engine::{Config, Detector, Suspicion};
use test_case::test_case;

const ATTACKER: &str = "203.0.113.66";
const NAME: &str = "pbx.example.org";
const ADDRESS: &str = "198.51.100.1";
/// When the attacker comes, a day and an hour after the first phone.
const ATTACK: Duration = Duration::from_secs(25 * 3_600);

/// Phones of these accounts register with this host, at the beginning and again when a day is over.
fn phones(scene: &mut Scene, accounts: std::ops::Range<u32>, host: &'static str) {
    for account in accounts {
        scene.account(&account.to_string(), "Kq7-pZ");
        for at in [Duration::ZERO, minutes(24 * 60 + 1)] {
            let from = format!("198.51.100.{account}:5060");
            let phone = Job::new(&from, "REGISTER", &account.to_string());
            let phone = phone.password("Kq7-pZ").at(at);
            scene.add(Job { host, ..phone });
        }
    }
}

/// Extensions that are asked for with this host, one every ten seconds, and never log in.
fn enumerate(scene: &mut Scene, host: &'static str, at: Duration, count: u64) {
    scene.add_all((0..count).map(|n| {
        let from = format!("{ATTACKER}:5070");
        let job = Job::new(&from, "REGISTER", &(300 + n).to_string());
        let job = job.at(at + seconds(10 * n));
        Job { host, ..job }
    }));
}

fn scene(bare_address: u32) -> Scene {
    let mut config = Config::default();
    config.extension_enumeration.bare_address = bare_address;
    Scene::with(Driver::PjSip, config, 7)
}

/// How many answers the attacker got until it was banned.
fn answers(scene: &mut Scene) -> usize {
    scene.play(ATTACK + minutes(10));
    scene.banned_by(Detector::ExtensionEnumeration);
    scene.answers_to(ATTACKER)
}

#[test_case(0, 6; "by default nothing is different")]
#[test_case(1, 5; "one fewer")]
#[test_case(100, 3; "no less than half")]
fn a_stranger_at_the_bare_address_is_given_fewer_attempts(bare_address: u32, expected: usize) {
    let mut scene = scene(bare_address);
    phones(&mut scene, 101..104, NAME);
    enumerate(&mut scene, ADDRESS, ATTACK, 20);
    assert_eq!(answers(&mut scene), expected);
}

#[test]
fn a_stranger_who_knows_the_name_is_given_as_many_as_ever() {
    let mut scene = scene(3);
    phones(&mut scene, 101..104, NAME);
    enumerate(&mut scene, NAME, ATTACK, 20);
    assert_eq!(answers(&mut scene), 6);
}

#[test_case(101..103, 201..201; "two accounts are too few")]
#[test_case(101..104, 201..202; "one uses the address")]
fn a_site_without_a_name_of_its_own_is_none(
    by_name: std::ops::Range<u32>,
    by_address: std::ops::Range<u32>,
) {
    let mut scene = scene(3);
    phones(&mut scene, by_name, NAME);
    phones(&mut scene, by_address, ADDRESS);
    enumerate(&mut scene, ADDRESS, ATTACK, 20);
    assert_eq!(answers(&mut scene), 6);
}

#[test]
fn a_name_is_learned_in_a_day() {
    let mut scene = scene(3);
    phones(&mut scene, 101..104, NAME);
    enumerate(&mut scene, ADDRESS, minutes(23 * 60), 20);
    assert_eq!(answers(&mut scene), 6);
}

#[test]
fn the_address_alone_bans_nobody_and_is_told() {
    let mut scene = scene(3);
    phones(&mut scene, 101..104, NAME);
    enumerate(&mut scene, ADDRESS, ATTACK, 2);
    scene.play(ATTACK + minutes(1)).is_peaceful();
    let suspects = scene.engine.suspects(scene.now);
    let of_extensions = |suspect: &&Suspicion| suspect.detector == Detector::ExtensionEnumeration;
    let suspect = suspects.iter().find(of_extensions).unwrap();
    assert_eq!((suspect.count, suspect.fires_at), (2, 3));
    let told = &suspect.evidence[0].summary;
    assert!(
        told.ends_with("no login, at the bare address; phones here use pbx.example.org"),
        "{told}"
    );
}

/// Where somebody has logged in, a colleague may have set up a telephone by the address.
#[test]
fn an_address_that_has_logged_in_is_given_no_fewer() {
    let mut scene = scene(3);
    phones(&mut scene, 101..104, NAME);
    scene.account("110", "Kq7-pZ");
    let from = format!("{ATTACKER}:5060");
    let phone = Job::new(&from, "REGISTER", "110").password("Kq7-pZ");
    scene.add(Job {
        host: NAME,
        ..phone
    });
    enumerate(&mut scene, ADDRESS, ATTACK, 4);
    scene.play(ATTACK + minutes(1)).is_peaceful();
}

#[test]
fn an_address_that_logs_in_after_a_mistake_is_given_no_fewer() {
    let mut scene = scene(3);
    phones(&mut scene, 101..104, NAME);
    scene.account("110", "Kq7-pZ");
    enumerate(&mut scene, ADDRESS, ATTACK, 1);
    let from = format!("{ATTACKER}:5060");
    let phone = Job::new(&from, "REGISTER", "110").password("Kq7-pZ");
    scene.add(Job {
        host: NAME,
        ..phone.at(ATTACK + minutes(1))
    });
    enumerate(&mut scene, ADDRESS, ATTACK + minutes(2), 4);
    scene.play(ATTACK + minutes(3)).is_peaceful();
}
