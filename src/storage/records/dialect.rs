//! The few words of a reading statement in which the databases differ.

use sea_orm::DbBackend;

/// Whose SQL it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    pub(super) const fn backend(self) -> DbBackend {
        match self {
            Self::Sqlite => DbBackend::Sqlite,
            Self::Postgres => DbBackend::Postgres,
        }
    }

    /// Matches a pattern for this text, case aside: of ASCII in SQLite, of every script in PostgreSQL.
    ///
    /// There, folding every script takes ten times as long: a text of ASCII is
    /// compared without, but then no index of parts is found.
    pub(super) fn like(self, text: &str) -> &'static str {
        match self {
            Self::Postgres if text.is_ascii() => r#"COLLATE "C" ILIKE"#,
            Self::Sqlite | Self::Postgres => self.indexed_like(),
        }
    }

    /// As [`Self::like`], for rows that an index of parts finds.
    pub(super) const fn indexed_like(self) -> &'static str {
        match self {
            Self::Sqlite => "LIKE",
            Self::Postgres => "ILIKE",
        }
    }

    /// The first line of a text, blanks before it aside: at most 200 characters of it.
    pub(super) fn first_line(self, column: &str) -> String {
        match self {
            Self::Sqlite => {
                let text = format!(
                    "ltrim(substr({column}, 1, 400), ' ' || char(9) || char(10) || char(13))"
                );
                format!("substr({text}, 1, min(200, instr({text} || char(10), char(10)) - 1))")
            }
            Self::Postgres => format!(
                "left(split_part(ltrim(left({column}, 400), ' ' || chr(9) || chr(10) || chr(13)), chr(10), 1), 200)"
            ),
        }
    }

    /// Joins to the rows `x` of `executions` their events `e`.
    ///
    /// PostgreSQL is told in which month to look, and to look once a row: it takes
    /// position and time for unrelated, so expects next to nothing of a plain join,
    /// and would read whole months for a page of fifty.
    pub(super) const fn events_of_executions(self) -> &'static str {
        match self {
            Self::Sqlite => " JOIN events e ON e.position = x.position",
            Self::Postgres => {
                " CROSS JOIN LATERAL (SELECT * FROM events \
                  WHERE position = x.position AND filed_at = x.filed_at LIMIT 1) AS e"
            }
        }
    }

    /// Joins to the rows `e` of `events` their executions `x`, where there are such.
    pub(super) const fn executions_of_events(self) -> &'static str {
        match self {
            Self::Sqlite => " LEFT JOIN executions x ON x.position = e.position",
            Self::Postgres => {
                " LEFT JOIN LATERAL (SELECT * FROM executions \
                  WHERE position = e.position AND filed_at = e.filed_at LIMIT 1) AS x ON true"
            }
        }
    }
}
