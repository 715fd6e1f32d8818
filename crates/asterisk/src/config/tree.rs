//! A directory of configuration files.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::files::Files;
use super::problem::Note;
use super::reader::Reader;
use super::{Config, Place};

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its absolute path.
    pub path: PathBuf,
    /// The path to show: relative to the tree where it lies in it.
    pub shown: String,
    /// Permission bits, where there are any.
    pub mode: Option<u32>,
}

/// A configuration directory (`/etc/asterisk`) and what was read of it.
pub struct Tree<'a> {
    source: &'a dyn Files,
    root: PathBuf,
    real_root: PathBuf,
    /// Every file read, in the order of reading.
    pub files: Vec<File>,
    /// What Asterisk would stumble over.
    pub notes: Vec<Note>,
    numbers: HashMap<PathBuf, u32>,
    noted: HashSet<Note>,
}

impl<'a> Tree<'a> {
    /// The tree at `root`, an absolute path; nothing is read yet.
    pub fn new(source: &'a dyn Files, root: &Path) -> Self {
        Self {
            source,
            root: root.to_path_buf(),
            real_root: source.real(root),
            files: Vec::new(),
            notes: Vec::new(),
            numbers: HashMap::new(),
            noted: HashSet::new(),
        }
    }

    /// Reads a configuration by its name in the directory (`sip.conf`), with all that it includes.
    /// None where there is no such file.
    pub fn read(&mut self, name: &str) -> Option<Config> {
        let mut reader = Reader {
            source: self.source,
            root: &self.root,
            real_root: &self.real_root,
            files: &mut self.files,
            notes: &mut self.notes,
            numbers: &mut self.numbers,
            noted: &mut self.noted,
            config: Config::default(),
            current: None,
            stack: Vec::new(),
            read: 0,
            inherited: 0,
        };
        reader.load(name, None).then_some(reader.config)
    }

    /// Whether a file of this name is in the directory.
    pub fn has(&self, name: &str) -> bool {
        self.source.kind(&self.root.join(name)) == super::Kind::Regular
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the files come from.
    pub fn source(&self) -> &dyn Files {
        self.source
    }

    /// The file of a place.
    pub fn file(&self, at: Place) -> Option<&File> {
        self.files.get(usize::try_from(at.file).ok()?)
    }

    /// Whether a file lies in the directory, links resolved.
    pub fn holds(&self, path: &Path) -> bool {
        self.source.real(path).starts_with(&self.real_root)
    }
}
