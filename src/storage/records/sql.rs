//! SQL texts with their values, for reading and for writing many rows at once.
//!
//! Written by hand: entities cost a multiple for rows of fifteen columns, and
//! the readers' statements are put together from what was asked for. Only
//! words of our own ever become SQL; what comes from outside is bound.

use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement, Value};

/// A statement in the making. Placeholders are `$1`, `$2` …, which SQLite and PostgreSQL both read.
#[derive(Debug, Default)]
pub(super) struct Sql {
    text: String,
    values: Vec<Value>,
}

impl Sql {
    pub(super) fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            values: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    pub(super) fn bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        self.text.push('$');
        self.text.push_str(&self.values.len().to_string());
        self
    }

    /// The statement; what was put together is taken out.
    pub(super) fn statement(&mut self) -> Statement {
        Statement::from_sql_and_values(
            DbBackend::Sqlite,
            std::mem::take(&mut self.text),
            std::mem::take(&mut self.values),
        )
    }
}

/// Rows a statement, largest first. Few sizes, so that every statement is
/// prepared once; the largest stays far under SQLite's limit of 32,766 values.
const ROWS_A_STATEMENT: [usize; 5] = [256, 64, 16, 4, 1];

/// A table and how rows go into it.
pub(super) struct Insert<'a> {
    pub(super) table: &'a str,
    pub(super) columns: &'a [&'a str],
    /// What follows the values: what to do with a row that is there already.
    pub(super) conflict: &'a str,
}

impl Insert<'_> {
    /// Inserts the rows, in their order; each has a value for each column.
    pub(super) async fn all<const N: usize>(
        &self,
        connection: &impl ConnectionTrait,
        rows: Vec<[Value; N]>,
    ) -> Result<u64, DbErr> {
        debug_assert_eq!(self.columns.len(), N);
        let mut rows = rows.into_iter();
        let mut written = 0;
        for size in ROWS_A_STATEMENT {
            while rows.len() >= size {
                let values: Vec<Value> = rows.by_ref().take(size).flatten().collect();
                let statement =
                    Statement::from_sql_and_values(DbBackend::Sqlite, self.text(size), values);
                written += connection.execute_raw(statement).await?.rows_affected();
            }
        }
        Ok(written)
    }

    fn text(&self, rows: usize) -> String {
        let mut row = "(".to_owned();
        row.push_str(&vec!["?"; self.columns.len()].join(","));
        row.push(')');
        format!(
            "INSERT INTO {} ({}) VALUES {} {}",
            self.table,
            self.columns.join(","),
            vec![row.as_str(); rows].join(","),
            self.conflict
        )
    }
}

/// The pattern that finds `text` anywhere, with `\` as the escape.
pub(super) fn containing(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_in_a_pattern_is_escaped() {
        assert_eq!(containing(r"100%_a\b"), r"%100\%\_a\\b%");
    }

    #[test]
    fn the_largest_statement_stays_under_the_limit_of_values() {
        let widest_table = 15;

        assert!(ROWS_A_STATEMENT[0] * widest_table < 32_766);
    }
}
