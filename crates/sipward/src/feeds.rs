//! Lists of others, taken in: fetched, proved, read, linted, and put in the state folder in one
//! step. What is wrong anywhere on the way leaves the list before in force, until its time is over.
//!
//! ```text
//! schedule (when) ─► fetch ─► signed ─► sipward_feed::read ─► entries ─► store ─► in_force
//!                      └─ requests (how often)
//! ```

mod entries;
mod fetch;
mod requests;
mod schedule;
mod signed;
mod store;
mod take;

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use hyper::Uri;
use ipnet::IpNet;
use serde::Serialize;
use sipward_engine::{Time, escape_at_most};

use crate::{clock, config, control::api::FeedView};
use store::record;

pub use fetch::Validators;
pub use schedule::{Had, due, put_off};
pub use signed::Key;
pub use store::{Plan, Terms, plan, write_plan};
pub use take::{forget, update};

/// The folder of taken lists in the state folder.
const FOLDER: &str = "feeds";
/// How long fetching a list, with all its pages, may take where nobody says.
pub const LONGEST_FETCH: Duration = Duration::from_secs(60);

/// Why a list is not promoted.
pub const OPEN: &str = "anybody on the way could have anything dropped: it is promoted over https:// or with a key only";

/// Why a list is not taken, or not enforced.
pub const TOO_MUCH: &str = "lists may ban a 64th of IPv4 (67,108,864 addresses) and a /16 of IPv6, \
                            each and all together";

/// What an update asks for.
#[derive(Clone, Debug)]
pub struct Update<'a> {
    /// The list's name, which its signatures begin with.
    pub name: &'a str,
    /// A file or an address.
    pub from: &'a str,
    /// In PEM: whom to believe besides the authorities of the system.
    pub ca_file: Option<&'a Path>,
    /// On which terms it is taken.
    pub terms: Terms,
    /// For how long what it says is in force.
    pub keep: Duration,
    /// How long all of it may take.
    pub longest: Duration,
    /// Take a list that shrank or is another one.
    pub force: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Updated {
    /// The list's name.
    pub name: String,
    /// False where the server says that nothing has changed.
    pub changed: bool,
    /// Signatures taken.
    pub signatures: usize,
    /// Of those, more than evidence.
    pub promoted: usize,
    /// Signatures that the lint refused.
    pub refused: usize,
    /// The first of those, and why.
    pub refused_first: Option<String>,
    /// Lines that said nothing.
    pub unread: usize,
    /// Whether a page follows that was not asked for.
    pub more: bool,
    /// Addresses to be banned; nothing of this has been done yet.
    #[serde(skip)]
    pub prefixes: Vec<IpNet>,
}

/// Why a list was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Untaken {
    /// Another update took it meanwhile, this much of it.
    Overtaken(Had),
    /// What is wrong, in one line.
    Failed(String),
}

impl From<String> for Untaken {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

impl<'a> Update<'a> {
    /// As the configuration has it; `name` is [`config::Feed::name`].
    #[must_use]
    pub fn of(feed: &'a config::Feed, name: &'a str) -> Self {
        Self {
            name,
            from: &feed.url,
            ca_file: feed.ca_file.as_deref(),
            terms: Terms::of(feed),
            keep: feed.keep.duration(),
            longest: LONGEST_FETCH,
            force: false,
        }
    }
}

/// Where the lists that were taken in are.
#[must_use]
pub fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join(FOLDER)
}

/// What a list is called when nobody says: the server, or the file.
#[must_use]
pub fn name_of(from: &str) -> String {
    let name = match from.split_once("://") {
        Some((_, rest)) => rest.split(['/', ':', '?']).next().unwrap_or_default(),
        None => Path::new(from)
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default(),
    };
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    name.trim_start_matches("www.")
        .chars()
        .map(plain)
        .take(20)
        .collect()
}

/// Whether a list may be called this.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (1..=20).contains(&name.len()) && name.chars().all(plain)
}

/// Whether anybody on the way from the server could write what this list says.
#[must_use]
pub fn is_open(from: &str, terms: &Terms) -> bool {
    let open = |uri: Uri| uri.scheme_str() == Some("http") && !uri.host().is_some_and(is_loopback);
    terms.key.is_none() && from.parse().is_ok_and(open)
}

