use rbuild_model::project::PreStart;

use super::*;

/// A service with two steps before its start, and what it needs.
fn stepped() -> Project {
    let mut project = project(&[("web", &["db"]), ("db", &[])]);
    let web = project.services.get_mut("web").expect("a service");
    web.pre_start = vec![PreStart::default(); 2];
    project
}

fn step(at: u64, activity: Activity) -> Replica {
    let name = format!("p-web-pre_start{at}");
    let mut step = Replica { kind: ReplicaKind::PreStart, activity, name, ..replica("web", at) };
    // Another one than the container with this number.
    step.id = ContainerId::from_bytes([b's' + at as u8; 32]);
    step
}

fn check_steps(replicas: Vec<Replica>, wanted: &Wanted, expected: &[&str]) {
    check(&plan(&stepped(), &observed(replicas), wanted), expected);
}

fn web(activity: Activity) -> Replica {
    Replica { activity, ..replica("web", 1) }
}

#[test]
fn steps_come_one_after_the_other_when_what_they_need_is_there_and_the_container_is_made() {
    check_steps(
        vec![],
        &Wanted::default(),
        &[
            "[] create p-db-1: there is none",
            "[0] start p-db-1: new",
            "[] create p-web-1: there is none",
            "[1 2] run pre_start[0] of web: no container of web runs",
            "[3] run pre_start[1] of web: no container of web runs",
            "[1 2 4] start p-web-1: new",
        ],
    );
    let plan = plan(&stepped(), &observed(vec![]), &Wanted::default());
    assert_eq!(plan.operations[3].path(), ["services", "web", "pre_start", "0"]);
}

#[test]
fn steps_run_again_only_where_no_container_runs_or_one_comes_anew() {
    let db = || replica("db", 1);
    let two = Wanted { scale: BTreeMap::from([(key("web"), 2)]), ..Wanted::default() };
    check_steps(vec![db(), web(Activity::Running)], &Wanted::default(), &[]);
    check_steps(
        vec![db(), web(Activity::Running)],
        &two,
        &["[] create p-web-2: there is none", "[0] start p-web-2: new"],
    );
    check_steps(
        vec![db(), web(Activity::Exited)],
        &Wanted::default(),
        &[
            "[] run pre_start[0] of web: no container of web runs",
            "[0] run pre_start[1] of web: no container of web runs",
            "[1] start p-web-1: not running",
        ],
    );
    let old = Replica { config_hash: "0".to_owned(), ..web(Activity::Running) };
    check_steps(
        vec![db(), old],
        &Wanted::default(),
        &[
            "[] recreate p-web-1: its definition changed",
            "[0] run pre_start[0] of web: web comes anew",
            "[1] run pre_start[1] of web: web comes anew",
            "[0 2] start p-web-1: new",
        ],
    );
    let made = Wanted { starting: Starting::CreateOnly, ..Wanted::default() };
    check_steps(vec![db(), web(Activity::Exited), step(1, Activity::Exited)], &made, &[]);
}

#[test]
fn a_step_that_was_left_behind_is_removed_or_waited_for() {
    let db = || replica("db", 1);
    check_steps(
        vec![db(), web(Activity::Created), step(1, Activity::Exited)],
        &Wanted::default(),
        &[
            "[] remove p-web-pre_start1: left by an earlier run",
            "[] run pre_start[0] of web: it was not done the last time",
            "[0 1] run pre_start[1] of web: it was not done the last time",
            "[2] start p-web-1: new",
        ],
    );
    check_steps(
        vec![db(), web(Activity::Created), step(1, Activity::Running)],
        &Wanted::default(),
        &["[] run pre_start[1] of web: it is under way already", "[0] start p-web-1: new"],
    );
    // One that is no longer written, or was written otherwise, is nobody's.
    let other = Replica { config_hash: "0".to_owned(), ..step(0, Activity::Running) };
    check_steps(
        vec![db(), web(Activity::Running), other, step(2, Activity::Exited)],
        &Wanted::default(),
        &[
            "[] stop p-web-pre_start0: left by an earlier run",
            "[0] remove p-web-pre_start0: left by an earlier run",
            "[] remove p-web-pre_start2: left by an earlier run",
        ],
    );
}

#[test]
fn steps_go_with_their_service_when_it_goes() {
    let replicas = vec![replica("web", 1), step(0, Activity::Exited)];
    let dependencies = BTreeMap::from([("web".to_owned(), BTreeSet::new())]);
    let gone = Down { replicas: replicas.clone(), dependencies, ..Down::default() };
    check(
        &down(&gone).expect("a plan"),
        &[
            "[] stop p-web-pre_start0: the project is taken down",
            "[0] remove p-web-pre_start0: the project is taken down",
            "[] stop p-web-1: the project is taken down",
            "[2] remove p-web-1: the project is taken down",
        ],
    );
    let project = project(&[("db", &[])]);
    let plan =
        plan(&project, &observed(vec![step(0, Activity::Exited), replica("db", 1)]), &Wanted::default());
    let names = vec!["p-web-pre_start0".to_owned()];
    assert_eq!(plan.warnings, [Warning::Orphans { names }]);
}

