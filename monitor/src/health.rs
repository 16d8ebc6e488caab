//! How probes become health: a state machine without clocks or processes.
//!
//! ```text
//! start -> Starting --success--> Healthy --retries failures in a row--> Unhealthy --success--> Healthy
//!              '------ retries failures, not counting those in the start period ------^
//! ```
//!
//! A probe is never begun while another runs: the next one is due an interval after the end of the last.
//!
//! Before the first one that is due so, there may be **early** ones, at 50, 100, 200, 400 ms ... after the start: what is
//! healthy soon need not be waited for until the interval is over. A success counts as any other, a failure is as
//! if it had never been asked.

use std::time::Duration;

use rbuild_model::container::{Health, HealthCheck, HealthStatus, Probe};

use crate::plan::EarlyProbes;

/// So many bytes of a probe's output are kept.
pub(crate) const OUTPUT: usize = 4096;

/// Whether failures count already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Period {
    /// Not before the start period is over, or a probe succeeds.
    Start,
    /// They do.
    Regular,
}

/// When the first early probe is due; each of the others at twice the age of the one before.
const EARLY: Duration = Duration::from_millis(50);

/// What is due next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// An early probe, whose failure does not count; there may be more of them.
    Early,
    /// One that counts.
    Regular,
}

/// The health of one run.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    check: HealthCheck,
    health: Health,
    period: Period,
    early: EarlyProbes,
    next: Next,
}

impl Machine {
    /// Begins with a start.
    pub(crate) fn new(check: HealthCheck, early: EarlyProbes) -> Self {
        let period = if check.start_period.is_zero() { Period::Regular } else { Period::Start };
        Self { check, health: Health::starting(), period, early, next: Next::Regular }
    }

    /// Goes on with what is known of a run that was begun under another monitor.
    pub(crate) fn resume(check: HealthCheck, health: Health) -> Self {
        let fresh = health.status == HealthStatus::Starting && !check.start_period.is_zero();
        let period = if fresh { Period::Start } else { Period::Regular };
        Self { check, health, period, early: EarlyProbes::Off, next: Next::Regular }
    }

    pub(crate) fn check(&self) -> &HealthCheck {
        &self.check
    }

    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// Returns when the next probe is due: so long from now, which is the start or the end of the last probe. `age` is
    /// how long the container runs.
    pub(crate) fn interval(&mut self, age: Duration) -> Duration {
        self.leave_start(age);
        let interval = match self.period {
            Period::Start => self.check.start_interval.min(self.check.interval),
            Period::Regular => self.check.interval,
        };
        self.next = Next::Regular;
        if self.early == EarlyProbes::Off {
            return interval;
        }
        let mut due = EARLY;
        while due <= age {
            due *= 2;
        }
        if due < interval {
            self.next = Next::Early;
            due - age
        } else {
            // The first regular one is due where it would be without the early ones.
            self.early = EarlyProbes::Off;
            interval.saturating_sub(age)
        }
    }

    /// Tells whether nobody need hear of the probe that is due.
    pub(crate) fn is_silent(&self) -> bool {
        self.next == Next::Early
    }

    /// Takes the end of a probe, `age` after the container's start; returns the status if it is another now.
    pub(crate) fn probed(&mut self, probe: Probe, age: Duration) -> Option<HealthStatus> {
        self.leave_start(age);
        if self.next == Next::Early && probe.exit_code != 0 {
            return None;
        }
        self.early = EarlyProbes::Off;
        let before = self.health.status;
        if probe.exit_code == 0 {
            self.period = Period::Regular;
            self.health.failing_streak = 0;
            self.health.status = HealthStatus::Healthy;
        } else if self.period == Period::Regular {
            self.health.failing_streak = self.health.failing_streak.saturating_add(1);
            if self.health.failing_streak >= self.check.retries {
                self.health.status = HealthStatus::Unhealthy;
            }
        }
        self.health.log.push(probe);
        if self.health.log.len() > Health::KEPT {
            self.health.log.remove(0);
        }
        (self.health.status != before).then_some(self.health.status)
    }

    fn leave_start(&mut self, age: Duration) {
        if age >= self.check.start_period {
            self.period = Period::Regular;
        }
    }
}

/// Makes the text that is kept of a probe's output.
pub(crate) fn output(bytes: &[u8], dropped: Dropped) -> String {
    let mut text = String::from_utf8_lossy(&bytes[..bytes.len().min(OUTPUT)]).into_owned();
    if dropped == Dropped::Some || bytes.len() > OUTPUT {
        text.push_str("...");
    }
    text
}

/// Whether there was more output than is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    None,
    Some,
}

#[cfg(test)]
mod tests {
    use rbuild_model::container::HealthTest;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn check(start_period: u64, retries: u32) -> HealthCheck {
        HealthCheck {
            test: HealthTest::Command(vec!["true".to_owned()]),
            interval: 30 * SECOND,
            timeout: 30 * SECOND,
            start_period: Duration::from_secs(start_period),
            start_interval: 5 * SECOND,
            retries,
        }
    }