/// Whether this host is this machine.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|at: IpAddr| at.is_loopback())
}

/// A list that was confirmed in the future, when the clock was wrong, ages from `now` on.
///
/// # Errors
/// The folder cannot be read or written.
pub fn age(folder: &Path, now: Time) -> io::Result<()> {
    let is_ahead = |record: &store::Record| clock::time(record.confirmed) > now;
    for name in names(folder)? {
        if !record(folder, &name).as_ref().is_some_and(is_ahead) {
            continue;
        }
        let _held = store::hold(folder)?;
        // It may have been taken anew meanwhile.
        let Some(record) = record(folder, &name).filter(is_ahead) else {
            continue;
        };
        let record = store::Record {
            confirmed: clock::timestamp(now),
            ..record
        };
        store::write_record(folder, &name, &record)?;
    }
    Ok(())
}

/// What is in force of the lists that were taken in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InForce {
    /// Their signature files, in the order of their names.
    pub files: Vec<PathBuf>,
    /// What is not, and why; a line each.
    pub left_out: Vec<String>,
}

/// The lists in force at `now`; none for a user who may not look there. A list that the
/// configuration had fetched and no longer names is not.
///
/// # Errors
/// The folder cannot be read.
pub fn in_force(config: &config::Signatures, now: Time) -> io::Result<InForce> {
    let mut in_force = InForce::default();
    let Some(folder) = &config.feeds_folder else {
        return Ok(in_force);
    };
    for name in names(folder)? {
        let file = store::path(folder, &name, store::SIGNATURES);
        let shown = file.display();
        let mut leave_out = |why: &str, from: &str| {
            in_force.left_out.push(format!(
                "{shown}: this feed is left out, for {why}: `sipward signatures update --force \
                 --name {name}{from}` takes it anew"
            ));
        };
        let Some(record) = record(folder, &name) else {
            leave_out("nobody knows how old it is", " --from FILE|URL");
            continue;
        };
        let feed = config.feeds.iter().find(|feed| feed.name() == name);
        let feed = feed.filter(|_| record.subscribed);
        if record.subscribed && feed.is_none() {
            continue;
        }
        if feed.is_some_and(|feed| !record.meets(feed)) {
            leave_out("it was taken from elsewhere or on other terms", "");
        } else if record.lapses(feed) > now {
            in_force.files.push(file);
        } else {
            let from = match feed {
                Some(_) => String::new(),
                None => format!(" --from {}", escape_at_most(record.from.as_bytes(), 200)),
            };
            let day = clock::day(clock::time(record.confirmed));
            leave_out(&format!("it was last there on {day}"), &from);
        }
    }
    Ok(in_force)
}

/// What `status` tells of the lists: those that the configuration names, and those in the folder.
#[must_use]
pub fn views(config: &config::Signatures) -> Vec<FeedView> {
    let Some(folder) = &config.feeds_folder else {
        return Vec::new();
    };
    let mut names = names(folder).unwrap_or_default();
    names.extend(config.feeds.iter().map(config::Feed::name));
    names.sort();
    names.dedup();
    let view = |name: String| {
        let feed = config.feeds.iter().find(|feed| feed.name() == name);
        let record = record(folder, &name);
        if feed.is_none() && record.as_ref().is_none_or(|record| record.subscribed) {
            return None;
        }
        let plan = feed.map(|feed| plan(folder, feed)).unwrap_or_default();
        Some(FeedView {
            entries: record.as_ref().map_or(0, |record| record.entries),
            signatures: record.as_ref().map_or(0, |record| record.signatures),
            last_success: record.as_ref().map(|record| record.confirmed),
            lapses: record.map(|record| clock::timestamp(record.lapses(feed))),
            next: plan.next,
            error: plan.error,
            name,
        })
    };
    names.into_iter().filter_map(view).collect()
}

/// The names of the lists in the folder, in order; none where nobody took one, or for a user who
/// may not look there.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
            ) =>
        {
            return Ok(Vec::new());
        }
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if ending == Some(store::SIGNATURES) {
            names.extend(
                path.file_stem()
                    .and_then(|stem| Some(stem.to_str()?.to_owned())),
            );
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
pub(crate) mod tests;
