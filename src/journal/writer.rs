//! The one thread that writes: it takes everything that waits, writes it at once, syncs once, and tells everybody.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};

use mimamori_actors::domain::{Entry, Moment, Position};
use mimamori_actors::ports::{AppendError, Origin};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::backlog::RUN_IDENTITIES;
use super::claims::Claimed;
use super::frame::{self, FrameHeader, Sealed};
use super::index::{Checkpoint, Indexed};
use super::keeper::Task;
use super::segment::Segment;
use super::shared::Shared;
use super::tail::CachedFrame;
use crate::storage::embedded::is_no_room;

/// A buffer that grew beyond this is given back.
const KEPT_BUFFER_BYTES: usize = 8 << 20;

/// What waits for the writer.
pub(super) enum Work {
    /// Entries to write.
    Request(Request),
    /// Begin a new segment, so that the one before can be trimmed.
    BeginSegment,
    /// The same, and say which was the last position before it.
    Roll(oneshot::Sender<Result<Position, AppendError>>),
    /// Write what waits, then end.
    Close,
}

/// Entries to write, all of one frame.
pub(super) struct Request {
    pub(super) sealed: Sealed,
    pub(super) claimed: Claimed,
    pub(super) origin: Origin,
    /// Its place in the queue, by number and by bytes; given back when it is done.
    pub(super) _place: [OwnedSemaphorePermit; 2],
}

impl Request {
    fn bytes(&self) -> u64 {
        self.sealed.frame.len() as u64
    }
}

/// The writer's own state.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) keeper: SyncSender<Task>,
    pub(super) active: Arc<Segment>,
    /// Where the next frame goes in the active segment.
    pub(super) offset: u64,
    /// How far the active segment is allocated.
    pub(super) capacity: u64,
    pub(super) next: Position,
    /// When the last entry was accepted.
    pub(super) last: Moment,
    pub(super) buffer: Vec<u8>,
}

/// Everything that was waiting.
#[derive(Default)]
struct Round {
    requests: VecDeque<Request>,
    begins_segment: bool,
    rolls: Vec<oneshot::Sender<Result<Position, AppendError>>>,
    closes: bool,
}

impl Round {
    /// What waits now; bounded by the places of the queue.
    fn gather(first: Work, work: &Receiver<Work>) -> Self {
        let mut round = Self::default();
        let mut next = Some(first);
        while let Some(work_item) = next {
            match work_item {
                Work::Request(request) => round.requests.push_back(request),
                Work::BeginSegment => round.begins_segment = true,
                Work::Roll(told) => round.rolls.push(told),
                Work::Close => round.closes = true,
            }
            next = work.try_recv().ok();
        }
        round
    }
}

impl Writer {
    /// Writes until it is told to close.
    pub(super) fn run(mut self, work: &Receiver<Work>) {
        while let Ok(first) = work.recv() {
            let round = Round::gather(first, work);
            metrics::gauge!("mimamori_journal_group_requests").set(round.requests.len() as f64);
            self.write_all(round.requests);
            if round.begins_segment && self.shared.refusal().is_none() {
                let _ = self.begin_unless_empty();
            }
            for told in round.rolls {
                // who does not wait any more needs no answer
                let _ = told.send(self.roll());
            }
            if round.closes {
                return;
            }
        }
    }

    fn write_all(&mut self, mut waiting: VecDeque<Request>) {
        while let Some(first) = waiting.front() {
            if let Some(reason) = self.shared.failed.borrow().clone() {
                refuse(waiting, &AppendError::Failed(reason));
                return;
            }
            let needs = first.bytes();
            if self.offset + needs > self.capacity {
                waiting = self.refuse_outside_without_room(waiting);
                if waiting.is_empty() {
                    return;
                }
                let needs = waiting.front().map_or(needs, Request::bytes);
                if let Err(error) = self.begin_segment(needs) {
                    refuse(waiting, &self.explain(&error));
                    return;
                }
            }
            let group = self.take_what_fits(&mut waiting);
            if let Err((error, group)) = self.write(group) {
                let reason = format!("a group could not be written: {error}");
                self.shared.fail(&reason);
                refuse(group, &AppendError::Failed(reason));
            }
        }
    }

