use std::collections::{BTreeMap, BTreeSet};

use rbuild_model::container::ContainerId;
use rbuild_model::project::{
    Condition, Dependency, Mount, MountKind, Network, NetworkKey, NetworkMode, Project, ProjectName, Service,
    ServiceName, Volume, VolumeKey,
};
use serde_json::json;

use super::content::with_contents;
use super::*;

mod before;
mod beside;
mod names;
mod networks;

fn key(text: &str) -> ServiceName {
    ServiceName::new(text).expect("a key")
}

/// A project of services, each with what it depends on; all of them in network `default`.
fn project(services: &[(&str, &[&str])]) -> Project {
    let network = NetworkKey::new("default").expect("a key");
    let mut project = Project {
        name: ProjectName::new("p").expect("a name"),
        separator: '-',
        directory: "/p".into(),
        files: vec![],
        env_files: vec![],
        services: BTreeMap::new(),
        disabled: BTreeMap::new(),
        networks: BTreeMap::from([(
            network.clone(),
            Network { name: "p_default".to_owned(), ..Network::default() },
        )]),
        volumes: BTreeMap::new(),
        configs: BTreeMap::new(),
        secrets: BTreeMap::new(),
        models: BTreeMap::new(),
        environment: BTreeMap::new(),
    };
    for (name, dependencies) in services {
        let mut service = Service::named(key(name));
        service.config_hash = "1".to_owned();
        service.networks.insert(network.clone(), Default::default());
        for dependency in *dependencies {
            service.depends_on.insert(key(dependency), needs(Condition::Started));
        }
        project.services.insert(key(name), service);
    }
    project
}

fn needs(condition: Condition) -> Dependency {
    Dependency { condition, restart: false, required: true }
}

fn replica(service: &str, number: u64) -> Replica {
    let mut id = [0; 32];
    id[0] = service.as_bytes()[0];
    id[1] = number as u8;
    Replica {
        id: ContainerId::from_bytes(id),
        name: format!("p-{service}-{number}"),
        service: service.to_owned(),
        number,
        kind: ReplicaKind::Numbered,
        activity: Activity::Running,
        config_hash: "1".to_owned(),
        config: None,
        image: "sha256:a".to_owned(),
        mounted: BTreeMap::new(),
        networks: BTreeSet::from(["p_default".to_owned()]),
        volumes: BTreeSet::new(),
        shares: BTreeSet::new(),
    }
}

/// What there is of a project that is up.
fn observed(replicas: Vec<Replica>) -> Observed {
    let network = NetworkKey::new("default").expect("a key");
    let owner = Owner::Ours { hash: "n".to_owned() };
    Observed { replicas, networks: BTreeMap::from([(network, Found { owner })]), volumes: BTreeMap::new() }
}

/// The plan as people see it; each line is preceded by the numbers of the lines it waits for.
fn check(plan: &Plan, expected: &[&str]) {
    let lines: Vec<String> = plan
        .operations
        .iter()
        .map(|planned| {
            let after: Vec<_> = planned.after.iter().map(|id| id.0.to_string()).collect();
            format!("[{}] {planned}", after.join(" "))
        })
        .collect();
    assert_eq!(lines, expected);
    for (place, planned) in plan.operations.iter().enumerate() {
        assert!(planned.after.iter().all(|id| id.0 < place), "{planned} waits for what comes later");
    }
}

fn plan(project: &Project, observed: &Observed, wanted: &Wanted) -> Plan {
    up(project, observed, wanted).expect("a plan")
}

#[test]
fn a_new_project_is_made_from_its_network_up() {
    let project = project(&[("web", &["db"]), ("db", &[])]);
    check(
        &plan(&project, &Observed::default(), &Wanted::default()),
        &[
            "[] create network p_default: there is none",
            "[0] create p-db-1: there is none",
            "[1] start p-db-1: new",
            "[0] create p-web-1: there is none",
            "[2 3] start p-web-1: new",
        ],
    );
}

#[test]
fn what_is_as_it_should_be_needs_nothing() {
    let project = project(&[("web", &["db"]), ("db", &[])]);
    let plan = plan(&project, &observed(vec![replica("web", 1), replica("db", 1)]), &Wanted::default());
    check(&plan, &[]);
    let kept: Vec<_> = plan.kept.iter().map(|kept| kept.name.as_str()).collect();
    assert_eq!(kept, ["p-db-1", "p-web-1"]);
}

