//! Hears what a console says and does it: one state after the other, signing in, then watching.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use mimamori_actors::domain::{ClassroomId, Cursor};
use mimamori_actors::feed::reset_frame;
use mimamori_actors::live::{Console, SubscribeError};
use mimamori_actors::outbox::{CloseCode, Outbox};
use tokio::io::AsyncRead;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::between::Between;
use super::inbound::{Ended, Inbound};
use super::message::{self, Message, Reference, Refusal};
use super::pace::Pace;
use super::sign_in::{Credential, Right};
use super::{Live, frames};

/// A console is looked at so many times between two pings.
const PULSES_A_HEARTBEAT: u32 = 3;

/// Names longer than this are no classroom of ours (contract, section 3: ids have at most 1 KiB).
const MAX_CLASSROOM_BYTES: usize = 1024;

/// The reader of one connection.
pub(super) struct Listener {
    live: Arc<Live>,
    outbox: Arc<Outbox>,
    /// Knows the classrooms of which the outbox lost what waited.
    between: Arc<Between>,
}

impl Listener {
    pub(super) fn new(live: Arc<Live>, outbox: Arc<Outbox>, between: Arc<Between>) -> Self {
        Self {
            live,
            outbox,
            between,
        }
    }

    /// Runs until the connection ends, and says why it does.
    pub(super) async fn run<R>(self, inbound: &mut Inbound<R>, credential: Credential) -> Ended
    where
        R: AsyncRead + Unpin,
    {
        self.talk(inbound, credential)
            .await
            .err()
            .unwrap_or(Ended::Gone)
    }

    async fn talk<R>(self, inbound: &mut Inbound<R>, credential: Credential) -> Result<(), Ended>
    where
        R: AsyncRead + Unpin,
    {
        let right = self.sign_in(inbound, credential).await?;
        let console = self
            .live
            .consoles
            .connect(Arc::clone(&self.outbox))
            .map_err(|_| Ended::Close(CloseCode::TooManyConsoles))?;
        self.outbox
            .push(frames::hello(self.live.settings.heartbeat));
        let mut watching = Watching {
            console,
            outbox: self.outbox,
            live: &self.live,
            right,
            classrooms: BTreeSet::new(),
            unopened: BTreeSet::new(),
            _connected: Connected::new(),
        };
        let mut told = Told {
            draining: self.live.draining.clone(),
            withdrawals: self.live.withdrawals.clone(),
        };
        let ended = watching.run(inbound, &mut told, &self.between).await;
        if let Err(Ended::Close(code)) = ended {
            // before the console is let go: that closes the outbox too, and the first code counts
            watching.outbox.close(code);
        }
        ended
    }

    /// Returns what it may stay for, so that this can be looked at again.
    async fn sign_in<R>(
        &self,
        inbound: &mut Inbound<R>,
        credential: Credential,
    ) -> Result<Right, Ended>
    where
        R: AsyncRead + Unpin,
    {
        let sign_in = Arc::clone(&self.live.sign_in);
        let not_signed_in = Ended::Close(CloseCode::NotSignedIn);
        let right = match credential {
            Credential::Token(token) => Right::of_token(token, sign_in.as_ref()),
            Credential::Cookie(head) => Right::of_cookie(head, sign_in.as_ref()),
            Credential::FirstFrame => {
                let token = self.first_frame(inbound).await?;
                Right::of_token(token, sign_in.as_ref())
            }
        };
        right.ok_or(not_signed_in)
    }

    async fn first_frame<R>(&self, inbound: &mut Inbound<R>) -> Result<String, Ended>
    where
        R: AsyncRead + Unpin,
    {
        let not_signed_in = Ended::Close(CloseCode::NotSignedIn);
        let mut draining = self.live.draining.clone();
        let text = tokio::select! {
            text = timeout(self.live.settings.sign_in_within, inbound.next_text()) => {
                text.map_err(|_| not_signed_in)??
            }
            () = drained(&mut draining) => return Err(Ended::Close(CloseCode::Draining)),
        };
        match message::parse(&text) {
            Ok(Message::Auth { token }) => Ok(token),
            Ok(_) | Err(_) => Err(not_signed_in),
        }
    }
}

/// A console that is signed in.
struct Watching<'a> {
    console: Box<dyn Console>,
    outbox: Arc<Outbox>,
    live: &'a Live,
    right: Right,
    classrooms: BTreeSet<ClassroomId>,
    /// Watched, but the classroom was not ready: tried again with every pulse.
    unopened: BTreeSet<ClassroomId>,
    _connected: Connected,
}

