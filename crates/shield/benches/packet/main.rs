//! What one legitimate REGISTER costs behind the guide's iptables list and behind sipward, side
//! by side on veth pairs.
//!
//! Each filter has a pair and a receiving namespace of its own. One thread, pinned to one core,
//! sends; the kernel receives each packet in the softirq that the send raised, so the time of a
//! send holds the whole way of the packet. That way ends in every lane alike: at a bound UDP
//! socket whose buffer is full, so that nobody has to be woken to read. Every packet must arrive
//! there; with sipward each must have been counted as clean, which is said only after the
//! signature step; and each filter must have stopped a scanner's packet.
//!
//! The clock reads bursts, of which a round takes the median: what else runs on the machine
//! hits single bursts. Rounds go over all lanes in turn.
//!
//! `cargo bench` measures. `--quick`, or no `--bench` (as `cargo test` runs it), only checks that
//! every lane works.
#![allow(clippy::print_stdout, reason = "the table is what it is for")]

#[path = "../common/mod.rs"]
mod common;
mod lane;
mod program;
mod report;

use std::{env, time::Duration};

use anyhow::{Context as _, Result};
use common::own_mounts;
use lane::{Filter, Lane};
use program::{print_many_signatures, programs_alone};
use report::{print_lanes, print_programs, print_ratios, print_setting};
use sipward_shield::XdpMode;
use sipward_testkit::{
    cores,
    namespace::Namespace,
    require::{Need, require},
};

const LANES: &[(&str, Filter)] = &[
    ("no filter", Filter::None),
    ("the list, iptables-legacy", Filter::List("iptables-legacy")),
    ("the list, iptables-nft", Filter::List("iptables-nft")),
    ("XDP_PASS alone, native", Filter::Bare(XdpMode::Native)),
    ("XDP_PASS alone, generic", Filter::Bare(XdpMode::Generic)),
    ("sipward, native", Filter::Sipward(XdpMode::Native)),
    ("sipward, generic", Filter::Sipward(XdpMode::Generic)),
];

fn main() -> Result<()> {
    let needs = [
        Need::Root,
        Need::Program("iptables-legacy-restore"),
        Need::Program("iptables-nft-restore"),
    ];
    if !require(&needs) {
        return Ok(());
    }
    let asked = |flag: &str| env::args().any(|argument| argument == flag);
    let effort = if asked("--bench") && !asked("--quick") {
        Effort::FULL
    } else {
        Effort::QUICK
    };
    own_mounts()?;
    cores::pin_to_last()?;

    print_setting(&effort)?;
    let phones = Namespace::new("phones")?;
    let mut lanes = Vec::new();
    for (number, (name, filter)) in LANES.iter().enumerate() {
        let lane = Lane::new(&phones, number, name, *filter);
        lanes.push(lane.with_context(|| (*name).to_owned())?);
    }
    for _ in 0..effort.rounds {
        for lane in &mut lanes {
            let round = lane.round(&effort);
            let name = lane.name;
            lane.rounds.push(round.with_context(|| name.to_owned())?);
        }
    }
    print_lanes(&lanes);
    print_programs(&programs_alone(&effort)?);
    print_many_signatures(&effort)?;
    print_ratios(&lanes);
    Ok(())
}

/// How long to measure.
struct Effort {
    rounds: usize,
    /// A lane's share of a round ends after so many bursts or so long, whichever is first.
    bursts: usize,
    share: Duration,
    test_runs: usize,
    repeat: u32,
}

impl Effort {
    const FULL: Self = Self {
        rounds: 15,
        bursts: 2000,
        share: Duration::from_millis(120),
        test_runs: 40,
        repeat: 20_000,
    };
    const QUICK: Self = Self {
        rounds: 1,
        bursts: 4,
        share: Duration::from_secs(1),
        test_runs: 1,
        repeat: 100,
    };

    fn is_quick(&self) -> bool {
        self.rounds == Self::QUICK.rounds
    }
}
