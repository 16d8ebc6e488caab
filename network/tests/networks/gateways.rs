//! How the endpoints of networks are reached from outside, by the gateway modes of their networks.

use rbuild_network::driver::{GatewayMode, GatewayModes};
use rbuild_network::forward::Forwarder;

use super::*;

fn mode(id: &str, four: GatewayMode) -> NetworkSpec {
    NetworkSpec { gateways: GatewayModes { four, ..GatewayModes::default() }, ..spec(id) }
}

/// Has the world send to the endpoints of a network by way of the host.
fn know(scene: &Scene, network: &Network) {
    let subnet = four(network).0.to_string();
    inside(&scene.world, || {
        command("ip", &["route", "add", &subnet, "via", &scene.host_address.to_string()])
    });
}

#[test]
fn routed_endpoints_are_reached_by_their_own_addresses_at_published_ports() {
    Scene::run(|scene| {
        let routed = driver(BRIDGE).ensure(&scene.site, &mode("routed", GatewayMode::Routed)).unwrap();
        let plain = driver(BRIDGE).ensure(&scene.site, &spec("plain")).unwrap();
        let inner = NetworkSpec { reach: Reach::Internal, ..spec("inner") };
        let inner = driver(BRIDGE).ensure(&scene.site, &inner).unwrap();
        [&routed, &plain].into_iter().for_each(|network| know(scene, network));
        let port =
            Published { protocol: Protocol::Tcp, host: Ipv4Addr::UNSPECIFIED.into(), port: 0, target: 80 };
        let published = EndpointSpec { published: vec![port], ..endpoint("web") };
        let web = place(scene, &routed, &published);
        let neighbour = place(scene, &plain, &endpoint("neighbour"));
        let prisoner = place(scene, &inner, &endpoint("prisoner"));
        let _public = answer(&web.namespace, at(web.address, 80));
        let private = answer(&web.namespace, at(web.address, 0));
        let hidden = answer(&neighbour.namespace, at(neighbour.address, 0));
        let outside = answer(&scene.world, at(scene.world_address, 0));

        let at_web = at(web.address, 80);
        assert_eq!(ask(&scene.world, at_web), Ok(scene.world_address.to_string()));
        assert_eq!(ask(&neighbour.namespace, at_web), Ok(neighbour.address.to_string()));
        assert!(ask(&scene.host, private.address).is_ok(), "the host reaches all of it");
        assert!(ask_in_vain(&scene.world, private.address).is_err(), "not published");
        assert!(ask_in_vain(&neighbour.namespace, private.address).is_err(), "not published");
        assert!(ask_in_vain(&web.namespace, hidden.address).is_err(), "another network");
        assert_eq!(
            ask(&web.namespace, outside.address),
            Ok(web.address.to_string()),
            "not hidden behind the host"
        );
        let gateway = four(&inner).1.to_string();
        inside(&prisoner.namespace, || command("ip", &["route", "add", "default", "via", &gateway]));
        assert!(ask_in_vain(&prisoner.namespace, at_web).is_err(), "an internal network leads nowhere");

        driver(BRIDGE).publish(&scene.site, &routed.id, &published.id, &[]).unwrap();
        assert!(ask_in_vain(&scene.world, at_web).is_err(), "published no more");
    });
}

#[test]
fn unprotected_endpoints_are_reached_by_whoever_knows_a_route() {
    Scene::run(|scene| {
        let open = driver(BRIDGE).ensure(&scene.site, &mode("open", GatewayMode::NatUnprotected)).unwrap();
        know(scene, &open);
        let web = place(scene, &open, &endpoint("web"));
        let server = answer(&web.namespace, at(web.address, 0));
        assert_eq!(ask(&scene.world, server.address), Ok(scene.world_address.to_string()));
        let outside = answer(&scene.world, at(scene.world_address, 0));
        assert_eq!(ask(&web.namespace, outside.address), Ok(scene.host_address.to_string()), "hidden");
    });
}

#[test]
fn the_bridge_of_an_isolated_network_has_no_address() {
    Scene::run(|scene| {
        let isolated = NetworkSpec { reach: Reach::Internal, ..mode("isolated", GatewayMode::Isolated) };
        let isolated = driver(BRIDGE).ensure(&scene.site, &isolated).unwrap();
        let (a, b) = (place(scene, &isolated, &endpoint("a")), place(scene, &isolated, &endpoint("b")));
        let bridge = isolated.addressing.as_ref().unwrap().bridge.to_string();
        assert_eq!(command("ip", &["-4", "-o", "addr", "show", "dev", &bridge]), "");
        let server = answer(&a.namespace, at(a.address, 0));
        assert_eq!(ask(&b.namespace, server.address), Ok(b.address.to_string()));
        assert!(ask_in_vain(&scene.host, server.address).is_err());
    });
}

