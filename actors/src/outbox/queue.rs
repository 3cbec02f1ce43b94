//! The state of an outbox, without its lock.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::{CloseCode, Item};
use crate::domain::{ClassroomId, Cursor};
use crate::feed::{Delta, Merged};

/// What waits, in the order in which it goes out: entries, then what is merged, then what is lost.
#[derive(Default)]
pub(super) struct Queue {
    entries: VecDeque<Entry>,
    lines: Lines,
    /// Of entries that are no openings, and of everything merged.
    pub(super) bytes: usize,
    opening_bytes: usize,
    closed: Option<CloseCode>,
    behind_since: Option<Instant>,
}

enum Entry {
    Control(Bytes),
    /// A snapshot or what goes before it.
    Opening(ClassroomId, Bytes),
    Delta(Arc<Delta>),
}

/// One classroom that the console watches.
struct Line {
    /// Of the newest delta that waits or went out.
    cursor: Cursor,
    /// What does not fit as it is. While it waits, every further delta is folded into it.
    merged: Option<Box<Merged>>,
    loss: Loss,
    /// It was told that nothing comes, and has got nothing since.
    is_stale: bool,
}

/// The classrooms that a console watches: nearly always one, so a list takes the least room.
#[derive(Default)]
struct Lines(Vec<(ClassroomId, Line)>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    None,
    /// The console has not been told.
    Untold,
    /// It is about to begin anew.
    Told,
}

/// What [`Queue::take`] took.
pub(super) enum Taken {
    Item(Item),
    /// To be serialised.
    Merged(Box<Merged>),
}

/// What a delivery did, for the counters.
#[derive(Default)]
pub(super) struct Outcome {
    /// So many deltas were folded.
    pub(super) merged: u64,
    /// So many classrooms must begin anew.
    pub(super) lost: u64,
}

impl Queue {
    pub(super) fn push(&mut self, frame: Bytes, max_bytes: usize) {
        if self.closed.is_some() {
            return;
        }
        let mut outcome = Outcome::default();
        self.bytes += frame.len();
        self.entries.push_back(Entry::Control(frame));
        self.make_room(max_bytes, &mut outcome);
        if self.bytes > max_bytes {
            self.close(CloseCode::TooSlow);
        }
    }

    pub(super) fn begin(&mut self, classroom: &ClassroomId, opening: Vec<Bytes>, cursor: Cursor) {
        if self.closed.is_some() {
            return;
        }
        self.stop(classroom);
        let line = Line {
            cursor,
            merged: None,
            loss: Loss::None,
            is_stale: false,
        };
        self.lines.insert(classroom.clone(), line);
        for frame in opening {
            self.opening_bytes += frame.len();
            self.entries
                .push_back(Entry::Opening(classroom.clone(), frame));
        }
    }

    pub(super) fn stop(&mut self, classroom: &ClassroomId) {
        let entries = mem::take(&mut self.entries);
        for entry in entries {
            if entry.classroom() == Some(classroom) {
                self.forget_bytes(&entry);
            } else {
                self.entries.push_back(entry);
            }
        }
        if let Some(merged) = self.lines.remove(classroom).and_then(|line| line.merged) {
            self.bytes -= merged.weight_bytes();
        }
    }

    pub(super) fn deliver(&mut self, delta: &Arc<Delta>, max_bytes: usize) -> Outcome {
        let mut outcome = Outcome::default();
        if self.closed.is_some() {
            return outcome;
        }
        let Some(line) = self.lines.get_mut(&delta.classroom) else {
            return outcome;
        };
        let is_new = line.cursor.epoch == delta.epoch && line.cursor.seq < delta.seq;
        if line.loss != Loss::None || !is_new {
            return outcome;
        }
        if line.cursor.seq != delta.after {
            // never seen from a feed; the console must not get a chain with a hole
            self.lose(&delta.classroom.clone(), &mut outcome);
            return outcome;
        }
        line.cursor.seq = delta.seq;
        line.is_stale = false;
        // one delta may always wait: the snapshot that would replace it is larger still
        let has_room = self.bytes == 0 || self.bytes + delta.frame.len() <= max_bytes;
        if line.merged.is_none() && has_room {
            self.bytes += delta.frame.len();
            self.entries.push_back(Entry::Delta(Arc::clone(delta)));
            return outcome;
        }
        self.merge_waiting(&mut outcome);
        self.merge(delta, &mut outcome);
        self.make_room(max_bytes, &mut outcome);
        outcome
    }

    pub(super) fn tell_stale(&mut self, classroom: &ClassroomId, frame: &Bytes, max_bytes: usize) {
        if let Some(line) = self.lines.get_mut(classroom)
            && !mem::replace(&mut line.is_stale, true)
        {
            self.push(frame.clone(), max_bytes);
        }
    }

    pub(super) fn is_stale(&self, classroom: &ClassroomId) -> bool {
        self.lines.get(classroom).is_some_and(|line| line.is_stale)
    }

    /// What is taken out no longer counts as waiting.
    pub(super) fn take(&mut self) -> Option<Taken> {
        let taken = self.take_next();
        self.note_behind();
        taken
    }

    pub(super) fn close(&mut self, code: CloseCode) {
        if self.closed.is_some() {
            return;
        }
        self.closed = Some(code);
        if !code.delivers_the_rest() {
            self.entries = VecDeque::new();
            self.lines = Lines::default();
            self.bytes = 0;
            self.opening_bytes = 0;
        }
    }

