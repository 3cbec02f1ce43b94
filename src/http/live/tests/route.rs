//! The route alone, as a server answers with it.

use std::net::SocketAddr;

use hyper::body::Incoming;
use tower_service::Service;
use warp::http::{Request, StatusCode};

use super::super::{Live, routes};
use super::harness::OWN_ORIGIN;
use crate::http::accept::{Answer, RefusedHead};
use crate::http::service::IntoBody;
use crate::http::{Context, Response};

#[derive(Clone)]
pub(super) struct Route(pub(super) Live);

impl Answer for Route {
    type Body = <Response as IntoBody>::Body;

    async fn answer(&self, mut request: Request<Incoming>, peer: SocketAddr) -> Response {
        request.extensions_mut().insert(Context {
            request_id: "request-1".to_owned(),
            peer,
            path_key: None,
            base_url: OWN_ORIGIN.to_owned(),
        });
        warp::service(routes(self.0.clone()))
            .call(request)
            .await
            .unwrap_or_else(|never| match never {})
    }

    fn refuse_head(&self, _: StatusCode) -> RefusedHead {
        RefusedHead {
            request_id: "request-1".to_owned(),
            document: "{}".to_owned(),
        }
    }
}
