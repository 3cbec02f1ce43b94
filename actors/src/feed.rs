//! What a classroom has to tell: the present, what changed since the last tick, and what of that is remembered.
//!
//! Pure: no clock, no queue. A classroom's actor owns one [`Feed`], hands it
//! what the sessions tell ([`Feed::apply`]) and takes out what consoles must
//! learn ([`Feed::tick`]), serialised once for all of them.
//!
//! It promises: `seq` grows by one a delta; a snapshot is exactly the state
//! after the delta with its `seq`; a delta holds only students whose visible
//! form changed; the same update twice changes nothing; its memory is bounded
//! by the students and by [`FeedLimits`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::domain::{
    Alert, AlertId, AlertState, ClassroomId, Cursor, EventBrief, Heard, Position, SessionUpdate,
    Student, StudentId, StudentView,
};

mod delta;
mod frames;
mod memory;
mod merge;
mod mirror;
mod opening;
#[cfg(test)]
pub(crate) mod tests;

pub use delta::{BadFrame, Delta};
pub use frames::reset_frame;
pub(crate) use frames::stale_frame;
pub(crate) use merge::Merged;
pub use mirror::{Applied, Mirror};
pub use opening::Opening;

use delta::DeltaParts;
use memory::Memory;

/// How much a feed may hold besides its students.
#[derive(Debug, Clone, Copy)]
pub struct FeedLimits {
    /// Remembered deltas weigh at most this much.
    pub remember_bytes: usize,
    /// At most so many deltas are remembered.
    pub remember_deltas: usize,
    /// A delta is remembered for so long, heard: whoever comes back later begins anew.
    pub remember_for: Duration,
    /// So many of the last events are in a snapshot.
    pub recent: usize,
    /// At most so many events are in one delta, the newest; at least `recent`. The others are counted.
    pub max_events_per_delta: usize,
}

impl Default for FeedLimits {
    fn default() -> Self {
        Self {
            remember_bytes: 4 * 1024 * 1024,
            remember_deltas: 4096,
            remember_for: Duration::from_secs(60),
            recent: 50,
            max_events_per_delta: 500,
        }
    }
}

/// What a console gets that comes back.
#[derive(Debug, Clone)]
pub enum Resume {
    /// What it missed, in order; empty if it missed nothing.
    Deltas(Vec<Arc<Delta>>),
    /// It must begin anew: a reset with this reason, then a snapshot.
    Reset {
        /// For programs: `epoch`, `forgotten` or `unknown`.
        reason: &'static str,
    },
}

/// What a classroom has to tell.
pub struct Feed {
    classroom: ClassroomId,
    epoch: String,
    limits: FeedLimits,
    /// Of the last delta; what consoles were told is the state after it.
    seq: u64,
    /// Lines of events up to here were told by an earlier incarnation.
    seen_through: Position,
    students: BTreeMap<StudentId, Watched>,
    /// Restored and not shown to anyone yet: they belong to the state before the first delta.
    restored: Vec<StudentId>,
    /// When whose status changes by silence alone, earliest first.
    due: BTreeSet<(Heard, StudentId)>,
    open_alerts: BTreeMap<AlertId, Arc<Alert>>,
    recent: VecDeque<Arc<EventBrief>>,
    pending: Pending,
    memory: Memory,
    /// The snapshot of the current `seq`, once somebody asked for it.
    snapshot: Option<Bytes>,
}

/// One student.
struct Watched {
    view: Arc<StudentView>,
    /// The last update that was applied.
    told: Position,
    /// As consoles know them; nothing if they don't yet.
    shown: Option<Arc<Student>>,
    /// Where they stand in [`Feed::due`].
    due: Option<Heard>,
}

/// What happened since the last delta.
#[derive(Default)]
struct Pending {
    changed: BTreeSet<StudentId>,
    removed: BTreeSet<StudentId>,
    alerts: BTreeMap<AlertId, Arc<Alert>>,
    events: VecDeque<Arc<EventBrief>>,
    events_omitted: u64,
}

impl Feed {
    /// A feed that knows nobody. `epoch` names this incarnation and no other.
    pub fn new(classroom: ClassroomId, epoch: String, limits: FeedLimits) -> Self {
        Self {
            classroom,
            epoch,
            limits,
            seq: 0,
            seen_through: Position::ZERO,
            students: BTreeMap::new(),
            restored: Vec::new(),
            due: BTreeSet::new(),
            open_alerts: BTreeMap::new(),
            recent: VecDeque::new(),
            pending: Pending::default(),
            memory: Memory::default(),
            snapshot: None,
        }
    }