#[test]
fn health_is_waited_for_once_also_where_nothing_starts() {
    let mut project = project(&[("a", &["db"]), ("b", &["db"]), ("db", &[])]);
    for name in ["a", "b"] {
        let service = project.services.get_mut(name).expect("a service");
        service.depends_on.insert(key("db"), needs(Condition::Healthy));
    }
    let seen = observed(vec![replica("db", 1)]);
    check(
        &plan(&project, &seen, &Wanted::default()),
        &[
            "[] create p-a-1: there is none",
            "[] wait for db (service_healthy): a needs service_healthy",
            "[0 1] start p-a-1: new",
            "[] create p-b-1: there is none",
            "[1 3] start p-b-1: new",
        ],
    );
    let mut seen = observed(vec![replica("db", 1), replica("a", 1), replica("b", 1)]);
    let again = ["[] wait for db (service_healthy): a needs service_healthy"];
    check(&plan(&project, &seen, &Wanted::default()), &again);
    let made = Wanted { starting: Starting::CreateOnly, ..Wanted::default() };
    check(&plan(&project, &seen, &made), &[]);
    // A step that is done again may fail this time.
    let a = project.services.get_mut("a").expect("a service");
    a.depends_on.insert(key("db"), needs(Condition::CompletedSuccessfully));
    seen.replicas[0].activity = Activity::Exited;
    let named = Wanted { targets: BTreeSet::from([key("a")]), ..Wanted::default() };
    check(
        &plan(&project, &seen, &named),
        &[
            "[] start p-db-1: not running",
            "[0] wait for db (service_completed_successfully): a needs service_completed_successfully",
        ],
    );
    let alone = Wanted { dependencies: Dependencies::LeftAlone, ..named };
    check(&plan(&project, &seen, &alone), &[]);
}

#[test]
fn a_changed_definition_is_told_by_its_paths() {
    let project = project(&[("web", &[])]);
    let mut old = replica("web", 1);
    old.config_hash = "0".to_owned();
    old.config = Some(json!({"environment": {"PORT": "80", "A": "1"}, "image": "x"}));
    let config = json!({"environment": {"PORT": "81", "B": "2"}, "image": "x"});
    let desired = Desired { image: "sha256:a".to_owned(), config, ..Desired::default() };
    let wanted = Wanted { desired: BTreeMap::from([(key("web"), desired)]), ..Wanted::default() };
    check(
        &plan(&project, &observed(vec![old]), &wanted),
        &[
            "[] recreate p-web-1: environment.A is gone, environment.B is new: 2, environment.PORT 80 -> 81",
            "[0] start p-web-1: new",
        ],
    );
}

#[test]
fn who_gets_another_name_or_is_frozen_is_told_as_that() {
    let mut project = project(&[("web", &[])]);
    let mut frozen = replica("web", 1);
    frozen.activity = Activity::Paused;
    let there = plan(&project, &observed(vec![frozen]), &Wanted::default());
    check(&there, &["[] start p-web-1: paused"]);

    project.services.get_mut("web").unwrap().container_name = Some("site".to_owned());
    let mut old = replica("web", 1);
    old.config_hash = "0".to_owned();
    check(
        &plan(&project, &observed(vec![old]), &Wanted::default()),
        &["[] recreate p-web-1 as site: its definition changed", "[0] start site: new"],
    );
}

#[test]
fn another_content_of_a_file_makes_it_anew_where_that_is_wanted() {
    let project = project(&[("web", &[])]);
    let contents = |one: &str| Contents::from([("config app".to_owned(), one.to_owned())]);
    let mut old = replica("web", 1);
    old.config = Some(with_contents(&json!({"image": "x"}), &contents("a")));
    let plan_of = |now: &str, changed_contents| {
        let desired = Desired {
            image: "sha256:a".to_owned(),
            config: json!({"image": "x"}),
            contents: Some(contents(now)),
            ..Desired::default()
        };
        let desired = BTreeMap::from([(key("web"), desired)]);
        plan(
            &project,
            &observed(vec![old.clone()]),
            &Wanted { desired, changed_contents, ..Wanted::default() },
        )
    };
    check(&plan_of("b", ChangedContents::Keep), &[]);
    check(&plan_of("a", ChangedContents::Recreate), &[]);
    check(
        &plan_of("b", ChangedContents::Recreate),
        &["[] recreate p-web-1: content of config app changed", "[0] start p-web-1: new"],
    );
}

