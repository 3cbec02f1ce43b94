use mimamori_actors::domain::{Position, Record, SessionKey};

use super::cells::{ranges, table, two_days};
use super::*;
use crate::admit::StudentKey;
use crate::erasure::hidden::Hidden;
use crate::storage::records::{ExecutionFilter, History};

on_either!(
    what_is_left_is_what_would_be_there_without_the_person,
    somebody_who_is_hidden_is_in_no_answer_and_is_not_written,
    somebody_who_is_hidden_counts_in_no_cell_and_in_no_hour,
    somebody_who_is_hidden_is_in_no_export,
    a_batch_that_is_being_written_when_somebody_is_hidden_is_waited_for,
    what_came_behind_the_position_stays_with_its_own_name_and_beginning,
);

const STUDENTS: StudentKey = StudentKey::from_bytes([7; 32]);

fn person(of: u64) -> SessionKey {
    SessionKey {
        classroom: room(),
        student: student(of),
    }
}

/// Both students' events and what one of them is told of, and something of nobody.
fn of_both() -> Vec<Arc<Entry>> {
    vec![
        executed(1, 1),
        executed(2, 2),
        session_begun(3),
        failed(4, 1, "NameError"),
        help_opened(5, "hlp_1"),
        executed(6, 2),
        session_ended(7),
        dead_letter(8, 4),
        dead_letter(9, 2),
        rejection(10, "{}"),
        event(11, 1, help_beat(11, 1)),
    ]
}

/// Whether the entry is the first student's; the letter is about an entry of theirs.
fn is_of_the_first(entry: &Entry) -> bool {
    match &entry.record {
        Record::Event(accepted) => accepted.student == student(1),
        Record::Fact(_) => true,
        Record::DeadLetter(letter) => letter.position == Position(4),
        Record::Rejection(_) | Record::Timer(_) => false,
    }
}

async fn erase(records: &Records, through: Position) {
    let hidden = Hidden::nobody(STUDENTS);
    let mut looked_for = hidden.person(&person(1));
    loop {
        let gone = records.erase_events(&person(1), through).await.unwrap();
        for event in &gone {
            looked_for.note(event.position);
        }
        if gone.is_empty() {
            break;
        }
    }
    records.erase_faults(&looked_for, through).await.unwrap();
    records.erase_person(&person(1), through).await.unwrap();
    records.scrub().await.unwrap();
}

async fn what_is_left_is_what_would_be_there_without_the_person(on: On) {
    let (_home, records) = records(on).await;
    write(&records, &of_both()).await;
    let (_other_home, without) = self::records(on).await;
    let others: Vec<_> = (of_both().into_iter())
        .filter(|entry| !is_of_the_first(entry))
        .collect();
    let through = Position(11);
    without.write(&journal(), &others, through).await.unwrap();
    // the one who came first made the team's and the notebook's row
    for table in ["teams", "notebooks"] {
        let sql = format!("UPDATE {table} SET first_seen_ms = 0, last_seen_ms = 0");
        tamper(&records, &sql).await;
        tamper(&without, &sql).await;
    }
    let classrooms = "UPDATE classrooms SET first_seen_ms = 0";
    tamper(&records, classrooms).await;
    tamper(&without, classrooms).await;

    erase(&records, through).await;
    let once = everything(&records).await;
    erase(&records, through).await;

    assert_eq!(once, everything(&without).await);
    assert_eq!(once, everything(&records).await);
}

