//! Makes the recordings under `crates/testkit/recordings` anew: real tools and a small user agent
//! against a real Asterisk 16 and a real Kamailio, in network namespaces, seen at the PBX's interface with nothing
//! that protects it.
//!
//! usage: sipward-record [PART-OF-A-NAME]...
#![expect(clippy::print_stdout, reason = "a command that says what it did")]

mod attacks;
mod forgery;
mod honest;
mod scenario;
mod slow;
mod studio;

use std::sync::Mutex;

use anyhow::{Result, bail};
use scenario::Scenario;
use sipward_testkit::require::{Need, require};

/// Most of the time of a recording is waiting.
const AT_ONCE: usize = 3;

fn main() -> Result<()> {
    let needs = [
        Need::Root,
        Need::Asterisk,
        Need::Kamailio,
        Need::SipVicious,
        Need::Program("ethtool"),
        Need::Program("nmap"),
        Need::Program("sipp"),
        Need::Program("sipsak"),
        Need::Program("tcpdump"),
    ];
    if !require(&needs) {
        bail!("not everything is there that makes recordings");
    }
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let scenarios = [honest::all(), attacks::all(), slow::all(), forgery::all()].concat();
    let scenarios = scenarios.into_iter().filter(|scenario| {
        wanted.is_empty() || wanted.iter().any(|part| scenario.path().contains(part))
    });
    let queue: Mutex<Vec<Scenario>> = Mutex::new(scenarios.collect());
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for worker in 0..AT_ONCE {
            // A lab is named after its thread.
            let thread = std::thread::Builder::new().name(format!("studio {worker}"));
            let work = || {
                while let Some(scenario) = take(&queue) {
                    match scenario.record() {
                        Ok(said) => println!("{said}"),
                        Err(error) => {
                            println!("{}: {error:#}", scenario.path());
                            failures
                                .lock()
                                .expect("nobody panics")
                                .push(scenario.path());
                        }
                    }
                }
            };
            thread.spawn_scoped(scope, work).expect("a thread");
        }
    });
    let failures = failures.into_inner().expect("nobody panics");
    if !failures.is_empty() {
        bail!("not recorded: {}", failures.join(", "));
    }
    Ok(())
}

fn take(queue: &Mutex<Vec<Scenario>>) -> Option<Scenario> {
    queue.lock().expect("nobody panics").pop()
}
