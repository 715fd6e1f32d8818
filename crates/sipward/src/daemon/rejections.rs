//! `over = "reject"`: who is over a limit is told so by ICMP, from the kernel's event of the drop. The
//! kernel's program itself could answer only by `XDP_TX`, which virtual devices lose.
//!
//! An event comes once a second for a source at most. Whoever forges a source could have us send as
//! many bytes as it sends itself at the very most, and 50 packets a second.

use sipward_engine::Protection;
use sipward_shield::{Event, Verdict};
use sipward_wire::prohibited;

use super::guard::Guard;
use crate::{clock, sparing::Sparing};

/// Messages within a second, in all.
const IN_ALL: usize = 50;

/// Who was told lately.
#[derive(Debug)]
pub struct Rejections(Sparing);

impl Default for Rejections {
    fn default() -> Self {
        Self(Sparing::new(IN_ALL))
    }
}

impl Guard {
    /// Tells the sender of a dropped packet that it was, where the event asks for it.
    pub(super) fn reject(&mut self, event: &Event) {
        let (Some(sender), Some(quote)) = (&self.sender, &event.quote) else {
            return;
        };
        let to = event.source.to_canonical();
        if event.verdict == Verdict::Pass || self.engine.protected().is(Protection::Own, to) {
            return;
        }
        let Some(message) = prohibited(&quote.head, quote.length) else {
            return;
        };
        if !self.rejections.0.may_send(to, clock::now()) {
            return;
        }
        match sender.send(&message, to) {
            Ok(()) => self.sent.rejections += 1,
            // Of a flood there are many, and nobody waits for one.
            Err(error) => tracing::debug!("{to} cannot be told that it is over the limit: {error}"),
        }
    }
}
