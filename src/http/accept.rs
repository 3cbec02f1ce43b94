//! The accept loop: time-outs, the cap on connections, the graceful stop. `warp::serve` has none of it.
