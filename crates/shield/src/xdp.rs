//! The program on real interfaces. Maps and links are pinned, so that protection outlives the
//! daemon; a later start adopts what fits and replaces the rest without a gap.

mod occupant;
mod pins;

use std::{
    error::Error as StdError,
    fs,
    os::fd::{AsFd as _, BorrowedFd},
    path::PathBuf,
};

use aya::{
    Ebpf,
    programs::{
        links::{FdLink, PinnedLink},
        xdp::{XdpLink, XdpMode as AyaMode},
    },
};

use self::{
    occupant::Occupants,
    pins::{
        discard_misfits, in_pin, other_layouts, pinned_links, prepare, remove_other_layouts,
        remove_pins, remove_pins_without_links, take_off,
    },
};
pub use self::{occupant::occupant, pins::remove_leftovers};
use crate::{
    Error, GuardedInterface, XdpMode,
    delegate::shield_by_maps,
    interfaces::{self, Present, Wanted},
    maps::Maps,
    program,
    sys::{self, XdpLinkState},
};

/// Drivers on which native XDP costs more than generic (147 ns a packet on veth) and switches the
/// peer's segmentation off, or which refuse it (bridge).
const GENERIC_IS_BETTER: &[&str] = &["veth", "bridge", "802.1Q VLAN Support"];

const BPF_FS: &str = "/sys/fs/bpf";
/// Begins the name of a link's pin; the interface's index and the mode follow.
const LINK: &str = "link-";

/// What to guard, and where to keep it.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of the pins, on a BPF file system; made where it is not there. No name in it
    /// may have a dot: the BPF file system answers EPERM.
    pub pin_dir: PathBuf,
    /// The interfaces to guard; one that is not there is guarded once it is.
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
    wanted: Vec<Wanted>,
    modes: Vec<Option<XdpMode>>,
    links: Vec<Link>,
    occupants: Occupants,
    notes: Vec<String>,
}