    pub(super) fn closed(&self) -> Option<CloseCode> {
        self.closed
    }

    pub(super) fn queued_bytes(&self) -> usize {
        self.bytes + self.opening_bytes
    }

    pub(super) fn behind_since(&self) -> Option<Instant> {
        self.behind_since
    }

    /// Notes since when something waits. Says whether there is something to take.
    pub(super) fn note_behind(&mut self) -> bool {
        let waits = !self.entries.is_empty() || self.lines.values().any(Line::waits);
        if !waits {
            self.behind_since = None;
        } else if self.behind_since.is_none() {
            self.behind_since = Some(Instant::now());
        }
        waits || self.closed.is_some()
    }

    fn take_next(&mut self) -> Option<Taken> {
        if let Some(entry) = self.entries.pop_front() {
            self.forget_bytes(&entry);
            return Some(Taken::Item(Item::Frame(entry.into_frame())));
        }
        for line in self.lines.values_mut() {
            if let Some(merged) = line.merged.take() {
                self.bytes -= merged.weight_bytes();
                return Some(Taken::Merged(merged));
            }
        }
        if let Some(code) = self.closed {
            return Some(Taken::Item(Item::Closed(code)));
        }
        let (classroom, line) = self
            .lines
            .0
            .iter_mut()
            .find(|(_, line)| line.loss == Loss::Untold)?;
        line.loss = Loss::Told;
        Some(Taken::Item(Item::Resnapshot(classroom.clone())))
    }

    /// Folds every delta that waits: a console that is behind gets the present, not history.
    fn merge_waiting(&mut self, outcome: &mut Outcome) {
        let entries = mem::take(&mut self.entries);
        for entry in entries {
            match &entry {
                Entry::Delta(delta) => {
                    self.forget_bytes(&entry);
                    self.merge(delta, outcome);
                }
                Entry::Control(_) | Entry::Opening(_, _) => self.entries.push_back(entry),
            }
        }
    }

    fn merge(&mut self, delta: &Delta, outcome: &mut Outcome) {
        let Some(line) = self.lines.get_mut(&delta.classroom) else {
            return;
        };
        match &mut line.merged {
            Some(merged) => {
                self.bytes -= merged.weight_bytes();
                merged.add(delta);
                self.bytes += merged.weight_bytes();
            }
            None => {
                let merged = Merged::of(delta, 0);
                self.bytes += merged.weight_bytes();
                line.merged = Some(Box::new(merged));
            }
        }
        outcome.merged += 1;
    }

    /// Throws away what is merged, the heaviest first, until the rest fits.
    fn make_room(&mut self, max_bytes: usize, outcome: &mut Outcome) {
        while self.bytes > max_bytes {
            self.merge_waiting(outcome);
            let heaviest = self
                .lines
                .0
                .iter()
                .filter_map(|(id, line)| Some((line.merged.as_ref()?.weight_bytes(), id)))
                .max();
            let Some((_, classroom)) = heaviest else {
                return;
            };
            self.lose(&classroom.clone(), outcome);
        }
    }

    /// The console must begin this classroom anew: nothing of it waits any longer.
    fn lose(&mut self, classroom: &ClassroomId, outcome: &mut Outcome) {
        let Some(cursor) = self.lines.get(classroom).map(|line| line.cursor.clone()) else {
            return;
        };
        self.begin(classroom, Vec::new(), cursor);
        if let Some(line) = self.lines.get_mut(classroom) {
            line.loss = Loss::Untold;
        }
        outcome.lost += 1;
    }

    fn forget_bytes(&mut self, entry: &Entry) {
        match entry {
            Entry::Control(frame) => self.bytes -= frame.len(),
            Entry::Opening(_, frame) => self.opening_bytes -= frame.len(),
            Entry::Delta(delta) => self.bytes -= delta.frame.len(),
        }
    }
}

impl Entry {
    fn classroom(&self) -> Option<&ClassroomId> {
        match self {
            Self::Control(_) => None,
            Self::Opening(classroom, _) => Some(classroom),
            Self::Delta(delta) => Some(&delta.classroom),
        }
    }

    fn into_frame(self) -> Bytes {
        match self {
            Self::Control(frame) | Self::Opening(_, frame) => frame,
            Self::Delta(delta) => delta.frame.clone(),
        }
    }
}

impl Lines {
    fn get(&self, classroom: &ClassroomId) -> Option<&Line> {
        let (_, line) = self.0.iter().find(|(id, _)| id == classroom)?;
        Some(line)
    }

    fn get_mut(&mut self, classroom: &ClassroomId) -> Option<&mut Line> {
        let (_, line) = self.0.iter_mut().find(|(id, _)| id == classroom)?;
        Some(line)
    }

    /// Whoever inserts has removed the earlier one.
    fn insert(&mut self, classroom: ClassroomId, line: Line) {
        self.0.reserve_exact(1);
        self.0.push((classroom, line));
    }

    fn remove(&mut self, classroom: &ClassroomId) -> Option<Line> {
        let index = self.0.iter().position(|(id, _)| id == classroom)?;
        Some(self.0.swap_remove(index).1)
    }

    fn values(&self) -> impl Iterator<Item = &Line> {
        self.0.iter().map(|(_, line)| line)
    }

    fn values_mut(&mut self) -> impl Iterator<Item = &mut Line> {
        self.0.iter_mut().map(|(_, line)| line)
    }
}

impl Line {
    fn waits(&self) -> bool {
        self.merged.is_some() || self.loss == Loss::Untold
    }
}
