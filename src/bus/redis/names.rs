//! What stands where in Redis, and the few scripts that change it.
//!
//! | key | what |
//! |---|---|
//! | `mimamori:1:CLASSROOM:deltas` | stream: `e` epoch, `a` after, `s` seq, `d` the frame; without `a` and `d` a mark: a snapshot was put down |
//! | `mimamori:1:CLASSROOM:snapshot` | hash: `e` epoch, `s` seq, `i` the mark's place in the stream, `f` the frame |
//! | `mimamori:1:lease` | who publishes: `JOURNAL/INCARNATION`, gone 10 s after its last beat |
//! | `mimamori:1:beat` | see [`super::beat`], gone with the lease |
//! | `mimamori:1:sign-outs` | stream: `s` the session's id, `x` when it ends, in milliseconds |
//!
//! The 1 is the version of this form. Everything goes by itself a day after the
//! last beat. Redis 6.2 or later is needed.

use std::time::Duration;

use mimamori_actors::domain::ClassroomId;

/// A publisher that does not beat for so long is gone: another may take its place.
pub(super) const LEASE_LASTS: Duration = Duration::from_secs(10);
/// What names persons goes so long after the last beat.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// A stream never has more entries than about this; [`super::hand_over`] keeps it much shorter.
pub(super) const MOST_ENTRIES: usize = 16 * 1024;

pub(super) const LEASE: &str = "mimamori:1:lease";
pub(super) const BEAT: &str = "mimamori:1:beat";
pub(super) const SIGN_OUTS: &str = "mimamori:1:sign-outs";

pub(super) fn deltas(classroom: &ClassroomId) -> String {
    format!("mimamori:1:{classroom}:deltas")
}

pub(super) fn snapshot(classroom: &ClassroomId) -> String {
    format!("mimamori:1:{classroom}:snapshot")
}

/// Takes or keeps the lease and beats; nothing, or who else holds it.
///
/// Keys: lease, beat. Arguments: me, whose place I may take (a beginning; empty: nobody's), for how many ms, the beat.
pub(super) const TAKE_LEASE: &str = "\
local held = redis.call('GET', KEYS[1])
local former = ARGV[2]
if held and held ~= ARGV[1] and (former == '' or string.sub(held, 1, #former) ~= former) then
  return held
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[3])
return false";

/// Puts a snapshot down and marks it in the stream: the mark's place, or nothing without the lease.
///
/// Keys: lease, stream, snapshot. Arguments: me, epoch, seq, frame, from where the stream is kept (empty: from its beginning, `mark`: from here), for how many ms.
pub(super) const PUT_SNAPSHOT: &str = "\
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end
local id = redis.call('XADD', KEYS[2], '*', 'e', ARGV[2], 's', ARGV[3])
redis.call('HSET', KEYS[3], 'e', ARGV[2], 's', ARGV[3], 'i', id, 'f', ARGV[4])
local keep_from = ARGV[5]
if keep_from == 'mark' then keep_from = id end
if keep_from ~= '' then redis.call('XTRIM', KEYS[2], 'MINID', keep_from) end
redis.call('PEXPIRE', KEYS[2], ARGV[6])
redis.call('PEXPIRE', KEYS[3], ARGV[6])
return id";

/// Appends deltas: 1, or nothing without the lease.
///
/// Keys: lease, stream. Arguments: me, most entries, then of each delta epoch, after, seq, frame.
pub(super) const ADD_DELTAS: &str = "\
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end
for i = 3, #ARGV, 4 do
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*',
    'e', ARGV[i], 'a', ARGV[i + 1], 's', ARGV[i + 2], 'd', ARGV[i + 3])
end
return 1";
