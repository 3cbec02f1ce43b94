//! The configuration: built-in defaults, a file, the environment; every fault is reported at once.
