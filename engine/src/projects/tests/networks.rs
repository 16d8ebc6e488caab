//! What becomes of containers when a network of theirs changes.

use super::*;

#[test]
fn a_changed_network_keeps_its_containers() {
    let project = project(&[("web", &[])]);
    let network = NetworkKey::new("default").expect("a key");
    let wanted = Wanted { network_hashes: BTreeMap::from([(network, "m".to_owned())]), ..Wanted::default() };
    check(
        &plan(&project, &observed(vec![replica("web", 1)]), &wanted),
        &[
            "[] stop p-web-1: definition of network default changed",
            "[0] disconnect p-web-1 from p_default: definition of network default changed",
            "[1] remove network p_default: definition of network default changed",
            "[2] create network p_default: definition of network default changed",
            "[3] connect p-web-1 to p_default: definition of network default changed",
            "[0 4] start p-web-1: definition of network default changed",
        ],
    );
}

#[test]
fn who_lost_its_network_while_it_did_not_run_starts_when_there_is_one_again() {
    let project = project(&[("web", &[])]);
    let mut ended = replica("web", 1);
    ended.activity = Activity::Exited;
    let mut there = observed(vec![ended]);
    there.networks.clear();
    check(
        &plan(&project, &there, &Wanted::default()),
        &["[] create network p_default: there is none", "[0] start p-web-1: not running"],
    );
}

#[test]
fn who_had_ended_is_used_when_it_is_in_the_changed_network_again() {
    let project = project(&[("web", &[])]);
    let network = NetworkKey::new("default").expect("a key");
    let wanted = Wanted {
        network_hashes: BTreeMap::from([(network, "m".to_owned())]),
        scale: BTreeMap::from([(key("web"), 2)]),
        ..Wanted::default()
    };
    let mut ended = [replica("web", 1), replica("web", 2), replica("web", 3)];
    for one in &mut ended {
        one.activity = Activity::Exited;
    }
    ended[1].config_hash = "0".to_owned();
    ended[2].config_hash = "0".to_owned();
    check(
        &plan(&project, &observed(ended.to_vec()), &wanted),
        &[
            "[] disconnect p-web-1 from p_default: definition of network default changed",
            "[] disconnect p-web-2 from p_default: definition of network default changed",
            "[] disconnect p-web-3 from p_default: definition of network default changed",
            "[0 1 2] remove network p_default: definition of network default changed",
            "[3] create network p_default: definition of network default changed",
            "[4] connect p-web-1 to p_default: definition of network default changed",
            "[4] connect p-web-2 to p_default: definition of network default changed",
            "[4] connect p-web-3 to p_default: definition of network default changed",
            "[7] remove p-web-3: only 2 wanted",
            "[4 6] recreate p-web-2: its definition changed",
            "[5] start p-web-1: not running",
            "[9] start p-web-2: new",
        ],
    );
}

#[test]
fn who_goes_is_gone_before_the_network_it_was_in() {
    let project = project(&[("web", &[])]);
    let network = NetworkKey::new("default").expect("a key");
    let wanted = Wanted {
        network_hashes: BTreeMap::from([(network, "m".to_owned())]),
        orphans: Orphans::Remove,
        ..Wanted::default()
    };
    let mut web = replica("web", 1);
    web.networks.clear();
    web.activity = Activity::Exited;
    let planned = plan(&project, &observed(vec![replica("gone", 1), web]), &wanted);
    let lines: Vec<_> = planned.operations.iter().map(ToString::to_string).collect();
    assert!(lines[1].starts_with("remove p-gone-1"), "{lines:?}");
    assert!(lines[2].starts_with("remove network"), "{lines:?}");
    assert_eq!(planned.operations[2].after, [OperationId(1)]);
}

#[test]
fn who_was_not_named_runs_again_after_a_network_changed() {
    let project = project(&[("web", &[]), ("db", &[]), ("app", &["db"])]);
    let network = NetworkKey::new("default").expect("a key");
    let wanted = Wanted {
        targets: BTreeSet::from([key("web")]),
        network_hashes: BTreeMap::from([(network, "m".to_owned())]),
        ..Wanted::default()
    };
    let mut ended = replica("web", 1);
    ended.activity = Activity::Exited;
    let mut seen = observed(vec![replica("app", 1), replica("db", 1), ended]);
    let planned = plan(&project, &seen, &wanted);
    let starts: Vec<_> = planned
        .operations
        .iter()
        .enumerate()
        .filter_map(|(place, planned)| match &planned.operation {
            Operation::Start(container) => Some((place, container.name(), &planned.after)),
            _ => None,
        })
        .collect();
    let names: Vec<_> = starts.iter().map(|(_, name, _)| *name).collect();
    assert_eq!(names, ["p-web-1", "p-db-1", "p-app-1"]);
    // Each after it was stopped and connected again, and after what it depends on.
    let (db, _, _) = starts[1];
    assert!(starts[2].2.contains(&OperationId(db)), "{starts:?}");
    for (_, name, after) in &starts[1..] {
        let waits_for = |word: &str| {
            let line = format!("{word} {name}");
            after.iter().any(|id| planned.operations[id.0].to_string().starts_with(&line))
        };
        assert!(waits_for("stop") && waits_for("connect"), "{name}: {planned}");
    }
    // What `run` runs cannot be started again.
    seen.replicas[0].kind = ReplicaKind::OneOff;
    let error = up(&project, &seen, &wanted).expect_err("a program of run");
    let containers = vec!["p-app-1".to_owned()];
    assert_eq!(error, PlanError::NetworkInUse { name: "p_default".to_owned(), containers });
}

#[test]
fn who_depends_on_another_stops_before_it_when_their_network_changes() {
    let project = project(&[("web", &["db"]), ("db", &[])]);
    let network = NetworkKey::new("default").expect("a key");
    let wanted = Wanted { network_hashes: BTreeMap::from([(network, "m".to_owned())]), ..Wanted::default() };
    check(
        &plan(&project, &observed(vec![replica("db", 1), replica("web", 1)]), &wanted),
        &[
            "[] stop p-web-1: definition of network default changed",
            "[0] disconnect p-web-1 from p_default: definition of network default changed",
            "[0] stop p-db-1: definition of network default changed",
            "[2] disconnect p-db-1 from p_default: definition of network default changed",
            "[1 3] remove network p_default: definition of network default changed",
            "[4] create network p_default: definition of network default changed",
            "[5] connect p-web-1 to p_default: definition of network default changed",
            "[5] connect p-db-1 to p_default: definition of network default changed",
            "[2 7] start p-db-1: definition of network default changed",
            "[0 6 8] start p-web-1: definition of network default changed",
        ],
    );
}
