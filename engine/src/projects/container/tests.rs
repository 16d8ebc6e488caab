use std::collections::{BTreeMap, BTreeSet};

use rbuild_model::container::Resources;
use rbuild_model::network::{HostPort, NetworkMode as Mode};
use rbuild_model::project::{
    Attachment, Bytes, Condition, Dependency, Limit, Network, NetworkKey, NetworkMode, Port, PortRange,
    ProjectName, Protocol,
};

use super::*;

fn key<K, E: std::fmt::Debug>(new: impl Fn(&str) -> Result<K, E>, text: &str) -> K {
    new(text).expect("a key")
}

fn project() -> Project {
    let network = |name: &str| Network { name: name.to_owned(), ..Network::default() };
    Project {
        name: ProjectName::new("p").expect("a name"),
        separator: '-',
        directory: "/p".into(),
        files: vec!["/p/a.yaml".into(), "/p/b.yaml".into()],
        env_files: vec![],
        services: BTreeMap::new(),
        disabled: BTreeMap::new(),
        networks: BTreeMap::from([
            (key(NetworkKey::new, "back"), network("p_back")),
            (key(NetworkKey::new, "front"), network("p_front")),
        ]),
        volumes: BTreeMap::new(),
        configs: BTreeMap::new(),
        secrets: BTreeMap::new(),
        models: BTreeMap::new(),
        environment: BTreeMap::new(),
    }
}

fn ask(service: &Service) -> Result<CreateRequest, NotPossible> {
    ask_with(service, &BTreeMap::new())
}

fn ask_with(service: &Service, inherited: &BTreeMap<String, String>) -> Result<CreateRequest, NotPossible> {
    container(&Making {
        project: &project(),
        service,
        place: Place::Numbered(2),
        name: "p-web-2".to_owned(),
        image: "web:1".to_owned(),
        image_id: "sha256:a".to_owned(),
        parents: &BTreeMap::new(),
        inherited,
        profiles: &BTreeMap::new(),
        version: "1.2.3",
    })
}

fn web() -> Service {
    Service::named(key(ServiceName::new, "web"))
}

#[test]
fn labels_say_where_it_belongs() {
    let mut service = web();
    service.config_hash = "h".to_owned();
    service.labels.insert(labels::key::PROJECT.to_owned(), "mine".to_owned());
    service.labels.insert("own".to_owned(), "1".to_owned());
    let needs = Dependency { condition: Condition::Healthy, restart: true, required: true };
    service.depends_on.insert(key(ServiceName::new, "db"), needs);
    let labels = ask(&service).expect("possible").labels;
    let expected = [
        ("com.docker.compose.config-hash", "h"),
        ("com.docker.compose.container-number", "2"),
        ("com.docker.compose.depends_on", "db:service_healthy:true"),
        ("com.docker.compose.image", "sha256:a"),
        ("com.docker.compose.oneoff", "False"),
        ("com.docker.compose.project", "p"),
        ("com.docker.compose.project.config_files", "/p/a.yaml,/p/b.yaml"),
        ("com.docker.compose.project.working_dir", "/p"),
        ("com.docker.compose.service", "web"),
        ("com.docker.compose.version", "1.2.3"),
        ("own", "1"),
    ];
    let labels: Vec<_> = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(labels, expected);
    assert_eq!(labels::dependencies("db:service_healthy:true,a:x:false").collect::<Vec<_>>(), ["db", "a"]);
    assert_eq!(labels::dependencies("").count(), 0);
}

#[test]
fn the_network_of_the_highest_priority_is_the_main_one() {
    let mut service = web();
    let front = Attachment { aliases: vec!["www".to_owned(), "web".to_owned()], ..Attachment::default() };
    service.networks.insert(key(NetworkKey::new, "back"), Attachment::default());
    service.networks.insert(key(NetworkKey::new, "front"), Attachment { priority: 5, ..front });
    let host = ask(&service).expect("possible").host;
    assert_eq!(host.network, Mode::Named("p_front".to_owned()));
    let names: Vec<_> = host.endpoints.iter().map(|wish| wish.network.as_str()).collect();
    assert_eq!(names, ["p_front", "p_back"]);
    assert_eq!(host.endpoints[0].settings.aliases, ["p-web-2", "web", "www"]);
    assert_eq!(ask(&web()).expect("possible").host.network, Mode::None);
}

#[test]
fn links_lead_to_services_and_to_containers_of_others() {
    let mut service = web();
    service.networks.insert(key(NetworkKey::new, "back"), Attachment::default());
    let alias = Some("database".to_owned());
    service.links.push(rbuild_model::project::Link { service: key(ServiceName::new, "db"), alias });
    service.external_links = vec!["other-cache-1:cache".to_owned(), "queue".to_owned()];
    let host = ask(&service).expect("possible").host;
    let expected = ["p-db-1:database", "p-db-1:db-1", "other-cache-1:cache", "queue:queue"];
    assert_eq!(host.endpoints[0].settings.links, expected);
}

#[test]
fn capabilities_are_written_down_in_one_form() {
    let mut service = web();
    service.cap_add = vec!["CAP_NET_ADMIN".to_owned(), "sys_time".to_owned()];
    service.cap_drop = vec!["all".to_owned()];
    let host = ask(&service).expect("possible").host;
    assert_eq!(host.cap_add, ["NET_ADMIN", "SYS_TIME"]);
    assert_eq!(host.cap_drop, ["ALL"]);
}

