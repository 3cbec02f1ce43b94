//! The stores behind the ports: records, series, snapshots.
