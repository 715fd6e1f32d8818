//! What honest parties and their PBX make of a flood.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use super::Flood;
use crate::asterisk::Driver;
use crate::count::kernel_counter;
use crate::lab::{Lab, PHONES};
use crate::phone::{Phones, Task};

/// Extensions of the phone that has logged in before: one for each of its logins and calls.
const FIRST_LOGIN: u16 = 101;
const FIRST_CALL: u16 = 141;
const STRANGERS_EXTENSION: u16 = 190;

/// A phone registers so often, and calls half as often.
const LOGIN_EVERY: Duration = Duration::from_secs(1);
/// What of it is under way when the flood ends may take this long.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a flood did.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// Packets a second on the PBX's interface, as the interface counts them.
    pub packets_per_second: u64,
    /// Datagrams that the PBX's kernel handed to a program.
    pub reached: u64,
    /// Logins of the phone that succeeded, and of how many.
    pub logins: [u16; 2],
    /// Its calls, likewise.
    pub calls: [u16; 2],
    /// After how long a phone that nobody had seen before was registered.
    pub stranger: Option<Duration>,
}

impl Outcome {
    /// Whether no honest party noticed the flood.
    #[must_use]
    pub fn is_harmless(&self) -> bool {
        let all = |[successes, all]: [u16; 2]| successes == all;
        all(self.logins) && all(self.calls) && self.stranger.is_some()
    }
}

/// The phone's login before any flood: whoever trusts by logins trusts it from now on.
///
/// # Errors
/// If it does not succeed.
pub fn log_in(lab: &Lab) -> Result<()> {
    let phone = Phones::one(PHONES.parse()?, Driver::ChanSip.address(), Task::Register);
    phone.start(&lab.phones)?.finish(PATIENCE)
}

/// Sends the flood at a chan_sip for this long, at most so many packets a second. Meanwhile a phone registers each second and calls
/// every two, and a stranger at `stranger`, an address of the phones' network, tries to register.
///
/// # Errors
/// If a tool cannot be run.
pub fn endure(
    flood: Flood,
    lab: &Lab,
    time: Duration,
    per_second: u64,
    stranger: Ipv4Addr,
) -> Result<Outcome> {
    lab.phones.address("eth0", &format!("{stranger}/24"))?;
    let logins = u16::try_from(time.as_secs() / LOGIN_EVERY.as_secs())?;
    let calls = logins / 2;
    let source = PHONES.parse()?;
    let phones = |task, first, count| Phones {
        count,
        first,
        within: time,
        retransmit: true,
        ..Phones::one(source, Driver::ChanSip.address(), task)
    };
    let before = (frames(lab)?, datagrams(lab)?);
    std::thread::scope(|scope| {
        let begin = Instant::now();
        let flooding = scope.spawn(move || flood.send(lab, time, per_second));
        let registering = phones(Task::Register, FIRST_LOGIN, logins).start(&lab.phones)?;
        let calling = phones(Task::Call, FIRST_CALL, calls).start(&lab.phones)?;
        let stranger = stranger_registers(lab, stranger, begin, time)?;
        let sent = flooding.join();
        let flooded = begin.elapsed();
        sent.map_err(|_| anyhow!("the flood panicked"))??;
        let arrived = frames(lab)? - before.0;
        Ok(Outcome {
            packets_per_second: (arrived as f64 / flooded.as_secs_f64()) as u64,
            reached: datagrams(lab)? - before.1,
            logins: [registering.successes(PATIENCE)?, logins],
            calls: [calling.successes(PATIENCE)?, calls],
            stranger,
        })
    })
}

/// Tries again, as a phone does whose registration timed out, until the flood ends.
fn stranger_registers(
    lab: &Lab,
    source: Ipv4Addr,
    begin: Instant,
    time: Duration,
) -> Result<Option<Duration>> {
    while begin.elapsed() < time {
        let phone = Phones {
            first: STRANGERS_EXTENSION,
            retransmit: true,
            ..Phones::one(
                IpAddr::V4(source),
                Driver::ChanSip.address(),
                Task::Register,
            )
        };
        let succeeded = phone.start(&lab.phones)?.successes(PATIENCE)? == 1;
        let after = begin.elapsed();
        if succeeded && after <= time {
            return Ok(Some(after));
        }
    }
    Ok(None)
}

/// Frames that came to the PBX's interface, those for which its kernel had no time included.
fn frames(lab: &Lab) -> Result<u64> {
    let said = lab.pbx.run("ip -json -stats link show eth0")?;
    let said: Value = serde_json::from_str(&said)?;
    let counter = |name| {
        let counter = said.pointer(&format!("/0/stats64/rx/{name}"));
        counter.and_then(Value::as_u64).context("ip counts nothing")
    };
    Ok(counter("packets")? + counter("dropped")?)
}

/// UDP datagrams that the PBX's kernel has put into a socket.
fn datagrams(lab: &Lab) -> Result<u64> {
    kernel_counter(&lab.pbx, "UdpInDatagrams")
}
