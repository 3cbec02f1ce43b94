//! However slow the console: the chain holds, and it ends where a fast one stands.

use super::*;

/// What an instructor's page does with the frames.
#[derive(Debug, Default)]
struct Page {
    seq: Option<u64>,
    students: BTreeMap<String, Value>,
}

impl Page {
    fn take(&mut self, frame: &Value) -> Result<(), TestCaseError> {
        match frame["type"].as_str().unwrap() {
            "reset" => *self = Self::default(),
            "snapshot" => {
                self.seq = frame["seq"].as_u64();
                let students = frame["students"].as_array().unwrap();
                for student in students {
                    self.put(student)?;
                }
                prop_assert_eq!(self.students.len(), students.len());
            }
            "delta" => {
                prop_assert_eq!(frame["after"].as_u64(), self.seq, "the chain");
                self.seq = frame["seq"].as_u64();
                for id in frame["removed"].as_array().unwrap() {
                    self.students.remove(id.as_str().unwrap());
                }
                for student in frame["students"].as_array().unwrap() {
                    self.put(student)?;
                }
            }
            "ack" => {}
            other => panic!("{other}"),
        }
        Ok(())
    }

    fn put(&mut self, student: &Value) -> Result<(), TestCaseError> {
        let id = student["id"].as_str().unwrap().to_owned();
        if let Some(before) = self.students.insert(id, student.clone()) {
            prop_assert!(before["executions"].as_u64() <= student["executions"].as_u64());
            let last = |of: &Value| of["lastActivity"].as_str().unwrap().parse::<Timestamp>();
            prop_assert!(last(&before).unwrap() <= last(student).unwrap());
        }
        Ok(())
    }
}

#[derive(Debug, Clone)]
enum Step {
    Event(u8),
    Remove(u8),
    Silence(u16),
    Tick,
    Read(u8),
    Answer,
    /// The console asks again from where it stands.
    Resume,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..12_u8).prop_map(Step::Event),
        1 => (0..12_u8).prop_map(Step::Remove),
        1 => (1..900_u16).prop_map(Step::Silence),
        6 => Just(Step::Tick),
        3 => (1..6_u8).prop_map(Step::Read),
        1 => Just(Step::Answer),
        1 => Just(Step::Resume),
    ];
    prop::collection::vec(step, 0..200)
}

/// A classroom with two consoles: one slow and bounded, one that takes everything at once.
struct Scene {
    feed: Feed,
    max_bytes: usize,
    /// Of the frames so far: one may wait whatever it weighs.
    largest_delta: usize,
    slow: (Outbox, Page),
    fast: (Outbox, Page),
    now: i64,
    position: u64,
    executions: BTreeMap<u8, u64>,
}

impl Scene {
    fn new(max_bytes: usize) -> Self {
        let mut scene = Self {
            feed: feed(),
            max_bytes,
            largest_delta: 0,
            slow: (outbox(max_bytes), Page::default()),
            fast: (outbox(usize::MAX / 2), Page::default()),
            now: 0,
            position: 0,
            executions: BTreeMap::new(),
        };
        subscribe(&scene.slow.0, &mut scene.feed, true);
        subscribe(&scene.fast.0, &mut scene.feed, true);
        scene
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Event(student) => self.event(*student),
            Step::Remove(student) => self.feed.remove(&StudentId::new(student.to_string())),
            Step::Silence(seconds) => self.now += i64::from(*seconds),
            Step::Tick => {
                if let Some(delta) = self.feed.tick(at(self.now)) {
                    self.largest_delta = self.largest_delta.max(delta.frame.len());
                    self.slow.0.deliver(&delta);
                    self.fast.0.deliver(&delta);
                }
            }
            Step::Read(count) => return self.read_slow(usize::from(*count)),
            Step::Answer => self.slow.0.push(Bytes::from_static(br#"{"type":"ack"}"#)),
            Step::Resume => self.resume(),
        }
        let bytes = self.slow.0.lock().bytes;
        prop_assert!(bytes <= self.max_bytes.max(self.largest_delta));
        Ok(())
    }

    fn event(&mut self, student: u8) {
        self.position += 1;
        self.now += 1;
        let executions = self.executions.entry(student).or_default();
        *executions += 1;
        let update = update(&student.to_string(), self.position, *executions, self.now);
        self.feed.apply(update, at(self.now));
    }

    /// As a classroom's actor and a connection do it together.
    fn resnapshot(&mut self) {
        if let Some(delta) = self.feed.tick(at(self.now)) {
            self.largest_delta = self.largest_delta.max(delta.frame.len());
            self.slow.0.deliver(&delta);
            self.fast.0.deliver(&delta);
        }
        let opening = vec![
            reset_frame(&classroom(), "slow"),
            self.feed.snapshot(at(self.now)),
        ];
        self.slow.0.begin(&classroom(), opening, self.feed.cursor());
    }

    fn resume(&mut self) {
        let Some(seq) = self.slow.1.seq else {
            return;
        };
        let cursor = Cursor {
            seq,
            ..self.feed.cursor()
        };
        match self.feed.resume(&cursor) {
            crate::feed::Resume::Deltas(deltas) => {
                self.slow.0.begin(&classroom(), Vec::new(), cursor);
                for delta in deltas {
                    self.largest_delta = self.largest_delta.max(delta.frame.len());
                    self.slow.0.deliver(&delta);
                }
            }
            crate::feed::Resume::Reset { .. } => self.resnapshot(),
        }
    }

    fn read_slow(&mut self, count: usize) -> Result<(), TestCaseError> {
        for _ in 0..count {
            match self.slow.0.try_next() {
                Some(Item::Frame(frame)) => self.slow.1.take(&parsed(&frame))?,
                Some(Item::Resnapshot(_)) => self.resnapshot(),
                Some(Item::Closed(code)) => panic!("{code:?}"),
                None => break,
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), TestCaseError> {
        self.step(&Step::Tick)?;
        while self.slow.0.behind_since().is_some() {
            self.read_slow(1)?;
        }
        while let Some(Item::Frame(frame)) = self.fast.0.try_next() {
            self.fast.1.take(&parsed(&frame))?;
        }
        prop_assert_eq!(self.slow.0.queued_bytes(), 0);
        prop_assert_eq!(&self.slow.1.students, &self.fast.1.students);
        prop_assert_eq!(self.slow.1.seq, self.fast.1.seq);
        Ok(())
    }
}

proptest! {
    /// However slow a console reads and however small its outbox: the chain holds, nobody's
    /// counters fall, memory is bounded, and at the end it stands where a fast one stands.
    #[test]
    fn a_slow_console_ends_where_a_fast_one_does(
        steps in steps(),
        max_bytes in prop_oneof![400..2000_usize, 2000..20_000_usize],
    ) {
        let mut scene = Scene::new(max_bytes);
        for step in &steps {
            scene.step(step)?;
        }
        scene.finish()?;
    }
}
