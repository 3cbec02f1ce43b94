//! `POST /api/v1/admin/backup`: the server's part in a backup, for as long as the connection lasts.

use std::sync::Arc;

use futures_util::stream;
use warp::Filter;
use warp::Reply as _;
use warp::filters::BoxedFilter;
use warp::http::{HeaderValue, Method, StatusCode, header};

use super::request::head;
use super::{Access, ApiError, Head, Response};
use crate::backup::Serving;

/// The route; whoever asks holds the admin token.
pub fn routes(access: Arc<Access>, serving: Serving) -> BoxedFilter<(Response,)> {
    warp::path!("api" / "v1" / "admin" / "backup")
        .and(head())
        .map(move |head: Head| {
            begin(&head, &access, &serving)
                .unwrap_or_else(|error| error.into_response(&head.context.request_id))
        })
        .boxed()
}

fn begin(head: &Head, access: &Access, serving: &Serving) -> Result<Response, ApiError> {
    if head.method != Method::POST {
        return Err(ApiError::method_not_allowed("POST"));
    }
    access.admin(head)?;
    let mut items = serving.begin().map_err(|another| {
        ApiError::new(StatusCode::CONFLICT, "another_backup", another.to_string())
    })?;
    let items = stream::poll_fn(move |task| {
        let item = items.poll_recv(task);
        item.map(|item| item.map(Ok::<_, std::convert::Infallible>))
    });
    let mut response = warp::reply::stream(items).into_response();
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    Ok(response)
}
