//! A memory cgroup of a test's own: whoever is moved into it and asks for more than it has is killed
//! by the kernel.
//!
//! What a process has when it is moved stays on the account of the group it comes from.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::process::wait_until;

const PREFIX: &str = "sipward-";
/// Until the kernel has let go of the processes that were in a group.
const EMPTY: Duration = Duration::from_secs(10);

/// A memory cgroup, removed when dropped: what was moved into it has to have ended by then.
#[derive(Debug)]
pub struct MemoryGroup {
    folder: PathBuf,
    version: Version,
}

/// Which of the two interfaces the kernel offers the memory controller by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl MemoryGroup {
    /// A group in which `bytes` can be used, and nothing of that swapped out. Those that a killed
    /// test process left behind are removed first.
    ///
    /// # Errors
    /// This machine has no memory controller for us, and why.
    pub fn new(bytes: u64) -> Result<Self> {
        let (version, hierarchy) = hierarchy()?;
        remove_stale(&hierarchy);
        if version == Version::V2 {
            // The children of a group have the controllers that it hands on.
            write(&hierarchy.join("cgroup.subtree_control"), "+memory")?;
        }
        let folder = hierarchy.join(format!("{PREFIX}{}", process::id()));
        fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        let group = Self { folder, version };
        let (limit, swap, unswapped) = match version {
            Version::V1 => ("memory.limit_in_bytes", "memory.swappiness", "0"),
            Version::V2 => ("memory.max", "memory.swap.max", "0"),
        };
        group.write(limit, &bytes.to_string())?;
        // A kernel without swap has no such file.
        if group.folder.join(swap).exists() {
            group.write(swap, unswapped)?;
        }
        Ok(group)
    }

    /// Moves a process into it.
    ///
    /// # Errors
    /// If there is none of this id.
    pub fn take(&self, process: u32) -> Result<()> {
        self.write("cgroup.procs", &process.to_string())
    }

    /// How many processes of it the kernel has killed for want of memory.
    ///
    /// # Errors
    /// If the kernel does not count them.
    pub fn kills(&self) -> Result<u64> {
        let events = match self.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        let events = self.folder.join(events);
        let text = fs::read_to_string(&events)?;
        let mut counts = text.lines().filter_map(|line| line.split_once(' '));
        let found = counts.find(|(name, _)| *name == "oom_kill");
        let (_, count) = found.with_context(|| format!("no oom_kill in {}", events.display()))?;
        Ok(count.parse()?)
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        write(&self.folder.join(file), text)
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let removed = || fs::remove_dir(&self.folder).is_ok();
        // What stays is removed by the next test.
        let _ = wait_until("an empty memory cgroup", EMPTY, removed);
    }
}

/// Where the memory controller is, and by which interface.
fn hierarchy() -> Result<(Version, PathBuf)> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    for mount in mounts.lines() {
        let mut words = mount.split(' ').skip(1);
        let (Some(folder), Some(kind), Some(options)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let folder = PathBuf::from(folder);
        if kind == "cgroup" && options.split(',').any(|option| option == "memory") {
            return Ok((Version::V1, folder));
        }
        let controllers = folder.join("cgroup.controllers");
        let controllers = fs::read_to_string(controllers).unwrap_or_default();
        if kind == "cgroup2" && controllers.split_whitespace().any(|name| name == "memory") {
            return Ok((Version::V2, folder));
        }
    }
    bail!("no cgroup file system has the memory controller")
}

fn remove_stale(hierarchy: &Path) {
    let Ok(entries) = fs::read_dir(hierarchy) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner: Option<u32> = name.strip_prefix(PREFIX).and_then(|pid| pid.parse().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // One that still has a process in it stays.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Writes without making the file: the kernel has it, or the group has no such thing.
fn write(file: &Path, text: &str) -> Result<()> {
    File::options()
        .write(true)
        .open(file)
        .and_then(|mut open| open.write_all(text.as_bytes()))
        .with_context(|| format!("writing {text} to {}", file.display()))
}
