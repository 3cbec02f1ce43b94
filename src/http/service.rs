//! The outermost service: request ids, `/k/KEY`, the public path, the access log. Around all routes.
