//! The tree of a node that folds nothing itself: classrooms as another node tells them.
//!
//! A [`Mirrors`] holds one [`Mirror`] a classroom. Whoever reads the bus opens
//! them and hands the deltas in; consoles are taken in by the same front office
//! as at the node that folds, and see the same epoch and the same seq.
//!
//! Nothing here waits: a classroom's lock is held while one delta goes into the
//! outboxes, or one console is opened.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::consoles::{Asked, ConsolesHandle, FrontOffice, Rooms};
use crate::domain::{ClassroomId, Cursor, Student, StudentId, Timestamp};
use crate::feed::{Applied, Delta, FeedLimits, Mirror, Opening, Resume, reset_frame, stale_frame};
use crate::hub::Hub;
use crate::live::{Consoles, SubscribeError};
use crate::outbox::Outbox;
use crate::tree::{Census, Part};

/// After so long without a word where one should have come, consoles are told.
pub const STALE_AFTER: Duration = crate::silence::STALE_AFTER;

/// The classrooms of a node that only mirrors them.
pub struct Mirrors {
    hub: Arc<Hub>,
    limits: FeedLimits,
    rooms: BTreeMap<ClassroomId, Room>,
}

struct Room {
    /// Nothing until it was opened.
    mirror: Mutex<Option<Mirror>>,
    part: Part,
}

/// The tree of a node that only mirrors.
pub struct MirrorTree {
    census: Arc<Census>,
    consoles: ConsolesHandle,
    mirrors: Arc<Mirrors>,
}

impl MirrorTree {
    /// A tree for these classrooms; none is open yet.
    pub fn plant(classrooms: &[ClassroomId], max_consoles: usize) -> Self {
        let census = Arc::new(Census::default());
        let hub = Arc::new(Hub::default());
        census.part("root", "root", None).works();
        for parent in ["consoles", "classrooms"] {
            census.part(parent, "supervisor", Some("root")).works();
        }
        let room = |id: &ClassroomId| Room {
            mirror: Mutex::new(None),
            part: census.part(&format!("classroom/{id}"), "mirror", Some("classrooms")),
        };
        let mirrors = Arc::new(Mirrors {
            hub: Arc::clone(&hub),
            limits: FeedLimits::default(),
            rooms: classrooms.iter().map(|id| (id.clone(), room(id))).collect(),
        });
        let rooms: Arc<dyn Rooms> = mirrors.clone();
        let office = FrontOffice::new(Arc::clone(&census), hub, rooms, max_consoles);
        Self {
            census,
            consoles: ConsolesHandle(office),
            mirrors,
        }
    }

    /// Everyone's vital signs.
    pub fn census(&self) -> &Arc<Census> {
        &self.census
    }

    /// Takes consoles in.
    pub fn consoles(&self) -> Arc<dyn Consoles> {
        Arc::new(self.consoles.clone())
    }

    /// The classrooms.
    pub fn mirrors(&self) -> &Arc<Mirrors> {
        &self.mirrors
    }
}

impl Mirrors {
    /// All classrooms, open or not.
    pub fn classrooms(&self) -> impl Iterator<Item = &ClassroomId> {
        self.rooms.keys()
    }