async fn somebody_who_is_hidden_is_in_no_answer_and_is_not_written(on: On) {
    let (_home, records) = records(on).await;
    write(&records, &of_both()[..8]).await;
    let hidden = Arc::new(Hidden::nobody(STUDENTS));
    records.hide(Arc::clone(&hidden));
    let before = records.totals(&room(), ALL_DAY).await.unwrap();

    hidden.hide(&person(1), Position(20));
    records
        .write(
            &journal(),
            &[executed(12, 1), executed(13, 2)],
            Position(13),
        )
        .await
        .unwrap();

    let events = records.events(&room(), Position(0), 100).await.unwrap();
    assert!(events.rows.iter().all(|row| row.student == student(2)));
    assert_eq!(events.rows.len(), 3);
    let filter = ExecutionFilter::default();
    let executions = records
        .executions(&room(), ALL_DAY, &filter, None, 100)
        .await;
    assert_eq!(executions.unwrap().rows.len(), 3);
    assert_eq!(records.students(&room()).await.unwrap().len(), 1);
    assert_eq!(records.student_count(&room()).await.unwrap(), 1);
    assert!(records.student(&person(1)).await.unwrap().is_none());
    assert!(
        records
            .sessions(&person(1), ALL_DAY)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(records.cells(&person(1), ALL_DAY).await.unwrap().is_empty());
    let help = records.help(&room(), ALL_DAY, true, None, 100).await;
    assert!(help.unwrap().rows.is_empty());
    let totals = records.totals(&room(), ALL_DAY).await.unwrap();
    assert_eq!((before.active, before.executions), (2, 4));
    assert_eq!((totals.active, totals.executions), (1, 3));
    assert_eq!((totals.errors, totals.help), (0, 0));
}

/// Whose work is hidden in [`work_of_a_class`]: among what they did is what went wrong.
const HIDDEN: u64 = 3;

/// Two days of a few students, and a run of another one when all is over. What goes wrong for
/// who is hidden goes wrong in a way of their own.
fn work_of_a_class() -> Vec<Arc<Entry>> {
    let mut late = crate::storage::samples::execution(151, 2);
    // as late as a clock is believed
    late.time = at(172_900);
    let work = two_days().chain([(151, 2, late)]);
    let work = work.map(|(position, of, mut it)| {
        if of == HIDDEN && it.error_message.is_some() {
            it.error_message = Some("PrivateError: only one has it".to_owned());
        }
        event(position, of, it)
    });
    work.collect()
}

async fn somebody_who_is_hidden_counts_in_no_cell_and_in_no_hour(on: On) {
    let (_home, records) = records(on).await;
    let (_other_home, without) = self::records(on).await;
    write(&records, &work_of_a_class()).await;
    let mut others = work_of_a_class();
    others.retain(|entry| match &entry.record {
        Record::Event(accepted) => accepted.student != student(HIDDEN),
        _ => true,
    });
    write(&without, &others).await;
    let hidden = Arc::new(Hidden::nobody(STUDENTS));
    records.hide(Arc::clone(&hidden));
    let counted = async |records: &Records, range| {
        let cells = table(records, range, None).await;
        let of_one = table(records, range, Some("b.ipynb")).await;
        let totals = records.totals(&room(), range).await.unwrap();
        (cells, of_one, totals)
    };
    let before = counted(&records, ALL_DAY).await;

    hidden.hide(&person(HIDDEN), Position(151));

    assert_ne!(counted(&records, ALL_DAY).await, before);
    for range in ranges() {
        let (left, expected) = (counted(&records, range), counted(&without, range));
        assert_eq!(left.await, expected.await, "{range:?}");
    }
}

async fn somebody_who_is_hidden_is_in_no_export(on: On) {
    let (_home, records) = records(on).await;
    write(&records, &of_both()).await;
    let hidden = Arc::new(Hidden::nobody(STUDENTS));
    records.hide(Arc::clone(&hidden));
    let room = room();
    let exported = async || {
        let events = records.exported_events(&room, ALL_DAY, false, None, 10);
        let mut students = Vec::new();
        students.extend(
            events
                .await
                .unwrap()
                .rows
                .into_iter()
                .map(|row| row.student),
        );
        for history in [History::Sessions, History::Help] {
            let spans = records.exported_spans(history, &room, ALL_DAY, None, 10);
            let spans = spans.await.unwrap().rows.into_iter();
            students.extend(spans.filter_map(|row| row.student));
        }
        students
    };
    let of_first = |students: &[String]| {
        let first = student(1);
        students.iter().filter(|it| **it == first.as_str()).count()
    };
    let before = exported().await;

    hidden.hide(&person(1), Position(20));

    let after = exported().await;
    assert_eq!(of_first(&before), 3 + 2);
    assert_eq!(of_first(&after), 0);
    assert_eq!(after.len(), before.len() - 5);
}

async fn a_batch_that_is_being_written_when_somebody_is_hidden_is_waited_for(on: On) {
    let (_home, records) = records(on).await;
    let under_way = records.writing.begin().await.unwrap();

    let mut settled = Box::pin(records.settled());
    assert!(futures_util::poll!(settled.as_mut()).is_pending());
    under_way.commit().await.unwrap();

    settled.await.unwrap();
}

async fn what_came_behind_the_position_stays_with_its_own_name_and_beginning(on: On) {
    let (_home, records) = records(on).await;
    let mut renamed = crate::storage::samples::execution(20, 1);
    renamed.name = Some("another name".to_owned());
    renamed.team = None;
    write(&records, &[executed(1, 1), event(20, 1, renamed)]).await;

    erase(&records, Position(19)).await;

    let left = records.person(&person(1)).await.unwrap().unwrap();
    assert_eq!(left.name.as_deref(), Some("another name"));
    assert_eq!(left.team, None);
    assert_eq!(left.first_seen_ms, at(20).as_millis());
    let events = records.events(&room(), Position(0), 100).await.unwrap();
    assert_eq!(events.rows.len(), 1);
}
