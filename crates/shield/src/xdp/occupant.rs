//! Whose program stands on an interface: its name and id, where it is pinned, and which process
//! holds it. Looked up only where it is in our way.

use std::{
    collections::BTreeMap,
    fs,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use aya::programs::loaded_programs;

use super::{BPF_FS, pins::is_link_of_ours};
use crate::{RefusalKind, interfaces::Link, sys};

/// Pins that are looked at, and folders within each other.
const PINS_MAX: usize = 10_000;
const DEPTH_MAX: usize = 8;
/// Processes that are named.
const HOLDERS_MAX: usize = 3;

/// By interface the programs that were in the way last, and what was found out about them: the
/// answer does not change while they stay, and finding it out reads much of /proc.
#[derive(Default)]
pub(super) struct Occupants(BTreeMap<String, (Vec<u32>, (String, RefusalKind))>);

impl Occupants {
    /// Whose programs are on this interface, and what follows from that.
    pub fn on(&mut self, interface: &str) -> (String, RefusalKind) {
        let programs = programs(interface).unwrap_or_default();
        if let Some((known, whose)) = self.0.get(interface)
            && *known == programs
        {
            return whose.clone();
        }
        let mut pins = programs.iter().flat_map(|id| pins_of(*id));
        let kind = if programs.is_empty() {
            // One that has just gone: the kernel lets go of it some time after.
            RefusalKind::Passing
        } else if pins.any(|pin| is_link_of_ours(&pin)) {
            RefusalKind::Anothers
        } else {
            RefusalKind::NoXdp
        };
        let whose = (whose(&programs), kind);
        let found = (programs, whose.clone());
        self.0.insert(interface.to_owned(), found);
        whose
    }

    /// Whether a sipward's program that was in the way still is.
    pub fn are_still_anothers(&self, interface: &str) -> bool {
        let known = self.0.get(interface);
        known.is_some_and(|(known, (_, kind))| {
            *kind == RefusalKind::Anothers && programs(interface).as_ref() == Some(known)
        })
    }
}

/// Whose XDP programs are on an interface, in words; none where there is none, or it is not there.
#[must_use]
pub fn occupant(interface: &str) -> Option<String> {
    let programs = programs(interface)?;
    (!programs.is_empty()).then(|| whose(&programs))
}

fn programs(interface: &str) -> Option<Vec<u32>> {
    let link = Link::of(sys::interface_index(interface).ok()??).ok()?;
    Some(link.programs)
}

fn whose(programs: &[u32]) -> String {
    if programs.is_empty() {
        return "the kernel does not say whose".to_owned();
    }
    let described: Vec<String> = programs.iter().map(|id| describe(*id)).collect();
    described.join("; ")
}

fn describe(id: u32) -> String {
    let mut known = loaded_programs().filter_map(Result::ok);
    let program = known.find(|program| program.id() == id);
    // The kernel tells with CAP_SYS_ADMIN only.
    let name = match program.as_ref().map(|program| program.name_as_str()) {
        None => "of a name that cannot be asked for",
        Some(None | Some("")) => "without a name",
        Some(Some(name)) => name,
    };
    let mut text = format!("{} (id {id})", name.escape_debug());
    for pin in pins_of(id).iter().take(1) {
        text += &format!(", pinned at {:?}", pin.display());
    }
    let holders = holders_of(id);
    if !holders.is_empty() {
        text += &format!(", held by {}", holders.join(" and "));
    }
    text
}

fn pins_of(id: u32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![(PathBuf::from(BPF_FS), 0)];
    let mut looked_at = 0;
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            looked_at += 1;
            if looked_at > PINS_MAX {
                return found;
            }
            let path = entry.path();
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_dir() && depth < DEPTH_MAX {
                folders.push((path, depth + 1));
            } else if kind.is_file() && is_pin_of(&path, id) {
                found.push(path);
            }
        }
    }
    found
}

fn is_pin_of(path: &Path, id: u32) -> bool {
    let Ok(object) = sys::open_pin(path) else {
        return false;
    };
    holds(
        Path::new(&format!("/proc/self/fdinfo/{}", object.as_raw_fd())),
        id,
    )
}

/// Processes with a descriptor of the program, or of a link that has it.
fn holders_of(id: u32) -> Vec<String> {
    let own = std::process::id();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != own && has_open(*pid, id))
        .take(HOLDERS_MAX)
        .map(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("process {pid} ({})", name.trim_end().escape_debug())
        })
        .collect()
}

fn has_open(pid: u32, id: u32) -> bool {
    let infos = fs::read_dir(format!("/proc/{pid}/fdinfo"));
    let mut infos = infos.into_iter().flatten().flatten();
    infos.any(|info| holds(&info.path(), id))
}

/// Whether a descriptor is of this program or of a link with it, as the kernel describes it: no
/// other description tells maps, programs and links apart.
fn holds(info: &Path, id: u32) -> bool {
    let Ok(text) = fs::read_to_string(info) else {
        return false;
    };
    let mut lines = text.lines();
    lines.any(|line| {
        let program = line.strip_prefix("prog_id:").map(str::trim);
        program.is_some_and(|program| program.parse() == Ok(id))
    })
}