    /// Those that were never opened.
    pub fn unopened(&self) -> Vec<ClassroomId> {
        let rooms = self.rooms.iter();
        rooms
            .filter(|(_, room)| room.lock().is_none())
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// Begins a classroom, or begins it anew: those who watch it get a reset with
    /// this reason, and a snapshot. `earlier` may help who comes back to resume.
    pub fn open(&self, opening: Opening, earlier: &[Arc<Delta>], reason: &str) {
        let classroom = opening.classroom.clone();
        let Some(room) = self.rooms.get(&classroom) else {
            return;
        };
        let mut mirror = Mirror::new(opening, self.limits);
        mirror.remember_earlier(earlier);
        let mut place = room.lock();
        let mirror = place.insert(mirror);
        let watchers = self.hub.watchers(&classroom);
        begin_anew(&classroom, mirror, &watchers, reason);
        self.hub.note_told(&classroom);
        room.part.works();
    }

    /// Takes a delta in and tells it to all who watch; those of a classroom that is not open are a gap.
    pub fn apply(&self, delta: &Arc<Delta>) -> Applied {
        let Some(room) = self.rooms.get(&delta.classroom) else {
            return Applied::Known;
        };
        let mut place = room.lock();
        let Some(mirror) = place.as_mut() else {
            return Applied::Gap;
        };
        let applied = mirror.apply(delta);
        if applied == Applied::Next {
            self.hub.deliver(delta);
            room.part.works();
        }
        applied
    }

    /// Tells those that were not told since they last got something that nothing
    /// has come since then, where something should.
    pub fn tell_stale(&self, classroom: &ClassroomId, since: Timestamp) {
        let frame: Bytes = stale_frame(classroom, since);
        self.hub.tell_stale(classroom, &frame);
    }

    /// All is well again: those that were told otherwise, and have got nothing
    /// since, get the classroom whole.
    pub fn tell_fresh(&self, classroom: &ClassroomId) {
        let Some(room) = self.rooms.get(classroom) else {
            return;
        };
        let mut place = room.lock();
        let Some(mirror) = place.as_mut() else {
            return;
        };
        let mut watchers = self.hub.watchers(classroom);
        watchers.retain(|outbox| outbox.is_stale(classroom));
        begin_anew(classroom, mirror, &watchers, "caught_up");
    }

    /// Up to where a classroom is mirrored; nothing while it is not open.
    pub fn cursor(&self, classroom: &ClassroomId) -> Option<Cursor> {
        let room = self.rooms.get(classroom)?;
        room.lock().as_ref().map(Mirror::cursor)
    }

    /// Every student of a classroom as last told, in the order of their ids.
    pub fn students(&self, classroom: &ClassroomId) -> Vec<Student> {
        let Some(room) = self.rooms.get(classroom) else {
            return Vec::new();
        };
        let place = room.lock();
        let students = place.iter().flat_map(Mirror::students);
        students.map(|student| Student::clone(student)).collect()
    }

    /// One student as last told.
    pub fn student(&self, classroom: &ClassroomId, id: &StudentId) -> Option<Student> {
        let place = self.rooms.get(classroom)?.lock();
        let student = place.as_ref()?.student(id)?;
        Some(Student::clone(student))
    }
}

impl Room {
    fn lock(&self) -> MutexGuard<'_, Option<Mirror>> {
        // a panic inside leaves at worst a mirror that is short of a delta: the next is a gap, and it is opened anew
        self.mirror.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn begin_anew(
    classroom: &ClassroomId,
    mirror: &mut Mirror,
    watchers: &[Arc<Outbox>],
    reason: &str,
) {
    if watchers.is_empty() {
        return;
    }
    let frames = vec![reset_frame(classroom, reason), mirror.snapshot()];
    for outbox in watchers {
        outbox.begin(classroom, frames.clone(), mirror.cursor());
    }
}

#[async_trait]
impl Rooms for Mirrors {
    async fn watch(&self, asked: Asked<'_>) -> Result<(), SubscribeError> {
        let Asked {
            classroom,
            console,
            outbox,
            since,
        } = asked;
        let room = self.rooms.get(classroom).ok_or(SubscribeError::NotFound)?;
        let mut place = room.lock();
        let mirror = place.as_mut().ok_or(SubscribeError::Unavailable)?;
        let frames = match since.map(|since| mirror.resume(&since)) {
            Some(Resume::Deltas(deltas)) => {
                deltas.iter().map(|delta| delta.frame.clone()).collect()
            }
            Some(Resume::Reset { reason }) => {
                vec![reset_frame(classroom, reason), mirror.snapshot()]
            }
            None => vec![mirror.snapshot()],
        };
        outbox.begin(classroom, frames, mirror.cursor());
        self.hub.watch(classroom, console, Arc::clone(outbox));
        Ok(())
    }
}

impl std::fmt::Debug for Mirrors {
    /// Without the students.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mirrors")
            .field("classrooms", &self.rooms.keys())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for MirrorTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MirrorTree").finish_non_exhaustive()
    }
}
