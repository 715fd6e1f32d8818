//! The program on real interfaces. Maps and links are pinned, so that protection outlives the
//! daemon; a later start adopts what fits and replaces the rest without a gap.

use std::{
    error::Error as StdError,
    ffi::CStr,
    fs, io,
    os::fd::{AsFd as _, BorrowedFd},
    path::{Path, PathBuf},
};

use aya::{
    Ebpf,
    maps::MapInfo,
    programs::{
        links::{FdLink, PinnedLink},
        xdp::{XdpLink, XdpMode as AyaMode},
    },
};

use crate::{
    Error, GuardedInterface, XdpMode,
    abi::{LAYOUT, MapShape, PINNED_MAPS},
    delegate::shield_by_maps,
    maps::Maps,
    program,
    sys::{self, XdpLinkState},
};

/// Drivers on which native XDP costs more than generic (147 ns a packet on veth) and switches the
/// peer's segmentation off, or which refuse it (bridge).
const GENERIC_IS_BETTER: &[&str] = &["veth", "bridge", "802.1Q VLAN Support"];

const BPF_FS: &str = "/sys/fs/bpf";
const BPF_FS_C: &CStr = c"/sys/fs/bpf";
/// Begins the name of a link's pin; the interface's index and the mode follow.
const LINK: &str = "link-";

/// What to guard, and where to keep it.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of the pins, on a BPF file system; made where it is not there. No name in it
    /// may have a dot: the BPF file system answers EPERM.
    pub pin_dir: PathBuf,
    /// The interfaces to guard.
    pub interfaces: Vec<Interface>,
}

/// An interface to guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// The mode; `None` takes the better one that works.
    pub mode: Option<XdpMode>,
}

/// The guarding program.
pub struct Xdp {
    ebpf: Ebpf,
    maps: Maps,
    pins: PathBuf,
    wanted: Vec<Interface>,
    links: Vec<Link>,
    notes: Vec<String>,
}

struct Link {
    interface: String,
    mode: XdpMode,
    state: XdpLinkState,
    pin: PathBuf,
    adopted: bool,
    /// Keeps the program attached even when somebody removes the pin.
    _held: XdpLink,
}

impl Link {
    /// The program judges what comes in there.
    fn is_attached(&self) -> bool {
        sys::link_state_of(self.state.id).is_ok_and(|state| state == self.state)
    }

    /// The link is in its place, whatever program is in it.
    fn is_on_interface(&self) -> bool {
        sys::link_state_of(self.state.id).is_ok_and(|state| state.ifindex == self.state.ifindex)
    }
}

/// A link of an earlier start that does not guard what it should.
struct Unwanted {
    pin: PathBuf,
    mode: XdpMode,
    interface: Option<String>,
}

impl Xdp {
    /// Loads the program over the maps that are pinned, or over new ones. It judges its first
    /// packet after [`crate::Shield::attach`]; an earlier start's program, if there is one, judges
    /// by the same maps until then. If that never comes and there is none, no pin stays behind.
    ///
    /// # Errors
    /// See [`Error`]; an interface that does not exist is one.
    pub fn open(options: &Options) -> Result<Self, Error> {
        for interface in &options.interfaces {
            if sys::interface_index(&interface.name).is_none() {
                return Err(Error::NoInterface(interface.name.clone()));
            }
        }
        sys::probe()?;
        let pins = prepare(&options.pin_dir)?;
        let mut notes = Vec::new();
        discard_misfits(&pins, &mut notes)?;
        let loaded = program::load(Some(&pins)).and_then(|mut ebpf| {
            let maps = Maps::new(&mut ebpf)?;
            Ok((ebpf, maps))
        });
        let (ebpf, maps) = loaded.inspect_err(|_| remove_pins_without_links(&pins))?;
        Ok(Self {
            ebpf,
            maps,
            pins,
            wanted: options.interfaces.clone(),
            links: Vec::new(),
            notes,
        })
    }