#[test]
fn a_start_runs_steps_where_no_container_runs() {
    let started = |replicas: Vec<Replica>, how| {
        turn(&replicas, &BTreeMap::new(), Some(&stepped()), how).expect("a plan")
    };
    check(
        &started(vec![web(Activity::Exited)], Turn::Start),
        &[
            "[] run pre_start[0] of web: no container of web runs",
            "[0] run pre_start[1] of web: no container of web runs",
            "[1] start p-web-1: asked for",
        ],
    );
    let more = vec![web(Activity::Running), Replica { activity: Activity::Exited, ..replica("web", 2) }];
    check(&started(more, Turn::Start), &["[] start p-web-2: asked for"]);
    let again = started(vec![web(Activity::Running)], Turn::Restart);
    check(&again, &["[] stop p-web-1: asked for", "[0] start p-web-1: asked for"]);
    check(
        &started(vec![web(Activity::Exited)], Turn::Restart),
        &[
            "[] stop p-web-1: asked for",
            "[0] run pre_start[0] of web: no container of web runs",
            "[1] run pre_start[1] of web: no container of web runs",
            "[0 2] start p-web-1: asked for",
        ],
    );
}

#[test]
fn a_step_that_failed_is_run_again_whoever_starts_the_service() {
    let db = || replica("db", 1);
    let project = stepped();
    // Somebody has started the service's container without asking.
    let there = vec![db(), web(Activity::Running), step(1, Activity::Exited)];
    let kept = plan(&project, &observed(there.clone()), &Wanted::default());
    check(&kept, &[]);
    let warnings: Vec<String> = kept.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "web runs, though pre_start[1] has not ended well: p-web-pre_start1 is left of it. `rbuild compose restart web` \
          runs it again"
        ]
    );
    let again =
        Wanted { recreate: Recreate::Always, targets: BTreeSet::from([key("web")]), ..Wanted::default() };
    check_steps(
        there.clone(),
        &again,
        &[
            "[] recreate p-web-1: asked for",
            "[] remove p-web-pre_start1: left by an earlier run",
            "[0] run pre_start[0] of web: web comes anew",
            "[1 2] run pre_start[1] of web: web comes anew",
            "[0 3] start p-web-1: new",
        ],
    );
    // Where it is to have no container, nothing is left to be told.
    let none = Wanted { scale: BTreeMap::from([(key("web"), 0)]), ..Wanted::default() };
    check_steps(
        there,
        &none,
        &[
            "[] remove p-web-pre_start1: left by an earlier run",
            "[] stop p-web-1: only 0 wanted",
            "[1] remove p-web-1: only 0 wanted",
        ],
    );
    let turned = |web, step, how, project| turn(&[web, step], &BTreeMap::new(), project, how);
    for how in [Turn::Start, Turn::Restart] {
        let (web, stop) = match how {
            Turn::Restart => (web(Activity::Running), 1),
            _ => (web(Activity::Created), 0),
        };
        // From the first one on; what was left in a place is removed when it is its turn.
        let plan = turned(web.clone(), step(1, Activity::Exited), how, Some(&project)).expect("a plan");
        let lines: Vec<String> = plan.operations[stop..].iter().map(ToString::to_string).collect();
        let why = "it was not done the last time";
        assert_eq!(lines[..2], [0, 1].map(|at| format!("run pre_start[{at}] of web: {why}")));
        assert_eq!((lines.len(), &*lines[2]), (3, "start p-web-1: asked for"));
        // One that is under way is the first.
        let plan = turned(web.clone(), step(1, Activity::Running), how, Some(&project)).expect("a plan");
        let lines: Vec<String> = plan.operations[stop..].iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["run pre_start[1] of web: it is under way already", "start p-web-1: asked for"]);
        // What it was is in the project's files alone.
        let refused = turned(web, step(1, Activity::Exited), how, None).expect_err("no plan");
        let (service, container) = ("web".to_owned(), "p-web-pre_start1".to_owned());
        assert_eq!(refused, TurnError::StepLeft { service, container });
    }
}

#[test]
fn what_a_step_had_for_itself_goes_with_it() {
    let left = vec![replica("db", 1), web(Activity::Exited), step(0, Activity::Exited)];
    let plan = plan(&stepped(), &observed(left), &Wanted::default());
    let volumes: Vec<AnonymousVolumes> = plan
        .operations
        .iter()
        .filter_map(|planned| match planned.operation {
            Operation::Remove { volumes, .. } => Some(volumes),
            _ => None,
        })
        .collect();
    assert_eq!(volumes, [AnonymousVolumes::Renew]);
}

#[test]
fn a_service_cannot_say_that_its_containers_are_steps() {
    let mut project = stepped();
    let web = project.services.get_mut("web").expect("a service");
    web.labels = [(labels::key::HOOK, "pre_start"), ("own", "x")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    let web = &project.services["web"];
    let labels = labels::of_container(&project, web, &labels::Place::Numbered(1), "", "");
    assert!(!labels.contains_key(labels::key::HOOK) && labels["own"] == "x");
}
