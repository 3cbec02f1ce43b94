//! Errors of each cell since its last `ok`: the largest part of a state, so cells are kept as hashes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::brief::{Brief, Label, short_hash};
use crate::domain::Position;

/// So many cells with errors are remembered; of more, the one that failed longest ago is forgotten.
pub const MAX_CELLS: usize = 5_000;

/// A cell in a notebook; two are the same if path (in NFKC) and id are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct CellKey(u64);

impl CellKey {
    /// Nothing for a cell without an id: nothing tells it from the next one.
    pub(super) fn of(notebook: Option<&Label>, cell_id: Option<&str>) -> Option<Self> {
        let notebook = notebook.map_or(0, |notebook| notebook.key);
        // two hashes that have nothing to do with each other stay so when one is turned
        Some(Self(notebook.rotate_left(32) ^ short_hash(&[cell_id?])))
    }
}

/// Where errors in a row are looked up and noted.
pub(super) trait Errors {
    /// Errors since the last `ok`.
    fn of(&self, cell: CellKey) -> u32;
    /// Now it has so many, by this event; none forgets the cell.
    fn set(&mut self, cell: CellKey, errors: u32, by: &Brief);
}

/// The rows of the base. At most [`MAX_CELLS`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Rows {
    cells: BTreeMap<CellKey, Row>,
    /// Errors that were ever noted: tells which cell failed longest ago.
    noted: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    errors: u32,
    noted: u64,
}

impl Errors for Rows {
    fn of(&self, cell: CellKey) -> u32 {
        self.cells.get(&cell).map_or(0, |row| row.errors)
    }

    fn set(&mut self, cell: CellKey, errors: u32, _by: &Brief) {
        self.put(cell, errors);
    }
}

impl Rows {
    pub(super) fn put(&mut self, cell: CellKey, errors: u32) {
        if errors == 0 {
            self.cells.remove(&cell);
            return;
        }
        self.noted += 1;
        let noted = self.noted;
        self.cells.insert(cell, Row { errors, noted });
        if self.cells.len() > MAX_CELLS {
            let oldest = self.cells.iter().min_by_key(|(_, row)| row.noted);
            if let Some(oldest) = oldest.map(|(cell, _)| *cell) {
                self.cells.remove(&oldest);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.cells.clear();
    }

    /// As bytes: how many errors were ever noted and how many cells there are, then each cell, the
    /// one that failed longest ago first: a hash of 8 bytes, its errors, and after how many of
    /// the others' it failed. Numbers are in LEB128.
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        let mut cells: Vec<_> = self.cells.iter().collect();
        cells.sort_by_key(|(_, row)| row.noted);
        write_number(self.noted, bytes);
        write_number(cells.len() as u64, bytes);
        let mut before = 0;
        for (cell, row) in cells {
            bytes.extend(cell.0.to_le_bytes());
            write_number(u64::from(row.errors), bytes);
            write_number(row.noted - before, bytes);
            before = row.noted;
        }
    }

    /// What [`Rows::write`] wrote, and what follows it; nothing if that is not what it is.
    pub(super) fn read(mut bytes: &[u8]) -> Option<(Self, &[u8])> {
        let mut rows = Self {
            cells: BTreeMap::new(),
            noted: read_number(&mut bytes)?,
        };
        let count = read_number(&mut bytes)?;
        let mut noted = 0_u64;
        for _ in 0..count {
            let (cell, rest) = bytes.split_first_chunk::<8>()?;
            bytes = rest;
            let errors = u32::try_from(read_number(&mut bytes)?).ok()?;
            noted = noted.checked_add(read_number(&mut bytes)?)?;
            let cell = CellKey(u64::from_le_bytes(*cell));
            rows.cells.insert(cell, Row { errors, noted });
        }
        let is_bounded = rows.cells.len() <= MAX_CELLS && noted <= rows.noted;
        is_bounded.then_some((rows, bytes))
    }

    /// So many cells are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }
}

/// What the last 3 s changed in the rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Changed(BTreeMap<CellKey, Change>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    errors: u32,
    /// The last event that changed it.
    by: Position,
}

impl Changed {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// This event is in the base now; so is what it was the last to change.
    pub(super) fn settle(&mut self, brief: &Brief) {
        self.0.retain(|_, change| change.by != brief.position);
    }

    /// Errors of a cell, as the last 3 s left them.
    pub(super) fn errors_of(&self, cell: CellKey, base: &Rows) -> u32 {
        self.0
            .get(&cell)
            .map_or_else(|| base.of(cell), |change| change.errors)
    }
}

/// The rows of the base, with what the last 3 s changed laid over them.
pub(super) struct Overlay<'a> {
    pub(super) base: &'a Rows,
    pub(super) changed: &'a mut Changed,
}

impl Errors for Overlay<'_> {
    fn of(&self, cell: CellKey) -> u32 {
        self.changed.errors_of(cell, self.base)
    }

    fn set(&mut self, cell: CellKey, errors: u32, by: &Brief) {
        let by = by.position;
        self.changed.0.insert(cell, Change { errors, by });
    }
}

fn write_number(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn read_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
