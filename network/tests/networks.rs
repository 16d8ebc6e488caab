//! Networks on a real kernel, in private network namespaces: the host of the tests stays untouched.

#[path = "networks/abandoned.rs"]
mod abandoned;
#[path = "networks/beside_docker.rs"]
mod beside_docker;
#[path = "networks/gateways.rs"]
mod gateways;
#[path = "networks/half_done.rs"]
mod half_done;
mod scene;

use std::fs::Permissions;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use rbuild_network::address::Subnet;
use rbuild_network::driver::{
    DriverKind, EndpointAddress, EndpointSpec, FourSpec, Guard, LinkEnd, Network, NetworkSpec, PortIsolation,
    Reach, SixSpec,
};
use rbuild_network::drivers::{DRIVERS, driver};
use rbuild_network::error::Error;
use rbuild_network::families::Families;
use rbuild_network::firewall::passage::Passage;
use rbuild_network::link::LinkName;
use rbuild_network::names::{self, EndpointId, NetworkFile, NetworkId};
use rbuild_network::namespace::{Namespace, is_at_rest};
use rbuild_network::netlink::nftables;
use rbuild_network::netlink::socket::{Family, Request, Socket};
use rbuild_network::ports::{Protocol, Published, Reservation};
use rbuild_network::reclaim::{reclaim, remove_unused};
use rbuild_network::site::{Site, SiteConfig};
use scene::{Scene, command, inside};

const BRIDGE: DriverKind = DriverKind::Bridge;
/// How long a connection may take that must not come about. One that does is answered in microseconds.
const REFUSED_AFTER: Duration = Duration::from_millis(400);
/// How long one may take that must: only a machine in trouble needs so much.
const ANSWERED_WITHIN: Duration = Duration::from_secs(20);

fn spec(id: &str) -> NetworkSpec {
    NetworkSpec::new(NetworkId::new(id).unwrap())
}

fn endpoint(id: &str) -> EndpointSpec {
    EndpointSpec::new(EndpointId::new(id).unwrap())
}

/// A subnet that is asked for.
fn chosen(subnet: &str) -> Families<FourSpec, SixSpec> {
    chosen_with(subnet, None)
}

fn chosen_with(subnet: &str, gateway: Option<Ipv4Addr>) -> Families<FourSpec, SixSpec> {
    Families::Four(FourSpec { subnet: Some(subnet.parse().unwrap()), gateway, ..FourSpec::default() })
}

/// The subnet of a network, and its gateway.
fn four(network: &Network) -> (Subnet, Ipv4Addr) {
    *network.addressing.as_ref().unwrap().families.four().unwrap()
}

fn four_of(address: &EndpointAddress) -> Ipv4Addr {
    address.families.four().unwrap().address
}

/// An endpoint in a namespace of its own.
struct Place {
    namespace: Namespace,
    address: Ipv4Addr,
}

fn place(scene: &Scene, network: &Network, spec: &EndpointSpec) -> Place {
    let mut namespace = Namespace::create().unwrap();
    let endpoint = driver(BRIDGE).attach(&scene.site, network, &mut namespace, spec).unwrap();
    Place { namespace, address: four_of(&endpoint.address.unwrap()) }
}

/// A listener that answers each connection with the address it came from.
fn answer(namespace: &impl std::os::fd::AsFd, address: SocketAddr) -> Answering {
    let listener = inside(namespace, || TcpListener::bind(address).unwrap());
    let local = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, peer)) = listener.accept() {
            let mut request = [0];
            match stream.read(&mut request) {
                Ok(1) if request[0] == b'q' => return,
                _ => stream.write_all(peer.ip().to_string().as_bytes()).unwrap_or_default(),
            }
        }
    });
    Answering { address: local }
}

struct Answering {
    address: SocketAddr,
}

fn ask(namespace: &impl std::os::fd::AsFd, address: SocketAddr) -> Result<String, ErrorKind> {
    ask_for(namespace, address, ANSWERED_WITHIN)
}

fn ask_in_vain(namespace: &impl std::os::fd::AsFd, address: SocketAddr) -> Result<String, ErrorKind> {
    ask_for(namespace, address, REFUSED_AFTER)
}

