//! The compiled automaton, cell by cell as the kernel has it, and the walker's twin in Rust.

use std::ops::ControlFlow;

use crate::format::{Confidence, Field, MatchKind};

/// Bytes of a unit of the kernel's table. A row takes whole units: two bytes for each column, and
/// eight for what entering it means.
pub const ROW_UNIT: usize = 128;
/// Units of the kernel's table, which numbers them with 16 bits.
pub const TABLE_UNITS: usize = 1 << 16;
/// Slots that the kernel's event can name.
pub const MAX_SIGNATURES: usize = 8192;
/// The part of a transition cell that is the offset of the row entered.
pub const OFFSET_MASK: u32 = 0x00ff_ffff;
/// In a transition cell: the row entered has an info cell that is not zero.
pub const CELL_SPECIAL: u32 = 1 << 31;
/// In an info cell, below this: 1 + the slot of the signature that entering the row completes.
pub const INFO_SLOT_MASK: u32 = 0xffff;
/// In an info cell: nothing more can match on this line; the walker may skip to its end.
pub const INFO_DEAD: u32 = 1 << 16;
/// In an info cell: the headers have ended.
pub const INFO_END: u32 = 1 << 17;

/// The automaton of a set of signatures: rows of cells, one row per state, one column per class of
/// bytes. It begins before the first byte of a UDP payload or of a TCP segment.
///
/// A row is named by the offset of its first cell. Its columns are the byte classes, then
/// [`Tables::eof`], then [`Tables::info`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tables {
    /// Byte to column.
    pub classes: [u8; 256],
    /// The rows, one after the other; at most [`TABLE_UNITS`] as the kernel has them.
    pub cells: Vec<u32>,
    /// The row to begin with.
    pub start: u32,
    /// The column taken at the end of a payload that was seen to its end.
    pub eof: u32,
    /// The column that says what entering the row means.
    pub info: u32,
    /// Slot to signature.
    pub signatures: Vec<CompiledSignature>,
}

/// What the event's reader needs to know of a signature in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompiledSignature {
    /// Its name in the file.
    pub name: String,
    /// Where it matched.
    pub field: Field,
    /// How it is compared.
    pub kind: MatchKind,
    /// What it looks for.
    pub pattern: String,
    /// Who else sends it; slots are in this order, [`Confidence::Certain`] first.
    pub confidence: Confidence,
}

/// How a payload is to be read, and from whom it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanMode {
    /// More messages may follow the first: a TCP segment, not a datagram.
    pub stream: bool,
    /// The payload's last byte is the message's: not a first fragment, not cut by the copy limit,
    /// not a segment that another one may continue.
    pub complete: bool,
    /// The source has logged in: only `certain` signatures count.
    pub trusted: bool,
}

impl ScanMode {
    /// A whole datagram from an unknown source.
    pub const DATAGRAM: Self = Self {
        stream: false,
        complete: true,
        trusted: false,
    };
    /// A TCP segment from an unknown source.
    pub const SEGMENT: Self = Self {
        stream: true,
        complete: false,
        trusted: false,
    };
}

impl Tables {
    /// The slot of the first signature that the payload matches and the source is not exempt
    /// from. The kernel's walker does the same, cell by cell.
    pub fn scan(&self, payload: &[u8], mode: ScanMode) -> Option<u16> {
        let mut found = None;
        self.walk(payload, mode, |slot| {
            let confidence = self.signature(slot).map(|signature| signature.confidence);
            if mode.trusted && confidence != Some(Confidence::Certain) {
                return ControlFlow::Continue(());
            }
            found = Some(slot);
            ControlFlow::Break(())
        });
        found
    }

    /// What is to be told of a packet that [`Self::scan`] found `hit` in, of which `payload` is the
    /// beginning at least: the walk ends at the first signature, and behind one for which nobody is
    /// banned may stand a `certain` one. Where the beginning ends, no value does.
    pub fn gravest(&self, hit: u16, payload: &[u8], mode: ScanMode) -> u16 {
        let only_certain = ScanMode {
            trusted: true,
            complete: false,
            ..mode
        };
        self.scan(payload, only_certain).unwrap_or(hit)
    }

