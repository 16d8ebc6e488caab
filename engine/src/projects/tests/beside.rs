use rbuild_model::project::{Attachment, Deploy, Order as Written, Port, PortRange, Protocol, UpdateConfig};

use super::*;

fn first() -> Wanted {
    Wanted { order: Order::StartFirst, ..Wanted::default() }
}

fn old(number: u64) -> Replica {
    Replica { config_hash: "0".to_owned(), ..replica("web", number) }
}

#[test]
fn new_ones_are_ready_before_old_ones_stop_one_after_the_other() {
    let mut project = project(&[("web", &[]), ("side", &["web"])]);
    let services = &mut project.services;
    services.get_mut("web").expect("web").replicas = 2;
    services.get_mut("side").expect("side").depends_on.get_mut("web").expect("web").restart = true;
    let observed = observed(vec![replica("side", 1), old(1), old(2)]);
    let plan = plan(&project, &observed, &first());
    check(
        &plan,
        &[
            "[] make the new p-web-1 beside the old one: its definition changed",
            "[] make the new p-web-2 beside the old one: its definition changed",
            "[0] start p-web-1: new",
            "[2] let the new p-web-1 take over when it is ready: the new one starts first",
            "[1 3] start p-web-2: new",
            "[4] let the new p-web-2 take over when it is ready: the new one starts first",
            "[3 5] stop p-side-1: restarts with web",
            "[2 3 4 5 6] start p-side-1: restarts with web",
        ],
    );
    assert_eq!(plan.warnings, []);
}

#[test]
fn where_both_cannot_be_up_at_once_the_old_one_stops_first_and_it_is_told_why() {
    let network = || NetworkKey::new("default").expect("a key");
    let told = |change: &dyn Fn(&mut Service), old: Replica| {
        let mut project = project(&[("web", &[])]);
        change(project.services.get_mut("web").expect("web"));
        let plan = plan(&project, &observed(vec![old]), &first());
        let warnings: Vec<String> = plan.warnings.iter().map(ToString::to_string).collect();
        let recreates = matches!(plan.operations[0].operation, Operation::Recreate { .. });
        assert_eq!(recreates, !warnings.is_empty(), "{plan}");
        warnings
            .first()
            .and_then(|why| why.strip_prefix("p-web-1 stops before the new one starts: ").map(str::to_owned))
    };
    let publish = |first, last| {
        let published = Some(PortRange { first, last });
        move |web: &mut Service| {
            web.ports = vec![Port {
                name: None,
                host_ip: None,
                target: 80,
                published,
                protocol: Protocol::Tcp,
                app_protocol: None,
                mode: String::new(),
            }];
        }
    };
    let order = |order| {
        move |web: &mut Service| {
            let config = UpdateConfig { order: Some(order), ..UpdateConfig::default() };
            web.deploy = Some(Deploy { update_config: Some(config), ..Deploy::default() });
        }
    };
    let address = |web: &mut Service| {
        let own = Attachment { ipv4_address: Some([10, 0, 0, 9].into()), ..Attachment::default() };
        web.networks.insert(network(), own);
    };
    let own = Replica { volumes: BTreeSet::from(["0123".to_owned()]), ..old(1) };
    assert_eq!(told(&|_| {}, old(1)), None);
    assert_eq!(told(&publish(8000, 8001), old(1)), None);
    assert_eq!(told(&order(Written::StartFirst), old(1)), None);
    for (change, old, why) in [
        (&publish(80, 80) as &dyn Fn(&mut Service), old(1), "both would publish port 80"),
        (&|web| web.network_mode = Some(NetworkMode::Host), old(1), "both would have the ports of the host"),
        (&address, old(1), "both would have the address 10.0.0.9 in network default"),
        (&order(Written::StopFirst), old(1), "deploy.update_config.order is stop-first"),
        (&|_| {}, own, "both would write to the volumes that it has for itself (-V gives it new ones)"),
    ] {
        assert_eq!(told(change, old).as_deref(), Some(why));
    }
    // One that does not run has nothing to go on with.
    let exited = Replica { activity: Activity::Exited, ..old(1) };
    let plan = plan(&project(&[("web", &[])]), &observed(vec![exited]), &first());
    check(&plan, &["[] recreate p-web-1: its definition changed", "[0] start p-web-1: new"]);
    assert_eq!(plan.warnings, []);
}

#[test]
fn one_that_serves_stays_when_a_command_was_cut_off() {
    let project = project(&[("web", &[])]);
    let new =
        Replica { name: "770100000000_p-web-1".to_owned(), id: replica("x", 9).id, ..replica("web", 1) };
    let observed = observed(vec![old(1), new]);
    check(
        &plan(&project, &observed, &first()),
        &[
            "[] stop 770100000000_p-web-1: an earlier command was cut off",
            "[0] remove 770100000000_p-web-1: an earlier command was cut off",
            "[1] make the new p-web-1 beside the old one: its definition changed",
            "[2] start p-web-1: new",
            "[3] let the new p-web-1 take over when it is ready: the new one starts first",
        ],
    );
}

#[test]
fn a_name_is_given_on_when_the_new_one_is_ready() {
    let mut project = project(&[("a", &[]), ("b", &[])]);
    for (service, name) in [("a", "mb"), ("b", "ma")] {
        project.services.get_mut(service).expect("a service").container_name = Some(name.to_owned());
    }
    let named = |service, name: &str| Replica {
        config_hash: "0".to_owned(),
        name: name.to_owned(),
        ..replica(service, 1)
    };
    check(
        &plan(&project, &observed(vec![named("a", "ma"), named("b", "mb")]), &first()),
        &[
            "[] make the new mb beside the old one: its definition changed",
            "[0] start mb: new",
            "[1] wait until the new mb is ready: the new one starts first",
            "[2] rename mb to 620100000000_mb: a is to have its name",
            "[1 3] let the new mb take over when it is ready: the new one starts first",
            "[3] make the new ma beside the old one: its definition changed",
            "[5] start ma: new",
            "[4 6] let the new ma take over when it is ready: the new one starts first",
        ],
    );
}
