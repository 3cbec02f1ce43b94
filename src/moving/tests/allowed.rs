//! What was erased here, and what is past its term.

use mimamori_actors::domain::SessionKey;

use super::*;
use crate::erasure::list::{Erasure, Stage};

on_either!(
    who_was_erased_here_does_not_come_back,
    what_somebody_did_after_they_were_erased_comes_over,
    what_is_past_its_term_stays_where_it_is,
);

impl House {
    async fn bring_allowed(&self, allowed: Allowed) -> Report {
        let target = Target {
            allowed,
            ..self.target()
        };
        self.bring_to(&target, false, "UTC").await.unwrap()
    }

    /// Hanako was erased at this time.
    fn without_hanako(&self, at: &str) -> Allowed {
        let hanako = Erasure {
            key: SessionKey {
                classroom: samples::room(),
                student: self.student("hanako@example.ac.jp"),
            },
            through: Position(1),
            at: time(at),
            stage: Stage::Done,
        };
        Allowed::new(&samples::room(), &[hanako], None)
    }

    async fn knows_hanako(&self) -> bool {
        let students = self.records.students(&samples::room()).await.unwrap();
        let hanako = self.student("hanako@example.ac.jp");
        students.iter().any(|it| it.student_id() == hanako)
    }
}

async fn who_was_erased_here_does_not_come_back(on: On) {
    let house = House::new(on).await;
    let allowed = house.without_hanako("2026-05-01T00:00:00Z");

    let report = house.bring_allowed(allowed).await;

    let told = report.to_string();
    assert!(report.adds_up(), "{told}");
    assert!(
        told.contains("  4 because their student was erased here since: x-1, x-2, x-3, iii"),
        "{told}"
    );
    assert!(
        told.contains("1 students were erased here or are past their term"),
        "{told}"
    );
    assert!(!house.knows_hanako().await);
    let hanako = house.student("hanako@example.ac.jp");
    let rows = house.executions().await;
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| row.student != hanako.as_str()));
    assert_eq!(house.runs_counted().await, 1);
}

async fn what_somebody_did_after_they_were_erased_comes_over(on: On) {
    let house = House::new(on).await;
    let allowed = house.without_hanako("2026-04-10T01:00:30Z");

    let report = house.bring_allowed(allowed).await;

    assert!(
        report
            .to_string()
            .contains("  1 because their student was erased here since: x-1")
    );
    assert_eq!(report.added(), 6);
    assert!(house.knows_hanako().await);
}

async fn what_is_past_its_term_stays_where_it_is(on: On) {
    let house = House::new(on).await;
    let allowed = Allowed::new(&samples::room(), &[], Some(time("2026-04-10T01:03:30Z")));

    let report = house.bring_allowed(allowed).await;

    let told = report.to_string();
    assert!(
        told.contains("  4 because they are past the term"),
        "{told}"
    );
    assert!(report.adds_up() && report.added() == 3, "{told}");
    assert_eq!(house.executions().await.len(), 3);
    // who did something within 48 h of it is named as long as retention names them
    assert_eq!(
        house.records.student_count(&samples::room()).await.unwrap(),
        2
    );
}