#[test]
fn ports_are_exposed_and_published() {
    let mut service = web();
    let published = |first, last| Some(PortRange { first, last });
    for (target, published) in [(80, published(8080, 8080)), (81, published(9000, 9010)), (82, None)] {
        service.ports.push(Port {
            name: None,
            host_ip: None,
            target,
            published,
            protocol: Protocol::Udp,
            app_protocol: None,
            mode: "ingress".to_owned(),
        });
    }
    service.expose.push("7000".to_owned());
    let request = ask(&service).expect("possible");
    let ports: Vec<_> = request.host.ports.iter().map(|port| port.host_port).collect();
    assert_eq!(ports, [HostPort::One(8080), HostPort::Range(9000, 9010), HostPort::Any]);
    let exposed = ["7000/tcp", "80/udp", "81/udp", "82/udp"].map(str::to_owned);
    assert_eq!(request.exposed, BTreeSet::from(exposed));
}

#[test]
fn zeroes_are_no_limits() {
    let mut service = web();
    service.mem_limit = Some(Bytes(0));
    service.memswap_limit = Some(Bytes(-1));
    service.cpu_shares = Some(0);
    service.pids_limit = Some(Limit::Unlimited);
    let resources = ask(&service).expect("possible").host.resources;
    assert_eq!(resources, Resources { memory_swap: Some(-1), ..Resources::default() });
}

#[test]
fn what_the_container_before_kept_is_kept() {
    let inherited = BTreeMap::from([("/data".to_owned(), "abc".to_owned())]);
    let request = ask_with(&web(), &inherited).expect("possible");
    let [mount] = &request.mounts[..] else { panic!("one mount: {:?}", request.mounts) };
    assert_eq!(mount.target, "/data");
    assert!(matches!(&mount.kind, Asked::Volume { name: Some(name), .. } if name == "abc"), "{mount:?}");
}

#[test]
fn what_cannot_be_had_is_named() {
    let mut service = web();
    service.security_opt.push("seccomp=mine.json".to_owned());
    let error = ask(&service).expect_err("a profile that nobody read");
    assert_eq!(error.to_string(), "services.web.security_opt[0]: mine.json could not be read");
    assert_eq!(error.path(), ["services", "web", "security_opt", "0"]);
    let mut service = web();
    let often = std::time::Duration::from_millis(5);
    service.healthcheck = Some(project::HealthCheck { start_interval: Some(often), ..Default::default() });
    let error = ask(&service).expect_err("no period to start in");
    assert_eq!(error.path(), ["services", "web", "healthcheck", "start_interval"]);
    let mut service = web();
    service.userns_mode = Some("auto".to_owned());
    assert_eq!(ask(&service).expect_err("no").to_string(), "services.web.userns_mode: can only be `host`");
    let mut service = web();
    let address = BTreeMap::from([("q".to_owned(), vec!["::1".to_owned(), "zz".to_owned()])]);
    let hosts = Service { extra_hosts: address, ..web() };
    let error = ask(&hosts).expect_err("not an address").to_string();
    assert_eq!(error, "services.web.extra_hosts: invalid IP address in add-host: \"zz\" for q");
    service.network_mode = Some(NetworkMode::Service(key(ServiceName::new, "db")));
    let named = Service { hostname: Some("q".to_owned()), ..service.clone() };
    let error = ask(&named).expect_err("the name is the lender's").to_string();
    assert_eq!(error, "services.web.hostname: conflicting options: hostname and the network mode");
    let exposing = Service { expose: vec!["80".to_owned()], ..service.clone() };
    let error = ask(&exposing).expect_err("ports are the lender's").to_string();
    let why = "conflicting options: port exposing and the container type network mode";
    assert_eq!(error, format!("services.web.expose: {why}"));
    let error = ask(&service).expect_err("nothing to share with");
    assert_eq!(error.to_string(), "services.web.network_mode: service db has no container");
}

#[test]
fn devices_are_asked_for_by_what_they_do_and_by_name() {
    let mut service = web();
    let device = |source: &str| {
        let (source, target) = (source.to_owned(), source.to_owned());
        project::Device { source, target, permissions: None }
    };
    service.devices = vec![device("/dev/null"), device("vendor.com/class=name")];
    let asked = |count, ids: &[&str]| project::DeviceRequest {
        count,
        device_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        ..project::DeviceRequest::default()
    };
    service.gpus = vec![asked(Some(DeviceCount::All), &[]), asked(None, &["1"])];
    service.cgroup_parent = Some("/own".to_owned());
    let host = ask(&service).expect("possible").host;
    assert_eq!((host.devices.len(), host.cgroup_parent.as_deref()), (1, Some("/own")));
    let requests = host.device_requests.iter().map(|request| {
        (
            request.driver.as_str(),
            request.count,
            request.ids.join(","),
            request.capabilities.concat().join(","),
        )
    });
    let text = |text: &str| text.to_owned();
    let wanted = [
        ("", -1, text(""), text("gpu")),
        ("", 0, text("1"), text("gpu")),
        ("cdi", 0, text("vendor.com/class=name"), text("")),
    ];
    assert_eq!(requests.collect::<Vec<_>>(), wanted);
}
