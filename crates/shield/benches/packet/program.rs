//! The programs without any network around them, and what a lane puts into them.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, EbpfLoader, include_bytes_aligned,
    programs::{TestRun as _, TestRunOptions, xdp},
};
use ipnet::IpNet;
use sipward_shield::{Ban, BootTime, Reason, Scope, Shield, Simulator, Target};
use sipward_signature::{Profile, SignatureSet, Tables};
use sipward_testkit::packet::Packet;

use crate::{
    Effort,
    common::{Spread, configure, register},
};

pub static BARE_OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/bare.bpf.o"));

/// Times each program without any network around it: name, nanoseconds per run.
pub fn programs_alone(effort: &Effort) -> Result<Vec<(&'static str, Spread)>> {
    let frame = Packet::udp("203.0.113.7:5060", "192.0.2.1:5060")
        .payload(&register("Yealink SIP-T46S 66.86.0.15"))
        .build();
    let mut alone = Vec::new();
    for (name, program) in [("XDP_DROP alone", "drop"), ("XDP_PASS alone", "pass")] {
        let mut ebpf = EbpfLoader::new().load(BARE_OBJECT)?;
        let program = bare_program(&mut ebpf, program)?;
        let run = || {
            let options = TestRunOptions {
                data_in: Some(&frame),
                repeat: effort.repeat,
                ..TestRunOptions::new()
            };
            Ok(program.test_run(options)?.duration)
        };
        alone.push((name, timed(effort, run)?));
    }
    for (name, profile, listed) in [
        ("sipward", Profile::Standard, 0),
        ("sipward, profile strict", Profile::Strict, 0),
        ("sipward, 10,000 in lists", Profile::Standard, 10_000),
    ] {
        let mut simulator = Simulator::new()?;
        configure(&mut simulator, profile)?;
        fill_lists(&mut simulator, listed)?;
        let spread = timed(effort, || Ok(simulator.time(&frame, effort.repeat)?))?;
        let clean = simulator.counters()?.of(Reason::Clean).passed;
        let runs = effort.test_runs as u64 * u64::from(effort.repeat);
        ensure!(clean == runs, "{clean} of {runs} runs were clean");
        alone.push((name, spread));
    }
    Ok(alone)
}

fn timed(effort: &Effort, mut run: impl FnMut() -> Result<Duration>) -> Result<Spread> {
    let runs: Vec<f64> = (0..effort.test_runs)
        .map(|_| Ok(run()?.as_nanos() as f64))
        .collect::<Result<_>>()?;
    Ok(Spread::of(&runs))
}

/// What a packet costs beside a list of 5,000 signatures, and beside the built-in one, in turn.
pub fn print_many_signatures(effort: &Effort) -> Result<()> {
    const MANY: usize = 5_000;
    // As strict as it gets, so that every signature is in the table, but sent by a device whose
    // name nobody drops.
    let frame = Packet::udp("203.0.113.7:5060", "192.0.2.1:5060")
        .payload(&register("snomD785/10.1.64.14"))
        .build();
    let few = SignatureSet::builtin().iter().len();
    let mut simulators = Vec::new();
    for count in [few, MANY] {
        let mut simulator = Simulator::new()?;
        configure(&mut simulator, Profile::Strict)?;
        simulator.set_signatures(&many_signatures(count)?)?;
        simulators.push((simulator, Vec::new()));
    }
    for _ in 0..effort.test_runs {
        for (simulator, runs) in &mut simulators {
            runs.push(simulator.time(&frame, effort.repeat)?.as_nanos() as f64);
        }
    }
    let mut medians = Vec::new();
    for (simulator, runs) in &simulators {
        let clean = simulator.counters()?.of(Reason::Clean).passed;
        let all = runs.len() as u64 * u64::from(effort.repeat);
        ensure!(clean == all, "{clean} of {all} runs were clean");
        medians.push(Spread::of(runs).median);
    }
    if let [few_ns, many_ns] = medians[..] {
        println!(
            "\n{few} signatures: {few_ns:.0} ns a run; {MANY}: {many_ns:.0} ns, {:+.1} %.",
            (many_ns / few_ns - 1.0) * 100.0
        );
    }
    Ok(())
}

pub fn bare_program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut xdp::Xdp> {
    let program: &mut xdp::Xdp = ebpf
        .program_mut(name)
        .context("no such program")?
        .try_into()?;
    program.load()?;
    Ok(program)
}

/// Signatures of a list as feeds make it: the built-in ones and, to make up the number, names that
/// may stand anywhere in the User-Agent and share next to nothing with each other.
fn many_signatures(count: usize) -> Result<Tables> {
    let mut set = SignatureSet::builtin();
    let mut text = String::new();
    for number in set.iter().len()..count {
        let mut state = (number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let letters = std::iter::repeat_with(|| {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            let pick = state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
            char::from(b"abcdefghijklmnopqrstuvwxyz0123456789"[pick as usize % 36])
        });
        let pattern: String = letters.take(12).collect();
        text += &format!(
            "[[signature]]\nname = \"s{number}\"\nfield = \"user-agent\"\nmatch = \"contains\"\n\
             pattern = \"{pattern}\"\nconfidence = \"certain\"\nsource = \"bench\"\n"
        );
    }
    set.merge(SignatureSet::parse("bench.toml", &text)?);
    ensure!(set.iter().len() == count, "{count} signatures");
    Ok(set.compile(Profile::Strict, &[])?)
}

/// Bans and allows addresses and networks that the phone is not in.
fn fill_lists(shield: &mut impl Shield, entries: u32) -> Result<()> {
    for number in 0..entries {
        let address = Ipv4Addr::from(0x0a00_0000 | number << 8 | 1);
        let network = IpNet::new(address.into(), if number % 10 == 0 { 24 } else { 32 })?;
        if number % 100 == 5 {
            shield.allow(network)?;
            continue;
        }
        shield.ban(&Ban {
            target: Target {
                prefix: network.trunc(),
                port: None,
            },
            scope: Scope::All,
            until: BootTime::NEVER,
        })?;
    }
    Ok(())
}
