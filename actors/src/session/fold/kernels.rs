//! The kernels' counters: runs that nobody reported, and kernels that were started again.
//!
//! A kernel counts 1, 2, 3 … whatever it runs. A jump of more than one says that
//! runs were not reported, a fall that the kernel was started again; the same
//! count once more says nothing. A count is compared with the last one of its
//! notebook and client session: the first one heard has nothing before it.
//!
//! Both are told as alerts, of each kind at most one for a notebook, when the
//! 3 s have passed in which a missing run may still come. They close when
//! [`STEADY_RUNS`] runs have come in their order, when another client works in
//! the notebook, when a run that was missing comes late, and with the lesson.

use serde::{Deserialize, Serialize};

use super::Step;
use super::alerts::{self, Cause};
use super::brief::{Brief, Label};
use super::format::is_default;
use crate::domain::{Alert, AlertKind};

/// So many notebooks are followed; of more, the one that ran longest ago is forgotten.
pub const MAX_NOTEBOOKS: usize = 16;
/// After so many runs in their order nothing is wrong any more.
const STEADY_RUNS: u8 = 10;
/// So many rows of missing runs are known by their counts: a run of an older one is not found again.
const MAX_GAPS: usize = 8;
/// More of a path is not shown in a reason.
const PATH_SHOWN: usize = 60;

/// The kernels of one student, who ran last at the end.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Kernels(Vec<Kernel>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kernel {
    #[serde(rename = "n")]
    notebook: Label,
    /// The client's session.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    session: Option<u64>,
    #[serde(rename = "c")]
    count: i64,
    /// Runs since something was wrong.
    #[serde(rename = "r", default, skip_serializing_if = "is_default")]
    steady: u8,
    #[serde(rename = "m", default, skip_serializing_if = "is_default")]
    missing: u64,
    /// The missing runs, from one count to another.
    #[serde(rename = "g", default, skip_serializing_if = "is_default")]
    gaps: Vec<(i64, i64)>,
    #[serde(rename = "k", default, skip_serializing_if = "is_default")]
    restarts: u32,
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    unreported: Option<Alert>,
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    restarted: Option<Alert>,
}

impl Kernels {
    /// A run of this notebook is in its place for good.
    pub(super) fn fold(&mut self, brief: &Brief, notebook: Option<&Label>, step: &mut Step<'_>) {
        let (Some(count), Some(notebook)) = (brief.count, notebook) else {
            return;
        };
        let known = self
            .0
            .iter()
            .position(|kernel| kernel.notebook.key == notebook.key);
        let Some(index) = known else {
            if self.0.len() >= MAX_NOTEBOOKS {
                self.0.remove(0).close(step);
            }
            // most students have one notebook open
            self.0.reserve_exact(1);
            self.0.push(Kernel::new(notebook, brief.by.session, count));
            return;
        };
        let mut kernel = self.0.remove(index);
        if kernel.session == brief.by.session {
            kernel.run(count, brief, step);
        } else {
            kernel.close(step);
            kernel = Kernel::new(notebook, brief.by.session, count);
        }
        self.0.push(kernel);
    }

    /// A run came too late to be in its place; if it was missing it no longer is.
    pub(super) fn find(
        &mut self,
        count: i64,
        session: Option<u64>,
        notebook: Option<&Label>,
        step: &mut Step<'_>,
    ) {
        let Some(notebook) = notebook else {
            return;
        };
        let kernel = self
            .0
            .iter_mut()
            .find(|kernel| kernel.notebook.key == notebook.key && kernel.session == session);
        if let Some(kernel) = kernel {
            kernel.find(count, step);
        }
    }

    /// Whether the runs among these, once they are in their place, will have something to tell.
    pub(super) fn is_to_tell<'a>(&self, briefs: impl Iterator<Item = &'a Brief>) -> bool {
        let mut counts: Vec<(u64, Option<u64>, i64)> = Vec::new();
        for brief in briefs {
            let (Some(count), Some(notebook)) = (brief.count, &brief.notebook) else {
                continue;
            };
            let session = brief.by.session;
            let seen = counts.iter_mut().find(|(key, ..)| *key == notebook.key);
            let known = || self.0.iter().find(|it| it.notebook.key == notebook.key);
            let before = match &seen {
                Some((_, session, count)) => Some((*session, *count)),
                None => known().map(|kernel| (kernel.session, kernel.count)),
            };
            if let Some((before_session, before)) = before
                && before_session == session
                && count != before
                && count != before.saturating_add(1)
            {
                return true;
            }
            match seen {
                Some(seen) => *seen = (notebook.key, session, count),
                None => counts.push((notebook.key, session, count)),
            }
        }
        false
    }

    pub(super) fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.0
            .iter()
            .flat_map(|kernel| kernel.unreported.iter().chain(&kernel.restarted))
    }

    /// Another lesson: what was wrong in the last one is over. The counters go on.
    pub(super) fn close_all(&mut self, step: &mut Step<'_>) {
        for kernel in &mut self.0 {
            kernel.close(step);
        }
    }
}