    /// A new segment takes room on the disk: look whether there is any.
    fn refuse_outside_without_room(&self, waiting: VecDeque<Request>) -> VecDeque<Request> {
        self.shared.room.measure();
        let Some(reason) = self.shared.room.refusal(Origin::Outside) else {
            return waiting;
        };
        let (outside, inside) = waiting
            .into_iter()
            .partition(|request| request.origin == Origin::Outside);
        refuse(outside, &AppendError::NoRoom(reason));
        inside
    }

    /// A full disk is no failure: nothing was written, and it heals.
    fn explain(&self, error: &io::Error) -> AppendError {
        if is_no_room(error) {
            return AppendError::NoRoom(format!("no segment could be begun: {error}"));
        }
        let reason = format!("a segment could not be begun: {error}");
        self.shared.fail(&reason);
        AppendError::Failed(reason)
    }

    fn roll(&mut self) -> Result<Position, AppendError> {
        if let Some(refusal) = self.shared.refusal() {
            return Err(refusal);
        }
        self.begin_unless_empty()?;
        Ok(Position(self.next.0 - 1))
    }

    fn begin_unless_empty(&mut self) -> Result<(), AppendError> {
        if self.active.first == self.next {
            return Ok(());
        }
        self.begin_segment(0).map_err(|error| {
            let refusal = self.explain(&error);
            tracing::warn!(error = %refusal, "no new segment could be begun");
            refusal
        })
    }

    fn begin_segment(&mut self, needs: u64) -> io::Result<()> {
        if self.active.first == self.next {
            // an empty one is made larger: a second one would have the same name
            let room = self.offset + needs;
            self.shared.disk.allocate(&self.active.file, 0, room)?;
            self.capacity = room;
            return Ok(());
        }
        let now = self.last.at.max(self.shared.clock.now());
        let (segment, capacity) = self.shared.dir.begin(self.next, now, needs)?;
        // what was allocated and not used goes back; if it does not, it is only room
        let _ = self.active.file.set_len(self.offset);
        self.shared.room.take(segment.durable());
        self.offset = segment.durable();
        self.capacity = capacity;
        self.active = Arc::clone(&segment);
        self.shared.segments.push(segment);
        // a keeper that has no time for it now costs the next roll a few milliseconds
        let _ = self.keeper.try_send(Task::PrepareSpare);
        Ok(())
    }

    fn take_what_fits(&self, waiting: &mut VecDeque<Request>) -> Vec<Request> {
        let mut left = self.capacity - self.offset;
        let count = waiting
            .iter()
            .take_while(|request| {
                let fits = request.bytes() <= left;
                left = left.saturating_sub(request.bytes());
                fits
            })
            .count();
        waiting.drain(..count).collect()
    }

