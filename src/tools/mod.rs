//! Programs that act as clients: a simulated class, a replay of recorded requests.
