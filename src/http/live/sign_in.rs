//! Who may open a console, and with what.

use tokio::time::Instant;

use crate::http::auth::OriginCheck;
use crate::http::{Access, Head, Viewer};
use crate::keys::SESSION_LASTS;

/// What a live socket must know of rights.
pub trait SignIn: Send + Sync + 'static {
    /// Where the page that opens the socket comes from.
    fn origin(&self, head: &Head) -> OriginCheck;

    /// The viewer that holds this token, as it is now; nothing for an unknown token and for an ingest key.
    fn viewer_of_token(&self, token: &str) -> Option<Viewer>;

    /// Whether this is the token of a sign-in link: made to open a door within minutes, not to keep it open.
    fn is_link(&self, token: &str) -> bool;

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

    fn is_link(&self, token: &str) -> bool {
        Access::is_link(self, token)
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

/// Why a console may stay: looked at again with every heartbeat, kept in memory only.
pub(super) enum Right {
    /// The admin token or a session's, as long as it is good.
    Token(String),
    /// The console's cookie, as long as it is good.
    Cookie(Box<Head>),
    /// A sign-in link that was good at this time. The link is soon too old; what
    /// it opened lasts as long as a session that it would have begun.
    LinkAt(Instant),
}

impl Right {
    /// The right that a token gives, if it gives any.
    pub(super) fn of_token(token: String, sign_in: &dyn SignIn) -> Option<Self> {
        sign_in.viewer_of_token(&token)?;
        Some(if sign_in.is_link(&token) {
            Self::LinkAt(Instant::now())
        } else {
            Self::Token(token)
        })
    }

    /// The right that a cookie gives, if it gives any.
    pub(super) fn of_cookie(head: Box<Head>, sign_in: &dyn SignIn) -> Option<Self> {
        sign_in.viewer_of_cookie(&head)?;
        Some(Self::Cookie(head))
    }

    /// Whether it still holds: the console may have signed out since, or its time may be over.
    pub(super) fn holds(&self, sign_in: &dyn SignIn) -> bool {
        match self {
            Self::Token(token) => sign_in.viewer_of_token(token).is_some(),
            Self::Cookie(head) => sign_in.viewer_of_cookie(head).is_some(),
            Self::LinkAt(opened) => opened.elapsed() < SESSION_LASTS,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::http::live::tests::harness::{FakeSignIn, LINK, SESSION, TOKEN};

    #[test]
    fn a_token_that_is_not_known_gives_no_right() {
        assert!(Right::of_token("wrong".to_owned(), &FakeSignIn::default()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_opens_for_as_long_as_a_session_lasts_and_tokens_for_as_long_as_they_are_good() {
        let sign_in = FakeSignIn::default();
        let right = |token: &str| Right::of_token(token.to_owned(), &sign_in).unwrap();
        let (admin, session, link) = (right(TOKEN), right(SESSION), right(LINK));

        sign_in.is_signed_out.store(true, Ordering::Relaxed);
        tokio::time::advance(SESSION_LASTS.mul_f64(0.999)).await;
        let before = [&admin, &session, &link].map(|right| right.holds(&sign_in));
        tokio::time::advance(SESSION_LASTS.mul_f64(0.001)).await;

        assert_eq!(before, [true, false, true]);
        assert!(admin.holds(&sign_in));
        assert!(!link.holds(&sign_in));
    }
}
