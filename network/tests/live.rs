//! Containers that run, as far as networks know them: namespaces with a name service, ports that lead to them, and
//! networks that come and go meanwhile. All of it on a real kernel, in private network namespaces.

mod scene;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rbuild_network::address6::Subnet6;
use rbuild_network::driver::{
    DefaultRoute, DriverKind, EndpointSpec, FourSpec, Guard, LinkEnd, Network, NetworkSpec, Reach, SixSpec,
};
use rbuild_network::drivers::driver;
use rbuild_network::duty::{Duties, Found, Service, withdraw};
use rbuild_network::error::Error;
use rbuild_network::families::Families;
use rbuild_network::link::LinkName;
use rbuild_network::names::{EndpointId, NetworkId, Presence, all};
use rbuild_network::namespace::Namespace;
use rbuild_network::ports::{Protocol, Published, Reservation};
use rbuild_network::reclaim::remove_unused;
use rbuild_network::service::Upstreams;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{self, AddressFamily, SendFlags, SocketType};
use scene::{Scene, command, inside};

const BRIDGE: DriverKind = DriverKind::Bridge;
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a connection may take that must not come about.
const REFUSED_AFTER: Duration = Duration::from_millis(400);

fn ensure(scene: &Scene, spec: NetworkSpec) -> Network {
    driver(BRIDGE).ensure(&scene.site, &spec).unwrap()
}

fn spec(id: &str) -> NetworkSpec {
    NetworkSpec::new(NetworkId::new(id).unwrap())
}

fn six(id: &str, subnet: &str) -> NetworkSpec {
    let subnet = Some(subnet.parse::<Subnet6>().unwrap());
    let six = SixSpec { subnet, ..SixSpec::default() };
    NetworkSpec { families: Families::Both(FourSpec::default(), six), ..spec(id) }
}

fn six_alone(id: &str, subnet: &str) -> NetworkSpec {
    let subnet = Some(subnet.parse::<Subnet6>().unwrap());
    NetworkSpec { families: Families::Six(SixSpec { subnet, ..SixSpec::default() }), ..spec(id) }
}

/// A container without a program.
struct Container {
    id: EndpointId,
    namespace: Namespace,
}

impl Container {
    fn new(id: &str) -> Self {
        Self { id: EndpointId::new(id).unwrap(), namespace: Namespace::create().unwrap() }
    }

    fn join(
        &mut self,
        scene: &Scene,
        network: &Network,
        number: u32,
    ) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
        self.join_as(scene, network, number, Vec::new())
    }

    fn join_as(
        &mut self,
        scene: &Scene,
        network: &Network,
        number: u32,
        published: Vec<Published>,
    ) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
        let spec = EndpointSpec {
            link: LinkName::eth(number),
            names: vec![self.id.to_string(), "all".to_owned()],
            default_route: if number == 0 { DefaultRoute::Both } else { DefaultRoute::Neither },
            published,
            ..EndpointSpec::new(self.id.clone())
        };
        let endpoint = driver(BRIDGE).attach(&scene.site, network, &mut self.namespace, &spec).unwrap();
        let address = endpoint.address.unwrap();
        address.families.map(|four| four.address, |six| six.address).parts()
    }

    fn leave(&self, scene: &Scene, network: &Network) {
        driver(BRIDGE).detach(&scene.site, &network.id, &self.id, LinkEnd::Now).unwrap();
    }

    fn duties(&self, scene: &Scene, names: Option<Upstreams>, ports: Vec<Published>) -> Duties {
        let config = scene.site.config();
        Duties {
            store: config.store,
            runtime: config.runtime.clone(),
            host_lock: config.host_lock.clone(),
            nft: None,
            passage: config.passage,
            endpoint: self.id.clone(),
            names,
            ports,
        }
    }
}

/// A service on a thread of its own, as a monitor drives it.
struct Driven {
    stop: Arc<AtomicBool>,
    waker: OwnedFd,
    thread: JoinHandle<Service>,
}

fn drive(mut service: Service) -> Driven {
    let stop = Arc::new(AtomicBool::new(false));
    let (waker, woken) = std::os::unix::net::UnixStream::pair().unwrap();
    let stopped = Arc::clone(&stop);
    let thread = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            let wait = service.deadline().map(|at| at.saturating_duration_since(Instant::now()));
            let wait = wait.map(|wait| Timespec::try_from(wait).unwrap());
            let mut fds = vec![PollFd::new(&woken, PollFlags::IN)];
            fds.extend(service.poll_fd().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            poll(&mut fds, wait.as_ref()).unwrap();
            service.turn();
        }
        service
    });
    Driven { stop, waker: waker.into(), thread }
}

impl Driven {
    fn stop(self) -> Service {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.waker);
        self.thread.join().unwrap()
    }
}

