//! `GET /api/v1/live`: the WebSocket of a console.
