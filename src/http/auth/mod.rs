//! Who may do what: ingest keys, the admin token, sign-in links, the console's cookie. Deny by default.
//!
//! 401 answers who is nobody (no credential, an unknown or outlived one), 403
//! who is somebody but may not do this. A foreign `Origin` never gets anything
//! done with the cookie, because a browser adds the cookie to whatever page asks.

mod origin;
mod signed_out;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use mimamori_actors::domain::{ClassroomId, Timestamp};
use mimamori_actors::ports::Clock;
use tokio::sync::watch;
use warp::http::{Method, header};

use super::{ApiError, Head};
use crate::bus::redis::SignOuts;
use crate::keys::{BadToken, Credential, Keys, LINK_LASTS, Secret, SessionToken};

pub(super) use origin::is_authority;
pub use origin::{BadOrigin, Origin, OriginCheck};
use signed_out::SignedOut;

/// The name of the console's cookie.
pub const COOKIE: &str = "mimamori_session";

/// Whose request it is, once its credential was found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Viewer {
    /// Holds the admin token: everything.
    Admin,
    /// Signed in by a link: reads every classroom of this server, takes no part in its administration.
    Instructor,
}

impl Viewer {
    /// As the page and programs are told.
    pub fn name(&self) -> &'static str {
        match self {
            Viewer::Admin => "admin",
            Viewer::Instructor => "instructor",
        }
    }
}

/// Everything that decides on rights.
pub struct Access {
    keys: Arc<Keys>,
    origins: Vec<Origin>,
    clock: Arc<dyn Clock>,
    signed_out: SignedOut,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("origins", &self.origins)
            .finish_non_exhaustive()
    }
}

impl Access {
    /// `origins` may open consoles besides the server's own; consoles that
    /// signed out are remembered beside the keys.
    pub fn new(keys: Arc<Keys>, origins: Vec<Origin>, clock: Arc<dyn Clock>) -> Self {
        let signed_out = SignedOut::load(keys.dir(), clock.now());
        Self {
            keys,
            origins,
            clock,
            signed_out,
        }
    }

    /// The viewer behind a reading request: `Authorization: Bearer`, or the console's cookie.
    ///
    /// A bearer token decides alone: a bad one is not made good by a cookie.
    /// With the cookie, a request that changes something must not come from a foreign origin.
    ///
    /// # Errors
    /// 401 without or with an unknown credential, 403 with one that may not
    /// read (an ingest key) or from a foreign origin.
    pub fn viewer(&self, head: &Head) -> Result<Viewer, ApiError> {
        if let Some(token) = head.bearer() {
            return self.viewer_of_token(token);
        }
        let viewer = self.viewer_of_cookie(head).ok_or_else(missing_token)?;
        if !reads_only(&head.method) {
            self.refuse_foreign(head)?;
        }
        Ok(viewer)
    }

    /// As [`Access::viewer`], but only for the admin token.
    ///
    /// # Errors
    /// 401 or 403.
    pub fn admin(&self, head: &Head) -> Result<(), ApiError> {
        match self.viewer(head)? {
            Viewer::Admin => Ok(()),
            Viewer::Instructor => Err(ApiError::forbidden(
                "forbidden",
                "this needs the admin token",
            )),
        }
    }

    /// The classroom that the request's ingest key names: `/k/KEY`, `?key=KEY`, or `Authorization: Bearer KEY`.
    ///
    /// All that are given are tried in this order and the first good one
    /// counts: an address that was pasted with its key must work whatever
    /// header a proxy between adds.
    ///
    /// # Errors
    /// 401 without or with an unknown key, 403 with a token that is no ingest key.
    pub fn classroom_to_write(&self, head: &Head) -> Result<ClassroomId, ApiError> {
        let in_query = head.parameter("key");
        let given = [
            head.context.path_key.as_deref(),
            in_query.as_deref(),
            head.bearer(),
        ];
        let mut refusal = None;
        for key in given.into_iter().flatten().filter(|key| !key.is_empty()) {
            match self.credential(key) {
                Ok(Credential::Ingest(classroom)) => return Ok(classroom),
                Ok(Credential::Admin | Credential::Link | Credential::Session(_)) => {
                    refusal = Some(ApiError::forbidden(
                        "forbidden",
                        "this token is for reading; events need an ingest key",
                    ));
                }
                Err(_) if refusal.is_some() => {}
                Err(_) => refusal = Some(unknown_key()),
            }
        }
        Err(refusal.unwrap_or_else(missing_key))
    }

    /// The viewer that holds this token (the live socket's ways of handing one over).
    ///
    /// # Errors
    /// 401 if it is unknown or outlived, 403 if it is an ingest key.
    pub fn viewer_of_token(&self, token: &str) -> Result<Viewer, ApiError> {
        match self.credential(token) {
            Ok(Credential::Admin) => Ok(Viewer::Admin),
            Ok(Credential::Link | Credential::Session(_)) => Ok(Viewer::Instructor),
            Ok(Credential::Ingest(_)) => Err(ApiError::forbidden(
                "forbidden",
                "an ingest key writes events and reads nothing",
            )),
            Err(why) => Err(unknown_token(why)),
        }
    }

