//! `POST /api/v1/events`: from the bytes of a request to the answer that they are on disk.
