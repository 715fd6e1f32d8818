//! What the log holds: what a PBX with a few hundred phones writes into `full` all day, in the
//! default form of its lines, and attackers among it. The same on each run.

use std::io::{self, Write};

const PHONES: u64 = 300;
const ATTACKERS: u64 = 200;
/// Lines of a second.
const RATE: u64 = 25;
/// One of so many lines is about who may or may not.
const SECURITY: u64 = 20;
/// One of so many of these is an attacker's.
const ATTACK: u64 = 4;

/// Writes about so many bytes, and tells how many lines.
pub fn write(mut out: impl Write, bytes: u64) -> io::Result<u64> {
    let (mut written, mut lines) = (0, 0);
    let mut dice = Dice(1);
    while written < bytes {
        let seconds = lines / RATE;
        // Forty days at most: a gigabyte is four.
        let (day, clock) = (1 + seconds / 86_400, seconds % 86_400);
        let (month, day) = if day > 28 {
            ("Mar", day - 28)
        } else {
            ("Feb", day)
        };
        let text = match dice.roll(SECURITY) {
            0 if dice.roll(ATTACK) == 0 => attack(&mut dice),
            0 => honest(&mut dice, seconds),
            _ => other(&mut dice),
        };
        let line = format!(
            "[{month} {day:>2} {:02}:{:02}:{:02}] {text}\n",
            clock / 3600,
            clock / 60 % 60,
            clock % 60
        );
        out.write_all(line.as_bytes())?;
        written += line.len() as u64;
        lines += 1;
    }
    out.flush()?;
    Ok(lines)
}

/// Knuth's multiplier; what it gives need not be good, only the same.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % sides
    }
}

fn other(dice: &mut Dice) -> String {
    let phone = 100 + dice.roll(PHONES);
    let call = dice.roll(1 << 20);
    let number = dice.roll(1_000_000);
    match dice.roll(10) {
        0 => format!(
            "VERBOSE[{}] chan_sip.c: Registered SIP '{phone}' at 198.51.100.{}:5060",
            700,
            phone % 250
        ),
        1 => format!(
            "NOTICE[711] chan_sip.c: Peer '{phone}' is now Reachable. ({}ms / 2000ms)",
            number % 90
        ),
        2 => format!(
            "VERBOSE[{call}][C-{call:08x}] pbx.c: Executing [0049{number}@phones:1] Set(\"SIP/{phone}-{call:08x}\", \"CALLERID(num)={phone}\") in new stack"
        ),
        3 => format!(
            "VERBOSE[{call}][C-{call:08x}] pbx.c: Executing [0049{number}@phones:2] Dial(\"SIP/{phone}-{call:08x}\", \"SIP/trunk/0049{number},60,r\") in new stack"
        ),
        4 => format!("VERBOSE[{call}][C-{call:08x}] app_dial.c: SIP/trunk-{call:08x} is ringing"),
        5 => format!(
            "VERBOSE[{call}][C-{call:08x}] app_dial.c: SIP/trunk-{call:08x} answered SIP/{phone}-{call:08x}"
        ),
        6 => format!(
            "VERBOSE[{call}][C-{call:08x}] bridge_channel.c: Channel SIP/{phone}-{call:08x} joined 'simple_bridge' basic-bridge <{call:08x}-{number:06}>"
        ),
        7 => format!(
            "VERBOSE[{call}][C-{call:08x}] bridge_channel.c: Channel SIP/{phone}-{call:08x} left 'native_rtp' basic-bridge <{call:08x}-{number:06}>"
        ),
        8 => format!(
            "WARNING[{call}][C-{call:08x}] channel.c: Exceptionally long voice queue length queuing to SIP/{phone}-{call:08x}"
        ),
        _ => format!(
            "VERBOSE[{call}][C-{call:08x}] pbx.c: Spawn extension (phones, 0049{number}, 2) exited non-zero on 'SIP/{phone}-{call:08x}'"
        ),
    }
}

fn security(
    event: &str,
    severity: &str,
    account: u64,
    address: &str,
    seconds: u64,
    more: &str,
) -> String {
    format!(
        "SECURITY[702] res_security_log.c: SecurityEvent=\"{event}\",EventTV=\"2026-02-01T00:00:{:02}.100+0000\",\
         Severity=\"{severity}\",Service=\"SIP\",EventVersion=\"1\",AccountID=\"{account}\",\
         SessionID=\"0x7f{seconds:010x}\",LocalAddress=\"IPV4/UDP/192.0.2.1/5060\",\
         RemoteAddress=\"IPV4/UDP/{address}/5060\"{more}",
        seconds % 60
    )
}

fn honest(dice: &mut Dice, seconds: u64) -> String {
    let account = 100 + dice.roll(PHONES);
    let address = format!("198.51.100.{}", account % 250);
    match dice.roll(2) {
        0 => security(
            "ChallengeSent",
            "Informational",
            account,
            &address,
            seconds,
            ",Challenge=\"5f3a9c11\"",
        ),
        _ => security(
            "SuccessfulAuth",
            "Informational",
            account,
            &address,
            seconds,
            ",UsingPassword=\"1\"",
        ),
    }
}

fn attack(dice: &mut Dice) -> String {
    let attacker = dice.roll(ATTACKERS);
    let address = format!("203.0.113.{attacker}");
    let account = dice.roll(10_000);
    match dice.roll(4) {
        0 => format!(
            "NOTICE[711] chan_sip.c: Registration from '\"{account}\"<sip:{account}@192.0.2.1>' failed for '{address}:5060' - Wrong password"
        ),
        1 => format!(
            "NOTICE[711][C-{account:08x}] chan_sip.c: Call from '' ({address}:5060) to extension '00442071{account:06}' rejected because extension not found in context 'public'."
        ),
        2 => format!(
            "NOTICE[704] res_pjsip/pjsip_distributor.c: Request 'REGISTER' from '<sip:{account}@192.0.2.1>' failed for '{address}:5060' (callid: {account}) - No matching endpoint found"
        ),
        _ => security(
            "InvalidPassword",
            "Error",
            account,
            &address,
            account,
            ",Challenge=\"1\",ReceivedChallenge=\"1\",ReceivedHash=\"2\"",
        ),
    }
}
