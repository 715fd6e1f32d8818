//! Taking a list in: what is asked for, what is believed, and what then takes the place of the list
//! before. Whatever fails changes nothing.

use std::{fs, io, path::Path};

use ipnet::IpNet;
use sipward_engine::Time;
use sipward_feed::{Extent, List, grows, guard, shrinks};
use sipward_signature::SignatureSet;

use super::{
    Had, Key, OPEN, TOO_MUCH, Terms, Untaken, Update, Updated, Validators,
    entries::{self, Promotion},
    fetch::{Fetched, Part, Source, fetch},
    is_open, requests,
    store::{self, Record, record},
};
use crate::{clock, config, ledger::Ledger, signatures};

/// Characters of a file's name that are told.
const LONGEST_NAME: usize = 80;
/// What is said instead of a twelfth request.
const TOO_OFTEN: &str = "asked for 11 times within 2 minutes, and APIBAN allows no more: it can be \
                         asked for again in 2 minutes";

/// Takes a list in, where the daemon could have it in force beside what `config` names.
///
/// # Errors
/// What is wrong, where the list before stays; or the answer is one to what nobody would ask any more.
pub fn update(
    asked: &Update<'_>,
    folder: &Path,
    config: &config::Signatures,
) -> Result<Updated, Untaken> {
    if asked.terms.promote && is_open(asked.from, &asked.terms) {
        return Err(Untaken::Failed(OPEN.to_owned()));
    }
    let known = Known::of(asked, folder);
    let begins = known.goes_on.as_deref().map_or(Part::Whole, Part::Page);
    let fetched = pages(asked, folder, begins, &known.validators)?;
    // Two lists that are taken at once might each fit beside what is there, and not beside each other.
    let held = store::hold(folder).map_err(|error| cannot_write(folder, &error))?;
    // Servers take their time, and somebody else may have taken this list meanwhile.
    let before = Known::of(asked, folder);
    let is_whole = fetched.is_some() && begins == Part::Whole;
    if !is_whole && !before.is_version_of(&known) {
        let had = before.goes_on.map_or(Had::All, |_| Had::Part);
        return Err(Untaken::Overtaken(had));
    }
    let record = Record {
        from: asked.from.to_owned(),
        terms: asked.terms.clone(),
        subscribed: config
            .feeds
            .iter()
            .any(|feed| feed.name() == asked.name && feed.url == asked.from),
        entries: before.entries,
        signatures: before.signatures,
        validators: before.validators,
        goes_on: None,
        signed_at: before.signed_at,
        confirmed: clock::timestamp(clock::now()),
        keep_seconds: asked.keep.as_secs(),
    };
    let updated = match fetched {
        Some(pages) if pages.goes_on.is_some() => go_on(asked, folder, pages, record),
        Some(pages) => take(asked, folder, config, pages, record),
        None => confirm(asked.name, folder, record),
    }?;
    drop(held);
    // What the daemon had to say of it, until it fetches it itself.
    store::forget_error(folder, asked.name).map_err(|error| cannot_write(folder, &error))?;
    Ok(updated)
}

/// What is known of a list before it is taken in.
struct Known {
    entries: usize,
    signatures: usize,
    /// When the same author signed it, in UNIX seconds.
    signed_at: Option<u32>,
    /// None of a list from elsewhere or on other terms.
    validators: Validators,
    goes_on: Option<String>,
}

impl Known {
    fn of(asked: &Update<'_>, folder: &Path) -> Self {
        let known = record(folder, asked.name);
        let signed_at = known
            .as_ref()
            .filter(|known| known.terms.key == asked.terms.key)
            .and_then(|known| known.signed_at);
        let before = known.filter(|known| known.from == asked.from);
        let entries = before.as_ref().map_or(0, |before| before.entries);
        let signatures = before.as_ref().map_or(0, |before| before.signatures);
        let same = before.filter(|before| !asked.force && before.terms == asked.terms);
        let (validators, goes_on) = same
            .map(|same| (same.validators, same.goes_on))
            .unwrap_or_default();
        Self {
            entries,
            signatures,
            signed_at,
            validators,
            goes_on,
        }
    }

    /// Whether an answer about the other is one about this.
    fn is_version_of(&self, other: &Self) -> bool {
        self.validators == other.validators && self.goes_on == other.goes_on
    }
}

/// Nothing has changed: signatures stay, but for those that must be evidence by now, and bans begin
/// anew.
fn confirm(name: &str, folder: &Path, record: Record) -> Result<Updated, String> {
    let file = store::path(folder, name, store::SIGNATURES);
    let judged = match promotion(&record.terms, folder)? {
        Some(promotion) => match signatures::read(&file) {
            Ok(taken) => Some(promotion.judge(&taken)?).filter(|judged| *judged != taken),
            // What is left out for that is no more than evidence.
            Err(_) => None,
        },
        None => None,
    };
    let text = judged.as_ref().map(SignatureSet::to_toml).transpose();
    let text = text.map_err(|error| error.to_string())?;
    let write = || {
        if let Some(text) = &text {
            store::replace(&file, text)?;
        }
        store::write_record(folder, name, &record)
    };
    write().map_err(|error| cannot_write(folder, &error))?;
    Ok(Updated {
        name: name.to_owned(),
        changed: judged.is_some(),
        signatures: record.signatures,
        promoted: judged.as_ref().map_or(0, entries::promoted),
        prefixes: addresses(folder, name, store::ADDRESSES),
        ..Updated::default()
    })
}

