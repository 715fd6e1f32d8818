//! Control groups of a test's own.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::process::wait_until;

const PREFIX: &str = "sipward-";
/// Until the kernel has let go of the processes that were in a group.
const EMPTY: Duration = Duration::from_secs(10);

/// A group, removed when dropped with the groups within it: its processes have to have ended by then.
#[derive(Debug)]
pub struct Group {
    folder: PathBuf,
}

impl Group {
    /// A group of the second version, with whatever controllers that has here.
    ///
    /// # Errors
    /// This machine has none mounted, or not for us.
    pub fn new() -> Result<Self> {
        let mounts = mounts()?;
        let of_version_2 = mounts.into_iter().find(|mount| mount.kind == "cgroup2");
        let mount = of_version_2.context("no cgroup file system of version 2 is mounted")?;
        Self::within(&mount.folder)
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// One for this test process. Those that a killed one left behind are removed first.
    fn within(hierarchy: &Path) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        remove_stale(hierarchy);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = hierarchy.join(format!("{PREFIX}{}-{number}", process::id()));
        fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        Ok(Self { folder })
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        write(&self.folder.join(file), text)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // What stays is removed by the next test.
        let _ = wait_until("an empty control group", EMPTY, || remove(&self.folder));
    }
}

/// A memory cgroup: whoever is moved into it and asks for more than it has is killed by the kernel.
/// What a process has when it is moved stays on the account of the group it comes from.
#[derive(Debug)]
pub struct MemoryGroup {
    group: Group,
    version: Version,
}

/// Which of the two interfaces the kernel offers the memory controller by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl MemoryGroup {
    /// A group in which `bytes` can be used, and nothing of that swapped out.
    ///
    /// # Errors
    /// This machine has no memory controller for us, and why.
    pub fn new(bytes: u64) -> Result<Self> {
        let (version, hierarchy) = memory()?;
        if version == Version::V2 {
            // The children of a group have the controllers that it hands on.
            write(&hierarchy.join("cgroup.subtree_control"), "+memory")?;
        }
        let group = Group::within(&hierarchy)?;
        let (limit, swap) = match version {
            Version::V1 => ("memory.limit_in_bytes", "memory.swappiness"),
            Version::V2 => ("memory.max", "memory.swap.max"),
        };
        group.write(limit, &bytes.to_string())?;
        // A kernel without swap has no such file.
        if group.folder.join(swap).exists() {
            group.write(swap, "0")?;
        }
        Ok(Self { group, version })
    }

    /// Moves a process into it.
    ///
    /// # Errors
    /// If there is none of this id.
    pub fn take(&self, process: u32) -> Result<()> {
        self.group.write("cgroup.procs", &process.to_string())
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
        let events = self.group.folder.join(events);
        let text = fs::read_to_string(&events)?;
        let mut counts = text.lines().filter_map(|line| line.split_once(' '));
        let found = counts.find(|(name, _)| *name == "oom_kill");
        let (_, count) = found.with_context(|| format!("no oom_kill in {}", events.display()))?;
        Ok(count.parse()?)
    }
}

/// Where the memory controller is, and by which interface.
fn memory() -> Result<(Version, PathBuf)> {
    for mount in mounts()? {
        let has = |words: &str, separator| words.split(separator).any(|word| word == "memory");
        if mount.kind == "cgroup" && has(&mount.options, ',') {
            return Ok((Version::V1, mount.folder));
        }
        let controllers = mount.folder.join("cgroup.controllers");
        let controllers = fs::read_to_string(controllers).unwrap_or_default();
        if mount.kind == "cgroup2" && has(controllers.trim(), ' ') {
            return Ok((Version::V2, mount.folder));
        }
    }
    bail!("no cgroup file system has the memory controller")
}

struct Mount {
    folder: PathBuf,
    kind: String,
    options: String,
}

fn mounts() -> Result<Vec<Mount>> {
    let mount = |line: &str| {
        let mut words = line.split(' ').skip(1).map(str::to_owned);
        Some(Mount {
            folder: words.next()?.into(),
            kind: words.next()?,
            options: words.next()?,
        })
    };
    let text = fs::read_to_string("/proc/self/mounts")?;
    Ok(text.lines().filter_map(mount).collect())
}

fn remove_stale(hierarchy: &Path) {
    for folder in children(hierarchy) {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        let owner: Option<u32> = owner.and_then(|pid| pid.parse().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // One that still has a process in it stays.
            remove(&folder);
        }
    }
}

/// Removes a group and those within it; false while there are processes.
fn remove(group: &Path) -> bool {
    children(group).iter().all(|child| remove(child)) && fs::remove_dir(group).is_ok()
}

fn children(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| path.is_dir()).collect()
}

/// Writes without making the file: the kernel has it, or the group has no such thing.
fn write(file: &Path, text: &str) -> Result<()> {
    File::options()
        .write(true)
        .open(file)
        .and_then(|mut open| open.write_all(text.as_bytes()))
        .with_context(|| format!("writing {text} to {}", file.display()))
}
