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

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use hyper::Uri;
use ipnet::IpNet;
use serde::Serialize;
use sipward_engine::Time;
use sipward_feed::List;

use crate::{clock, config, control::api::FeedView, ledger::Ledger, signatures};
use fetch::{Fetched, Part, Source, fetch};
use store::{Record, record};

pub use fetch::Validators;
pub use schedule::{due, put_off};
pub use signed::Key;
pub use store::{Plan, Terms, plan, write_plan};

/// The folder of taken lists in the state folder.
const FOLDER: &str = "feeds";
/// How long fetching a list may take where nobody says.
pub const LONGEST_FETCH: Duration = Duration::from_secs(60);

/// Why a list is not promoted.
pub const OPEN: &str = "anybody on the way could have anything dropped: it is promoted over https:// or with a key only";

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
    /// How long one request may take.
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
    host == "localhost" || bare.parse().is_ok_and(|at: IpAddr| at.is_loopback())
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
        let anew = format!("`sipward signatures update --force --name {name}` takes it anew");
        let shown = file.display();
        let Some(record) = record(folder, &name) else {
            in_force.left_out.push(format!(
                "{shown}: this feed is left out, for nobody knows how old it is: {anew}"
            ));
            continue;
        };
        let named = |feed: &config::Feed| feed.name() == name;
        if record.subscribed && !config.feeds.iter().any(named) {
            continue;
        }
        if record.lapses() > now {
            in_force.files.push(file);
        } else {
            in_force.left_out.push(format!(
                "{shown}: this feed is left out, for it was last there on {}: {anew}",
                clock::day(clock::time(record.confirmed))
            ));
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
            lapses: record.map(|record| clock::timestamp(record.lapses())),
            next: plan.next,
            error: plan.error,
            name,
        })
    };
    names.into_iter().filter_map(view).collect()
}

/// Takes a list in, where the daemon could have it in force beside what `config` names.
///
/// # Errors
/// One line: what is wrong. The list before stays.
pub fn update(
    asked: &Update<'_>,
    folder: &Path,
    config: &config::Signatures,
) -> Result<Updated, String> {
    if asked.terms.promote && is_open(asked.from, &asked.terms) {
        return Err(OPEN.to_owned());
    }
    let before = record(folder, asked.name).filter(|before| before.from == asked.from);
    let known = before
        .as_ref()
        .filter(|before| !asked.force && before.terms == asked.terms)
        .map(|before| before.validators.clone())
        .unwrap_or_default();
    let fetched = pages(asked, folder, &known)?;
    let record = Record {
        from: asked.from.to_owned(),
        terms: asked.terms.clone(),
        subscribed: config.feeds.iter().any(|feed| feed.name() == asked.name),
        entries: before.as_ref().map_or(0, |before| before.entries),
        signatures: before.as_ref().map_or(0, |before| before.signatures),
        validators: known,
        confirmed: clock::timestamp(clock::now()),
        keep_seconds: asked.keep.as_secs(),
    };
    match fetched {
        Some(pages) => take(asked, folder, config, pages, record),
        None => confirm(asked.name, folder, &record),
    }
}

/// Nothing has changed: signatures stay, and bans begin anew.
fn confirm(name: &str, folder: &Path, record: &Record) -> Result<Updated, String> {
    let same = fs::read(store::path(folder, name, store::ADDRESSES)).unwrap_or_default();
    let _held = store::hold(folder).map_err(|error| cannot_write(folder, &error))?;
    store::write_record(folder, name, record).map_err(|error| cannot_write(folder, &error))?;
    Ok(Updated {
        name: name.to_owned(),
        signatures: record.signatures,
        prefixes: sipward_feed::read(&same).map_or_else(|_| Vec::new(), |list| list.prefixes),
        ..Updated::default()
    })
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
        more,
    } = pages;
    if list.is_empty() {
        return Err("nothing in it says anything".to_owned());
    }
    if !asked.force && sipward_feed::shrinks(before.entries, list.len()) {
        return Err(format!(
            "{} entries, {} before: it may be broken; --force takes it all the same",
            list.len(),
            before.entries
        ));
    }
    let logged_in = if asked.terms.promote {
        let state_dir = folder.parent().unwrap_or(folder);
        Some(Ledger::user_agents_in(state_dir).map_err(|failure| failure.text)?)
    } else {
        None
    };
    let entries = entries::of(asked.name, &list, logged_in.as_deref())?;
    let file = store::path(folder, asked.name, store::SIGNATURES);
    let text = entries.taken.to_toml().map_err(|error| error.to_string())?;
    signatures::try_feed(config, &file, &text).map_err(|error| error.to_string())?;

    let record = Record {
        entries: list.len(),
        signatures: entries.taken.iter().len(),
        validators,
        ..before
    };
    let netset: String = list
        .prefixes
        .iter()
        .map(|prefix| format!("{prefix}\n"))
        .collect();
    let write = || {
        let _held = store::hold(folder)?;
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
        more,
        prefixes: list.prefixes,
    })
}

