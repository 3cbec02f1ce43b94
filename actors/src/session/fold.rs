//! The fold `(state, entry) -> (state, changes)`.