#[test]
fn another_image_under_the_name_makes_it_anew() {
    let project = project(&[("web", &[])]);
    let desired =
        Desired { image: format!("sha256:{}", "b".repeat(64)), config: json!({}), ..Desired::default() };
    let wanted = Wanted { desired: BTreeMap::from([(key("web"), desired)]), ..Wanted::default() };
    check(
        &plan(&project, &observed(vec![replica("web", 1)]), &wanted),
        &["[] recreate p-web-1: image a -> bbbbbbbbbbbb", "[0] start p-web-1: new"],
    );
}

#[test]
fn another_image_under_the_name_of_a_mounted_one_makes_it_anew() {
    let project = project(&[("web", &[])]);
    let images = |one: &str| BTreeMap::from([("/x".to_owned(), format!("sha256:{one}"))]);
    let mut old = replica("web", 1);
    old.mounted = images("a");
    let seen = observed(vec![old]);
    let plan_of = |mounted| {
        let desired = Desired { mounted, ..Desired::default() };
        let desired = BTreeMap::from([(key("web"), desired)]);
        plan(&project, &seen, &Wanted { desired, ..Wanted::default() })
    };
    check(&plan_of(Some(images("a"))), &[]);
    check(&plan_of(None), &[]);
    check(
        &plan_of(Some(images("b"))),
        &["[] recreate p-web-1: image at /x changed", "[0] start p-web-1: new"],
    );
}

#[test]
fn policies_decide_what_comes_anew() {
    let project = project(&[("web", &["db"]), ("db", &[])]);
    let mut old = replica("web", 1);
    old.config_hash = "0".to_owned();
    let seen = observed(vec![old, replica("db", 1)]);
    let never = Wanted { recreate: Recreate::Never, ..Wanted::default() };
    check(&plan(&project, &seen, &never), &[]);
    let targets = BTreeSet::from([key("web")]);
    let dependencies =
        Wanted { targets: targets.clone(), recreate_dependencies: Recreate::Always, ..Wanted::default() };
    check(
        &plan(&project, &seen, &dependencies),
        &[
            "[] recreate p-db-1: asked for",
            "[0] start p-db-1: new",
            "[] recreate p-web-1: its definition changed",
            "[1 2] start p-web-1: new",
        ],
    );
    let alone = Wanted {
        targets,
        dependencies: Dependencies::LeftAlone,
        recreate: Recreate::Always,
        starting: Starting::CreateOnly,
        ..Wanted::default()
    };
    check(&plan(&project, &seen, &alone), &["[] recreate p-web-1: asked for"]);
}

#[test]
fn scaling_down_takes_the_obsolete_and_the_high_numbers() {
    let project = project(&[("web", &[])]);
    let mut stale = replica("web", 1);
    stale.config_hash = "0".to_owned();
    let seen = observed(vec![stale, replica("web", 2), replica("web", 3)]);
    let to = |count| Wanted { scale: BTreeMap::from([(key("web"), count)]), ..Wanted::default() };
    check(
        &plan(&project, &seen, &to(1)),
        &[
            "[] stop p-web-3: only 1 wanted",
            "[0] remove p-web-3: only 1 wanted",
            "[] stop p-web-1: only 1 wanted",
            "[2] remove p-web-1: only 1 wanted",
        ],
    );
    check(
        &plan(&project, &seen, &to(4)),
        &[
            "[] recreate p-web-1: its definition changed",
            "[] create p-web-4: there is none",
            "[0] start p-web-1: new",
            "[1] start p-web-4: new",
        ],
    );
    // Who waits for the service waits for those that stay.
    let left = |count| execute::places(seen.replicas.iter(), &plan(&project, &seen, &to(count)));
    assert_eq!(left(1).into_keys().collect::<Vec<_>>(), [("web".to_owned(), 2)]);
    assert_eq!(left(4).len(), 3);
}

#[test]
fn what_has_ended_is_started_again() {
    let project = project(&[("web", &[])]);
    let mut ended = replica("web", 1);
    ended.activity = Activity::Exited;
    check(&plan(&project, &observed(vec![ended]), &Wanted::default()), &["[] start p-web-1: not running"]);
}