fn start(scene: &Scene, container: &Container, upstreams: Vec<SocketAddr>) -> Service {
    let duties = container.duties(scene, Some(Upstreams::At(upstreams)), Vec::new());
    let (service, failures) =
        Service::start(duties, Some(container.namespace.as_fd()), None, Vec::new()).unwrap();
    assert!(failures.is_empty(), "{failures:?}");
    service
}

fn question(name: &str, kind: u8) -> Vec<u8> {
    let mut message = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.extend([0, 0, kind, 0, 1]);
    message
}

const A: u8 = 1;
const AAAA: u8 = 28;

/// Asks at the address that programs in the container ask, and returns the code and the addresses.
fn look_up(container: &Container, name: &str, kind: u8) -> (u8, Vec<IpAddr>) {
    let answer = inside(&container.namespace, || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket.connect((Ipv4Addr::new(127, 0, 0, 11), 53)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send(&question(name, kind)).unwrap();
        let mut buffer = [0; 1500];
        let length = socket.recv(&mut buffer).unwrap();
        buffer[..length].to_vec()
    });
    told(&answer, kind)
}

fn told(answer: &[u8], kind: u8) -> (u8, Vec<IpAddr>) {
    let bytes = if kind == A { 4 } else { 16 };
    let records = answer.len() - usize::from(answer[7]) * (12 + bytes);
    let address = |record: &[u8]| match kind {
        A => IpAddr::from(<[u8; 4]>::try_from(&record[12..]).unwrap()),
        _ => IpAddr::from(<[u8; 16]>::try_from(&record[12..]).unwrap()),
    };
    (answer[3] & 15, answer[records..].chunks(12 + bytes).map(address).collect())
}

/// A listener that answers each connection with the address it came from.
fn answer(namespace: &impl AsFd, address: SocketAddr) -> SocketAddr {
    let listener = inside(namespace, || TcpListener::bind(address).unwrap());
    let local = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, peer)) = listener.accept() {
            let _ = stream.write_all(peer.ip().to_string().as_bytes());
        }
    });
    local
}

fn call(namespace: &impl AsFd, address: SocketAddr, patience: Duration) -> Result<String, String> {
    inside(namespace, || {
        let failed = |error: std::io::Error| error.to_string();
        let mut stream = TcpStream::connect_timeout(&address, patience).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).map_err(failed)?;
        Ok(text)
    })
}

#[test]
fn names_resolve_inside_and_networks_come_and_go_meanwhile() {
    Scene::run(|scene| {
        let before = scene.links();
        let (front, back) = (ensure(scene, spec("front")), ensure(scene, spec("back")));
        let (mut a, mut b, mut c) = (Container::new("a"), Container::new("b"), Container::new("c"));
        a.join(scene, &front, 0);
        let b_front = b.join(scene, &front, 0).0.unwrap();
        let c_back = c.join(scene, &back, 0).0.unwrap();
        // A program of the container has port 53 for itself.
        let own = inside(&a.namespace, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53)).unwrap());
        let service = drive(start(scene, &a, Vec::new()));
        assert_eq!(look_up(&a, "b", A), (0, vec![b_front.into()]));
        assert_eq!(look_up(&a, "B.front", A), (0, vec![b_front.into()]));
        assert_eq!(look_up(&a, "b", AAAA), (0, vec![]));
        assert_eq!(look_up(&a, "c", A).0, 2, "not in its networks, and there is nobody else to ask");
        let both: std::collections::BTreeSet<IpAddr> = (0..2).map(|_| look_up(&a, "all", A).1[0]).collect();
        assert_eq!(both.len(), 2, "each is the first in its turn");

        a.join(scene, &back, 1);
        assert_eq!(look_up(&a, "c", A), (0, vec![c_back.into()]), "nobody told the service");
        let server = answer(&c.namespace, SocketAddr::from((c_back, 0)));
        call(&a.namespace, server, PATIENCE).unwrap();
        a.leave(scene, &back);
        assert_eq!(look_up(&a, "c", A).0, 2);
        b.leave(scene, &front);
        assert_eq!(look_up(&a, "b", A).0, 2);

        // The same over a connection.
        let stream = inside(&a.namespace, || {
            let mut stream = TcpStream::connect((Ipv4Addr::new(127, 0, 0, 11), 53)).unwrap();
            let message = question("a", A);
            stream.write_all(&(message.len() as u16).to_be_bytes()).unwrap();
            stream.write_all(&message).unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut message).unwrap();
            message
        });
        assert_eq!(told(&stream, A).1.len(), 1);
        own.set_nonblocking(true).unwrap();
        assert!(own.recv(&mut [0; 64]).is_err(), "nothing came to the program's own port");

        // A second service, of a process that takes the place of one that was killed, gets the questions.
        let successor = drive(start(scene, &a, Vec::new()));
        let former = service.stop();
        assert_eq!(look_up(&a, "a", A).1.len(), 1);
        drop(former);
        let mut service = successor.stop();
        service.is_running(Presence::Stopped).unwrap();
        let service = drive(service);
        assert_eq!(look_up(&a, "a", A).0, 2, "it does not run");
        assert!(service.stop().end().errors.is_empty());
        c.leave(scene, &back);
        assert!(all(&scene.site.config().runtime).unwrap().iter().all(|state| state.endpoints.is_empty()));
        assert!(withdraw(&a.duties(scene, None, Vec::new()), None).errors.is_empty(), "again");
        remove_unused(&scene.site).unwrap();
        // The kernel takes the links of a namespace away some time after its end; here it is told to at once.
        inside(&a.namespace, || command("ip", &["link", "del", "eth0"]));
        assert_eq!(scene.links(), before);
        assert_eq!(command("nft", &["list", "ruleset"]), "");
    });
}

