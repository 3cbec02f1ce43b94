//! Searches by the parts of texts (trigrams), which an index keeps.
//!
//! No planner can tell how often a text occurs: SQLite does not try, PostgreSQL
//! goes by a sample, and reads a whole month when a rare text happened to be in
//! it. So the newest executions are looked through first: what is common fills a
//! page there. What does not is rare, and found by its parts.

use std::collections::BTreeSet;

use sea_orm::FromQueryResult;

use super::executions::{ExecutionRow, List, ORDER, Way};
use super::{Found, Records, RecordsError, Sql, TimeKey};
use crate::storage::records::dialect::Dialect;

/// So many of the newest executions are looked through, or so many for each row of the page.
const NEWEST: usize = 10_000;
const NEWEST_A_ROW: usize = 20;
/// A part is so many characters: what the index keeps.
const PART: usize = 3;
/// More parts of a text than this narrow nothing further.
const MOST_PARTS: usize = 12;

#[derive(FromQueryResult)]
struct KeyRow {
    at_ms: i64,
    position: i64,
}

/// What the index of parts is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::storage::records) enum Parts {
    /// All of these, as SQLite writes it.
    Written(String),
    /// The server takes the pattern apart by itself.
    OfPattern,
}

impl List<'_> {
    /// What the index is asked for; nothing where it does not help.
    pub(in crate::storage::records) fn parts(&self) -> Option<Parts> {
        // what one student did, or all did with one cell, is few
        let is_few = self.filter.student.is_some() || self.filter.cell.is_some();
        let query = self.filter.query.as_deref().filter(|_| !is_few)?;
        match self.dialect {
            Dialect::Sqlite => parts_of(query).map(Parts::Written),
            Dialect::Postgres => has_words(query).then_some(Parts::OfPattern),
        }
    }

    /// Where the newest end: all others are older than this one.
    fn newest_end(&self, newest: usize) -> Sql {
        let mut sql = Sql::new("SELECT x.at_ms, x.position FROM executions x WHERE x.classroom = ");
        sql.bind(self.classroom.as_str());
        sql.push(" AND x.at_ms >= ").bind(self.range.begin_ms());
        sql.push(" AND x.at_ms < ").bind(self.range.end_ms());
        if let Some(key) = self.after {
            sql.push(" AND (x.at_ms, x.position) < (").bind(key.at_ms);
            sql.push(", ").bind(key.position).push(")");
        }
        sql.push(ORDER).push(" LIMIT 1 OFFSET ");
        sql.bind(i64::try_from(newest).unwrap_or(i64::MAX));
        sql
    }

    fn newer_than(&self, end: TimeKey) -> Sql {
        let mut sql = self.selected("executions x");
        sql.push(" WHERE x.classroom = ")
            .bind(self.classroom.as_str());
        sql.push(" AND (x.at_ms, x.position) > (").bind(end.at_ms);
        sql.push(", ").bind(end.position).push(")");
        self.narrow(&mut sql, Way::ByTime);
        sql.push(ORDER);
        sql
    }

    /// The list by the parts: places first, texts only of those that are shown.
    pub(in crate::storage::records) fn with_parts(&self, parts: Parts, limit: usize) -> Sql {
        let (place, joined) = match self.dialect {
            Dialect::Sqlite => ("x.position", "x.position = found.position"),
            Dialect::Postgres => (
                "x.position, x.filed_at, x.at_ms",
                "x.position = found.position AND x.filed_at = found.filed_at",
            ),
        };
        let mut sql = Sql::new("WITH found AS MATERIALIZED (SELECT ");
        sql.push(place).push(" FROM executions x WHERE ");
        if let Parts::Written(parts) = parts {
            sql.push(
                "x.position IN (SELECT rowid FROM executions_parts WHERE executions_parts MATCH ",
            )
            .bind(parts)
            .push(") AND ");
        }
        sql.push(&format!("{} = ", Way::ByParts.text("x.classroom")))
            .bind(self.classroom.as_str());
        self.narrow(&mut sql, Way::ByParts);
        let one_more = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        match self.dialect {
            Dialect::Sqlite => sql.push(ORDER).push(" LIMIT ").bind(one_more).push(") "),
            // with an order it would rather look through everything in that order
            Dialect::Postgres => sql
                .push("), places AS MATERIALIZED (SELECT position, filed_at FROM found ORDER BY at_ms DESC, position DESC LIMIT ")
                .bind(one_more)
                .push(") "),
        };
        let from = match self.dialect {
            Dialect::Sqlite => format!("found CROSS JOIN executions x ON {joined}"),
            Dialect::Postgres => {
                format!(
                    "places AS found CROSS JOIN LATERAL (SELECT * FROM executions x WHERE {joined} LIMIT 1) AS x"
                )
            }
        };
        let (text, _) = self.selected(&from).take();
        sql.push(&text).push(ORDER);
        sql
    }
}

impl Records {
    pub(super) async fn search(
        &self,
        list: &List<'_>,
        parts: Parts,
        limit: usize,
    ) -> Result<Found<ExecutionRow>, RecordsError> {
        let newest = NEWEST.max(limit.saturating_mul(NEWEST_A_ROW));
        let end: Option<KeyRow> = self.one(&mut list.newest_end(newest)).await?;
        let Some(KeyRow { at_ms, position }) = end else {
            return self.page(&mut list.newest_first(), limit).await;
        };
        let end = TimeKey { at_ms, position };
        let found = self.page(&mut list.newer_than(end), limit).await?;
        if found.has_more {
            return Ok(found);
        }
        self.page(&mut list.with_parts(parts, limit), limit).await
    }
}

/// Whether a server finds parts in it: it takes them from letters and digits that stand together.
fn has_words(text: &str) -> bool {
    text.split(|sign: char| !sign.is_alphanumeric())
        .any(|word| word.chars().count() >= PART)
}

/// All parts of a text must be there, in any order: what is found is compared then.
/// Nothing of a text that has none.
fn parts_of(text: &str) -> Option<String> {
    let characters: Vec<char> = text.chars().collect();
    let parts: BTreeSet<&[char]> = characters.windows(PART).collect();
    let step = parts.len().div_ceil(MOST_PARTS).max(1);
    let quoted: Vec<String> = parts
        .into_iter()
        .step_by(step)
        .map(|part| {
            let part: String = part.iter().collect();
            format!("\"{}\"", part.replace('"', "\"\""))
        })
        .collect();
    (!quoted.is_empty()).then(|| quoted.join(" AND "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_asked_for_by_its_parts_of_three_signs() {
        assert_eq!(parts_of("ab"), None);
        assert_eq!(parts_of("課題1").as_deref(), Some("\"課題1\""));
        assert_eq!(
            parts_of("a\"b(").as_deref(),
            Some("\"\"\"b(\" AND \"a\"\"b\"")
        );
        assert!(has_words("x = abc") && !has_words("a.bc = x"));
        let long = parts_of(&"abcdefghijklmnopqrstuvwxyz".repeat(10)).unwrap();
        assert!(long.matches(" AND ").count() < MOST_PARTS, "{long}");
    }
}