fn ask_for(
    namespace: &impl std::os::fd::AsFd,
    address: SocketAddr,
    patience: Duration,
) -> Result<String, ErrorKind> {
    inside(namespace, || {
        let mut stream = TcpStream::connect_timeout(&address, patience).map_err(|error| error.kind())?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(b"?").map_err(|error| error.kind())?;
        let mut text = String::new();
        stream.read_to_string(&mut text).map_err(|error| error.kind())?;
        Ok(text)
    })
}

fn at(address: Ipv4Addr, port: u16) -> SocketAddr {
    SocketAddr::from((address, port))
}

#[test]
fn every_driver_repeats_its_acts_and_leaves_nothing() {
    Scene::run(|scene| {
        let before = scene.links();
        for driver in DRIVERS {
            let spec = spec("conform");
            driver.detach(&scene.site, &spec.id, &EndpointId::new("nobody").unwrap(), LinkEnd::Now).unwrap();
            driver.remove(&scene.site, &spec.id).unwrap();
            let network = driver.ensure(&scene.site, &spec).unwrap();
            let again = driver.ensure(&scene.site, &spec).unwrap();
            assert_eq!((network.driver, &network.addressing), (driver.kind(), &again.addressing));
            let mut namespace = Namespace::create().unwrap();
            let attached = driver.attach(&scene.site, &network, &mut namespace, &endpoint("one")).unwrap();
            assert_eq!(attached.address.is_some(), network.addressing.is_some());
            for _ in 0..2 {
                driver.detach(&scene.site, &spec.id, &attached.id, LinkEnd::Now).unwrap();
            }
            for _ in 0..2 {
                driver.remove(&scene.site, &spec.id).unwrap();
            }
            assert_eq!(scene.links(), before, "{}", driver.kind());
        }
        remove_unused(&scene.site).unwrap();
        assert_eq!(command("nft", &["list", "ruleset"]), "");
        assert!(names::all(&scene.site.config().runtime).unwrap().is_empty());
    });
}

#[test]
fn link_local_addresses_hold_in_their_network() {
    Scene::run(|scene| {
        let network = driver(BRIDGE).ensure(&scene.site, &spec("one")).unwrap();
        let with = |id: &str, last: u8| {
            let link_local = vec![Ipv4Addr::new(169, 254, 7, last).into()];
            place(scene, &network, &EndpointSpec { link_local, ..endpoint(id) })
        };
        let (a, b) = (with("a", 1), with("b", 2));
        let there = answer(&b.namespace, at(Ipv4Addr::new(169, 254, 7, 2), 0));
        assert_eq!(ask(&a.namespace, there.address).unwrap(), "169.254.7.1");
        // Of those that it was not given it has none, whatever it says.
        inside(&a.namespace, || {
            command("ip", &["addr", "add", "169.254.7.3/16", "dev", "eth0"]);
            command("ip", &["addr", "del", "169.254.7.1/16", "dev", "eth0"]);
        });
        assert!(ask_in_vain(&a.namespace, there.address).is_err());
    });
}

#[test]
fn endpoints_of_a_network_reach_each_other_and_those_of_another_do_not() {
    Scene::run(|scene| {
        let driver = driver(BRIDGE);
        let one = driver.ensure(&scene.site, &spec("one")).unwrap();
        let two = driver.ensure(&scene.site, &spec("two")).unwrap();
        assert_ne!(one.addressing, two.addressing);
        let (a, b) = (place(scene, &one, &endpoint("a")), place(scene, &one, &endpoint("b")));
        let c = place(scene, &two, &endpoint("c"));
        let server = answer(&a.namespace, at(a.address, 0));
        assert_eq!(ask(&b.namespace, server.address), Ok(b.address.to_string()));
        assert!(ask_in_vain(&c.namespace, server.address).is_err());
    });
}

#[test]
fn steps_do_not_reach_each_other_but_get_out() {
    Scene::run(|scene| {
        let network = driver(BRIDGE)
            .ensure(&scene.site, &NetworkSpec::for_steps(NetworkId::new("steps").unwrap()))
            .unwrap();
        let (a, b) = (place(scene, &network, &endpoint("a")), place(scene, &network, &endpoint("b")));
        let server = answer(&a.namespace, at(a.address, 0));
        assert!(ask_in_vain(&b.namespace, server.address).is_err());
        let outside = answer(&scene.world, at(scene.world_address, 0));
        let seen = ask(&b.namespace, outside.address);
        assert_eq!(seen, Ok(scene.host_address.to_string()), "hidden behind the host's address");
    });
}

