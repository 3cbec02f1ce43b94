//! Several people under one address.

use std::sync::Arc;

use super::*;

fn of(session: &str, name: &str, notebook: &str) -> Event {
    Event {
        client_session: text(session),
        name: text(name),
        ..run(notebook, "a", false)
    }
}

impl Bench {
    fn work(&mut self, session: &str, name: &str) -> &mut Self {
        self.wait(10).late(500, of(session, name, "nb.ipynb"));
        self
    }

    fn names(&self) -> Vec<Arc<str>> {
        let people = self.view().people;
        people.into_iter().map(|person| person.name).collect()
    }
}

#[test]
fn two_names_in_turn_are_two_people_and_are_listed_apart() {
    let mut bench = Bench::new();
    bench.wait(5).late(500, of("s1", "花子", "nb.ipynb"));
    bench.wait(5).late(500, of("s2", "太郎", "other.ipynb"));
    bench.wait(5).late(500, of("s1", "花子", "nb.ipynb"));
    assert!(bench.names().is_empty());

    let outcome = bench.wait(4).housekeep();

    assert_eq!(said_by(&outcome), ["alert open"]);
    assert_eq!(bench.alert_kinds(), ["shared_identity"]);
    assert_eq!(bench.names(), ["太郎", "花子"].map(Arc::from));
    let people = bench.view().people;
    assert_eq!(people[0].notebook.as_deref(), Some("other.ipynb"));
    assert_eq!(people[1].notebook.as_deref(), Some("nb.ipynb"));
    assert!(people[1].last_activity > people[0].last_activity);
    assert_eq!(bench.view().status(bench.heard()), StudentStatus::Active);
}

#[test]
fn two_browsers_under_one_name_are_told_apart_by_their_sessions() {
    let mut bench = Bench::new();
    bench
        .work("s1", "花子")
        .work("s2", "花子")
        .work("s1", "花子");
    bench.wait(4).housekeep();

    assert_eq!(bench.alert_kinds(), ["shared_identity"]);
    assert_eq!(bench.names(), ["花子", "花子"].map(Arc::from));
}

#[test]
fn a_page_that_was_loaded_again_is_not_two_people() {
    let mut bench = Bench::new();
    bench.work("s1", "花子").work("s1", "花子");
    // the last event of the old page is on its way for longer than the first of the new one
    bench.wait(5).late(200, of("s2", "花子", "nb.ipynb"));
    bench.wait(1).late(2_100, of("s1", "花子", "nb.ipynb"));
    bench.work("s2", "花子").work("s2", "花子");
    bench.wait(4).housekeep();

    assert!(bench.alert_kinds().is_empty());
    assert!(bench.names().is_empty());
}

#[test]
fn a_name_in_other_letters_and_one_that_is_not_said_are_no_difference() {
    let mut bench = Bench::new();
    bench.work("s1", "Ｈａｎａｋｏ").work("s1", "Hanako");
    let nameless = Event {
        name: None,
        client_session: None,
        ..of("", "", "nb.ipynb")
    };
    bench.wait(5).late(500, nameless);
    bench.work("s1", "Ｈａｎａｋｏ");
    bench.wait(4).housekeep();

    assert!(bench.alert_kinds().is_empty());
}

#[test]
fn who_comes_back_after_two_minutes_was_not_there_at_the_same_time() {
    let mut bench = Bench::new();
    bench.work("s1", "花子").work("s2", "太郎");
    bench.wait(120).work("s1", "花子");
    bench.wait(4).housekeep();

    assert!(bench.alert_kinds().is_empty());
}

#[test]
fn the_alert_closes_when_one_has_been_alone_for_half_an_hour() {
    let mut bench = Bench::new();
    bench
        .work("s1", "花子")
        .work("s2", "太郎")
        .work("s1", "花子");
    for _ in 0..40 {
        bench.wait(50).work("s1", "花子");
    }

    assert!(bench.alert_kinds().is_empty());
    assert!(bench.names().is_empty());
}

#[test]
fn of_many_people_the_eight_heard_last_are_listed() {
    let mut bench = Bench::new();
    for n in (0..20).chain(10..20) {
        bench
            .wait(1)
            .late(0, of(&format!("s{n}"), &format!("n{n}"), "nb.ipynb"));
    }
    bench
        .work("s18", "n18")
        .work("s19", "n19")
        .work("s18", "n18");
    bench.wait(4).housekeep();

    assert_eq!(bench.names().len(), MAX_SOURCES);
}

#[test]
fn a_default_address_is_marked() {
    let mut bench = Bench::new();
    bench.ok("a");
    assert!(!bench.view().is_default_address);

    bench.event(Event {
        address: "student001@example.com".to_owned(),
        ..run("nb.ipynb", "a", false)
    });

    assert!(bench.view().is_default_address);
    let json = serde_json::to_value(bench.view().to_student(bench.heard())).unwrap();
    assert_eq!(json["isDefaultAddress"], true);
    assert_eq!(json.get("people"), None);
}
