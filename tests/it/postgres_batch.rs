//! The program is killed in each phase of a batch, which the database holds it in.

use sea_orm::sqlx::postgres::PgConnection;
use sea_orm::sqlx::{self, Connection as _};

use crate::harness::postgres::{Postgres, ask};
use crate::harness::{PATIENCE, Pace, Senders, Server, ensure, eventually};

/// Where a batch stands when the program is killed.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// A table that is locked is waited for: the first of a batch, one in its midst, the last.
    At(&'static str),
    /// It is committed, and the answer does not come.
    Committed,
}

/// What holds the writer.
enum Held {
    Table(PgConnection),
    Commit,
}

impl Phase {
    async fn hold(self, url: &str) -> Held {
        match self {
            Self::At(table) => {
                let mut session = PgConnection::connect(url).await.unwrap();
                let lock = format!("BEGIN; LOCK TABLE {table} IN EXCLUSIVE MODE");
                sqlx::raw_sql(sqlx::AssertSqlSafe(lock))
                    .execute(&mut session)
                    .await
                    .unwrap();
                Held::Table(session)
            }
            Self::Committed => {
                wait_for_standby(url, "nobody");
                Held::Commit
            }
        }
    }

    /// What a session waits for that is held here.
    fn wait_event(self) -> &'static str {
        match self {
            Self::At(_) => "Lock",
            Self::Committed => "IPC",
        }
    }
}

impl Held {
    async fn release(self, url: &str) {
        match self {
            Self::Table(session) => session.close().await.unwrap(),
            Self::Commit => wait_for_standby(url, ""),
        }
    }
}

/// A commit is on disk and waits for a server that follows, which there is not.
fn wait_for_standby(url: &str, name: &str) {
    // of those who change it none may wait itself
    let sql = format!("ALTER SYSTEM SET synchronous_standby_names = '{name}'");
    ask(url, &sql);
    ask(url, "SELECT pg_reload_conf()");
}

async fn until_it_waits(url: &str, phase: Phase) {
    let sql = format!(
        "SELECT COUNT(*) FROM pg_stat_activity WHERE application_name = 'mimamori' \
         AND datname = current_database() AND wait_event_type = '{}' AND xact_start IS NOT NULL",
        phase.wait_event()
    );
    eventually("the writer is held", PATIENCE, async || {
        let waiting = ask(url, &sql);
        ensure(waiting != "0", || format!("{phase:?}: {waiting}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_cut_off_by_kill_9_in_any_phase_is_stored_once() {
    // of its own: how commits are answered is a setting of the whole server
    let postgres = Postgres::start();
    let url = postgres.database();
    let mut server = Server::with(&[("MIMAMORI_RECORDS__URL", &url)]).await;
    let mut known = 0;

    for (nth, phase) in [
        Phase::At("classrooms"),
        Phase::At("executions"),
        Phase::At("offsets"),
        Phase::Committed,
    ]
    .into_iter()
    .enumerate()
    {
        let senders = Senders::begin(&server, &format!("r{nth}"), Pace::BUSY);
        let held = phase.hold(&url).await;
        until_it_waits(&url, phase).await;

        server.kill9().await;
        let mut ledger = senders.until_it_is_gone().await;
        held.release(&url).await;
        server = server.start_again().await;

        ledger.send_again(&server.api()).await;
        ledger.check_events(&server.api(), PATIENCE, &[]).await;
        known += ledger.acknowledged.len();
        eventually("all of it is there, once", PATIENCE, async || {
            let counted = ask(&url, COUNTED);
            let expected = format!("{known} {known} {known} {known}");
            ensure(counted == expected, || {
                format!("{phase:?}: {counted}, expected {expected}")
            })
        })
        .await;
    }
}

/// Events, different ones, executions, and what was counted by the hour.
const COUNTED: &str = "SELECT COUNT(*) || ' ' || COUNT(DISTINCT event_id) || ' ' || \
    (SELECT COUNT(*) FROM executions) || ' ' || (SELECT SUM(executions) FROM executions_hours) FROM events";