    fn probe(exit_code: i32) -> Probe {
        let now = jiff::Timestamp::UNIX_EPOCH;
        Probe { start: now, end: now, exit_code, output: String::new() }
    }

    /// Feeds exit codes, one a second, and compares changes and streaks.
    fn run(check: HealthCheck, codes: &[i32], expected: &str) {
        let mut machine = Machine::new(check, EarlyProbes::Off);
        let mut told = Vec::new();
        for (second, code) in codes.iter().enumerate() {
            let change = machine.probed(probe(*code), Duration::from_secs(second as u64));
            let streak = machine.health().failing_streak;
            told.push(change.map_or_else(|| streak.to_string(), |status| format!("{streak}:{status}")));
        }
        assert_eq!(told.join(" "), expected, "{codes:?}");
    }

    #[test]
    fn probes_become_health() {
        run(check(0, 3), &[0, 0], "0:healthy 0");
        run(check(0, 3), &[1, 1, 1, 1], "1 2 3:unhealthy 4");
        run(check(0, 3), &[1, 1, 0, 1, 1, 1, 0], "1 2 0:healthy 1 2 3:unhealthy 0:healthy");
        run(check(0, 1), &[-1], "1:unhealthy");
    }

    #[test]
    fn failures_of_the_start_do_not_count_until_a_success() {
        run(check(3, 2), &[1, 1, 1, 1, 1], "0 0 0 1 2:unhealthy");
        run(check(100, 2), &[1, 0, 1, 1], "0 0:healthy 1 2:unhealthy");
    }

    #[test]
    fn the_start_has_an_interval_of_its_own() {
        let mut machine = Machine::new(check(10, 3), EarlyProbes::Off);
        assert_eq!(machine.interval(Duration::ZERO), 5 * SECOND);
        assert_eq!(machine.interval(10 * SECOND), 30 * SECOND);
        let mut machine = Machine::new(check(10, 3), EarlyProbes::Off);
        machine.probed(probe(0), SECOND);
        assert_eq!(machine.interval(2 * SECOND), 30 * SECOND);
        let mut short = Machine::new(HealthCheck { interval: SECOND, ..check(10, 3) }, EarlyProbes::Off);
        assert_eq!(short.interval(Duration::ZERO), SECOND);
        assert_eq!(Machine::new(check(0, 3), EarlyProbes::Off).interval(Duration::ZERO), 30 * SECOND);
    }

    #[test]
    fn early_probes_only_bring_good_news() {
        let millis = Duration::from_millis;
        let quick = HealthCheck { interval: millis(1000), ..check(0, 1) };
        let mut machine = Machine::new(quick.clone(), EarlyProbes::On);
        let mut age = Duration::ZERO;
        let mut begun = Vec::new();
        for _ in 0..7 {
            age += machine.interval(age);
            begun.push((age.as_millis(), machine.is_silent()));
            // A probe takes a little.
            age += millis(1);
            assert_eq!(machine.probed(probe(1), age).is_some(), begun.len() == 6, "{begun:?}");
        }
        let early = [50, 100, 200, 400, 800].map(|at| (at, true));
        assert_eq!(begun[..5], early);
        assert_eq!(begun[5..], [(1000, false), (2001, false)]);
        assert_eq!(machine.health().log.len(), 2);
        let mut machine = Machine::new(quick, EarlyProbes::On);
        assert_eq!(machine.interval(Duration::ZERO), EARLY);
        assert_eq!(machine.probed(probe(0), millis(60)), Some(HealthStatus::Healthy));
        assert_eq!(machine.interval(millis(60)), millis(1000), "from then on as always");
        assert_eq!(machine.probed(probe(1), millis(1060)), Some(HealthStatus::Unhealthy));
        let mut none = Machine::new(HealthCheck { interval: millis(20), ..check(0, 1) }, EarlyProbes::On);
        assert_eq!(none.interval(Duration::ZERO), millis(20));
    }

    #[test]
    fn five_probes_are_kept() {
        let mut machine = Machine::new(check(0, 100), EarlyProbes::Off);
        for code in 1..9 {
            machine.probed(probe(code), SECOND);
        }
        let codes: Vec<i32> = machine.health().log.iter().map(|probe| probe.exit_code).collect();
        assert_eq!(codes, [4, 5, 6, 7, 8]);
        let mut resumed = Machine::resume(check(0, 9), machine.health().clone());
        resumed.probed(probe(1), SECOND);
        assert_eq!(resumed.health().status, HealthStatus::Unhealthy);
    }

    #[test]
    fn long_output_is_cut() {
        assert_eq!(output(b"ok", Dropped::None), "ok");
        let long = output(&[b'x'; OUTPUT + 1], Dropped::None);
        assert_eq!((long.len(), &long[OUTPUT..]), (OUTPUT + 3, "..."));
        assert_eq!(output(b"cut", Dropped::Some), "cut...");
    }
}