struct Link {
    /// Its name when the program was put on it.
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
    /// See [`Error`].
    pub fn open(options: &Options) -> Result<Self, Error> {
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
            wanted: options
                .interfaces
                .iter()
                .map(|interface| Wanted::named(&interface.name))
                .collect(),
            modes: options
                .interfaces
                .iter()
                .map(|interface| interface.mode)
                .collect(),
            links: Vec::new(),
            occupants: Occupants::default(),
            notes,
        })
    }

    /// Becomes readable when [`crate::Shield::drain_events`] has something to give.
    #[must_use]
    pub fn events_fd(&self) -> BorrowedFd<'_> {
        self.maps.events().as_fd()
    }

    /// The interfaces that are wanted and there, under their present names.
    fn present(&mut self) -> Vec<(Interface, u32)> {
        self.wanted.iter_mut().for_each(Wanted::look);
        let modes = self.wanted.iter().zip(&self.modes);
        modes
            .filter_map(|(wanted, mode)| {
                let Present { index, name } = wanted.present(&self.wanted)?;
                Some((Interface { name, mode: *mode }, index))
            })
            .collect()
    }

    /// Puts the new program into the links of an earlier start, of this version or another, that
    /// guard a wanted interface in the wanted mode, and returns the pins of the others, with the
    /// interface if there still is one.
    fn adopt_links(&mut self, wanted: &[(Interface, u32)]) -> Result<Vec<Unwanted>, Error> {
        let mut unwanted = Vec::new();
        let mut pinned = pinned_links(&self.pins)?;
        for other in other_layouts(&self.pins)? {
            self.notes
                .push(format!("{}: of another version", other.display()));
            pinned.extend(pinned_links(&other)?);
        }
        for (pin, mode) in pinned {
            let state = sys::pinned_link_state(&pin).ok();
            let interface = wanted
                .iter()
                .find(|(_, index)| state.is_some_and(|state| state.ifindex == *index))
                .map(|(interface, _)| interface)
                .filter(|interface| wanted_mode(interface).is_none_or(|wanted| wanted == mode));
            let Some(interface) = interface else {
                unwanted.push(Unwanted {
                    pin,
                    mode,
                    interface: state.and_then(|state| sys::interface_name(state.ifindex)),
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
        // Of another layout only the links are kept, where this one's are.
        let own = self.pins.join(pin.file_name().unwrap_or_default());
        if own != pin {
            fs::rename(&pin, &own).map_err(in_pin(&pin))?;
        }
        self.keep(interface, mode, held, own, adopted)
    }

    /// Puts the program on an interface where it is missing.
    fn mend(&mut self, interface: &Interface, ifindex: u32) -> Result<Option<String>, Error> {
        let name = &interface.name;
        let on = |link: &Link| link.state.ifindex == ifindex;
        let Some(at) = self.links.iter().position(on) else {
            self.attach_to(interface)?;
            return Ok(Some(format!("{name}: is there, and guarded")));
        };
        if self.links[at].is_attached() {
            return Ok(None);
        }
        let (mode, pin) = (self.links[at].mode, self.links[at].pin.clone());
        let note = if self.links[at].is_on_interface() {
            self.update(name.clone(), mode, pin, false)?;
            format!("{name}: another program stood in the place of the shield, which is back")
        } else {
            take_off(&pin)?;
            self.attach_to(&Interface {
                name: name.clone(),
                mode: Some(mode),
            })?;
            format!("{name}: the shield had been taken off, and is back")
        };
        // The mended one is the last.
        self.links.swap_remove(at);
        Ok(Some(note))
    }

    /// Lets go of interfaces that are gone, or whose name another one bears.
    fn release(&mut self, present: &[(Interface, u32)]) -> Result<Vec<String>, Error> {
        let is_wanted = |link: &mut Link| {
            present
                .iter()
                .any(|(_, index)| *index == link.state.ifindex)
        };
        let mut notes = Vec::new();
        for link in self.links.extract_if(.., |link| !is_wanted(link)) {
            take_off(&link.pin)?;
            notes.push(format!(
                "{}: the one before is no longer guarded",
                link.interface
            ));
        }
        Ok(notes)
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
        let ifindex = sys::interface_index(&interface.name)
            .ok_or_else(|| Error::NoInterface(interface.name.clone()))?;
        if interfaces::Link::of(ifindex).is_ok_and(|link| !link.is_ethernet) {
            return Err(Error::NotEthernet(interface.name.clone()));
        }
        let first = wanted_mode(interface).unwrap_or(XdpMode::Native);
        let (link, mode) = match self.create_link(&interface.name, first) {
            Ok(link) => (link, first),
            // Only where nobody asked for native: a silent fallback would hide a mistake.
            Err(Error::Attach { reason, .. })
                if interface.mode.is_none() && first == XdpMode::Native =>
            {
                let link = self.create_link(&interface.name, XdpMode::Generic)?;
                self.notes
                    .push(format!("{}: no native XDP ({reason})", interface.name));
                (link, XdpMode::Generic)
            }
            Err(error) => return Err(error),
        };
        let failed = |error: &(dyn StdError + 'static)| refused(&interface.name, mode, error);
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
        let occupants = &mut self.occupants;
        let id = program.attach(interface, aya_mode).map_err(|error| {
            match program::os_error(&error) {
                Some(libc::EEXIST | libc::EBUSY) => Error::Occupied {
                    interface: interface.to_owned(),
                    by: occupants.on(interface).to_owned(),
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
        let present = self.present();
        let unwanted = self.adopt_links(&present)?;
        for (interface, ifindex) in &present {
            if self.links.iter().any(|link| link.state.ifindex == *ifindex) {
                continue;
            }
            if let Err(error) = self.attach_anew(interface, &unwanted) {
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
        remove_other_layouts(&self.pins)?;
        Ok(std::mem::take(&mut self.notes))
    }

    fn interfaces(&self) -> Result<Vec<GuardedInterface>, Error> {
        let guarded = |wanted: &Wanted| {
            let present = wanted.present(&self.wanted);
            let link = present.as_ref().and_then(|present| {
                self.links.iter().find(|link| link.state.ifindex == present.index)
            });
            GuardedInterface {
                mode: link.map(|link| link.mode),
                attached: link.is_some_and(Link::is_attached),
                ..GuardedInterface::of(wanted, present)
            }
        };
        Ok(self.wanted.iter().map(guarded).collect())
    }

    fn reattach(&mut self) -> Result<Vec<String>, Error> {
        let present = self.present();
        let mut notes = Vec::new();
        let mut refused = None;
        for (interface, ifindex) in &present {
            match self.mend(interface, *ifindex) {
                Ok(note) => notes.extend(note),
                Err(error) => refused = Some(error),
            }
        }
        // Last, so that no interface is without the program that has only changed its name.
        notes.extend(self.release(&present)?);
        notes.append(&mut self.notes);
        refused.map_or(Ok(notes), Err)
    }

    fn detach(&mut self) -> Result<(), Error> {
        for link in self.links.drain(..) {
            take_off(&link.pin)?;
        }
        remove_pins(&self.pins)
    }
});

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

/// The mode that an interface has to have; `None`: native where the driver can.
fn wanted_mode(interface: &Interface) -> Option<XdpMode> {
    interface.mode.or_else(|| {
        let driver = sys::driver(&interface.name).ok()?;
        GENERIC_IS_BETTER
            .contains(&driver.as_str())
            .then_some(XdpMode::Generic)
    })
}

const fn mode_name(mode: XdpMode) -> &'static str {
    match mode {
        XdpMode::Native => "native",
        XdpMode::Generic => "generic",
    }
}
