//! What the kernel program and its loader both know; the twin of `bpf/abi.h`, whose comments hold
//! here, too. The sizes are asserted on both sides.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aya::Pod;

use crate::{PortClass, Rate};

/// Names the folder of the pins.
pub const LAYOUT: u32 = 1;
pub const SAMPLE_MAX: usize = 512;
pub const QUOTE_LEN: usize = 48;
pub const ROW_UNIT: usize = sipward_signature::ROW_UNIT;
pub const TABLE_CELLS: usize = sipward_signature::TABLE_UNITS * ROW_UNIT / 2;
pub const COLUMNS_MASK: usize = 1023;
pub const SIGNATURES_MAX: usize = 8192;
pub const LISTED_BITS: u32 = 20;
pub const LISTED_BLOCK: usize = 256;

const IPV4_MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// An address in network order, IPv4 as `::ffff:a.b.c.d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C, align(8))]
pub struct Address(pub [u8; 16]);

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self(v4.to_ipv6_mapped().octets()),
            IpAddr::V6(v6) => Self(v6.octets()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(Address(octets): Address) -> Self {
        match octets.strip_prefix(&IPV4_MAPPED) {
            Some(&[a, b, c, d]) => Self::V4(Ipv4Addr::new(a, b, c, d)),
            Some(_) | None => Self::V6(Ipv6Addr::from(octets)),
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct RateAbi {
    pub interval_ns: u64,
    pub tolerance_ns: u64,
}

impl From<Rate> for RateAbi {
    fn from(rate: Rate) -> Self {
        let interval_ns =
            u64::from(rate.per_seconds.max(1)) * 1_000_000_000 / u64::from(rate.packets.max(1));
        // The kernel adds times to it, in 64 bits: 146 years are kept clear of the end.
        let tolerance_ns = interval_ns
            .saturating_mul(u64::from(rate.burst.max(1) - 1))
            .min(u64::MAX / 4);
        Self {
            interval_ns,
            tolerance_ns,
        }
    }
}

#[derive(Clone, Copy)]
#[repr(C)]
pub struct PolicyAbi {
    pub sip: RateAbi,
    pub responses: RateAbi,
    pub unknown: RateAbi,
    pub trusted: RateAbi,
    pub ssh: RateAbi,
    pub observe: u32,
    pub reject: u32,
    pub udp: [u8; 65536],
    pub tcp: [u8; 65536],
}

pub const fn class_number(class: PortClass) -> u8 {
    match class {
        PortClass::Sip => 1,
        PortClass::SipOpaque => 2,
        PortClass::Ssh => 3,
        PortClass::Tripwire => 4,
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Active {
    pub policy: u32,
    pub tables: u32,
    pub listed: u32,
    pub reserved: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub struct ListedAbi {
    pub flags: [u8; LISTED_BLOCK],
}

#[derive(Clone, Copy)]
#[repr(C)]
pub struct TablesAbi {
    pub start: u16,
    pub special: u16,
    pub eof: u16,
    pub info: u16,
    pub generation: u32,
    pub reserved: u32,
    pub classes: [u8; 256],
    pub confidence: [u8; SIGNATURES_MAX],
    pub cells: [u16; TABLE_CELLS + COLUMNS_MASK.div_ceil(2)],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct BanKey {
    pub address: Address,
    pub port: u16,
    pub prefix_len: u8,
    pub reserved: u8,
    pub reserved2: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct BanAbi {
    pub all_until_ns: u64,
    pub sip_until_ns: u64,
    pub own_all_until_ns: u64,
    pub own_sip_until_ns: u64,
    pub dropped: u64,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct SourceAbi {
    pub requests_ns: u64,
    pub responses_ns: u64,
    pub retransmitted_ns: u64,
    pub told_ns: u64,
    pub passed: u32,
    pub dropped: u32,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct CountAbi {
    pub passed: u64,
    pub dropped: u64,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub struct EventAbi {
    pub at_ns: u64,
    pub source: Address,
    pub destination: Address,
    pub source_port: u16,
    pub destination_port: u16,
    pub protocol: u8,
    pub reason: u8,
    pub dropped: u8,
    pub reserved: u8,
    pub payload_len: u32,
    pub sample_len: u32,
    pub signature: u32,
    pub generation: u32,
    pub count: u32,
    pub passed: u32,
    pub quote_len: u32,
    pub ip_len: u32,
    pub quote: [u8; QUOTE_LEN],
    pub sample: [u8; SAMPLE_MAX],
}

const _: () = assert!(size_of::<Address>() == 16);
const _: () = assert!(size_of::<PolicyAbi>() == 5 * 16 + 8 + 2 * 65536);
const _: () = assert!(size_of::<Active>() == 16);
const _: () = assert!(size_of::<ListedAbi>() == LISTED_BLOCK);
const _: () = assert!(
    size_of::<TablesAbi>() == 16 + 256 + SIGNATURES_MAX + 2 * TABLE_CELLS + COLUMNS_MASK + 1
);
const _: () = assert!(size_of::<BanKey>() == 24);
const _: () = assert!(size_of::<BanAbi>() == 40);
const _: () = assert!(size_of::<SourceAbi>() == 40);
const _: () = assert!(size_of::<CountAbi>() == 16);
const _: () = assert!(size_of::<EventAbi>() == 80 + QUOTE_LEN + SAMPLE_MAX);

macro_rules! pod {
    ($($name:ident),+) => {$(
        // SAFETY: repr(C), integers only, no padding (the sizes are asserted above), so that every
        // bit pattern is a value and every byte is initialised.
        unsafe impl Pod for $name {}
    )+};
}
pod!(
    Address, PolicyAbi, Active, ListedAbi, TablesAbi, BanKey, BanAbi, SourceAbi, CountAbi
);

/// The shape of a pinned map: name, type, key and value size in bytes, entries, flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapShape {
    pub name: &'static str,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
    pub flags: u32,
    pub kind: u32,
}

const HASH: u32 = 1;
const ARRAY: u32 = 2;
const PERCPU_ARRAY: u32 = 6;
const LRU_HASH: u32 = 9;
const LPM_TRIE: u32 = 11;
const RINGBUF: u32 = 27;
const NO_PREALLOC: u32 = 1;

const fn shape(
    name: &'static str,
    kind: u32,
    key_size: usize,
    value_size: usize,
    max_entries: u32,
    flags: u32,
) -> MapShape {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "sizes of structs above, all under 5 MB"
    )]
    MapShape {
        name,
        kind,
        key_size: key_size as u32,
        value_size: value_size as u32,
        max_entries,
        flags,
    }
}

/// The maps that are pinned, as `bpf/shield.bpf.c` defines them. aya adopts a pinned map without
/// looking at it, so the loader compares each with its row here first.
pub const PINNED_MAPS: &[MapShape] = &[
    shape("active", ARRAY, 4, size_of::<Active>(), 1, 0),
    shape("policies", ARRAY, 4, size_of::<PolicyAbi>(), 2, 0),
    shape("signature_tables", ARRAY, 4, size_of::<TablesAbi>(), 2, 0),
    shape(
        "listed",
        ARRAY,
        4,
        LISTED_BLOCK,
        (1 << LISTED_BITS) / LISTED_BLOCK as u32,
        0,
    ),
    shape("allowed4", LPM_TRIE, 8, 8, 65536, NO_PREALLOC),
    shape("allowed6", LPM_TRIE, 20, 8, 65536, NO_PREALLOC),
    shape(
        "bans",
        HASH,
        size_of::<BanKey>(),
        size_of::<BanAbi>(),
        1_048_576,
        NO_PREALLOC,
    ),
    shape(
        "prefix_bans4",
        LPM_TRIE,
        8,
        size_of::<BanAbi>(),
        1_048_576,
        NO_PREALLOC,
    ),
    shape(
        "prefix_bans6",
        LPM_TRIE,
        20,
        size_of::<BanAbi>(),
        1_048_576,
        NO_PREALLOC,
    ),
    shape(
        "trusted",
        HASH,
        16,
        size_of::<SourceAbi>(),
        65536,
        NO_PREALLOC,
    ),
    shape("sources", LRU_HASH, 16, size_of::<SourceAbi>(), 131_072, 0),
    shape("refusals", ARRAY, 4, 16, 1 << 19, 0),
    shape("first_fragments", LRU_HASH, 32, 8, 16384, 0),
    shape("ssh_sources", LRU_HASH, 32, 8, 16384, 0),
    shape("ssh_sessions", LRU_HASH, 16, 8, 4096, 0),
    shape("common", ARRAY, 4, 8, 7, 0),
    shape("counts", PERCPU_ARRAY, 4, size_of::<CountAbi>(), 13, 0),
    shape("events", RINGBUF, 0, 0, 1_048_576, 0),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reason;

    #[test]
    fn every_reason_has_a_counter() {
        let counts = PINNED_MAPS.iter().find(|map| map.name == "counts").unwrap();
        assert_eq!(counts.max_entries as usize, Reason::ALL.len());
        for (number, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, number);
        }
    }

    #[test]
    fn an_address_survives_the_way_to_the_kernel_and_back() {
        for text in ["203.0.113.7", "::1", "2001:db8::1", "::fffe:0:1"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Address::from(address)), address);
        }
    }

    #[test]
    fn the_largest_rate_does_not_overflow() {
        let rate = RateAbi::from(Rate {
            packets: 1,
            per_seconds: u32::MAX,
            burst: u32::MAX,
        });
        assert_eq!(rate.tolerance_ns, u64::MAX / 4);
    }

    #[test]
    fn a_rate_is_an_interval_and_the_tolerance_of_its_burst() {
        let rate = RateAbi::from(Rate {
            packets: 5,
            per_seconds: 1,
            burst: 120,
        });
        assert_eq!(
            (rate.interval_ns, rate.tolerance_ns),
            (200_000_000, 119 * 200_000_000)
        );
        let rate = RateAbi::from(Rate {
            packets: 3,
            per_seconds: 60,
            burst: 10,
        });
        assert_eq!(
            (rate.interval_ns, rate.tolerance_ns),
            (20_000_000_000, 9 * 20_000_000_000)
        );
    }
}
