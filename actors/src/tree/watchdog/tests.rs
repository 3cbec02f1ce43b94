use std::sync::Mutex;

use ractor::{Actor, ActorProcessingErr, ActorRef, ActorStatus};

use super::*;
use crate::tree::Nobody;

/// Ends only when it is killed at an await: never, while its test holds it.
struct Idle;

impl Actor for Idle {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

/// Writes down what it is asked.
#[derive(Default)]
struct Book {
    written_off: Mutex<Vec<ActorId>>,
    given_up: Mutex<Vec<String>>,
    has_no_time: std::sync::atomic::AtomicBool,
}

impl Undertaker for Book {
    fn write_off(&self, actor: ActorId, _: &str) -> bool {
        if self.has_no_time.load(std::sync::atomic::Ordering::Relaxed) {
            return false;
        }
        self.written_off.lock().unwrap().push(actor);
        true
    }

    fn give_up(&self, reason: String) {
        self.given_up.lock().unwrap().push(reason);
    }
}

struct Watched {
    vitals: Arc<Vitals>,
    cell: ActorCell,
    book: Arc<Book>,
    watchdog: Watchdog,
}

/// One actor; what it has in hand is the test's to say.
async fn watched(kind: &'static str) -> Watched {
    let census = Arc::new(Census::default());
    let vitals = census.enter("a", kind, Some("parent"), Duration::from_secs(1));
    let (actor, _) = Actor::spawn(None, Idle, ()).await.unwrap();
    census.runs("a", actor.get_cell());
    vitals.started();
    let book = Arc::new(Book::default());
    Watched {
        vitals,
        cell: actor.get_cell(),
        watchdog: Watchdog::new(census, book.clone(), Threads::current(), Arc::new(Nobody)),
        book,
    }
}

impl Watched {
    async fn look_for(&mut self, time: Duration) {
        for _ in 0..time.as_millis() / EVERY.as_millis() {
            tokio::time::sleep(EVERY).await;
            self.watchdog.look();
        }
    }

    fn is_killed(&self) -> bool {
        self.cell.get_status() == ActorStatus::Stopped
    }
}

#[tokio::test(start_paused = true)]
async fn who_stands_still_for_longer_than_its_patience_is_killed_and_then_written_off() {
    let mut it = watched("session").await;
    let _in_hand = it.vitals.working();

    it.look_for(Duration::from_millis(900)).await;
    assert!(!it.is_killed());
    it.look_for(Duration::from_millis(300)).await;
    assert!(it.is_killed());
    assert!(it.vitals.take_frozen().unwrap().is_to_blame);
    assert!(it.book.written_off.lock().unwrap().is_empty());

    // the guard is still held: a fold that does not return
    it.look_for(Duration::from_millis(400)).await;
    assert_eq!(*it.book.written_off.lock().unwrap(), [it.cell.get_id()]);
    it.look_for(Duration::from_secs(5)).await;
    assert_eq!(it.book.written_off.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_off_that_found_no_room_is_tried_again() {
    let mut it = watched("session").await;
    let no_time = &it.book.clone().has_no_time;
    no_time.store(true, std::sync::atomic::Ordering::Relaxed);
    let _in_hand = it.vitals.working();
    it.look_for(Duration::from_secs(2)).await;

    no_time.store(false, std::sync::atomic::Ordering::Relaxed);
    it.look_for(Duration::from_millis(200)).await;

    assert_eq!(it.book.written_off.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn progress_is_no_standstill_however_long_the_message_is_in_hand() {
    let mut it = watched("router").await;
    let _in_hand = it.vitals.working();

    for _ in 0..10 {
        it.look_for(Duration::from_millis(800)).await;
        it.vitals.progressed();
    }

    assert!(!it.is_killed());
}

#[tokio::test(start_paused = true)]
async fn a_wait_within_its_time_out_is_no_standstill_and_a_longer_one_is_nobodys_fault() {
    let mut it = watched("session").await;
    let vitals = Arc::clone(&it.vitals);
    let _in_hand = vitals.working();
    let _waiting = vitals.waiting(Duration::from_secs(30));

    it.look_for(Duration::from_secs(29)).await;
    assert!(!it.is_killed());
    it.look_for(Duration::from_secs(10)).await;

    assert!(it.is_killed());
    assert!(!it.vitals.take_frozen().unwrap().is_to_blame);
    assert!(it.book.written_off.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn anything_else_that_cannot_be_killed_ends_the_process() {
    let mut it = watched("classroom").await;
    let _in_hand = it.vitals.working();

    it.look_for(Duration::from_secs(5)).await;
    assert!(it.book.given_up.lock().unwrap().is_empty());
    it.look_for(Duration::from_secs(3)).await;

    assert_eq!(it.book.given_up.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn time_in_which_the_watchdog_itself_stood_still_does_not_count() {
    let mut it = watched("session").await;
    let _in_hand = it.vitals.working();
    it.look_for(Duration::from_millis(200)).await;

    tokio::time::advance(Duration::from_secs(3_600)).await;
    it.look_for(Duration::from_millis(200)).await;

    assert!(!it.is_killed());
}

#[tokio::test(start_paused = true)]
async fn time_in_which_the_threads_took_no_turn_does_not_count() {
    let mut it = watched("session").await;
    let starved = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    it.watchdog.sessions = Turns::of(starved.handle().clone());
    let _in_hand = it.vitals.working();

    // no turn for 800 ms, one, and again none
    for _ in 0..3 {
        it.look_for(Duration::from_millis(800)).await;
        std::thread::scope(|threads| {
            let takes_a_turn = || starved.block_on(tokio::task::yield_now());
            threads.spawn(takes_a_turn).join().unwrap();
        });
    }

    assert!(!it.is_killed());
    starved.shutdown_background();
}

#[tokio::test(start_paused = true)]
async fn threads_that_folds_hold_for_long_hide_nobody() {
    let mut it = watched("session").await;
    let held = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    it.watchdog.sessions = Turns::of(held.handle().clone());
    let _in_hand = it.vitals.working();

    it.look_for(Duration::from_millis(1_500)).await;
    assert!(!it.is_killed());
    it.look_for(Duration::from_secs(1)).await;

    assert!(it.is_killed());
    held.shutdown_background();
}

#[tokio::test(start_paused = true)]
async fn threads_that_take_no_turns_end_the_process() {
    let mut it = watched("session").await;
    // a runtime that nobody drives, as one of which every worker is held
    let held = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    it.watchdog.tree = Turns::of(held.handle().clone());

    it.look_for(Duration::from_secs(29)).await;
    assert!(it.book.given_up.lock().unwrap().is_empty());
    it.look_for(Duration::from_secs(2)).await;

    assert!(!it.book.given_up.lock().unwrap().is_empty());
    held.shutdown_background();
}
