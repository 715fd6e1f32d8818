//! The program on real interfaces. Maps and links are pinned, so that protection outlives the
//! daemon; a later start adopts what fits and replaces the rest without a gap.

mod occupant;
mod pins;

use std::{
    collections::BTreeMap,
    error::Error as StdError,
    fs, io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
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
        Pinned, discard_misfits, in_pin, link_name, other_layouts, pinned_links, prepare,
        remove_other_layouts, remove_pins, remove_pins_without_links, take_off,
    },
};
pub use self::{occupant::occupant, pins::remove_leftovers};
use crate::{
    Claim, Error, GuardedInterface, Refusal, RefusalKind, XdpMode,
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
    /// Why an interface that is there is not guarded, by its wanted name.
    refused: BTreeMap<String, Refusal>,
    notes: Vec<String>,
}

/// A wanted interface that is there, under its present name.
#[derive(Clone)]
struct Meant {
    wanted: String,
    interface: Interface,
    index: u32,
}

struct Link {
    /// Its name when the program was put on it.
    interface: String,
    mode: XdpMode,
    state: XdpLinkState,
    pin: PathBuf,
    adopted: bool,
    /// Keeps the program attached even when somebody removes the pin. Asked for its state: to find a link
    /// by its id takes CAP_SYS_ADMIN.
    held: OwnedFd,
}

impl Link {
    /// The program judges what comes in there.
    fn is_attached(&self) -> io::Result<bool> {
        Ok(sys::link_state(self.held.as_fd())? == self.state)
    }

    /// The link is in its place, whatever program is in it.
    fn is_on_interface(&self) -> io::Result<bool> {
        Ok(sys::link_state(self.held.as_fd())?.ifindex == self.state.ifindex)
    }
}

impl Meant {
    fn in_mode(&self, mode: XdpMode) -> Self {
        let mut meant = self.clone();
        meant.interface.mode = Some(mode);
        meant
    }
}

