//! Deletes cells that are past their term.

use mimamori_actors::domain::{ClassroomId, Timestamp};

use super::keys::{Level, prefix};
use super::{EmbeddedSeries, Inner, SeriesError};
use crate::storage::series::buckets::minute_of;

impl EmbeddedSeries {
    /// As [`super::super::Series::expire`], the shortest cells first.
    pub(in crate::storage::series) async fn expire(
        &self,
        classroom: &ClassroomId,
        before: Timestamp,
        most: usize,
    ) -> Result<usize, SeriesError> {
        let classroom = classroom.clone();
        self.in_turn(move |inner, _| inner.expire(&classroom, before, most))
            .await
    }
}

impl Inner {
    fn expire(
        &self,
        classroom: &ClassroomId,
        before: Timestamp,
        most: usize,
    ) -> Result<usize, SeriesError> {
        let files = self.files.writing()?;
        let mut past = Vec::new();
        for level in Level::ALL {
            // a cell goes when all of it is past
            let end = minute_of(before)
                .saturating_sub(level.minutes())
                .saturating_add(1);
            let keys = prefix(level, classroom, i64::MIN)..prefix(level, classroom, end);
            for cell in files.counts.range(keys).take(most - past.len()) {
                past.push(cell.key()?);
            }
        }
        if past.is_empty() {
            return Ok(0);
        }
        let mut batch = files.database.batch();
        for key in &past {
            batch.remove(&files.counts, key.clone());
        }
        self.files.judge(batch.commit())?;
        Ok(past.len())
    }
}

#[cfg(test)]
mod tests {
    use mimamori_actors::ports::Store;

    use super::*;
    use crate::storage::samples::{at, executed, journal, room};

    #[tokio::test]
    async fn cells_go_when_all_of_them_is_past() {
        let dir = tempfile::tempdir().unwrap();
        let series = EmbeddedSeries::open(dir.path()).unwrap();
        // in the first and in the third minute of an hour
        let entries = [executed(1, 1), executed(130, 1)];
        let through = entries[1].position;
        series.write(&journal(), &entries, through).await.unwrap();
        let counted = async || {
            let room = room();
            let buckets = series.activity(&room, at(0)..at(180), at(180), 300);
            let buckets = buckets.await.unwrap();
            buckets.iter().map(|it| it.executions).collect::<Vec<_>>()
        };
        assert_eq!(counted().await, [1, 0, 1]);

        // half of the third minute: it stays, and the ten minutes, the hour and the day around it
        assert_eq!(series.expire(&room(), at(150), 100).await.unwrap(), 1);
        assert_eq!(counted().await, [0, 0, 1]);
        assert_eq!(series.expire(&room(), at(180), 100).await.unwrap(), 1);
        assert_eq!(series.expire(&room(), at(2 * 86_400), 2).await.unwrap(), 2);
        assert_eq!(series.expire(&room(), at(2 * 86_400), 2).await.unwrap(), 1);
        assert_eq!(series.expire(&room(), at(2 * 86_400), 2).await.unwrap(), 0);
        assert_eq!(counted().await, [0; 3]);
    }
}
