//! When lessons begin and end: a pure fold over the events of a classroom.
