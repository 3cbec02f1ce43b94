//! The front end: warp filters over an accept loop of our own, one file per subject.
//!
//! A handler is a plain async function that knows no warp and answers
//! `Result<Response, ApiError>`; its filter only collects arguments. What a
//! handler refuses becomes a problem document in one place, [`problem`].

pub mod accept;
pub mod auth;
pub mod backup;
mod body;
pub mod connect;
pub mod elsewhere;
pub mod export;
pub mod health;
pub mod ingest;
pub mod live;
pub mod page;
pub mod privacy;
pub mod problem;
pub mod reading;
pub mod refusals;
pub mod request;
pub mod research;
pub mod rights;
pub mod routes;
pub mod service;
pub mod session;

pub use auth::{Access, Viewer};
pub use problem::ApiError;
pub use request::{Context, Head};
pub use routes::{Parts, routes};
pub use warp::reply::Response;
