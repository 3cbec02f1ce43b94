//! A mirror says what the feed says that it follows.

use proptest::prelude::*;

use super::*;

fn frames(resume: Resume) -> Result<Vec<Bytes>, &'static str> {
    match resume {
        Resume::Deltas(deltas) => Ok(deltas.iter().map(|delta| delta.frame.clone()).collect()),
        Resume::Reset { reason } => Err(reason),
    }
}

/// As it comes out of another process.
fn read(delta: &Delta) -> Arc<Delta> {
    Arc::new(Delta::read(delta.frame.clone()).unwrap())
}

proptest! {
    /// Whenever it is opened, and from whichever cursor a console resumes: the same bytes, as
    /// long as nothing is so old that the feed forgets it.
    #[test]
    fn a_mirror_and_its_feed_cannot_be_told_apart(
        steps in prop::collection::vec((0..6_u8, 0..8_u8, 0..400_i64), 1..60),
        opened_after in 0..60_usize,
        remember in 1..40_usize,
    ) {
        let limits = FeedLimits {
            remember_deltas: remember,
            remember_for: Duration::from_secs(365 * 24 * 60 * 60),
            recent: 5,
            ..FeedLimits::default()
        };
        let mut feed = Feed::new(classroom(), "e".to_owned(), limits);
        let mut mirror: Option<Mirror> = None;
        let mut told = Vec::new();
        let (mut now, mut position) = (0, 0);
        for (nth, (student, what, wait)) in steps.into_iter().enumerate() {
            now += wait;
            position += 1;
            match what {
                0 => feed.remove(&StudentId::new(student.to_string())),
                1 => {
                    let mut changed = update(&student.to_string(), position, position, now);
                    changed.alerts = vec![alert(&student.to_string(), AlertState::Open)];
                    feed.apply(changed, at(now));
                }
                _ => feed.apply(update(&student.to_string(), position, position, now), at(now)),
            }
            if let Some(delta) = feed.tick(at(now)) {
                let delta = read(&delta);
                if let Some(mirror) = &mut mirror {
                    prop_assert_eq!(mirror.apply(&delta), Applied::Next);
                }
                told.push(delta);
            }
            if nth == opened_after {
                let opening = Opening::read(&feed.opening(at(now)).frame()).unwrap();
                let mut opened = Mirror::new(opening, limits);
                opened.remember_earlier(&told);
                mirror = Some(opened);
            }
        }
        let Some(mut mirror) = mirror else { return Ok(()) };
        prop_assert_eq!(mirror.snapshot(), feed.snapshot(at(now)));
        prop_assert_eq!(mirror.cursor(), feed.cursor());
        for seq in 0..=feed.cursor().seq + 1 {
            let since = Cursor { epoch: "e".to_owned(), seq };
            prop_assert_eq!(frames(mirror.resume(&since)), frames(feed.resume(&since)), "{}", seq);
        }
    }
}

#[test]
fn a_delta_that_does_not_follow_changes_nothing() {
    let mut feed = feed();
    feed.apply(update("a", 1, 1, 0), at(0));
    let first = feed.tick(at(0)).unwrap();
    let mut mirror = Mirror::new(feed.opening(at(0)), FeedLimits::default());
    feed.apply(update("a", 2, 2, 1), at(1));
    feed.tick(at(1)).unwrap();
    feed.apply(update("a", 3, 3, 2), at(2));
    let third = feed.tick(at(2)).unwrap();
    let before = mirror.snapshot();
    let mut other = Feed::new(classroom(), "epoch-2".to_owned(), FeedLimits::default());
    other.apply(update("a", 1, 1, 0), at(0));
    let of_other = other.tick(at(0)).unwrap();

    let applied = [&first, &third, &of_other].map(|delta| mirror.apply(delta));

    assert_eq!(applied, [Applied::Known, Applied::Gap, Applied::Gap]);
    assert_eq!(mirror.snapshot(), before);
}

#[test]
fn what_is_remembered_from_before_is_an_unbroken_run_up_to_the_opening() {
    let mut feed = feed();
    let told: Vec<_> = (1..=5)
        .map(|nth| {
            feed.apply(update("a", nth, nth, 0), at(0));
            feed.tick(at(0)).unwrap()
        })
        .collect();
    let mut mirror = Mirror::new(feed.opening(at(0)), FeedLimits::default());

    mirror.remember_earlier(&[&told[..2], &told[3..]].concat());

    let since = |seq| Cursor {
        epoch: "epoch-1".to_owned(),
        seq,
    };
    assert_eq!(frames(mirror.resume(&since(2))), Err("forgotten"));
    assert_eq!(frames(mirror.resume(&since(3))).unwrap().len(), 2);
}

#[test]
fn what_is_no_frame_is_refused_without_repeating_it() {
    let refused = Delta::read(Bytes::from_static(b"{\"classroom\":\"Hanako\"")).unwrap_err();

    assert!(!refused.to_string().contains("Hanako"), "{refused}");
    assert!(Opening::read(b"[]").is_err());
}
