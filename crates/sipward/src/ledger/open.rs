//! Opening the ledger: it must be ours and whole, or it is left exactly as it is.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};

use super::{Hits, Ledger};
use crate::exit::Failure;

/// The ledger's name in the state folder.
pub const FILE_NAME: &str = "ledger.db";

/// SQLite's `application_id`: "SIPW".
const APPLICATION: i32 = 0x5349_5057;

/// What brings the schema from each version to the next; `user_version` counts those done.
pub(super) const MIGRATIONS: [&str; 9] = [
    include_str!("schema.sql"),
    include_str!("drops.sql"),
    include_str!("accounts.sql"),
    include_str!("names.sql"),
    include_str!("hits.sql"),
    include_str!("order.sql"),
    include_str!("clock.sql"),
    include_str!("spared.sql"),
    include_str!("ends.sql"),
];

/// Why a file is not opened as the ledger.
pub(super) enum Unusable {
    /// It is another program's or a newer sipward's, or no file.
    Refused(String),
    /// It is no whole ledger.
    Damaged(String),
    /// It may be a whole one, but cannot be written now: its disk is full, read-only or broken.
    Unwritable(String),
}

impl Unusable {
    pub(super) fn failure(&self, path: &Path) -> Failure {
        let path = path.display();
        Failure::input(match self {
            Self::Refused(why) => format!("{path}: {why}"),
            Self::Unwritable(why) => format!("{path}: cannot write the ledger: {why}"),
            Self::Damaged(why) => format!(
                "{path}: this is no ledger of sipward, or it is damaged ({why}): move it away, or \
                 name another folder with --state-dir"
            ),
        })
    }
}

impl From<rusqlite::Error> for Unusable {
    fn from(error: rusqlite::Error) -> Self {
        let why = error.to_string();
        // Whatever else SQLite complains of (memory, locks, a disk) may pass, and the file be whole.
        let is_damaged = matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        );
        if is_damaged {
            Self::Damaged(why)
        } else {
            Self::Unwritable(why)
        }
    }
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        let is_no_file = matches!(
            error.kind(),
            io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory
        );
        if is_no_file {
            Self::Refused(format!("cannot open the ledger: {error}"))
        } else {
            Self::Unwritable(error.to_string())
        }
    }
}

impl Ledger {
    /// Opens the ledger in `folder`, which is made (mode 0700) where it does not exist, as is the
    /// file (0600). A file that is not a whole ledger is not touched.
    ///
    /// # Errors
    /// Exit code 2, for the ledger is an input: a file that cannot be read, is damaged, belongs
    /// to another program or to a newer sipward.
    pub fn open(folder: &Path) -> Result<Self, Failure> {
        make_folder(folder)?;
        let path = folder.join(FILE_NAME);
        let connection = connect(&path).map_err(|unusable| unusable.failure(&path))?;
        Ok(Self::of(connection, path))
    }
}

/// Opens a ledger, or begins one where there is none; one that is refused or damaged stays as it
/// is, its journal too.
pub(super) fn connect(path: &Path) -> Result<Connection, Unusable> {
    let fresh = make_file(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    if !fresh {
        check(&connection)?;
    }
    migrate(&mut connection)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(connection)
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
        Ok(Some(Self::of(connection, path)))
    }
}

/// The schema of an existing file, which is ours, of a version we know, and whole. Reads only: even the
/// journal mode of another program's database stays as it is.
pub(super) fn check(connection: &Connection) -> Result<usize, Unusable> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    let version = usize::try_from(version).unwrap_or_default();
    if application == 0 && version == 0 && is_empty(connection)? {
        // The first start died while it began the file.
        return Ok(0);
    }
    if application != APPLICATION {
        return Err(Unusable::Refused(
            "this database belongs to another program: name another folder with --state-dir"
                .to_owned(),
        ));
    }
    if version > MIGRATIONS.len() {
        return Err(Unusable::Refused(format!(
            "this ledger was written by a newer sipward (schema {version}, this one knows {}): run \
             that one, or name another folder with --state-dir, and `sipward import` the bans that \
             `sipward export` of that one writes",
            MIGRATIONS.len()
        )));
    }
    let verdict: String = connection.query_row("pragma quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(Unusable::Damaged(verdict.replace('\n', "; ")));
    }
    Ok(version)
}

fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    let count = "select count(*) from sqlite_schema";
    Ok(connection.query_row(count, [], |row| row.get::<_, i64>(0))? == 0)
}

pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
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
fn make_file(path: &Path) -> Result<bool, Unusable> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    let file: File = options.open(path)?;
    let empty = file.metadata()?.len() == 0;
    drop(file);
    // A journal without its database would be played into the new one.
    let journal = journal(path);
    if empty && fs::metadata(&journal).is_ok_and(|journal| journal.len() > 0) {
        return Err(Unusable::Damaged(format!(
            "the file is empty, but {} is not",
            journal.display()
        )));
    }
    Ok(empty)
}

/// The journal of a ledger, where SQLite keeps it.
pub(super) fn journal(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}
