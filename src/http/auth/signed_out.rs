//! The consoles that signed out before their cookie was too old, across restarts.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use mimamori_actors::domain::Timestamp;
use tokio::sync::watch;

use crate::keys::{SESSION_LASTS, SessionToken, replace_file};

/// How many are remembered one by one. When there are more, the oldest sign-ins
/// are all signed out, which errs on the safe side.
const REMEMBERED: usize = 10_000;

const FORMAT: &str = "signed-out 1";

/// Sessions that are worth nothing any more.
#[derive(Debug)]
pub(super) struct SignedOut {
    file: Option<PathBuf>,
    list: Arc<Mutex<List>>,
    /// How many signed out while we ran.
    count: watch::Sender<u64>,
    /// One write at a time, each of what is known when it begins.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct List {
    /// By expiry, so that the oldest go first.
    sessions: BTreeSet<(Timestamp, [u8; 16])>,
    /// Every session that ends before this is signed out too.
    all_before: Timestamp,
}

impl SignedOut {
    /// Reads what was remembered under `dir`. If it can't be read, everybody
    /// who was signed in has to sign in anew: that is safe, and said.
    pub(super) fn load(dir: Option<&Path>, now: Timestamp) -> Self {
        let file = dir.map(|dir| dir.join("signed-out"));
        let list = file.as_deref().map_or(Ok(List::default()), List::read);
        let list = list.unwrap_or_else(|error| {
            tracing::warn!(%error, "who signed out is not known any more: all consoles must sign in anew");
            List {
                all_before: now.plus(SESSION_LASTS),
                ..List::default()
            }
        });
        Self {
            file,
            list: Arc::new(Mutex::new(list)),
            count: watch::Sender::new(0),
            writing: tokio::sync::Mutex::new(()),
        }
    }

    /// Moves on with every session that signs out.
    pub(super) fn count(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }

    pub(super) fn has(&self, session: &SessionToken) -> bool {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        session.expires < list.all_before || list.sessions.contains(&(session.expires, session.id))
    }

    /// All that are remembered one by one and not too old.
    pub(super) fn all(&self, now: Timestamp) -> Vec<SessionToken> {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = list.sessions.range((now, [0; 16])..);
        kept.map(|&(expires, id)| SessionToken { id, expires })
            .collect()
    }

    /// From now on the sessions are worth nothing; after a restart too, unless
    /// the disk refuses, which is logged.
    pub(super) async fn add(&self, sessions: &[SessionToken], now: Timestamp) {
        if sessions.is_empty() {
            return;
        }
        {
            let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
            for session in sessions {
                list.add(*session, now);
            }
        }
        self.count.send_modify(|count| *count += 1);
        let _one_at_a_time = self.writing.lock().await;
        if let Err(error) = self.save().await {
            metrics::counter!("mimamori_http_sign_out_write_failures_total").increment(1);
            tracing::error!(%error, "a sign-out is not on disk: a restart would undo it");
        }
    }

    async fn save(&self) -> io::Result<()> {
        let Some(file) = self.file.clone() else {
            return Ok(());
        };
        let list = Arc::clone(&self.list);
        let write = move || {
            let text = list
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .to_text();
            replace_file(&file, &text)
        };
        tokio::task::spawn_blocking(write)
            .await
            .map_err(io::Error::other)?
    }
}

impl List {
    fn add(&mut self, session: SessionToken, now: Timestamp) {
        // what is too old needs no remembering, but must not be good again if the clock is set back
        let kept = self.sessions.split_off(&(now, [0; 16]));
        if !self.sessions.is_empty() {
            self.all_before = self.all_before.max(now);
        }
        self.sessions = kept;
        self.sessions.insert((session.expires, session.id));
        if self.sessions.len() > REMEMBERED
            && let Some((expires, _)) = self.sessions.pop_first()
        {
            self.all_before = expires.plus(std::time::Duration::from_millis(1));
        }
    }

