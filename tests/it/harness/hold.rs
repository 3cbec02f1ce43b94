//! The records' store does not answer: another process has it for itself.

use std::path::Path;

use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sea_orm::sqlx::{self, ConnectOptions, Connection};

/// The lock on `records.sqlite`, as a backup or a person with a shell may take it.
pub struct Hold(SqliteConnection);

impl Hold {
    /// Takes it; from now on nobody else writes.
    pub async fn on(dir: &Path) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(dir.join("records.sqlite"))
            .busy_timeout(super::PATIENCE)
            .disable_statement_logging();
        let mut connection = options.connect().await.unwrap();
        sqlx::query("BEGIN EXCLUSIVE")
            .execute(&mut connection)
            .await
            .unwrap();
        Self(connection)
    }

    /// Gives it back.
    pub async fn release(mut self) {
        sqlx::query("ROLLBACK").execute(&mut self.0).await.unwrap();
        self.0.close().await.unwrap();
    }
}
