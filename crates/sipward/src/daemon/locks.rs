//! At most one daemon per interface, state folder and folder of pins.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    unistd::geteuid,
};

use crate::exit::Failure;

/// Where the locks of the interfaces are. Nobody but root may write there: a lock that anybody can
/// take is one that anybody can keep us from guarding with.
const INTERFACE_LOCKS: &str = "/run/sipward/interfaces";

/// The interfaces that this daemon holds, by their indices: those that are there at the start, and
/// each that comes later.
#[derive(Debug, Default)]
pub struct InterfaceLocks {
    held: BTreeMap<u32, InterfaceLock>,
}

/// Holds an interface, by a file that is named after its network namespace and its index and has
/// the holder's process id in it. The lock ends with the process however that ends.
#[derive(Debug)]
struct InterfaceLock {
    path: PathBuf,
    _held: Flock<File>,
}

/// Holds a folder.
#[derive(Debug)]
pub struct FolderLock(#[expect(dead_code, reason = "held until dropped")] Flock<File>);

impl InterfaceLocks {
    /// Holds the interface of this index, whose name is for the error only.
    ///
    /// # Errors
    /// Exit code 2 where another daemon has it, 4 without permission to take it.
    pub fn take(&mut self, index: u32, name: &str) -> Result<(), Failure> {
        if let Entry::Vacant(vacant) = self.held.entry(index) {
            let folder = Path::new(INTERFACE_LOCKS);
            vacant.insert(InterfaceLock::take_in(folder, index, name)?);
        }
        Ok(())
    }

    /// Lets go of all but these.
    pub fn keep(&mut self, wanted: &BTreeSet<u32>) {
        self.held.retain(|index, _| wanted.contains(index));
    }
}

impl InterfaceLock {
    fn take_in(folder: &Path, index: u32, interface: &str) -> Result<Self, Failure> {
        let refused = |error: io::Error| refused(interface, folder, &error);
        private_folder(folder).map_err(refused)?;
        let namespace = fs::metadata("/proc/self/ns/net").map_err(refused)?.ino();
        let path = folder.join(format!("{namespace}-{index}"));
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(refused)?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                // Whoever held it before has removed it meanwhile.
                Ok(lock) if !is_at(&lock, &path).map_err(refused)? => {}
                Ok(mut held) => {
                    held.set_len(0).map_err(refused)?;
                    write!(held, "{}", std::process::id()).map_err(refused)?;
                    return Ok(Self { path, _held: held });
                }
                Err((file, Errno::EWOULDBLOCK)) => {
                    return Err(Failure::input(format!(
                        "interface {interface} is guarded by another sipward that is running{}: \
                         stop that one first, or name another interface with --interface",
                        holder(file)
                    )));
                }
                Err((_, error)) => return Err(refused(error.into())),
            }
        }
    }
}

impl Drop for InterfaceLock {
    fn drop(&mut self) {
        // One that stays behind is held by nobody.
        let _ = fs::remove_file(&self.path);
    }
}

impl FolderLock {
    /// Takes an existing folder; `option` is how the user may name another one.
    ///
    /// # Errors
    /// Exit code 2 where another daemon has it.
    pub fn take(folder: &Path, option: &str) -> Result<Self, Failure> {
        let refused = |why: &str| Failure::input(format!("{}: {why}", folder.display()));
        let file = File::open(folder).map_err(|error| refused(&error.to_string()))?;
        Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map(Self)
            .map_err(|(_, error)| {
                if error == Errno::EWOULDBLOCK {
                    refused(&format!(
                        "another sipward that is running uses this folder: stop that one first, or \
                     name another folder with {option}"
                    ))
                } else {
                    refused(&format!("cannot lock the folder: {error}"))
                }
            })
    }
}

/// Makes the folder where it is not there, and makes sure that it is ours alone.
fn private_folder(folder: &Path) -> io::Result<()> {
    if let Some(parent) = folder.parent() {
        // The control socket's, too.
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let found = fs::symlink_metadata(folder)?;
    let ours = found.is_dir() && found.uid() == geteuid().as_raw() && found.mode() & 0o077 == 0;
    if ours {
        Ok(())
    } else {
        Err(io::Error::other(
            "this must be a folder of root's own, mode 0700: remove it and start again",
        ))
    }
}

/// Whether the file is the one that is found at this path.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn holder(mut file: File) -> String {
    let mut text = String::new();
    let pid = file.read_to_string(&mut text).ok();
    pid.and_then(|_| text.parse::<u32>().ok())
        .map_or_else(String::new, |pid| format!(" (process {pid})"))
}

fn refused(interface: &str, folder: &Path, error: &io::Error) -> Failure {
    let text = format!(
        "interface {interface}: cannot take its lock in {}: {error}",
        folder.display()
    );
    if error.kind() == io::ErrorKind::PermissionDenied {
        Failure::unsupported(format!("{text}; run this as root"))
    } else {
        Failure::input(text)
    }
}

#[cfg(test)]
mod tests {
    use super::{FolderLock, InterfaceLock};
    use std::{
        fs::{self, File, Permissions},
        os::unix::fs::{PermissionsExt, symlink},
    };
    use tempfile::TempDir;

    /// The index of the loopback interface.
    const LO: u32 = 1;

    #[test]
    fn an_interface_has_one_holder_until_it_lets_go() {
        let place = TempDir::new().unwrap();
        let folder = place.path().join("locks");
        let first = InterfaceLock::take_in(&folder, LO, "lo").unwrap();
        let error = InterfaceLock::take_in(&folder, LO, "lo").unwrap_err();
        let this = format!("(process {})", std::process::id());
        assert!(error.text.contains(&this), "{error}");
        drop(first);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        InterfaceLock::take_in(&folder, LO, "lo").unwrap();
    }

    /// As after `kill -9`, by a process with a longer number.
    #[test]
    fn a_file_that_nobody_holds_is_taken_over() {
        let place = TempDir::new().unwrap();
        let folder = place.path().join("locks");
        let first = InterfaceLock::take_in(&folder, LO, "lo").unwrap();
        let path = first.path.clone();
        drop(first);
        fs::write(&path, "4194304444").unwrap();
        let _second = InterfaceLock::take_in(&folder, LO, "lo").unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            std::process::id().to_string()
        );
    }

    #[test]
    fn a_folder_that_others_may_write_to_holds_no_locks() {
        let place = TempDir::new().unwrap();
        let folder = place.path().join("locks");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
        let error = InterfaceLock::take_in(&folder, LO, "lo").unwrap_err();
        assert!(error.text.contains("0700"), "{error}");

        let link = place.path().join("link");
        symlink(&folder, &link).unwrap();
        let error = InterfaceLock::take_in(&link, LO, "lo").unwrap_err();
        assert!(error.text.contains("0700"), "{error}");

        let file = place.path().join("file");
        File::create(&file).unwrap();
        InterfaceLock::take_in(&file, LO, "lo").unwrap_err();
    }

    #[test]
    fn a_folder_has_one_holder_until_it_lets_go() {
        let folder = TempDir::new().unwrap();
        let first = FolderLock::take(folder.path(), "--state-dir").unwrap();
        let error = FolderLock::take(folder.path(), "--state-dir").unwrap_err();
        assert!(error.text.contains("--state-dir"), "{error}");
        drop(first);
        FolderLock::take(folder.path(), "--state-dir").unwrap();
    }
}
