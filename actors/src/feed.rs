//! What a classroom has to tell: snapshot, deltas, and what of them is remembered. Pure: no clock, no queue.
