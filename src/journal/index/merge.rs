//! Makes one run of several small ones, so that there are never many to ask.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::run::{Pair, Pairs, Run, RunWriter};
use super::{Index, IndexError, filters_may_take, newest_checkpoint, open_written, remove_run};

/// So many runs of about one size are made one.
const FAN_IN: usize = 4;
/// Not more than so many at once.
const MAX_FAN_IN: usize = 16;
/// The sizes: up to so many identities each. A larger run (256 MiB) is merged no more.
const SIZES: [u64; 4] = [128 << 10, 512 << 10, 2 << 20, 8 << 20];
/// How often, in identities, it is asked whether to stop.
const ASKED_EVERY: u64 = 4096;

impl Index {
    /// Merges runs once, if there are enough of them; false if there was nothing to do.
    pub(in super::super) fn merge_once(&self) -> Result<bool, IndexError> {
        let _rewriting = self.rewriting();
        let Some(inputs) = self.to_merge() else {
            return Ok(false);
        };
        let (number, path) = self.next_run();
        if self.write_merged(&inputs, &path)? {
            self.replace(&inputs, number, path)?;
        }
        Ok(true)
    }

    /// A merge that is under way ends without having changed anything, and no other begins.
    pub(in super::super) fn stop_merging(&self) {
        self.stops_merging.store(true, Ordering::Relaxed);
    }

    /// Runs of one day, newest first.
    pub(super) fn to_merge(&self) -> Option<Vec<Arc<Run>>> {
        if self.stops_merging.load(Ordering::Relaxed) {
            return None;
        }
        let runs = self.runs();
        let newest_day = runs.iter().map(|run| run.day).max()?;
        let mut days: Vec<_> = runs.iter().map(|run| run.day).collect();
        days.sort_unstable();
        days.dedup();
        days.into_iter().find_map(|day| {
            let of_day: Vec<_> = runs
                .iter()
                .filter(|run| run.day == day && run.identities < SIZES[SIZES.len() - 1])
                .cloned()
                .collect();
            choose(of_day, day == newest_day)
        })
    }

    /// False if it was stopped.
    pub(super) fn write_merged(
        &self,
        inputs: &[Arc<Run>],
        path: &Path,
    ) -> Result<bool, IndexError> {
        let begun = Instant::now();
        let at_most = inputs.iter().map(|run| run.identities).sum();
        let mut writer = RunWriter::begin(path, at_most)?;
        let mut heads = Heads::new(inputs)?;
        let mut added = 0_u64;
        while let Some(pair) = heads.next()? {
            writer.add(&pair)?;
            added += 1;
            if added.is_multiple_of(ASKED_EVERY) && self.stops_merging.load(Ordering::Relaxed) {
                return Ok(false);
            }
        }
        writer.finish(inputs[0].day, newest_checkpoint(inputs))?;
        tracing::debug!(
            runs = inputs.len(),
            identities = at_most,
            duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            "runs of the index were merged"
        );
        Ok(true)
    }

    pub(super) fn replace(
        &self,
        inputs: &[Arc<Run>],
        number: u64,
        path: PathBuf,
    ) -> Result<(), IndexError> {
        let is_input = |run: &Arc<Run>| inputs.iter().any(|input| Arc::ptr_eq(input, run));
        let others: Vec<_> = self
            .runs()
            .iter()
            .filter(|run| !is_input(run))
            .cloned()
            .collect();
        let merged = open_written(path, number, filters_may_take(&others))?;
        let is_replaced = self.change_runs(|runs| {
            // if some expired meanwhile the others stay as they are
            if runs.iter().filter(|run| is_input(run)).count() < inputs.len() {
                return false;
            }
            runs.retain(|run| !is_input(run));
            runs.push(Arc::clone(&merged));
            runs.sort_by_key(|run| std::cmp::Reverse(run.number));
            true
        });
        if is_replaced {
            inputs.iter().for_each(|input| remove_run(input));
        } else {
            remove_run(&merged);
        }
        Ok(())
    }
}

/// As many of one size as make a merge worth it; of a day that is over, all.
fn choose(mut of_day: Vec<Arc<Run>>, is_newest_day: bool) -> Option<Vec<Arc<Run>>> {
    if !is_newest_day {
        of_day.truncate(MAX_FAN_IN);
        return (of_day.len() > 1).then_some(of_day);
    }
    let size_of = |run: &Run| SIZES.iter().position(|up_to| run.identities < *up_to);
    (0..SIZES.len()).find_map(|size| {
        let mut of_size = of_day.clone();
        of_size.retain(|run| size_of(run) == Some(size));
        of_size.truncate(MAX_FAN_IN);
        (of_size.len() >= FAN_IN).then_some(of_size)
    })
}

/// Several runs, read in step.
struct Heads<'a>(Vec<(u128, Pair, Pairs<'a>)>);

impl<'a> Heads<'a> {
    fn new(runs: &'a [Arc<Run>]) -> Result<Self, IndexError> {
        let mut heads = Vec::with_capacity(runs.len());
        for run in runs {
            let mut pairs = run.pairs();
            if let Some(pair) = pairs.next()? {
                heads.push((u128::from_be_bytes(pair.0), pair, pairs));
            }
        }
        Ok(Self(heads))
    }

    /// The smallest key of all; of equal ones that of the newest run first.
    fn next(&mut self) -> Result<Option<Pair>, IndexError> {
        let smallest = self.0.iter().enumerate().min_by_key(|(_, head)| head.0);
        let Some((at, _)) = smallest else {
            return Ok(None);
        };
        let (value, head, pairs) = &mut self.0[at];
        let pair = *head;
        match pairs.next()? {
            Some(next) => (*value, *head) = (u128::from_be_bytes(next.0), next),
            None => drop(self.0.remove(at)),
        }
        Ok(Some(pair))
    }
}
