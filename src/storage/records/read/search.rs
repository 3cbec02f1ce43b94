//! Searches by the parts of texts (trigrams), which an index keeps.
//!
//! No planner can tell how often a text occurs: SQLite does not try, PostgreSQL
//! goes by a sample, and reads a whole month when a rare text happened to be in
//! it. So the newest executions are looked through first: what is common fills a
//! page there. What does not is rare, and found by its parts: on a server in one
//! month after the other, from the newest on, until the page is full.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use sea_orm::FromQueryResult;

use super::executions::{ExecutionRow, List, ORDER, Way};
use super::{Found, MAX_PAGE_BYTES, Records, RecordsError, Sql, TimeKey, Weigh, in_time};
use crate::storage::records::dialect::Dialect;

/// So many of the newest executions are looked through, or so many for each row of the page.
const NEWEST: usize = 10_000;
const NEWEST_A_ROW: usize = 20;
/// A part is so many characters: what the index keeps.
const PART: usize = 3;
/// More parts of a text than this narrow little further, and each takes its time.
const MOST_PARTS: usize = 6;

#[derive(FromQueryResult)]
struct KeyRow {
    at_ms: i64,
    position: i64,
}

/// A partition: a month, or what lies in none.
#[derive(Debug, FromQueryResult, PartialEq, Eq)]
pub(in crate::storage::records) struct PartitionRow {
    name: String,
}

/// Of one of the partitions that were asked.
#[derive(FromQueryResult)]
struct NewestRow {
    partition: i32,
    at_ms: Option<i64>,
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

    /// When the newest of each of these is that a page may show.
    fn newest_of(&self, partitions: &[PartitionRow]) -> Sql {
        let end = self.range.end_ms();
        let end = self
            .after
            .map_or(end, |key| end.min(key.at_ms.saturating_add(1)));
        let mut sql = Sql::new("");
        for (nth, PartitionRow { name }) in partitions.iter().enumerate() {
            sql.push(if nth == 0 { "" } else { " UNION ALL " });
            sql.push(&format!(
                "SELECT {nth} AS partition, (SELECT x.at_ms FROM {name} x WHERE x.classroom = "
            ));
            sql.bind(self.classroom.as_str());
            sql.push(" AND x.at_ms >= ").bind(self.range.begin_ms());
            sql.push(" AND x.at_ms < ").bind(end);
            sql.push(ORDER).push(" LIMIT 1) AS at_ms");
        }
        sql.push(" ORDER BY at_ms DESC NULLS LAST");
        sql
    }

