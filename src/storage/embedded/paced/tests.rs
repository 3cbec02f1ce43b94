use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

use super::*;
use crate::storage::embedded::handle::rebuild;

const VALUE: [u8; 8 << 10] = [1; 8 << 10];
/// A bound that a test comes to.
const MOST: u64 = 3 * FLUSH_BYTES;
/// The library's queue.
const MESSAGES: usize = 1_000;

struct Written {
    paced: Paced,
    keyspace: Keyspace,
}

fn open(dir: &Path) -> Written {
    let paced = Paced::open(dir).unwrap();
    let keyspace = paced.keyspace("written").unwrap();
    Written { paced, keyspace }
}

fn unlimited() -> (TempDir, Written) {
    let dir = tempfile::tempdir().unwrap();
    let mut written = open(dir.path());
    assert_eq!(written.paced.most_bytes, MOST_BYTES);
    written.paced.most_bytes = MOST;
    (dir, written)
}

/// As versions before made them.
fn limited() -> (TempDir, Written) {
    let dir = tempfile::tempdir().unwrap();
    let database = builder(dir.path()).open().unwrap();
    let limit = || KeyspaceCreateOptions::default().max_memtable_size(FLUSH_BYTES);
    drop(database.keyspace("written", limit).unwrap());
    drop(database);
    let written = open(dir.path());
    (dir, written)
}

impl Written {
    /// Says whether it was taken.
    fn write(&self, number: usize, value: &[u8]) -> bool {
        let is_taken = self.paced.make_way().unwrap();
        if is_taken {
            self.keyspace.insert(number.to_be_bytes(), value).unwrap();
        }
        is_taken
    }

    fn write_durably(&self) {
        if self.paced.make_way().unwrap() {
            let mut batch = self.paced.batch();
            batch.insert(&self.keyspace, "batch", "on and on");
            batch.commit().unwrap();
        }
    }

    /// So many bytes, unless they are refused before.
    fn write_bytes(&self, bytes: u64) -> bool {
        let values = usize::try_from(bytes).unwrap() / VALUE.len() + 1;
        (0..values).all(|number| self.write(number, &VALUE))
    }

    /// What is written meanwhile finds the worker busy, as with a merge that takes long.
    fn while_its_worker_is_busy(&self, write: impl FnOnce()) {
        let tree = self.keyspace.tree.clone();
        let busy = tree.get_flush_lock();
        assert!(self.write_bytes(FLUSH_BYTES) && self.write(0, b"hands it on"));
        while self.keyspace.sealed_memtable_count() == 0 {
            thread::yield_now();
        }
        write();
        // who writes on takes every place that comes free in the library's queue: it has the log
        // nearly all the time, as the series' writer has when it catches up
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    self.write_durably();
                }
            });
            thread::sleep(Duration::from_millis(20));
            drop(busy);
            thread::sleep(Duration::from_millis(100));
            is_over.store(true, Ordering::Relaxed);
        });
    }

    /// Everything but what is not worth it comes to be in tables.
    fn assert_flushes(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.paced.in_memory() >= FLUSH_BYTES {
            let bytes = self.paced.in_memory();
            assert!(Instant::now() < deadline, "{bytes} bytes wait for ever");
            self.write(0, b"a later write");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn a_worker_that_was_busy_for_more_writes_than_its_queue_holds_flushes_again() {
    for (_dir, written) in [unlimited(), limited()] {
        written.while_its_worker_is_busy(|| {
            written.write_bytes(FLUSH_BYTES);
            for number in 0..2 * MESSAGES {
                written.write(number, b"one of very many");
            }
        });

        written.assert_flushes();
    }
}

#[test]
fn what_a_busy_worker_leaves_in_memory_is_bounded_and_nobody_waits_for_it() {
    for ((_dir, written), most) in [(unlimited(), MOST), (limited(), FLUSH_BYTES)] {
        written.while_its_worker_is_busy(|| {
            let is_taken = written.write_bytes(2 * MOST);

            assert!(!is_taken && !written.write(0, b"refused, too"));
            let in_memory = written.paced.in_memory();
            // what was handed on, what came behind it, and what that weighs beside its values
            assert!(in_memory < (most + FLUSH_BYTES) * 5 / 4, "{in_memory}");
        });

        written.assert_flushes();
        assert!(written.write(0, b"taken again"));
    }
}

#[test]
fn a_worker_that_ended_is_told_to_who_is_refused() {
    let (_dir, written) = unlimited();
    let tree = written.keyspace.tree.clone();
    let busy = tree.get_flush_lock();
    assert!(!written.write_bytes(2 * MOST));
    let tables = written.keyspace.path().join("tables");
    std::fs::remove_dir_all(&tables).unwrap();

    drop(busy);

    let deadline = Instant::now() + Duration::from_secs(20);
    let told = loop {
        assert!(Instant::now() < deadline);
        if let Err(told) = written.paced.make_way() {
            break told;
        }
        thread::sleep(Duration::from_millis(5));
    };
    assert!(matches!(told, fjall::Error::Poisoned), "{told}");
}

#[test]
fn a_copy_goes_right_into_tables_and_what_is_written_behind_it_is_newer() {
    let ((_from_dir, from), (to_dir, to)) = (unlimited(), unlimited());
    assert!(from.write_bytes(FLUSH_BYTES));
    let kept = from.keyspace.iter().count() - 1;

    rebuild::copy(&from.keyspace, &to.keyspace, |key, _| {
        key != 7_usize.to_be_bytes()
    })
    .unwrap();
    let in_memory = to.paced.in_memory();
    assert!(to.write(8, b"newer"));
    drop(to);
    let to = open(to_dir.path());

    assert_eq!(in_memory, 0);
    assert_eq!(to.keyspace.iter().count(), kept);
    assert_eq!(to.keyspace.get(7_usize.to_be_bytes()).unwrap(), None);
    let newer = to.keyspace.get(8_usize.to_be_bytes()).unwrap();
    assert_eq!(newer.as_deref(), Some(b"newer".as_slice()));
    assert!(to.write(8, b"newest"));
    let newest = to.keyspace.get(8_usize.to_be_bytes()).unwrap();
    assert_eq!(newest.as_deref(), Some(b"newest".as_slice()));
}

/// What this thread has read of files so far.
fn bytes_read() -> u64 {
    let io = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.unwrap().parse().unwrap()
}

#[test]
fn to_look_a_key_up_little_is_read_of_a_large_table() {
    const KEYS: u64 = 50_000;
    let (dir, written) = unlimited();
    let key = |number: u64| number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
    let mut loose = 0;
    for run in 0.. {
        for number in run * KEYS..(run + 1) * KEYS {
            written.keyspace.insert(key(number), b"").unwrap();
        }
        written.keyspace.rotate_memtable_and_wait().unwrap();
        // the first is not merged with any
        let now = written.keyspace.l0_table_count();
        if run > 2 && now < loose {
            break;
        }
        loose = now;
        assert!(run < 20, "nothing is merged");
    }
    drop(written);
    // with nothing in its cache, which blocks of millions of keys would not fit into
    let written = open(dir.path());
    let before = bytes_read();

    assert!(written.keyspace.get(key(0)).unwrap().is_some());

    // some blocks of 4 KiB
    let read = bytes_read() - before;
    assert!(read < 64 << 10, "{read} bytes");
}
