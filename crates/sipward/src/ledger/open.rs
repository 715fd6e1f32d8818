//! Opening the ledger: it must be ours and whole, or it is left exactly as it is.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use rusqlite::{Connection, OpenFlags};

use super::{Hits, Ledger};
use crate::exit::Failure;

/// The ledger's name in the state folder.
pub const FILE_NAME: &str = "ledger.db";

/// SQLite's `application_id`: "SIPW".
const APPLICATION: i32 = 0x5349_5057;

/// What brings the schema from each version to the next; `user_version` counts those done.
const MIGRATIONS: [&str; 6] = [
    include_str!("schema.sql"),
    include_str!("drops.sql"),
    include_str!("accounts.sql"),
    include_str!("names.sql"),
    include_str!("hits.sql"),
    include_str!("order.sql"),
];

impl Ledger {
    /// Opens the ledger in `folder`, which is made (mode 0700) where it does not exist, as is the
    /// file (0600). A file that is not a whole ledger is not touched.
    ///
    /// # Errors
    /// Exit code 2, for the ledger is an input: a file that cannot be read, is damaged, belongs
    /// to another program or to a newer sipward.
    pub fn open(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(FILE_NAME);
        let failure = |what: &str| Failure::input(format!("{}: {what}", path.display()));
        make_folder(folder)?;
        let fresh = make_file(&path)
            .map_err(|error| failure(&format!("cannot open the ledger: {error}")))?;
        let damaged = |error: rusqlite::Error| {
            failure(&format!(
                "this is no ledger of sipward, or it is damaged ({error}): move it away and \
                 sipward starts a new one, or name another folder with --state-dir"
            ))
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&path, flags).map_err(damaged)?;
        if !fresh {
            check(&connection)
                .map_err(damaged)?
                .map_err(|what| failure(&what))?;
        }
        migrate(&mut connection).map_err(damaged)?;
        Ok(Self { connection, path })
    }
}

impl Ledger {
    /// As [`Ledger::hits`] of the ledger in `folder`, which is only read; none where there is no
    /// ledger, or one that does not count yet.
    ///
    /// # Errors
    /// Exit code 2: the file cannot be read.
    pub fn hits_in(folder: &Path) -> Result<Vec<Hits>, Failure> {
        let Some(ledger) = Self::open_to_read(folder)? else {
            return Ok(Vec::new());
        };
        let counts = ledger.connection.table_exists(None, "signature_hits");
        match counts {
            Ok(true) => ledger.hits(),
            Ok(false) => Ok(Vec::new()),
            Err(error) => Err(ledger.failure("read", &error)),
        }
    }

    /// What those sent as User-Agent who logged in, by the ledger in `folder`, which is only read;
    /// none where there is no ledger.
    ///
    /// # Errors
    /// As [`Self::hits_in`].
    pub fn user_agents_in(folder: &Path) -> Result<Vec<Vec<u8>>, Failure> {
        let Some(ledger) = Self::open_to_read(folder)? else {
            return Ok(Vec::new());
        };
        let trusted = ledger.trusted()?.into_iter();
        let mut user_agents: Vec<Vec<u8>> = trusted.filter_map(|it| it.user_agent).collect();
        user_agents.sort();
        user_agents.dedup();
        Ok(user_agents)
    }

    fn open_to_read(folder: &Path) -> Result<Option<Self>, Failure> {
        let path = folder.join(FILE_NAME);
        if !path.exists() {
            return Ok(None);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags).map_err(|error| {
            Failure::input(format!(
                "{}: cannot read the ledger: {error}",
                path.display()
            ))
        })?;
        Ok(Some(Self { connection, path }))
    }
}

/// Whether an existing file is ours, of a version we know, and whole. Reads only: even the
/// journal mode of another program's database stays as it is.
fn check(connection: &Connection) -> rusqlite::Result<Result<(), String>> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    if number("application_id")? != APPLICATION {
        return Ok(Err(
            "this database belongs to another program: name another folder with \
                       --state-dir"
                .to_owned(),
        ));
    }
    let version = number("user_version")?;
    if usize::try_from(version).is_ok_and(|version| version > MIGRATIONS.len()) {
        return Ok(Err(format!(
            "this ledger was written by a newer sipward (schema {version}, this one knows {}): \
             run that one",
            MIGRATIONS.len()
        )));
    }
    let verdict: String = connection.query_row("pragma quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        let verdict = verdict.replace('\n', "; ");
        return Ok(Err(format!(
            "the ledger is damaged ({verdict}): move it away and sipward starts a new one from \
             what the kernel holds"
        )));
    }
    Ok(Ok(()))
}

fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    let done: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for (version, migration) in (1_i64..)
        .zip(MIGRATIONS)
        .filter(|(version, _)| *version > done)
    {
        let transaction = connection.transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Makes the state folder, for its owner alone, where it does not exist.
///
/// # Errors
/// Exit code 2: it cannot be made.
pub fn make_folder(folder: &Path) -> Result<(), Failure> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| {
            Failure::input(format!(
                "{}: cannot make the state folder: {error}",
                folder.display()
            ))
        })
}

/// Makes sure that there is a file, readable by its owner alone. True where it has nothing in it.
fn make_file(path: &Path) -> io::Result<bool> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    let file: File = options.open(path)?;
    let empty = file.metadata()?.len() == 0;
    drop(file);
    // A journal without its database would be played into the new one.
    let journal = path.with_extension("db-wal");
    if empty && fs::exists(&journal)? {
        return Err(io::Error::other(format!(
            "the file is empty, but {} is not: the ledger was damaged",
            journal.display()
        )));
    }
    Ok(empty)
}