/// What a list that is promoted is judged by; none for another.
fn promotion(terms: &Terms, folder: &Path) -> Result<Option<Promotion>, String> {
    if !terms.promote {
        return Ok(None);
    }
    let state_dir = folder.parent().unwrap_or(folder);
    let logged_in = Ledger::user_agents_in(state_dir).map_err(|failure| failure.text)?;
    Ok(Some(Promotion {
        logged_in,
        signed: terms.key.is_some(),
    }))
}

/// The addresses in a file of a list; none where it is not there.
fn addresses(folder: &Path, name: &str, ending: &str) -> Vec<IpNet> {
    let text = fs::read(store::path(folder, name, ending)).unwrap_or_default();
    sipward_feed::read(&text).map_or_else(|_| Vec::new(), |list| list.prefixes)
}

fn netset(prefixes: &[IpNet]) -> String {
    prefixes
        .iter()
        .map(|prefix| format!("{prefix}\n"))
        .collect()
}

/// The list goes on: the one before stays, and what came of this one waits for the rest.
fn go_on(
    asked: &Update<'_>,
    folder: &Path,
    pages: Pages,
    before: Record,
) -> Result<Updated, String> {
    may_grow(asked, folder, &pages.list, before.entries)?;
    let name = asked.name;
    let record = Record {
        goes_on: pages.goes_on,
        // They are of the first page.
        validators: Validators::default(),
        ..before
    };
    let write = || {
        let part = store::path(folder, name, store::PART);
        store::replace(&part, &netset(&pages.list.prefixes))?;
        store::write_record(folder, name, &record)
    };
    write().map_err(|error| cannot_write(folder, &error))?;
    Ok(Updated {
        name: name.to_owned(),
        changed: true,
        signatures: record.signatures,
        more: true,
        prefixes: pages.list.prefixes,
        ..Updated::default()
    })
}

/// A list that covers much of the Internet, or grew manyfold since it had `before` entries, is not what
/// its author meant.
fn may_grow(asked: &Update<'_>, folder: &Path, list: &List, before: usize) -> Result<(), String> {
    let extent = |prefixes: &[IpNet]| Extent::of(guard(prefixes, &[]).kept);
    let now = extent(&list.prefixes);
    if now.is_too_much() {
        return Err(format!("{now} to be banned: {TOO_MUCH}"));
    }
    if asked.force || before == 0 {
        return Ok(());
    }
    let was = extent(&addresses(folder, asked.name, store::ADDRESSES));
    if grows(before, list.len()) || now.outgrows(was) {
        return Err(format!(
            "{} entries with {now}, {before} with {was} before: it may be somebody else's; --force \
             takes it all the same",
            list.len()
        ));
    }
    Ok(())
}

fn take(
    asked: &Update<'_>,
    folder: &Path,
    config: &config::Signatures,
    pages: Pages,
    before: Record,
) -> Result<Updated, String> {
    let Pages {
        list,
        validators,
        signed_at,
        ..
    } = pages;
    if !asked.force && before.signed_at > signed_at {
        let day = |at: Option<u32>| match at {
            Some(at) => clock::day(Time::from_secs(at.into())),
            None => "no day".to_owned(),
        };
        return Err(format!(
            "signed on {}, and the one before on {}: an old list, sent again; --force takes it all \
             the same",
            day(signed_at),
            day(before.signed_at)
        ));
    }
    if list.is_empty() {
        return Err("nothing in it says anything".to_owned());
    }
    if !asked.force && shrinks(before.entries, list.len()) {
        return Err(format!(
            "{} entries, {} before: it may be broken; --force takes it all the same",
            list.len(),
            before.entries
        ));
    }
    may_grow(asked, folder, &list, before.entries)?;
    let promotion = promotion(&asked.terms, folder)?;
    let entries = entries::of(asked.name, &list, promotion.as_ref())?;
    let file = store::path(folder, asked.name, store::SIGNATURES);
    let text = entries.taken.to_toml().map_err(|error| error.to_string())?;
    signatures::try_feed(config, &file, &text).map_err(|error| error.to_string())?;

    let record = Record {
        entries: list.len(),
        signatures: entries.taken.iter().len(),
        validators,
        signed_at,
        ..before
    };
    let netset = netset(&list.prefixes);
    let write = || {
        store::replace(&file, &text)?;
        store::replace(&store::path(folder, asked.name, store::ADDRESSES), &netset)?;
        store::write_record(folder, asked.name, &record)
    };
    write().map_err(|error| cannot_write(folder, &error))?;
    Ok(Updated {
        name: asked.name.to_owned(),
        changed: true,
        signatures: record.signatures,
        promoted: entries.promoted,
        refused: entries.refused,
        refused_first: entries.refused_first,
        unread: list.unread.count,
        more: false,
        prefixes: list.prefixes,
    })
}