fn cannot_write(folder: &Path, error: &io::Error) -> String {
    format!("cannot write to {}: {error}", folder.display())
}

/// The next update takes the list anew, whatever the server says of it.
pub fn forget(folder: &Path, name: &str) {
    let Some(record) = record(folder, name) else {
        return;
    };
    let record = Record {
        validators: Validators::default(),
        ..record
    };
    // Where nothing can be written, nothing was taken.
    let _ = store::write_record(folder, name, &record);
}

/// A list with all pages that one update may ask for.
struct Pages {
    list: List,
    validators: Validators,
    /// Whether another one follows.
    more: bool,
}

/// The whole list; none where nothing has changed.
fn pages(asked: &Update<'_>, folder: &Path, known: &Validators) -> Result<Option<Pages>, String> {
    let source = Source::new(asked.from, asked.ca_file, asked.longest)?;
    let may = |now| requests::left(folder, asked.from, now);
    let most = if source.is_web() {
        may(clock::now()).map_err(|error| cannot_write(folder, &error))?
    } else {
        requests::MOST
    };
    let ask = |part: Part<'_>, known: &Validators| {
        let may = !source.is_web()
            || requests::take(folder, asked.from, clock::now())
                .map_err(|error| cannot_write(folder, &error))?;
        if !may {
            return Err(TOO_OFTEN.to_owned());
        }
        fetch(&source, part, known)
    };
    let (bytes, validators) = match ask(Part::Whole, known)? {
        Fetched::NotModified => return Ok(None),
        Fetched::Body { bytes, validators } => (bytes, validators),
    };
    if let Some(key) = &asked.terms.key {
        prove(key, &bytes, &source)?;
    }
    let mut list = sipward_feed::read(&bytes).map_err(|error| error.to_string())?;
    let mut next = list.next.take();
    if next.is_some() && asked.terms.key.is_some() {
        return Err("a list of several pages has no signature of its whole".to_owned());
    }
    for _ in 1..most {
        let Some(id) = next.take() else { break };
        let path: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
        let Fetched::Body { bytes, .. } = ask(Part::Page(&path), &Validators::default())? else {
            break;
        };
        let page = sipward_feed::read(&bytes).map_err(|error| error.to_string())?;
        list.prefixes.extend(page.prefixes);
        if list.len() > sipward_feed::MOST_ENTRIES {
            return Err(sipward_feed::Error::TooMany.to_string());
        }
        next = page.next.filter(|next| *next != id);
    }
    let more = next.is_some();
    if more && most < requests::MOST {
        // A list cut short by what was asked before is not what the server has.
        return Err(TOO_OFTEN.to_owned());
    }
    Ok(Some(Pages {
        list,
        validators,
        more,
    }))
}

/// What is said instead of a twelfth request.
const TOO_OFTEN: &str = "asked for 11 times within 2 minutes, and APIBAN allows no more: it can be \
                         asked for again in 2 minutes";