/// A link of an earlier start, of this version or another.
struct Earlier {
    pinned: Pinned,
    state: XdpLinkState,
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
            refused: BTreeMap::new(),
            notes,
        })
    }

    /// Becomes readable when [`crate::Shield::drain_events`] has something to give.
    #[must_use]
    pub fn events_fd(&self) -> BorrowedFd<'_> {
        self.maps.events().as_fd()
    }

    /// The interfaces that are wanted and there.
    fn present(&mut self) -> io::Result<Vec<Meant>> {
        Wanted::look(&mut self.wanted)?;
        let mut meant = Vec::new();
        for (wanted, mode) in self.wanted.iter().zip(&self.modes) {
            let present = wanted.present(&self.wanted)?;
            meant.extend(present.map(|Present { index, name }| Meant {
                wanted: wanted.name.clone(),
                interface: Interface { name, mode: *mode },
                index,
            }));
        }
        Ok(meant)
    }

    fn earlier_links(&mut self) -> Result<Vec<Earlier>, Error> {
        let mut links = pinned_links(&self.pins)?;
        for other in other_layouts(&self.pins)? {
            self.notes
                .push(format!("{}: of another version", other.display()));
            links.extend(pinned_links(&other)?);
        }
        let with_state = |pinned: Pinned| {
            let state = sys::pinned_link_state(&pinned.pin).map_err(in_pin(&pinned.pin))?;
            Ok(Earlier { pinned, state })
        };
        links.into_iter().map(with_state).collect()
    }

    /// Learns which interfaces an earlier start has guarded under another name than they have now.
    fn recall(&mut self, earlier: &[Earlier]) -> io::Result<()> {
        Wanted::look(&mut self.wanted)?;
        for wanted in &mut self.wanted {
            let guarded_for_it = |link: &&Earlier| {
                link.pinned.wanted.as_ref() == Some(&wanted.name) && link.state.ifindex != 0
            };
            if let Some(link) = earlier.iter().find(guarded_for_it) {
                wanted.was(link.state.ifindex);
            }
        }
        Ok(())
    }

    /// Puts the new program into the links of an earlier start that guard a wanted interface in the
    /// wanted mode, and returns the pins of the others, with the interface if there still is one.
    fn adopt_links(
        &mut self,
        present: &[Meant],
        earlier: Vec<Earlier>,
    ) -> Result<Vec<Unwanted>, Error> {
        let mut unwanted = Vec::new();
        for Earlier { pinned, state } in earlier {
            let Pinned { pin, mode, .. } = pinned;
            let meant = present
                .iter()
                .find(|meant| meant.index == state.ifindex)
                .filter(|meant| wanted_mode(&meant.interface).is_none_or(|wanted| wanted == mode));
            let Some(meant) = meant else {
                if state.ifindex == 0 {
                    // Guards nothing; its name may be the one that a new link is to have.
                    take_off(&pin)?;
                    continue;
                }
                let interface = sys::interface_name(state.ifindex).map_err(Error::Interfaces)?;
                unwanted.push(Unwanted {
                    pin,
                    mode,
                    interface,
                });
                continue;
            };
            self.notes.push(format!(
                "{}: adopted, {}",
                meant.interface.name,
                mode_name(mode)
            ));
            self.update(meant, mode, pin, true)?;
        }
        Ok(unwanted)
    }

    /// Puts the program into a pinned link, in the place of what is there.
    fn update(
        &mut self,
        meant: &Meant,
        mode: XdpMode,
        pin: PathBuf,
        adopted: bool,
    ) -> Result<(), Error> {
        let name = &meant.interface.name;
        let failed = |error: &(dyn StdError + 'static)| refused(name, mode, error);
        let pinned = PinnedLink::from_pin(&pin).map_err(|error| failed(&error))?;
        let link = XdpLink::try_from(FdLink::from(pinned)).map_err(|error| failed(&error))?;
        let program = program::xdp(&mut self.ebpf)?;
        let id = program
            .attach_to_link(link)
            .map_err(|error| failed(&error))?;
        let link = program.take_link(id).map_err(|error| failed(&error))?;
        // Of another layout only the links are kept, where this one's are.
        let own = self.pins.join(link_name(meant.index, &meant.wanted, mode));
        if own != pin {
            fs::rename(&pin, &own).map_err(in_pin(&pin))?;
        }
        self.keep(meant, mode, own, adopted)?;
        // Not before there is another hold of it.
        drop(link);
        Ok(())
    }

    /// Puts the program on an interface where it is missing.
    fn mend(&mut self, meant: &Meant) -> Result<Option<String>, Error> {
        let name = &meant.interface.name;
        let on = |link: &Link| link.state.ifindex == meant.index;
        let Some(at) = self.links.iter().position(on) else {
            self.attach_to(meant)?;
            return Ok(Some(format!("{name}: is there, and guarded")));
        };
        let link = &self.links[at];
        if link.is_attached().map_err(Error::Interfaces)? {
            return Ok(None);
        }
        let (mode, pin) = (link.mode, link.pin.clone());
        let note = if link.is_on_interface().map_err(Error::Interfaces)? {
            self.update(meant, mode, pin, false)?;
            format!("{name}: another program stood in the place of the shield, which is back")
        } else {
            take_off(&pin)?;
            self.attach_to(&meant.in_mode(mode))?;
            format!("{name}: the shield had been taken off, and is back")
        };
        // The mended one is the last.
        self.links.swap_remove(at);
        Ok(Some(note))
    }

    /// Remembers why an interface is not guarded, and notes it once.
    fn refuse(&mut self, meant: &Meant, why: String, kind: RefusalKind) {
        let refusal = Refusal { why, kind };
        if self.refused.get(&meant.wanted) != Some(&refusal) {
            self.notes.push(refusal.why.clone());
            self.refused.insert(meant.wanted.clone(), refusal);
        }
    }

    /// Lets go of interfaces that are gone, or whose name another one bears.
    fn release(&mut self, present: &[Meant]) -> Result<(), Error> {
        let mut at = 0;
        while let Some(link) = self.links.get(at) {
            if present
                .iter()
                .any(|meant| meant.index == link.state.ifindex)
            {
                at += 1;
                continue;
            }
            take_off(&link.pin)?;
            // Only now: one that stays attached is still ours to take off.
            let link = self.links.remove(at);
            self.notes.push(format!(
                "{}: the one before is no longer guarded",
                link.interface
            ));
        }
        Ok(())
    }

    /// Attaches to an interface that no link of an earlier start guards as it should. One that
    /// guards it in another mode has to go first, and comes back when the new one fails.
    fn attach_anew(&mut self, meant: &Meant, unwanted: &[Unwanted]) -> Result<(), Error> {
        let other = unwanted
            .iter()
            .find(|other| other.interface.as_ref() == Some(&meant.interface.name));
        if let Some(other) = other {
            take_off(&other.pin)?;
        }
        let attached = self.attach_to(meant);
        if let (Err(_), Some(other)) = (&attached, other) {
            self.attach_to(&meant.in_mode(other.mode))?;
            // It was there before: it stays when the rest is taken back.
            if let Some(link) = self.links.last_mut() {
                link.adopted = true;
            }
        }
        attached
    }

    fn attach_to(&mut self, meant: &Meant) -> Result<(), Error> {
        let interface = &meant.interface;
        if interfaces::Link::of(meant.index).is_ok_and(|link| !link.is_ethernet) {
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
        let pin = self.pins.join(link_name(meant.index, &meant.wanted, mode));
        // aya falls back to netlink on EINVAL, which cannot be pinned and would evict a foreign
        // program: that is not a link, and an error here.
        let link = FdLink::try_from(link).map_err(|error| failed(&error))?;
        let pinned = link.pin(&pin).map_err(|error| failed(&error))?;
        self.keep(meant, mode, pin, false)?;
        drop(pinned);
        Ok(())
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
                Some(libc::EEXIST | libc::EBUSY) => {
                    let (by, kind) = occupants.on(interface);
                    let interface = interface.to_owned();
                    Error::Occupied {
                        interface,
                        by,
                        kind,
                    }
                }
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
        meant: &Meant,
        mode: XdpMode,
        pin: PathBuf,
        adopted: bool,
    ) -> Result<(), Error> {
        let held = sys::open_pin(&pin).map_err(in_pin(&pin))?;
        let state = sys::link_state(held.as_fd()).map_err(in_pin(&pin))?;
        self.links.push(Link {
            interface: meant.interface.name.clone(),
            mode,
            state,
            pin,
            adopted,
            held,
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
        let earlier = self.earlier_links()?;
        self.recall(&earlier).map_err(Error::Interfaces)?;
        let present = self.present().map_err(Error::Interfaces)?;
        let unwanted = self.adopt_links(&present, earlier)?;
        for meant in &present {
            if self.links.iter().any(|link| link.state.ifindex == meant.index) {
                continue;
            }
            if let Err(error) = self.attach_anew(meant, &unwanted) {
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
            let present = wanted.present(&self.wanted)?;
            let link = present.as_ref().and_then(|present| {
                self.links.iter().find(|link| link.state.ifindex == present.index)
            });
            Ok(GuardedInterface {
                mode: link.map(|link| link.mode),
                attached: link.map_or(Ok(false), Link::is_attached)?,
                refused: self.refused.get(&wanted.name).cloned(),
                ..GuardedInterface::of(wanted, present)
            })
        };
        let all: io::Result<_> = self.wanted.iter().map(guarded).collect();
        all.map_err(Error::Interfaces)
    }

    fn reattach(&mut self, claim: &mut Claim<'_>) -> Result<Vec<String>, Error> {
        let mut present = self.present().map_err(Error::Interfaces)?;
        self.refused
            .retain(|wanted, _| present.iter().any(|meant| meant.wanted == *wanted));
        present.retain(|meant| {
            let name = &meant.interface.name;
            // Not for a moment: whose it is must find it free when that one starts again.
            if self.refused.contains_key(&meant.wanted) && self.occupants.are_still_anothers(name) {
                return false;
            }
            let Err(why) = claim(meant.index, name) else {
                return true;
            };
            // Nobody else's program can be where ours is: who holds it is only looking.
            if self.links.iter().any(|link| link.state.ifindex == meant.index) {
                return true;
            }
            self.refuse(meant, why, RefusalKind::Anothers);
            false
        });
        for meant in &present {
            match self.mend(meant) {
                Ok(note) => {
                    self.refused.remove(&meant.wanted);
                    self.notes.extend(note);
                }
                Err(error) => self.refuse(meant, error.to_string(), error.kind()),
            }
        }
        // Last, so that no interface is without the program that has only changed its name.
        self.release(&present)?;
        Ok(std::mem::take(&mut self.notes))
    }

    fn detach(&mut self) -> Result<(), Error> {
        while let Some(link) = self.links.last() {
            take_off(&link.pin)?;
            self.links.pop();
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
        is_unsupported: matches!(
            program::os_error(error),
            Some(libc::EOPNOTSUPP | libc::EINVAL)
        ),
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
