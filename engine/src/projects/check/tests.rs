use std::net::Ipv4Addr;
use std::time::Duration;

use rbuild_model::project::{
    Attachment, Bind, Bytes, Condition, ConfigKey, Dependency, Device, DeviceCount, DeviceRequest, FileGrant,
    FileObject, FileSource, HealthCheck, Ipam, IpamPool, Limit, Mount, Network, NetworkKey, ProjectName,
    SecretKey, Ulimit,
};

use super::plan::{addresses, check_network};
use super::*;
use crate::projects::cause::Cause;
use crate::projects::operation::{New, Operation, Plan, Startable};

fn project(change: impl FnOnce(&mut Project, &mut Service)) -> Project {
    let mut project = Project::named(ProjectName::new("p").expect("a name"));
    let mut service = Service::named(ServiceName::new("web").expect("a name"));
    change(&mut project, &mut service);
    project.services.insert(service.name.clone(), service);
    project
}

#[track_caller]
fn refused(project: &Project, wanted: &str) {
    let all = project.services.keys().cloned().collect();
    let checked = check(project, &all, &BTreeMap::new()).and_then(|()| check_machine(project, &all, &[]));
    let error = checked.expect_err(wanted);
    assert_eq!(error.to_string(), format!("services.web.{wanted}"));
}

fn bind(source: &Path, create_host_path: bool) -> Mount {
    let options = Bind { create_host_path, propagation: None, recursive: None, selinux: None };
    Mount {
        kind: MountKind::Bind { source: source.to_owned(), options },
        target: format!("/mnt{}", source.display()),
        read_only: false,
        consistency: None,
    }
}

fn object(source: FileSource) -> FileObject {
    FileObject {
        name: "p_it".to_owned(),
        source,
        labels: BTreeMap::new(),
        driver: None,
        driver_opts: BTreeMap::new(),
        template_driver: None,
    }
}

fn grant<Key>(source: Key) -> FileGrant<Key> {
    FileGrant { source, target: None, uid: None, gid: None, mode: None }
}

#[test]
fn folders_that_nobody_makes_are_missed() {
    let place = tempfile::tempdir().expect("a folder");
    let missing = place.path().join("a");
    let why = format!("bind source path does not exist: {}", missing.display());
    let alone = project(|_, web| web.volumes = vec![bind(place.path(), false), bind(&missing, false)]);
    refused(&alone, &format!("volumes[1]: {why}"));
    let made = project(|_, web| web.volumes = vec![bind(&missing, false), bind(&missing.join("b"), true)]);
    let all = made.services.keys().cloned().collect();
    assert_eq!(check_machine(&made, &all, &[]), Ok(()));
}

#[test]
fn what_configs_and_secrets_come_from_has_to_be_there() {
    let file = |source| {
        project(move |project, web| {
            let key = SecretKey::new("it").expect("a key");
            project.secrets.insert(key.clone(), object(source));
            web.secrets.push(grant(key));
        })
    };
    refused(
        &file(FileSource::File("/no/such".into())),
        "secrets[0]: secret it: bind source path does not exist: /no/such",
    );
    refused(
        &file(FileSource::Environment("NOPE".to_owned())),
        "secrets[0]: environment variable \"NOPE\" required by secret \"it\" is not set",
    );
    let external = project(|project, web| {
        let key = ConfigKey::new("it").expect("a key");
        project.configs.insert(key.clone(), object(FileSource::External));
        web.configs.push(grant(key));
    });
    refused(&external, "configs[0]: unsupported external config it: nothing here keeps such, use `file`");
}

#[test]
fn health_is_asked_for_no_more_often_than_it_can_be() {
    let often = project(|_, web| {
        let interval = Some(Duration::from_nanos(1));
        web.healthcheck = Some(HealthCheck { interval, ..HealthCheck::default() });
    });
    refused(&often, "healthcheck: Interval in Healthcheck cannot be less than 1ms");
}

