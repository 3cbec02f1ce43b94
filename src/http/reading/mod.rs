//! `/api/v1/classrooms/…`: what was and what is, one file per subject.
