//! The table of cells: how the students of a classroom fared with each.

use bytes::Bytes;
use mimamori_actors::domain::ClassroomId;

use super::cursor::{from_hex, to_hex};
use super::items::CellTotalsItem;
use super::kept::{On, Part};
use super::lists::{Asked, list};
use super::params::Params;
use super::{ApiError, Reading};
use crate::cache::{Scope, Subject};
use crate::storage::records::{CellKey, CellTotals};

/// Notebook, place and id of a cell. The names are as clients sent them: spelled
/// out, no sign of theirs makes a cursor longer than they are.
type CellCursor = (String, i64, String);

fn cursor(totals: &CellTotals) -> CellCursor {
    let key = totals.key();
    let hex = |text: &str| to_hex(text.as_bytes());
    (hex(&key.notebook), key.cell_index, hex(&key.cell_id))
}

fn key((notebook, cell_index, cell_id): &CellCursor) -> Option<CellKey> {
    let text = |hex: &str| String::from_utf8(from_hex(hex)?).ok();
    Some(CellKey {
        notebook: text(notebook)?,
        cell_index: *cell_index,
        cell_id: text(cell_id)?,
    })
}

/// A page of the cells of a notebook in its order, or of all notebooks one after the other.
pub(super) async fn cells(
    reading: &Reading,
    classroom: &ClassroomId,
    scope: Scope,
    params: &Params,
) -> Result<Bytes, ApiError> {
    let asked: Asked<CellCursor> = Asked::of(reading, list("cells", classroom, params), params)?;
    let notebook = params.text("notebook")?;
    let all = asked.whole();
    let part = Part {
        classroom,
        scope,
        subject: Subject::CellTable,
        on: On::RowsOf(asked.range),
        asked: &all,
    };
    let page = async {
        let after = asked.after.as_ref().and_then(key);
        let found = reading
            .records
            .table_of_cells(classroom, asked.range, notebook, after, asked.limit)
            .await?;
        Ok(asked.page::<_, CellTotalsItem>(found, cursor))
    };
    reading.kept_json(part, page).await
}