    /// Whether this is the token of a sign-in link that is still good.
    pub fn is_link(&self, token: &str) -> bool {
        matches!(self.credential(token), Ok(Credential::Link))
    }

    /// The viewer of the console's cookie alone, if the request carries a good one.
    ///
    /// Whoever lets it do something checks [`Access::origin_is_ours`] too.
    pub fn viewer_of_cookie(&self, head: &Head) -> Option<Viewer> {
        self.session_of_cookie(head).map(|_| Viewer::Instructor)
    }

    /// Where the page that sends this request comes from.
    pub fn origin_is_ours(&self, head: &Head) -> OriginCheck {
        origin::check(head, &self.origins)
    }

    /// 403 if the request comes from a foreign page; programs send no `Origin` and pass.
    ///
    /// # Errors
    /// 403 `foreign_origin`.
    pub fn refuse_foreign(&self, head: &Head) -> Result<(), ApiError> {
        match self.origin_is_ours(head) {
            OriginCheck::Absent | OriginCheck::Ours => Ok(()),
            OriginCheck::Foreign => Err(ApiError::forbidden(
                "foreign_origin",
                "this page's origin is not the server's own and not in http.origins",
            )),
        }
    }

    /// A console's sign-in for whoever holds a link or the admin token.
    ///
    /// # Errors
    /// 401 if the token is unknown or outlived, 403 if it is of another kind:
    /// a session must not make itself last for ever.
    pub(super) fn sign_in(&self, token: &str) -> Result<(Secret, SessionToken), ApiError> {
        match self.credential(token) {
            Ok(Credential::Admin | Credential::Link) => Ok(self.keys.new_session(self.clock.now())),
            Ok(Credential::Ingest(_) | Credential::Session(_)) => Err(ApiError::forbidden(
                "forbidden",
                "signing in takes a sign-in link or the admin token",
            )),
            Err(why) => Err(unknown_token(why)),
        }
    }

    /// Makes the sessions that this request carries worthless, for ever.
    pub(super) async fn sign_out(&self, head: &Head) {
        let bearer = head.bearer().and_then(|token| self.session(token));
        let sessions: Vec<_> = self
            .session_of_cookie(head)
            .into_iter()
            .chain(bearer)
            .collect();
        self.signed_out.add(&sessions, self.clock.now()).await;
    }

    /// Moves on whenever somebody signs out.
    pub fn withdrawals(&self) -> watch::Receiver<u64> {
        self.signed_out.count()
    }

    /// When the session of this request's cookie ends.
    pub(super) fn session_expires(&self, head: &Head) -> Option<Timestamp> {
        Some(self.session_of_cookie(head)?.expires)
    }

    /// A token for a sign-in link, and until when it is good.
    pub(super) fn new_link(&self) -> (Secret, Timestamp) {
        let now = self.clock.now();
        (self.keys.new_link(now), now.plus(LINK_LASTS))
    }

    /// The secrets themselves, for the pages that must show them.
    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    fn session_of_cookie(&self, head: &Head) -> Option<SessionToken> {
        cookies(head).find_map(|value| self.session(value))
    }

    fn session(&self, token: &str) -> Option<SessionToken> {
        match self.credential(token) {
            Ok(Credential::Session(session)) => Some(session),
            Ok(Credential::Admin | Credential::Ingest(_) | Credential::Link) | Err(_) => None,
        }
    }

    fn credential(&self, token: &str) -> Result<Credential, BadToken> {
        let credential = self.keys.credential(token, self.clock.now())?;
        if let Credential::Session(session) = &credential
            && self.signed_out.has(session)
        {
            return Err(BadToken::Unknown);
        }
        Ok(credential)
    }
}

#[async_trait]
impl SignOuts for Access {
    fn changes(&self) -> watch::Receiver<u64> {
        self.withdrawals()
    }

    fn all(&self, now: Timestamp) -> Vec<SessionToken> {
        self.signed_out.all(now)
    }

    async fn add(&self, mut sessions: Vec<SessionToken>) {
        sessions.retain(|session| !self.signed_out.has(session));
        self.signed_out.add(&sessions, self.clock.now()).await;
    }
}

/// The values of our cookie; there are several when paths overlap.
fn cookies(head: &Head) -> impl Iterator<Item = &str> {
    head.headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value)
}

fn reads_only(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
}

fn missing_token() -> ApiError {
    ApiError::unauthorized(
        "missing_token",
        "sign in with the link that `mimamori link` prints",
    )
}

fn unknown_token(why: BadToken) -> ApiError {
    match why {
        BadToken::Unknown => ApiError::unauthorized("unknown_token", "no such token is known here"),
        BadToken::Expired => ApiError::unauthorized(
            "expired_token",
            "this token is too old; `mimamori link` prints a fresh one",
        ),
    }
}

fn missing_key() -> ApiError {
    ApiError::unauthorized(
        "missing_key",
        "events need an ingest key: in the path as /k/KEY, as ?key=KEY, or as a bearer token",
    )
}

fn unknown_key() -> ApiError {
    ApiError::unauthorized(
        "unknown_key",
        "no such ingest key is known here; the Connect page shows the right address",
    )
}

#[cfg(test)]
mod tests;