#[test]
fn what_was_told_to_stop_is_waited_for_before_it_is_started() {
    let project = project(&[("web", &["db"]), ("db", &[])]);
    let stopping = |service| Replica { activity: Activity::Stopping, ..replica(service, 1) };
    let seen = observed(vec![stopping("web"), stopping("db")]);
    let expected = [
        "[] wait for the end of p-db-1: it was told to stop",
        "[0] start p-db-1: not running",
        "[] wait for the end of p-web-1: it was told to stop",
        "[1 2] start p-web-1: not running",
    ];
    check(&plan(&project, &seen, &Wanted::default()), &expected);
    let graph = BTreeMap::from([("web".to_owned(), BTreeSet::from(["db".to_owned()]))]);
    let started = turn(&seen.replicas, &graph, Some(&project), Turn::Start).expect("a plan");
    check(
        &started,
        &expected.map(|line| line.replace("not running", "asked for")).each_ref().map(|line| &**line),
    );
    // What comes anew is stopped on the way, and its end is waited for with that.
    let old = Replica { config_hash: "0".to_owned(), ..stopping("db") };
    check(
        &plan(&project, &observed(vec![old, replica("web", 1)]), &Wanted::default()),
        &["[] recreate p-db-1: its definition changed", "[0] start p-db-1: new"],
    );
}

#[test]
fn a_name_is_given_on_when_who_had_it_is_gone() {
    let mut project = project(&[("api", &["db"]), ("db", &[])]);
    let name = |service: &mut Service| service.container_name = Some("it".to_owned());
    name(project.services.get_mut("api").expect("a service"));
    let named = |service| Replica { name: "it".to_owned(), ..replica(service, 1) };
    let wanted = Wanted { orphans: Orphans::Remove, ..Wanted::default() };
    check(
        &plan(&project, &observed(vec![named("old"), replica("db", 1)]), &wanted),
        &[
            "[] stop it: its service is gone",
            "[0] remove it: its service is gone",
            "[1] create it: there is none",
            "[2] start it: new",
        ],
    );
    let [was, now] =
        [named("db"), replica("api", 1)].map(|one| Replica { config_hash: "0".to_owned(), ..one });
    check(
        &plan(&project, &observed(vec![was, now]), &Wanted::default()),
        &[
            "[] recreate it as p-db-1: its definition changed",
            "[0] start p-db-1: new",
            "[0] recreate p-api-1 as it: its definition changed",
            "[1 2] start it: new",
        ],
    );
}

#[test]
fn dependents_restart_with_what_comes_anew() {
    let mut project = project(&[("web", &["db"]), ("db", &[])]);
    let service = project.services.get_mut("web").expect("a service");
    service
        .depends_on
        .insert(key("db"), Dependency { condition: Condition::Started, restart: true, required: true });
    let mut old = replica("db", 1);
    old.config_hash = "0".to_owned();
    let seen = observed(vec![old, replica("web", 1)]);
    check(
        &plan(&project, &seen, &Wanted::default()),
        &[
            "[] stop p-web-1: restarts with db",
            "[0] recreate p-db-1: its definition changed",
            "[1] start p-db-1: new",
            "[0 2] start p-web-1: restarts with db",
        ],
    );
    // One that nobody asked for is left alone: nothing would start it again.
    let wanted = Wanted { targets: BTreeSet::from([key("db")]), ..Wanted::default() };
    check(
        &plan(&project, &seen, &wanted),
        &["[] recreate p-db-1: its definition changed", "[0] start p-db-1: new"],
    );
}

