//! Lists of others, taken in: fetched, read, linted, and put in the state folder in one step. What
//! is wrong anywhere on the way leaves the list before in force.

mod fetch;

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sipward_engine::escape;
use sipward_feed::{Format, List, Text};
use sipward_signature::{Confidence, Severity, Signature, SignatureSet, lint};

use crate::{config, exit::Failure, signatures};

pub use fetch::{Fetched, Source, Validators, fetch};

/// The folder of taken lists in the state folder.
const FOLDER: &str = "feeds";
/// Pages of one list at most: APIBAN allows 11 requests in 2 minutes.
const MOST_PAGES: usize = 11;

/// What a list has been, the last time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Before {
    from: String,
    entries: usize,
    #[serde(default)]
    validators: Validators,
}

/// What an update asks for.
#[derive(Clone, Debug)]
pub struct Update<'a> {
    /// The list's name, which its signatures begin with.
    pub name: &'a str,
    /// A file or an address.
    pub from: &'a str,
    /// In PEM: whom to believe besides the authorities of the system.
    pub ca_file: Option<&'a Path>,
    /// How long it may take.
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

/// Where the lists that were taken in are.
#[must_use]
pub fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join(FOLDER)
}

/// The signature files that were taken in, in the order of their names; none for a user who may
/// not look there.
///
/// # Errors
/// The folder cannot be read.
pub fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
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
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Takes a list in, where the daemon could have it in force beside what `config` names.
///
/// # Errors
/// One line: what, and that the list before stays.
pub fn update(
    asked: &Update<'_>,
    state_dir: &Path,
    config: &config::Signatures,
) -> Result<Updated, Failure> {
    let stays = |why: String| {
        Failure::input(format!(
            "{}: {}; the list before stays",
            asked.from,
            escape(why.as_bytes())
        ))
    };
    let folder = folder(state_dir);
    let record = folder.join(format!("{}.json", asked.name));
    let before = before(&record).filter(|before| before.from == asked.from);
    let mut updated = Updated {
        name: asked.name.to_owned(),
        ..Updated::default()
    };

    let source = Source::new(asked.from, asked.ca_file, asked.longest).map_err(&stays)?;
    let known = before
        .as_ref()
        .filter(|_| !asked.force)
        .map(|before| before.validators.clone())
        .unwrap_or_default();
    let addresses = folder.join(format!("{}.netset", asked.name));
    let Some((list, validators)) = pages(&source, &known, &mut updated).map_err(&stays)? else {
        // Their bans are to begin anew.
        let same = fs::read(&addresses).unwrap_or_default();
        updated.prefixes = sipward_feed::read(&same).map_or_else(|_| Vec::new(), |it| it.prefixes);
        return Ok(updated);
    };
    updated.changed = true;
    updated.unread = list.unread.count;
    if list.is_empty() {
        return Err(stays("nothing in it says anything".to_owned()));
    }
    let was = before.as_ref().map_or(0, |before| before.entries);
    if !asked.force && sipward_feed::shrinks(was, list.len()) {
        let why = format!(
            "{} entries, {was} before: it may be broken; --force takes it all the same",
            list.len()
        );
        return Err(stays(why));
    }

    let entries = list.len();
    let taken = sound(signatures(asked.name, &list), &mut updated);
    let file = folder.join(format!("{}.toml", asked.name));
    let text = taken.to_toml().map_err(|error| stays(error.to_string()))?;
    signatures::try_feed(config, &file, &text).map_err(|error| stays(error.to_string()))?;
    updated.signatures = taken.iter().len();
    updated.prefixes = list.prefixes;

    let cannot = |error: io::Error| stays(format!("cannot write to {}: {error}", folder.display()));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(cannot)?;
    replace(&file, &text).map_err(cannot)?;
    let netset: String = updated
        .prefixes
        .iter()
        .map(|prefix| format!("{prefix}\n"))
        .collect();
    replace(&addresses, &netset).map_err(cannot)?;
    let now = Before {
        from: asked.from.to_owned(),
        entries,
        validators,
    };
    let now = serde_json::to_string(&now).map_err(|error| stays(error.to_string()))?;
    replace(&record, &now).map_err(cannot)?;
    Ok(updated)
}

/// The list with all pages that one update may ask for; none where nothing has changed.
fn pages(
    source: &Source,
    known: &Validators,
    updated: &mut Updated,
) -> Result<Option<(List, Validators)>, String> {
    let (bytes, validators) = match fetch(source, "", known)? {
        Fetched::NotModified => return Ok(None),
        Fetched::Body { bytes, validators } => (bytes, validators),
    };
    let mut list = sipward_feed::read(&bytes).map_err(|error| error.to_string())?;
    let mut next = list.next.take();
    for _ in 1..MOST_PAGES {
        let Some(id) = next.take() else { break };
        let path: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
        let Fetched::Body { bytes, .. } = fetch(source, &path, &Validators::default())? else {
            break;
        };
        let page = sipward_feed::read(&bytes).map_err(|error| error.to_string())?;
        list.prefixes.extend(page.prefixes);
        if list.len() > sipward_feed::MOST_ENTRIES {
            return Err(sipward_feed::Error::TooMany.to_string());
        }
        next = page.next.filter(|next| *next != id);
    }
    updated.more = next.is_some();
    Ok(Some((list, validators)))
}

/// What a stranger says is `shared` at most.
fn signatures(name: &str, list: &List) -> SignatureSet {
    if list.format != Format::Signatures {
        let texts = list.texts.iter();
        return texts
            .flat_map(|text: &Text| text.as_evidence(name))
            .collect();
    }
    let shared = |signature: &Signature| Signature {
        confidence: Confidence::Shared,
        name: format!("{name}.{}", signature.name)
            .chars()
            .take(64)
            .collect(),
        ..signature.clone()
    };
    list.signatures.iter().map(shared).collect()
}

/// What the lint finds no error in.
fn sound(mut set: SignatureSet, updated: &mut Updated) -> SignatureSet {
    let findings = lint(&set);
    let mut errors = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .peekable();
    updated.refused_first = errors
        .peek()
        .map(|first| format!("{}: {}", first.signature, first.message));
    let names: std::collections::HashSet<&str> =
        errors.map(|finding| finding.signature.as_str()).collect();
    updated.refused = names.len();
    set.map(|signature| (!names.contains(signature.name.as_str())).then_some(signature));
    set
}

/// The next update takes the list anew, whatever the server says of it.
pub fn forget(state_dir: &Path, name: &str) {
    // One that is not there is forgotten.
    let _ = fs::remove_file(folder(state_dir).join(format!("{name}.json")));
}

fn before(record: &Path) -> Option<Before> {
    // A record that cannot be read is none: the list is taken anew.
    serde_json::from_slice(&fs::read(record).ok()?).ok()
}

/// A reader sees the old text or the new one, also after a power cut.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
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
