//! From the words of [`crate::Shield`] to the entries of the kernel's maps and back.

use std::{
    alloc::{Layout, alloc_zeroed, handle_alloc_error},
    io,
    net::IpAddr,
};

use aya::{
    Ebpf, Pod,
    maps::{Map, MapError, lpm_trie::Key},
    sys::SyscallError,
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{
    BootTime, Error, Event, Quote, Reason, SignatureHit, Target, Verdict,
    abi::{Address, BanAbi, BanKey, EventAbi, QUOTE_LEN, SAMPLE_MAX},
    cover::Ends,
};

/// Bans that one map of the kernel holds.
const BANS_MAX: u32 = 1_048_576;

/// Which map a ban belongs into.
pub enum Slot {
    /// A single address, with or without a port, or an IPv6 /64.
    Single(BanKey),
    /// Any other prefix.
    Prefix(IpNet),
}

/// The place of a target.
pub fn slot_of(target: &Target) -> Result<Slot, Error> {
    let prefix = target.prefix.trunc();
    let single = prefix.prefix_len() == prefix.max_prefix_len();
    let network64 = matches!(prefix, IpNet::V6(_)) && prefix.prefix_len() == 64;
    if target.port.is_some() && !single {
        return Err(Error::PortOfPrefix(prefix));
    }
    if !single && !network64 {
        return Ok(Slot::Prefix(prefix));
    }
    Ok(Slot::Single(BanKey {
        address: Address::from(prefix.addr()),
        port: target.port.unwrap_or(0),
        prefix_len: if network64 { 64 } else { 128 },
        reserved: 0,
        reserved2: 0,
    }))
}

/// The target of a single ban's key.
pub fn target_of(key: &BanKey) -> Target {
    let address = IpAddr::from(key.address);
    let prefix = match address {
        IpAddr::V6(v6) if key.prefix_len == 64 => {
            Ipv6Net::new(v6, 64).map_or_else(|_| address.into(), IpNet::V6)
        }
        IpAddr::V4(_) | IpAddr::V6(_) => address.into(),
    };
    Target {
        prefix,
        port: (key.port != 0).then_some(key.port),
    }
}

/// The key of an IPv4 prefix.
pub fn key4(net: Ipv4Net) -> Key<[u8; 4]> {
    Key::new(u32::from(net.prefix_len()), net.network().octets())
}

/// The key of an IPv6 prefix.
pub fn key6(net: Ipv6Net) -> Key<[u8; 16]> {
    Key::new(u32::from(net.prefix_len()), net.network().octets())
}

/// The prefix of a trie's key; `None` for a length that no address has.
pub fn net<const N: usize>(octets: [u8; N], prefix_len: u32) -> Option<IpNet>
where
    IpAddr: From<[u8; N]>,
{
    IpNet::new(IpAddr::from(octets), u8::try_from(prefix_len).ok()?).ok()
}

/// The key of a source: an IPv4 address or an IPv6 /64.
pub fn source_key(source: IpAddr) -> Address {
    let mut key = Address::from(source);
    if source.is_ipv6() {
        key.0[8..].fill(0);
    }
    key
}

/// A ban with other ends, which are in force, for nothing covers it.
pub fn alone(ban: BanAbi, ends: Ends) -> BanAbi {
    BanAbi {
        all_until_ns: ends.all,
        sip_until_ns: ends.sip,
        own_all_until_ns: ends.all,
        own_sip_until_ns: ends.sip,
        ..ban
    }
}

/// The ends until which an entry drops.
pub fn in_force_ends_of(ban: &BanAbi) -> Ends {
    Ends {
        all: ban.all_until_ns,
        sip: ban.sip_until_ns,
    }
}

/// A ban's own ends.
pub fn ends_of(ban: &BanAbi) -> Ends {
    Ends {
        all: ban.own_all_until_ns,
        sip: ban.own_sip_until_ns,
    }
}

/// Reads an event; `None` for one of another layout, or a reason that is not known here.
pub fn event_of(bytes: &[u8]) -> Option<Event> {
    if bytes.len() != size_of::<EventAbi>() {
        return None;
    }
    // SAFETY: the length is right, EventAbi is integers without padding, and the read does not
    // ask for alignment.
    let event = unsafe { bytes.as_ptr().cast::<EventAbi>().read_unaligned() };
    let sample_len = usize::try_from(event.sample_len).ok()?.min(SAMPLE_MAX);
    let quote_len = usize::try_from(event.quote_len).ok()?.min(QUOTE_LEN);
    let slot = u16::try_from(event.signature).ok()?.checked_sub(1);
    Some(Event {
        at: BootTime(event.at_ns),
        source: event.source.into(),
        destination: event.destination.into(),
        source_port: event.source_port,
        destination_port: event.destination_port,
        protocol: event.protocol,
        verdict: if event.dropped == 0 {
            Verdict::Pass
        } else {
            Verdict::Drop
        },
        reason: *Reason::ALL.get(usize::from(event.reason))?,
        signature: slot.map(|slot| SignatureHit {
            slot,
            generation: event.generation,
        }),
        count: event.count,
        passed: event.passed,
        payload_len: event.payload_len,
        quote: (quote_len > 0).then(|| Quote {
            head: event.quote[..quote_len].to_vec(),
            length: usize::try_from(event.ip_len).unwrap_or_default(),
        }),
        sample: event.sample[..sample_len].to_vec(),
    })
}

/// A value of a map too large for the stack, all zero.
pub fn zeroed<T: Pod>() -> Box<T> {
    let layout = Layout::new::<T>();
    // SAFETY: a Pod type of ours has a size above zero; all zero is a value of it; the pointer is
    // checked and comes from the global allocator with the layout that Box will free.
    unsafe {
        let pointer = alloc_zeroed(layout).cast::<T>();
        if pointer.is_null() {
            handle_alloc_error(layout);
        }
        Box::from_raw(pointer)
    }
}

/// Takes a map out of the loaded object.
pub fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, Error> {
    ebpf.take_map(name).ok_or_else(|| Error::Map {
        map: name,
        source: "not in the object: this build does not fit together".into(),
    })
}

/// A map's error with the map's name.
pub fn in_map(map: &'static str) -> impl FnOnce(MapError) -> Error {
    move |error| Error::Map {
        map,
        source: Box::new(error),
    }
}

/// An error of writing a ban: the map is full, or what the kernel said.
pub fn full_or(map: &'static str, error: io::Error) -> Error {
    if matches!(error.raw_os_error(), Some(libc::E2BIG | libc::ENOSPC)) {
        return Error::Full(BANS_MAX);
    }
    Error::Map {
        map,
        source: Box::new(error),
    }
}

/// A missing key is an answer, not an error.
pub fn found<T>(result: Result<T, MapError>) -> Result<Option<T>, MapError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(MapError::SyscallError(SyscallError { io_error, .. }))
            if io_error.kind() == io::ErrorKind::NotFound =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