#[test]
fn unknown_names_are_asked_for_outside_and_internal_ones_never() {
    Scene::run(|scene| {
        let outer = ensure(scene, spec("outer"));
        let inner = ensure(scene, NetworkSpec { reach: Reach::Internal, ..spec("inner") });
        let world = inside(&scene.world, || {
            let socket = UdpSocket::bind((scene.world_address, 0)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
        });
        let server = world.local_addr().unwrap();
        let (mut a, mut b) = (Container::new("a"), Container::new("b"));
        a.join(scene, &outer, 0);
        b.join(scene, &inner, 0);
        // The services ask from the host's namespace, in which this thread is.
        let (first, second) = (
            drive_in(scene, start(scene, &a, vec![server])),
            drive_in(scene, start(scene, &b, vec![server])),
        );
        assert_eq!(look_up(&b, "attacker.example", A).0, 3, "nobody was asked");
        let asked = std::thread::spawn(move || {
            let mut buffer = [0; 512];
            let (length, client) = world.recv_from(&mut buffer).unwrap();
            buffer[2] |= 0x80;
            buffer[3] = 3;
            world.send_to(&buffer[..length], client).unwrap();
            world.set_nonblocking(true).unwrap();
            (buffer[12..length].to_vec(), client.ip(), world.recv(&mut buffer).is_err())
        });
        assert_eq!(look_up(&a, "example.org", A).0, 3);
        let (name, client, is_silent) = asked.join().unwrap();
        assert!(name.starts_with(b"\x07example\x03org"), "the first and only question that came");
        assert!(is_silent);
        assert_eq!(client, IpAddr::V4(scene.host_address), "asked from the host");
        assert!(first.stop().end().errors.is_empty() && second.stop().end().errors.is_empty());
    });
}

/// Drives a service on a thread in the namespace of the host.
fn drive_in(scene: &Scene, service: Service) -> Driven {
    inside(&scene.host, || drive(service))
}

/// Gives host and world IPv6 addresses towards each other.
fn connect_by_ipv6(scene: &Scene) {
    for (place, address) in [(&scene.host, "2001:db8::2/64"), (&scene.world, "2001:db8::1/64")] {
        inside(place, || {
            std::fs::write("/proc/sys/net/ipv6/conf/uplink/disable_ipv6", "0").unwrap();
            command("ip", &["addr", "add", address, "dev", "uplink", "nodad"])
        });
    }
}

/// The address of a network's gateway.
fn gateway_of(network: &Network) -> String {
    network.addressing.as_ref().unwrap().families.four().unwrap().1.to_string()
}

#[test]
fn a_network_without_ipv4_does_all_by_ipv6() {
    Scene::run(|scene| {
        connect_by_ipv6(scene);
        let network = ensure(scene, six_alone("six", "fd00:7::/64"));
        let wanted =
            Published { protocol: Protocol::Tcp, host: Ipv6Addr::UNSPECIFIED.into(), port: 0, target: 80 };
        let held = Reservation::bind(wanted).unwrap();
        let ports = vec![held.published()];
        let (mut a, mut b) = (Container::new("a"), Container::new("b"));
        let (four, six) = a.join_as(scene, &network, 0, ports.clone());
        assert_eq!((four, six), (None, "fd00:7::2".parse().ok()));
        let (_, b_six) = b.join(scene, &network, 0);
        assert_eq!(b_six, "fd00:7::3".parse().ok());
        let bridge = network.addressing.as_ref().unwrap().bridge.to_string();
        assert_eq!(command("ip", &["-4", "-o", "addr", "show", "dev", &bridge]), "");
        for shown in [&["-4", "-o", "addr", "show", "dev", "eth0"][..], &["-4", "route"]] {
            assert_eq!(inside(&a.namespace, || command("ip", shown)), "", "{shown:?}");
        }

        answer(&a.namespace, "[::]:80".parse().unwrap());
        let neighbour = Ok(b_six.unwrap().to_string());
        assert_eq!(call(&b.namespace, (six.unwrap(), 80).into(), PATIENCE), neighbour);
        let outside = answer(&scene.world, "[2001:db8::1]:0".parse().unwrap());
        assert_eq!(call(&b.namespace, outside, PATIENCE), Ok("2001:db8::2".to_owned()), "behind the host");
        let stolen = || {
            command("ip", &["addr", "add", "fd00:7::66/64", "dev", "eth0", "nodad"]);
            command("ip", &["addr", "del", &format!("{}/64", b_six.unwrap()), "dev", "eth0"]);
        };
        inside(&b.namespace, stolen);
        assert!(call(&b.namespace, (six.unwrap(), 80).into(), REFUSED_AFTER).is_err(), "a stolen address");

        let port = held.published().port;
        let duties = a.duties(scene, Some(Upstreams::Named(Vec::new())), ports);
        let namespace = Some(a.namespace.as_fd());
        let (service, failures) = Service::start(duties, namespace, None, vec![held.into_socket()]).unwrap();
        assert!(failures.is_empty(), "{failures:?}");
        let service = drive(service);
        let remote = SocketAddr::from(("2001:db8::2".parse::<Ipv6Addr>().unwrap(), port));
        assert_eq!(call(&scene.world, remote, PATIENCE), Ok("2001:db8::1".to_owned()), "redirected");
        let local = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        assert_eq!(call(&scene.host, local, PATIENCE), Ok("fd00:7::1".to_owned()), "carried");
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        assert!(call(&scene.host, local, REFUSED_AFTER).is_err(), "no port of IPv4 leads there");
        assert_eq!(look_up(&a, "a", AAAA), (0, vec![six.unwrap().into()]));
        assert_eq!(look_up(&a, "a", A), (0, Vec::new()));
        assert!(service.stop().end().errors.is_empty());

        let other = driver(BRIDGE).ensure(&scene.site, &spec("six")).unwrap_err();
        assert!(matches!(other, Error::SubnetDiffers { .. }), "{other}");
        let four = EndpointSpec {
            address: Some(Ipv4Addr::new(10, 1, 2, 3)),
            ..EndpointSpec::new(EndpointId::new("c").unwrap())
        };
        let mut namespace = Namespace::create().unwrap();
        let told = driver(BRIDGE).attach(&scene.site, &network, &mut namespace, &four).unwrap_err();
        assert!(told.to_string().contains("the network has no IPv4"), "{told}");
    });
}

#[test]
fn endpoints_have_ipv6_and_get_out_by_it() {
    Scene::run(|scene| {
        connect_by_ipv6(scene);
        let network = ensure(scene, six("six", "fd00:6::/64"));
        let derived =
            ensure(scene, NetworkSpec { families: Families::Six(SixSpec::default()), ..spec("derived") });
        assert_eq!(derived.addressing.unwrap().families.six().unwrap().0.base().octets()[0], 0xfd);
        let (mut a, mut b) = (Container::new("a"), Container::new("b"));
        let (_, a_six) = a.join(scene, &network, 0);
        let (_, b_six) = b.join(scene, &network, 0);
        assert_eq!((a_six, b_six), ("fd00:6::2".parse().ok(), "fd00:6::3".parse().ok()));
        let (a_six, b_six) = (a_six.unwrap(), b_six.unwrap());
        let server = answer(&a.namespace, SocketAddr::from((a_six, 0)));
        assert_eq!(call(&b.namespace, server, PATIENCE), Ok(b_six.to_string()));
        let outside = answer(&scene.world, "[2001:db8::1]:0".parse().unwrap());
        assert_eq!(call(&b.namespace, outside, PATIENCE), Ok("2001:db8::2".to_owned()), "behind the host");
        // An address that was not given out does not get through, nor does the host's router advice change.
        inside(&b.namespace, || {
            command("ip", &["addr", "add", "fd00:6::66/64", "dev", "eth0", "nodad"]);
            command("ip", &["addr", "del", &format!("{b_six}/64"), "dev", "eth0"]);
        });
        assert!(call(&b.namespace, server, REFUSED_AFTER).is_err(), "a stolen address");
        let service = drive(start(scene, &a, Vec::new()));
        assert_eq!(look_up(&a, "a", AAAA), (0, vec![a_six.into()]));
        assert!(service.stop().end().errors.is_empty());
        b.leave(scene, &network);
    });
}

/// Tells everybody on a link that the sender is the way out, and that addresses of `fd00:bad::/64` are to be had.
fn advertise(sender: &impl AsFd) -> std::io::Result<()> {
    let mut message = vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    message.extend([3, 4, 64, 0xc0, 0, 0, 14, 16, 0, 0, 14, 16, 0, 0, 0, 0]);
    message.extend("fd00:bad::".parse::<Ipv6Addr>().unwrap().octets());
    tell_everybody(sender, &message)
}

/// Tells everybody on a link that the sender has an address.
fn claim(sender: &impl AsFd, address: Ipv6Addr) -> std::io::Result<()> {
    let hardware = mac(sender);
    let hardware = hardware.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap());
    // It takes the place of what was known.
    let mut message = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
    message.extend(address.octets());
    message.extend([2, 1].into_iter().chain(hardware));
    tell_everybody(sender, &message)
}

