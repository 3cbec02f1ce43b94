use mimamori_actors::domain::{
    ClassroomId, Event, ExecutionStatus, Output, Position, SessionKey, Timestamp,
};
use mimamori_actors::ports::Backfill;
use sea_orm::ConnectionTrait;
use serde_json::json;

use super::*;
use crate::storage::records::ExecutionFilter;
use crate::storage::records::read::{DeadLetterRow, ExecutionRow, HelpRow, LessonRow, RejectedRow};
use crate::storage::samples::execution;

on_each!(
    events_give_back_their_wire_form_whatever_their_kind,
    hostile_texts_are_stored_and_searched_as_they_are,
    a_search_takes_signs_of_patterns_literally_and_case_aside,
    filters_narrow_and_paths_are_compared_in_nfkc,
    pages_stay_as_they_were_while_rows_are_added,
    a_page_ends_before_it_grows_too_large,
    open_requests_come_first_and_old_ones_only_when_no_range_was_asked_for,
    an_open_session_counts_its_events_and_an_ended_one_tells_them,
    a_cell_shows_its_last_status_and_how_often_it_ran,
    totals_go_by_the_range,
    a_time_that_cannot_be_is_placed_by_its_receipt,
    readers_cannot_write,
    every_list_gives_back_what_was_written_and_goes_on_behind_it,
    a_store_is_filled_again_with_what_stood_in_the_journal,
);

async fn events_give_back_their_wire_form_whatever_their_kind(on: On) {
    let (_home, records) = records(on).await;
    let mut odd: Event = help_beat(2, 1);
    odd.code = Some("print(1)".to_owned());
    odd.result = Some(Output::One("1".to_owned()));
    odd.metadata
        .insert("deep".to_owned(), json!({"n": [1.5, null]}));
    odd.cut = vec!["code".to_owned()];
    let bare: Event = serde_json::from_value(json!({
        "eventId": "bare",
        "eventType": "cell_executed",
        "eventTime": at(3),
        "emailAddress": "student001@example.com",
    }))
    .unwrap();
    let sent = [execution(1, 1), odd, bare];
    let entries: Vec<_> = (1..)
        .zip(&sent)
        .map(|(n, it)| event(n, 1, it.clone()))
        .collect();

    write(&records, &entries).await;

    let found = records.events(&room(), Position::ZERO, 10).await.unwrap();
    let back: Vec<Event> = found.rows.into_iter().map(|it| it.event).collect();
    assert_eq!(back, sent);
}

async fn hostile_texts_are_stored_and_searched_as_they_are(on: On) {
    let (_home, records) = records(on).await;
    let names = [
        "'; DROP TABLE events; --",
        "100%_\\ \"quoted\" `ticks`",
        "\u{202e}右から左\u{0007}\n\t",
        "👩🏽‍🏫".repeat(64).as_str(),
    ]
    .map(str::to_owned);
    let mut entries = Vec::new();
    for (number, name) in (1..).zip(&names) {
        let mut hostile = execution(number, number);
        hostile.name = Some(name.clone());
        hostile.team = Some(name.clone());
        hostile.notebook = Some(name.clone());
        hostile.cell_id = Some(name.clone());
        hostile.code = Some(name.clone());
        entries.push(event(number, number, hostile));
    }
    write(&records, &entries).await;

    for (number, name) in (1..).zip(&names) {
        let filter = ExecutionFilter {
            query: Some(name.clone()),
            notebook: Some(name.clone()),
            cell: Some(name.clone()),
            ..ExecutionFilter::default()
        };
        let found = records
            .executions(&room(), ALL_DAY, &filter, None, 10)
            .await
            .unwrap();
        let students: Vec<_> = found.rows.iter().map(|row| row.student.as_str()).collect();
        assert_eq!(students, [student(number).as_str()], "{name:?}");
    }
}

async fn a_search_takes_signs_of_patterns_literally_and_case_aside(on: On) {
    let (_home, records) = records(on).await;
    write(
        &records,
        &[
            failed(1, 1, "NameError: 5% of x_y"),
            failed(2, 1, "50 of xzy"),
        ],
    )
    .await;

    for (query, expected) in [
        ("5%", 1),
        ("X_Y", 1),
        ("nameERROR", 1),
        ("of x", 2),
        ("RANGE(2)", 1),
    ] {
        let filter = ExecutionFilter {
            query: Some(query.to_owned()),
            ..ExecutionFilter::default()
        };
        let found = records
            .executions(&room(), ALL_DAY, &filter, None, 10)
            .await
            .unwrap();
        assert_eq!(found.rows.len(), expected, "{query}");
    }
}

