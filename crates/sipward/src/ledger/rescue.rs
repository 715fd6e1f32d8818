//! Opening the ledger to guard with: whatever has become of the file, there is something to guard
//! by, and nothing of it is thrown away.
//!
//! | the file                            | so                                                   |
//! |-------------------------------------|------------------------------------------------------|
//! | cannot be written (full, read-only) | read as it is; opened anew with the next write       |
//! | the same, and its schema is older   | in memory, with what is in force; so, too            |
//! | is damaged                          | kept aside; a new one begins with what could be read |
//! | is another program's, or newer      | refused                                              |

use std::{
    ffi::OsString,
    fs, io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use nix::fcntl::posix_fallocate;
use rusqlite::{Connection, OpenFlags, Row, params};
use sipward_engine::Time;

use super::{
    Entry, FILE_NAME, Ledger, Target, by_name,
    open::{MIGRATIONS, Unusable, check, connect, journal, make_folder, migrate},
    rows, write_all,
};
use crate::{
    clock::{Offset, Step},
    exit::Failure,
};

/// What the name of a new ledger ends with, before it takes the place of a damaged one.
const NEW: &str = ".new";

impl Ledger {
    /// Opens the ledger in `folder` as [`Ledger::open`] does, but also one that cannot be written
    /// at present, and a new one in the place of a damaged one.
    ///
    /// # Errors
    /// Exit code 2: the folder cannot be made; the file belongs to another program or to a newer
    /// sipward.
    pub fn open_to_guard(folder: &Path, now: Time) -> Result<Self, Failure> {
        make_folder(folder)?;
        let path = folder.join(FILE_NAME);
        let why = match connect(&path) {
            Ok(connection) => return Ok(Self::of(connection, path)),
            // Why is told with the first thing that cannot be written.
            Err(Unusable::Unwritable(_)) => None,
            Err(Unusable::Damaged(why)) => Some(why),
            Err(refused @ Unusable::Refused(_)) => return Err(refused.failure(&path)),
        };
        let failure = |unusable: Unusable| unusable.failure(&path);
        let (connection, stands_in) = what_can_be_read(&path, now).map_err(failure)?;
        let mut ledger = Self {
            only_reads: true,
            stands_in,
            ..Self::of(connection, path)
        };
        if let Some(why) = why
            && let Err(unusable) = ledger.begin_anew(&why, now)
        {
            let failure = unusable.failure(&beside(&ledger.path, NEW));
            tracing::error!(
                "{}: the ledger is damaged ({why}); sipward guards by what can be read of it and \
                 what the kernel holds, for no new one can be begun: {failure}",
                ledger.path.display()
            );
        }
        Ok(ledger)
    }

    /// Whether the file could not be opened at all: there is what could be read of it, in memory, and
    /// what is missing there may be in the file.
    #[must_use]
    pub const fn stands_in(&self) -> bool {
        self.stands_in
    }

    /// The name under which a damaged ledger was kept when this one began.
    #[must_use]
    pub fn kept_aside(&self) -> Option<&Path> {
        self.kept_aside.as_deref()
    }

    /// The connection, opened anew where it was opened to read only.
    pub(super) fn writable(&mut self) -> Result<&mut Connection, Failure> {
        if self.only_reads {
            let failure = |unusable: Unusable| unusable.failure(&self.path);
            // SQLite shares the index of a journal among the connections of a process: as long as
            // one has it to read only, the next one has it so, too.
            if !self.stands_in {
                self.connection = in_memory().map_err(failure)?;
            }
            match connect(&self.path) {
                Ok(connection) => {
                    self.connection = connection;
                    (self.only_reads, self.stands_in) = (false, false);
                }
                Err(Unusable::Damaged(why)) if self.stands_in => {
                    let begun = self.begin_anew(&why, Time(0));
                    begun.map_err(|unusable| unusable.failure(&self.path))?;
                }
                Err(unusable) => {
                    if !self.stands_in {
                        (self.connection, self.stands_in) =
                            what_can_be_read(&self.path, Time(0)).map_err(failure)?;
                    }
                    return Err(failure(unusable));
                }
            }
        }
        Ok(&mut self.connection)
    }

    /// Begins a new file with what stands in for the damaged one, which is kept. The new one is
    /// whole before the old one is touched: there may be no room for it.
    fn begin_anew(&mut self, why: &str, now: Time) -> Result<(), Unusable> {
        let beside = beside(&self.path, NEW);
        has_room(&beside, size(&self.connection)?)?;
        let salvaged = salvage(&self.connection, now);
        let aside = write_new(&beside, &salvaged).and_then(|()| {
            let aside = set_aside(&self.path)?;
            fs::rename(&beside, &self.path)?;
            Ok(aside)
        });
        let aside = aside.inspect_err(|_| remove(&beside))?;
        tracing::error!(
            "{}: the ledger is damaged ({why}); it is kept as {}, and a new one begins with what \
             could be read of it ({} entries) and what the kernel holds",
            self.path.display(),
            aside.display(),
            salvaged.len()
        );
        self.connection = connect(&self.path)?;
        self.kept_aside = Some(aside);
        (self.only_reads, self.stands_in) = (false, false);
        Ok(())
    }
}

/// The file to read only; or, in memory, what can be read of it: then the second is true.
fn what_can_be_read(path: &Path, now: Time) -> Result<(Connection, bool), Unusable> {
    match read(path) {
        Ok(connection) => return Ok((connection, false)),
        Err(refused @ Unusable::Refused(_)) => return Err(refused),
        Err(Unusable::Damaged(_) | Unusable::Unwritable(_)) => {}
    }
    let has_journal = fs::metadata(journal(path)).is_ok_and(|journal| journal.len() > 0);
    let ways: &[&str] = match has_journal {
        true => &["mode=ro", "mode=ro&readonly_shm=1", "mode=ro&immutable=1"],
        false => &["mode=ro&immutable=1"],
    };
    // With the journal as far as it can be read: without it lifted bans may be in force.
    let mut attempts = ways.iter().map(|way| {
        let file = open_by_uri(path, way);
        file.map_or_else(|_| Vec::new(), |file| salvage(&file, now))
    });
    let salvaged = attempts.find(|found| !found.is_empty()).unwrap_or_default();
    let mut connection = in_memory()?;
    write_all(&mut connection, &salvaged)?;
    Ok((connection, true))
}

/// Bytes of a database.
fn size(connection: &Connection) -> rusqlite::Result<i64> {
    let sql = "select page_count * page_size from pragma_page_count, pragma_page_size";
    connection.query_row(sql, [], |row| row.get(0))
}

/// Asks the disk for room for a ledger of so many bytes and for its journal, in which each page is once
/// more. This costs nothing, where copying the ledger takes seconds, and nobody reads packets; it is
/// tried again every few seconds, and with each order.
fn has_room(path: &Path, bytes: i64) -> io::Result<()> {
    remove(path);
    let asked = posix_fallocate(fs::File::create(path)?, 0, 2 * bytes);
    remove(path);
    Ok(asked?)
}

/// Writes a ledger into one file that is on the disk, without a journal.
fn write_new(path: &Path, entries: &[Entry]) -> Result<(), Unusable> {
    remove(path);
    let mut connection = connect(path)?;
    write_all(&mut connection, entries)?;
    connection.close().map_err(|(_, error)| error)?;
    if fs::metadata(journal(path)).is_ok_and(|journal| journal.len() > 0) {
        return Err(Unusable::Unwritable(
            "its journal cannot be written into it".to_owned(),
        ));
    }
    Ok(())
}

/// Removes what was begun of a ledger.
fn remove(path: &Path) {
    for file in [path.to_owned(), journal(path), beside(path, "-shm")] {
        // What stays is removed the next time.
        let _ = fs::remove_file(file);
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Reads a ledger that cannot be written. SQLite reads a journal where the index beside it, left
/// by who died, can be read, too; without a journal it reads the file alone.
fn read(path: &Path) -> Result<Connection, Unusable> {
    let attempt = |query| {
        let connection = open_by_uri(path, query)?;
        // An older schema has not all that is asked of it.
        if check(&connection)? < MIGRATIONS.len() {
            return Err(Unusable::Unwritable(
                "its schema is an older one".to_owned(),
            ));
        }
        Ok(connection)
    };
    let has_journal = fs::metadata(journal(path)).is_ok_and(|journal| journal.len() > 0);
    if has_journal {
        attempt("mode=ro&readonly_shm=1")
    } else {
        attempt("mode=ro&immutable=1")
    }
}

fn open_by_uri(path: &Path, query: &str) -> rusqlite::Result<Connection> {
    let mut uri = b"file:".to_vec();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'%' | b'?' | b'#' => uri.extend(format!("%{byte:02X}").bytes()),
            _ => uri.push(*byte),
        }
    }
    uri.push(b'?');
    uri.extend(query.bytes());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(OsString::from_vec(uri), flags)
}

fn in_memory() -> Result<Connection, Unusable> {
    let mut connection = Connection::open_in_memory()?;
    migrate(&mut connection)?;
    Ok(connection)
}

/// Keeps a ledger and its journal under names that nothing has; the ledger has its own as well, until
/// another takes it, where the file system can do that.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let named = |number: u32| beside(path, &format!(".damaged-{number}"));
    let aside = (1..)
        .map(named)
        .find(|aside| !aside.exists())
        .unwrap_or_else(|| named(0));
    // The journal first: without its database it is never played into another.
    let journal_of = journal(path);
    if journal_of.exists() {
        fs::rename(&journal_of, journal(&aside))?;
    }
    fs::hard_link(path, &aside).or_else(|_| fs::rename(path, &aside))?;
    // Only an index into the journal, which would be wrong for the next one.
    match fs::remove_file(beside(path, "-shm")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(aside),
    }
}

