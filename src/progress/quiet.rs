//! Shows nothing.

use std::time::Duration;

use rbuild_model::event::Event;

use super::{End, Tasks, View};

/// A view that shows nothing: the command prints its result, and a failure is told as always.
#[derive(Debug)]
pub(super) struct Quiet;

impl View for Quiet {
    fn event(&mut self, _: &Event, _: &[String], _: &Tasks, _: Duration) {}

    fn tick(&mut self, _: &Tasks, _: Duration) {}

    fn finish(&mut self, _: &Tasks, _: Duration, _: End) {}
}