    fn read(file: &Path) -> io::Result<Self> {
        match std::fs::read_to_string(file) {
            Ok(text) => Self::from_text(&text).ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{} is damaged", file.display()),
                )
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    fn to_text(&self) -> String {
        let mut text = format!("{FORMAT}\n{}\n", self.all_before.as_millis());
        for (expires, id) in &self.sessions {
            let id = SessionToken {
                id: *id,
                expires: *expires,
            }
            .id_hex();
            text.push_str(&format!("{} {id}\n", expires.as_millis()));
        }
        text.push_str("end");
        text
    }

    fn from_text(text: &str) -> Option<Self> {
        let mut lines = text.trim_end().lines();
        if lines.next()? != FORMAT {
            return None;
        }
        let all_before = Timestamp::from_millis(lines.next()?.parse().ok()?);
        let mut sessions = BTreeSet::new();
        for line in lines {
            if line == "end" {
                return Some(Self {
                    sessions,
                    all_before,
                });
            }
            let (expires, id) = line.split_once(' ')?;
            let expires = Timestamp::from_millis(expires.parse().ok()?);
            sessions.insert((expires, SessionToken::id_from_hex(id)?));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(number: u32) -> SessionToken {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_le_bytes());
        SessionToken {
            id,
            expires: Timestamp::from_millis(1_000_000 + i64::from(number)),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut list = List::default();
        list.add(session(1), Timestamp::default());
        list.add(session(2), Timestamp::default());

        assert_eq!(List::from_text(&list.to_text()), Some(list));
    }

    #[test]
    fn a_list_without_its_end_is_damaged() {
        let mut list = List::default();
        list.add(session(1), Timestamp::default());
        let text = list.to_text();

        assert_eq!(List::from_text(text.strip_suffix("end").unwrap()), None);
        assert_eq!(List::from_text(""), None);
    }

    #[test]
    fn when_too_many_sign_out_the_oldest_sign_ins_all_end() {
        let signed_out = SignedOut::load(None, Timestamp::default());
        let count = u32::try_from(REMEMBERED).unwrap() + 1;
        for number in 1..=count {
            signed_out
                .list
                .lock()
                .unwrap()
                .add(session(number), Timestamp::default());
        }

        assert!(signed_out.has(&session(1)), "the one that was pushed out");
        assert!(signed_out.has(&session(count)));
        assert!(
            signed_out.has(&session(0)),
            "even one that never signed out"
        );
        assert!(!signed_out.has(&session(count + 1)));
        assert_eq!(signed_out.list.lock().unwrap().sessions.len(), REMEMBERED);
    }

    #[tokio::test]
    async fn a_damaged_list_signs_out_everybody_who_was_signed_in() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("signed-out"), "signed-out 1\n0\n12").unwrap();
        let now = Timestamp::from_millis(1_000_000);
        let before = SessionToken {
            id: [1; 16],
            expires: now
                .plus(SESSION_LASTS)
                .minus(std::time::Duration::from_secs(1)),
        };
        let after = SessionToken {
            id: [2; 16],
            expires: now.plus(SESSION_LASTS),
        };

        let signed_out = SignedOut::load(Some(dir.path()), now);

        assert!(signed_out.has(&before));
        assert!(!signed_out.has(&after), "a new sign-in works");
    }

    #[tokio::test]
    async fn those_that_are_too_old_are_forgotten() {
        let mut list = List::default();
        list.add(session(1), Timestamp::default());

        list.add(session(9), Timestamp::from_millis(1_000_005));

        assert_eq!(list.sessions.len(), 1);
    }

    #[test]
    fn who_signed_out_stays_so_when_the_clock_goes_a_day_forward_and_back() {
        let signed_out = SignedOut::load(None, Timestamp::default());
        let tomorrow = Timestamp::from_millis(86_400_000);
        let add = |session, now| signed_out.list.lock().unwrap().add(session, now);
        add(session(1), Timestamp::default());
        let later = SessionToken {
            expires: tomorrow.plus(SESSION_LASTS),
            ..session(2)
        };

        add(later, tomorrow);

        assert!(signed_out.has(&session(1)));
    }
}
