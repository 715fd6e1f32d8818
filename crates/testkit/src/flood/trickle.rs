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
    lab::{ATTACKER, Lab, PBX, PBX_V6},
    process::wait_until,
};

/// Who sends what a scanner sends.
pub const SCANNER: &str = "203.0.113.99";

/// However it is forgotten, it ends.
const LONGEST: Duration = Duration::from_secs(600);
const PAUSE: Duration = Duration::from_millis(1);

/// Some 1,000 packets a second of each source until dropped: a scanner's of [`SCANNER`], harmless ones
/// of the others, who are to be banned.
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
    /// Begins, with packets of [`ATTACKER`] and of [`SCANNER`].
    ///
    /// # Errors
    /// If the attacker cannot have these addresses.
    pub fn start(lab: &Lab) -> Result<Self> {
        Self::of(lab, &[ATTACKER, SCANNER])
    }

    /// Begins, with packets of these sources over IPv4 and IPv6.
    ///
    /// # Errors
    /// If the attacker cannot have these addresses.
    pub fn of(lab: &Lab, sources: &[&str]) -> Result<Self> {
        // Sockets stay in the namespace in which they were made.
        let sender = |source: &&str| Sender::bind(source);
        let bound = || sources.iter().map(sender).collect::<Result<Vec<_>>>();
        let senders = lab.attacker.enter(bound)?;
        let state = Arc::<State>::default();
        let theirs = Arc::clone(&state);
        let sending = thread::spawn(move || send(&senders, &theirs));
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

/// Who sends what to whom.
struct Sender {
    socket: UdpSocket,
    pbx: &'static str,
    message: &'static [u8],
}

impl Sender {
    fn bind(source: &str) -> Result<Self> {
        Ok(Self {
            socket: UdpSocket::bind((source, 0))?,
            pbx: if source.contains(':') { PBX_V6 } else { PBX },
            message: if source == SCANNER {
                b"OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nUser-Agent: friendly-scanner\r\n\r\n"
            } else {
                b"OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nUser-Agent: Snom\r\n\r\n"
            },
        })
    }
}

fn send(senders: &[Sender], state: &State) {
    let begun = Instant::now();
    while !state.is_over.load(Ordering::Relaxed) && begun.elapsed() < LONGEST {
        for Sender {
            socket,
            pbx,
            message,
        } in senders
        {
            // A full queue is no reason to stop.
            let _ = socket.send_to(message, (*pbx, 5060));
            state.sent.fetch_add(1, Ordering::Relaxed);
        }
        thread::sleep(PAUSE);
    }
}
