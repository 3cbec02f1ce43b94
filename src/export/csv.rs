//! CSV as spreadsheets read it: UTF-8 with a byte order mark, RFC 4180, no formulas.
//!
//! A text that a spreadsheet might take for a formula begins with an apostrophe here
//! (<https://owasp.org/www-community/attacks/CSV_Injection>), and so does one that begins
//! with an apostrophe: whoever takes one apostrophe off where there is one has every
//! text as it was. Every text stands in quotes, so that an empty one can be told from none.

use std::io::Write as _;

use bytes::Bytes;
use mimamori_actors::domain::Timestamp;
use unicode_normalization::UnicodeNormalization as _;

use super::table::{Cell, Column, Row};

/// Without it, spreadsheets take UTF-8 for something else.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

pub(super) struct Csv {
    ready: Vec<u8>,
}

impl Csv {
    /// With the line of the columns' names.
    pub(super) fn new(columns: &[Column]) -> Self {
        let mut csv = Self {
            ready: BYTE_ORDER_MARK.to_vec(),
        };
        let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
        csv.ready.extend_from_slice(names.join(",").as_bytes());
        csv.ready.extend_from_slice(b"\r\n");
        csv
    }

    pub(super) fn rows(&mut self, rows: &[Row]) {
        for row in rows {
            for (nth, cell) in row.iter().enumerate() {
                if nth > 0 {
                    self.ready.push(b',');
                }
                self.cell(cell);
            }
            self.ready.extend_from_slice(b"\r\n");
        }
    }

    pub(super) fn take(&mut self) -> Bytes {
        Bytes::from(std::mem::take(&mut self.ready))
    }

    fn cell(&mut self, cell: &Cell) {
        // memory takes all that is written to it
        let _ = match cell {
            Cell::Nothing => Ok(()),
            Cell::Text(text) => {
                self.text(text);
                Ok(())
            }
            Cell::Number(number) => write!(self.ready, "{number}"),
            Cell::Real(real) => write!(self.ready, "{real}"),
            Cell::Flag(flag) => write!(self.ready, "{flag}"),
            Cell::Time(millis) => write!(self.ready, "{}", Timestamp::from_millis(*millis)),
        };
    }

    fn text(&mut self, text: &str) {
        self.ready.push(b'"');
        if may_be_formula(text) || text.starts_with('\'') {
            self.ready.push(b'\'');
        }
        for (nth, part) in text.split('"').enumerate() {
            if nth > 0 {
                self.ready.extend_from_slice(b"\"\"");
            }
            self.ready.extend_from_slice(part.as_bytes());
        }
        self.ready.push(b'"');
    }
}

/// Whether a spreadsheet may compute it; wide, small and raised forms may be taken for the
/// plain ones where Japanese is written.
fn may_be_formula(text: &str) -> bool {
    let plain = text.chars().next().and_then(|first| first.nfkc().next());
    plain.is_some_and(|plain| "=+-@\t\r\n|%".contains(plain))
}