/// The hardware address of a container.
fn mac(place: &impl AsFd) -> String {
    let link = inside(place, || command("ip", &["-o", "link", "show", "dev", "eth0"]));
    link.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().to_owned()
}

fn tell_everybody(sender: &impl AsFd, message: &[u8]) -> std::io::Result<()> {
    inside(sender, || {
        let link = command("ip", &["-o", "link", "show", "dev", "eth0"]);
        let index = link.split(':').next().unwrap().parse().unwrap();
        let socket = net::socket(AddressFamily::INET6, SocketType::RAW, Some(net::ipproto::ICMPV6))?;
        net::sockopt::set_ipv6_multicast_hops(&socket, 255)?;
        let everybody = SocketAddrV6::new("ff02::1".parse().unwrap(), 0, 0, index);
        net::sendto(&socket, message, SendFlags::empty(), &everybody)?;
        Ok(())
    })
}

#[test]
fn an_endpoint_gives_no_addresses_out() {
    Scene::run(|scene| {
        connect_by_ipv6(scene);
        let network = ensure(scene, six("six", "fd00:6::/64"));
        let [mut client, mut server, mut free] = ["client", "server", "free"].map(Container::new);
        let (four, six) = both(client.join(scene, &network, 0));
        server.join(scene, &network, 0);
        let unguarded = EndpointSpec { guard: Guard::Off, ..EndpointSpec::new(free.id.clone()) };
        driver(BRIDGE).attach(&scene.site, &network, &mut free.namespace, &unguarded).unwrap();
        for (client_at, server_port) in
            [(SocketAddr::from((four, 68)), 67), (SocketAddr::from((six, 546)), 547)]
        {
            let any = if client_at.is_ipv4() { IpAddr::from([0; 4]) } else { Ipv6Addr::UNSPECIFIED.into() };
            let bind = |place: &Container, port| {
                inside(&place.namespace, || std::net::UdpSocket::bind((any, port)).unwrap())
            };
            let heard = bind(&client, client_at.port());
            heard.set_read_timeout(Some(PATIENCE)).unwrap();
            // An offer that is lost would have come before what follows it.
            for (from, port, text) in
                [(&server, server_port, "offer"), (&server, 1024, "other"), (&free, server_port, "offer")]
            {
                bind(from, port).send_to(text.as_bytes(), client_at).unwrap();
            }
            let next = || {
                let mut buffer = [0; 16];
                let length = heard.recv(&mut buffer).unwrap();
                String::from_utf8(buffer[..length].to_vec()).unwrap()
            };
            assert_eq!([next(), next()], ["other", "offer"], "{client_at}");
        }
    });
}