async fn filters_narrow_and_paths_are_compared_in_nfkc(on: On) {
    let (_home, records) = records(on).await;
    let mut decomposed = execution(1, 1);
    decomposed.notebook = Some("か\u{3099}.ipynb".to_owned());
    let entries = [event(1, 1, decomposed), failed(2, 2, "E"), executed(3, 2)];
    write(&records, &entries).await;
    let count = async |filter: ExecutionFilter, range| {
        records
            .executions(&room(), range, &filter, None, 10)
            .await
            .unwrap()
            .rows
            .len()
    };

    let composed = ExecutionFilter {
        notebook: Some("が.ipynb".to_owned()),
        ..ExecutionFilter::default()
    };
    let failing = ExecutionFilter {
        status: Some(ExecutionStatus::Error),
        student: Some(student(2)),
        ..ExecutionFilter::default()
    };
    let until_third = TimeRange {
        from: at(2),
        to: Some(at(3)),
    };
    assert_eq!(count(composed, ALL_DAY).await, 1);
    assert_eq!(count(failing, ALL_DAY).await, 1);
    assert_eq!(count(ExecutionFilter::default(), until_third).await, 1);
    let other = ClassroomId::new("other");
    let found = records.events(&other, Position::ZERO, 10).await.unwrap();
    assert_eq!(found.rows.len(), 0);
}

async fn pages_stay_as_they_were_while_rows_are_added(on: On) {
    let (_home, records) = records(on).await;
    let same_time = |position| {
        let mut it = execution(position, 1);
        it.time = at(5);
        event(position, 1, it)
    };
    write(&records, &(1..=10).map(same_time).collect::<Vec<_>>()).await;
    let filter = ExecutionFilter::default();
    let mut seen = Vec::new();
    let mut after = None;

    for added in 11.. {
        let page = records
            .executions(&room(), ALL_DAY, &filter, after, 3)
            .await
            .unwrap();
        seen.extend(page.rows.iter().map(|row| row.position));
        after = page.rows.last().map(ExecutionRow::key);
        if !page.has_more {
            break;
        }
        write(&records, &[same_time(added)]).await;
    }

    assert_eq!(seen, (1..=10).rev().collect::<Vec<i64>>());
}

async fn a_page_ends_before_it_grows_too_large(on: On) {
    let (_home, records) = records(on).await;
    let large = |position| {
        let mut it = execution(position, 1);
        it.code = Some("x".repeat(256 * 1024));
        it.error_message = it.code.clone();
        it.result = it.code.clone().map(Output::One);
        event(position, 1, it)
    };
    write(&records, &(1..=16).map(large).collect::<Vec<_>>()).await;

    let page = records
        .events(&room(), Position::ZERO, 1_000)
        .await
        .unwrap();

    assert!(page.has_more);
    assert!((5..16).contains(&page.rows.len()), "{}", page.rows.len());
}

async fn open_requests_come_first_and_old_ones_only_when_no_range_was_asked_for(on: On) {
    let (_home, records) = records(on).await;
    let entries = [
        help_opened(1, "hlp_a"),
        help_opened(2, "hlp_b"),
        help_opened(3, "hlp_c"),
        help_ended(4, "hlp_c", 3),
        help_opened(5, "hlp_d"),
        help_ended(6, "hlp_d", 5),
    ];
    write(&records, &entries).await;
    let late = TimeRange {
        from: at(3),
        to: None,
    };
    let ids = async |range, and_all_open| -> Vec<String> {
        let page = records
            .help(&room(), range, and_all_open, None, 10)
            .await
            .unwrap();
        page.rows.into_iter().map(|row| row.id).collect()
    };

    assert_eq!(
        ids(ALL_DAY, false).await,
        ["hlp_b", "hlp_a", "hlp_d", "hlp_c"]
    );
    assert_eq!(ids(late, true).await, ["hlp_b", "hlp_a", "hlp_d", "hlp_c"]);
    assert_eq!(ids(late, false).await, ["hlp_d", "hlp_c"]);
    let first = records
        .help(&room(), ALL_DAY, false, None, 3)
        .await
        .unwrap();
    let key = first.rows.last().map(HelpRow::key);
    let second = records.help(&room(), ALL_DAY, false, key, 3).await.unwrap();
    assert_eq!(second.rows.len(), 1);
    assert_eq!(second.rows[0].id, "hlp_c");
}

async fn an_open_session_counts_its_events_and_an_ended_one_tells_them(on: On) {
    let (_home, records) = records(on).await;
    let key = SessionKey {
        classroom: room(),
        student: student(1),
    };
    let entries = [
        executed(1, 1),
        session_begun(2),
        executed(3, 1),
        executed(4, 2),
    ];
    write(&records, &entries).await;
    let open = records.sessions(&key, ALL_DAY).await.unwrap();

    write(&records, &[session_ended(5)]).await;

    let ended = records.sessions(&key, ALL_DAY).await.unwrap();
    assert_eq!((open[0].events, open[0].ended_ms), (2, None));
    assert_eq!(
        (ended[0].events, ended[0].ended_ms),
        (3, Some(at(7).as_millis()))
    );
}

