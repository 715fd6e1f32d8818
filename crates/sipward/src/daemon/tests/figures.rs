//! What the metrics show.

use std::{fs, path::Path};

use sipward_shield::{Event, SignatureHit};

use super::{Bench, scan, turn};
use crate::{
    config::Config,
    daemon::{Guard, step::Restoring},
};

const NAME: &str = "sipvicious-friendly-scanner";

/// What the metrics and what `status` say that this signature has hit.
fn hits(guard: &Guard, name: &str) -> (Option<u64>, Option<u64>) {
    let status = guard.status().unwrap();
    let mut ever = status.signatures.iter();
    let ever = ever.find(|it| it.name == name).map(|it| it.packets);
    let since_start = guard.figures().unwrap().signatures;
    (since_start.get(name).copied(), ever)
}

/// The kernel reports that a packet of this source had this signature.
fn hit(bench: &Bench, guard: &mut Guard, source: &str, name: &str, generation: u32) {
    let tables = guard.tables().unwrap();
    let is_it = |slot: &u16| tables.signature(*slot).is_some_and(|it| it.name == name);
    let slot = (0..).find(is_it).unwrap();
    let event = Event {
        signature: Some(SignatureHit { slot, generation }),
        // In which no graver one is found.
        sample: Vec::new(),
        ..scan(source, NAME)
    };
    bench.shield.state().events.push(event);
    turn(guard);
}

#[test]
fn hits_are_counted_from_the_start_on_and_never_go_down() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    assert_eq!(hits(&guard, NAME), (Some(0), None));
    hit(&bench, &mut guard, "203.0.113.7", NAME, 1);
    assert_eq!(hits(&guard, NAME), (Some(1), Some(1)));
    drop(guard);

    let mut guard = bench.guard();
    assert_eq!(hits(&guard, NAME), (Some(0), Some(1)));
    hit(&bench, &mut guard, "203.0.113.8", NAME, 2);
    assert_eq!(hits(&guard, NAME), (Some(1), Some(2)));
    // As after a step of the clock.
    guard.restoring = Restoring::now(Vec::new());
    guard.follow_clock();
    assert_eq!(hits(&guard, NAME), (Some(1), Some(2)));
}

#[test]
fn of_what_others_list_only_that_is_shown_which_has_ever_hit() {
    let bench = Bench::new();
    let signature = |name: &str| {
        format!(
            "[[signature]]\nname = \"{name}\"\nfield = \"user-agent\"\nmatch = \"exact\"\n\
             pattern = \"{name}\"\nconfidence = \"certain\"\nsource = \"a test\"\n"
        )
    };
    let file = bench.folder.path().join("web.toml");
    fs::write(&file, signature("web.one") + &signature("web.two")).unwrap();
    let mut guard = bench.guard_with(with_signatures(&file));
    hit(&bench, &mut guard, "203.0.113.7", "web.two", 1);
    assert_eq!(hits(&guard, "web.one"), (None, None));
    assert_eq!(hits(&guard, "web.two"), (Some(1), Some(1)));
    assert_eq!(hits(&guard, NAME), (Some(0), None));
    drop(guard);
    let guard = bench.guard_with(with_signatures(&file));
    assert_eq!(hits(&guard, "web.two"), (Some(0), Some(1)));
}

fn with_signatures(file: &Path) -> Config {
    let mut config = Config::default();
    config.signatures.files = vec![file.to_owned()];
    config
}

#[test]
fn a_rise_from_no_ban_is_seen_whoever_decides_it() {
    let figures = Bench::new().guard().figures().unwrap();
    for origin in ["manual", "feed", "fleet", "import"] {
        assert_eq!(figures.bans.get(&(origin, None)), Some(&0), "{origin}");
    }
    let local = figures.bans.keys().filter(|(origin, _)| *origin == "local");
    assert!(local.clone().count() > 5 && local.clone().all(|(_, by)| by.is_some()));
}