fn both((four, six): (Option<Ipv4Addr>, Option<Ipv6Addr>)) -> (Ipv4Addr, Ipv6Addr) {
    four.zip(six).expect("a network of both families")
}

#[test]
fn nobody_is_told_that_a_neighbours_address_is_elsewhere() {
    Scene::run(|scene| {
        connect_by_ipv6(scene);
        let network = ensure(scene, six("six", "fd00:6::/64"));
        let [mut server, mut victim, mut thief, mut free] =
            ["server", "victim", "thief", "free"].map(Container::new);
        let (server_four, server_six) = both(server.join(scene, &network, 0));
        let (victim_four, victim_six) = both(victim.join(scene, &network, 0));
        thief.join(scene, &network, 0);
        let unguarded = EndpointSpec { guard: Guard::Off, ..EndpointSpec::new(free.id.clone()) };
        driver(BRIDGE).attach(&scene.site, &network, &mut free.namespace, &unguarded).unwrap();
        let servers = [IpAddr::from(server_four), server_six.into()]
            .map(|address| answer(&server.namespace, SocketAddr::new(address, 0)));
        let (own, others) = (mac(&victim.namespace), mac(&free.namespace));
        let known = |address: IpAddr| {
            let listed =
                inside(&server.namespace, || command("ip", &["neigh", "show", &address.to_string()]));
            listed.split("lladdr ").nth(1).and_then(|rest| rest.split(' ').next()).map(str::to_owned)
        };
        let victims = [IpAddr::from(victim_four), victim_six.into()];
        // What is asked next comes behind all that was sent before: it was heard by then, if it is heard at all.
        let from = |place: &Container, patience| {
            servers.map(|server| call(&place.namespace, server, patience).is_ok())
        };
        assert_eq!(from(&victim, PATIENCE), [true; 2]);
        assert_eq!(victims.map(known), [Some(own.clone()), Some(own.clone())]);

        // By IPv4 whoever asks for an address tells which one it has itself.
        let four = format!("{victim_four}/16");
        let take = |place: &Container| {
            inside(&place.namespace, || {
                command("ip", &["neigh", "flush", "dev", "eth0"]);
                command("ip", &["addr", "add", &four, "dev", "eth0"]);
                let socket = std::net::UdpSocket::bind((victim_four, 0)).unwrap();
                socket.send_to(b"x", (server_four, 9)).unwrap();
                command("ip", &["addr", "del", &four, "dev", "eth0"]);
                command("ip", &["neigh", "flush", "dev", "eth0"]);
            });
        };
        take(&thief);
        assert!((0..1000).any(|_| claim(&thief.namespace, victim_six).is_ok()));
        assert_eq!(from(&thief, PATIENCE), [true; 2], "its own addresses are heard of");
        assert_eq!(victims.map(known), [Some(own.clone()), Some(own)], "nobody has believed it");

        // Who keeps the rules of a machine in a file can read them again.
        let listed = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(listed.path(), command("nft", &["list", "ruleset"])).unwrap();
        command("nft", &["-c", "-f", listed.path().to_str().unwrap()]);

        // One that may administer networks is believed: so it would have been heard.
        take(&free);
        assert!((0..1000).any(|_| {
            let sent = claim(&free.namespace, victim_six);
            sent.is_ok() && known(victims[1]).as_ref() == Some(&others)
        }));
        assert!((0..1000).any(|_| known(victims[0]).as_ref() == Some(&others)));
    });
}