#[test]
fn sharing_with_what_comes_anew_means_coming_anew() {
    let mut project = project(&[("side", &["web"]), ("web", &[])]);
    let side = project.services.get_mut("side").expect("a service");
    side.networks.clear();
    side.network_mode = Some(NetworkMode::Service(key("web")));
    let mut old = replica("web", 1);
    old.config_hash = "0".to_owned();
    check(
        &plan(&project, &observed(vec![old, replica("side", 1)]), &Wanted::default()),
        &[
            "[] recreate p-web-1: its definition changed",
            "[0] start p-web-1: new",
            "[0] recreate p-side-1: shares with web, which is recreated",
            "[1 2] start p-side-1: new",
        ],
    );
    let wanted = Wanted {
        targets: BTreeSet::from([key("side")]),
        dependencies: Dependencies::LeftAlone,
        ..Wanted::default()
    };
    // One that came anew behind its back is as good as gone.
    let web = replica("web", 1);
    let side = |with: ContainerId| Replica { shares: BTreeSet::from([with]), ..replica("side", 1) };
    let all = |with| observed(vec![web.clone(), side(with)]);
    check(&plan(&project, &all(web.id), &Wanted::default()), &[]);
    check(
        &plan(&project, &all(replica("web", 9).id), &Wanted::default()),
        &["[] recreate p-side-1: shares with a container of web that is gone", "[0] start p-side-1: new"],
    );
    let error = up(&project, &observed(vec![]), &wanted).expect_err("nothing to share with");
    assert_eq!(error, PlanError::NoParent { service: key("side"), parent: key("web") });
}

#[test]
fn a_changed_volume_is_kept_unless_it_may_go() {
    let mut project = project(&[("db", &[])]);
    let data = VolumeKey::new("data").expect("a key");
    let volume = Volume { name: "p_data".to_owned(), ..Volume::default() };
    project.volumes.insert(data.clone(), volume);
    project.services.get_mut("db").expect("a service").volumes.push(Mount {
        kind: MountKind::Volume {
            source: Some(data.clone()),
            nocopy: false,
            subpath: None,
            labels: BTreeMap::new(),
        },
        target: "/data".to_owned(),
        read_only: false,
        consistency: None,
    });
    let mut db = replica("db", 1);
    db.volumes.insert("p_data".to_owned());
    let mut seen = observed(vec![db]);
    seen.volumes.insert(data.clone(), Found { owner: Owner::Ours { hash: "1".to_owned() } });
    let mut wanted = Wanted { volume_hashes: BTreeMap::from([(data, "2".to_owned())]), ..Wanted::default() };
    let kept = plan(&project, &seen, &wanted);
    check(&kept, &[]);
    assert_eq!(kept.warnings, [Warning::VolumeKept { name: "p_data".to_owned() }]);
    wanted.changed_volumes = ChangedVolumes::Replace;
    check(
        &plan(&project, &seen, &wanted),
        &[
            "[] stop p-db-1: definition of volume data changed",
            "[0] remove p-db-1: definition of volume data changed",
            "[1] remove volume p_data: definition of volume data changed",
            "[2] create volume p_data: definition of volume data changed",
            "[1 3] create p-db-1: there is none",
            "[4] start p-db-1: new",
        ],
    );
    // A container that would not be made again does not go.
    let mut other = replica("other", 1);
    other.volumes.insert("p_data".to_owned());
    seen.replicas.push(other);
    let error = up(&project, &seen, &wanted).expect_err("another one uses it");
    let containers = vec!["p-other-1".to_owned()];
    assert_eq!(error, PlanError::VolumeInUse { name: "p_data".to_owned(), containers });
}

#[test]
fn orphans_are_named_ignored_or_removed() {
    let project = project(&[("web", &[])]);
    let mut gone = replica("gone", 1);
    gone.activity = Activity::Exited;
    let seen = observed(vec![replica("web", 1), gone]);
    let warned = plan(&project, &seen, &Wanted::default());
    assert_eq!(warned.warnings, [Warning::Orphans { names: vec!["p-gone-1".to_owned()] }]);
    check(&warned, &[]);
    let ignored = plan(&project, &seen, &Wanted { orphans: Orphans::Ignore, ..Wanted::default() });
    assert!(ignored.warnings.is_empty());
    let removed = plan(&project, &seen, &Wanted { orphans: Orphans::Remove, ..Wanted::default() });
    check(&removed, &["[] remove p-gone-1: its service is gone"]);
}

#[test]
fn what_belongs_to_others_is_used_or_refused() {
    let project = project(&[("web", &[])]);
    let network = NetworkKey::new("default").expect("a key");
    let mut seen = observed(vec![]);
    let owner = Owner::Other { project: "q".to_owned() };
    seen.networks.insert(network.clone(), Found { owner });
    let plan = plan(&project, &seen, &Wanted::default());
    check(&plan, &["[] create p-web-1: there is none", "[0] start p-web-1: new"]);
    assert_eq!(plan.warnings.len(), 1);
    seen.networks.insert(network, Found { owner: Owner::Nobody });
    let error = up(&project, &seen, &Wanted::default()).expect_err("a network without labels");
    assert!(error.to_string().contains("incorrect label com.docker.compose.network"), "{error}");
}

