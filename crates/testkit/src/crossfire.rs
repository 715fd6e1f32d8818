//! Genuine messages and a scanner's, in turn and from one address, while the signatures that tell
//! them apart are swapped: who arrived and who did not, counted by a socket.

use std::fmt::Write as _;
use std::io;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::wait_until;

/// Genuine messages, and as many of a scanner, on their way at once: no socket overflows.
const AT_ONCE: usize = 16;
const PATIENCE: Duration = Duration::from_secs(10);

/// What the scanner calls itself: in the lists of [`signature_file`] only, not among those that
/// sipward ships.
const SCANNER: &str = "crossfire-dialler";

const GENUINE: [&str; 4] = [
    "Yealink SIP-T46S 66.86.0.15",
    "Z 5.6.4 v2.10.20.4",
    "baresip v3.10.1 (x86_64/linux)",
    "Grandstream HT802 1.0.39.4",
];

/// What was sent and what arrived.
#[derive(Debug, Default)]
pub struct Counts {
    genuine_sent: AtomicUsize,
    scanner_sent: AtomicUsize,
    genuine: AtomicUsize,
    scanner: AtomicUsize,
}

impl Counts {
    /// Genuine messages that were sent.
    #[must_use]
    pub fn genuine_sent(&self) -> usize {
        self.genuine_sent.load(Ordering::Relaxed)
    }

    /// Messages of the scanner that were sent.
    #[must_use]
    pub fn scanner_sent(&self) -> usize {
        self.scanner_sent.load(Ordering::Relaxed)
    }

    /// Genuine messages that arrived.
    #[must_use]
    pub fn genuine(&self) -> usize {
        self.genuine.load(Ordering::Relaxed)
    }

    /// Messages of the scanner that arrived.
    #[must_use]
    pub fn scanner(&self) -> usize {
        self.scanner.load(Ordering::Relaxed)
    }

    /// Waits until a round of messages was sent that began after this call.
    ///
    /// # Errors
    /// After ten seconds.
    pub fn one_more_round(&self) -> Result<()> {
        let before = self.genuine_sent();
        wait_until("messages between two swaps", PATIENCE, || {
            self.genuine_sent() >= before + 2 * AT_ONCE
        })
    }
}

/// Sends from one socket to the other, whose address it is connected to, while `swap` is at work.
///
/// # Errors
/// What `swap` says, or a socket.
///
/// # Panics
/// If the sender does.
pub fn crossfire(
    sender: &UdpSocket,
    receiver: &UdpSocket,
    swap: impl FnOnce(&Counts) -> Result<()>,
) -> Result<Counts> {
    receiver.set_read_timeout(Some(Duration::from_millis(50)))?;
    let counts = Counts::default();
    let [swapped, over] = [false; 2].map(AtomicBool::new);
    let (swaps, sent) = thread::scope(|scope| {
        let sending = scope.spawn(|| send(sender, &counts, &swapped));
        scope.spawn(|| receive(receiver, &counts, &over));
        // A swap that panics ends the test, too.
        let is_over = Raised(&over);
        let is_swapped = Raised(&swapped);
        let swaps = swap(&counts);
        drop(is_swapped);
        let sent = sending.join();
        drop(is_over);
        (swaps, sent.expect("sending does not panic"))
    });
    sent?;
    swaps.with_context(|| format!("{counts:?}"))?;
    Ok(counts)
}

/// Raises a flag when it goes.
struct Raised<'a>(&'a AtomicBool);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A signature file of so many, one of which is the scanner's; two lists of different names have
/// nothing in common but that.
#[must_use]
pub fn signature_file(name: &str, count: usize) -> String {
    let mut text = String::new();
    for number in 0..count {
        let pattern = match number {
            0 => SCANNER.to_owned(),
            // Spread over the alphabet, so that the automata of two lists have little in common.
            _ => format!(
                "{:x}-{name}-scan",
                (number + name.len() + 1) * 7_919 % 65_537
            ),
        };
        writeln!(
            text,
            "[[signature]]\nname = \"{name}-{number}\"\nfield = \"user-agent\"\n\
             match = \"contains\"\npattern = \"{pattern}\"\nconfidence = \"likely\"\n\
             source = \"test\""
        )
        .expect("a string takes any text");
    }
    text
}

/// Both in turn, until the swaps are over or a genuine one is missing.
fn send(socket: &UdpSocket, counts: &Counts, swapped: &AtomicBool) -> io::Result<()> {
    while !swapped.load(Ordering::Relaxed) {
        for number in 0..AT_ONCE {
            socket.send(&request(GENUINE[number % GENUINE.len()]))?;
            counts.genuine_sent.fetch_add(1, Ordering::Relaxed);
            socket.send(&request(SCANNER))?;
            counts.scanner_sent.fetch_add(1, Ordering::Relaxed);
        }
        let all_arrived = || counts.genuine() == counts.genuine_sent();
        if wait_until("genuine messages to arrive", PATIENCE, all_arrived).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Counts what arrives, until a time without any after the last was sent.
fn receive(socket: &UdpSocket, counts: &Counts, over: &AtomicBool) {
    let mut message = [0; 2048];
    loop {
        match socket.recv(&mut message) {
            Ok(length)
                if message[..length]
                    .windows(SCANNER.len())
                    .any(|at| at == SCANNER.as_bytes()) =>
            {
                counts.scanner.fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) => {
                counts.genuine.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) if over.load(Ordering::Relaxed) => return,
            Err(_) => {}
        }
    }
}

fn request(user_agent: &str) -> Vec<u8> {
    format!(
        "REGISTER sip:pbx.example SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK7f2e;rport\r\nMax-Forwards: 70\r\n\
         From: \"Anna\" <sip:101@pbx.example>;tag=41fe\r\nTo: \"Anna\" <sip:101@pbx.example>\r\n\
         Call-ID: 5f1c8a@192.0.2.7\r\nCSeq: 1 REGISTER\r\nUser-Agent: {user_agent}\r\n\
         Contact: <sip:101@192.0.2.7:5060>\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, panic::catch_unwind};

    use super::crossfire;

    #[test]
    fn a_swap_that_panics_ends_it() {
        let [sender, receiver] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        let ended = catch_unwind(|| {
            crossfire(&sender, &receiver, |_| {
                panic!("as a daemon that died would have it")
            })
        });
        assert!(ended.is_err());
    }
}
