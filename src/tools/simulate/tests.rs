use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use mimamori_actors::domain::{Event, ExecutionStatus, Timestamp};
use serde_json::Value;

use super::*;

const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);

/// The first 40 minutes of a class of 60.
fn lesson(seed: u64) -> Vec<TimedEvent> {
    Class::new(seed, 60)
        .take_while(|event| event.at < Duration::from_secs(40 * 60))
        .collect()
}

fn executions(events: &[TimedEvent]) -> impl Iterator<Item = (&TimedEvent, &Execution)> {
    events.iter().filter_map(|event| match &event.fact {
        Fact::Executed(execution) => Some((event, execution)),
        Fact::Opened | Fact::Help | Fact::HelpStop => None,
    })
}

fn json(event: &TimedEvent) -> Value {
    serde_json::from_str(&event.to_json(START, 1.0)).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_class_and_another_seed_another() {
    assert_eq!(lesson(7), lesson(7));
    assert_ne!(lesson(7), lesson(8));
}

#[test]
fn events_come_in_the_order_in_which_they_are_sent() {
    assert!(lesson(1).is_sorted_by_key(|event| event.at));
}

#[test]
fn every_event_is_sent_after_the_delay_of_the_real_client_or_20_s_later() {
    let mut orders_turned = 0;
    let events = lesson(2);

    for event in &events {
        let late = match event.arrival {
            Arrival::Prompt => Duration::ZERO,
            Arrival::Late | Arrival::Repeated => Duration::from_secs(20),
            Arrival::Doubled => Duration::from_millis(2),
        };
        let delay = (event.at - event.happened - late).as_millis();
        assert!((200..=2_200).contains(&delay), "{delay} ms");
    }
    for pair in events.windows(2) {
        orders_turned += usize::from(pair[0].happened > pair[1].happened);
    }
    assert!(orders_turned > 100, "events never come out of order");
}

#[test]
fn some_events_come_late_and_some_twice_with_the_same_content() {
    let events = lesson(3);
    let mut bodies: HashMap<u128, String> = HashMap::new();

    for event in &events {
        let body = event.to_json(START, 1.0);
        let first = bodies.insert(event.id, body.clone());
        assert_eq!(first.is_some(), event.arrival.is_duplicate());
        assert!(first.is_none_or(|first| first == body));
    }

    let kinds: HashMap<_, usize> = events.iter().fold(HashMap::new(), |mut kinds, event| {
        *kinds.entry(format!("{:?}", event.arrival)).or_default() += 1;
        kinds
    });
    assert_eq!(kinds.len(), 4, "{kinds:?}");
}

#[test]
fn after_the_cell_that_fails_run_all_runs_none_and_the_extension_sends_no_count() {
    let events = lesson(4);
    let mut skipped = 0;

    for (event, execution) in executions(&events) {
        let sent = json(event);
        if matches!(execution.outcome, Outcome::Skipped | Outcome::NotRun) {
            assert_eq!(sent.get("executionCount"), None);
            assert_eq!(sent["hasError"], false);
        } else {
            assert!(sent["executionCount"].is_u64());
        }
        if execution.outcome == Outcome::Skipped {
            skipped += 1;
            assert!(follows_an_error(&events, event, execution));
        }
    }
    assert!(skipped > 20, "only {skipped} cells were skipped");
}

/// Whether an earlier cell of the same notebook failed just before.
fn follows_an_error(events: &[TimedEvent], skipped: &TimedEvent, execution: &Execution) -> bool {
    executions(events).any(|(event, failed)| {
        let cells = (execution.cell_index - failed.cell_index.min(execution.cell_index)) as u64;
        matches!(failed.outcome, Outcome::Error(..))
            && cells > 0
            && event.student == skipped.student
            && event.notebook == skipped.notebook
            && event.happened + Duration::from_millis(7 * cells) == skipped.happened
    })
}

#[test]
fn the_domain_reads_out_of_each_event_what_really_happened() {
    for (event, execution) in executions(&lesson(5)) {
        let read: Event = serde_json::from_value(json(event)).unwrap();

        let expected = match execution.outcome {
            Outcome::Ok(_) => ExecutionStatus::Ok,
            Outcome::Error(_, error) if error.starts_with("KeyboardInterrupt") => {
                ExecutionStatus::Interrupted
            }
            Outcome::Error(..) => ExecutionStatus::Error,
            Outcome::Skipped => ExecutionStatus::Skipped,
            Outcome::NotRun => ExecutionStatus::NotRun,
        };
        assert_eq!(read.execution_status(), Some(expected));
        assert!(read.metadata.is_empty());
    }
}

#[test]
fn a_call_for_help_beats_every_10_s_and_ends_by_a_word_or_in_silence() {
    let mut calls: BTreeMap<u128, Vec<(Duration, bool)>> = BTreeMap::new();
    for event in lesson(6)
        .into_iter()
        .filter(|event| !event.arrival.is_duplicate())
    {
        let is_beat = match event.fact {
            Fact::Help => true,
            Fact::HelpStop => false,
            Fact::Opened | Fact::Executed(_) => continue,
        };
        calls
            .entry(event.student.client_session)
            .or_default()
            .push((event.happened, is_beat));
    }
    let (mut words, mut silences) = (0, 0);

    for call in calls.values_mut() {
        call.sort();
        words += call.iter().filter(|(_, is_beat)| !is_beat).count();
        for pair in call.windows(2).filter(|pair| pair[0].1 && pair[1].1) {
            match pair[1].0 - pair[0].0 {
                beat if beat == Duration::from_secs(10) => {}
                silence => {
                    assert!(silence >= Duration::from_secs(60), "{silence:?}");
                    silences += 1;
                }
            }
        }
    }

    assert!(
        words > 5 && silences > 0,
        "{words} words, {silences} silences"
    );
}

#[test]
fn the_class_begins_with_a_wave_of_opened_notebooks() {
    let opened: HashSet<_> = lesson(8)
        .into_iter()
        .take_while(|event| event.at < Duration::from_secs(30))
        .filter(|event| event.fact == Fact::Opened)
        .map(|event| event.student.address.clone())
        .collect();

    assert!(opened.len() > 40, "only {} of 60 came", opened.len());
}

#[test]
fn the_cells_of_an_event_belong_to_its_notebook() {
    let mut notebooks: HashMap<&str, BTreeSet<&str>> = HashMap::new();
    for (event, execution) in executions(&lesson(9)) {
        notebooks
            .entry(event.notebook)
            .or_default()
            .insert(&execution.cell_id[..1]);
    }

    assert_eq!(notebooks.len(), 3);
    assert!(
        notebooks.values().all(|prefixes| prefixes.len() == 1),
        "{notebooks:?}"
    );
}

#[test]
fn two_people_left_the_default_address_and_are_one_student() {
    let people = |students| {
        let events =
            Class::new(10, students).take_while(|event| event.at < Duration::from_secs(600));
        let profiles = events.map(|event| event.student);
        profiles
            .filter(|profile| profile.address == "student001@example.com")
            .map(|profile| (profile.client_session, profile.name.clone()))
            .collect::<BTreeSet<_>>()
            .len()
    };

    assert_eq!((people(60), people(9)), (2, 0));
}

#[test]
fn students_have_addresses_of_their_own_and_japanese_names() {
    let events = lesson(10);
    let profiles: HashMap<_, _> = events
        .iter()
        .map(|event| (&event.student.address, &event.student))
        .collect();

    assert_eq!(profiles.len(), 60);
    assert!(profiles.values().all(|profile| !profile.name.is_ascii()));
}

/// The fields of a recorded request of the real extension, in their order.
fn recorded_fields(fixture: &str) -> Vec<String> {
    let path = format!(
        "{}/tests/fixtures/cell-monitor/{fixture}",
        env!("CARGO_MANIFEST_DIR")
    );
    fields(&std::fs::read_to_string(path).unwrap(), "  ")
}

/// Names at this depth of pretty-printed JSON, in the order in which they stand.
fn fields(pretty: &str, indent: &str) -> Vec<String> {
    pretty
        .lines()
        .filter_map(|line| line.strip_prefix(indent)?.strip_prefix(" \""))
        .filter_map(|rest| Some(rest.split_once("\":")?.0.to_owned()))
        .filter(|name| {
            !name.contains('-') && name != "connection" && name != "accept" && name != "origin"
        })
        .collect()
}

#[test]
fn the_wire_form_has_the_fields_of_the_real_extension_in_its_order() {
    let events = lesson(11);
    let sent = |is_wanted: &dyn Fn(&Fact) -> bool| {
        let event = events.iter().find(|event| is_wanted(&event.fact)).unwrap();
        let text = event.to_json(START, 1.0);
        let mut at: Vec<_> = json(event)
            .as_object()
            .unwrap()
            .keys()
            .map(|name| (text.find(&format!("\"{name}\":")).unwrap(), name.clone()))
            .collect();
        at.sort();
        at.into_iter().map(|(_, name)| name).collect::<Vec<_>>()
    };
    let ended = |wanted: fn(&Outcome) -> bool| move |fact: &Fact| matches!(fact, Fact::Executed(execution) if wanted(&execution.outcome));

    assert_eq!(
        sent(&|fact| *fact == Fact::Opened),
        recorded_fields("02-notebook_opened.json")
    );
    assert_eq!(
        sent(&|fact| *fact == Fact::Help),
        recorded_fields("27-help_t0.json")
    );
    assert_eq!(
        sent(&ended(|outcome| matches!(outcome, Outcome::Ok(_)))),
        recorded_fields("04-cell_execute_result.json")
    );
    assert_eq!(
        sent(&ended(|outcome| matches!(outcome, Outcome::Error(..)))),
        recorded_fields("06-cell_error.json")
    );
    assert_eq!(
        sent(&ended(|outcome| *outcome == Outcome::Skipped)),
        recorded_fields("20-run_all_cell-display_cancelled_after_error.json")
    );
}

#[test]
fn the_same_class_sent_again_later_has_other_ids() {
    let event = Class::new(1, 1).next().unwrap();
    let later = START.plus(Duration::from_secs(1));

    let first: Value = serde_json::from_str(&event.to_json(START, 1.0)).unwrap();
    let second: Value = serde_json::from_str(&event.to_json(later, 1.0)).unwrap();

    assert_ne!(first["eventId"], second["eventId"]);
    assert_eq!(first["eventId"].as_str().unwrap().len(), 36);
}

#[test]
fn a_faster_class_has_its_times_closer_together() {
    let event = Class::new(1, 1).nth(5).unwrap();

    let read: Event = serde_json::from_str(&event.to_json(START, 10.0)).unwrap();

    assert_eq!(
        read.time.since(START),
        Duration::from_millis(event.happened.as_millis() as u64 / 10)
    );
}

#[test]
fn the_path_of_ingest_is_added_where_only_a_base_was_given() {
    let with_path = |text: &str| ingest_address(text.parse().unwrap()).to_string();

    assert_eq!(with_path("http://h:1"), "http://h:1/api/v1/events");
    assert_eq!(
        with_path("http://h:1/k/KEY/"),
        "http://h:1/k/KEY/api/v1/events"
    );
    assert_eq!(
        with_path("http://h:1/x/k/KEY"),
        "http://h:1/x/k/KEY/api/v1/events"
    );
    assert_eq!(
        with_path("http://h:1/k/KEY/api/v1/events"),
        "http://h:1/k/KEY/api/v1/events"
    );
    assert_eq!(
        with_path("http://h:1/?key=K"),
        "http://h:1/api/v1/events?key=K"
    );
    assert_eq!(with_path("http://h:1/other"), "http://h:1/other");
}

mod sending {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use warp::Filter;
    use warp::http::StatusCode;

    use super::*;

    /// A server that answers the n-th request with this.
    async fn server(answer: fn(usize) -> StatusCode) -> SocketAddr {
        let asked = Arc::new(AtomicUsize::new(0));
        let route = warp::body::json().map(move |events: Vec<Event>| {
            let number = asked.fetch_add(1, Ordering::SeqCst);
            let body =
                serde_json::json!({ "accepted": events.len(), "duplicates": 0, "rejected": [] });
            warp::reply::with_status(warp::reply::json(&body), answer(number))
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(warp::serve(route).incoming(listener).run());
        address
    }

    /// So fast a class that a moment of it has many events.
    async fn send_to(address: SocketAddr, duration: Duration) -> Tally {
        let settings = Settings {
            students: 20,
            speed: 100.0,
            url: format!("http://{address}/k/KEY/api/v1/events")
                .parse()
                .unwrap(),
            duration: Some(duration),
            seed: 1,
            print_every: None,
        };
        run(settings, std::future::pending()).await.unwrap()
    }

    #[tokio::test]
    async fn every_event_that_was_sent_is_accounted_for() {
        let address = server(|_| StatusCode::ACCEPTED).await;

        let tally = send_to(address, Duration::from_millis(600)).await;

        assert!(tally.sent > 30, "{tally}");
        assert_eq!(tally.accepted, tally.sent);
        assert_eq!((tally.refused, tally.errors, tally.lost), (0, 0, 0));
    }

    #[tokio::test]
    async fn what_a_server_cannot_take_now_is_sent_again() {
        let address = server(|number| match number % 10 {
            0 => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::ACCEPTED,
        })
        .await;

        let tally = send_to(address, Duration::from_millis(400)).await;

        assert!(tally.errors > 0, "{tally}");
        assert_eq!((tally.accepted, tally.lost), (tally.sent, 0), "{tally}");
    }

    #[tokio::test]
    async fn what_a_server_refuses_is_not_sent_again() {
        let address = server(|_| StatusCode::UNAUTHORIZED).await;

        let tally = send_to(address, Duration::from_millis(400)).await;

        assert!(tally.sent > 0);
        assert_eq!((tally.refused, tally.errors), (tally.sent, 0), "{tally}");
    }
}