#[test]
fn datagrams_in_a_neighbours_name_go_nowhere() {
    Scene::run(|scene| {
        connect_by_ipv6(scene);
        let network = ensure(scene, six("six", "fd00:6::/64"));
        let [mut server, mut victim, mut thief, mut free] =
            ["server", "victim", "thief", "free"].map(Container::new);
        let servers = both(server.join(scene, &network, 0));
        let victims = both(victim.join(scene, &network, 0));
        thief.join(scene, &network, 0);
        let unguarded = EndpointSpec { guard: Guard::Off, ..EndpointSpec::new(free.id.clone()) };
        driver(BRIDGE).attach(&scene.site, &network, &mut free.namespace, &unguarded).unwrap();
        let hardware = mac(&server.namespace);
        for (server_at, victim_at, bits) in [
            (IpAddr::from(servers.0), IpAddr::from(victims.0), 16),
            (servers.1.into(), victims.1.into(), 128),
        ] {
            let heard = inside(&server.namespace, || UdpSocket::bind((server_at, 0)).unwrap());
            heard.set_read_timeout(Some(PATIENCE)).unwrap();
            let to = heard.local_addr().unwrap();
            // Whom it sends to need not be asked for: so no word of who has an address is what keeps it from arriving.
            let know = |place: &Container| {
                let line = ["neigh", "replace", &server_at.to_string(), "lladdr", &hardware, "dev", "eth0"];
                inside(&place.namespace, || command("ip", &[&line[..], &["nud", "permanent"]].concat()));
            };
            let send_as_victim = |place: &Container| {
                let own = format!("{victim_at}/{bits}");
                let add: &[&str] = if victim_at.is_ipv6() { &["nodad"] } else { &[] };
                inside(&place.namespace, || {
                    command("ip", &[&["addr", "add", &own, "dev", "eth0"], add].concat());
                    UdpSocket::bind((victim_at, 0)).unwrap().send_to(b"false", to).unwrap();
                    command("ip", &["addr", "del", &own, "dev", "eth0"]);
                });
            };
            let next = || {
                let mut buffer = [0; 16];
                let (length, from) = heard.recv_from(&mut buffer).unwrap();
                (buffer[..length].to_vec(), from.ip() == victim_at)
            };
            know(&thief);
            send_as_victim(&thief);
            // What was sent in another's name would have come before what follows it.
            let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { Ipv6Addr::UNSPECIFIED.into() };
            let own = inside(&thief.namespace, || UdpSocket::bind((any, 0)).unwrap());
            own.send_to(b"own", to).unwrap();
            assert_eq!(next(), (b"own".to_vec(), false), "{victim_at}");
            // One that may administer networks is not held back: so the other would have been heard.
            know(&free);
            send_as_victim(&free);
            assert_eq!(next(), (b"false".to_vec(), true), "{victim_at}");
        }
    });
}