/// What can be read of a ledger of any schema, but for alerts: bans and what was before them, the
/// allowlist, who is trusted, what signatures have hit, and what all these times are by.
fn salvage(connection: &Connection, now: Time) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut take = |sql: &str, of_row: fn(&Row<'_>) -> rusqlite::Result<Vec<Entry>>| {
        let rows = readable(connection, sql, now, of_row);
        entries.extend(rows.into_iter().flatten());
    };
    take("select * from clock where ?1 is not null", clock);
    // Without the indexes, which may be what is damaged.
    take(
        &format!(
            "select {} from ban not indexed where ended is not null and ?1 is not null",
            rows::PAST_BAN
        ),
        ended_ban,
    );
    // Lapsed ones, too, of whom nobody has written that they are over.
    take(
        &format!(
            "select {} from ban not indexed where ended is null and ?1 is not null",
            rows::BAN
        ),
        |row| Ok(vec![Entry::Ban(rows::ban(row)?)]),
    );
    take(
        "select * from allowed not indexed where ?1 is not null",
        |row| rows::allowed(row).map(|(prefix, since)| vec![Entry::Allow(prefix, since)]),
    );
    take(
        "select * from trusted not indexed where until > ?1",
        |row| Ok(vec![Entry::Trust(rows::trusted(row)?)]),
    );
    take("select * from spared not indexed where until > ?1", |row| {
        let (prefix, since, until) = rows::spared(row)?;
        Ok(vec![Entry::Spare(prefix, since, until)])
    });
    take(
        "select * from signature_hits not indexed where ?1 is not null",
        signature_hits,
    );
    let names = readable(
        connection,
        "select * from allowed_name where ?1 is not null order by name",
        now,
        rows::allowed_name,
    );
    entries.extend(by_name(names).into_iter().map(Entry::AllowName));
    entries
}