fn cannot_write(folder: &Path, error: &io::Error) -> String {
    format!("cannot write to {}: {error}", folder.display())
}

/// The next update takes the list anew, whatever the server says of it.
pub fn forget(folder: &Path, name: &str) {
    // Where nothing can be written, nothing was taken.
    let Ok(_held) = store::hold(folder) else {
        return;
    };
    let Some(record) = record(folder, name) else {
        return;
    };
    let record = Record {
        validators: Validators::default(),
        ..record
    };
    let _ = store::write_record(folder, name, &record);
}

/// A list with all pages that one update may ask for, and those that the updates before had.
struct Pages {
    list: List,
    /// None of a list that takes several updates.
    validators: Validators,
    /// When it was signed, in UNIX seconds.
    signed_at: Option<u32>,
    /// The page that follows.
    goes_on: Option<String>,
}

/// The list from one of its pages on; none where nothing has changed.
fn pages(
    asked: &Update<'_>,
    folder: &Path,
    begins: Part<'_>,
    known: &Validators,
) -> Result<Option<Pages>, String> {
    let source = Source::new(asked.from, asked.ca_file, asked.longest)?;
    let cannot = |error: io::Error| cannot_write(folder, &error);
    let most = if source.is_web() {
        requests::left(folder, asked.from, clock::now()).map_err(cannot)?
    } else {
        requests::MOST
    };
    let ask = |part: Part<'_>, known: &Validators| {
        if source.is_web() && !requests::take(folder, asked.from, clock::now()).map_err(cannot)? {
            return Err(TOO_OFTEN.to_owned());
        }
        fetch(&source, part, known)
    };
    let (bytes, validators) = match ask(begins, known)? {
        Fetched::NotModified => return Ok(None),
        Fetched::Body { bytes, validators } => (bytes, validators),
    };
    let signed_at = match &asked.terms.key {
        Some(key) => prove(key, &bytes, &source)?,
        None => None,
    };
    let mut list = sipward_feed::read(&bytes).map_err(|error| error.to_string())?;
    let mut next = list.next.take();
    if next.is_some() && asked.terms.key.is_some() {
        return Err("a list of several pages has no signature of its whole".to_owned());
    }
    for _ in 1..most {
        let Some(page) = next.take() else { break };
        let Fetched::Body { bytes, .. } = ask(Part::Page(&page), &Validators::default())? else {
            break;
        };
        let read = sipward_feed::read(&bytes).map_err(|error| error.to_string())?;
        list.prefixes.extend(read.prefixes);
        next = read.next.filter(|next| *next != page);
    }
    if next.is_some() && most < requests::MOST {
        // A list cut short by what was asked before is not what the server has.
        return Err(TOO_OFTEN.to_owned());
    }
    if begins != Part::Whole {
        list.prefixes
            .extend(addresses(folder, asked.name, store::PART));
        list.prefixes.sort();
        list.prefixes.dedup();
    }
    if list.len() > sipward_feed::MOST_ENTRIES {
        return Err(sipward_feed::Error::TooMany.to_string());
    }
    let in_one = begins == Part::Whole && next.is_none();
    Ok(Some(Pages {
        list,
        validators: if in_one {
            validators
        } else {
            Validators::default()
        },
        signed_at,
        goes_on: next,
    }))
}

/// Has the list's signature fetched, and believes it or not; returns when it was made. One of another
/// list by the same author holds as well, and would let a server give it out for this one: where it says
/// of which file it is, that counts. minisign writes the file's name, rsign2 its path as it was given.
/// Of a file of this machine nobody else chose the name.
fn prove(key: &Key, bytes: &[u8], source: &Source) -> Result<Option<u32>, String> {
    let unsigned = |why: String| format!("its signature (.minisig) does not hold: {why}");
    let fetched = fetch(source, Part::Signature, &Validators::default()).map_err(unsigned)?;
    let Fetched::Body {
        bytes: signature, ..
    } = fetched
    else {
        return Err(unsigned("it is not there".to_owned()));
    };
    let signed = key.verify(bytes, &signature).map_err(unsigned)?;
    let (Some(file), Some(served)) = (&signed.file, source.served_file()) else {
        return Ok(signed.at);
    };
    if file.rsplit(['/', '\\']).next() == Some(&served) {
        return Ok(signed.at);
    }
    let file: String = file.chars().take(LONGEST_NAME).collect();
    Err(unsigned(format!(
        "it is of a file {file}, and this is {served}: its author signs it under the name that the url \
         has; a copy of it in a file of this machine may have any"
    )))
}
