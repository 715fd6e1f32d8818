//! The fewest states that say the same: Hopcroft's partition refinement.

use std::collections::BTreeMap;

use super::ids::{Id, IdVec, id};
use super::line::Automaton;

/// The states of an automaton, put into blocks of states that no input can tell apart.
pub(super) struct Minimal {
    /// State to block.
    pub(super) block_of: IdVec<Id>,
    /// Block to one of its states.
    pub(super) representatives: IdVec<Id>,
}

/// Finds the coarsest partition in which the states of a block are labelled alike and enter the
/// same blocks.
pub(super) fn minimize(automaton: &Automaton) -> Minimal {
    let sources = Sources::of(automaton);
    let mut partition = Partition::by_label(automaton);
    let mut pending: Vec<Id> = partition.blocks.ids().collect();
    let mut is_pending = IdVec::filled(true, pending.len());

    while let Some(splitter) = pending.pop() {
        is_pending[splitter] = false;
        let splitter: Vec<Id> = partition.states_of(splitter).to_vec();
        for class in 0..id(automaton.width) {
            let mut touched = Vec::new();
            for &state in &splitter {
                for &source in sources.of_transition(class, state) {
                    partition.mark(source, &mut touched);
                }
            }
            for block in touched {
                let Some(new) = partition.split(block) else {
                    continue;
                };
                is_pending.push(false);
                let smaller = if !is_pending[block] && partition.size(block) < partition.size(new) {
                    block
                } else {
                    new
                };
                is_pending[smaller] = true;
                pending.push(smaller);
            }
        }
    }

    let representatives = partition
        .blocks
        .ids()
        .map(|block| partition.order[partition.blocks[block].first])
        .collect();
    Minimal {
        block_of: partition.block_of,
        representatives,
    }
}

/// The transitions backwards.
struct Sources {
    states: usize,
    first: IdVec<Id>,
    sources: IdVec<Id>,
}

impl Sources {
    fn of(automaton: &Automaton) -> Self {
        let states = automaton.labels.len();
        let width = automaton.width;
        let slots = || {
            let targets = automaton.next.iter().enumerate();
            targets.map(|(at, &target)| (at / width, (at % width) * states + target as usize))
        };

        let mut first = IdVec::filled(0, states * width + 1);
        for (_, slot) in slots() {
            first[id(slot)] += 1;
        }
        let mut sum = 0;
        for slot in first.ids() {
            sum += first[slot];
            first[slot] = sum;
        }
        // Filling each slot from its end moves its beginning to where it belongs.
        let mut sources = IdVec::filled(0, automaton.next.len());
        for (source, slot) in slots() {
            let slot = id(slot);
            first[slot] -= 1;
            sources[first[slot]] = id(source);
        }
        Self {
            states,
            first,
            sources,
        }
    }

    fn of_transition(&self, class: Id, target: Id) -> &[Id] {
        let slot = class * id(self.states) + target;
        let from = self.first[slot];
        self.sources
            .slice(from, (self.first[slot + 1] - from) as usize)
    }
}

/// Blocks are runs of `order`; the marked states of a block stand at its beginning.
struct Partition {
    order: IdVec<Id>,
    place_of: IdVec<Id>,
    block_of: IdVec<Id>,
    blocks: IdVec<Block>,
}

struct Block {
    first: Id,
    len: usize,
    marked: usize,
}

impl Partition {
    fn by_label(automaton: &Automaton) -> Self {
        let mut by_label: BTreeMap<_, Vec<Id>> = BTreeMap::new();
        for state in automaton.labels.ids() {
            by_label
                .entry(automaton.labels[state])
                .or_default()
                .push(state);
        }

        let states = automaton.labels.len();
        let mut partition = Self {
            order: IdVec::new(),
            place_of: IdVec::filled(0, states),
            block_of: IdVec::filled(0, states),
            blocks: IdVec::new(),
        };
        for members in by_label.into_values() {
            let block = partition.blocks.push(Block {
                first: id(partition.order.len()),
                len: members.len(),
                marked: 0,
            });
            for state in members {
                partition.block_of[state] = block;
                partition.place_of[state] = partition.order.push(state);
            }
        }
        partition
    }

    fn size(&self, block: Id) -> usize {
        self.blocks[block].len
    }

    fn states_of(&self, block: Id) -> &[Id] {
        let block = &self.blocks[block];
        self.order.slice(block.first, block.len)
    }

    fn mark(&mut self, state: Id, touched: &mut Vec<Id>) {
        let block_id = self.block_of[state];
        let block = &mut self.blocks[block_id];
        let to = block.first + id(block.marked);
        if block.marked == 0 {
            touched.push(block_id);
        }
        block.marked += 1;

        let from = self.place_of[state];
        let other = self.order[to];
        self.order.swap(from, to);
        self.place_of[state] = to;
        self.place_of[other] = from;
    }

    /// Makes the marked states a block of their own, unless all are marked.
    fn split(&mut self, block_id: Id) -> Option<Id> {
        let block = &mut self.blocks[block_id];
        let marked = std::mem::replace(&mut block.marked, 0);
        if marked == block.len {
            return None;
        }
        let first = block.first;
        block.first += id(marked);
        block.len -= marked;
        let new = self.blocks.push(Block {
            first,
            len: marked,
            marked: 0,
        });
        for place in first..first + id(marked) {
            self.block_of[self.order[place]] = new;
        }
        Some(new)
    }
}
