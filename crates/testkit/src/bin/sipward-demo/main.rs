//! sipward at work: a stock scanner against a real PBX, first without, then with sipward, in
//! network namespaces that vanish afterwards; and then attackers under the name of a telephone
//! against Fail2Ban and against sipward.
//!
//! usage: sipward-demo PATH-OF-SIPWARD
#![expect(clippy::print_stdout, reason = "a demonstration is what it prints")]

mod contest;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sipward_testkit::asterisk::{Asterisk, Driver, Settings, WEAK_EXTENSION};
use sipward_testkit::count::PacketCounter;
use sipward_testkit::guard::Guard;
use sipward_testkit::kamailio::{Kamailio, Pike};
use sipward_testkit::lab::{ATTACKER, Lab, PBX, PHONES};
use sipward_testkit::phone::{Phones, Task};
use sipward_testkit::process::Process;
use sipward_testkit::require::{asterisk_root, fail2ban};
use sipward_testkit::scanner::Scanner;

const PATIENCE: Duration = Duration::from_secs(120);
const SIP: u16 = 5060;

fn main() -> Result<()> {
    let program = std::env::args()
        .nth(1)
        .context("usage: sipward-demo PATH-OF-SIPWARD")?;
    let lab = Lab::new().context("the demonstration needs root and iproute2")?;
    let pbx = Pbx::start(&lab)?;
    println!("A PBX:     {PBX}        {}", pbx.name());
    println!("A scanner: {ATTACKER}      stock SIPVicious, unmodified");
    println!("A phone:   {PHONES}    sipp with a digest login\n");

    heading("Without sipward");
    let counter = PacketCounter::new(&lab.pbx, ATTACKER, SIP)?;
    scan(&lab)?;
    reached(&counter)?;

    heading("With sipward");
    // Counters of packets begin anew with the chain.
    let counter = PacketCounter::new(&lab.pbx, ATTACKER, SIP)?;
    println!("$ sipward run --interface eth0");
    let mut guard = Guard::start(Path::new(&program), &lab.pbx)?;
    println!(
        "{}\n",
        indented(guard.log().lines().last().unwrap_or_default())
    );
    scan(&lab)?;
    pbx.call(&lab)?;
    reached(&counter)?;
    if counter.packets()? > 0 {
        bail!("packets of the scanner came through: {}", guard.log());
    }
    for question in [&["bans"][..], &["why", ATTACKER], &["status"]] {
        println!("$ sipward {}", question.join(" "));
        println!("{}", indented(&answer(&guard, question)?));
    }

    heading("Undo");
    println!("$ sipward unban {ATTACKER}");
    println!("{}", indented(&answer(&guard, &["unban", ATTACKER])?));
    println!("$ kill -TERM $(pidof sipward)");
    guard.stop()?;
    let link = lab.pbx.run("ip link show eth0")?;
    if link.contains("xdp") {
        bail!("something of it stayed behind: {link}");
    }
    println!("   The interface is as it was before.\n");

    heading("Beside Fail2Ban");
    let has_asterisk = matches!(pbx, Pbx::Asterisk(_));
    drop(pbx);
    if !has_asterisk || !fail2ban().is_dir() {
        println!("It takes Asterisk 16 and Fail2Ban, which could not be installed.");
        return Ok(());
    }
    contest::run(&lab, Path::new(&program))
}

/// The PBX of the demonstration.
enum Pbx {
    Asterisk(Asterisk),
    #[expect(dead_code, reason = "it runs as long as it is held")]
    Kamailio(Kamailio),
}

impl Pbx {
    fn start(lab: &Lab) -> Result<Self> {
        if asterisk_root().is_dir() {
            progress("starting Asterisk", || {
                Asterisk::start(&lab.pbx, &Settings::default())
            })
            .map(Self::Asterisk)
        } else {
            println!("Asterisk 16 could not be installed: Kamailio takes its place.");
            progress("starting Kamailio", || Kamailio::start(&lab.pbx, Pike::Off))
                .map(Self::Kamailio)
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Asterisk(asterisk) => asterisk
                .cli("core show version")
                .unwrap_or_default()
                .split(" built")
                .next()
                .unwrap_or_default()
                .to_owned(),
            Self::Kamailio(_) => "Kamailio".to_owned(),
        }
    }

    /// A phone registers and calls while the scanner is at work.
    fn call(&self, lab: &Lab) -> Result<()> {
        // Kamailio is a proxy: it registers phones, and has nobody to answer a call.
        let (task, done) = match self {
            Self::Asterisk(_) => (
                Task::Call,
                "A phone registered, called and hung up meanwhile.",
            ),
            Self::Kamailio(_) => (Task::Register, "A phone registered meanwhile."),
        };
        let mut phone = Phones::one(PHONES.parse()?, Driver::ChanSip.address(), task);
        phone.first = WEAK_EXTENSION;
        phone.start(&lab.phones)?.finish(PATIENCE)?;
        println!("{done}");
        Ok(())
    }
}

/// What an attacker does first: who is there, and what is the password?
fn scan(lab: &Lab) -> Result<()> {
    let extension = WEAK_EXTENSION.to_string();
    let scans: [(&str, Scanner, &[&str]); 2] = [
        ("svmap", Scanner::Svmap, &[PBX]),
        (
            "svcrack",
            Scanner::Svcrack,
            &["-u", &extension, "-r", "100-199", PBX],
        ),
    ];
    for (name, scanner, arguments) in scans {
        println!("$ {name} {}", arguments.join(" "));
        let mut command: Command = scanner.command(&lab.attacker);
        let finished = Process::run(command.args(arguments), PATIENCE)?;
        let learned: Vec<&str> = finished
            .stdout
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        if learned.is_empty() {
            println!("   nothing: {}", last_word(&finished.stderr));
        }
        for line in learned {
            println!("   {line}");
        }
    }
    println!();
    Ok(())
}

/// What a command says, on either stream.
fn answer(guard: &Guard<'_>, arguments: &[&str]) -> Result<String> {
    let finished = guard.ask(arguments)?;
    Ok(finished.stdout + &finished.stderr)
}

fn reached(counter: &PacketCounter<'_>) -> Result<()> {
    println!(
        "Packets of the scanner that reached the PBX, by its own iptables: {}\n",
        counter.packets()?
    );
    Ok(())
}

/// The end of what a scanner wrote beside its findings.
fn last_word(stderr: &str) -> &str {
    stderr
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or("it said nothing")
        .trim()
}

fn progress<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let begin = Instant::now();
    println!("{what} ...");
    let done = work()?;
    println!("{what}: {:.1} s\n", begin.elapsed().as_secs_f64());
    Ok(done)
}

fn heading(text: &str) {
    println!("{text}\n{}", "-".repeat(text.len()));
}

fn indented(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("   {line}")).collect();
    lines.join("\n").trim_end().to_owned() + "\n"
}
