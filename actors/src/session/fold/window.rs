//! The last 3 s, in the order of the present, and the base below them.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Step;
use super::brief::Brief;
use super::format::is_default;
use super::kernels::Kernels;
use super::order::Order;
use super::people::Sharing;
use super::present::{Over, Present};
use super::rows::Rows;
use crate::domain::Heard;

/// Events that come within this time of each other are put in their order.
pub const WINDOW: Duration = Duration::from_secs(3);
/// So many events are put in order: of more within [`WINDOW`], the oldest is in its place for good.
pub const MAX_RECENT: usize = 256;
/// More than this is worth a timer, so that it does not wait in memory for the next event.
const MANY: usize = 8;

/// Events that are not yet in their place for good.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Recent(VecDeque<Brief>);

impl Recent {
    /// Puts the event in its place; whether that is behind all others.
    pub(super) fn insert(&mut self, brief: Brief) -> bool {
        let place = |brief: &Brief| (brief.order, brief.position);
        let index = self.0.partition_point(|known| place(known) < place(&brief));
        let is_newest = index == self.0.len();
        if self.0.is_empty() {
            // the last one waits here until the next comes
            self.0.reserve_exact(1);
        }
        self.0.insert(index, brief);
        is_newest
    }

    /// Takes the oldest if it, or one that is to come behind it, is older than the window.
    ///
    /// What stands before an event that leaves, leaves with it: so the order in
    /// which events get to their place for good is the order of the present.
    pub(super) fn settled(&mut self, now: Heard) -> VecDeque<Brief> {
        let is_old = |brief: &Brief| now.since(brief.received.heard) > WINDOW;
        let count = self.0.iter().rposition(is_old).map_or(0, |last| last + 1);
        if count == self.0.len() {
            return std::mem::take(&mut self.0);
        }
        let rest = self.0.split_off(count);
        std::mem::replace(&mut self.0, rest)
    }

    /// Takes all.
    pub(super) fn take(&mut self) -> VecDeque<Brief> {
        std::mem::take(&mut self.0)
    }

    /// Takes the oldest if there are more than may be.
    pub(super) fn beyond_bound(&mut self) -> Option<Brief> {
        (self.0.len() > MAX_RECENT)
            .then(|| self.0.pop_front())
            .flatten()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Brief> {
        self.0.iter()
    }

    pub(super) fn newest(&self) -> Option<&Brief> {
        self.0.back()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// When the last of them will be older than the window.
    pub(super) fn settles_at(&self) -> Option<Heard> {
        let last = self.0.iter().map(|brief| brief.received.heard).max()?;
        Some(last.plus(WINDOW + Duration::from_millis(1)))
    }

    pub(super) fn is_many(&self) -> bool {
        self.0.len() > MANY
    }
}

/// Everything that is in its place for good.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Base {
    pub(super) present: Present,
    /// Kept apart: see `format`.
    #[serde(skip)]
    pub(super) rows: Rows,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) kernels: Kernels,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) sharing: Sharing,
    /// An event that belongs before this one came too late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    horizon: Option<Order>,
}

impl Base {
    pub(super) fn is_late(&self, order: Order) -> bool {
        self.horizon.is_some_and(|horizon| order < horizon)
    }

    /// Puts the next event in its place for good, and tells what is certain now.
    pub(super) fn fold(&mut self, brief: &Brief, step: &mut Step<'_>) {
        let evidence = self.present.people.evidence;
        // what ended was told when it was in the window
        let mut over = Over::default();
        self.present
            .fold(brief, &mut self.rows, step.key, &mut over);
        let notebook = self.present.place.notebook.as_ref();
        self.kernels.fold(brief, notebook, step);
        self.sharing
            .fold(brief, &self.present.people, evidence, step);
        self.see(brief.order);
    }

    pub(super) fn see(&mut self, order: Order) {
        self.horizon = self.horizon.max(Some(order));
    }

    /// Live counters, errors in a row, the last run and alerts are of one lesson; place and help are not.
    pub(super) fn forget_lesson(&mut self, step: &mut Step<'_>) {
        self.present.forget_runs();
        self.rows.clear();
        self.kernels.close_all(step);
        self.sharing.close(step);
    }
}
