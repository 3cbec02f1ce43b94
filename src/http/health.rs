//! Is it alive, is it ready, what does the tree look like: `/livez`, `/readyz`, `/metrics`, the actors.
