//! The kernel's events as the engine's observations.

use std::{collections::VecDeque, mem, net::SocketAddr};

use sipward_engine::{KernelDrop, Observation, Reason, SignatureHit, Time, Transport};
use sipward_shield::Event;
use sipward_signature::{CompiledSignature, Field, ScanMode, Tables};

use super::guard::Guard;
use crate::clock::Clocks;

/// Sets of signatures whose numbers are known: events of the one before the last may still wait.
const GENERATIONS: usize = 2;
/// IP's protocol number of TCP.
const TCP: u8 = 6;

/// What is needed to read events, and how many there were.
#[derive(Debug, Default)]
pub struct KernelEvents {
    /// All so far.
    pub taken: u64,
    /// Of these, what said nothing to us.
    pub unmatched: u64,
    signatures: VecDeque<(u32, Tables)>,
}

impl Guard {
    /// Takes what the kernel has reported; returns how many events that were. None is taken as
    /// later than `until`.
    pub fn take_events(&mut self, until: Time) -> usize {
        let mut waiting = Vec::new();
        let count = self.shield.drain_events(&mut |event| waiting.push(event));
        let mut events = mem::take(&mut self.events);
        for event in &waiting {
            events.taken += 1;
            self.reject(event);
            let Some((drop, field)) = events.read(event) else {
                events.unmatched += 1;
                continue;
            };
            let clocks = Clocks::now();
            let at = clocks.unix(event.at).unwrap_or(clocks.unix);
            self.observe(&Observation::KernelDrop(drop), at.min(until));
            if let Some(field) = field {
                self.add_evidence(&event.sample, field);
            }
        }
        self.events = events;
        count
    }
}

impl KernelEvents {
    /// The signatures of this generation are in force from now on.
    pub fn know(&mut self, generation: u32, tables: Tables) {
        self.signatures.push_front((generation, tables));
        self.signatures.truncate(GENERATIONS);
    }

    /// The signatures in force.
    pub fn tables(&self) -> Option<&Tables> {
        self.signatures.front().map(|(_, tables)| tables)
    }

    /// What an event says, and the signature that hit; none where it says nothing to us.
    fn read<'a>(&'a self, event: &'a Event) -> Option<(KernelDrop<'a>, Option<Field>)> {
        let signature = self.signature(event);
        let reason = Reason::from_number(event.reason as u8)
            .filter(|reason| *reason != Reason::Signature || signature.is_some())?;
        let drop = KernelDrop {
            source: SocketAddr::new(event.source, event.source_port),
            destination: SocketAddr::new(event.destination, event.destination_port),
            transport: if event.protocol == TCP {
                Transport::Tcp
            } else {
                Transport::Udp
            },
            established: false,
            reason,
            count: event.count,
            passed: event.passed,
            signature: signature.map(|signature| SignatureHit {
                name: &signature.name,
                confidence: signature.confidence,
            }),
            packet: None,
            sample: &event.sample,
        };
        Some((drop, signature.map(|signature| signature.field)))
    }

    fn signature(&self, event: &Event) -> Option<&CompiledSignature> {
        let hit = event.signature?;
        let (_, tables) = self
            .signatures
            .iter()
            .find(|(generation, _)| *generation == hit.generation)?;
        let mode = if event.protocol == TCP {
            ScanMode::SEGMENT
        } else {
            ScanMode::DATAGRAM
        };
        tables.signature(tables.gravest(hit.slot, &event.sample, mode))
    }
}