#[test]
fn an_internal_network_leads_nowhere() {
    Scene::run(|scene| {
        let network = driver(BRIDGE)
            .ensure(&scene.site, &NetworkSpec { reach: Reach::Internal, ..spec("inner") })
            .unwrap();
        let (a, b) = (place(scene, &network, &endpoint("a")), place(scene, &network, &endpoint("b")));
        let server = answer(&a.namespace, at(a.address, 0));
        assert_eq!(ask(&b.namespace, server.address), Ok(b.address.to_string()));

        let outside = answer(&scene.world, at(scene.world_address, 0));
        let gateway = four(&network).1;
        let host = answer(&scene.host, at(gateway, 0));
        assert!(ask_in_vain(&b.namespace, outside.address).is_err(), "no route");
        assert!(ask_in_vain(&b.namespace, host.address).is_err(), "the host itself");
        // With a route of its own making it is the packet filter that keeps it in.
        inside(&b.namespace, || command("ip", &["route", "add", "default", "via", &gateway.to_string()]));
        assert!(ask_in_vain(&b.namespace, outside.address).is_err());
    });
}

#[test]
fn a_published_port_leads_in_and_nothing_else_does() {
    Scene::run(|scene| {
        let network = driver(BRIDGE).ensure(&scene.site, &spec("web")).unwrap();
        let wanted =
            |host: Ipv4Addr, port| Published { protocol: Protocol::Tcp, host: host.into(), port, target: 80 };
        let everywhere = Reservation::bind(wanted(Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let loopback = Reservation::bind(wanted(Ipv4Addr::LOCALHOST, 0)).unwrap();
        let one = Reservation::bind(wanted(scene.host_address, 0)).unwrap();
        let published = vec![everywhere.published(), loopback.published(), one.published()];
        let web = place(scene, &network, &EndpointSpec { published, ..endpoint("web") });
        let _server = answer(&web.namespace, at(Ipv4Addr::UNSPECIFIED, 80));

        let from_world = |address, port| ask(&scene.world, at(address, port));
        let in_vain = |address, port| ask_in_vain(&scene.world, at(address, port));
        for port in [everywhere.published().port, one.published().port] {
            let seen = from_world(scene.host_address, port);
            assert_eq!(seen, Ok(scene.world_address.to_string()), "the client's address is kept");
        }
        assert!(in_vain(scene.host_address, loopback.published().port).is_err());
        // A neighbour that routes to the endpoint itself, or sends loopback addresses, is dropped.
        inside(&scene.world, || {
            let subnet = four(&network).0.to_string();
            command("ip", &["route", "add", &subnet, "via", &scene.host_address.to_string()])
        });
        assert!(in_vain(web.address, 80).is_err());
        // From the host by its own address, from a neighbour endpoint and from itself through the host.
        let port = everywhere.published().port;
        assert!(ask(&scene.host, at(scene.host_address, port)).is_ok());
        let neighbour = place(scene, &network, &endpoint("neighbour"));
        assert!(ask(&neighbour.namespace, at(scene.host_address, port)).is_ok());
        assert!(ask(&web.namespace, at(scene.host_address, port)).is_ok());
        let other = driver(BRIDGE).ensure(&scene.site, &spec("other")).unwrap();
        let stranger = place(scene, &other, &endpoint("stranger"));
        assert!(ask(&stranger.namespace, at(scene.host_address, port)).is_ok());
        // What merely passes through the host to the same port of another machine is not caught.
        let outside = answer(&scene.world, at(scene.world_address, port));
        assert_eq!(ask(&neighbour.namespace, outside.address), Ok(scene.host_address.to_string()));

        driver(BRIDGE)
            .detach(&scene.site, &network.id, &EndpointId::new("web").unwrap(), LinkEnd::Now)
            .unwrap();
        assert!(!command("nft", &["list", "ruleset"]).contains(&port.to_string()));
    });
}

#[test]
fn an_endpoint_cannot_take_a_neighbours_address() {
    Scene::run(|scene| {
        let network = driver(BRIDGE).ensure(&scene.site, &spec("guarded")).unwrap();
        assert_eq!(network.warnings, []);
        let server = place(scene, &network, &endpoint("server"));
        let victim = place(scene, &network, &endpoint("victim"));
        let thief = place(scene, &network, &endpoint("thief"));
        let free = place(scene, &network, &EndpointSpec { guard: Guard::Off, ..endpoint("free") });
        let service = answer(&server.namespace, at(server.address, 0));
        let take = |place: &Place, address: Ipv4Addr| {
            inside(&place.namespace, || {
                command("ip", &["addr", "flush", "dev", "eth0"]);
                command("ip", &["addr", "add", &format!("{address}/16"), "dev", "eth0"]);
            });
        };
        let spare = Ipv4Addr::from(u32::from(free.address) + 1);
        take(&free, spare);
        assert_eq!(ask(&free.namespace, service.address), Ok(spare.to_string()), "one that is allowed to");
        take(&thief, victim.address);
        assert!(ask_in_vain(&thief.namespace, service.address).is_err(), "another's address");
        take(&thief, thief.address);
        assert!(ask(&thief.namespace, service.address).is_ok(), "its own again");
        inside(&thief.namespace, || command("ip", &["link", "set", "eth0", "address", "02:00:00:00:00:99"]));
        assert!(ask_in_vain(&thief.namespace, service.address).is_err(), "another hardware address");
    });
}

#[test]
fn a_program_for_rules_that_knows_less_guards_addresses_all_the_same() {
    Scene::run(|scene| {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("nft");
        // As the one of Ubuntu 22.04: no sets of places in a packet.
        let script = "#!/bin/sh\nscript=$(/bin/cat)\n\
             case $script in *' taddr '* | *'@th,'*)\n\
             echo refused >> ${0%/*}/log; echo 'Error: syntax error' >&2; exit 1 ;; esac\n\
             printf '%s' \"$script\" | PATH=/usr/sbin:/sbin:/usr/bin nft -f -\n";
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        let config = SiteConfig { nft: Some(program.clone()), ..scene.site.config().clone() };
        let site = Site::open(config).unwrap();
        let network = driver(BRIDGE).ensure(&site, &spec("guarded")).unwrap();
        assert_eq!(network.warnings, []);
        let [server, victim, thief] = ["server", "victim", "thief"].map(|id| {
            let mut namespace = Namespace::create().unwrap();
            let made = driver(BRIDGE).attach(&site, &network, &mut namespace, &endpoint(id)).unwrap();
            (four_of(&made.address.unwrap()), namespace)
        });
        let service = answer(&server.1, at(server.0, 0));
        assert!(ask(&thief.1, service.address).is_ok());
        inside(&thief.1, || {
            command("ip", &["addr", "flush", "dev", "eth0"]);
            command("ip", &["addr", "add", &format!("{}/16", victim.0), "dev", "eth0"]);
        });
        assert!(ask_in_vain(&thief.1, service.address).is_err(), "another's address");

        // It is not asked again for what it did not understand, as long as it is the same program.
        let refused = || std::fs::read_to_string(folder.path().join("log")).unwrap().lines().count();
        assert_eq!(refused(), 2);
        command("nft", &["flush", "ruleset"]);
        driver(BRIDGE).ensure(&site, &spec("guarded")).unwrap();
        assert_eq!(refused(), 2);
        std::fs::write(&program, script).unwrap();
        command("nft", &["flush", "ruleset"]);
        driver(BRIDGE).ensure(&site, &spec("guarded")).unwrap();
        assert_eq!(refused(), 4);
    });
}

#[test]
fn what_a_killed_process_left_is_found() {
    Scene::run(|scene| {
        let driver = driver(BRIDGE);
        let network = driver.ensure(&scene.site, &spec("left")).unwrap();
        let kept = place(scene, &network, &endpoint("kept"));
        // The namespace of this one ends without `detach`; deleting its port stands for the kernel's clean-up, which
        // comes some time later.
        let lost = place(scene, &network, &endpoint("lost"));
        let file = NetworkFile::new(&scene.site.config().runtime, network.id.clone());
        let record = file.read().unwrap().unwrap().endpoints.remove(1);
        command("ip", &["link", "del", record.port.as_str()]);
        drop(lost);
        command("ip", &["link", "add", scene.site.store().bridge("nobody").as_str(), "type", "bridge"]);

        let reclaimed = reclaim(&scene.site).unwrap();
        assert_eq!((reclaimed.endpoints, reclaimed.links, reclaimed.errors.len()), (1, 1, 0));
        let again = reclaim(&scene.site).unwrap();
        assert_eq!((again.endpoints, again.links), (0, 0));
        let state = file.read().unwrap().unwrap();
        assert_eq!(state.endpoints.iter().map(|record| record.id.as_str()).collect::<Vec<_>>(), ["kept"]);
        let rules = command("nft", &["list", "ruleset"]);
        assert!(!rules.contains(record.port.as_str()) && rules.contains(state.endpoints[0].port.as_str()));

        assert!(matches!(driver.remove(&scene.site, &network.id), Err(Error::InUse { .. })));
        drop(kept);
        driver.detach(&scene.site, &network.id, &EndpointId::new("kept").unwrap(), LinkEnd::Now).unwrap();
        driver.remove(&scene.site, &network.id).unwrap();
    });
}

#[test]
fn rules_that_someone_flushed_or_changed_are_made_again() {
    Scene::run(|scene| {
        let driver = driver(BRIDGE);
        let network = driver.ensure(&scene.site, &spec("one")).unwrap();
        let _a = place(scene, &network, &endpoint("a"));
        let rules = command("nft", &["list", "ruleset"]);
        assert!(rules.contains(&scene.site.store().table()));
        let inet = format!("inet {}", scene.site.store().table());
        for damage in [
            "flush ruleset".to_owned(),
            format!("flush chain {inet} forward"),
            format!("add rule {inet} forward accept"),
            format!("delete table {inet}"),
        ] {
            command("nft", &damage.split(' ').collect::<Vec<_>>());
            assert_ne!(command("nft", &["list", "ruleset"]), rules, "{damage}");
            driver.ensure(&scene.site, &spec("one")).unwrap();
            assert_eq!(command("nft", &["list", "ruleset"]), rules, "{damage}");
        }
        // Others' tables are none of our business, and no reason to make ours again.
        command("nft", &["add", "table", "ip", "foreign"]);
        driver.ensure(&scene.site, &spec("one")).unwrap();
        assert!(command("nft", &["list", "ruleset"]).contains("table ip foreign"));
    });
}

#[test]
fn what_we_change_ourselves_needs_no_new_look_at_the_rules() {
    Scene::run(|scene| {
        let checked = || {
            let text = std::fs::read(scene.site.config().runtime.join("firewall.state")).unwrap();
            serde_json::from_slice::<serde_json::Value>(&text).unwrap()["generation"].as_u64()
        };
        let now = || {
            let mut socket = Socket::open(Family::Netfilter).unwrap();
            let answer = socket.query(Request::new("number the rules", nftables::get_generation())).unwrap();
            nftables::read_generation(&answer.body).map(u64::from)
        };
        let driver = driver(BRIDGE);
        let network = driver.ensure(&scene.site, &spec("one")).unwrap();
        let _a = place(scene, &network, &endpoint("a"));
        assert_eq!(checked(), now());
        command("nft", &["add", "table", "ip", "foreign"]);
        let _b = place(scene, &network, &endpoint("b"));
        assert_eq!(checked(), now());
        // What changes nothing makes no other rule set: the bridge comes again, with the elements that are there.
        let bridge = network.addressing.as_ref().unwrap().bridge.to_string();
        command("ip", &["link", "set", &bridge, "down"]);
        driver.ensure(&scene.site, &spec("one")).unwrap();
        assert_eq!(checked(), now());
        // What somebody else changed just before is not taken for known.
        let inet = format!("inet {}", scene.site.store().table());
        let rules = command("nft", &["list", "chain", &inet, "forward"]);
        command("nft", &["flush", "chain", &inet, "forward"]);
        driver.detach(&scene.site, &network.id, &EndpointId::new("a").unwrap(), LinkEnd::Now).unwrap();
        driver.ensure(&scene.site, &spec("one")).unwrap();
        assert_eq!(command("nft", &["list", "chain", &inet, "forward"]), rules);
    });
}

#[test]
fn a_network_that_went_can_come_again_at_once() {
    Scene::run(|scene| {
        let driver = driver(BRIDGE);
        let wanted = NetworkSpec { families: chosen("10.77.0.0/24"), ..spec("one") };
        let other = NetworkSpec { families: chosen("10.77.0.0/24"), ..spec("two") };
        let before = scene.links();
        for spec in [&wanted, &other, &other, &wanted] {
            let network = driver.ensure(&scene.site, spec).unwrap();
            let _a = place(scene, &network, &endpoint("a"));
            driver.detach(&scene.site, &spec.id, &EndpointId::new("a").unwrap(), LinkEnd::Now).unwrap();
            driver.remove(&scene.site, &spec.id).unwrap();
        }
        assert_eq!(scene.links(), before);
        // Those who remove links are nobody's children.
        let children = std::fs::read_to_string("/proc/thread-self/children").unwrap();
        assert_eq!(children, "");
    });
}

#[test]
fn subnets_in_use_are_stepped_over_and_refused_when_asked_for() {
    Scene::run(|scene| {
        let driver = driver(BRIDGE);
        command("ip", &["route", "add", "172.18.0.0/16", "via", &scene.world_address.to_string()]);
        let network = driver.ensure(&scene.site, &spec("one")).unwrap();
        assert_eq!(four(&network).0.to_string(), "172.19.0.0/16");
        let taken = NetworkSpec { families: chosen("172.19.7.0/24"), ..spec("two") };
        let refused = driver.ensure(&scene.site, &taken).unwrap_err().to_string();
        let why = "the subnet 172.19.7.0/24 overlaps with 172.19.0.0/16, where a route or address of this host leads";
        assert!(refused.starts_with(why), "{refused}");
        let gateway = NetworkSpec {
            families: chosen_with("10.77.0.0/24", Some(Ipv4Addr::new(10, 78, 0, 1))),
            ..spec("two")
        };
        assert!(matches!(driver.ensure(&scene.site, &gateway), Err(Error::Outside { what: "gateway", .. })));
        let chosen = NetworkSpec {
            families: chosen_with("10.77.0.0/29", Some(Ipv4Addr::new(10, 77, 0, 6))),
            isolation: PortIsolation::Shared,
            ..spec("two")
        };
        let network = driver.ensure(&scene.site, &chosen).unwrap();
        let fixed =
            |id: &str, last| EndpointSpec { address: Some(Ipv4Addr::new(10, 77, 0, last)), ..endpoint(id) };
        let first = place(scene, &network, &fixed("first", 3));
        assert_eq!(first.address, Ipv4Addr::new(10, 77, 0, 3));
        for (last, reason) in [(3, "`first` has it"), (6, "gateway"), (7, "outside"), (9, "outside")] {
            let mut namespace = Namespace::create().unwrap();
            let error =
                driver.attach(&scene.site, &network, &mut namespace, &fixed("second", last)).unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
        }
        let others: Vec<Place> = ["b", "c", "d", "e"]
            .into_iter()
            .filter_map(|id| {
                let mut namespace = Namespace::create().unwrap();
                let endpoint = driver.attach(&scene.site, &network, &mut namespace, &endpoint(id)).ok()?;
                Some(Place { namespace, address: four_of(&endpoint.address?) })
            })
            .collect();
        assert_eq!(others.len(), 4);
        let mut namespace = Namespace::create().unwrap();
        let error = driver.attach(&scene.site, &network, &mut namespace, &endpoint("f")).unwrap_err();
        assert!(matches!(error, Error::AddressesExhausted { .. }), "{error}");
    });
}

#[test]
fn two_that_make_the_same_network_make_one() {
    Scene::run(|scene| {
        let networks: Vec<Network> = std::thread::scope(|scope| {
            let tasks: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        inside(&scene.host, || driver(BRIDGE).ensure(&scene.site, &spec("same")).unwrap())
                    })
                })
                .collect();
            tasks.into_iter().map(|task| task.join().unwrap()).collect()
        });
        assert!(networks.windows(2).all(|pair| pair[0].addressing == pair[1].addressing));
        assert_eq!(scene.links().iter().filter(|name| name.starts_with("rb")).count(), 1);
    });
}

