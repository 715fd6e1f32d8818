//! What each ban has dropped, noted in the ledger: with the ban, or with its maps, the kernel forgets it.

use sipward_engine::Time;
use sipward_shield::{self as shield, EnforcedBan, ReadBans};
use tokio::sync::mpsc;

use super::{feeds::beside, guard::Guard, reconcile};
use crate::{
    clock,
    control::server::{Task, call},
    ledger::Entry,
};

/// Counts that are noted in one turn of the loop: the ledger writes them in 10 ms.
const AT_ONCE: usize = 1_000;

/// Reads the bans of the kernel, which may be a million, in a thread beside the loop, and has the guard
/// note what they have dropped, some at a time.
pub async fn note(read: ReadBans, tasks: mpsc::Sender<Task>) {
    let at = clock::now();
    let counted = beside(|| -> Result<Vec<EnforcedBan>, shield::Error> {
        let mut bans = read()?;
        bans.retain(|held| held.dropped_packets > 0);
        Ok(bans)
    });
    let counted = match counted.await {
        Ok(Ok(counted)) => counted,
        Ok(Err(error)) => return untold(&error),
        Err(failure) => return untold(&failure),
    };
    let mut rest = counted.into_iter();
    loop {
        let some: Vec<EnforcedBan> = rest.by_ref().take(AT_ONCE).collect();
        if some.is_empty() {
            return;
        }
        let noted = call(&tasks, move |guard| {
            guard.note_drops(&some, at);
            guard.write_ledger();
            Ok(())
        });
        if noted.await.is_err() {
            // The daemon is stopping, and reads them once more.
            return;
        }
    }
}

/// Says why nothing is noted.
pub fn untold(error: &dyn std::fmt::Display) {
    tracing::error!("cannot count what the bans have dropped: {error}");
}

impl Guard {
    /// Has the ledger know what these bans of the kernel have dropped, which were read since `at`. One
    /// that was lifted meanwhile may have the count of a wider one, which the kernel then finds in its
    /// place, and one that is banned again that of the ban before: of neither it is noted.
    pub(super) fn note_drops(&mut self, bans: &[EnforcedBan], at: Time) {
        for held in bans.iter().filter(|held| held.dropped_packets > 0) {
            let target = reconcile::target(held);
            if self.ban_of(&target).is_some_and(|ban| ban.since <= at) {
                let dropped = Entry::Dropped(target, held.dropped_packets);
                self.pending.push(dropped);
            }
        }
    }

    /// As [`Self::note_drops`], of all bans and at once.
    pub(super) fn note_all_drops(&mut self) {
        let at = clock::now();
        match self.shield.bans() {
            Ok(bans) => self.note_drops(&bans, at),
            Err(error) => untold(&error),
        }
    }
}
