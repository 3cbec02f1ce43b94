//! What may happen to a journal.

use proptest::prelude::*;

use mimamori_actors::ports::Origin;

/// One record to append: names are few, so that they come again.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pick {
    /// A name that was not there before, with so many bytes.
    Fresh(usize),
    /// One of the names that were, with this content.
    Again {
        /// Counted from the newest.
        back: usize,
        /// 0 is what it had first; anything else is a conflict.
        content: u8,
    },
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) origin: Origin,
    pub(super) records: Vec<Pick>,
}

/// What a crash takes of what was written and not synced.
#[derive(Debug, Clone)]
pub(super) enum Loss {
    /// Nothing: only the process died.
    Nothing,
    /// Everything behind this part of it, in thousandths; the file ends there or goes on with zeros.
    Behind { thousandth: u64, is_cut: bool },
    /// Sectors, by the bits of a number: a disk writes them in any order.
    Sectors(u64),
}

/// What becomes of the index while nothing runs.
#[derive(Debug, Clone, Copy)]
pub(super) enum IndexFate {
    Lost,
    /// Bytes of its files are overwritten, chosen by this number.
    Damaged(u64),
    /// It is what it was when it was last looked at.
    Older,
}

#[derive(Debug, Clone)]
pub(super) enum Action {
    /// Requests that come at once.
    Append(Vec<Request>),
    /// Reads from any position on.
    Read {
        after: u64,
        limit: usize,
    },
    /// A consumer reads on and commits.
    Consume {
        consumer: usize,
        limit: usize,
    },
    /// What the journal does on its own from time to time.
    Tick,
    Restart,
    /// The power goes while requests are being written.
    Crash {
        requests: Vec<Request>,
        /// So many syncs succeed before.
        syncs: u32,
        loses: Loss,
        /// The files as they are now, or as the process left them when it ended for its failure.
        is_sudden: bool,
    },
    /// A bit of a frame turns, while it runs or while it does not.
    FlipFrame {
        frame: u64,
        bit: u64,
        is_running: bool,
    },
    /// The disk lied: of the last segment what stands behind this byte is gone or zeros, acknowledged or not.
    LoseTail {
        at: u64,
        is_cut: bool,
    },
    /// A bit of a segment's header turns.
    FlipHeader {
        segment: u64,
        bit: u64,
    },
    /// The disk has no room for a file, or has again.
    DiskFull(bool),
    /// The free space is below the mark, or above it again.
    DiskLow(bool),
    Index(IndexFate),
    /// The index as it is now is put aside, for [`IndexFate::Older`].
    RememberIndex,
}

fn pick() -> impl Strategy<Value = Pick> {
    prop_oneof![
        6 => prop_oneof![9 => 0..400_usize, 2 => 400..3000_usize, 1 => 4000..9000_usize]
            .prop_map(Pick::Fresh),
        2 => (0..30_usize).prop_map(|back| Pick::Again { back, content: 0 }),
        1 => (0..30_usize).prop_map(|back| Pick::Again { back, content: 1 }),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let origin = prop_oneof![2 => Just(Origin::Outside), 1 => Just(Origin::Inside)];
    (origin, proptest::collection::vec(pick(), 1..5))
        .prop_map(|(origin, records)| Request { origin, records })
}

fn requests() -> impl Strategy<Value = Vec<Request>> {
    proptest::collection::vec(request(), 1..5)
}

fn loss() -> impl Strategy<Value = Loss> {
    prop_oneof![
        1 => Just(Loss::Nothing),
        3 => (0..1000_u64, any::<bool>())
            .prop_map(|(thousandth, is_cut)| Loss::Behind { thousandth, is_cut }),
        2 => any::<u64>().prop_map(Loss::Sectors),
    ]
}

fn crash() -> impl Strategy<Value = Action> {
    (requests(), 0..3_u32, loss(), any::<bool>()).prop_map(|(requests, syncs, loses, is_sudden)| {
        Action::Crash {
            requests,
            syncs,
            loses,
            is_sudden,
        }
    })
}

fn index_fate() -> impl Strategy<Value = IndexFate> {
    prop_oneof![
        Just(IndexFate::Lost),
        any::<u64>().prop_map(IndexFate::Damaged),
        Just(IndexFate::Older),
    ]
}

pub(super) fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        12 => requests().prop_map(Action::Append),
        3 => (any::<u64>(), 1..40_usize).prop_map(|(after, limit)| Action::Read { after, limit }),
        8 => (0..3_usize, 1..60_usize)
            .prop_map(|(consumer, limit)| Action::Consume { consumer, limit }),
        4 => Just(Action::Tick),
        2 => Just(Action::Restart),
        4 => crash(),
        2 => (any::<u64>(), any::<u64>(), any::<bool>())
            .prop_map(|(frame, bit, is_running)| Action::FlipFrame { frame, bit, is_running }),
        1 => (any::<u64>(), any::<u64>())
            .prop_map(|(segment, bit)| Action::FlipHeader { segment, bit }),
        1 => (any::<u64>(), any::<bool>()).prop_map(|(at, is_cut)| Action::LoseTail { at, is_cut }),
        1 => any::<bool>().prop_map(Action::DiskFull),
        1 => any::<bool>().prop_map(Action::DiskLow),
        1 => index_fate().prop_map(Action::Index),
        1 => Just(Action::RememberIndex),
    ]
}
