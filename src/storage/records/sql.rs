//! SQL texts with their values, for reading and for writing many rows at once.
//!
//! Written by hand: entities cost a multiple for rows of fifteen columns, and
//! the readers' statements are put together from what was asked for. Only
//! words of our own ever become SQL; what comes from outside is bound.

use sea_orm::{Statement, Value};

use super::dialect::Dialect;

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
    pub(super) fn statement(&mut self, dialect: Dialect) -> Statement {
        let (text, values) = self.take();
        Statement::from_sql_and_values(dialect.backend(), text, values)
    }

    /// The text and its values, taken out.
    pub(super) fn take(&mut self) -> (String, Vec<Value>) {
        (
            std::mem::take(&mut self.text),
            std::mem::take(&mut self.values),
        )
    }
}

/// A table and how rows go into it; see [`super::batch`].
pub(super) struct Insert<'a> {
    pub(super) name: &'a str,
    pub(super) columns: &'a [&'a str],
    /// The columns that name a row.
    pub(super) key: &'a [&'a str],
    /// What to do with a row that is there already.
    pub(super) when_there: &'a str,
    /// Whether PostgreSQL cuts it into months: then a row carries, behind its
    /// columns, when it is filed, and is named by that too.
    pub(super) is_filed: bool,
}

impl Insert<'_> {
    /// Whether a row may change one that is there.
    pub(super) fn changes_rows(&self) -> bool {
        self.when_there != NOTHING
    }

    /// Where the key's columns stand.
    pub(super) fn key_indexes(&self) -> Vec<usize> {
        let index_of = |name: &&str| self.columns.iter().position(|column| column == name);
        self.key.iter().filter_map(index_of).collect()
    }
}

/// A row that is there already stays as it is.
pub(super) const NOTHING: &str = "DO NOTHING";

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
}