    /// Takes over what is known at the start of an incarnation.
    ///
    /// Lines of events at or below `seen_through` are in `recent` or older, and
    /// are not repeated when sessions tell them again.
    pub fn restore(
        &mut self,
        views: Vec<Arc<StudentView>>,
        recent: Vec<EventBrief>,
        seen_through: Position,
    ) {
        self.seen_through = seen_through;
        for line in recent {
            self.note_recent(Arc::new(line));
        }
        for view in views {
            for alert in view.alerts.iter().filter(|alert| is_open(alert)) {
                self.open_alerts
                    .insert(alert.id.clone(), Arc::new(alert.clone()));
            }
            self.restored.push(view.id.clone());
            let watched = Watched::new(Arc::clone(&view));
            self.students.insert(view.id.clone(), watched);
        }
        self.snapshot = None;
    }

    /// Takes what a session tells. An update that is not newer than what is known changes nothing.
    pub fn apply(&mut self, update: SessionUpdate, now: Heard) {
        let id = update.key.student.clone();
        let known = self.students.get(&id);
        let is_view_newer = known.is_none_or(|known| known.view.position < update.view.position);
        let told = known.map_or(Position::ZERO, |known| known.told);
        let is_line_new = update.position > told.max(self.seen_through);
        if is_view_newer {
            self.note_alerts(&update);
        }
        let watched = self
            .students
            .entry(id.clone())
            .or_insert_with(|| Watched::new(Arc::clone(&update.view)));
        watched.told = told.max(update.position);
        if is_view_newer {
            watched.view = update.view;
            self.pending.removed.remove(&id);
            self.pending.changed.insert(id.clone());
            self.schedule(&id, now);
        }
        if let Some(line) = update.event.filter(|_| is_line_new) {
            self.pending
                .push_event(line, self.limits.max_events_per_delta);
        }
    }

    /// Takes a student out, for good or until the next update.
    pub fn remove(&mut self, student: &StudentId) {
        let Some(watched) = self.students.remove(student) else {
            return;
        };
        if let Some(due) = watched.due {
            self.due.remove(&(due, student.clone()));
        }
        for alert in &watched.view.alerts {
            self.pending.note_alert(closed(alert));
        }
        self.pending.changed.remove(student);
        // also if consoles don't know the student: to forget a stranger costs them nothing
        self.pending.removed.insert(student.clone());
    }

    /// Takes a student out of everything: what they did is in no snapshot and
    /// in no delta any more, and who missed that begins anew.
    pub fn forget(&mut self, student: &StudentId) {
        self.remove(student);
        self.pending.removed.insert(student.clone());
        self.pending.events.retain(|line| line.student != *student);
        self.recent.retain(|line| line.student != *student);
        self.restored.retain(|id| id != student);
        self.memory = Memory::default();
        self.snapshot = None;
    }

