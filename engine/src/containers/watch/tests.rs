use super::*;

fn moment(status: Status) -> Moment {
    Moment { status, health: None, pid: None, restarts: 0, code: 0, finished: None, error: None }
}

fn healthy(health: HealthStatus) -> Moment {
    Moment { health: Some(health), ..moment(Status::Running) }
}

/// Ended for the nth time.
fn ended(status: Status, nth: i64) -> Moment {
    let finished = Timestamp::from_second(nth).unwrap();
    Moment { finished: Some(finished), code: 3, ..moment(status) }
}

/// What a wait comes to when this is told, and after how many of it.
fn wait(condition: Condition, told: &[Moment]) -> Option<(&'static str, usize)> {
    let mut expectation = Expectation::new(condition);
    told.iter().enumerate().find_map(|(at, moment)| {
        let word = match expectation.told(&Change::Now(moment.clone()))? {
            Awaited::Met(_) => "met",
            Awaited::Failed(_) => "failed",
            other => panic!("{other:?}"),
        };
        Some((word, at + 1))
    })
}

#[test]
fn conditions_are_met_or_fail_by_what_is_told() {
    use Condition::*;
    use HealthStatus::{Healthy as Good, Starting, Unhealthy as Bad};
    use Status::{Created, Exited as End, Paused, Restarting, Running as Run};
    let failure = Moment { error: Some("no such file".to_owned()), code: 127, ..moment(Created) };
    for (condition, told, result) in [
        (Running, vec![moment(Created), moment(Run)], Some(("met", 2))),
        (Running, vec![moment(Created), failure.clone()], Some(("failed", 2))),
        (Running, vec![moment(Created), moment(Run)], Some(("met", 2))),
        (Running, vec![ended(Restarting, 1), ended(Run, 1)], Some(("met", 2))),
        (Running, vec![ended(End, 1)], Some(("failed", 1))),
        (Healthy, vec![healthy(Starting), healthy(Good)], Some(("met", 2))),
        (Healthy, vec![healthy(Starting), healthy(Bad)], Some(("failed", 2))),
        (Healthy, vec![healthy(Starting), ended(Restarting, 1), healthy(Good)], Some(("met", 3))),
        (Healthy, vec![healthy(Starting), ended(End, 1)], Some(("failed", 2))),
        (Healthy, vec![moment(Run)], Some(("failed", 1))),
        (Ready, vec![moment(Run)], Some(("met", 1))),
        (Ready, vec![healthy(Starting)], None),
        (NotRunning, vec![moment(Created)], Some(("met", 1))),
        (NotRunning, vec![moment(Run), moment(Paused), ended(Restarting, 1)], Some(("met", 3))),
        (NotRunning, vec![ended(Restarting, 1), ended(Run, 1), ended(Run, 2)], Some(("met", 3))),
        (NextExit, vec![ended(End, 1), ended(Run, 1), ended(End, 2)], Some(("met", 3))),
        (NextExit, vec![moment(Created), failure], Some(("failed", 2))),
        (Exited, vec![moment(Created), moment(Run), ended(Restarting, 1), ended(End, 2)], Some(("met", 4))),
        (Exited, vec![ended(End, 1)], Some(("met", 1))),
        (Removed, vec![moment(Run), ended(End, 1)], None),
    ] {
        assert_eq!(wait(condition, &told), result, "{condition:?} {told:?}");
    }
    let mut expectation = Expectation::new(Removed);
    assert_eq!(expectation.told(&Change::Removed), Some(Awaited::Removed));
}
