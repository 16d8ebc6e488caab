use super::*;

/// Two containers that are up under these names, of services that are to have these.
fn renamed(was: [&str; 2], is: [Option<&str>; 2]) -> (Project, Observed) {
    let mut project = project(&[("a", &[]), ("b", &[])]);
    let mut replicas = vec![replica("a", 1), replica("b", 1)];
    for ((replica, was), is) in replicas.iter_mut().zip(was).zip(is) {
        replica.name = was.to_owned();
        let service = project.services.get_mut(replica.service.as_str()).expect("a service");
        service.container_name = is.map(str::to_owned);
        service.config_hash = if is == Some(was) { "1" } else { "2" }.to_owned();
    }
    (project, observed(replicas))
}

fn check_renamed(was: [&str; 2], is: [Option<&str>; 2], expected: &[&str]) {
    let (project, observed) = renamed(was, is);
    check(&plan(&project, &observed, &Wanted::default()), expected);
}

#[test]
fn a_name_is_given_up_before_it_is_taken_whoever_comes_first() {
    check_renamed(
        ["x", "y"],
        [None, Some("x")],
        &[
            "[] recreate x as p-a-1: its definition changed",
            "[0] start p-a-1: new",
            "[0] recreate y as x: its definition changed",
            "[2] start x: new",
        ],
    );
    check_renamed(
        ["x", "y"],
        [Some("y"), None],
        &[
            "[] rename y to 620100000000_y: a is to have its name",
            "[0] recreate x as y: its definition changed",
            "[1] start y: new",
            "[0] recreate y as p-b-1: its definition changed",
            "[3] start p-b-1: new",
        ],
    );
    check_renamed(
        ["x", "y"],
        [Some("y"), Some("x")],
        &[
            "[] rename y to 620100000000_y: a is to have its name",
            "[0] recreate x as y: its definition changed",
            "[1] start y: new",
            "[0 1] recreate y as x: its definition changed",
            "[3] start x: new",
        ],
    );
}

#[test]
fn who_keeps_a_name_is_not_asked_for_it() {
    let (project, mut observed) = renamed(["x", "y"], [Some("y"), Some("y")]);
    let expected = ["[] recreate x as y: its definition changed", "[0] start y: new"];
    check(&plan(&project, &observed, &Wanted::default()), &expected);
    // Nor is who is left alone.
    let (mut project, _) = renamed(["x", "y"], [Some("y"), None]);
    let target = Wanted { targets: BTreeSet::from([key("a")]), ..Wanted::default() };
    check(&plan(&project, &observed, &target), &expected);
    // A command that was cut off has it give the name up; where that is no longer wanted, it gets it back.
    project.services.get_mut("a").expect("a").container_name = Some("x".to_owned());
    let b = project.services.get_mut("b").expect("b");
    (b.container_name, b.config_hash) = (Some("y".to_owned()), "1".to_owned());
    observed.replicas[0].name = "y".to_owned();
    observed.replicas[1].name = "620100000000_y".to_owned();
    check(
        &plan(&project, &observed, &Wanted::default()),
        &[
            "[] recreate y as x: its definition changed",
            "[0] start x: new",
            "[0] rename 620100000000_y to y: an earlier command was cut off",
        ],
    );
}

#[test]
fn a_name_that_looks_like_one_for_the_time_being_is_kept() {
    let [app, shop] = ["deadbeef0123_app", "0123456789ab_shop"];
    let (project, observed) = renamed([app, shop], [Some(app), Some(shop)]);
    check(&plan(&project, &observed, &Wanted::default()), &[]);
}
