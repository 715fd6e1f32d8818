//! Where the bytes come from: a directory on disk, or a map in memory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// What a path leads to, links followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file: the only kind that Asterisk reads.
    Regular,
    /// A directory.
    Directory,
    /// A device, a pipe, a socket.
    Other,
    /// Nothing there, or not reachable.
    Missing,
}

/// A place that holds configuration files. Paths are absolute.
pub trait Files {
    /// What the path leads to.
    fn kind(&self, path: &Path) -> Kind;
    /// The file's bytes.
    ///
    /// # Errors
    /// As the file system says.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The names in a directory, sorted by byte; empty where it can't be read.
    fn list(&self, dir: &Path) -> Vec<OsString>;
    /// The permission bits.
    fn mode(&self, path: &Path) -> Option<u32>;
    /// The path with links and `..` resolved; itself where that fails.
    fn real(&self, path: &Path) -> PathBuf;
}

/// The file system.
#[derive(Clone, Copy, Debug)]
pub struct Disk;

impl Files for Disk {
    fn kind(&self, path: &Path) -> Kind {
        match std::fs::metadata(path) {
            Ok(m) if m.is_file() => Kind::Regular,
            Ok(m) if m.is_dir() => Kind::Directory,
            Ok(_) => Kind::Other,
            Err(_) => Kind::Missing,
        }
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn list(&self, dir: &Path) -> Vec<OsString> {
        let Ok(entries) = std::fs::read_dir(dir) else {
            return Vec::new();
        };
        let mut names: Vec<OsString> = entries.flatten().map(|e| e.file_name()).collect();
        names.sort();
        names
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        std::fs::metadata(path).ok().map(|m| m.mode() & 0o7777)
    }

    fn real(&self, path: &Path) -> PathBuf {
        std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())
    }
}

/// Files in memory: absolute path to bytes.
#[derive(Clone, Debug, Default)]
pub struct Memory(pub BTreeMap<PathBuf, Vec<u8>>);

impl Memory {
    /// The tree's directory in [`Memory::with`].
    pub const ROOT: &'static str = "/etc/asterisk";

    /// Files under [`Memory::ROOT`].
    pub fn with<N: AsRef<str>, T: AsRef<[u8]>>(files: impl IntoIterator<Item = (N, T)>) -> Self {
        let root = Path::new(Self::ROOT);
        Self(
            files
                .into_iter()
                .map(|(n, t)| (root.join(n.as_ref()), t.as_ref().to_vec()))
                .collect(),
        )
    }
}

impl Files for Memory {
    fn kind(&self, path: &Path) -> Kind {
        let path = self.real(path);
        if self.0.contains_key(&path) {
            Kind::Regular
        } else if self.0.keys().any(|k| k.starts_with(&path)) {
            Kind::Directory
        } else {
            Kind::Missing
        }
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0
            .get(&self.real(path))
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, dir: &Path) -> Vec<OsString> {
        let dir = self.real(dir);
        let mut names: Vec<OsString> = self
            .0
            .keys()
            .filter_map(|k| k.strip_prefix(&dir).ok())
            .filter_map(|rest| rest.components().next())
            .map(|c| c.as_os_str().to_owned())
            .collect();
        names.sort();
        names.dedup();
        names
    }

    fn mode(&self, _: &Path) -> Option<u32> {
        None
    }

    fn real(&self, path: &Path) -> PathBuf {
        let mut real = PathBuf::new();
        for part in path.components() {
            match part {
                Component::ParentDir => {
                    real.pop();
                }
                Component::CurDir => {}
                Component::Prefix(_) | Component::RootDir | Component::Normal(_) => real.push(part),
            }
        }
        real
    }
}