    /// Calls `on_signature` for each signature that the walk completes, until it breaks.
    /// Where several end at the same byte it is the strongest.
    pub fn walk(
        &self,
        payload: &[u8],
        mode: ScanMode,
        mut on_signature: impl FnMut(u16) -> ControlFlow<()>,
    ) {
        let mut row = self.start;
        let mut rest = payload;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            let class = self.classes.get(usize::from(byte)).copied().unwrap_or(0);
            let cell = self.cell(row, u32::from(class));
            row = cell & OFFSET_MASK;
            if cell & CELL_SPECIAL == 0 {
                continue;
            }
            let info = self.cell(row, self.info);
            if let Some(slot) = slot_of(info)
                && on_signature(slot).is_break()
            {
                return;
            }
            if info & INFO_END != 0 && !mode.stream {
                return;
            }
            if info & INFO_DEAD != 0 {
                let line_end = rest.iter().position(|b| matches!(b, b'\r' | b'\n'));
                rest = rest
                    .get(line_end.unwrap_or(rest.len())..)
                    .unwrap_or_default();
            }
        }
        if !mode.complete {
            return;
        }
        let last = self.cell(row, self.eof) & OFFSET_MASK;
        if let Some(slot) = slot_of(self.cell(last, self.info)) {
            // Nothing follows the end of the payload, so there is nothing to break off.
            let _ = on_signature(slot);
        }
    }

    /// The signature that a slot stands for.
    pub fn signature(&self, slot: u16) -> Option<&CompiledSignature> {
        self.signatures.get(usize::from(slot))
    }

    /// Cells per row.
    pub fn stride(&self) -> usize {
        self.info as usize + 1
    }

    /// Rows, one per state of the automaton.
    pub fn rows(&self) -> usize {
        self.cells.len() / self.stride()
    }

    /// What the rows take of the kernel's [`TABLE_UNITS`].
    pub fn units(&self) -> usize {
        self.rows() * units_of_row(self.stride())
    }

    fn cell(&self, row: u32, column: u32) -> u32 {
        let at = row.saturating_add(column) as usize;
        self.cells.get(at).copied().unwrap_or(0)
    }
}

/// Units of a row of so many cells, the info cell counted.
pub(crate) const fn units_of_row(stride: usize) -> usize {
    const INFO: usize = 8;
    let columns = (2 * (stride - 1)).next_multiple_of(INFO);
    (columns + INFO).div_ceil(ROW_UNIT)
}

fn slot_of(info: u32) -> Option<u16> {
    u16::try_from((info & INFO_SLOT_MASK).checked_sub(1)?).ok()
}

#[cfg(test)]
mod tests {
    use crate::{Profile, ScanMode, SignatureSet};

    #[test]
    fn the_built_in_list_finds_a_stock_scanner() {
        let tables = SignatureSet::builtin()
            .compile(Profile::Standard, &[])
            .unwrap();
        let probe = b"OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nUser-Agent: friendly-scanner\r\n\r\n";
        let slot = tables.scan(probe, ScanMode::DATAGRAM).unwrap();
        assert_eq!(
            tables.signature(slot).unwrap().name,
            "sipvicious-friendly-scanner"
        );
    }

    #[test]
    fn of_two_that_a_packet_has_the_certain_one_is_told() {
        let tables = SignatureSet::builtin()
            .compile(Profile::Standard, &[])
            .unwrap();
        let named = |probe: &[u8]| {
            let hit = tables.scan(probe, ScanMode::DATAGRAM).unwrap();
            let gravest = tables.gravest(hit, probe, ScanMode::DATAGRAM);
            [hit, gravest].map(|slot| tables.signature(slot).unwrap().name.as_str())
        };
        let both = b"OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nTo: <sip:carol@chicago.com>\r\n\
            User-Agent: friendly-scanner\r\n\r\n";
        assert_eq!(
            named(both),
            ["rfc3261-host-to", "sipvicious-friendly-scanner"]
        );
        let one = b"OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nTo: <sip:carol@chicago.com>\r\n\r\n";
        assert_eq!(named(one), ["rfc3261-host-to"; 2]);
        // What is cut here may have been a SmapperPhone.
        let cut = b"OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nTo: <sip:carol@chicago.com>\r\n\
            User-Agent: smap";
        assert_eq!(named(cut), ["rfc3261-host-to"; 2]);
    }
}
