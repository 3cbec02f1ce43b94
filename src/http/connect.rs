//! What the Connect page shows: the ingest address, and the last request that was refused.
