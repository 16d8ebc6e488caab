//! Hermetic test contexts and conformance suites.
