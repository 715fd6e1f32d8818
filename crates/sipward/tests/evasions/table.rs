//! The figures, one row for each signature.

use std::{collections::BTreeMap, fmt, ops::AddAssign};

#[derive(Debug, Default)]
pub struct Table {
    rows: BTreeMap<String, Row>,
}

/// What became of the variations of one signature.
#[derive(Clone, Copy, Debug, Default)]
pub struct Row {
    pub variations: usize,
    /// Read by it without sipward. A driver is asked only if the other did not read it.
    pub chan_sip: usize,
    pub pjsip: usize,
    /// Of those read: the kernel program drops a packet of it.
    pub dropped: usize,
    /// Of those read: no packet shows the mark.
    pub hidden: usize,
    /// Of those hidden: the tap found it.
    pub found: usize,
    /// Of those dropped: sent to an Asterisk behind sipward.
    pub sent: usize,
    /// Of those sent: Asterisk read it all the same.
    pub reached: usize,
}

impl Row {
    pub const fn read(self) -> usize {
        self.chan_sip + self.pjsip
    }
}

impl AddAssign for Row {
    fn add_assign(&mut self, other: Self) {
        self.variations += other.variations;
        self.chan_sip += other.chan_sip;
        self.pjsip += other.pjsip;
        self.dropped += other.dropped;
        self.hidden += other.hidden;
        self.found += other.found;
        self.sent += other.sent;
        self.reached += other.reached;
    }
}

impl Table {
    pub fn row(&mut self, signature: &str) -> &mut Row {
        self.rows.entry(signature.to_owned()).or_default()
    }

    /// Takes the rows of other signatures.
    pub fn extend(&mut self, other: Self) {
        for (signature, row) in other.rows {
            *self.row(&signature) += row;
        }
    }

    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }

    pub fn total(&self) -> Row {
        let mut total = Row::default();
        self.rows().for_each(|row| total += *row);
        total
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:28} variations chan_sip  PJSIP neither dropped   sent reached hidden found",
            ""
        )?;
        let total = ("all", self.total());
        let rows = self.rows.iter().map(|(name, row)| (name.as_str(), *row));
        for (name, row) in rows.chain([total]) {
            writeln!(
                f,
                "{name:28} {:10} {:8} {:6} {:7} {:7} {:6} {:7} {:6} {:5}",
                row.variations,
                row.chan_sip,
                row.pjsip,
                row.variations - row.read(),
                row.dropped,
                row.sent,
                row.reached,
                row.hidden,
                row.found,
            )?;
        }
        Ok(())
    }
}
