//! What stands where in Redis, and the few scripts that change it.
//!
//! | key | what |
//! |---|---|
//! | `mimamori:1:CLASSROOM:deltas` | stream: `e` epoch, `a` after, `s` seq, `d` the frame; without `a` and `d` a mark: a snapshot was put down |
//! | `mimamori:1:CLASSROOM:snapshot` | hash: `e` epoch, `s` seq, `i` the mark's place in the stream, `f` the frame |
//! | `mimamori:1:publisher` | hash: `n` who publishes (`JOURNAL/INCARNATION`), `t` when it said so last by Redis' own clock in milliseconds, `b` the beat ([`super::beat`]) |
//! | `mimamori:1:sign-outs` | stream: `s` the session's id, `x` when it ends, in milliseconds |
//!
//! The 1 is the version of this form. Everything goes by itself a day after the
//! last beat, and nothing much sooner: where Redis is full and takes away first what
//! ends first (`volatile-ttl`), that is an answer of the cache and nothing of the bus.
//! So a lease ends by the time that stands in it. Redis 6.2 or later is needed.

use std::time::Duration;

use mimamori_actors::domain::ClassroomId;

/// A publisher that does not beat for so long is gone: another may take its place.
pub(super) const LEASE_LASTS: Duration = Duration::from_secs(10);
/// What names persons goes so long after the last beat.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// A stream never has more entries than about this; [`super::hand_over`] keeps it much shorter.
pub(super) const MOST_ENTRIES: usize = 16 * 1024;

pub(super) const PUBLISHER: &str = "mimamori:1:publisher";
pub(super) const SIGN_OUTS: &str = "mimamori:1:sign-outs";

pub(super) fn deltas(classroom: &ClassroomId) -> String {
    format!("mimamori:1:{classroom}:deltas")
}

pub(super) fn snapshot(classroom: &ClassroomId) -> String {
    format!("mimamori:1:{classroom}:snapshot")
}

/// Takes or keeps the lease and beats; nothing, or who else holds it.
///
/// Key: publisher. Arguments: me, whose place I may take (a beginning; empty: nobody's), for
/// how many ms a lease holds, the beat, for how many ms it is kept.
pub(super) const TAKE_LEASE: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('HMGET', KEYS[1], 'n', 't')
local node, at = held[1], tonumber(held[2])
local former = ARGV[2]
if node and node ~= ARGV[1] and at and math.abs(now - at) < tonumber(ARGV[3])
    and (former == '' or string.sub(node, 1, #former) ~= former) then
  return node
end
redis.call('HSET', KEYS[1], 'n', ARGV[1], 't', string.format('%.0f', now), 'b', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return false";

/// Puts a snapshot down and marks it in the stream, which is kept from the mark of the one
/// before (or, if there is none or it is of no use to anybody, from this): the mark's place,
/// or nothing without the lease.
///
/// Keys: publisher, stream, snapshot. Arguments: me, epoch, seq, frame, whether what was before
/// is of no use (1), for how many ms.
pub(super) const PUT_SNAPSHOT: &str = "\
if redis.call('HGET', KEYS[1], 'n') ~= ARGV[1] then return false end
local keep_from = redis.call('HGET', KEYS[3], 'i')
local id = redis.call('XADD', KEYS[2], '*', 'e', ARGV[2], 's', ARGV[3])
redis.call('HSET', KEYS[3], 'e', ARGV[2], 's', ARGV[3], 'i', id, 'f', ARGV[4])
if ARGV[5] == '1' or not keep_from then keep_from = id end
redis.call('XTRIM', KEYS[2], 'MINID', keep_from)
redis.call('PEXPIRE', KEYS[2], ARGV[6])
redis.call('PEXPIRE', KEYS[3], ARGV[6])
return id";

/// Appends deltas: 1, or nothing without the lease.
///
/// Keys: publisher, stream. Arguments: me, most entries, for how many ms, then of each delta
/// epoch, after, seq, frame.
pub(super) const ADD_DELTAS: &str = "\
if redis.call('HGET', KEYS[1], 'n') ~= ARGV[1] then return false end
for i = 4, #ARGV, 4 do
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*',
    'e', ARGV[i], 'a', ARGV[i + 1], 's', ARGV[i + 2], 'd', ARGV[i + 3])
end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 1";

/// Keeps a classroom for as long again: the epoch of its snapshot, or nothing if the mark is
/// not in the stream.
///
/// Keys: stream, snapshot. Arguments: the mark's place, for how many ms.
pub(super) const KEEP: &str = "\
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then return false end
return redis.call('HGET', KEYS[2], 'e')";
