//! What is missing at a start, each in one line that says what it costs. Pure.

use mimamori_actors::domain::Position;

use crate::journal::JournalReport;

/// How far a store is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reach {
    /// With this journal; nothing if it does not know it.
    pub(super) offset: Option<Position>,
    /// With any journal.
    pub(super) highest: Position,
}

/// How far the stores are.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reaches {
    /// Nothing while they are away.
    pub(super) records: Option<Reach>,
    /// Nothing if they were not there to be asked.
    pub(super) series: Option<Reach>,
    pub(super) sessions: Reach,
}

impl Reaches {
    fn highest(&self) -> Position {
        [
            self.records.unwrap_or_default(),
            self.series.unwrap_or_default(),
            self.sessions,
        ]
        .map(|reach| reach.highest)
        .into_iter()
        .max()
        .unwrap_or_default()
    }
}

/// Everything that is missing.
pub(super) fn what_is_gone(journal: &JournalReport, stores: &Reaches) -> Vec<String> {
    if journal.is_new {
        return lost_journal(journal, stores).into_iter().collect();
    }
    let mut gone = Vec::new();
    // a journal that nobody has read yet is no loss of the stores
    if journal.end >= journal.oldest {
        gone.extend(lost_stores(journal, stores));
    }
    if let Some(reason) = &journal.index_rebuilt {
        gone.push(format!(
            "the index of identities lacks something ({reason}) and was filled from the journal: an event from before position {} that is sent again is taken for new, the records keep it once",
            journal.oldest
        ));
    }
    gone
}

fn lost_journal(journal: &JournalReport, stores: &Reaches) -> Option<String> {
    let known = stores.highest().max(journal.end);
    if known == Position::ZERO {
        return None;
    }
    let records = stores.records.unwrap_or_default().highest;
    let missing = if known > records {
        format!(
            "positions {} to {known} were accepted and are not in the records, and whatever was behind them",
            records.next()
        )
    } else {
        format!("what was accepted after position {records} and not yet in the records")
    };
    Some(format!(
        "the journal is gone, a new one goes on after position {}: lost is {missing}; live counters go on from the sessions' snapshots (position {}); an event from before that is sent again counts again there, the records keep it once",
        journal.end, stores.sessions.highest
    ))
}

fn lost_stores(journal: &JournalReport, stores: &Reaches) -> Vec<String> {
    let from = journal.oldest;
    let before = if from > Position(1) {
        ", what was before is gone"
    } else {
        ""
    };
    let mut gone = Vec::new();
    if stores
        .records
        .is_some_and(|records| records.offset.is_none())
    {
        gone.push(format!(
            "the records do not know this journal: they are filled again from position {from} on{before}"
        ));
    }
    if stores.series.is_some_and(|series| series.offset.is_none()) {
        gone.push(format!(
            "the series do not know this journal: they are counted again from position {from} on, and what was before from the records"
        ));
    }
    if stores.sessions.offset.is_none() {
        gone.push(format!(
            "the sessions' snapshots do not know this journal: live counters are counted again from position {from} on{before}"
        ));
    }
    gone
}

#[cfg(test)]
mod tests {
    use mimamori_actors::domain::{JournalId, Moment};

    use super::*;

    fn report(is_new: bool, oldest: u64, end: u64) -> JournalReport {
        JournalReport {
            id: JournalId::new("jrn_a"),
            is_new,
            segments: 1,
            oldest: Position(oldest),
            end: Position(end),
            reindexed_entries: 0,
            index_rebuilt: None,
            torn_bytes: 0,
            damaged: Vec::new(),
            last_accepted: Moment::default(),
        }
    }

    fn at(offset: Option<u64>, highest: u64) -> Reach {
        Reach {
            offset: offset.map(Position),
            highest: Position(highest),
        }
    }

    #[test]
    fn a_first_start_and_a_usual_one_have_nothing_to_say() {
        let usual = Reaches {
            records: Some(at(Some(9), 9)),
            series: Some(at(Some(8), 8)),
            sessions: at(Some(7), 7),
        };

        assert_eq!(
            what_is_gone(&report(true, 1, 0), &Reaches::default()),
            [""; 0]
        );
        assert_eq!(what_is_gone(&report(false, 3, 9), &usual), [""; 0]);
        let unread = report(false, 1, 0);
        assert_eq!(what_is_gone(&unread, &Reaches::default()), [""; 0]);
    }

    #[test]
    fn a_lost_journal_is_told_with_the_positions_that_the_records_lack() {
        let stores = Reaches {
            records: Some(at(None, 40)),
            series: Some(at(None, 30)),
            sessions: at(None, 44),
        };

        let gone = what_is_gone(&report(true, 45, 44), &stores);

        assert_eq!(gone.len(), 1);
        for said in ["after position 44", "positions 41 to 44", "(position 44)"] {
            assert!(gone[0].contains(said), "{gone:?}");
        }
    }

    #[test]
    fn lost_stores_are_told_with_where_they_begin_again() {
        let stores = Reaches {
            records: Some(at(None, 0)),
            series: Some(at(Some(9), 9)),
            sessions: at(Some(9), 9),
        };

        let all = what_is_gone(&report(false, 1, 9), &stores);
        let part = what_is_gone(&report(false, 5, 9), &stores);

        let no_series = Reaches {
            series: None,
            ..stores
        };
        assert_eq!(what_is_gone(&report(false, 1, 9), &no_series), all);
        assert_eq!(all.len(), 1);
        assert!(all[0].contains("from position 1 on"), "{all:?}");
        assert!(!all[0].contains("gone"), "{all:?}");
        assert!(part[0].contains("what was before is gone"), "{part:?}");
    }
}
