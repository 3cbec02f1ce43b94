//! The front end: warp filters over an accept loop of our own, one file per subject.
//!
//! A handler is a plain async function that knows no warp and answers
//! `Result<Response, ApiError>`; its filter only collects arguments. What a
//! handler refuses becomes a problem document in one place, [`problem`].

pub mod auth;
pub mod problem;
pub mod request;

pub use auth::{Access, Viewer};
pub use problem::ApiError;
pub use request::{Context, Head};
pub use warp::reply::Response;
