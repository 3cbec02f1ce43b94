//! Who may do what: ingest keys, the admin token, sign-in links, the console's cookie. Deny by default.

use mimamori_actors::domain::ClassroomId;

use super::{ApiError, Head};

/// Whose request it is, once its credential was found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Viewer {
    /// Holds the admin token: everything.
    Admin,
    /// Signed in by a link: reads every classroom of this server, takes no part in its administration.
    Instructor,
}

/// Everything that decides on rights.
#[derive(Debug)]
pub struct Access {}

impl Access {
    /// The viewer behind a reading request: `Authorization: Bearer`, or the console's cookie.
    ///
    /// # Errors
    /// 401 without or with an unknown credential, 403 with one that may not read (an ingest key).
    pub fn viewer(&self, _head: &Head) -> Result<Viewer, ApiError> {
        Err(ApiError::not_yet("signing in"))
    }

    /// As [`Access::viewer`], but only for the admin token.
    ///
    /// # Errors
    /// 401 or 403.
    pub fn admin(&self, _head: &Head) -> Result<(), ApiError> {
        Err(ApiError::not_yet("signing in"))
    }

    /// The classroom that the request's ingest key names: `Authorization: Bearer KEY`, `?key=KEY`, or `/k/KEY`.
    ///
    /// # Errors
    /// 401 without or with an unknown key, 403 with a token that is no ingest key.
    pub fn classroom_to_write(&self, _head: &Head) -> Result<ClassroomId, ApiError> {
        Err(ApiError::not_yet("signing in"))
    }

    /// The viewer that holds this token (the live socket's ways of handing one over).
    pub fn viewer_of_token(&self, _token: &str) -> Result<Viewer, ApiError> {
        Err(ApiError::not_yet("signing in"))
    }

    /// The viewer of the console's cookie alone, if the request carries a good one.
    pub fn viewer_of_cookie(&self, _head: &Head) -> Option<Viewer> {
        None
    }
}
