use std::borrow::Cow;

use rust_embed::Metadata;
use warp::test::RequestBuilder;

use super::*;
use crate::http::Context;

fn head_of(headers: &[(&'static str, &str)]) -> Head {
    let mut head = Head {
        method: Method::GET,
        path: "/".to_owned(),
        query: String::new(),
        headers: warp::http::HeaderMap::new(),
        context: Context::for_tests(),
    };
    for (name, value) in headers {
        head.headers.append(*name, value.parse().unwrap());
    }
    head
}

fn script(is_hashed: bool) -> Found {
    let metadata = Metadata::__rust_embed_new([7; 32], None, None, "text/javascript");
    Found::File {
        file: EmbeddedFile {
            data: Cow::Borrowed(b"let a"),
            metadata,
        },
        is_hashed,
    }
}

fn request(method: &str, path: &str) -> RequestBuilder {
    warp::test::request()
        .method(method)
        .path(path)
        .extension(Context::for_tests())
}

#[tokio::test]
async fn the_front_page_is_html_with_or_without_a_built_console() {
    let response = request("GET", "/").reply(&routes()).await;

    assert_eq!(response.status(), 200);
    let kind = response.headers()["content-type"].to_str().unwrap();
    assert!(kind.starts_with("text/html"), "{kind}");
    let policy = response.headers()["content-security-policy"]
        .to_str()
        .unwrap();
    assert!(policy.contains("default-src 'self'"));
    assert!(policy.contains("frame-ancestors 'none'"));
    assert_eq!(response.headers()["cache-control"], "no-cache");
}

#[tokio::test]
async fn without_a_console_the_page_says_how_to_build_it() {
    let response = answer(Found::NotBuilt, &head_of(&[])).unwrap();

    assert_eq!(response.status(), 200);
    assert!(NOT_BUILT.contains("make build"));
}

#[tokio::test]
async fn what_is_no_file_of_the_console_is_not_the_pages() {
    for path in [
        "/assets/none.js",
        "/../Cargo.toml",
        "/..%2f..%2fCargo.toml",
        "/nothing",
        "//etc/passwd",
    ] {
        let response = request("GET", path).filter(&routes()).await;

        assert!(response.is_err(), "{path}");
    }
}

#[tokio::test]
async fn a_page_is_only_read() {
    let response = request("POST", "/").reply(&routes()).await;

    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()["allow"], "GET, HEAD");
}

#[test]
fn hashed_files_are_kept_for_ever_and_others_are_asked_for_anew() {
    let hashed = answer(script(true), &head_of(&[])).unwrap();
    let other = answer(script(false), &head_of(&[])).unwrap();

    assert_eq!(
        hashed.headers()["cache-control"],
        "public, max-age=31536000, immutable"
    );
    assert_eq!(other.headers()["cache-control"], "no-cache");
    assert_eq!(
        hashed.headers()["content-type"],
        "text/javascript; charset=utf-8"
    );
}

#[test]
fn a_browser_that_has_the_file_gets_a_304() {
    let first = answer(script(false), &head_of(&[])).unwrap();
    let tag = first.headers()["etag"].to_str().unwrap().to_owned();

    for known in [tag.clone(), format!("\"x\", W/{tag}"), "*".to_owned()] {
        let again = answer(script(false), &head_of(&[("if-none-match", &known)])).unwrap();

        assert_eq!(again.status(), 304, "{known}");
        assert_eq!(again.headers()["etag"], tag);
    }
    let changed = answer(script(false), &head_of(&[("if-none-match", "\"x\"")])).unwrap();
    assert_eq!(changed.status(), 200);
}