#[test]
fn an_internal_network_does_not_lead_to_what_others_publish() {
    Scene::run(|scene| {
        let plain = driver(BRIDGE).ensure(&scene.site, &spec("plain")).unwrap();
        let inner = NetworkSpec { reach: Reach::Internal, ..spec("inner") };
        let inner = driver(BRIDGE).ensure(&scene.site, &inner).unwrap();
        let wanted =
            Published { protocol: Protocol::Tcp, host: Ipv4Addr::UNSPECIFIED.into(), port: 0, target: 80 };
        let held = Reservation::bind(wanted).unwrap();
        let web = EndpointSpec { published: vec![held.published()], ..endpoint("web") };
        let web = place(scene, &plain, &web);
        let _server = answer(&web.namespace, at(web.address, 80));
        let (free, prisoner) =
            (place(scene, &plain, &endpoint("free")), place(scene, &inner, &endpoint("prisoner")));
        let gateway = |network: &Network| four(network).1;
        let port = held.published().port;
        assert!(ask(&free.namespace, at(gateway(&plain), port)).is_ok());
        assert!(ask_in_vain(&prisoner.namespace, at(gateway(&inner), port)).is_err());
    });
}

#[test]
fn a_flow_of_datagrams_follows_the_port() {
    Scene::run(|scene| {
        let network = driver(BRIDGE).ensure(&scene.site, &spec("flows")).unwrap();
        let wanted =
            Published { protocol: Protocol::Udp, host: scene.host_address.into(), port: 0, target: 53 };
        let held = Reservation::bind(wanted).unwrap();
        let target = SocketAddr::from((scene.host_address, held.published().port));
        let client = inside(&scene.world, || UdpSocket::bind((scene.world_address, 0)).unwrap());
        let serve = |name: &str| {
            let spec = EndpointSpec { published: vec![held.published()], ..endpoint(name) };
            let place = place(scene, &network, &spec);
            let socket = inside(&place.namespace, || UdpSocket::bind((place.address, 53)).unwrap());
            socket.set_read_timeout(Some(ANSWERED_WITHIN)).unwrap();
            (place, socket)
        };
        let hears = |socket: &UdpSocket, word: &[u8]| {
            client.send_to(word, target).unwrap();
            let mut buffer = [0; 16];
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], word);
        };
        let (first, of_first) = serve("first");
        hears(&of_first, b"one");
        driver(BRIDGE).detach(&scene.site, &network.id, &endpoint("first").id, LinkEnd::Now).unwrap();
        drop((first, of_first));
        let (_second, of_second) = serve("second");
        hears(&of_second, b"two");
    });
}

#[test]
fn endpoints_that_are_kept_apart_reach_what_is_published_by_the_hosts_address() {
    Scene::run(|scene| {
        let apart = NetworkSpec { isolation: PortIsolation::Isolated, ..mode("apart", GatewayMode::Nat) };
        let apart = driver(BRIDGE).ensure(&scene.site, &apart).unwrap();
        let bind = |host: Ipv4Addr| {
            Reservation::bind(Published { protocol: Protocol::Tcp, host: host.into(), port: 0, target: 80 })
        };
        let held = [bind(Ipv4Addr::UNSPECIFIED).unwrap(), bind(scene.host_address).unwrap()];
        let ports = held.each_ref().map(Reservation::published);
        let web = place(scene, &apart, &EndpointSpec { published: ports.to_vec(), ..endpoint("web") });
        let neighbour = place(scene, &apart, &endpoint("neighbour"));
        let _server = answer(&web.namespace, at(Ipv4Addr::UNSPECIFIED, 80));
        let _forwarders = held.map(|held| Forwarder::start(held, at(web.address, 80)).unwrap());
        assert!(ask_in_vain(&neighbour.namespace, at(web.address, 80)).is_err());
        for Published { port, .. } in ports {
            let seen = ask(&neighbour.namespace, at(scene.host_address, port));
            assert_eq!(seen, Ok(four(&apart).1.to_string()), "by way of the host, as whose gateway it comes");
            let seen = ask(&scene.world, at(scene.host_address, port));
            assert_eq!(seen, Ok(scene.world_address.to_string()), "others are redirected as ever");
        }
    });
}
