//! Who may open a console, and with what.

use crate::http::{Head, Viewer};

/// Whether a request comes from one of our pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OriginCheck {
    /// Not from a page: a program.
    Absent,
    /// From the address under which we were reached, or one in `http.origins`.
    Ours,
    /// From elsewhere, or it hides where.
    Foreign,
}

/// What a live socket must know of rights.
pub trait SignIn: Send + Sync + 'static {
    /// Where the page that opens the socket comes from.
    fn origin(&self, head: &Head) -> OriginCheck;

    /// The viewer that holds this token; nothing for an unknown token and for an ingest key.
    fn viewer_of_token(&self, token: &str) -> Option<Viewer>;

    /// The viewer of the console's cookie, as it is now: nothing once it signed out.
    fn viewer_of_cookie(&self, head: &Head) -> Option<Viewer>;
}

/// What a console shows to sign in.
pub(super) enum Credential {
    /// `Authorization: Bearer`, or the second subprotocol.
    Token(String),
    /// The console's cookie, from one of our pages. Of the head only the cookies are kept.
    Cookie(Box<Head>),
    /// Nothing yet: the first frame must bring a token.
    FirstFrame,
}
