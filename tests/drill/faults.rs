//! Actors that fail, with the figures that are promised: the tests' own code, alone on the machine.

use std::time::Duration;

use crate::it::faults::{Delay, ends, others, sessions};
use crate::report::{Drill, Figure, Outcome};

/// Nobody else waits for longer because of a session.
const SESSION: Duration = Duration::from_secs(1);
/// Nor because of the router or a classroom.
const ROUTER_OR_CLASSROOM: Duration = Duration::from_secs(3);
/// What has no place in the live path delays nobody: as on any day.
const NOBODY: Duration = Duration::from_secs(1);
/// A disk may hang for so long.
const PATIENCE: Duration = Duration::from_secs(30);
/// It is found, ended and replaced, or the process has ended.
const OVER: Duration = Duration::from_secs(36);

pub fn drills() -> Vec<Drill> {
    vec![
        Drill::new(
            "actors",
            "a session panics, waits for ever, never returns; the router and a classroom panic and wait for ever",
            "others wait for less than 1 s, of the router and a classroom 3 s; nothing is lost",
            actors,
        ),
        Drill::new(
            "frozen",
            "a writer waits for ever; every thread of the tree is held",
            "consoles do not notice; after 30 s the writer is replaced, the process ends; health answers till then",
            frozen,
        ),
    ]
}

async fn actors() -> Outcome {
    let mut outcome = Outcome::default();
    for how in ["panic", "hang", "block"] {
        let delay = sessions::fails_at_an_event(how).await;
        outcome = outcome.with(waits(&format!("{how} of a session"), delay, SESSION));
    }
    for (who, name) in [("router", "router"), ("classroom", "classroom/default")] {
        for how in ["panic", "hang"] {
            let delay = others::fails_once(how, who, name).await;
            let what = format!("{how} of the {who}");
            outcome = outcome.with(waits(&what, delay, ROUTER_OR_CLASSROOM));
        }
    }
    outcome
}

async fn frozen() -> Outcome {
    let (delay, replaced_after) = others::writer_waits_for_ever(&[]).await;
    let ended_after = ends::tree_is_blocked(&[]).await;
    Outcome::default()
        .with(waits("hang of a writer", delay, NOBODY))
        .with(in_time("the writer is replaced", replaced_after))
        .with(in_time("the process ends", ended_after))
}

fn waits(what: &str, delay: Delay, most: Duration) -> Figure {
    Figure {
        what: format!("another student, {what}"),
        value: format!("{:.2} s", delay.longest.as_secs_f64()),
        target: format!("< {:.0} s", most.as_secs_f64()),
        is_met: delay.longest < most,
    }
}

fn in_time(what: &str, after: Duration) -> Figure {
    Figure {
        what: what.to_owned(),
        value: format!("after {:.1} s", after.as_secs_f64()),
        target: format!("{} to {} s", PATIENCE.as_secs(), OVER.as_secs()),
        is_met: (PATIENCE..OVER).contains(&after),
    }
}
