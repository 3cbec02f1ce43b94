//! A state as bytes.
//!
//! Format 2 is one byte of version, the rows of errors in bytes of their own
//! (they are what grows), and the rest in JSON. Format 1 was JSON only; it is
//! still read.

mod v1;

pub(super) mod moment;

use super::rows::Rows;
use super::{SessionState, StateError};

/// The version that [`SessionState::encode`] writes, as the first byte.
pub const FORMAT: u8 = 2;

impl SessionState {
    /// The state as bytes: one of format version, the rows of errors, then JSON.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        self.base.rows.write(&mut bytes);
        serde_json::to_writer(&mut bytes, self)
            .expect("a state has only text keys, and a vector takes every write");
        bytes
    }

    /// The state that these bytes are.
    ///
    /// # Errors
    /// When a later version wrote them, or they are damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let damaged = |error| StateError::Damaged(Some(error));
        match bytes.split_first() {
            Some((&FORMAT, kept)) => {
                let (rows, json) = Rows::read(kept).ok_or(StateError::Damaged(None))?;
                let mut state: Self = serde_json::from_slice(json).map_err(damaged)?;
                state.base.rows = rows;
                state.fold_recent_again();
                Ok(state)
            }
            Some((&v1::FORMAT, json)) => serde_json::from_slice::<v1::State>(json)
                .map(Self::from)
                .map_err(damaged),
            Some((&other, _)) => Err(StateError::UnknownFormat(other)),
            None => Err(StateError::Damaged(None)),
        }
    }
}

/// For parts that most states don't have: they are left out.
pub(super) fn is_default<T: Default + PartialEq>(part: &T) -> bool {
    *part == T::default()
}