impl Kernel {
    fn new(notebook: &Label, session: Option<u64>, count: i64) -> Self {
        Self {
            notebook: notebook.clone(),
            session,
            count,
            steady: 0,
            missing: 0,
            gaps: Vec::new(),
            restarts: 0,
            unreported: None,
            restarted: None,
        }
    }

    fn run(&mut self, count: i64, brief: &Brief, step: &mut Step<'_>) {
        let before = std::mem::replace(&mut self.count, count);
        if count == before {
            return;
        }
        let is_restart = count < before;
        let expected = if is_restart {
            1
        } else {
            before.saturating_add(1)
        };
        let missing = count.saturating_sub(expected).unsigned_abs();
        if !is_restart && missing == 0 {
            self.steady = self.steady.saturating_add(1);
            if self.steady >= STEADY_RUNS {
                self.close(step);
            }
            return;
        }
        self.steady = 0;
        if is_restart {
            self.forget_missing();
            alerts::close(&mut self.unreported, step);
            self.tell_restart(brief, step);
        }
        if missing > 0 {
            self.missing = self.missing.saturating_add(missing);
            self.note_gap((expected, count.saturating_sub(1)));
            self.tell_missing(brief, step);
        }
    }

    fn tell_restart(&mut self, brief: &Brief, step: &mut Step<'_>) {
        self.restarts = self.restarts.saturating_add(1);
        let notebook = self.path();
        let reason = match self.restarts {
            1 => format!("the kernel of {notebook} was started again"),
            times => format!("the kernel of {notebook} was started again {times} times"),
        };
        tell(
            &mut self.restarted,
            AlertKind::KernelRestarted,
            reason,
            brief,
            step,
        );
    }

    fn tell_missing(&mut self, brief: &Brief, step: &mut Step<'_>) {
        let reason = self.reason_of_missing();
        tell(
            &mut self.unreported,
            AlertKind::RunsNotReported,
            reason,
            brief,
            step,
        );
    }

    fn note_gap(&mut self, gap: (i64, i64)) {
        if self.gaps.len() >= MAX_GAPS {
            self.gaps.remove(0);
        }
        self.gaps.push(gap);
    }

    fn forget_missing(&mut self) {
        self.missing = 0;
        self.gaps.clear();
    }

    /// A run with this count came late: if it was missing it no longer is.
    fn find(&mut self, count: i64, step: &mut Step<'_>) {
        let holds = |gap: &(i64, i64)| (gap.0..=gap.1).contains(&count);
        let Some(index) = self.gaps.iter().position(holds) else {
            return;
        };
        let (first, last) = self.gaps.remove(index);
        for rest in [(first, count - 1), (count + 1, last)] {
            if rest.0 <= rest.1 {
                self.note_gap(rest);
            }
        }
        self.missing = self.missing.saturating_sub(1);
        let reason = self.reason_of_missing();
        if self.missing == 0 {
            alerts::close(&mut self.unreported, step);
        } else if let Some(alert) = &mut self.unreported {
            alerts::change_reason(alert, reason, step);
        }
    }

    fn reason_of_missing(&self) -> String {
        let notebook = self.path();
        match self.missing {
            1 => format!("1 run in {notebook} was not reported"),
            runs => format!("{runs} runs in {notebook} were not reported"),
        }
    }

    fn close(&mut self, step: &mut Step<'_>) {
        self.forget_missing();
        self.restarts = 0;
        self.steady = 0;
        alerts::close(&mut self.unreported, step);
        alerts::close(&mut self.restarted, step);
    }

    fn path(&self) -> String {
        let path = &self.notebook.text;
        match path.char_indices().nth(PATH_SHOWN) {
            Some((end, _)) => format!("{}…", &path[..end]),
            None => path.to_string(),
        }
    }
}

/// Opens the alert, or says the new reason of the one that stands.
fn tell(
    alert: &mut Option<Alert>,
    kind: AlertKind,
    reason: String,
    brief: &Brief,
    step: &mut Step<'_>,
) {
    match alert {
        Some(alert) => alerts::change_reason(alert, reason, step),
        None => {
            let cause = Cause::of(kind, brief);
            *alert = Some(alerts::open(&cause, brief.cell_id.as_deref(), reason, step));
        }
    }
}
