//! Tables written out of one database and read into the other.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use mimamori_actors::domain::JournalId;

use super::*;
use crate::storage::records::dump::{self, Renamed, Sink, Table, TableFile};
use crate::storage::samples::execution;

on_either!(
    what_is_written_out_of_one_is_the_same_out_of_the_other,
    what_is_not_empty_is_told_from_what_is,
);

/// Tables as text.
#[derive(Default)]
struct Texts {
    tables: BTreeMap<String, (Vec<String>, Vec<u8>)>,
    now: String,
}

impl Sink for Texts {
    fn begin(&mut self, table: &Table) -> io::Result<()> {
        self.now.clone_from(&table.name);
        let columns = table.file_columns().map(str::to_owned).collect();
        self.tables
            .insert(table.name.clone(), (columns, Vec::new()));
        Ok(())
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        let (_, known) = self.tables.get_mut(&self.now).unwrap();
        known.extend_from_slice(text);
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Texts {
    async fn of(at: &RecordsAt) -> Self {
        let mut texts = Self::default();
        dump::dump(at, false, &mut texts).await.unwrap();
        texts
    }

    fn files(&self, dir: &Path) -> Vec<TableFile> {
        let files = self.tables.iter().map(|(name, (columns, text))| {
            let path = dir.join(name);
            std::fs::write(&path, text).unwrap();
            TableFile {
                name: name.clone(),
                columns: columns.clone(),
                path,
            }
        });
        files.collect()
    }

    fn text(&self, table: &str) -> String {
        String::from_utf8(self.tables[table].1.clone()).unwrap()
    }
}

/// One of everything, with texts that mean something to somebody.
fn varied() -> Vec<Arc<Entry>> {
    let mut odd = execution(3, 3);
    odd.name = Some("tab\tline\nback\\slash \\N \u{8}\u{b}\u{c}\r 見守り \u{202e}".to_owned());
    let mut old = execution(4, 4);
    old.time = "1999-01-01T00:00:00Z".parse().unwrap();
    vec![
        executed(1, 1),
        failed(2, 2, "NameError"),
        event(3, 3, odd),
        event(4, 4, old),
        event(5, 1, help_beat(5, 1)),
        rejection(6, "{}"),
        dead_letter(7, 2),
    ]
}

async fn what_is_written_out_of_one_is_the_same_out_of_the_other(on: On) {
    let other = match on {
        On::Sqlite => On::Postgres,
        On::Postgres | On::Replica => On::Sqlite,
    };
    let (home, written) = records(on).await;
    write(&written, &varied()).await;
    let first = Texts::of(&home.at).await;
    let dir = tempfile::tempdir().unwrap();
    let renamed = Renamed {
        old: journal(),
        new: JournalId::new("jrn_new"),
    };
    let elsewhere = Home::new(other);
    let mut bytes = 0;

    let files = first.files(dir.path());
    dump::load(&elsewhere.at, &files, &renamed, &mut |moved| bytes += moved)
        .await
        .unwrap();

    let second = Texts::of(&elsewhere.at).await;
    assert_eq!(first.text("events").lines().count(), 5);
    for table in first.tables.keys().filter(|name| *name != "offsets") {
        assert_eq!(second.text(table), first.text(table), "{table}");
    }
    let offsets = first.text("offsets");
    assert_eq!(
        second.text("offsets"),
        offsets.replace(journal().as_str(), "jrn_new")
    );
    assert!(bytes > 0);
}

async fn what_is_not_empty_is_told_from_what_is(on: On) {
    let home = Home::new(on);
    let at_first = dump::is_empty(&home.at).await.unwrap();
    let written = Records::open(&home.at).await.unwrap();
    write(&written, &varied()).await;

    assert!(at_first);
    assert!(!dump::is_empty(&home.at).await.unwrap());
    if matches!(on, On::Postgres) {
        assert!(dump::know(&home.at, &journal()).await.unwrap());
        assert!(
            !dump::know(&home.at, &JournalId::new("jrn_other"))
                .await
                .unwrap()
        );
    }
}

#[tokio::test]
async fn a_server_has_no_table_and_no_column_that_a_backup_would_leave_out() {
    let url = server::database();
    Records::open(&at_url(&url)).await.unwrap();
    let listed = server::ask(
        &url,
        "SELECT c.relname || '.' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid \
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition \
         AND c.relname NOT IN ('seaql_migrations', 'expansions') AND c.relname NOT LIKE 'executions\\_%' \
         AND a.attnum > 0 AND NOT a.attisdropped",
    );
    let mut there: Vec<_> = listed.lines().map(str::to_owned).collect();
    there.sort();

    let known = dump::tables().await.unwrap();
    let columns = |table: &Table| -> Vec<String> {
        let name = &table.name;
        table
            .file_columns()
            .map(|column| format!("{name}.{column}"))
            .collect()
    };
    let mut known: Vec<_> = known.iter().flat_map(columns).collect();
    known.sort();

    assert_eq!(there, known);
}