#[test]
fn what_cannot_be_had_is_told_by_its_key() {
    let of = |change: &dyn Fn(&mut Service)| project(|_, web| change(web));
    refused(
        &of(&|web| web.cap_add = vec!["NET_ADMIN".to_owned(), "FOO".to_owned()]),
        "cap_add[1]: unknown capability `FOO`",
    );
    refused(
        &of(&|web| web.working_dir = Some("here".to_owned())),
        "working_dir: the working directory 'here' is invalid, it needs to be an absolute path",
    );
    refused(&of(&|web| web.mem_limit = Some(Bytes(1024))), "mem_limit: Minimum memory limit allowed is 6MB");
    refused(
        &of(&|web| web.memswap_limit = Some(Bytes(1 << 30))),
        "memswap_limit: You should always set the Memory limit when using Memoryswap limit, see usage",
    );
    refused(
        &of(&|web| drop(web.sysctls.insert("kernel.no_such".to_owned(), "1".to_owned()))),
        "sysctls: the kernel has no parameter `kernel.no_such`",
    );
    let wrong = of(&|web| web.cpuset = Some("0-9999".to_owned()));
    let error = check_machine(&wrong, &wrong.services.keys().cloned().collect(), &[]).expect_err("no such");
    assert_eq!(error.path(), ["services", "web", "cpuset"]);
}

#[test]
fn addresses_lie_in_subnets_and_are_given_once() {
    let address = Some(Ipv4Addr::new(10, 7, 0, 9));
    let placed = |subnets: &[&str], services: &[&str]| {
        let mut project = Project::named(ProjectName::new("p").expect("a name"));
        let key = NetworkKey::new("net").expect("a key");
        let pool = |subnet: &&str| IpamPool { subnet: Some((*subnet).to_owned()), ..IpamPool::default() };
        let ipam = Ipam { driver: None, pools: subnets.iter().map(pool).collect() };
        project.networks.insert(key.clone(), Network { ipam, ..Network::default() });
        for name in services {
            let mut service = Service::named(ServiceName::new(name).expect("a name"));
            let attachment = Attachment { ipv4_address: address, ..Attachment::default() };
            service.networks.insert(key.clone(), attachment);
            project.services.insert(service.name.clone(), service);
        }
        project
    };
    let planned = |project: &Project, plan: &Plan| {
        let all = project.services.keys().cloned().collect();
        addresses(project, &all, plan, &|_| None).map_err(|error| error.to_string())
    };
    let told = |project: &Project| planned(project, &Plan::default());
    assert_eq!(told(&placed(&["10.7.0.0/24"], &["web"])), Ok(()));
    let none =
        "services.web.networks.net.ipv4_address: network net has no subnet of its own choice (`ipam.config`)";
    assert_eq!(told(&placed(&[], &["web"])), Err(none.to_owned()));
    let outside =
        "services.web.networks.net.ipv4_address: 10.7.0.9 is in no subnet of network net: 10.8.0.0/24";
    assert_eq!(told(&placed(&["10.8.0.0/24"], &["web"])), Err(outside.to_owned()));
    let mut kept = placed(&["10.7.0.0/24"], &["web"]);
    let pools = kept.networks.values_mut().flat_map(|network| &mut network.ipam.pools);
    pools.for_each(|pool| {
        pool.aux_addresses = BTreeMap::from([("h".to_owned(), Ipv4Addr::new(10, 7, 0, 9).into())])
    });
    let reserved = "services.web.networks.net.ipv4_address: address already in use: 10.7.0.9 is an auxiliary address of network net";
    assert_eq!(told(&kept), Err(reserved.to_owned()));
    let mut own = placed(&["10.7.0.0/24"], &["web"]);
    let closed = |own: &mut Project, mode: &str| {
        let network = own.networks.values_mut().next().expect("a network");
        network.ipam.pools[0].gateway = Some(Ipv4Addr::new(10, 7, 0, 9).into());
        let option = "com.docker.network.bridge.gateway_mode_ipv4".to_owned();
        network.driver_opts = BTreeMap::from([(option, mode.to_owned())]);
    };
    closed(&mut own, "nat");
    let gateway = "services.web.networks.net.ipv4_address: address already in use: 10.7.0.9 is the gateway of network net";
    assert_eq!(told(&own), Err(gateway.to_owned()));
    closed(&mut own, "isolated");
    assert_eq!(told(&own), Ok(()), "the bridge has no address");
    let mut two = placed(&["10.7.0.0/24"], &["a", "b"]);
    let twice = "services.b.networks.net.ipv4_address: service a has 10.7.0.9, too";
    assert_eq!(told(&two), Err(twice.to_owned()));
    // One that ends before the other begins gives it back.
    let [a, b] = ["a", "b"].map(|name| ServiceName::new(name).expect("a name"));
    let dependency =
        Dependency { condition: Condition::CompletedSuccessfully, restart: false, required: true };
    two.services.get_mut(&b).expect("a service").depends_on.insert(a, dependency);
    assert_eq!(told(&two), Ok(()));
    // Nor have two containers of one service the same.
    let one = placed(&["10.7.0.0/24"], &["web"]);
    let mut plan = Plan::default();
    for number in [1, 2] {
        let service = ServiceName::new("web").expect("a name");
        let new = New { service, number, name: format!("p-web-{number}") };
        let made = plan.add(Operation::Create(new.clone()), Cause::Missing, Vec::new());
        plan.add(Operation::Start(Startable::New(new)), Cause::New, vec![made]);
        let why = "services.web.networks.net.ipv4_address: 2 containers of the service are to have 10.7.0.9";
        let wanted = if number == 1 { Ok(()) } else { Err(why.to_owned()) };
        assert_eq!(planned(&one, &plan), wanted);
    }
}

