//! Each client's wire form becomes the one `Event`: pure functions, one file a client.