#[test]
fn mistakes_have_names() {
    let mut project = project(&[("web", &["db"]), ("db", &["web"])]);
    let error = up(&project, &Observed::default(), &Wanted::default()).expect_err("a cycle");
    assert_eq!(error.to_string(), "dependency cycle detected: db -> web -> db");
    let wanted = Wanted { targets: BTreeSet::from([key("nope")]), ..Wanted::default() };
    let error = up(&project, &Observed::default(), &wanted).expect_err("no such service");
    assert_eq!(error.to_string(), "no such service: nope");
    let web = project.services.get_mut("web").expect("a service");
    web.depends_on.clear();
    web.container_name = Some("only".to_owned());
    web.replicas = 2;
    let error = up(&project, &Observed::default(), &Wanted::default()).expect_err("one name for two");
    assert!(matches!(error, PlanError::NameNotUnique { wanted: 2, .. }), "{error}");
}

#[test]
fn down_stops_dependents_first_and_removes_networks_last() {
    let mut asked = Down {
        replicas: vec![replica("db", 1), replica("web", 1), replica("old", 1)],
        dependencies: BTreeMap::from([
            ("web".to_owned(), BTreeSet::from(["mid".to_owned()])),
            ("mid".to_owned(), BTreeSet::from(["db".to_owned()])),
            ("db".to_owned(), BTreeSet::new()),
        ]),
        networks: vec!["p_default".to_owned()],
        named_volumes: vec!["p_data".to_owned()],
        ..Down::default()
    };
    // `mid` has no container: `db` waits for `web` all the same.
    check(
        &down(&asked).expect("a plan"),
        &[
            "[] stop p-web-1: the project is taken down",
            "[0] remove p-web-1: the project is taken down",
            "[0] stop p-db-1: the project is taken down",
            "[2] remove p-db-1: the project is taken down",
            "[1 3] remove network p_default: the project is taken down",
        ],
    );
    // What has ended may be started again by somebody until it is stopped.
    asked.replicas[1].activity = Activity::Exited;
    assert_eq!(down(&asked).expect("a plan").to_string().matches("stop p-web-1:").count(), 1);
    asked.orphans = Orphans::Remove;
    asked.volumes = VolumesToo::Remove;
    let plan = down(&asked).expect("a plan");
    let text = plan.to_string();
    assert!(text.contains("remove p-old-1: the project is taken down\n"), "{text}");
    assert!(text.ends_with("remove volume p_data: the project is taken down\n"), "{text}");
}

#[test]
fn a_long_chain_needs_no_deep_stack() {
    let graph: BTreeMap<String, BTreeSet<String>> = (0..100_000)
        .map(|number| (format!("s{number:06}"), BTreeSet::from([format!("s{:06}", number + 1)])))
        .collect();
    let sorted = dependencies_first(&graph).expect("no cycle");
    assert_eq!(sorted.first().map(String::as_str), Some("s099999"));
    assert_eq!(sorted.len(), 100_000);
}

/// The container that a recreation makes beside the old one, before it has its name.
fn half_made(service: &str, number: u64, hash: &str) -> Replica {
    let mut id = [0; 32];
    id[0] = service.as_bytes()[0];
    id[1] = 100 + number as u8;
    Replica {
        id: ContainerId::from_bytes(id),
        name: format!("0123456789ab_p-{service}-{number}"),
        activity: Activity::Created,
        config_hash: hash.to_owned(),
        ..replica(service, number)
    }
}