async fn a_cell_shows_its_last_status_and_how_often_it_ran(on: On) {
    let (_home, records) = records(on).await;
    let key = SessionKey {
        classroom: room(),
        student: student(1),
    };
    // a cell of number 1, four times; skipped once, at the time of another; and one of number 2,
    // of which an earlier one came later
    let mut skipped = execution(22, 1);
    skipped.execution_count = None;
    skipped.time = at(15);
    let mut earlier = execution(23, 1);
    earlier.time = at(1);
    earlier.has_error = Some(true);
    earlier.error_message = Some("E".to_owned());
    let entries = [
        failed(1, 1, "E"),
        executed(2, 1),
        failed(8, 1, "E"),
        executed(15, 1),
        event(22, 1, skipped),
        event(23, 1, earlier),
    ];
    write(&records, &entries).await;

    let cells = records.cells(&key, ALL_DAY).await.unwrap();

    let shown: Vec<_> = cells
        .iter()
        .map(|it| (it.cell_id.as_deref(), it.status.as_str(), it.tries))
        .collect();
    assert_eq!(
        shown,
        [(Some("cell-1"), "skipped", 3), (Some("cell-2"), "ok", 2)]
    );
}

async fn totals_go_by_the_range(on: On) {
    let (_home, records) = records(on).await;
    let entries = [
        executed(1, 1),
        failed(2, 1, "E"),
        failed(3, 2, "KeyboardInterrupt: "),
        event(4, 3, help_beat(4, 3)),
        help_opened(5, "hlp_1"),
        help_ended(6, "hlp_1", 5),
        executed(9, 4),
    ];
    write(&records, &entries).await;
    let range = |from, to| TimeRange {
        from: at(from),
        to: Some(at(to)),
    };

    let all = records.totals(&room(), range(0, 9)).await.unwrap();
    let later = records.totals(&room(), range(7, 10)).await.unwrap();

    assert_eq!(
        (all.active, all.executions, all.errors, all.help),
        (3, 3, 1, 1)
    );
    assert_eq!(
        (later.active, later.executions, later.errors, later.help),
        (1, 1, 0, 0)
    );
}

async fn a_time_that_cannot_be_is_placed_by_its_receipt(on: On) {
    let (_home, records) = records(on).await;
    let mut ancient = execution(1, 1);
    ancient.time = Timestamp::from_millis(0);
    write(&records, &[event(1, 1, ancient)]).await;

    let found = records.events(&room(), Position::ZERO, 1).await.unwrap();

    assert_eq!(found.rows[0].at, at(1));
    assert_eq!(found.rows[0].event.time, Timestamp::from_millis(0));
}

async fn readers_cannot_write(on: On) {
    let (_home, records) = records(on).await;

    let reading = reading(&records);
    let refused = reading.execute_unprepared("DELETE FROM events").await;

    assert!(refused.is_err());
}

async fn every_list_gives_back_what_was_written_and_goes_on_behind_it(on: On) {
    let (_home, records) = records(on).await;
    write(&records, &mixed()).await;
    let room = room();

    let lessons = records.lessons(&room, ALL_DAY, None, 5).await.unwrap();
    let key = lessons.rows.last().map(LessonRow::key);
    let none = records.lessons(&room, ALL_DAY, key, 5).await.unwrap();
    assert_eq!((lessons.rows.len(), none.rows.len()), (1, 0));
    assert_eq!(lessons.rows[0].ended_by.as_deref(), Some("silence"));

    let rejected = records.rejected(&room, ALL_DAY, None, 5).await.unwrap();
    let key = rejected.rows.last().map(RejectedRow::key);
    let none = records.rejected(&room, ALL_DAY, key, 5).await.unwrap();
    assert_eq!((rejected.rows.len(), none.rows.len()), (1, 0));
    assert_eq!(rejected.rows[0].payload, "{\"eventType\": 7}");

    let letters = records.dead_letters(&room, ALL_DAY, None, 5).await.unwrap();
    let key = letters.rows.last().map(DeadLetterRow::key);
    let none = records.dead_letters(&room, ALL_DAY, key, 5).await.unwrap();
    assert_eq!((letters.rows.len(), none.rows.len()), (1, 0));
    assert_eq!(letters.rows[0].entry, 4);

    assert_eq!(records.student_count(&room).await.unwrap(), 2);
    let student = SessionKey {
        classroom: room,
        student: student(2),
    };
    let known = records.student(&student).await.unwrap().unwrap();
    assert_eq!(known.name.as_deref(), Some("山田花子2"));
}

async fn a_store_is_filled_again_with_what_stood_in_the_journal(on: On) {
    let (_home, records) = records(on).await;
    write(&records, &mixed()).await;

    let all = Backfill::read(&records, Position::ZERO, Position(13), 100).await;
    let first = Backfill::read(&records, Position::ZERO, Position(13), 2).await;

    let all = all.unwrap();
    let positions: Vec<u64> = all.entries.iter().map(|entry| entry.position.0).collect();
    assert_eq!(positions, [1, 4, 5, 6], "events, and the call for help");
    assert_eq!(all.through, Position(13));
    assert_eq!(all.entries[1].record, mixed()[3].record);
    assert_eq!(first.unwrap().through, Position(4));
}
