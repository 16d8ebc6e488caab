//! Lines of several containers in the order in which they were written.
//!
//! Every source hands over its own lines in order; of all that are first in theirs, the oldest is next. That is the true
//! order, and needs no more memory than one line a source, however long the logs are.
//!
//! While more is written, a turn goes up to a moment: what is newer waits for the next turn, because an older line of
//! another source may just be on its way.

use super::line::Line;

/// Where the lines of one container come from.
pub(crate) trait Source {
    /// What can go wrong.
    type Error;

    /// Returns the next line, if there is one by now.
    fn next_line(&mut self) -> Result<Option<Line>, Self::Error>;
}

/// A source with the line that is first in it.
#[derive(Debug)]
pub(crate) struct Lane<S> {
    /// The source.
    pub(crate) source: S,
    first: Option<Line>,
}

/// Until when a turn goes, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Until(pub(crate) i64);

impl Until {
    /// Everything that there is.
    pub(crate) const END: Self = Self(i64::MAX);
}

impl<S: Source> Lane<S> {
    /// Begins with nothing read.
    pub(crate) fn new(source: S) -> Self {
        Self { source, first: None }
    }

    /// Whether a line waits for the next turn.
    pub(crate) fn waits(&self) -> bool {
        self.first.is_some()
    }

    /// Returns the time of the line that is first, if it is not newer than the turn.
    fn peek(&mut self, until: Until, now: impl Fn() -> i64) -> Result<Option<i64>, S::Error> {
        if self.first.is_none() {
            self.first = self.source.next_line()?;
            if let Some(line) = &mut self.first {
                // A clock that was set back must not keep a line waiting.
                line.time = line.time.min(now());
            }
        }
        Ok(self.first.as_ref().map(|line| line.time).filter(|time| *time <= until.0))
    }
}

/// Hands over, in order, every line up to a moment; `now` is asked for the time when a line was read.
pub(crate) fn merge<'a, K: Copy + Ord, S: Source + 'a, E: From<S::Error>>(
    lanes: impl IntoIterator<Item = (K, &'a mut Lane<S>)>,
    until: Until,
    now: impl Fn() -> i64,
    mut give: impl FnMut(K, Line) -> Result<(), E>,
) -> Result<(), E> {
    let mut lanes: Vec<(K, &mut Lane<S>)> = lanes.into_iter().collect();
    let mut firsts = std::collections::BTreeSet::new();
    for (at, (key, lane)) in lanes.iter_mut().enumerate() {
        if let Some(time) = lane.peek(until, &now)? {
            firsts.insert((time, *key, at));
        }
    }
    while let Some((_, key, at)) = firsts.pop_first() {
        let lane = &mut lanes[at].1;
        // One source mostly has several lines before the next has one.
        while let Some(line) = lane.first.take() {
            give(key, line)?;
            let Some(time) = lane.peek(until, &now)? else { break };
            if firsts.first().is_some_and(|first| *first < (time, key, at)) {
                firsts.insert((time, key, at));
                break;
            }
        }
    }
    Ok(())
}
