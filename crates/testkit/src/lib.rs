//! Fakes, builders and contract suites (development only).