#[test]
fn what_a_killed_recreation_left_is_finished() {
    let mut project = project(&[("web", &[])]);
    project.services.get_mut("web").expect("a service").config_hash = "2".to_owned();
    // Both are there: the old one goes, the new one gets its name.
    let seen = observed(vec![replica("web", 1), half_made("web", 1, "2")]);
    check(
        &plan(&project, &seen, &Wanted::default()),
        &[
            "[] stop p-web-1: an earlier command was cut off",
            "[0] remove p-web-1: an earlier command was cut off",
            "[1] rename 0123456789ab_p-web-1 to p-web-1: an earlier command was cut off",
            "[2] start p-web-1: new",
        ],
    );
    // Only the new one is left.
    check(
        &plan(&project, &observed(vec![half_made("web", 1, "2")]), &Wanted::default()),
        &[
            "[] rename 0123456789ab_p-web-1 to p-web-1: an earlier command was cut off",
            "[0] start p-web-1: new",
        ],
    );
    // The old one is as it should be after all: the new one goes.
    project.services.get_mut("web").expect("a service").config_hash = "1".to_owned();
    check(
        &plan(&project, &observed(vec![replica("web", 1), half_made("web", 1, "2")]), &Wanted::default()),
        &["[] remove 0123456789ab_p-web-1: an earlier command was cut off"],
    );
}

#[test]
fn one_container_more_needs_what_its_service_needs_and_no_more() {
    let mut project = project(&[("web", &["db"]), ("db", &[]), ("other", &[])]);
    let web = project.services.get_mut("web").expect("a service");
    web.depends_on.insert(key("db"), needs(Condition::Healthy));
    let wanted =
        Wanted { targets: BTreeSet::from([key("web")]), one_off: Some(key("web")), ..Wanted::default() };
    check(
        &plan(&project, &observed(vec![replica("other", 1)]), &wanted),
        &[
            "[] create p-db-1: there is none",
            "[0] start p-db-1: new",
            "[1] wait for db (service_healthy): web needs service_healthy",
        ],
    );
}

#[test]
fn turns_go_along_what_services_depend_on() {
    let mut project = project(&[("web", &["db"]), ("db", &[])]);
    let web = project.services.get_mut("web").expect("a service");
    web.depends_on.insert(key("db"), needs(Condition::Healthy));
    let graph = BTreeMap::from([
        ("web".to_owned(), BTreeSet::from(["db".to_owned()])),
        ("db".to_owned(), BTreeSet::new()),
    ]);
    let there = [replica("db", 1), replica("web", 1)];
    let planned = |replicas: &[Replica], project, act| turn(replicas, &graph, project, act).expect("a plan");
    check(
        &planned(&there, Some(&project), Turn::Stop),
        &["[] stop p-web-1: asked for", "[0] stop p-db-1: asked for"],
    );
    check(
        &planned(&there, Some(&project), Turn::Restart),
        &[
            "[] stop p-web-1: asked for",
            "[0] stop p-db-1: asked for",
            "[1] start p-db-1: asked for",
            "[0 2] start p-web-1: asked for",
        ],
    );
    let mut together = project.clone();
    let web = together.services.get_mut("web").expect("a service");
    web.depends_on.get_mut("db").expect("it is there").restart = true;
    check(
        &planned(&there, Some(&together), Turn::Restart),
        &[
            "[] stop p-web-1: asked for",
            "[0] stop p-db-1: asked for",
            "[1] start p-db-1: asked for",
            "[2] wait for db (service_healthy): web needs service_healthy",
            "[0 3] start p-web-1: asked for",
        ],
    );
    check(
        &planned(&there, Some(&project), Turn::Start),
        &["[] wait for db (service_healthy): web needs service_healthy"],
    );
    let mut exited = there.clone();
    exited.iter_mut().for_each(|replica| replica.activity = Activity::Exited);
    // Who has ended is named by a stop, and needs none to be removed.
    check(&planned(&exited[..1], None, Turn::Stop), &["[] stop p-db-1: asked for"]);
    let removed = Turn::Remove(AnonymousVolumes::Keep);
    check(
        &planned(&[exited[0].clone(), there[1].clone()], None, removed),
        &["[] remove p-db-1: asked for", "[] stop p-web-1: asked for", "[1] remove p-web-1: asked for"],
    );
    // Without a project, labels say the order and nobody knows the conditions.
    check(
        &planned(&exited, None, Turn::Start),
        &["[] start p-db-1: asked for", "[0] start p-web-1: asked for"],
    );
    let mut plan = planned(&exited, Some(&project), Turn::Start);
    ready(&mut plan, [key("web")]);
    check(
        &plan,
        &[
            "[] start p-db-1: asked for",
            "[0] wait for db (service_healthy): web needs service_healthy",
            "[1] start p-web-1: asked for",
            "[0 2] wait until web is ready: asked for",
        ],
    );
}
