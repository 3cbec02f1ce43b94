//! Puts the parts together and takes them apart: the only file that knows them all.
