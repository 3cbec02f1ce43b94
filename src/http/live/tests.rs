//! Over real sockets on the loopback: the route behind hyper, a classroom that is a real feed behind the seam.

mod closes;
pub(super) mod harness;
mod route;
mod signs_in;
mod watches;