    /// The list by the parts, of this table: places first, texts only of those that are shown.
    pub(in crate::storage::records) fn with_parts(
        &self,
        parts: Parts,
        table: &str,
        limit: usize,
    ) -> Sql {
        let (place, joined) = match self.dialect {
            Dialect::Sqlite => ("x.position", "x.position = found.position"),
            Dialect::Postgres => (
                "x.position, x.filed_at, x.at_ms",
                "x.position = found.position AND x.filed_at = found.filed_at",
            ),
        };
        let mut sql = Sql::new("WITH found AS MATERIALIZED (SELECT ");
        sql.push(place).push(&format!(" FROM {table} x WHERE "));
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
            Dialect::Sqlite => format!("found CROSS JOIN {table} x ON {joined}"),
            Dialect::Postgres => {
                format!(
                    "places AS found CROSS JOIN LATERAL (SELECT * FROM {table} x WHERE {joined} LIMIT 1) AS x"
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
        match self.dialect {
            Dialect::Sqlite => {
                let mut sql = list.with_parts(parts, "executions", limit);
                self.page(&mut sql, limit).await
            }
            Dialect::Postgres => in_time(Box::pin(self.by_months(list, limit))).await?,
        }
    }

    /// The list by the parts, month by month.
    pub(in crate::storage::records) async fn by_months(
        &self,
        list: &List<'_>,
        limit: usize,
    ) -> Result<Found<ExecutionRow>, RecordsError> {
        let partitions = self.partitions().await?;
        self.by_these(partitions, list, limit).await
    }

    /// The tables that the executions are in.
    pub(in crate::storage::records) async fn partitions(
        &self,
    ) -> Result<Vec<PartitionRow>, RecordsError> {
        let mut sql = Sql::new(
            "SELECT relid::regclass::text AS name FROM pg_partition_tree('executions') \
             WHERE isleaf ORDER BY 1",
        );
        self.all(&mut sql).await
    }

    /// Partition by partition; as one table, should they be others by then.
    pub(in crate::storage::records) async fn by_these(
        &self,
        partitions: Vec<PartitionRow>,
        list: &List<'_>,
        limit: usize,
    ) -> Result<Found<ExecutionRow>, RecordsError> {
        let found = self.through(&partitions, list, limit).await;
        if self.partitions().await? == partitions {
            return found;
        }
        let mut sql = list.with_parts(Parts::OfPattern, "executions", limit);
        self.page(&mut sql, limit).await
    }

    /// The partition with the newest first: those that only have what is older than a full page are
    /// not looked into.
    async fn through(
        &self,
        partitions: &[PartitionRow],
        list: &List<'_>,
        limit: usize,
    ) -> Result<Found<ExecutionRow>, RecordsError> {
        let newest: Vec<NewestRow> = self.all(&mut list.newest_of(partitions)).await?;
        let mut found: Found<ExecutionRow> = Found {
            rows: Vec::new(),
            has_more: false,
        };
        for NewestRow { partition, at_ms } in newest {
            let partition = usize::try_from(partition).ok();
            let (Some(at_ms), Some(PartitionRow { name })) =
                (at_ms, partition.and_then(|nth| partitions.get(nth)))
            else {
                break;
            };
            let last = found.rows.last().filter(|_| found.has_more);
            if last.is_some_and(|last| last.at_ms > at_ms) {
                break;
            }
            let mut sql = list.with_parts(Parts::OfPattern, name, limit);
            found = found.with(self.page(&mut sql, limit).await?, limit);
        }
        Ok(found)
    }
}

impl Found<ExecutionRow> {
    /// The first page of both. Where one of them has more, nothing older than its last row is known.
    fn with(self, other: Self, limit: usize) -> Self {
        let known_to = |page: &Self| {
            let last = page.rows.last().filter(|_| page.has_more)?;
            Some((last.at_ms, last.position))
        };
        let known_to = known_to(&self).max(known_to(&other));
        let mut has_more = self.has_more || other.has_more;
        let mut rows = self.rows;
        rows.extend(other.rows);
        rows.retain(|row| known_to.is_none_or(|end| (row.at_ms, row.position) >= end));
        rows.sort_unstable_by_key(|row| Reverse((row.at_ms, row.position)));
        let fits = fitting(&rows).min(limit);
        has_more |= rows.len() > fits;
        rows.truncate(fits);
        Self { rows, has_more }
    }
}

/// How many of the rows a page may hold, by their bytes; one at least.
fn fitting(rows: &[ExecutionRow]) -> usize {
    let mut bytes = rows.first().map_or(0, Weigh::bytes);
    let more = rows.iter().skip(1).take_while(|row| {
        bytes += row.bytes();
        bytes <= MAX_PAGE_BYTES
    });
    1 + more.count()
}

/// Whether a server finds parts in it: it takes them from letters and digits that stand together.
fn has_words(text: &str) -> bool {
    text.split(|sign: char| !sign.is_alphanumeric())
        .any(|word| word.chars().count() >= PART)
}

/// Parts of a text that must all be there, in any order: what is found is compared then.
/// Nothing of a text that has none.
fn parts_of(text: &str) -> Option<String> {
    let characters: Vec<char> = text.chars().collect();
    let parts: BTreeSet<&[char]> = characters.windows(PART).collect();
    let mut parts: Vec<_> = parts.into_iter().collect();
    // what nearly every text has narrows nothing, and is the longest to go through
    parts.sort_by_key(|part| part.iter().filter(|sign| is_common(**sign)).count());
    parts.truncate(MOST_PARTS);
    let quoted = parts.into_iter().map(|part| {
        let part: String = part.iter().collect();
        format!("\"{}\"", part.replace('"', "\"\""))
    });
    let quoted: Vec<String> = quoted.collect();
    (!quoted.is_empty()).then(|| quoted.join(" AND "))
}

/// Whether code is full of it.
fn is_common(sign: char) -> bool {
    sign.is_ascii_lowercase() || matches!(sign, ' ' | '_')
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
        assert_eq!(long.matches(" AND ").count(), MOST_PARTS - 1, "{long}");
        assert_eq!(
            parts_of("step_12_end").as_deref(),
            Some(r#""12_" AND "_12" AND "2_e" AND "p_1" AND "_en" AND "end""#),
            "the rarest first"
        );
    }
}
