//! Whatever happens, snapshot and deltas tell the same.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Event(u8),
    Wait(u16),
    Tick,
    Remove(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..6_u8).prop_map(Step::Event),
        2 => (1..900_u16).prop_map(Step::Wait),
        4 => Just(Step::Tick),
        1 => (0..6_u8).prop_map(Step::Remove),
    ];
    prop::collection::vec(step, 0..120)
}

proptest! {
    /// A console that began at any seq and took every delta since stands where the snapshot stands.
    #[test]
    fn snapshot_and_deltas_agree(steps in steps(), remember in 1..200_usize) {
        let limits = FeedLimits { remember_deltas: remember, ..FeedLimits::default() };
        let mut feed = Feed::new(classroom(), "e".to_owned(), limits);
        let mut known: BTreeMap<String, Value> = BTreeMap::new();
        let (mut now, mut position, mut last_seq) = (0_i64, 0_u64, 0_u64);
        let mut counts = [0_u64; 6];
        for step in steps.into_iter().chain([Step::Tick]) {
            match step {
                Step::Event(student) => {
                    position += 1;
                    counts[usize::from(student)] += 1;
                    let executions = counts[usize::from(student)];
                    feed.apply(update(&student.to_string(), position, executions, now), at(now));
                }
                Step::Wait(seconds) => now += i64::from(seconds),
                Step::Remove(student) => feed.remove(&StudentId::new(student.to_string())),
                Step::Tick => if let Some(delta) = feed.tick(at(now)) {
                    prop_assert_eq!(delta.after, last_seq);
                    prop_assert_eq!(delta.seq, last_seq + 1);
                    last_seq = delta.seq;
                    let frame = parsed(&delta.frame);
                    for id in frame["removed"].as_array().unwrap() {
                        known.remove(id.as_str().unwrap());
                    }
                    for student in frame["students"].as_array().unwrap() {
                        let before = known.insert(student["id"].as_str().unwrap().to_owned(), student.clone());
                        prop_assert_ne!(before.as_ref(), Some(student));
                    }
                },
            }
        }
        let snapshot = parsed(&feed.snapshot(at(now)));
        let expected: Vec<_> = known.values().cloned().collect();
        prop_assert_eq!(snapshot["students"].as_array().unwrap(), &expected);
        for student in &expected {
            let last: Timestamp = student["lastActivity"].as_str().unwrap().parse().unwrap();
            let silence = at(now).since(Heard::of_wall(last));
            let status = if silence < Duration::from_secs(120) { "active" }
                else if silence < Duration::from_secs(1800) { "idle" } else { "offline" };
            prop_assert_eq!(student["status"].as_str().unwrap(), status);
        }
    }
}
