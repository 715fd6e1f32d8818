//! Makes the audit's changes: all of them or none, with a backup.

use std::fs::{self, DirBuilder, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sipward_asterisk::audit::Patch;

use crate::exit::Failure;

/// Where backups go: below the configuration directory and hidden, so that no `#include` with `*`
/// takes them in.
const BACKUPS: &str = ".sipward-backup";

/// Writes the patches and returns the directory that holds the files as they were.
///
/// Each file is replaced in one step and keeps its owner and mode; where one cannot be written the
/// ones before it are put back.
///
/// # Errors
/// A file or the backup cannot be written, or a file changed since it was read.
pub fn apply(directory: &Path, patches: &[Patch], now: Timestamp) -> Result<PathBuf, Failure> {
    let backup = directory
        .join(BACKUPS)
        .join(now.strftime("%Y%m%dT%H%M%SZ").to_string());
    for patch in patches {
        let path = real(&patch.path)?;
        if fs::read(&path).map_err(|e| failed("read", &path, &e))? != patch.before {
            let text = format!(
                "{} changed while it was audited: run the audit again",
                patch.shown
            );
            return Err(Failure::input(text));
        }
        save(&path, &backup.join(&patch.shown))?;
    }
    for (done, patch) in patches.iter().enumerate() {
        let path = real(&patch.path)?;
        let Err(error) = replace(&path, &patch.after) else {
            continue;
        };
        for earlier in patches.iter().take(done) {
            let path = real(&earlier.path)?;
            replace(&path, &earlier.before).map_err(|e| {
                let text = format!(
                    "cannot put back {}: {e}; it is in {}",
                    path.display(),
                    backup.display()
                );
                Failure::input(text)
            })?;
        }
        return Err(failed("write", &path, &error));
    }
    Ok(backup)
}

/// Links are followed: the file that is written is the one that Asterisk reads.
fn real(path: &Path) -> Result<PathBuf, Failure> {
    fs::canonicalize(path).map_err(|e| failed("find", path, &e))
}

fn save(path: &Path, copy: &Path) -> Result<(), Failure> {
    if let Some(parent) = copy.parent() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
        made.map_err(|e| failed("make", parent, &e))?;
    }
    fs::copy(path, copy).map_err(|e| failed("write the backup", copy, &e))?;
    let meta = fs::metadata(path).map_err(|e| failed("read", path, &e))?;
    chown(copy, Some(meta.uid()), Some(meta.gid())).map_err(|e| failed("write", copy, &e))
}

/// A file beside it takes its place: a reader sees the old text or the new one.
fn replace(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let meta = fs::metadata(path)?;
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".sipward-new");
    let new = path.with_file_name(name);
    // It may hold passwords: nobody else reads it at any time.
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    let written = file
        .write_all(text)
        .and_then(|()| chown(&new, Some(meta.uid()), Some(meta.gid())))
        .and_then(|()| fs::set_permissions(&new, Permissions::from_mode(meta.mode() & 0o7777)))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&new);
    }
    written
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    let text = format!("cannot {what} {}: {error}", path.display());
    if error.kind() == std::io::ErrorKind::PermissionDenied {
        return Failure::unsupported(format!("{text}; run it as root"));
    }
    Failure::input(text)
}