#[test]
fn networks_of_one_plan_do_not_overlap() {
    let mut project = Project::named(ProjectName::new("p").expect("a name"));
    let mut known = Vec::new();
    let mut told = |name: &str, subnet: &str| {
        let key = NetworkKey::new(name).expect("a key");
        let pool = IpamPool { subnet: Some(subnet.to_owned()), ..IpamPool::default() };
        let ipam = Ipam { driver: None, pools: vec![pool] };
        let network = Network { name: format!("p_{name}"), ipam, ..Network::default() };
        project.networks.insert(key.clone(), network);
        known.push(check_network(&project, &key, &known).map_err(|error| error.to_string())?);
        Ok(())
    };
    assert_eq!(told("a", "10.7.0.0/24"), Ok(()));
    assert_eq!(told("b", "10.7.1.0/24"), Ok(()));
    let why = "networks.c.ipam: cannot create network p_c: its subnet 10.7.0.128/25 overlaps with that of network p_a";
    assert_eq!(told("c", "10.7.0.128/25"), Err(why.to_owned()));
}

#[test]
fn devices_have_to_be_known() {
    let named = project(|_, web| {
        let (source, target) = ("v.com/c=x".to_owned(), "v.com/c=x".to_owned());
        web.devices.push(Device { source, target, permissions: None });
    });
    refused(&named, "devices[0]: CDI device injection failed: unresolvable CDI devices v.com/c=x");
    let gpus = project(|_, web| {
        let count = Some(DeviceCount::All);
        web.gpus.push(DeviceRequest { count, ..DeviceRequest::default() });
    });
    refused(&gpus, "gpus[0]: could not select device driver \"\" with capabilities: [[gpu]]");
}

#[test]
fn names_of_machines_and_links_are_the_kernels() {
    let long = "a".repeat(65);
    let why = "it has 65 bytes, the kernel takes 64 at most: choose a shorter one";
    refused(&project(|_, web| web.hostname = Some(long.clone())), &format!("hostname: {why}"));
    let zero = "domainname: the kernel takes no name with a zero byte in it";
    refused(&project(|_, web| web.domainname = Some("a\0b".to_owned())), zero);

    let linked = |names: [(&str, Attachment); 2]| {
        project(|project, web| {
            for (name, attachment) in names {
                let key = NetworkKey::new(name).expect("a key");
                let network = Network { name: format!("p_{name}"), ..Network::default() };
                project.networks.insert(key.clone(), network);
                web.networks.insert(key, attachment);
            }
        })
    };
    let named = |name: &str| Attachment { interface_name: Some(name.to_owned()), ..Attachment::default() };
    let option = |name: &str| {
        let options = [("com.docker.network.endpoint.ifname".to_owned(), name.to_owned())];
        Attachment { driver_opts: options.into(), ..Attachment::default() }
    };
    let long = "`abcdefghijklmnop` cannot name a network interface: at most 15 bytes, no space, `/` or `:`";
    refused(
        &linked([("a", Attachment::default()), ("b", named("abcdefghijklmnop"))]),
        &format!("networks.b.interface_name: {long}"),
    );
    refused(
        &linked([("a", option("lo")), ("b", named("eth9"))]),
        "networks.a.driver_opts: `lo` is the name of each container's own loopback: choose another name",
    );
    refused(
        &linked([("a", option("abc")), ("b", named("abc"))]),
        "networks.b.interface_name: `abc` is the name of the link to network a already: choose another one",
    );
    let other = |name: &str, value: &str| {
        let name = format!("com.docker.network.endpoint.{name}");
        Attachment { driver_opts: [(name, value.to_owned())].into(), ..Attachment::default() }
    };
    refused(
        &linked([("a", other("sysctls", "net.ipv4.ip_forward=1")), ("b", Attachment::default())]),
        "networks.a.driver_opts: unrecognised network interface sysctl 'net.ipv4.ip_forward=1'; represent \
         'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'",
    );
    refused(
        &linked([("a", Attachment::default()), ("b", other("x", "1"))]),
        "networks.b.driver_opts: `com.docker.network.endpoint.x` is not supported yet",
    );
    let all = linked([("a", option("abc")), ("b", named("abd"))]);
    let services = all.services.keys().cloned().collect();
    assert_eq!(check(&all, &services, &BTreeMap::new()).map(|_| ()), Ok(()));
}

