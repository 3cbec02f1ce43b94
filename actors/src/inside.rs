//! What the tree itself writes into the journal: it is never refused, so it waits for room.

use std::time::Duration;

use crate::domain::{DeadLetter, Fact, Record};
use crate::ports::{AppendError, Journal, NewRecord, Origin};
use crate::tree::Vitals;

/// Between two tries while the disk is full: doubled from the first to the last.
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// A disk that hangs for longer than this is worth a restart of who waits.
const JOURNAL_ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// Appends facts; one that is there already is as good as appended.
pub(crate) async fn append_facts(
    journal: &dyn Journal,
    vitals: &Vitals,
    facts: Vec<Fact>,
) -> Result<(), AppendError> {
    let records = facts.into_iter().map(|fact| Record::Fact(Box::new(fact)));
    append(journal, vitals, records.map(NewRecord::computed).collect()).await
}

/// Appends a dead letter; one that is there already is as good as appended.
pub(crate) async fn append_dead_letter(
    journal: &dyn Journal,
    vitals: &Vitals,
    letter: DeadLetter,
) -> Result<(), AppendError> {
    let record = NewRecord::computed(Record::DeadLetter(letter));
    append(journal, vitals, vec![record]).await
}

/// Fails only when the journal is closed or broken.
async fn append(
    journal: &dyn Journal,
    vitals: &Vitals,
    records: Vec<NewRecord>,
) -> Result<(), AppendError> {
    if records.is_empty() {
        return Ok(());
    }
    let mut wait = FIRST_WAIT;
    loop {
        let waiting = vitals.waiting(JOURNAL_ANSWERS_WITHIN);
        let appended = journal.append(records.clone(), Origin::Inside).await;
        drop(waiting);
        match appended {
            Ok(_) => return Ok(()),
            Err(AppendError::NoRoom(_) | AppendError::Overloaded) => {
                metrics::counter!("mimamori_actors_waits_for_room_total").increment(1);
                let _waiting = vitals.waiting(LONGEST_WAIT * 2);
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
            Err(error @ (AppendError::Closed | AppendError::Failed(_))) => return Err(error),
        }
    }
}
