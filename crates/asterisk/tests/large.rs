//! A tree of 50,000 accounts.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use sipward_asterisk::audit;
use sipward_asterisk::config::Memory;

const ACCOUNTS: usize = 50_000;

/// Passwords as a provisioning system makes them: twelve letters and digits.
fn secret(n: usize) -> String {
    let mut state = (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x2545_F491_4F6C_DD1D;
    let letters = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";
    (0..12)
        .map(|_| {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            let pick = state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
            char::from(letters[usize::try_from(pick).expect("31 bits") % letters.len()])
        })
        .collect()
}

fn tree() -> Memory {
    let mut sip = String::from(
        "[general]\nallowguest=no\n[phone](!)\ntype=friend\nhost=dynamic\ncontext=office\n",
    );
    let mut extensions = String::from("[office]\n");
    for n in 0..ACCOUNTS {
        let number = 100_000 + n;
        let name = secret(n + ACCOUNTS);
        write!(sip, "[{number}](phone)\nsecret={}\ncallerid=\"{name}\" <{number}>\nmailbox={number}@default\n", secret(n))
            .expect("a string");
        writeln!(extensions, "exten => {number},1,Dial(SIP/{number},30)").expect("a string");
    }
    extensions.push_str("exten => _73519.,1,Dial(SIP/${EXTEN:5}@provider)\n");
    Memory::with([("sip.conf", sip), ("extensions.conf", extensions)])
}

/// What the process has spent on all processors, so that a busy machine fails nobody.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)
        .expect("a clock")
        .into()
}

#[test]
fn fifty_thousand_accounts_take_less_than_two_seconds() {
    let files = tree();
    let (start, before) = (Instant::now(), processor_time());
    let report = audit::audit(&files, Path::new(Memory::ROOT));
    let (elapsed, took) = (start.elapsed(), processor_time() - before);
    let findings = report.findings.len();
    println!(
        "{ACCOUNTS} accounts, {findings} findings: {took:?} of processor, {elapsed:?} elapsed"
    );
    assert!(report.findings.iter().any(|f| f.id == "dialplan-injection"));
    // Idle, the judging of passwords is spread over the processors.
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get().min(2));
    let elapsed_when_idle = took / u32::try_from(processors).expect("one or two");
    assert!(elapsed_when_idle < Duration::from_secs(2), "{took:?}");
}
