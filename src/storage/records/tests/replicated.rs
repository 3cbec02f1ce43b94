//! Records that are read at a real replica of the server that they are written to.

use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use sea_orm::FromQueryResult;
use tokio::time::sleep;

use super::server::{Postgres, ask};
use super::*;
use crate::storage::records::postgres::fault::is_conflict_with_recovery;
use crate::storage::records::postgres::looks::Looking;
use crate::storage::records::postgres::reading_at;
use crate::storage::records::read::all;
use crate::storage::records::replica::tests::{at_once, metrics as counted};

/// A server and its replica, which all tests of this process share.
fn database() -> (String, String) {
    static PAIR: OnceLock<Mutex<(Postgres, Postgres)>> = OnceLock::new();
    let pair = PAIR.get_or_init(|| {
        let primary = Postgres::start();
        let replica = primary.replica();
        Mutex::new((primary, replica))
    });
    let pair = pair.lock().unwrap();
    let url = pair.0.database();
    let at_replica = pair.1.same(&url);
    (url, at_replica)
}

/// Records of which everything that is read is read at the replica: whoever asks the primary
/// finds nobody.
pub(super) async fn records() -> (Home, Records) {
    let (url, replica) = database();
    let nowhere = url.replace("/t", "/nowhere");
    read_at(&url, &replica, &nowhere).await
}

async fn read_at(url: &str, replica: &str, primary: &str) -> (Home, Records) {
    let at = at_url(url);
    drop(Records::open(&at).await.unwrap());
    let records = at_once(&address(url), &address(primary), &address(replica));
    caught_up(&records).await;
    (Home { at, _dir: None }, records)
}

fn address(url: &str) -> PostgresAddress {
    let RecordsAt::Postgres(address) = at_url(url) else {
        unreachable!("it is an address")
    };
    address
}

#[derive(Debug, FromQueryResult)]
struct Place {
    position: i64,
}

/// Returns once the replica has what was written; at once where there is none.
pub(super) async fn caught_up(records: &Records) {
    let (Some(visit), Writing::Postgres(writer)) = (records.visit(), &records.writing) else {
        return;
    };
    let end = Looking::at(writer.options()).await.unwrap().end().await;
    let end = end.unwrap().0;
    let place = "SELECT pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::int8 AS position";
    loop {
        let statement = Sql::new(place).statement(records.dialect);
        let place = Place::find_by_statement(statement).one(&visit.pool()).await;
        if place.unwrap().unwrap().position >= end {
            return;
        }
        sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn what_a_replica_breaks_off_because_its_log_must_go_on_the_primary_answers() {
    let (url, replica) = database();
    let (_home, records) = read_at(&url, &replica, &url).await;
    ask(&url, "CREATE TABLE held AS SELECT generate_series(1, 9)");
    caught_up(&records).await;
    let emptied = tokio::task::spawn_blocking(move || {
        // the statement of below is under way, and holds what is to be taken away
        let begun = "SELECT COUNT(*) FROM pg_stat_activity WHERE query LIKE '%FROM held%pg_sleep%' \
             AND state = 'active' AND pid <> pg_backend_pid()";
        while ask(&replica, begun) == "0" {}
        ask(&url, "TRUNCATE held");
    });

    let recorder = counted::recorder();
    let _counting = metrics::set_default_local_recorder(&recorder);
    let question = "SELECT COUNT(*) AS position FROM held, pg_sleep(1)";
    let pool = records.visit().unwrap().pool();
    let beside = all::<Place>(&pool, Sql::new(question).statement(records.dialect));
    let mut sql = Sql::new(question);
    let (rows, beside) = tokio::join!(records.all::<Place>(&mut sql), beside);

    emptied.await.unwrap();
    let (rows, broken_off) = (rows.unwrap(), beside.unwrap_err());
    assert!(is_conflict_with_recovery(&broken_off), "{broken_off}");
    assert_eq!(rows[0].position, 0, "the primary knows of nine no more");
    assert!(records.visit().is_none(), "the call has left the replica");
    let left = counted::told(&recorder.handle(), "failures_total{reason=\"conflict\"}");
    assert_eq!(left, Some(1.0));
}

#[tokio::test]
async fn a_replica_ends_a_statement_itself_when_nobody_waits_for_it_any_more() {
    let (url, replica) = database();
    // the database is there when its tables are
    let (_home, _records) = read_at(&url, &replica, &url).await;
    let at = address(&replica);
    let run = Looking::at(&at.options().unwrap()).await.unwrap().run;
    let pool = reading_at(&at, run).unwrap();

    let limit =
        "SELECT setting::int8 AS position FROM pg_settings WHERE name = 'statement_timeout'";
    let limit = all::<Place>(&pool, Sql::new(limit).statement(Dialect::Postgres)).await;

    assert_eq!(limit.unwrap()[0].position, 3_000);
}
