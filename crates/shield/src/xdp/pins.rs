//! The folder of the pins: what outlives the daemon, and what of it fits.

use std::{
    ffi::CStr,
    fs, io,
    path::{Path, PathBuf},
};

use aya::maps::MapInfo;

use super::{BPF_FS, mode_name};
use crate::{
    Error, XdpMode,
    abi::{LAYOUT, MapShape, PINNED_MAPS},
    interfaces::{from_hexadecimal, hexadecimal},
    sys,
};

const BPF_FS_C: &CStr = c"/sys/fs/bpf";
/// Begins the name of the folder of a layout; its number follows.
const FOLDER: &str = "layout-";
/// Begins the name of a link's pin; what [`link_name`] tells follows.
const LINK: &str = "link-";

/// A pinned link, and what its name tells; the kernel knows nothing of it.
#[derive(Clone, Debug)]
pub(super) struct Pinned {
    pub pin: PathBuf,
    pub mode: XdpMode,
    /// The name for which the interface is guarded; it may have another by now.
    pub wanted: Option<String>,
}

/// Whether a sipward, of this pin folder or another, has made this pin.
pub(super) fn is_link_of_ours(pin: &Path) -> bool {
    let name = pin.file_name().and_then(|name| name.to_str());
    let folder = pin.parent().and_then(Path::file_name);
    let folder = folder.and_then(|folder| folder.to_str());
    name.is_some_and(|name| name.starts_with(LINK))
        && folder.is_some_and(|folder| folder.starts_with(FOLDER))
}

/// How the pin of a link is called: by index, wanted name and mode. The name is in hexadecimal, for
/// `eth0.7` has a dot, which the BPF file system refuses.
pub(super) fn link_name(index: u32, wanted: &str, mode: XdpMode) -> String {
    format!("{LINK}{index}-{}-{}", hexadecimal(wanted), mode_name(mode))
}

/// Takes away what a sipward that is no longer running has left behind. Returns whether there was
/// anything.
///
/// # Errors
/// A pin that cannot be removed.
pub fn remove_leftovers(pin_dir: &Path) -> Result<bool, Error> {
    let pins = own_layout(pin_dir);
    let mut folders = other_layouts(&pins)?;
    folders.extend(pins.is_dir().then(|| pins.clone()));
    let mut had_links = false;
    for folder in &folders {
        for Pinned { pin, .. } in pinned_links(folder)? {
            take_off(&pin)?;
            had_links = true;
        }
    }
    remove_other_layouts(&pins)?;
    if pins.is_dir() {
        remove_pins(&pins)?;
    }
    Ok(had_links)
}

/// Where nothing is attached, nobody reads the maps; a failure is left for the next start to meet.
pub(super) fn remove_pins_without_links(pins: &Path) {
    if pinned_links(pins).is_ok_and(|links| links.is_empty()) {
        let _ = remove_pins(pins);
    }
}

/// Removes the pinned maps and the folder, if it is then empty.
pub(super) fn remove_pins(pins: &Path) -> Result<(), Error> {
    for map in PINNED_MAPS {
        remove(&pins.join(map.name))?;
    }
    // Somebody else's file in it is left, and the folder with it.
    let _ = fs::remove_dir(pins);
    if let Some(parent) = pins.parent() {
        let _ = fs::remove_dir(parent);
    }
    Ok(())
}

/// Makes the folder of the pins for this layout, on a BPF file system that is mounted where it
/// is not yet.
pub(super) fn prepare(pin_dir: &Path) -> Result<PathBuf, Error> {
    if pin_dir.starts_with(BPF_FS) && !sys::is_bpf_fs(Path::new(BPF_FS)).is_ok_and(|is| is) {
        sys::mount_bpf_fs(BPF_FS_C).map_err(in_pin(Path::new(BPF_FS)))?;
    }
    let pins = own_layout(pin_dir);
    fs::create_dir_all(&pins).map_err(in_pin(&pins))?;
    if !sys::is_bpf_fs(&pins).map_err(in_pin(&pins))? {
        // Undone on a best effort: the error that counts is the wrong file system.
        let _ = fs::remove_dir(&pins);
        return Err(in_pin(pin_dir)(io::Error::other(
            "not on a BPF file system",
        )));
    }
    Ok(pins)
}

