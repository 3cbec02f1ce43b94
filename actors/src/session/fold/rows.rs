//! Errors of each cell since its last `ok`: the largest part of a state, so cells are kept as hashes.

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
    /// Ordered by cell: a tree of the usual fifty takes twice the memory, and is no faster.
    cells: Vec<Row>,
    /// Errors that were ever noted: tells which cell failed longest ago.
    noted: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    cell: CellKey,
    errors: u32,
    noted: u32,
}

impl Errors for Rows {
    fn of(&self, cell: CellKey) -> u32 {
        self.place(cell).map_or(0, |place| self.cells[place].errors)
    }

    fn set(&mut self, cell: CellKey, errors: u32, _by: &Brief) {
        self.put(cell, errors);
    }
}

impl Rows {
    pub(super) fn put(&mut self, cell: CellKey, errors: u32) {
        let place = self.place(cell);
        if errors == 0 {
            if let Ok(place) = place {
                self.cells.remove(place);
            }
            return;
        }
        self.noted = self.noted.saturating_add(1);
        let row = Row {
            cell,
            errors,
            noted: self.noted,
        };
        match place {
            Ok(place) => self.cells[place] = row,
            Err(place) => self.cells.insert(place, row),
        }
        if self.cells.len() > MAX_CELLS {
            let oldest = (0..self.cells.len()).min_by_key(|place| self.cells[*place].noted);
            if let Some(oldest) = oldest {
                self.cells.remove(oldest);
            }
        }
    }

    /// Where the cell is, or would be.
    fn place(&self, cell: CellKey) -> Result<usize, usize> {
        self.cells.binary_search_by_key(&cell, |row| row.cell)
    }

    pub(super) fn clear(&mut self) {
        self.cells = Vec::new();
    }

    /// As bytes: how many errors were ever noted and how many cells there are, then each cell, the
    /// one that failed longest ago first: a hash of 8 bytes, its errors, and after how many of
    /// the others' it failed. Numbers are in LEB128.
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        let mut cells: Vec<_> = self.cells.iter().collect();
        cells.sort_by_key(|row| row.noted);
        write_number(self.noted.into(), bytes);
        write_number(cells.len() as u64, bytes);
        let mut before = 0;
        for row in cells {
            bytes.extend(row.cell.0.to_le_bytes());
            write_number(u64::from(row.errors), bytes);
            write_number((row.noted - before).into(), bytes);
            before = row.noted;
        }
    }

    /// What [`Rows::write`] wrote, and what follows it; nothing if that is not what it is.
    pub(super) fn read(mut bytes: &[u8]) -> Option<(Self, &[u8])> {
        let noted = u32::try_from(read_number(&mut bytes)?).ok()?;
        let count = read_number(&mut bytes)?;
        let room = usize::try_from(count).unwrap_or(MAX_CELLS).min(MAX_CELLS);
        let mut rows = Self {
            cells: Vec::with_capacity(room),
            noted,
        };
        let mut noted = 0_u32;
        for _ in 0..count {
            let (cell, rest) = bytes.split_first_chunk::<8>()?;
            bytes = rest;
            let errors = u32::try_from(read_number(&mut bytes)?).ok()?;
            noted = noted.checked_add(u32::try_from(read_number(&mut bytes)?).ok()?)?;
            let cell = CellKey(u64::from_le_bytes(*cell));
            rows.cells.push(Row {
                cell,
                errors,
                noted,
            });
        }
        rows.cells.sort_by_key(|row| row.cell);
        rows.cells.dedup_by_key(|row| row.cell);
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
pub(super) struct Changed(Vec<Change>);

/// Ordered by cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    cell: CellKey,
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
        self.0.retain(|change| change.by != brief.position);
    }

    /// Where the cell is, or would be.
    fn place(&self, cell: CellKey) -> Result<usize, usize> {
        self.0.binary_search_by_key(&cell, |change| change.cell)
    }

    /// Errors of a cell, as the last 3 s left them.
    pub(super) fn errors_of(&self, cell: CellKey, base: &Rows) -> u32 {
        self.place(cell)
            .map_or_else(|_| base.of(cell), |place| self.0[place].errors)
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
        let change = Change { cell, errors, by };
        match self.changed.place(cell) {
            Ok(place) => self.changed.0[place] = change,
            Err(place) => self.changed.0.insert(place, change),
        }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_are_what_a_map_would_be_and_are_read_as_they_were_written(
            puts in vec((0_u64..40, 0_u32..4), 0..200)
        ) {
            let mut rows = Rows::default();
            let mut map = BTreeMap::new();
            for (cell, errors) in puts {
                rows.put(CellKey(cell), errors);
                if errors == 0 {
                    map.remove(&cell);
                } else {
                    map.insert(cell, errors);
                }
                prop_assert!(rows.cells.is_sorted_by(|one, next| one.cell < next.cell));
            }

            let known: BTreeMap<_, _> =
                rows.cells.iter().map(|row| (row.cell.0, row.errors)).collect();
            prop_assert_eq!(known, map);
            let mut bytes = Vec::new();
            rows.write(&mut bytes);
            bytes.push(7);
            prop_assert_eq!(Rows::read(&bytes), Some((rows, &[7][..])));
        }
    }

    #[test]
    fn of_too_many_cells_the_one_that_failed_longest_ago_is_forgotten_wherever_it_stands() {
        let mut rows = Rows::default();
        for cell in (0..MAX_CELLS as u64).rev() {
            rows.put(CellKey(cell), 1);
        }
        // the first is no longer the oldest
        rows.put(CellKey(MAX_CELLS as u64 - 1), 2);

        rows.put(CellKey(u64::MAX), 1);

        assert_eq!(rows.len(), MAX_CELLS);
        assert_eq!(rows.of(CellKey(MAX_CELLS as u64 - 2)), 0);
        assert_eq!(rows.of(CellKey(MAX_CELLS as u64 - 1)), 2);
        assert_eq!(rows.of(CellKey(u64::MAX)), 1);
    }
}
