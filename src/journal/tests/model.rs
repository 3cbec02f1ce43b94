//! The journal against a model: whatever is done to it and to its files, in
//! whatever order, what it promises holds after every step.
//!
//! Actions are generated and, when a promise breaks, made fewer and smaller
//! until the shortest story is left. The journal is the real one on real
//! files; only where the file system fails is a fake ([`disk::FaultyDisk`]),
//! which also remembers what a power loss may take. Nothing here knows how the
//! journal works inside but for [`steps::Rig::tick`] and the place of frames in
//! a file.
//!
//! `MIMAMORI_DRILL_ROUNDS` says how many thousand cases to try; without it a few hundred.

mod actions;
mod disk;
mod expect;
mod files;
mod steps;

use proptest::test_runner::{Config, TestCaseError, TestRunner};

use actions::Action;
use steps::Rig;

/// How many cases a usual run takes.
const CASES: u32 = 500;

fn cases() -> u32 {
    let thousands = std::env::var("MIMAMORI_DRILL_ROUNDS");
    let thousands = thousands.ok().and_then(|rounds| rounds.parse::<u32>().ok());
    thousands.map_or(CASES, |thousands| thousands.saturating_mul(1000))
}

fn play(actions: &[Action]) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let told = runtime.block_on(async {
        let mut rig = Rig::new();
        for (number, action) in actions.iter().enumerate() {
            rig.act(action)
                .await
                .and(rig.check().await)
                .map_err(|broken| format!("after action {number}, {action:?}: {broken}"))?;
        }
        Ok::<_, String>(())
    });
    told.map_err(TestCaseError::fail)
}

#[test]
fn whatever_happens_the_journal_keeps_its_promises() {
    let mut runner = TestRunner::new(Config {
        cases: cases(),
        failure_persistence: None,
        max_shrink_iters: 2000,
        ..Config::default()
    });
    let stories = proptest::collection::vec(actions::action(), 1..25);

    let outcome = runner.run(&stories, |actions| play(&actions));

    if let Err(broken) = outcome {
        panic!("{broken}");
    }
}
