//! Drives builds: questions, pins, solve, commit, export.
