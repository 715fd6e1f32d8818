//! Opening the ledger to guard with: whatever has become of the file, there is something to guard
//! by, and nothing of it is thrown away.
//!
//! | the file                            | so                                                   |
//! |-------------------------------------|------------------------------------------------------|
//! | cannot be written (full, read-only) | read as it is; opened anew with the next write       |
//! | is damaged                          | kept aside; a new one begins with what could be read |
//! | is another program's, or newer      | refused                                              |

use std::{
    ffi::OsString,
    fs, io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags, Row, params};
use sipward_engine::Time;

use super::{
    Entry, FILE_NAME, Ledger,
    open::{MIGRATIONS, Unusable, check, connect, journal, make_folder, migrate},
    rows,
};
use crate::exit::Failure;

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
        match connect(&path) {
            Ok(connection) => Ok(Self::of(connection, path)),
            // Why is told with the first thing that cannot be written.
            Err(Unusable::Unwritable(_)) => Self::read_only(path),
            Err(Unusable::Damaged(why)) => Self::begin_anew(path, &why, now),
            Err(refused @ Unusable::Refused(_)) => Err(refused.failure(&path)),
        }
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
            self.connection = in_memory().map_err(failure)?;
            match connect(&self.path) {
                Ok(connection) => {
                    self.connection = connection;
                    self.only_reads = false;
                }
                Err(unusable) => {
                    self.connection = what_can_be_read(&self.path).map_err(failure)?;
                    return Err(failure(unusable));
                }
            }
        }
        Ok(&mut self.connection)
    }

    fn read_only(path: PathBuf) -> Result<Self, Failure> {
        let connection = what_can_be_read(&path).map_err(|unusable| unusable.failure(&path))?;
        Ok(Self {
            only_reads: true,
            ..Self::of(connection, path)
        })
    }

    fn begin_anew(path: PathBuf, why: &str, now: Time) -> Result<Self, Failure> {
        let salvaged = salvage(&path, now);
        let shown = path.display();
        let aside = match set_aside(&path) {
            Ok(aside) => aside,
            Err(error) => {
                tracing::error!(
                    "{shown}: the ledger is damaged ({why}) and cannot be renamed ({error}); \
                     sipward guards by what the kernel holds"
                );
                return Self::read_only(path);
            }
        };
        tracing::error!(
            "{shown}: the ledger is damaged ({why}); it is kept as {}, and a new one begins with \
             what could be read of it ({} entries) and what the kernel holds",
            aside.display(),
            salvaged.len()
        );
        let connection = connect(&path).map_err(|unusable| unusable.failure(&path))?;
        let mut ledger = Self {
            kept_aside: Some(aside),
            ..Self::of(connection, path)
        };
        ledger.write(&salvaged)?;
        Ok(ledger)
    }
}

/// The file to read only, or nothing: then what the kernel holds is all there is.
fn what_can_be_read(path: &Path) -> Result<Connection, Unusable> {
    read(path).or_else(|unusable| match unusable {
        Unusable::Refused(_) => Err(unusable),
        Unusable::Damaged(_) | Unusable::Unwritable(_) => in_memory(),
    })
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

/// Renames a ledger and its journal to names that nothing has.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let named = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".damaged-{number}"));
        PathBuf::from(name)
    };
    let aside = (1..)
        .map(named)
        .find(|aside| !aside.exists())
        .unwrap_or_else(|| named(0));
    // The journal first: without its database it is never played into another.
    let journal_of = journal(path);
    if journal_of.exists() {
        fs::rename(&journal_of, journal(&aside))?;
    }
    fs::rename(path, &aside)?;
    // Only an index into the journal, which would be wrong for the next one.
    let mut index = path.as_os_str().to_owned();
    index.push("-shm");
    match fs::remove_file(index) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(aside),
    }
}

/// What can be read of a damaged ledger and is in force: bans, the allowlist, who is trusted.
fn salvage(path: &Path, now: Time) -> Vec<Entry> {
    let Ok(connection) = open_by_uri(path, "mode=ro") else {
        return Vec::new();
    };
    let mut entries = Vec::new();
    let mut take = |sql: &str, entry: fn(&Row<'_>) -> rusqlite::Result<Entry>| {
        entries.extend(readable(&connection, sql, now, entry));
    };
    // Without the indexes, which may be what is damaged.
    take(
        "select * from ban not indexed where ended is null and (until is null or until > ?1)",
        |row| rows::ban(row).map(Entry::Ban),
    );
    take("select * from allowed not indexed where ?1", |row| {
        rows::allowed(row).map(|(prefix, since)| Entry::Allow(prefix, since))
    });
    take(
        "select * from trusted not indexed where until > ?1",
        |row| rows::trusted(row).map(Entry::Trust),
    );
    take("select * from spared not indexed where until > ?1", |row| {
        rows::spared(row).map(|(prefix, since, until)| Entry::Spare(prefix, since, until))
    });
    let names = Ledger::of(connection, path.to_owned()).allowed_names();
    entries.extend(names.unwrap_or_default().into_iter().map(Entry::AllowName));
    entries
}

/// The rows before the first that cannot be read.
fn readable(
    connection: &Connection,
    sql: &str,
    now: Time,
    entry: fn(&Row<'_>) -> rusqlite::Result<Entry>,
) -> Vec<Entry> {
    let mut found = Vec::new();
    let Ok(mut statement) = connection.prepare(sql) else {
        return found;
    };
    if let Ok(rows) = statement.query_map(params![rows::number(now)], entry) {
        found.extend(rows.map_while(Result::ok));
    }
    found
}
