//! How deltas leave the classroom: in process; over Redis in a later version.
