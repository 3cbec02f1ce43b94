//! `/api/v1/session`: a console signs in and out.
