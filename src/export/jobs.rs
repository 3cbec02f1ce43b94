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
    /// About, those who are left out included.
    of: u64,
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
    /// Takes a place for an export of about `of` rows.
    pub(crate) fn begin(&self, request: &Request, of: u64, now: Timestamp) -> Result<Job, TooMany> {
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
            of,
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
            of: it.of,
            bytes: it.bytes.load(Ordering::Relaxed),
        });
        told.collect()
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
        let rows = self.progress.rows.load(Ordering::Relaxed);
        match error {
            Some(error) => tracing::warn!(rows, %error, "an export ended before its end"),
            None => tracing::info!(rows, what = self.progress.what, "an export was made"),
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
