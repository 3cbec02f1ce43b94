//! Identity, limits and room: what is refused is refused here, or never.
