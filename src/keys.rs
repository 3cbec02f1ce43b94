//! Secrets kept under `storage.dir`, and what is computed with them.
