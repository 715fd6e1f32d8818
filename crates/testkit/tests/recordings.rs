//! The labelled recordings are complete, and small enough to be carried along.

use std::fs;

use sipward_testkit::recording::{self, ATTACKS, HONEST, Recording};

const LARGEST: u64 = 500_000;
const ALL: u64 = 10_000_000;

fn all() -> Vec<Recording> {
    recording::all().expect("the recordings are readable")
}

#[test]
fn every_party_has_a_recording_and_every_recording_a_party() {
    let recordings = all();
    for (kind, lines) in [("honest/", HONEST), ("attacks/", ATTACKS)] {
        let of_kind = || recordings.iter().filter(|r| r.name.starts_with(kind));
        for line in lines {
            let is_shown = of_kind().any(|recording| recording.label.line == *line);
            assert!(is_shown, "nothing shows {kind}{line}");
        }
        for Recording { name, label, .. } in of_kind() {
            assert!(
                lines.contains(&label.line.as_str()),
                "{name}: {}",
                label.line
            );
        }
    }
}

#[test]
fn each_is_whole_and_small() {
    let mut sum = 0;
    for recording in all() {
        let size = fs::metadata(&recording.path).unwrap().len();
        let frames = recording.frames().unwrap();
        let bytes: usize = frames.iter().map(|frame| 16 + frame.bytes.len()).sum();
        assert_eq!(size, 24 + bytes as u64, "{} ends early", recording.name);
        assert!(
            frames.is_sorted_by_key(|frame| frame.at),
            "{}",
            recording.name
        );
        assert!(size <= LARGEST, "{}: {size} bytes", recording.name);
        sum += size;
    }
    assert!(sum <= ALL, "{sum} bytes");
}
