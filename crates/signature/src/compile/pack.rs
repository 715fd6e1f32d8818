//! From the minimal automaton to cells.

use std::collections::HashMap;

use super::ids::{Id, IdVec, id};
use super::line::Automaton;
use super::minimize::Minimal;
use crate::format::Error;
use crate::tables::{
    CELL_SPECIAL, CompiledSignature, INFO_DEAD, INFO_END, TABLE_UNITS, Tables, units_of_row,
};

/// Lays the rows out, those near the beginning of a line first: nearly every byte of a genuine
/// message is read there, and they then share a few cache lines.
pub(super) fn pack(
    automaton: &Automaton,
    minimal: &Minimal,
    signatures: Vec<CompiledSignature>,
    costliest: impl FnOnce() -> String,
) -> Result<Tables, Error> {
    let columns = Columns::merge(automaton, minimal);
    let stride = columns.kept.len() + 2;
    let rows = rows_by_distance(automaton, minimal);
    let units = rows.len() * units_of_row(stride);
    // One unit is kept free: the kernel's number of the first row without info may be the end.
    if units >= TABLE_UNITS {
        return Err(Error::TooLarge {
            units,
            limit: TABLE_UNITS,
            costliest: costliest(),
        });
    }

    let mut offset_of = IdVec::filled(0, rows.len());
    for (place, &block) in rows.iter().enumerate() {
        offset_of[block] = id(place * stride);
    }
    let dead = transitions(automaton, minimal, minimal.block_of[automaton.dead]);
    let mut info_of = IdVec::filled(0, rows.len());
    for &block in &rows {
        let label = automaton.labels[minimal.representatives[block]];
        let mut info = label.hit.map_or(0, |slot| u32::from(slot) + 1);
        if label.end {
            info |= INFO_END;
        }
        if transitions(automaton, minimal, block).eq(dead.clone()) {
            info |= INFO_DEAD;
        }
        info_of[block] = info;
    }

    let cell = |target: Id| {
        let special = if info_of[target] == 0 {
            0
        } else {
            CELL_SPECIAL
        };
        offset_of[target] | special
    };
    let eof = id(automaton.width) - 1;
    let mut cells = Vec::with_capacity(rows.len() * stride);
    for &block in &rows {
        for &class in columns.kept.iter().chain([&eof]) {
            cells.push(cell(target(automaton, minimal, block, class)));
        }
        cells.push(info_of[block]);
    }
    Ok(Tables {
        classes: columns.of_byte,
        cells,
        start: offset_of[minimal.block_of[automaton.start]],
        eof: id(stride) - 2,
        info: id(stride) - 1,
        signatures,
    })
}

/// The classes that differ in some state of the minimal automaton.
struct Columns {
    of_byte: [u8; 256],
    kept: Vec<Id>,
}

impl Columns {
    fn merge(automaton: &Automaton, minimal: &Minimal) -> Self {
        let mut known: HashMap<Vec<Id>, u8> = HashMap::new();
        let mut kept = Vec::new();
        let column_of: IdVec<u8> = (0..id(automaton.width) - 1)
            .map(|class| {
                let column = minimal
                    .representatives
                    .ids()
                    .map(|block| target(automaton, minimal, block, class))
                    .collect();
                *known.entry(column).or_insert_with(|| {
                    kept.push(class);
                    u8::try_from(kept.len() - 1).unwrap_or(u8::MAX)
                })
            })
            .collect();
        let of_byte = automaton.classes.map(|class| column_of[Id::from(class)]);
        Self { of_byte, kept }
    }
}

/// All blocks, breadth first from the start of a line on which nothing happened.
fn rows_by_distance(automaton: &Automaton, minimal: &Minimal) -> Vec<Id> {
    let class_of = |byte: char| automaton.classes.get(byte as usize).copied().unwrap_or(0);
    let dead = minimal.block_of[automaton.dead];
    let after_lf = target(automaton, minimal, dead, Id::from(class_of('\n')));
    let after_cr = target(automaton, minimal, dead, Id::from(class_of('\r')));
    let start = minimal.block_of[automaton.start];

    let mut rows = Vec::with_capacity(minimal.representatives.len());
    let mut seen = IdVec::filled(false, minimal.representatives.len());
    let mut add = |rows: &mut Vec<Id>, block: Id| {
        if !std::mem::replace(&mut seen[block], true) {
            rows.push(block);
        }
    };
    for block in [after_lf, dead, after_cr, start] {
        add(&mut rows, block);
    }
    let mut done = 0;
    while let Some(&block) = rows.get(done) {
        for next in transitions(automaton, minimal, block) {
            add(&mut rows, next);
        }
        done += 1;
    }
    rows
}

fn transitions<'a>(
    automaton: &'a Automaton,
    minimal: &'a Minimal,
    block: Id,
) -> impl Iterator<Item = Id> + Clone + use<'a> {
    (0..id(automaton.width)).map(move |class| target(automaton, minimal, block, class))
}

fn target(automaton: &Automaton, minimal: &Minimal, block: Id, class: Id) -> Id {
    let state = minimal.representatives[block];
    let entered = automaton.next[state * id(automaton.width) + class];
    minimal.block_of[entered]
}
