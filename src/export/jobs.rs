//! The exports that are under way: few at a time, each with how far it is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mimamori_actors::domain::Timestamp;
use serde::Serialize;

use super::{ExportError, Request};

/// So many at a time: each reads as fast as the records can.
pub(super) const MOST: usize = 2;

/// As many exports as may be are under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MOST} exports are under way already")]
pub struct TooMany;

/// The exports under way. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Jobs(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    last: AtomicU64,
    under_way: Mutex<BTreeMap<u64, Arc<Progress>>>,
}

#[derive(Debug)]
struct Progress {
    classroom: String,
    what: &'static str,
    format: &'static str,
    begun: Timestamp,
    /// About, those who are left out included; 0 until they are counted.
    of: AtomicU64,
    rows: AtomicU64,
    bytes: AtomicU64,
}

/// How far an export is.
#[derive(Debug, Serialize)]
pub struct Told {
    id: u64,
    classroom: String,
    what: &'static str,
    format: &'static str,
    begun: Timestamp,
    rows: u64,
    of: u64,
    bytes: u64,
}

/// An export under way; its place is free when it is dropped.
#[derive(Debug)]
pub(crate) struct Job {
    jobs: Jobs,
    id: u64,
    progress: Arc<Progress>,
}

impl Jobs {
    /// Takes a place for an export.
    pub(crate) fn begin(&self, request: &Request, now: Timestamp) -> Result<Job, TooMany> {
        let mut under_way = self.under_way();
        if under_way.len() >= MOST {
            metrics::counter!("mimamori_export_refused_jobs_total").increment(1);
            return Err(TooMany);
        }
        let progress = Arc::new(Progress {
            classroom: request.classroom.as_str().to_owned(),
            what: request.what.as_str(),
            format: request.format.as_str(),
            begun: now,
            of: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        });
        let id = self.0.last.fetch_add(1, Ordering::Relaxed) + 1;
        under_way.insert(id, Arc::clone(&progress));
        metrics::gauge!("mimamori_export_jobs").set(under_way.len() as f64);
        Ok(Job {
            jobs: self.clone(),
            id,
            progress,
        })
    }

    /// Those under way, the oldest first.
    pub fn told(&self) -> Vec<Told> {
        let under_way = self.under_way();
        let told = under_way.iter().map(|(id, it)| Told {
            id: *id,
            classroom: it.classroom.clone(),
            what: it.what,
            format: it.format,
            begun: it.begun,
            rows: it.rows.load(Ordering::Relaxed),
            of: it.of.load(Ordering::Relaxed),
            bytes: it.bytes.load(Ordering::Relaxed),
        });
        told.collect()
    }

    /// How many rows this one has so far; none when it has ended.
    pub(crate) fn rows_of(&self, job: u64) -> Option<u64> {
        let under_way = self.under_way();
        under_way
            .get(&job)
            .map(|it| it.rows.load(Ordering::Relaxed))
    }

    fn under_way(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Arc<Progress>>> {
        // a map that is whole after every call
        self.0
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job {
    /// What the list of jobs calls it.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn has_at_most(&self, rows: u64) {
        self.progress.of.store(rows, Ordering::Relaxed);
    }

    pub(super) fn moved(&self, rows: usize, bytes: usize) {
        self.progress.rows.fetch_add(rows as u64, Ordering::Relaxed);
        self.progress
            .bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
        metrics::counter!("mimamori_export_rows_total").increment(rows as u64);
    }

    pub(super) fn ended(&self, error: Option<&ExportError>) {
        let ended = match error {
            None => "whole",
            Some(ExportError::Gone | ExportError::NotTaken) => "left",
            Some(ExportError::Records(_) | ExportError::Format(_)) => "failed",
        };
        metrics::counter!("mimamori_export_ended_jobs_total", "ended" => ended).increment(1);
        let Progress {
            classroom,
            what,
            rows,
            ..
        } = &*self.progress;
        let rows = rows.load(Ordering::Relaxed);
        match error {
            None => tracing::info!(classroom.id = classroom, what, rows, "an export was made"),
            Some(error @ (ExportError::Gone | ExportError::NotTaken)) => {
                tracing::info!(classroom.id = classroom, what, rows, %error, "an export was left");
            }
            Some(error @ (ExportError::Records(_) | ExportError::Format(_))) => {
                tracing::warn!(classroom.id = classroom, what, rows, %error, "an export ended before its end");
            }
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let mut under_way = self.jobs.under_way();
        under_way.remove(&self.id);
        metrics::gauge!("mimamori_export_jobs").set(under_way.len() as f64);
    }
}
