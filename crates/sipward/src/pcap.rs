//! Packets of a capture file, pcap or pcapng, packed with gzip or not, one at a time.

use std::path::Path;

use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader, traits::PcapNGPacketBlock};
use sipward_engine::Time;
use sipward_wire::LinkType;

use crate::{exit::Failure, packed};

/// Larger than any packet that tcpdump writes (262,144 bytes), with its headers.
const BUFFER: usize = 1 << 20;

/// A packet of a capture file.
#[derive(Clone, Copy, Debug)]
pub struct Recorded<'a> {
    /// Counted from 1, as tcpdump and Wireshark do.
    pub number: u64,
    /// When it was captured; none where the file does not say.
    pub at: Option<Time>,
    /// Where its block begins in the file, unpacked.
    pub offset: u64,
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
    let file = packed::open(path).map_err(|error| failure(&error.to_string()))?;
    let mut reader = create_reader(BUFFER, file)
        .map_err(|_| failure("this is no capture: at byte 0 it is neither pcap nor pcapng"))?;
    let mut state = State::default();
    loop {
        match reader.next() {
            Ok((length, block)) => {
                if let Some(packet) = state.packet(&block) {
                    sink(packet)?;
                }
                reader.consume(length);
                state.offset += length as u64;
            }
            Err(PcapError::Eof) => return Ok(()),
            Err(PcapError::Incomplete(_)) => {
                // Without this check a file that breaks off would be read for ever.
                if reader.reader_exhausted() || reader.refill().is_err() {
                    return Err(failure(&state.place("breaks off")));
                }
            }
            Err(PcapError::UnexpectedEof) => return Err(failure(&state.place("breaks off"))),
            Err(_) => return Err(failure(&state.place("is damaged"))),
        }
    }
}

/// What earlier blocks of the file said of later ones.
#[derive(Debug, Default)]
struct State {
    packets: u64,
    offset: u64,
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
    fn place(&self, what: &str) -> String {
        format!(
            "{what} at byte {}, after packet {}",
            self.offset, self.packets
        )
    }

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
        at: Option<Time>,
        link_type: Option<LinkType>,
        bytes: &'a [u8],
        length: u32,
    ) -> Recorded<'a> {
        self.packets += 1;
        let is_cut = usize::try_from(length).is_ok_and(|length| length > bytes.len());
        Recorded {
            number: self.packets,
            at,
            offset: self.offset,
            link_type,
            bytes,
            is_cut,
        }
    }
}

impl Interface {
    /// None for a moment that is not between 1970 and 2554.
    fn time(&self, units: u64) -> Option<Time> {
        let (seconds, rest) = (units / self.units_per_second, units % self.units_per_second);
        let rest = u128::from(rest) * 1_000_000_000 / u128::from(self.units_per_second);
        let nanoseconds = seconds
            .checked_add_signed(self.offset_seconds)?
            .checked_mul(1_000_000_000)?
            .checked_add(u64::try_from(rest).ok()?)?;
        Some(Time(nanoseconds))
    }
}

fn link_type(number: i32) -> Option<LinkType> {
    u32::try_from(number).ok().and_then(LinkType::from_pcap)
}
