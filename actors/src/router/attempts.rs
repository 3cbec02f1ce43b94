//! Entries that fail their sessions: counted on disk before they are tried
//! again, and passed over once they are dead letters.

use std::collections::BTreeMap;
use std::sync::Arc;

use ractor::{ActorId, ActorProcessingErr};

use super::{RouterContext, RouterState};
use crate::domain::{DeadLetter, FactId, JournalId, Position, SessionKey};
use crate::inside::append_dead_letter;
use crate::ports::{AppendError, Attempt, SnapshotError, Snapshots};
use crate::tree::Vitals;

/// How often which entries failed, as far as it may still matter: what is
/// behind the committed offset is forgotten.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    counts: BTreeMap<(Position, SessionKey), u32>,
}

impl Attempts {
    /// As counted by earlier incarnations, of earlier processes too.
    pub(super) fn load(
        snapshots: &dyn Snapshots,
        journal: &JournalId,
    ) -> Result<Self, SnapshotError> {
        let counted = snapshots.attempts(journal)?.into_iter();
        Ok(Self {
            counts: counted
                .map(|attempt| ((attempt.position, attempt.key), attempt.count))
                .collect(),
        })
    }

    /// Whether the entry is to be passed over.
    pub(super) fn is_used_up(&self, key: &SessionKey, position: Position) -> bool {
        !self.counts.is_empty()
            && self
                .counts
                .get(&(position, key.clone()))
                .is_some_and(|count| *count >= Attempt::MOST)
    }

    fn count(&mut self, key: &SessionKey, position: Position) -> Attempt {
        let count = self.counts.entry((position, key.clone())).or_insert(0);
        *count = count.saturating_add(1);
        Attempt {
            key: key.clone(),
            position,
            count: *count,
        }
    }

    fn used_up(&self) -> impl Iterator<Item = (&SessionKey, Position)> {
        self.counts
            .iter()
            .filter(|(_, count)| **count >= Attempt::MOST)
            .map(|((position, key), _)| (key, *position))
    }

    pub(super) fn has_any_through(&self, offset: Position) -> bool {
        self.counts
            .first_key_value()
            .is_some_and(|((position, _), _)| *position <= offset)
    }

    /// Nothing is known of this student any more.
    pub(super) fn forget_of(&mut self, key: &SessionKey) {
        self.counts.retain(|(_, of), _| of != key);
    }

    /// Everything up to here is applied, or a dead letter, for good.
    pub(super) fn forget(&mut self, offset: Position) {
        self.counts.retain(|(position, _), _| *position > offset);
    }
}

/// What is to be done before a session that failed is started again.
pub(super) struct Aftermath {
    context: Arc<RouterContext>,
    vitals: Arc<Vitals>,
    actor: ActorId,
    reason: String,
    attempt: Option<Attempt>,
}

impl RouterState {
    /// Counts the attempt of the entry that is to blame, if one is. Known at
    /// once; on disk when [`Aftermath::settle`] is through.
    pub(super) fn aftermath(
        &mut self,
        key: &SessionKey,
        actor: ActorId,
        vitals: &Arc<Vitals>,
        to_blame: Option<Position>,
        reason: String,
    ) -> Aftermath {
        Aftermath {
            context: Arc::clone(&self.context),
            vitals: Arc::clone(vitals),
            actor,
            reason,
            attempt: to_blame.map(|position| self.attempts.count(key, position)),
        }
    }

    /// An earlier incarnation may have ended between the last count and the letter.
    pub(super) async fn bury_again(&self) -> Result<(), ActorProcessingErr> {
        for (key, position) in self.attempts.used_up() {
            bury(&self.context, &self.vitals, key, position, "not known").await?;
        }
        Ok(())
    }
}

impl Aftermath {
    /// Returns when the attempt is on disk, and the dead letter if there must be one.
    pub(super) async fn settle(self) {
        if let Some(attempt) = &self.attempt {
            metrics::counter!("mimamori_sessions_failed_attempts_total").increment(1);
            self.note(attempt).await;
            if attempt.count >= Attempt::MOST {
                self.bury(attempt).await;
            }
        }
        if let Some(careful) = &self.context.session.careful {
            if let Some(attempt) = &self.attempt {
                careful.suspect(attempt);
            }
            careful.settle(self.actor);
        }
        self.context.lost.counted(self.actor);
    }

    async fn note(&self, attempt: &Attempt) {
        let session = &self.context.session;
        let (snapshots, journal) = (Arc::clone(&session.snapshots), session.journal.id());
        let counted = attempt.clone();
        let noted =
            tokio::task::spawn_blocking(move || snapshots.put_attempts(&journal, &counted)).await;
        let error = match noted {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        // this process still knows it
        metrics::counter!("mimamori_snapshots_failures_total").increment(1);
        tracing::error!(
            error,
            journal.offset = attempt.position.0,
            "a failed attempt could not be written"
        );
    }

    async fn bury(&self, attempt: &Attempt) {
        let Attempt { key, position, .. } = attempt;
        metrics::counter!("mimamori_dead_letters_total", "consumer" => "sessions").increment(1);
        tracing::error!(
            student.id = key.student.as_str(),
            journal.offset = position.0,
            error = self.reason,
            "an entry fails its session again and again, it is kept as a dead letter"
        );
        let buried = bury(&self.context, &self.vitals, key, *position, &self.reason).await;
        if let Err(error) = buried {
            // the journal is closed or broken: the process ends, and the next start buries it
            tracing::error!(error = %error, "a dead letter could not be written");
        }
    }
}

/// Says for good that a session can't take an entry.
async fn bury(
    context: &RouterContext,
    vitals: &Vitals,
    key: &SessionKey,
    position: Position,
    reason: &str,
) -> Result<(), AppendError> {
    let letter = DeadLetter {
        id: key.caused("sessions", position, FactId::computed),
        classroom: Some(key.classroom.clone()),
        consumer: "sessions".to_owned(),
        position,
        reason: reason.to_owned(),
    };
    append_dead_letter(&*context.session.journal, vitals, letter).await
}