impl Watching<'_> {
    async fn run<R>(
        &mut self,
        inbound: &mut Inbound<R>,
        told: &mut Told,
        between: &Between,
    ) -> Result<(), Ended>
    where
        R: AsyncRead + Unpin,
    {
        let every = self.live.settings.heartbeat / PULSES_A_HEARTBEAT;
        let mut pulse = interval(every);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pulse.reset();
        let mut pace = Pace::new(every);
        let mut pulses = 0;
        loop {
            tokio::select! {
                biased;
                () = drained(&mut told.draining) => return Err(Ended::Close(CloseCode::Draining)),
                () = withdrawn(&mut told.withdrawals) => self.check_right()?,
                _ = pulse.tick() => {
                    pulses += 1;
                    self.check_pace(&mut pace)?;
                    self.check_right()?;
                    if pulses % PULSES_A_HEARTBEAT == 0 {
                        inbound.ping()?;
                    }
                    self.open_the_unopened().await;
                }
                classroom = between.lost() => self.begin_anew(classroom).await,
                text = inbound.next_text() => {
                    if !self.hear(&text?).await {
                        inbound.count_bad_message()?;
                    }
                }
            }
        }
    }

    fn check_pace(&self, pace: &mut Pace) -> Result<(), Ended> {
        if pace.behind_for(&self.outbox) > self.live.settings.behind_for {
            return Err(Ended::Close(CloseCode::TooSlow));
        }
        Ok(())
    }

    fn check_right(&self) -> Result<(), Ended> {
        if self.right.holds(self.live.sign_in.as_ref()) {
            Ok(())
        } else {
            Err(Ended::Close(CloseCode::RightWithdrawn))
        }
    }

    /// Does what a message asks for. Says whether it could be understood.
    async fn hear(&mut self, text: &str) -> bool {
        let refusal = match message::parse(text) {
            Ok(Message::Subscribe {
                classroom,
                since,
                reference,
            }) => self.subscribe(classroom, since, reference).await.err(),
            Ok(Message::Unsubscribe {
                classroom,
                reference,
            }) => {
                self.unsubscribe(&classroom, reference.as_ref());
                None
            }
            Ok(Message::NotYet { reference }) => Some(Refusal::new(
                reference,
                "not_yet",
                "this is not in this version",
            )),
            // signed in already
            Ok(Message::Auth { .. }) => None,
            Err(refusal) => {
                self.outbox.push(frames::error(&refusal));
                return false;
            }
        };
        if let Some(refusal) = refusal {
            self.outbox.push(frames::error(&refusal));
        }
        true
    }

    async fn subscribe(
        &mut self,
        classroom: ClassroomId,
        since: Option<Cursor>,
        reference: Option<Reference>,
    ) -> Result<(), Refusal> {
        let is_new = !self.classrooms.contains(&classroom);
        if is_new && self.classrooms.len() >= self.live.settings.max_classrooms {
            let detail = "this connection watches as many classrooms as it may";
            return Err(Refusal::new(reference, "too_many", detail));
        }
        self.unopened.remove(&classroom);
        match self.open(&classroom, since).await {
            Ok(()) => {
                self.classrooms.insert(classroom);
            }
            Err(SubscribeError::Unavailable) => {
                self.classrooms.insert(classroom.clone());
                self.unopened.insert(classroom);
            }
            Err(SubscribeError::NotFound) => {
                self.classrooms.remove(&classroom);
                let detail = "no such classroom, or not for this console";
                return Err(Refusal::new(reference, "not_found", detail));
            }
        }
        Ok(())
    }

    fn unsubscribe(&mut self, classroom: &ClassroomId, reference: Option<&Reference>) {
        if self.classrooms.remove(classroom) {
            self.unopened.remove(classroom);
            self.console.unsubscribe(classroom);
            self.outbox.stop_classroom(classroom);
        }
        if let Some(reference) = reference {
            self.outbox.push(frames::ack(reference));
        }
    }

    /// The console was too slow for this classroom: it forgets it and gets it whole.
    async fn begin_anew(&mut self, classroom: ClassroomId) {
        if !self.classrooms.contains(&classroom) {
            return;
        }
        self.outbox.push(reset_frame(&classroom, "slow"));
        self.reopen(classroom).await;
    }

    async fn open_the_unopened(&mut self) {
        for classroom in std::mem::take(&mut self.unopened) {
            self.reopen(classroom).await;
        }
    }

    async fn reopen(&mut self, classroom: ClassroomId) {
        match self.open(&classroom, None).await {
            Ok(()) => {}
            Err(SubscribeError::Unavailable) => {
                self.unopened.insert(classroom);
            }
            Err(SubscribeError::NotFound) => {
                self.classrooms.remove(&classroom);
            }
        }
    }

    /// A classroom that does not answer must not keep the reader from hearing pongs.
    async fn open(
        &self,
        classroom: &ClassroomId,
        since: Option<Cursor>,
    ) -> Result<(), SubscribeError> {
        if classroom.as_str().len() > MAX_CLASSROOM_BYTES {
            return Err(SubscribeError::NotFound);
        }
        let patience: Duration = self.live.settings.subscribe_within;
        timeout(patience, self.console.subscribe(classroom, since))
            .await
            .unwrap_or(Err(SubscribeError::Unavailable))
    }
}

/// Waits until the server drains.
async fn drained(draining: &mut watch::Receiver<bool>) {
    if draining.wait_for(|is_draining| *is_draining).await.is_err() {
        // nobody is left who could ask for it
        std::future::pending::<()>().await;
    }
}

/// Waits until a right is withdrawn, anybody's.
async fn withdrawn(withdrawals: &mut watch::Receiver<u64>) {
    if withdrawals.changed().await.is_err() {
        // nobody is left who could withdraw one
        std::future::pending::<()>().await;
    }
}

/// Where a console hears of what concerns all.
struct Told {
    draining: watch::Receiver<bool>,
    withdrawals: watch::Receiver<u64>,
}

/// Counts a console while it is connected.
struct Connected;

impl Connected {
    fn new() -> Self {
        gauge!("mimamori_live_consoles").increment(1.0);
        Self
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        gauge!("mimamori_live_consoles").decrement(1.0);
    }
}
