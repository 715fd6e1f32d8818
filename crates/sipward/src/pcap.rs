//! Packets of a capture file, pcap or pcapng, one at a time.

use std::{fs::File, path::Path};

use jiff::{SignedDuration, Timestamp};
use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader, traits::PcapNGPacketBlock};
use sipward_wire::LinkType;

use crate::exit::Failure;

/// Larger than any packet that tcpdump writes (262,144 bytes), with its headers.
const BUFFER: usize = 1 << 20;

/// A packet of a capture file.
#[derive(Clone, Copy, Debug)]
pub struct Recorded<'a> {
    /// Counted from 1, as tcpdump and Wireshark do.
    pub number: u64,
    /// When it was captured; none where the file does not say.
    pub at: Option<Timestamp>,
    /// How the bytes begin; none for a link type that is not read here.
    pub link_type: Option<LinkType>,
    /// The captured bytes.
    pub bytes: &'a [u8],
    /// Whether the packet was longer than what was captured of it.
    pub is_cut: bool,
}

/// Calls `sink` with each packet of the file.
///
/// # Errors
/// The file cannot be read, is no capture, or breaks off; packets before that were given. What
/// `sink` says.
pub fn read(
    path: &Path,
    mut sink: impl FnMut(Recorded<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let failure = |what: &str| Failure::input(format!("{}: {what}", path.display()));
    let file = File::open(path).map_err(|error| failure(&error.to_string()))?;
    let mut reader = create_reader(BUFFER, file)
        .map_err(|_| failure("this is no capture: it is neither pcap nor pcapng"))?;
    let mut state = State::default();
    loop {
        match reader.next() {
            Ok((length, block)) => {
                if let Some(packet) = state.packet(&block) {
                    sink(packet)?;
                }
                reader.consume(length);
            }
            Err(PcapError::Eof) => return Ok(()),
            Err(PcapError::Incomplete(_)) => {
                let broken = || failure(&format!("breaks off after packet {}", state.packets));
                // Without this check a file that breaks off would be read for ever.
                if reader.reader_exhausted() {
                    return Err(broken());
                }
                reader.refill().map_err(|_| broken())?;
            }
            Err(_) => {
                return Err(failure(&format!(
                    "is damaged after packet {}",
                    state.packets
                )));
            }
        }
    }
}

/// What earlier blocks of the file said of later ones.
#[derive(Debug, Default)]
struct State {
    packets: u64,
    /// Of pcap, which has one only, and of pcapng by number, anew in each section.
    interfaces: Vec<Interface>,
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link_type: Option<LinkType>,
    units_per_second: u64,
    offset_seconds: i64,
}

impl State {
    fn packet<'a>(&mut self, block: &'a PcapBlockOwned<'_>) -> Option<Recorded<'a>> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let nanoseconds = header.is_nanosecond_precision();
                self.interfaces = vec![Interface {
                    link_type: link_type(header.network.0),
                    units_per_second: if nanoseconds {
                        1_000_000_000
                    } else {
                        1_000_000
                    },
                    offset_seconds: 0,
                }];
                None
            }
            PcapBlockOwned::Legacy(packet) => {
                let interface = self.interfaces.first()?;
                let units = u64::from(packet.ts_sec) * interface.units_per_second
                    + u64::from(packet.ts_usec);
                let at = interface.time(units);
                let link_type = interface.link_type;
                Some(self.recorded(at, link_type, packet.data, packet.origlen))
            }
            PcapBlockOwned::NG(block) => self.packet_ng(block),
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "pcapng has many blocks without packets"
    )]
    fn packet_ng<'a>(&mut self, block: &'a Block<'_>) -> Option<Recorded<'a>> {
        match block {
            Block::SectionHeader(_) => {
                self.interfaces.clear();
                None
            }
            Block::InterfaceDescription(interface) => {
                self.interfaces.push(Interface {
                    link_type: link_type(interface.linktype.0),
                    units_per_second: interface.ts_resolution().unwrap_or(1_000_000).max(1),
                    offset_seconds: interface.ts_offset(),
                });
                None
            }
            Block::EnhancedPacket(packet) => {
                let interface = usize::try_from(packet.if_id)
                    .ok()
                    .and_then(|index| self.interfaces.get(index))
                    .copied();
                let units = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                let at = interface.and_then(|interface| interface.time(units));
                let link_type = interface.and_then(|interface| interface.link_type);
                Some(self.recorded(at, link_type, packet.packet_data(), packet.origlen))
            }
            Block::SimplePacket(packet) => {
                let link_type = self.interfaces.first().and_then(|first| first.link_type);
                Some(self.recorded(None, link_type, packet.packet_data(), packet.origlen))
            }
            _ => None,
        }
    }

    fn recorded<'a>(
        &mut self,
        at: Option<Timestamp>,
        link_type: Option<LinkType>,
        bytes: &'a [u8],
        length: u32,
    ) -> Recorded<'a> {
        self.packets += 1;
        let is_cut = usize::try_from(length).is_ok_and(|length| length > bytes.len());
        Recorded {
            number: self.packets,
            at,
            link_type,
            bytes,
            is_cut,
        }
    }
}

impl Interface {
    fn time(&self, units: u64) -> Option<Timestamp> {
        let per_second = u128::from(self.units_per_second);
        let nanoseconds = u128::from(units) * 1_000_000_000 / per_second;
        let since = SignedDuration::from_nanos_i128(i128::try_from(nanoseconds).ok()?);
        let offset = SignedDuration::from_secs(self.offset_seconds);
        Timestamp::UNIX_EPOCH
            .checked_add(since)
            .ok()?
            .checked_add(offset)
            .ok()
    }
}

fn link_type(number: i32) -> Option<LinkType> {
    u32::try_from(number).ok().and_then(LinkType::from_pcap)
}