    /// Becomes readable when [`crate::Shield::drain_events`] has something to give.
    #[must_use]
    pub fn events_fd(&self) -> BorrowedFd<'_> {
        self.maps.events().as_fd()
    }

    /// Puts the new program into the links of an earlier start that guard a wanted interface in the
    /// wanted mode, and returns the pins of the others, with the interface if there still is one.
    fn adopt_links(&mut self) -> Result<Vec<Unwanted>, Error> {
        let wanted = self.wanted.clone();
        let mut unwanted = Vec::new();
        for (pin, mode) in pinned_links(&self.pins)? {
            let name = sys::pinned_link_state(&pin)
                .ok()
                .and_then(|state| sys::interface_name(state.ifindex));
            let interface = wanted
                .iter()
                .find(|interface| Some(&interface.name) == name.as_ref())
                .filter(|interface| wanted_mode(interface).is_none_or(|wanted| wanted == mode));
            let Some(interface) = interface else {
                unwanted.push(Unwanted {
                    pin,
                    mode,
                    interface: name,
                });
                continue;
            };
            self.notes
                .push(format!("{}: adopted, {}", interface.name, mode_name(mode)));
            self.update(interface.name.clone(), mode, pin, true)?;
        }
        Ok(unwanted)
    }

    /// Puts the program into a pinned link, in the place of what is there.
    fn update(
        &mut self,
        interface: String,
        mode: XdpMode,
        pin: PathBuf,
        adopted: bool,
    ) -> Result<(), Error> {
        let failed = |error: &(dyn StdError + 'static)| refused(&interface, mode, error);
        let pinned = PinnedLink::from_pin(&pin).map_err(|error| failed(&error))?;
        let link = XdpLink::try_from(FdLink::from(pinned)).map_err(|error| failed(&error))?;
        let program = program::xdp(&mut self.ebpf)?;
        let id = program
            .attach_to_link(link)
            .map_err(|error| failed(&error))?;
        let held = program.take_link(id).map_err(|error| failed(&error))?;
        self.keep(interface, mode, held, pin, adopted)
    }

    /// Mends a link that no longer guards; the mended one comes last.
    fn mend(&mut self, index: usize) -> Result<Option<String>, Error> {
        let Some(link) = self.links.get(index).filter(|link| !link.is_attached()) else {
            return Ok(None);
        };
        let (name, mode, pin) = (link.interface.clone(), link.mode, link.pin.clone());
        if sys::interface_index(&name).is_none() {
            return Ok(None);
        }
        let note = if link.is_on_interface() {
            self.update(name.clone(), mode, pin, false)?;
            format!("{name}: another program stood in the place of the shield, which is back")
        } else {
            take_off(&pin)?;
            let mode = Some(mode);
            self.attach_to(&Interface {
                name: name.clone(),
                mode,
            })?;
            format!("{name}: the shield had been taken off, and is back")
        };
        self.links.swap_remove(index);
        Ok(Some(note))
    }

    /// Attaches to an interface that no link of an earlier start guards as it should. One that
    /// guards it in another mode has to go first, and comes back when the new one fails.
    fn attach_anew(&mut self, interface: &Interface, unwanted: &[Unwanted]) -> Result<(), Error> {
        let other = unwanted
            .iter()
            .find(|other| other.interface.as_ref() == Some(&interface.name));
        if let Some(other) = other {
            take_off(&other.pin)?;
        }
        let attached = self.attach_to(interface);
        if let (Err(_), Some(other)) = (&attached, other) {
            let back = Interface {
                name: interface.name.clone(),
                mode: Some(other.mode),
            };
            self.attach_to(&back)?;
            // It was there before: it stays when the rest is taken back.
            if let Some(link) = self.links.last_mut() {
                link.adopted = true;
            }
        }
        attached
    }

    fn attach_to(&mut self, interface: &Interface) -> Result<(), Error> {
        let first = wanted_mode(interface).unwrap_or(XdpMode::Native);
        let (link, mode) = match self.create_link(&interface.name, first) {
            Ok(link) => (link, first),
            // Only where nobody asked for native: a silent fallback would hide a mistake.
            Err(Error::Attach { reason, .. })
                if interface.mode.is_none() && first == XdpMode::Native =>
            {
                self.notes
                    .push(format!("{}: no native XDP ({reason})", interface.name));
                (
                    self.create_link(&interface.name, XdpMode::Generic)?,
                    XdpMode::Generic,
                )
            }
            Err(error) => return Err(error),
        };
        let failed = |error: &(dyn StdError + 'static)| refused(&interface.name, mode, error);
        let ifindex = sys::interface_index(&interface.name)
            .ok_or_else(|| Error::NoInterface(interface.name.clone()))?;
        let pin = self
            .pins
            .join(format!("{LINK}{ifindex}-{}", mode_name(mode)));
        // aya falls back to netlink on EINVAL, which cannot be pinned and would evict a foreign
        // program: that is not a link, and an error here.
        let link = FdLink::try_from(link).map_err(|error| failed(&error))?;
        let pinned = link.pin(&pin).map_err(|error| failed(&error))?;
        let held = XdpLink::try_from(FdLink::from(pinned)).map_err(|error| failed(&error))?;
        self.keep(interface.name.clone(), mode, held, pin, false)
    }

    fn create_link(&mut self, interface: &str, mode: XdpMode) -> Result<XdpLink, Error> {
        let program = program::xdp(&mut self.ebpf)?;
        let aya_mode = match mode {
            XdpMode::Native => AyaMode::Driver,
            XdpMode::Generic => AyaMode::Skb,
        };
        let id = program.attach(interface, aya_mode).map_err(|error| {
            match program::os_error(&error) {
                Some(libc::EEXIST | libc::EBUSY) => Error::Occupied {
                    interface: interface.to_owned(),
                },
                Some(libc::ENODEV) => Error::NoInterface(interface.to_owned()),
                Some(libc::EPERM) => Error::NotPermitted,
                Some(_) | None => refused(interface, mode, &error),
            }
        })?;
        program
            .take_link(id)
            .map_err(|error| Error::Load(error.into()))
    }

    fn keep(
        &mut self,
        interface: String,
        mode: XdpMode,
        held: XdpLink,
        pin: PathBuf,
        adopted: bool,
    ) -> Result<(), Error> {
        let state = sys::pinned_link_state(&pin).map_err(in_pin(&pin))?;
        self.links.push(Link {
            interface,
            mode,
            state,
            pin,
            adopted,
            _held: held,
        });
        Ok(())
    }
}

impl Drop for Xdp {
    fn drop(&mut self) {
        remove_pins_without_links(&self.pins);
    }
}

shield_by_maps!(Xdp {
    fn attach(&mut self) -> Result<Vec<String>, Error> {
        let unwanted = self.adopt_links()?;
        for interface in self.wanted.clone() {
            if self.links.iter().any(|link| link.interface == interface.name) {
                continue;
            }
            if let Err(error) = self.attach_anew(&interface, &unwanted) {
                for link in self.links.drain(..).filter(|link| !link.adopted) {
                    take_off(&link.pin)?;
                }
                return Err(error);
            }
        }
        // Last, so that a start that fails takes nothing away.
        for Unwanted { pin, interface, .. } in unwanted {
            take_off(&pin)?;
            let name = interface.unwrap_or_else(|| "an interface that is gone".to_owned());
            self.notes.push(format!("{name}: no longer guarded by {}", pin.display()));
        }
        Ok(std::mem::take(&mut self.notes))
    }

    fn interfaces(&self) -> Result<Vec<GuardedInterface>, Error> {
        let guarded = |link: &Link| GuardedInterface {
            name: link.interface.clone(),
            mode: Some(link.mode),
            attached: link.is_attached(),
        };
        Ok(self.links.iter().map(guarded).collect())
    }

    fn reattach(&mut self) -> Result<Vec<String>, Error> {
        let mut mended = Vec::new();
        let mut refused = None;
        for index in 0..self.links.len() {
            match self.mend(index) {
                Ok(note) => mended.extend(note),
                Err(error) => refused = Some(error),
            }
        }
        refused.map_or(Ok(mended), Err)
    }

    fn detach(&mut self) -> Result<(), Error> {
        for link in self.links.drain(..) {
            take_off(&link.pin)?;
        }
        remove_pins(&self.pins)
    }
});

/// Takes away what a sipward that is no longer running has left behind. Returns whether there was
/// anything.
///
/// # Errors
/// A pin that cannot be removed.
pub fn remove_leftovers(pin_dir: &Path) -> Result<bool, Error> {
    let pins = pin_dir.join(format!("layout-{LAYOUT}"));
    if !pins.is_dir() {
        return Ok(false);
    }
    let links = pinned_links(&pins)?;
    for (pin, _) in &links {
        take_off(pin)?;
    }
    remove_pins(&pins)?;
    Ok(!links.is_empty())
}

/// An interface that does not take the program, with what the administrator may try.
fn refused(interface: &str, mode: XdpMode, error: &(dyn StdError + 'static)) -> Error {
    let hint = match (mode, program::os_error(error)) {
        (XdpMode::Native, Some(libc::EOPNOTSUPP)) => {
            "its driver has no native XDP; take --xdp-mode generic"
        }
        // What drivers answer to an MTU beyond a page, to LRO and to too few queues.
        (XdpMode::Native, Some(_) | None) => {
            "its MTU, LRO or queues may be beyond what its driver can do with native XDP (`dmesg` \
             says more); take --xdp-mode generic"
        }
        (XdpMode::Generic, Some(_) | None) => {
            "any interface takes generic XDP, unless the kernel says otherwise in `dmesg`"
        }
    };
    Error::Attach {
        interface: interface.to_owned(),
        mode: mode_name(mode),
        reason: program::reason(error),
        hint,
    }
}

/// Where nothing is attached, nobody reads the maps; a failure is left for the next start to meet.
fn remove_pins_without_links(pins: &Path) {
    if pinned_links(pins).is_ok_and(|links| links.is_empty()) {
        let _ = remove_pins(pins);
    }
}

/// Removes the pinned maps and the folder, if it is then empty.
fn remove_pins(pins: &Path) -> Result<(), Error> {
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
fn prepare(pin_dir: &Path) -> Result<PathBuf, Error> {
    if pin_dir.starts_with(BPF_FS) && !sys::is_bpf_fs(Path::new(BPF_FS)).is_ok_and(|is| is) {
        sys::mount_bpf_fs(BPF_FS_C).map_err(in_pin(Path::new(BPF_FS)))?;
    }
    let pins = pin_dir.join(format!("layout-{LAYOUT}"));
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
fn discard_misfits(pins: &Path, notes: &mut Vec<String>) -> Result<(), Error> {
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

/// The mode that an interface has to have; `None`: native where the driver can.
fn wanted_mode(interface: &Interface) -> Option<XdpMode> {
    interface.mode.or_else(|| {
        let driver = sys::driver(&interface.name).ok()?;
        GENERIC_IS_BETTER
            .contains(&driver.as_str())
            .then_some(XdpMode::Generic)
    })
}

/// The pinned links and the modes that their names tell; the kernel does not.
fn pinned_links(pins: &Path) -> Result<Vec<(PathBuf, XdpMode)>, Error> {
    let mut links = Vec::new();
    for entry in fs::read_dir(pins).map_err(in_pin(pins))? {
        let pin = entry.map_err(in_pin(pins))?.path();
        let name = pin
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let Some(rest) = name.strip_prefix(LINK) else {
            continue;
        };
        let mode = [XdpMode::Native, XdpMode::Generic]
            .into_iter()
            .find(|mode| rest.ends_with(mode_name(*mode)));
        links.extend(mode.map(|mode| (pin.clone(), mode)));
    }
    links.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(links)
}

const fn mode_name(mode: XdpMode) -> &'static str {
    match mode {
        XdpMode::Native => "native",
        XdpMode::Generic => "generic",
    }
}

/// Takes the program of a pinned link off its interface, and its pin away. The kernel lets go of a
/// link some time after its last pin and descriptor are gone, and until then the interface takes no
/// other: on a busy machine an attach right after it was refused.
fn take_off(pin: &Path) -> Result<(), Error> {
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

fn in_pin(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Pin { path, source }
}