    /// Whether something happened that the next tick will tell.
    pub fn is_dirty(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The earliest time at which a student's status changes by silence alone.
    pub fn next_status_change(&self) -> Option<Heard> {
        self.due.first().map(|(at, _)| *at)
    }

    /// When the next tick is due if nothing happens until then: somebody's status
    /// changes, or nothing of what is remembered is of use any more.
    pub fn next_tick(&self) -> Option<Heard> {
        let forgets = self.memory.ends_at(&self.limits);
        self.next_status_change().into_iter().chain(forgets).min()
    }

    /// Everything that changed since the last delta, statuses that changed by silence included.
    pub fn tick(&mut self, now: Heard) -> Option<Arc<Delta>> {
        self.memory.forget_old(now, &self.limits);
        self.show_restored(now);
        self.wake_due(now);
        let pending = mem::take(&mut self.pending);
        let students = self.show(pending.changed, now);
        let parts = DeltaParts {
            classroom: self.classroom.clone(),
            epoch: self.epoch.clone(),
            after: self.seq,
            seq: self.seq + 1,
            students,
            removed: pending.removed.into_iter().collect(),
            events: pending.events.into(),
            events_omitted: pending.events_omitted,
            alerts: pending.alerts.into_values().collect(),
        };
        if parts.is_empty() {
            return None;
        }
        self.told(&parts);
        let delta = Arc::new(Delta::new(parts));
        self.memory.remember(Arc::clone(&delta), now, &self.limits);
        Some(delta)
    }

    /// The snapshot frame: the state after the last delta. Tick first, so that it is the present.
    ///
    /// Serialised once until the next delta: all consoles that come back together share it.
    pub fn snapshot(&mut self, now: Heard) -> Bytes {
        self.show_restored(now);
        if let Some(frame) = &self.snapshot {
            return frame.clone();
        }
        let frame = self.opening(now).frame();
        self.snapshot = Some(frame.clone());
        frame
    }

    /// The same in its parts, for whoever shows this classroom elsewhere.
    pub fn opening(&mut self, now: Heard) -> Opening {
        self.show_restored(now);
        let shown = |watched: &Watched| watched.shown.clone();
        Opening {
            classroom: self.classroom.clone(),
            epoch: self.epoch.clone(),
            seq: self.seq,
            students: self.students.values().filter_map(shown).collect(),
            alerts: self.open_alerts.values().cloned().collect(),
            recent: self.recent.iter().cloned().collect(),
        }
    }

    /// What a console missed that has everything up to `since`.
    pub fn resume(&mut self, since: &Cursor) -> Resume {
        let (cursor, max_events) = (self.cursor(), self.limits.max_events_per_delta);
        self.memory.resume(since, &cursor, max_events)
    }

    /// Where a console stands that has everything.
    pub fn cursor(&self) -> Cursor {
        Cursor {
            epoch: self.epoch.clone(),
            seq: self.seq,
        }
    }

    /// Restored students belong to the state before the first delta: nobody knows an earlier one.
    fn show_restored(&mut self, now: Heard) {
        for id in mem::take(&mut self.restored) {
            if self.pending.changed.contains(&id) {
                continue; // the next delta has them
            }
            if let Some(watched) = self.students.get_mut(&id) {
                watched.shown = Some(Arc::new(watched.view.to_student(now)));
            }
            self.schedule(&id, now);
            self.snapshot = None;
        }
    }

    fn wake_due(&mut self, now: Heard) {
        while let Some((at, _)) = self.due.first()
            && *at <= now
            && let Some((_, id)) = self.due.pop_first()
        {
            if let Some(watched) = self.students.get_mut(&id) {
                watched.due = None;
            }
            self.pending.changed.insert(id);
        }
    }

    /// Those of `changed` whose visible form is another than consoles know; from now on they know it.
    fn show(&mut self, changed: BTreeSet<StudentId>, now: Heard) -> Vec<Arc<Student>> {
        let mut students = Vec::with_capacity(changed.len());
        for id in changed {
            self.schedule(&id, now);
            let Some(watched) = self.students.get_mut(&id) else {
                continue;
            };
            let student = watched.view.to_student(now);
            if watched.shown.as_deref() != Some(&student) {
                let student = Arc::new(student);
                watched.shown = Some(Arc::clone(&student));
                students.push(student);
            }
        }
        students
    }

    fn schedule(&mut self, id: &StudentId, now: Heard) {
        let Some(watched) = self.students.get_mut(id) else {
            return;
        };
        let next = watched.view.next_status_change(now);
        if watched.due == next {
            return;
        }
        if let Some(old) = mem::replace(&mut watched.due, next) {
            self.due.remove(&(old, id.clone()));
        }
        if let Some(at) = next {
            self.due.insert((at, id.clone()));
        }
    }

    /// Alerts that changed: what the update says, and what differs between the views, so that
    /// an update that was left out for a newer one costs no alert.
    fn note_alerts(&mut self, update: &SessionUpdate) {
        let known = self.students.get(&update.key.student);
        let before = known.map_or(&[][..], |known| &known.view.alerts);
        let after = &update.view.alerts;
        for alert in before {
            if !after.iter().any(|other| other.id == alert.id) {
                self.pending.note_alert(closed(alert));
            }
        }
        for alert in after.iter().filter(|alert| !before.contains(alert)) {
            self.pending.note_alert(alert.clone());
        }
        for alert in &update.alerts {
            self.pending.note_alert(alert.clone());
        }
    }

    /// Consoles now know what is in the delta.
    fn told(&mut self, parts: &DeltaParts) {
        self.seq = parts.seq;
        self.snapshot = None;
        for line in &parts.events {
            self.note_recent(Arc::clone(line));
        }
        for alert in &parts.alerts {
            if is_open(alert) {
                self.open_alerts.insert(alert.id.clone(), Arc::clone(alert));
            } else {
                self.open_alerts.remove(&alert.id);
            }
        }
    }

    fn note_recent(&mut self, line: Arc<EventBrief>) {
        self.recent.push_back(line);
        while self.recent.len() > self.limits.recent {
            self.recent.pop_front();
        }
    }
}

impl Watched {
    fn new(view: Arc<StudentView>) -> Self {
        Self {
            view,
            told: Position::ZERO,
            shown: None,
            due: None,
        }
    }
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.changed.is_empty()
            && self.removed.is_empty()
            && self.alerts.is_empty()
            && self.events.is_empty()
            && self.events_omitted == 0
    }

    fn note_alert(&mut self, alert: Alert) {
        self.alerts.insert(alert.id.clone(), Arc::new(alert));
    }

    fn push_event(&mut self, line: EventBrief, max_events: usize) {
        self.events.push_back(Arc::new(line));
        while self.events.len() > max_events {
            self.events.pop_front();
            self.events_omitted += 1;
        }
    }
}

fn is_open(alert: &Alert) -> bool {
    alert.state == AlertState::Open
}

fn closed(alert: &Alert) -> Alert {
    Alert {
        state: AlertState::Closed,
        ..alert.clone()
    }
}