#[test]
fn advertisements_of_a_router_among_the_containers_are_not_taken() {
    Scene::run(|scene| {
        connect_by_ipv6(scene);
        let network = ensure(scene, six("six", "fd00:6::/64"));
        let [mut a, mut b, mut gullible] = ["a", "b", "gullible"].map(Container::new);
        // One that may administer networks: what another one sends does not even leave its port.
        let unguarded = EndpointSpec { guard: Guard::Off, ..EndpointSpec::new(a.id.clone()) };
        driver(BRIDGE).attach(&scene.site, &network, &mut a.namespace, &unguarded).unwrap();
        let (_, b_six) = b.join(scene, &network, 0);
        let (_, gullible_six) = gullible.join(scene, &network, 0);
        let known = |place: &dyn AsFd| {
            inside(&place.as_fd(), || {
                command("ip", &["-6", "route"])
                    + &command("ip", &["-6", "-o", "addr", "show", "scope", "global"])
            })
        };
        // One that was told to believe shows when everybody has heard of it.
        let settings =
            [("accept_ra", "1"), ("forwarding", "0"), ("accept_ra_defrtr", "1"), ("accept_ra_pinfo", "1")];
        inside(&gullible.namespace, || {
            for (setting, value) in settings {
                std::fs::write(format!("/proc/sys/net/ipv6/conf/eth0/{setting}"), value).unwrap();
            }
        });
        assert!((0..1000).any(|_| advertise(&b.namespace).is_ok()), "it has an address of its link");
        let after = answer(&gullible.namespace, SocketAddr::from((gullible_six.unwrap(), 0)));
        assert!(call(&b.namespace, after, PATIENCE).is_ok());
        assert!(!known(&gullible.namespace).contains("fd00:bad:"), "an endpoint is no router");
        let is_heard = (0..1000).any(|_| {
            let sent = advertise(&a.namespace);
            sent.is_ok() && known(&gullible.namespace).contains("fd00:bad:")
        });
        assert!(is_heard, "the advertisement is one");
        let server = answer(&b.namespace, SocketAddr::from((b_six.unwrap(), 0)));
        assert!(call(&a.namespace, server, PATIENCE).is_ok());
        for place in [&scene.host as &dyn AsFd, &b.namespace] {
            let known = known(place);
            assert!(!known.contains("fd00:bad:") && !known.contains("proto ra"), "{known}");
        }
    });
}

#[test]
fn ports_of_both_families_lead_to_the_endpoint_and_move_with_it() {
    Scene::run(|scene| {
        connect_by_ipv6(scene);
        let (one, two) = (ensure(scene, spec("one")), ensure(scene, six("two", "fd00:2::/64")));
        let mut a = Container::new("a");
        let wanted = |host: IpAddr, port| Published { protocol: Protocol::Tcp, host, port, target: 80 };
        let four = Reservation::bind(wanted(Ipv4Addr::UNSPECIFIED.into(), 0)).unwrap();
        let port = four.published().port;
        let six = Reservation::bind(wanted(Ipv6Addr::UNSPECIFIED.into(), port)).unwrap();
        let ports = vec![four.published(), six.published()];
        let address = a.join_as(scene, &one, 0, ports.clone()).0.unwrap();
        answer(&a.namespace, "[::]:80".parse().unwrap());
        let gateway = gateway_of(&one);
        let sockets = vec![four.into_socket(), six.into_socket()];
        let duties = a.duties(scene, None, ports.clone());
        let (service, failures) = Service::start(duties.clone(), None, None, sockets).unwrap();
        assert!(failures.is_empty());

        let mapped = |text: &str| format!("::ffff:{text}");
        let remote = SocketAddr::from((scene.host_address, port));
        let remote6 = SocketAddr::from(("2001:db8::2".parse::<Ipv6Addr>().unwrap(), port));
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let local6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        assert_eq!(call(&scene.world, remote, PATIENCE), Ok(mapped(&scene.world_address.to_string())));
        assert_eq!(call(&scene.host, local, PATIENCE), Ok(mapped(&gateway)));
        assert_eq!(call(&scene.host, local6, PATIENCE), Ok(mapped(&gateway)), "carried to IPv4");
        assert_eq!(call(&scene.world, remote6, PATIENCE), Ok(mapped(&gateway)), "carried to IPv4");

        // The container leaves that network; its ports move to the other, and nobody told the service.
        a.join(scene, &two, 1);
        driver(BRIDGE).publish(&scene.site, &one.id, &a.id, &[]).unwrap();
        driver(BRIDGE).publish(&scene.site, &two.id, &a.id, &ports).unwrap();
        a.leave(scene, &one);
        driver(BRIDGE).route(&scene.site, &two.id, &mut a.namespace, &a.id, DefaultRoute::Both).unwrap();
        driver(BRIDGE).route(&scene.site, &two.id, &mut a.namespace, &a.id, DefaultRoute::Both).unwrap();
        assert_eq!(call(&scene.world, remote, PATIENCE), Ok(mapped(&scene.world_address.to_string())));
        assert_eq!(call(&scene.world, remote6, PATIENCE), Ok("2001:db8::1".to_owned()), "redirected");
        let gateway = gateway_of(&two);
        assert_eq!(call(&scene.host, local, PATIENCE), Ok(mapped(&gateway)));
        assert!(call(&scene.world, SocketAddr::from((address, 80)), REFUSED_AFTER).is_err());

        // A process that takes the place of a killed one binds the ports itself.
        drop(service);
        let (service, failures) = Service::start(duties.clone(), None, None, Vec::new()).unwrap();
        assert!(failures.is_empty(), "{failures:?}");
        assert_eq!(call(&scene.host, local, PATIENCE), Ok(mapped(&gateway)));
        let (other, failures) = Service::start(duties, None, None, Vec::new()).unwrap();
        assert!(failures[0].to_string().contains("already in use by process"), "{}", failures[0]);
        drop(other);
        assert!(service.end().errors.is_empty());
        assert!(call(&scene.host, local, PATIENCE).is_err());
        let rules = command("nft", &["list", "ruleset"]);
        assert!(!rules.contains(&port.to_string()), "{rules}");
    });
}