    /// Writes a group and syncs it.
    fn write(&mut self, mut group: Vec<Request>) -> Result<(), (io::Error, Vec<Request>)> {
        let now = self.last.max(self.shared.clock.moment());
        let mut headers = Vec::with_capacity(group.len());
        let mut next = self.next;
        self.buffer.clear();
        for request in &mut group {
            let sealed = &mut request.sealed;
            let header = header_of(sealed, next, now);
            header.seal(&mut sealed.frame, sealed.payload_crc);
            self.buffer.extend_from_slice(&sealed.frame);
            next = header.last().next();
            headers.push(header);
        }
        if let Err(error) = self.to_disk() {
            return Err((error, group));
        }
        self.next = next;
        self.last = now;
        self.publish(group, &headers);
        if self.buffer.capacity() > KEPT_BUFFER_BYTES {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    fn to_disk(&self) -> io::Result<()> {
        let disk = &self.shared.disk;
        disk.write(&self.active.file, &self.buffer, self.offset)?;
        #[cfg(test)]
        if self.shared.fails_next_sync.load(Ordering::SeqCst) {
            return Err(io::Error::other("made to fail"));
        }
        let begun = Instant::now();
        disk.sync(&self.active.file)?;
        self.shared.syncs.fetch_add(1, Ordering::Relaxed);
        metrics::histogram!("mimamori_journal_sync_seconds").record(begun.elapsed().as_secs_f64());
        metrics::counter!("mimamori_journal_synced_groups_total").increment(1);
        metrics::counter!("mimamori_journal_written_bytes_total")
            .increment(self.buffer.len() as u64);
        Ok(())
    }

    /// The group is on disk: readers first, then those who wait, then the index.
    fn publish(&mut self, group: Vec<Request>, headers: &[FrameHeader]) {
        let is_wanted = self.shared.tail.is_wanted();
        let mut cached = Vec::with_capacity(group.len());
        let mut indexed = Vec::with_capacity(group.len());
        let mut landed = Vec::with_capacity(group.len());
        // freed when everybody has an answer
        let mut spent = Vec::with_capacity(group.len());
        for (mut request, header) in group.into_iter().zip(headers) {
            self.active.mark(header.first, self.offset);
            self.offset += request.bytes();
            collect_identities(&request.sealed, header, &mut indexed);
            if is_wanted {
                cached.push(cache(&mut request.sealed, header));
            }
            landed.push((request.claimed, header.first));
            spent.push((request.sealed, request._place));
        }
        let end = Position(self.next.0 - 1);
        metrics::counter!("mimamori_journal_appended_entries_total")
            .increment(end.0 - self.shared.end.borrow().0);
        self.active.set_durable(self.offset);
        self.shared.room.take(self.buffer.len() as u64);
        if is_wanted {
            self.shared.tail.push(cached);
        } else {
            self.shared.tail.skip(headers.len(), end);
        }
        self.shared.end.send_replace(end);
        for (claimed, first) in landed {
            claimed.land(first);
        }
        self.hand_over(&indexed, end);
        drop(spent);
    }

    /// Leaves identities to the index. It may be as far behind as fits into
    /// memory; an index that takes none any more is no reason not to end.
    fn hand_over(&self, indexed: &[Indexed], end: Position) {
        let to = Checkpoint {
            journal: self.shared.id.clone(),
            position: end,
            accepted: self.last,
            segment: self.active.first,
            offset: self.offset,
        };
        let goes_on = || self.shared.refusal().is_none();
        let waiting = self.shared.backlog.add(indexed, to, goes_on);
        if waiting >= RUN_IDENTITIES && waiting - indexed.len() < RUN_IDENTITIES {
            // a keeper with a full queue has enough to do, and looks at every tick
            let _ = self.keeper.try_send(Task::Index);
        }
    }
}

fn header_of(sealed: &Sealed, first: Position, accepted: Moment) -> FrameHeader {
    let payload = sealed.frame.len() - frame::HEADER_BYTES;
    FrameHeader {
        version: frame::VERSION,
        payload_bytes: u32::try_from(payload).expect("a draft is refused above 256 MiB"),
        entries: u32::try_from(sealed.records.len()).expect("every record has more than a byte"),
        first,
        received_at: accepted.at,
        heard_at: accepted.heard,
    }
}

fn collect_identities(sealed: &Sealed, header: &FrameHeader, indexed: &mut Vec<Indexed>) {
    for (place, identity) in sealed.identities.iter().enumerate() {
        if let Some(identity) = identity {
            indexed.push(Indexed {
                identity: *identity,
                position: Position(header.first.0 + place as u64),
                received_at: header.received_at,
            });
        }
    }
}

fn cache(sealed: &mut Sealed, header: &FrameHeader) -> CachedFrame {
    let mut position = header.first;
    let records = mem::take(&mut sealed.records);
    let entries = records.into_iter().map(|record| {
        let entry = Entry {
            position,
            received_at: header.received_at,
            heard_at: header.heard_at,
            record,
        };
        position = position.next();
        Arc::new(entry)
    });
    CachedFrame {
        entries: entries.collect(),
        bytes: header.frame_bytes(),
    }
}

fn refuse(requests: impl IntoIterator<Item = Request>, error: &AppendError) {
    for request in requests {
        request.claimed.refuse(error.clone());
    }
}