/// Removes pinned maps that are not of the shape that the program has: aya would adopt them as
/// they are. The program that still uses them keeps them until its link is switched over.
pub(super) fn discard_misfits(pins: &Path, notes: &mut Vec<String>) -> Result<(), Error> {
    let misfit = PINNED_MAPS.iter().find_map(|shape| {
        let pin = pins.join(shape.name);
        pin.exists()
            .then(|| MapInfo::from_pin(&pin))
            .and_then(|info| match info {
                Ok(info) if fits(&info, shape) => None,
                Ok(_) => Some(format!("{}: another shape", pin.display())),
                Err(error) => Some(format!("{}: {error}", pin.display())),
            })
    });
    let Some(misfit) = misfit else {
        return Ok(());
    };
    notes.push(format!("{misfit}: all pinned maps are made anew"));
    for shape in PINNED_MAPS {
        remove(&pins.join(shape.name))?;
    }
    Ok(())
}

fn fits(info: &MapInfo, shape: &MapShape) -> bool {
    info.map_type().is_ok_and(|kind| kind as u32 == shape.kind)
        && info.key_size() == shape.key_size
        && info.value_size() == shape.value_size
        && info.max_entries() == shape.max_entries
        && info.map_flags() == shape.flags
}

fn own_layout(pin_dir: &Path) -> PathBuf {
    pin_dir.join(format!("{FOLDER}{LAYOUT}"))
}

/// The folders that versions with other maps have left beside this one's.
pub(super) fn other_layouts(pins: &Path) -> Result<Vec<PathBuf>, Error> {
    let Some(pin_dir) = pins.parent().filter(|pin_dir| pin_dir.is_dir()) else {
        return Ok(Vec::new());
    };
    let mut others = Vec::new();
    for entry in fs::read_dir(pin_dir).map_err(in_pin(pin_dir))? {
        let entry = entry.map_err(in_pin(pin_dir))?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(FOLDER));
        let is_layout = number.is_some_and(|number| number.parse::<u32>().is_ok());
        if is_layout && entry.path() != pins {
            others.push(entry.path());
        }
    }
    Ok(others)
}

/// Removes what versions with other maps have left, once no link of theirs is wanted any more.
pub(super) fn remove_other_layouts(pins: &Path) -> Result<(), Error> {
    for other in other_layouts(pins)? {
        // Whoever named such a folder for other things keeps it.
        if !sys::is_bpf_fs(&other).map_err(in_pin(&other))? {
            continue;
        }
        fs::remove_dir_all(&other).map_err(in_pin(&other))?;
    }
    Ok(())
}

/// The pinned links, in the order of their names.
pub(super) fn pinned_links(pins: &Path) -> Result<Vec<Pinned>, Error> {
    let mut links = Vec::new();
    for entry in fs::read_dir(pins).map_err(in_pin(pins))? {
        let pin = entry.map_err(in_pin(pins))?.path();
        let name = pin.file_name().and_then(|name| name.to_str());
        let Some(rest) = name.and_then(|name| name.strip_prefix(LINK)) else {
            continue;
        };
        let mode = [XdpMode::Native, XdpMode::Generic]
            .into_iter()
            .find(|mode| rest.ends_with(mode_name(*mode)));
        let wanted = rest.split('-').nth(1).and_then(from_hexadecimal);
        links.extend(mode.map(|mode| Pinned {
            pin: pin.clone(),
            mode,
            wanted,
        }));
    }
    links.sort_by(|a, b| a.pin.cmp(&b.pin));
    Ok(links)
}

/// Takes the program of a pinned link off its interface, and its pin away. The kernel lets go of a
/// link some time after its last pin and descriptor are gone, and until then the interface takes no
/// other: on a busy machine an attach right after it was refused.
pub(super) fn take_off(pin: &Path) -> Result<(), Error> {
    match sys::detach_pinned_link(pin) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(in_pin(pin)(error)),
        Ok(()) | Err(_) => remove(pin),
    }
}

fn remove(pin: &Path) -> Result<(), Error> {
    match fs::remove_file(pin) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(in_pin(pin)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

pub(super) fn in_pin(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Pin { path, source }
}
