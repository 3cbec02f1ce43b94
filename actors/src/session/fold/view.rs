//! What the outside sees of a state: the student, and what is to come by silence.

use std::sync::Arc;

use super::present::Present;
use super::{HELP_SILENCE, SESSION_SILENCE, SessionState};
use crate::domain::{Heard, StudentView, TimerCause};

impl SessionState {
    /// The student as it is published.
    pub fn view(&self) -> StudentView {
        let Present { place, trouble, .. } = &self.present;
        let errors_in_a_row = place
            .cell()
            .map_or(0, |cell| self.changed.errors_of(cell, &self.base.rows));
        let stuck = trouble.stuck.iter();
        let stuck = stuck.map(|stuck| stuck.alert(&self.key.student));
        let sharing = &self.base.sharing.alert;
        StudentView {
            position: self.position,
            id: self.key.student.clone(),
            name: self
                .present
                .name
                .as_ref()
                .map(|name| Arc::clone(&name.text))
                .unwrap_or_default(),
            team: self.present.team.clone(),
            is_default_address: self.is_default_address,
            people: match sharing {
                Some(_) => self.present.people.shown(),
                None => Vec::new(),
            },
            notebook: place.notebook_path(),
            cell_id: place.cell_id.clone(),
            cell_index: place.cell_index,
            executions: self.counters.executions,
            errors: self.counters.errors,
            consecutive_errors: errors_in_a_row,
            is_last_run_failed: self.present.is_last_run_failed,
            last_activity: self.last_activity,
            help: self.present.help.as_ref().map(|call| call.open.clone()),
            alerts: stuck
                .chain(self.base.kernels.alerts().cloned())
                .chain(sharing.clone())
                .collect(),
        }
    }

    /// When which silence will be over, if nothing comes: whose timer to write then.
    pub fn deadlines(&self) -> Vec<(Heard, TimerCause)> {
        let student = &self.key.student;
        let help = self.present.help.as_ref().map(|call| {
            let open = &call.open;
            let cause = TimerCause::HelpSilent {
                student: student.clone(),
                help: open.shown.id.clone(),
                last_beat: open.last_beat.heard,
            };
            (open.last_beat.heard.plus(HELP_SILENCE), cause)
        });
        let session = self.session.as_ref().map(|open| {
            let cause = TimerCause::SessionSilent {
                student: student.clone(),
                session: open.id.clone(),
                last_event: open.last_event.heard,
            };
            (open.last_event.heard.plus(SESSION_SILENCE), cause)
        });
        let order = self.recent.settles_at().filter(|_| self.is_order_awaited());
        let order = order.map(|due| {
            let cause = TimerCause::OrderSettled {
                student: student.clone(),
                due,
            };
            (due, cause)
        });
        help.into_iter().chain(session).chain(order).collect()
    }

    /// Whether something waits to be told, or much to be put away, until the order is settled.
    fn is_order_awaited(&self) -> bool {
        self.recent.is_many()
            || self.present.people.evidence != self.base.present.people.evidence
            || self.base.kernels.is_to_tell(self.recent.iter())
    }
}
