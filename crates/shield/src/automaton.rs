//! The compiled automaton as the kernel walks it: smaller cells, rows that want attention first,
//! and rows that can be skipped over marked as such. Which signature is found where is not
//! touched.

use sipward_signature::{Confidence, INFO_END, INFO_SLOT_MASK, OFFSET_MASK, TABLE_UNITS, Tables};

use crate::{
    Error,
    abi::{ROW_UNIT, SIGNATURES_MAX, TablesAbi},
    entries::zeroed,
};

/// Cells in a unit of a row.
const UNIT_CELLS: usize = ROW_UNIT / 2;
/// Cells of an info, which is aligned to itself.
const INFO_CELLS: usize = 4;

const KERNEL_INFO_SKIP: u64 = 1 << 16;
const KERNEL_INFO_END: u64 = 1 << 17;
const KERNEL_INFO_EXITS: u32 = 32;
/// Bytes below this end every skip.
const CONTROL: u8 = 0x10;
const CASE: u8 = 0x20;

/// Lays the automaton out for the kernel.
///
/// # Errors
/// [`Error::TooManySignatures`] where it does not fit.
pub fn lay_out(tables: &Tables, generation: u32) -> Result<Box<TablesAbi>, Error> {
    let stride = tables.stride();
    let columns = stride - 1;
    let info_column = columns.next_multiple_of(INFO_CELLS);
    let units = (info_column + INFO_CELLS).div_ceil(UNIT_CELLS);
    if tables.units() >= TABLE_UNITS || tables.signatures.len() > SIGNATURES_MAX {
        return Err(Error::TooManySignatures {
            units: tables.units(),
            room: TABLE_UNITS,
        });
    }

    let rows: Vec<Row<'_>> = tables
        .cells
        .chunks_exact(stride)
        .enumerate()
        .map(|(number, cells)| Row::new(tables, number, cells))
        .collect();
    let mut order: Vec<&Row<'_>> = rows.iter().collect();
    // Those that every message enters share a few cache lines.
    order.sort_by_key(|row| (row.info == 0, row.info & KERNEL_INFO_SKIP == 0));
    let special = order.iter().take_while(|row| row.info != 0).count();
    let mut place_of = vec![0; rows.len()];
    for (place, row) in order.iter().enumerate() {
        place_of[row.number] = place * units;
    }

    let mut abi: Box<TablesAbi> = zeroed();
    abi.start = short(place_of[tables.start as usize / stride]);
    abi.special = short(special * units);
    abi.eof = short(2 * tables.eof as usize);
    abi.info = short(2 * info_column);
    abi.generation = generation;
    abi.classes = tables.classes;
    for (to, signature) in abi.confidence.iter_mut().zip(&tables.signatures) {
        *to = match signature.confidence {
            Confidence::Certain => 0,
            Confidence::Likely => 1,
            Confidence::Shared => 2,
        };
    }
    for (row, cells) in order
        .iter()
        .zip(abi.cells.chunks_exact_mut(units * UNIT_CELLS))
    {
        for (to, cell) in cells.iter_mut().zip(&row.cells[..columns]) {
            *to = short(place_of[entered(*cell) / stride]);
        }
        let info = &mut cells[info_column..info_column + INFO_CELLS];
        for (part, to) in info.iter_mut().enumerate() {
            *to = (row.info >> (16 * part) & 0xffff) as u16;
        }
    }
    Ok(abi)
}

struct Row<'a> {
    number: usize,
    cells: &'a [u32],
    /// As the kernel reads it.
    info: u64,
}

impl<'a> Row<'a> {
    fn new(tables: &Tables, number: usize, cells: &'a [u32]) -> Self {
        let mark = cells[tables.info as usize];
        let mut info = u64::from(mark & INFO_SLOT_MASK);
        if mark & INFO_END != 0 {
            info |= KERNEL_INFO_END;
        }
        let mut row = Self {
            number,
            cells,
            info,
        };
        if info == 0
            && let Some(exits) = row.exits(tables)
        {
            row.info = KERNEL_INFO_SKIP | u64::from(u16::from_le_bytes(exits)) << KERNEL_INFO_EXITS;
        }
        row
    }

    /// The bytes, in lower case, that lead out of the row, beside control bytes and the other case
    /// of these; `None` if they are more than two, or not ASCII: the kernel looks for those only.
    fn exits(&self, tables: &Tables) -> Option<[u8; 2]> {
        let own = self.number * tables.stride();
        let mut exits = Vec::new();
        for byte in CONTROL..=u8::MAX {
            let class = usize::from(tables.classes[usize::from(byte)]);
            let exit = byte | CASE;
            if entered(self.cells[class]) != own && !exits.contains(&exit) {
                exits.push(exit);
            }
        }
        if !exits.is_ascii() {
            return None;
        }
        match exits[..] {
            [] => Some([0, 0]),
            [one] => Some([one, 0]),
            [one, other] => Some([one, other]),
            _ => None,
        }
    }
}

fn entered(cell: u32) -> usize {
    (cell & OFFSET_MASK) as usize
}

/// Places and columns, all of which were seen to fit.
fn short(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use sipward_signature::{Profile, SignatureSet};

    use super::*;

    /// The info of the row that a message's beginning leads to.
    fn info_after(abi: &TablesAbi, message: &str) -> u64 {
        let cell = |row: u16, column: u16| {
            let at = usize::from(row) * UNIT_CELLS + usize::from(column);
            abi.cells[at]
        };
        let row = message.bytes().fold(abi.start, |row, byte| {
            cell(row, u16::from(abi.classes[usize::from(byte)]))
        });
        if row >= abi.special {
            return 0;
        }
        let parts = (0..4).map(|part| u64::from(cell(row, abi.info / 2 + part)) << (16 * part));
        parts.sum()
    }

    /// From and To are not: the tags and hosts that scanners leave in them begin at too many bytes.
    #[test]
    fn most_of_what_a_phone_sends_is_skipped() {
        for profile in [Profile::Standard, Profile::Strict] {
            let tables = SignatureSet::builtin().compile(profile, &[]).unwrap();
            let abi = lay_out(&tables, 1).unwrap();
            for (line, exits) in [
                ("Via", *b"\0\0"),
                ("Content-Length", *b"\0\0"),
                ("User-Agent: Yealink SIP-T46S 66", *b"fs"),
                ("Contact: <sip:x", *b"\0\0"),
                ("Call-ID: 1", *b"\0\0"),
            ] {
                let info = info_after(&abi, &format!("REGISTER sip:x SIP/2.0\r\n{line}"));
                let expected = u64::from(u16::from_le_bytes(exits)) << KERNEL_INFO_EXITS;
                assert_eq!(info, KERNEL_INFO_SKIP | expected, "{line}");
            }
        }
    }

    #[test]
    fn an_automaton_with_more_rows_than_there_are_numbers_is_refused() {
        let mut tables = SignatureSet::builtin()
            .compile(Profile::Standard, &[])
            .unwrap();
        let row = tables.cells[..tables.stride()].to_vec();
        while tables.units() < TABLE_UNITS {
            tables.cells.extend(&row);
        }
        let Err(Error::TooManySignatures { units, room }) = lay_out(&tables, 1) else {
            panic!("it was laid out");
        };
        assert!(units >= room, "{units} units in {room}");
    }
}
