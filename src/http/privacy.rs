//! `GET /privacy/{classroom}`: what is kept of students there. For everybody, without a sign-in.

use std::sync::Arc;

use mimamori_actors::domain::ClassroomId;
use percent_encoding::percent_decode_str;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::{HeaderValue, Method, header};

use super::request::head;
use super::{ApiError, Head, Response};
use crate::config::{Classrooms, Privacy};
use crate::privacy;

/// What the page is made of.
#[derive(Debug, Clone)]
pub struct Notices {
    /// What holds for the installation.
    pub privacy: Privacy,
    /// The classrooms there are.
    pub classrooms: Classrooms,
}

/// The route.
pub fn routes(notices: Notices) -> BoxedFilter<(Response,)> {
    let notices = Arc::new(notices);
    warp::path!("privacy" / String)
        .and(head())
        .map(move |classroom: String, head: Head| {
            answer(&classroom, &head, &notices)
                .unwrap_or_else(|error| error.into_response(&head.context.request_id))
        })
        .boxed()
}

fn answer(classroom: &str, head: &Head, notices: &Notices) -> Result<Response, ApiError> {
    let nothing = || ApiError::not_found("there is no such classroom");
    let id = percent_decode_str(classroom).decode_utf8();
    let id = ClassroomId::new(id.map_err(|_| nothing())?);
    let classroom = notices.classrooms.get(&id).ok_or_else(nothing)?;
    if head.method != Method::GET && head.method != Method::HEAD {
        return Err(ApiError::method_not_allowed("GET, HEAD"));
    }
    let nonce = nonce()?;
    let page = privacy::page(&notices.privacy, classroom, &nonce);
    let mut response = Response::new(page.into());
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_LANGUAGE, "ja, en"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, &policy),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// A word that nobody can know before.
fn nonce() -> Result<String, ApiError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        tracing::error!(%error, "the system gives no random bytes");
        ApiError::internal()
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Context;

    async fn ask(method: &str, path: &str) -> warp::http::Response<bytes::Bytes> {
        let notices = Notices {
            privacy: Privacy::default(),
            classrooms: Classrooms::default(),
        };
        warp::test::request()
            .method(method)
            .path(path)
            .extension(Context::for_tests())
            .reply(&routes(notices))
            .await
    }

    #[tokio::test]
    async fn everybody_may_read_it_and_it_loads_nothing() {
        let answer = ask("GET", "/privacy/default").await;

        let header = |name: &str| answer.headers()[name].to_str().unwrap();
        let page = std::str::from_utf8(answer.body()).unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(header("content-type"), "text/html; charset=utf-8");
        let policy = header("content-security-policy");
        let (_, rest) = policy.split_once("style-src 'nonce-").unwrap();
        let (nonce, _) = rest.split_once('\'').unwrap();
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        assert!(page.contains(&format!("<style nonce=\"{nonce}\">")));
        assert!(!page.contains("<script") && !page.contains("src="));
        assert!(page.contains("lang=\"ja\"") && page.contains("lang=\"en\""));
    }

    #[tokio::test]
    async fn there_is_none_of_a_classroom_that_is_not() {
        for path in ["/privacy/physics", "/privacy/%ff", "/privacy/Default"] {
            assert_eq!(ask("GET", path).await.status(), 404, "{path}");
        }
        assert_eq!(ask("POST", "/privacy/default").await.status(), 405);
        assert_eq!(ask("GET", "/privacy/%64efault").await.status(), 200);
    }
}
