//! Packets all the time, few enough to leave the machine to what is tested.

use std::{
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    lab::{ATTACKER, Lab, PBX},
    process::wait_until,
};

/// Who sends what a scanner sends.
pub const SCANNER: &str = "203.0.113.99";

/// However it is forgotten, it ends.
const LONGEST: Duration = Duration::from_secs(600);
const PAUSE: Duration = Duration::from_millis(1);

/// Some 2,000 packets a second until dropped: harmless ones of [`ATTACKER`], who is to be banned, and
/// a scanner's of [`SCANNER`].
#[derive(Debug)]
pub struct Trickle {
    state: Arc<State>,
    sending: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    is_over: AtomicBool,
    sent: AtomicU64,
}

impl Trickle {
    /// Begins.
    ///
    /// # Errors
    /// If the attacker cannot have these addresses.
    pub fn start(lab: &Lab) -> Result<Self> {
        // Sockets stay in the namespace in which they were made.
        let (banned, scanner) = lab.attacker.enter(|| {
            let bind = |address| UdpSocket::bind((address, 0));
            bind(ATTACKER).and_then(|banned| Ok((banned, bind(SCANNER)?)))
        })?;
        let state = Arc::<State>::default();
        let theirs = Arc::clone(&state);
        let sending = thread::spawn(move || send(&banned, &scanner, &theirs));
        Ok(Self {
            state,
            sending: Some(sending),
        })
    }

    /// Packets so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::Relaxed)
    }

    /// Waits for more packets.
    ///
    /// # Errors
    /// If it has ended.
    pub fn go_on(&self, packets: u64) -> Result<()> {
        let wanted = self.sent() + packets;
        wait_until("the trickle to go on", LONGEST, || self.sent() >= wanted)
    }
}

impl Drop for Trickle {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Relaxed);
        // It cannot panic, and has nothing to tell.
        let _ = self.sending.take().map(JoinHandle::join);
    }
}

fn send(banned: &UdpSocket, scanner: &UdpSocket, state: &State) {
    let harmless = b"OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nUser-Agent: Snom\r\n\r\n";
    let scan = b"OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nUser-Agent: friendly-scanner\r\n\r\n";
    let begun = Instant::now();
    while !state.is_over.load(Ordering::Relaxed) && begun.elapsed() < LONGEST {
        // A full queue is no reason to stop.
        let _ = banned.send_to(harmless, (PBX, 5060));
        let _ = scanner.send_to(scan, (PBX, 5060));
        state.sent.fetch_add(2, Ordering::Relaxed);
        thread::sleep(PAUSE);
    }
}