#[test]
fn rules_that_someone_takes_away_are_made_again_while_a_container_runs() {
    Scene::run(|scene| {
        let network = ensure(scene, spec("one"));
        let join = |name: &str| {
            let mut container = Container::new(name);
            container.join(scene, &network, 0);
            let (service, failures) =
                Service::start(container.duties(scene, None, Vec::new()), None, None, Vec::new()).unwrap();
            assert!(failures.is_empty(), "{failures:?}");
            (container, service)
        };
        let (one, mut first) = join("one");
        let (_two, mut second) = join("two");
        let told = |service: &mut Service| {
            if let Some(fd) = service.rules_fd() {
                let patience: Timespec = PATIENCE.try_into().unwrap();
                assert_eq!(poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&patience)), Ok(1));
            } else {
                // What comes soon after other changes is heard with them.
                let rest = service.rules_deadline().unwrap().saturating_duration_since(Instant::now());
                assert_eq!(poll(&mut [], Some(&rest.try_into().unwrap())), Ok(0));
            }
            let found = service.mend_rules().unwrap();
            // What others change now is heard together, a little later.
            assert!(service.rules_fd().is_none() && service.rules_deadline().is_some());
            found
        };
        let rules = command("nft", &["list", "ruleset"]);
        let table = scene.site.store().table();
        let bridge = network.addressing.as_ref().unwrap().bridge.clone();
        for damage in [
            "flush ruleset".to_owned(),
            format!("delete table inet {table}"),
            format!("delete table bridge {table}"),
            format!("insert rule inet {table} forward accept"),
            format!("delete element inet {table} outside {{ {bridge} }}"),
            format!("flush set inet {table} sources"),
        ] {
            command("nft", &damage.split(' ').collect::<Vec<_>>());
            assert_ne!(command("nft", &["list", "ruleset"]), rules, "{damage}");
            assert_eq!(told(&mut first), Found::Damaged, "{damage}");
            assert_eq!(command("nft", &["list", "ruleset"]), rules, "{damage}");
            assert_eq!(told(&mut second), Found::Whole, "{damage}");
            // It hears of what it made itself.
            assert_eq!(told(&mut first), Found::Whole, "{damage}");
        }
        // Each looks after what is its own in the sets.
        command("nft", &["flush", "set", "bridge", &table, "endpoints"]);
        assert_eq!(told(&mut first), Found::Damaged);
        assert_eq!(told(&mut second), Found::Damaged);
        assert_eq!(command("nft", &["list", "ruleset"]), rules);
        command("nft", &["add", "table", "ip", "foreign"]);
        command("nft", &["delete", "table", "ip", "foreign"]);
        assert_eq!(told(&mut first), Found::Whole);
        // Who is in no network any more has no rules to look after.
        one.leave(scene, &network);
        command("nft", &["flush", "ruleset"]);
        assert_eq!(told(&mut first), Found::Whole);
        assert_eq!(command("nft", &["list", "ruleset"]), "");
        assert_eq!(told(&mut second), Found::Damaged);
    });
}
