//! Whether and when a container is started again: the policy, as a pure table.

use std::time::Duration;

use jiff::Timestamp;
use rbuild_model::container::{RestartPolicy, Stopped};

/// The first pause between an end and the next start.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60);
/// A run of this length makes the next pause the first again.
const LONG_RUN: Duration = Duration::from_secs(10);

/// The pauses between starts: each is twice the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    last: Option<Duration>,
}

impl Backoff {
    /// Returns the pause after a run of a given length.
    pub(crate) fn pause(&mut self, run: Duration) -> Duration {
        let next = match self.last {
            Some(last) if run < LONG_RUN => (last * 2).min(LONGEST),
            _ => FIRST,
        };
        self.last = Some(next);
        next
    }
}

/// Returns what is left of a pause that was written down, until `next`. No more than the longest: the clock may have been
/// set back since.
pub(crate) fn left(next: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(next.duration_since(now)).unwrap_or_default().min(LONGEST)
}

/// Tells whether a policy starts a container again that has just ended; `count` is how often it did so already.
pub(crate) fn restarts(policy: RestartPolicy, code: i32, stopped: Stopped, count: u32) -> bool {
    stopped == Stopped::ByItself
        && match policy {
            RestartPolicy::No => false,
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
            RestartPolicy::OnFailure { max } => code != 0 && max.is_none_or(|max| count < max),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> = (0..13).map(|_| backoff.pause(Duration::ZERO).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000, 60000]);
        assert_eq!(backoff.pause(Duration::from_secs(10)), FIRST);
        assert_eq!(backoff.pause(Duration::from_millis(9999)), FIRST * 2);
    }

    #[test]
    fn a_clock_that_was_set_makes_no_pause_longer_than_any() {
        let now = Timestamp::UNIX_EPOCH;
        let in_seconds = |seconds| Timestamp::from_second(seconds).unwrap();
        assert_eq!(left(in_seconds(7), now), Duration::from_secs(7));
        assert_eq!(left(in_seconds(10 * 365 * 86400), now), LONGEST);
        assert_eq!(left(now, in_seconds(10 * 365 * 86400)), Duration::ZERO);
        assert_eq!(left(Timestamp::MAX, Timestamp::MIN), LONGEST);
    }

    #[test]
    fn policies_look_at_the_end() {
        use RestartPolicy::{Always, No, OnFailure, UnlessStopped};
        let by_itself = |policy, code, count| restarts(policy, code, Stopped::ByItself, count);
        assert!(!by_itself(No, 1, 0));
        for policy in [Always, UnlessStopped] {
            assert!(by_itself(policy, 0, 1000) && by_itself(policy, 137, 0));
            assert!(!restarts(policy, 0, Stopped::ByHand, 0));
        }
        let three = OnFailure { max: Some(3) };
        assert!(!by_itself(three, 0, 0));
        assert!(by_itself(three, 1, 2) && !by_itself(three, 1, 3));
        assert!(by_itself(OnFailure { max: None }, 1, u32::MAX));
        assert!(!restarts(three, 1, Stopped::ByHand, 0));
    }
}
