//! What a capture says of requests and their answers.

use std::collections::{BTreeMap, BTreeSet};

use sipward_testkit::pcap::Frame;
use sipward_wire::{LinkType, Packet, sip::Message};

/// A request, however often it was sent: its Call-ID, CSeq and branch. SIPVicious repeats the first
/// two of them.
type Transaction = (Vec<u8>, u32, Vec<u8>);

/// Requests of a client and the server's answers to them, retransmissions counted once.
#[derive(Debug, Default)]
pub struct Dialogue {
    with_credentials: BTreeSet<Transaction>,
    answers: BTreeMap<Transaction, BTreeSet<u16>>,
}

impl Dialogue {
    /// Reads both directions of a capture.
    pub fn of(frames: &[Frame]) -> Self {
        let mut dialogue = Self::default();
        for frame in frames {
            let packet = Packet::parse(LinkType::Ethernet, &frame.bytes);
            let message = Message::parse(packet.payload().unwrap_or_default());
            let number = message.cseq().and_then(|cseq| cseq.number);
            let branch = message.via().and_then(|via| via.branch());
            let (Some(call_id), Some(number), Some(branch)) = (message.call_id(), number, branch)
            else {
                continue;
            };
            let transaction = (call_id.to_vec(), number, branch.to_vec());
            if let Some(status) = message.status() {
                dialogue
                    .answers
                    .entry(transaction)
                    .or_default()
                    .insert(status);
            } else if message.credentials().next().is_some() {
                dialogue.with_credentials.insert(transaction);
            }
        }
        dialogue
    }

    /// Requests with credentials.
    pub fn attempts(&self) -> usize {
        self.with_credentials.len()
    }

    /// Requests with credentials that the server refused.
    pub fn refused_attempts(&self) -> usize {
        let refused = |statuses: &BTreeSet<u16>| statuses.iter().any(|status| *status >= 400);
        let answered =
            |transaction: &&Transaction| self.answers.get(*transaction).is_some_and(refused);
        self.with_credentials.iter().filter(answered).count()
    }

    /// Requests that the server answered with a final response.
    pub fn answered(&self) -> usize {
        let is_final = |statuses: &&BTreeSet<u16>| statuses.iter().any(|status| *status >= 200);
        self.answers.values().filter(is_final).count()
    }
}