/// What times are by, and whether the clock was known to be right: a step by nothing notes that.
fn clock(row: &Row<'_>) -> rusqlite::Result<Vec<Entry>> {
    let offset = Offset(row.get("offset")?);
    let mut entries = vec![Entry::Keep(row.get("boot")?, offset)];
    // Older ledgers do not tell.
    if row.get("was_right").unwrap_or_default() {
        entries.push(Entry::Step(Step {
            from: offset,
            to: offset,
            at: Time(0),
            was_right: true,
        }));
    }
    Ok(entries)
}

fn ended_ban(row: &Row<'_>) -> rusqlite::Result<Vec<Entry>> {
    let past = rows::past_ban(row)?;
    let target = Target::of(&past.ban);
    Ok(vec![
        Entry::Ban(past.ban),
        Entry::Lift(target, past.ended, past.by),
        Entry::Dropped(target, past.dropped),
    ])
}

fn signature_hits(row: &Row<'_>) -> rusqlite::Result<Vec<Entry>> {
    let hits = rows::hits(row)?;
    let mut entries = vec![Entry::LookFor(hits.name.clone(), hits.since)];
    entries.extend(
        hits.last
            .map(|last| Entry::Hits(hits.name, hits.packets, last)),
    );
    Ok(entries)
}

/// The rows before the first that cannot be read.
fn readable<T>(
    connection: &Connection,
    sql: &str,
    now: Time,
    entry: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Vec<T> {
    let mut found = Vec::new();
    let Ok(mut statement) = connection.prepare(sql) else {
        return found;
    };
    if let Ok(rows) = statement.query_map(params![rows::number(now)], entry) {
        found.extend(rows.map_while(Result::ok));
    }
    found
}