#[test]
fn limits_of_programs_are_the_kernels() {
    let limited = |name: &str, soft, hard| {
        project(|_, web| web.ulimits = BTreeMap::from([(name.to_owned(), Ulimit { soft, hard })]))
    };
    refused(
        &limited("nofile", Limit::AtMost(10), Limit::AtMost(5)),
        "ulimits.nofile: the soft limit must not be above the hard limit: 10 > 5",
    );
    let project = limited("foo", Limit::AtMost(1), Limit::Unlimited);
    let all = project.services.keys().cloned().collect();
    let error = check_machine(&project, &all, &[]).expect_err("nobody knows it");
    assert!(
        error.to_string().starts_with("services.web.ulimits.foo: unknown limit `foo`: use one of [cpu, "),
        "{error}"
    );
    assert_eq!(error.path(), ["services", "web", "ulimits", "foo"]);
}

#[test]
fn what_pools_set_aside_lies_in_their_subnets() {
    let told = |change: &dyn Fn(&mut IpamPool)| {
        let mut project = Project::named(ProjectName::new("p").expect("a name"));
        let key = NetworkKey::new("net").expect("a key");
        let mut pool = IpamPool { subnet: Some("10.7.0.0/24".to_owned()), ..IpamPool::default() };
        change(&mut pool);
        let ipam = Ipam { driver: None, pools: vec![pool] };
        let network =
            Network { name: "p_net".to_owned(), ipam, enable_ipv6: Some(true), ..Network::default() };
        project.networks.insert(key.clone(), network);
        check_network(&project, &key, &[]).map(|_| ()).map_err(|error| error.to_string())
    };
    let gateway =
        |text: &'static str| told(&move |pool| pool.gateway = Some(text.parse().expect("an address")));
    let outside = |what: &str, missing: &str| {
        Err(format!(
            "networks.net.ipam.config[0].{what}: parent subnet 10.7.0.0/24 doesn't contain {missing}"
        ))
    };
    assert_eq!(gateway("10.7.0.9"), Ok(()));
    assert_eq!(gateway("10.8.0.1"), outside("gateway: invalid gateway 10.8.0.1", "this address"));
    assert_eq!(gateway("10.7.0.255"), outside("gateway: invalid gateway 10.7.0.255", "this address"));
    let range = |text: &'static str| told(&move |pool| pool.ip_range = Some(text.to_owned()));
    assert_eq!(range("10.7.0.128/25"), Ok(()));
    assert_eq!(range("10.8.0.0/28"), outside("ip_range: invalid ip-range 10.8.0.0/28", "ip-range"));
    let reserved = |text: &'static str| {
        told(&move |pool| {
            pool.aux_addresses = BTreeMap::from([("h".to_owned(), text.parse().expect("an address"))]);
        })
    };
    assert_eq!(reserved("10.7.0.5"), Ok(()));
    assert_eq!(reserved("10.8.0.5"), outside("aux_addresses: invalid auxiliary address h", "this address"));
    let six = |pool: &mut IpamPool, gateway: &str| {
        pool.subnet = Some("fd00:7::/64".to_owned());
        pool.gateway = Some(gateway.parse().expect("an address"));
    };
    assert_eq!(told(&|pool| six(pool, "fd00:7::9")), Ok(()));
    let why = "networks.net.ipam.config[0].gateway: invalid gateway fd00:8::9: parent subnet fd00:7::/64 doesn't contain \
               this address";
    assert_eq!(told(&|pool| six(pool, "fd00:8::9")), Err(why.to_owned()));
}
