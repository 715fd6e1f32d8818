//! What the folder of feeds holds of each list: `NAME.toml`, its signatures; `NAME.netset`, its
//! addresses; `NAME.json`, the [`Record`] without which the others are not in force; `NAME.plan`,
//! the daemon's [`Plan`]; `NAME.part`, the addresses of a list that takes several updates.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sipward_engine::Time;

use super::{Key, Validators};
use crate::{clock, config};

/// What the files of a list end in.
pub const SIGNATURES: &str = "toml";
pub const ADDRESSES: &str = "netset";
pub const PART: &str = "part";
const RECORD: &str = "json";
const PLAN: &str = "plan";
/// Whoever changes what others may change as well holds it.
const LOCK: &str = "lock";

/// What is known of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Where it is from.
    pub from: String,
    /// On which terms it was taken.
    #[serde(flatten)]
    pub terms: Terms,
    /// Whether the configuration has it fetched.
    #[serde(default)]
    pub subscribed: bool,
    /// Entries of the list, good and bad.
    pub entries: usize,
    /// Signatures taken.
    pub signatures: usize,
    /// Which version it is.
    pub validators: Validators,
    /// Of a list in pages: the one at which the next update goes on.
    #[serde(default)]
    pub goes_on: Option<String>,
    /// When its author signed it, in UNIX seconds.
    #[serde(default)]
    pub signed_at: Option<u32>,
    /// When it was there last, changed or not.
    pub confirmed: Timestamp,
    /// For how long what it says is in force from then on.
    #[serde(default = "keep_seconds")]
    pub keep_seconds: u64,
}

/// What the daemon has in mind with a list that the configuration names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Where it is to be had.
    pub from: String,
    /// On which terms.
    #[serde(flatten)]
    pub terms: Terms,
    /// Tries that failed since the last one that did not.
    pub failures: u32,
    /// What was wrong with the last one.
    pub error: Option<String>,
    /// When it is asked for next; none: at once.
    pub next: Option<Timestamp>,
}

/// What a list taken on other terms would have been another one for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Who must have signed it.
    pub key: Option<Key>,
    /// Whether what no genuine device sends is `certain`.
    #[serde(default)]
    pub promote: bool,
}

fn keep_seconds() -> u64 {
    config::Feed::keep().duration().as_secs()
}

impl Record {
    /// When what the list says ends, unless it is confirmed; by the configuration that has it
    /// fetched, if it is earlier there.
    #[must_use]
    pub fn lapses(&self, feed: Option<&config::Feed>) -> Time {
        let keep = Duration::from_secs(self.keep_seconds);
        let keep = feed.map_or(keep, |feed| keep.min(feed.keep.duration()));
        clock::time(self.confirmed) + keep
    }

    /// Whether it is the list that the configuration names, taken on terms at least as strict.
    #[must_use]
    pub fn meets(&self, feed: &config::Feed) -> bool {
        let is_believed = feed.promote || !self.terms.promote;
        self.from == feed.url && self.terms.key == feed.key && is_believed
    }
}

impl Plan {
    /// Whether it is for this list on these terms, and not for another one of its name.
    #[must_use]
    pub fn is_for(&self, feed: &config::Feed) -> bool {
        self.from == feed.url && self.terms == Terms::of(feed)
    }
}

impl Terms {
    /// Those of the configuration.
    #[must_use]
    pub fn of(feed: &config::Feed) -> Self {
        Self {
            key: feed.key.clone(),
            promote: feed.promote,
        }
    }
}

/// The record of a list; none where there is none that can be read: the list is taken anew. Earlier
/// versions did not write down when the list was confirmed: not before the record was written.
#[must_use]
pub fn record(folder: &Path, name: &str) -> Option<Record> {
    let file = path(folder, name, RECORD);
    let mut record: Map<String, Value> = serde_json::from_slice(&fs::read(&file).ok()?).ok()?;
    if !record.contains_key("confirmed") {
        let written = Timestamp::try_from(fs::metadata(&file).ok()?.modified().ok()?).ok()?;
        record.insert("confirmed".to_owned(), written.to_string().into());
    }
    serde_json::from_value(Value::Object(record)).ok()
}

/// Writes it.
///
/// # Errors
/// It cannot be written.
pub fn write_record(folder: &Path, name: &str, record: &Record) -> io::Result<()> {
    replace(&path(folder, name, RECORD), &serde_json::to_string(record)?)
}

/// What the daemon has in mind with this list; another one, or one that cannot be read, is asked
/// for at once.
#[must_use]
pub fn plan(folder: &Path, feed: &config::Feed) -> Plan {
    let fresh = Plan {
        from: feed.url.clone(),
        terms: Terms::of(feed),
        ..Plan::default()
    };
    let text = fs::read(path(folder, &feed.name(), PLAN)).unwrap_or_default();
    let written: Option<Plan> = serde_json::from_slice(&text).ok();
    written.filter(|plan| plan.is_for(feed)).unwrap_or(fresh)
}

/// Writes it.
///
/// # Errors
/// It cannot be written.
pub fn write_plan(folder: &Path, name: &str, plan: &Plan) -> io::Result<()> {
    let _held = hold(folder)?;
    replace(&path(folder, name, PLAN), &serde_json::to_string(plan)?)
}

/// What was wrong with a list in the daemon's eyes no longer is.
///
/// # Errors
/// It cannot be written.
pub fn forget_error(folder: &Path, name: &str) -> io::Result<()> {
    let text = fs::read(path(folder, name, PLAN)).unwrap_or_default();
    match serde_json::from_slice(&text) {
        Ok(plan @ Plan { error: Some(_), .. }) => {
            let plan = Plan {
                failures: 0,
                error: None,
                ..plan
            };
            write_plan(folder, name, &plan)
        }
        // The daemon begins anew what it cannot read.
        Ok(Plan { error: None, .. }) | Err(_) => Ok(()),
    }
}

/// A file of a list.
#[must_use]
pub fn path(folder: &Path, name: &str, extension: &str) -> PathBuf {
    folder.join(format!("{name}.{extension}"))
}

/// Keeps other processes from changing what is in the folder, which is made where it is not there.
///
/// # Errors
/// It cannot be made.
pub fn hold(folder: &Path) -> io::Result<File> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(folder.join(LOCK))?;
    file.lock()?;
    Ok(file)
}

/// A reader sees the old text or the new one, also after a power cut.
///
/// # Errors
/// It cannot be written; the old one stays.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(path.parent().unwrap_or(path))?.sync_all()
}
