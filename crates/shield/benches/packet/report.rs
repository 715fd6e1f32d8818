//! What was measured, in tables.

use std::{env, fs};

use anyhow::{Context as _, Result};

use crate::{
    Effort,
    common::{MESSAGE_LEN, Spread},
    lane::{GUIDE_PATTERNS, Installed, Lane},
};

pub fn print_setting(effort: &Effort) -> Result<()> {
    let first_line = |path: &str| -> Result<String> {
        let text = fs::read_to_string(path).with_context(|| path.to_owned())?;
        Ok(text.lines().next().unwrap_or_default().to_owned())
    };
    let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
    let processor = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or(env::consts::ARCH, |(_, model)| model);
    println!(
        "One REGISTER of {MESSAGE_LEN} bytes (the SIP message) from an unknown source, over veth, on one core.\n\
         The list: {} rules, the guide's without `-`. Medians of {} rounds.\n\
         Linux {}, {processor}",
        GUIDE_PATTERNS.lines().count(),
        effort.rounds,
        first_line("/proc/sys/kernel/osrelease")?,
    );
    // It makes every return in the kernel cost a misprediction, and so every call of a helper.
    let overflow = first_line("/sys/devices/system/cpu/vulnerabilities/spec_rstack_overflow");
    if let Ok(state) = overflow
        && state.contains("Safe RET")
    {
        println!("Return stack overflow: {state}");
    }
    if effort.is_quick() {
        println!("A check that it works: the figures mean nothing.");
    }
    Ok(())
}

pub fn print_lanes(lanes: &[Lane]) {
    println!(
        "\n{:<28}{:>12}{:>12}{:>19}{:>14}",
        "nanoseconds", "a packet", "added", "min..max", "the list is"
    );
    let list = list_added(lanes);
    for lane in lanes {
        let whole = Spread::of(&lane.rounds).median;
        if let Installed::None = lane.installed {
            println!("{:<28}{whole:>12.0}", lane.name);
            continue;
        }
        let added = added(lanes, lane);
        println!(
            "{:<28}{whole:>12.0}{:>12.0}{:>19}{:>13.1}x",
            lane.name,
            added.median,
            format!("{:.0}..{:.0}", added.min, added.max),
            list / added.median,
        );
    }
}

pub fn print_programs(programs: &[(&str, Spread)]) {
    println!(
        "\n{:<28}{:>12}{:>31}",
        "the program alone", "a run", "min..max"
    );
    for (name, spread) in programs {
        let range = format!("{:.0}..{:.0}", spread.min, spread.max);
        println!("{name:<28}{:>12.0}{range:>31}", spread.median);
    }
}

pub fn print_ratios(lanes: &[Lane]) {
    let list = list_added(lanes);
    let ratios: Vec<String> = lanes
        .iter()
        .filter(|lane| matches!(lane.installed, Installed::Sipward(_)))
        .map(|lane| format!("{} {:.0}x", lane.name, list / added(lanes, lane).median))
        .collect();
    println!("\nCheaper than the list: {}.", ratios.join(", "));
}

/// What a lane costs beyond the lane without a filter, round by round.
fn added(lanes: &[Lane], lane: &Lane) -> Spread {
    let without = lanes
        .iter()
        .find(|lane| matches!(lane.installed, Installed::None));
    let without = without
        .map(|lane| lane.rounds.as_slice())
        .unwrap_or_default();
    let added: Vec<f64> = lane
        .rounds
        .iter()
        .zip(without)
        .map(|(with, without)| with - without)
        .collect();
    Spread::of(&added)
}

/// What the list adds, under that iptables of the two that is better at it.
fn list_added(lanes: &[Lane]) -> f64 {
    lanes
        .iter()
        .filter(|lane| matches!(lane.installed, Installed::List))
        .map(|lane| added(lanes, lane).median)
        .fold(f64::INFINITY, f64::min)
}