/// Has the list's signature fetched, and believes it or not.
fn prove(key: &Key, bytes: &[u8], source: &Source) -> Result<(), String> {
    let unsigned = |why: String| format!("its signature (.minisig) does not hold: {why}");
    match fetch(source, Part::Signature, &Validators::default()).map_err(unsigned)? {
        Fetched::Body {
            bytes: signature, ..
        } => key.verify(bytes, &signature).map_err(unsigned),
        Fetched::NotModified => Err(unsigned("it is not there".to_owned())),
    }
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

/// As if the list of this name had been taken, now.
#[cfg(test)]
pub(crate) fn take_for_test(folder: &Path, name: &str, signatures: &str) {
    fs::write(store::path(folder, name, store::SIGNATURES), signatures).unwrap();
    let record = Record {
        from: "/a/test".to_owned(),
        terms: Terms::default(),
        subscribed: false,
        entries: 1,
        signatures: 1,
        validators: Validators::default(),
        confirmed: clock::timestamp(clock::now()),
        keep_seconds: 60,
    };
    store::write_record(folder, name, &record).unwrap();
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use sipward_engine::Time;
    use tempfile::TempDir;
    use test_case::test_case;

    use super::{
        Record, Terms, Validators, in_force, is_loopback, is_open, store, take_for_test, views,
    };
    use crate::{clock, config};

    const CONFIRMED: Time = Time::from_secs(1_795_348_085);
    const DAY: u64 = 86_400;

    fn config(folder: &TempDir, text: &str) -> config::Signatures {
        config::Signatures {
            feeds_folder: Some(folder.path().to_owned()),
            ..toml::from_str(text).unwrap()
        }
    }

    fn record(subscribed: bool) -> Record {
        Record {
            from: "https://lists.example.org".to_owned(),
            terms: Terms::default(),
            subscribed,
            entries: 7,
            signatures: 5,
            validators: Validators::default(),
            confirmed: clock::timestamp(CONFIRMED),
            keep_seconds: 30 * DAY,
        }
    }

    const NAMED: &str = "[[feed]]\nname = \"web\"\nurl = \"https://lists.example.org\"";
    const OTHER: &str = "[[feed]]\nname = \"other\"\nurl = \"https://lists.example.org\"";

    #[test_case(NAMED, true, 0, Ok(1); "just confirmed")]
    #[test_case(NAMED, true, 30 * DAY - 1, Ok(1); "not confirmed for nearly thirty days")]
    #[test_case(NAMED, true, 30 * DAY, Err("was last there on 2026-11-22"); "not confirmed for thirty days")]
    #[test_case(OTHER, true, 0, Ok(0); "no longer in the configuration")]
    #[test_case(OTHER, false, 0, Ok(1); "taken by hand")]
    #[test_case("", false, 31 * DAY, Err("was last there on 2026-11-22"); "taken by hand long ago")]
    fn a_list_is_in_force_while_somebody_wants_it_and_its_server_has_it(
        configured: &str,
        subscribed: bool,
        later: u64,
        expected: Result<usize, &str>,
    ) {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("web.toml"), "").unwrap();
        store::write_record(folder.path(), "web", &record(subscribed)).unwrap();
        let config = config(&folder, configured);
        let found = in_force(&config, CONFIRMED + Duration::from_secs(later)).unwrap();
        match expected {
            Ok(files) => {
                assert_eq!(found.files.len(), files);
                assert!(found.left_out.is_empty(), "{found:?}");
            }
            Err(why) => {
                assert!(found.files.is_empty());
                let [line] = &found.left_out[..] else {
                    panic!("one line: {found:?}");
                };
                assert!(line.contains(why), "{line}");
                assert!(line.contains("update --force --name web"), "{line}");
            }
        }
    }

    #[test]
    fn a_list_of_unknown_age_is_left_out() {
        let folder = TempDir::new().unwrap();
        take_for_test(folder.path(), "web", "");
        let config = config(&folder, "");
        assert_eq!(in_force(&config, clock::now()).unwrap().files.len(), 1);
        fs::write(folder.path().join("web.json"), "{}").unwrap();
        let found = in_force(&config, clock::now()).unwrap();
        assert!(found.files.is_empty());
        assert!(
            found
                .left_out
                .concat()
                .contains("nobody knows how old it is")
        );
    }

    #[test]
    fn the_status_tells_of_configured_lists_and_of_those_taken_by_hand() {
        let folder = TempDir::new().unwrap();
        let write = |name: &str, subscribed: bool| {
            fs::write(folder.path().join(format!("{name}.toml")), "").unwrap();
            store::write_record(folder.path(), name, &record(subscribed)).unwrap();
        };
        write("by-hand", false);
        write("dropped", true);
        write("web", true);
        let text = format!("{NAMED}\n{}", NAMED.replace("web", "new"));
        let config = config(&folder, &text);
        let plan = store::Plan {
            error: Some("no list".to_owned()),
            ..store::plan(folder.path(), &config.feeds[1])
        };
        store::write_plan(folder.path(), "new", &plan).unwrap();
        let views = views(&config);
        let told: Vec<_> = views
            .iter()
            .map(|view| (view.name.as_str(), view.entries, view.error.as_deref()))
            .collect();
        let expected = [
            ("by-hand", 7, None),
            ("new", 0, Some("no list")),
            ("web", 7, None),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_plan_for_another_list_or_other_terms_is_none() {
        let folder = TempDir::new().unwrap();
        let feed = |text: &str| config(&folder, text).feeds.remove(0);
        let before = feed(NAMED);
        let plan = store::Plan {
            failures: 3,
            ..store::plan(folder.path(), &before)
        };
        store::write_plan(folder.path(), "web", &plan).unwrap();
        assert_eq!(store::plan(folder.path(), &before).failures, 3);
        let moved = feed(&NAMED.replace("lists.", "moved."));
        assert_eq!(store::plan(folder.path(), &moved).failures, 0);
        let promoted = feed(&format!("{NAMED}\npromote = true"));
        assert_eq!(store::plan(folder.path(), &promoted).failures, 0);
    }

    #[test_case("localhost", true)]
    #[test_case("127.0.0.53", true)]
    #[test_case("[::1]", true)]
    #[test_case("localhost.example.org", false)]
    #[test_case("127.0.0.1.example.org", false)]
    #[test_case("192.0.2.1", false)]
    #[test_case("", false)]
    fn this_machine_is_told_from_others(host: &str, expected: bool) {
        assert_eq!(is_loopback(host), expected);
    }

    #[test_case("https://lists.example.org/x", false; "under TLS")]
    #[test_case("http://lists.example.org/x", true; "without")]
    #[test_case("http://localhost@lists.example.org/x", true; "with somebody's name before the host")]
    #[test_case("http://localhost:80@lists.example.org/x", true; "with what looks like a port before the host")]
    #[test_case("http://127.0.0.1:80/x", false; "from this machine")]
    #[test_case("/etc/sipward/list", false; "from a file")]
    fn who_could_write_a_list_is_known(from: &str, expected: bool) {
        assert_eq!(is_open(from, &Terms::default()), expected);
    }
}
