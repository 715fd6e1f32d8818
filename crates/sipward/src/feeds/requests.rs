//! How often a server was asked for a list lately. APIBAN allows 11 requests in 2 minutes, whoever
//! of this machine makes them and however often it was started meanwhile; nobody needs more of any
//! other list.

use std::{collections::BTreeMap, fs, io, path::Path, time::Duration};

use serde::{Deserialize, Serialize};
use sipward_engine::Time;

use super::store;

/// Requests for one list at most …
pub const MOST: usize = 11;
/// … within this time.
pub const WITHIN: Duration = Duration::from_secs(120);
/// The book of all lists, in the folder of feeds, where no file of a list is called so.
const FILE: &str = "requests.book";

/// The requests of the last two minutes, by the list's address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Requests(BTreeMap<String, Vec<u64>>);

impl Requests {
    /// How many more there may be now.
    #[must_use]
    pub fn left(&mut self, list: &str, now: Time) -> usize {
        self.forget(now);
        MOST.saturating_sub(self.0.get(list).map_or(0, Vec::len))
    }

    /// Writes one down, if it may be made.
    pub fn take(&mut self, list: &str, now: Time) -> bool {
        let may = self.left(list, now) > 0;
        if may {
            self.0.entry(list.to_owned()).or_default().push(now.0);
        }
        may
    }

    /// What is older does not count, nor what a wrong clock has put into the future.
    fn forget(&mut self, now: Time) {
        self.0.retain(|_, asked| {
            asked.retain(|at| now.since(Time(*at)) < WITHIN && Time(*at).since(now) < WITHIN);
            !asked.is_empty()
        });
    }
}

/// As [`Requests::left`], of the book in this folder.
///
/// # Errors
/// It cannot be read or written.
pub fn left(folder: &Path, list: &str, now: Time) -> io::Result<usize> {
    change(folder, |requests| requests.left(list, now))
}

/// As [`Requests::take`], in the book in this folder.
///
/// # Errors
/// As [`left`].
pub fn take(folder: &Path, list: &str, now: Time) -> io::Result<bool> {
    change(folder, |requests| requests.take(list, now))
}

fn change<T>(folder: &Path, change: impl FnOnce(&mut Requests) -> T) -> io::Result<T> {
    let _held = store::hold(folder)?;
    let path = folder.join(FILE);
    let text = fs::read(&path).unwrap_or_default();
    // A book that cannot be read is begun anew.
    let mut requests: Requests = serde_json::from_slice(&text).unwrap_or_default();
    let before = requests.clone();
    let answer = change(&mut requests);
    if requests != before {
        store::replace(&path, &serde_json::to_string(&requests)?)?;
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sipward_engine::Time;
    use tempfile::TempDir;

    use super::{MOST, Requests, take};

    const NOW: Time = Time::from_secs(1_795_348_085);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn eleven_requests_in_two_minutes_are_made_and_no_twelfth() {
        let mut requests = Requests::default();
        for second in 0..11 {
            assert!(requests.take("list", NOW + SECOND * second), "{second}");
        }
        assert!(!requests.take("list", NOW + SECOND * 11));
        assert!(!requests.take("list", NOW + SECOND * 119));
        assert!(requests.take("other", NOW + SECOND * 11));
        // The first one is two minutes ago, the second is not.
        assert!(requests.take("list", NOW + SECOND * 120));
        assert!(!requests.take("list", NOW + SECOND * 120));
        assert_eq!(requests.left("list", NOW + SECOND * 300), MOST);
        assert_eq!(requests, Requests::default());
    }

    #[test]
    fn a_clock_that_was_wrong_does_not_keep_a_list_away() {
        let mut requests = Requests::default();
        let wrong = NOW + SECOND * 86_400;
        assert!((0..MOST).all(|_| requests.take("list", wrong)));
        assert_eq!(requests.left("list", NOW), MOST);
    }

    #[test]
    fn the_book_is_there_for_the_next_process() {
        let folder = TempDir::new().unwrap();
        let folder = folder.path().join("feeds");
        let asked = || take(&folder, "list", NOW).unwrap();
        assert!((0..MOST).all(|_| asked()));
        assert!(!asked());
    }
}
