//! The records as a source: a store that was cut off from the journal is filled again from here.

use std::sync::Arc;

use async_trait::async_trait;
use mimamori_actors::domain::{
    AcceptedEvent, ClassroomId, Entry, Fact, FactId, FactKind, Heard, HelpId, Position, Record,
    StudentId, Timestamp,
};
use mimamori_actors::ports::{Backfill, Batch, StoreError};

use super::read::OpenedHelp;
use super::{Records, RecordsError, StoredEvent, position};

#[async_trait]
impl Backfill for Records {
    async fn read(
        &self,
        after: Position,
        through: Position,
        limit: usize,
    ) -> Result<Batch, StoreError> {
        Ok(self.entries_between(after, through, limit).await?)
    }
}

impl Records {
    async fn entries_between(
        &self,
        after: Position,
        through: Position,
        limit: usize,
    ) -> Result<Batch, RecordsError> {
        let events = self.events_between(after, through, limit).await?;
        let last = events.rows.last().map(|event| event.position);
        let through = last.filter(|_| events.has_more).unwrap_or(through);
        let help = self.help_opened_between(after, through).await?;
        let mut entries: Vec<_> = events.rows.into_iter().map(of_event).collect();
        entries.extend(help.into_iter().map(of_help));
        entries.sort_by_key(|entry| entry.position);
        Ok(Batch { entries, through })
    }
}

fn of_event(stored: StoredEvent) -> Arc<Entry> {
    let accepted = AcceptedEvent {
        classroom: stored.classroom,
        student: stored.student,
        event: stored.event,
    };
    Arc::new(Entry {
        position: stored.position,
        received_at: stored.received_at,
        heard_at: Heard::of_wall(stored.received_at),
        record: Record::Event(Box::new(accepted)),
    })
}

fn of_help(help: OpenedHelp) -> Arc<Entry> {
    let since = Timestamp::from_millis(help.since_ms);
    let fact = Fact {
        id: FactId::computed(&["help opened", &help.id]),
        classroom: ClassroomId::new(help.classroom),
        cause: Position::ZERO,
        kind: FactKind::HelpOpened {
            help: HelpId::new(help.id),
            student: StudentId::new(help.student),
            since,
            cell_id: help.cell_id,
        },
    };
    Arc::new(Entry {
        position: position(help.opened),
        received_at: since,
        heard_at: Heard::of_wall(since),
        record: Record::Fact(Box::new(fact)),
    })
}
