//! Graph to results: a pure state machine.