#[test]
fn a_namespace_alone_has_only_its_loopback() {
    Scene::run(|_| {
        let namespace = Namespace::create().unwrap();
        let links = inside(&namespace, || command("ip", &["-o", "link"]));
        assert_eq!(links.lines().count(), 1);
        let server = answer(&namespace, at(Ipv4Addr::LOCALHOST, 0));
        assert_eq!(ask(&namespace, server.address), Ok("127.0.0.1".to_owned()));
        let router =
            inside(&namespace, || std::fs::read_to_string("/proc/sys/net/ipv6/conf/default/accept_ra"));
        assert_eq!(router.map_or("0".to_owned(), |text| text.trim().to_owned()), "0");
    });
}

#[test]
fn a_namespace_is_at_rest_once_no_trace_of_a_program_is_left() {
    Scene::run(|_| {
        let namespace = Namespace::create().unwrap().into_fd();
        let at_rest = || is_at_rest(namespace.as_fd()).unwrap();
        assert!(at_rest());
        let listener = inside(&namespace, || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        assert!(!at_rest(), "a socket");
        let client = inside(&namespace, || TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let (served, _) = listener.accept().unwrap();
        drop((client, served, listener));
        assert!(!at_rest(), "a port that nobody gets for a while");
    });
}

#[test]
fn endpoints_that_come_at_once_get_different_addresses() {
    Scene::run(|scene| {
        let network = driver(BRIDGE).ensure(&scene.site, &spec("busy")).unwrap();
        let places: Vec<Place> = std::thread::scope(|scope| {
            let tasks: Vec<_> = (0..8)
                .map(|number| {
                    let (network, host) = (&network, &scene.host);
                    scope.spawn(move || {
                        inside(host, || place(scene, network, &endpoint(&format!("e{number}"))))
                    })
                })
                .collect();
            tasks.into_iter().map(|task| task.join().unwrap()).collect()
        });
        let addresses: std::collections::BTreeSet<_> = places.iter().map(|place| place.address).collect();
        assert_eq!(addresses.len(), 8);
        let server = answer(&places[0].namespace, at(places[0].address, 0));
        for place in &places[1..] {
            assert_eq!(ask(&place.namespace, server.address), Ok(place.address.to_string()));
        }
    });
}

#[test]
fn what_cannot_be_had_is_said() {
    Scene::run(|scene| {
        for kind in [DriverKind::Host, DriverKind::None] {
            let subnet = NetworkSpec { families: chosen("10.77.0.0/24"), ..spec("fixed") };
            let error = driver(kind).ensure(&scene.site, &subnet).unwrap_err().to_string();
            assert_eq!(error, format!("the network driver `{kind}` cannot have a subnet"));
        }
        let config = SiteConfig { nft: Some("/nowhere/nft".into()), ..scene.site.config().clone() };
        let error = driver(BRIDGE).ensure(&Site::open(config).unwrap(), &spec("one")).unwrap_err();
        assert_eq!(error.to_string(), "cannot run /nowhere/nft");
        assert_eq!(
            scene.links().iter().filter(|name| name.starts_with("rb")).count(),
            0,
            "nothing half made"
        );

        let network = driver(BRIDGE).ensure(&scene.site, &spec("one")).unwrap();
        let other = NetworkSpec { families: chosen("10.77.0.0/24"), ..spec("one") };
        let error = driver(BRIDGE).ensure(&scene.site, &other).unwrap_err();
        assert!(matches!(error, Error::SubnetDiffers { .. }), "{error}");
        let mut namespace = Namespace::create().unwrap();
        let first = driver(BRIDGE).attach(&scene.site, &network, &mut namespace, &endpoint("same"));
        assert!(first.is_ok());
        let second =
            driver(BRIDGE).attach(&scene.site, &network, &mut namespace, &endpoint("same")).unwrap_err();
        assert!(matches!(second, Error::EndpointExists { .. }), "{second}");
        command("ip", &["link", "del", network.addressing.as_ref().unwrap().bridge.as_str()]);
        let gone =
            driver(BRIDGE).attach(&scene.site, &network, &mut namespace, &endpoint("late")).unwrap_err();
        assert!(matches!(gone, Error::BridgeGone { .. }), "{gone}");
    });
}
