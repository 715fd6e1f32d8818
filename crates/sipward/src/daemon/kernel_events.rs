//! The kernel's events as the engine's observations.

use std::{collections::VecDeque, net::SocketAddr};

use sipward_engine::{Command, Engine, KernelDrop, Observation, Reason, SignatureHit, Transport};
use sipward_shield::Event;
use sipward_signature::{CompiledSignature, Tables};

use super::evidence;
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

impl KernelEvents {
    /// The signatures of this generation are in force from now on.
    pub fn know(&mut self, generation: u32, tables: Tables) {
        self.signatures.push_front((generation, tables));
        self.signatures.truncate(GENERATIONS);
    }

    /// Tells the engine of an event; what it decides goes to the end of `decided`.
    pub fn take(&mut self, engine: &mut Engine, decided: &mut VecDeque<Command>, event: &Event) {
        self.taken += 1;
        let signature = self.signature(event);
        let reason = Reason::from_number(event.reason as u8)
            .filter(|reason| *reason != Reason::Signature || signature.is_some());
        let Some(reason) = reason else {
            self.unmatched += 1;
            return;
        };
        let observation = Observation::KernelDrop(KernelDrop {
            source: SocketAddr::new(event.source, event.source_port),
            destination: SocketAddr::new(event.destination, event.destination_port),
            transport: if event.protocol == TCP {
                Transport::Tcp
            } else {
                Transport::Udp
            },
            // The program keeps no state of TCP connections.
            established: false,
            reason,
            signature: signature.map(|signature| SignatureHit {
                name: &signature.name,
                confidence: signature.confidence,
            }),
            packet: None,
            sample: &event.sample,
        });
        let clocks = Clocks::now();
        engine.observe(&observation, clocks.unix(event.at).unwrap_or(clocks.unix));
        while let Some(mut command) = engine.next_command() {
            if let (Command::Alert(alert), Some(signature)) = (&mut command, signature) {
                evidence::add_headers(alert, &event.sample, signature.field);
            }
            decided.push_back(command);
        }
    }

    fn signature(&self, event: &Event) -> Option<&CompiledSignature> {
        let hit = event.signature?;
        let (_, tables) = self
            .signatures
            .iter()
            .find(|(generation, _)| *generation == hit.generation)?;
        tables.signature(hit.slot)
    }
}
