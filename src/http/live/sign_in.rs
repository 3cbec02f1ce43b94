//! Who may open a console, and with what.

use crate::http::auth::OriginCheck;
use crate::http::{Access, Head, Viewer};

/// What a live socket must know of rights.
pub trait SignIn: Send + Sync + 'static {
    /// Where the page that opens the socket comes from.
    fn origin(&self, head: &Head) -> OriginCheck;

    /// The viewer that holds this token; nothing for an unknown token and for an ingest key.
    fn viewer_of_token(&self, token: &str) -> Option<Viewer>;

    /// The viewer of the console's cookie, as it is now: nothing once it signed out.
    fn viewer_of_cookie(&self, head: &Head) -> Option<Viewer>;
}

impl SignIn for Access {
    fn origin(&self, head: &Head) -> OriginCheck {
        self.origin_is_ours(head)
    }

    fn viewer_of_token(&self, token: &str) -> Option<Viewer> {
        Access::viewer_of_token(self, token).ok()
    }

    fn viewer_of_cookie(&self, head: &Head) -> Option<Viewer> {
        Access::viewer_of_cookie(self, head)
    }
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
