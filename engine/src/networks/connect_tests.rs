use std::net::Ipv4Addr;

use rbuild_model::network::{HostPort, Ipam, Switch};

use super::*;

fn definition(name: &str, internal: bool) -> NetworkDefinition {
    NetworkDefinition {
        id: format!("{name:0<64}"),
        name: name.to_owned(),
        created: String::new(),
        driver: match name {
            "host" => Driver::Host,
            "none" => Driver::Null,
            _ => Driver::Bridge,
        },
        ipv4: Switch::On,
        ipv6: Switch::Off,
        internal: Switch::from(internal),
        attachable: Switch::Off,
        ipam: Ipam::default(),
        chosen_subnets: Switch::Off,
        options: Default::default(),
        labels: Default::default(),
    }
}

fn wish(network: &str, gateway_priority: i64) -> EndpointWish {
    let settings = EndpointSettings { gateway_priority, ..EndpointSettings::default() };
    EndpointWish { network: network.to_owned(), settings }
}

#[test]
fn the_main_network_comes_first_and_the_highest_priority_leads_out() {
    let known = [definition("b", false), definition("a", true), definition("c", false)];
    let unspoken = EndpointSettings::default();
    let check = |main: &str, wishes: &[EndpointWish]| {
        let wanted = wanted(&known, main, wishes, &unspoken).unwrap();
        let order: Vec<&str> = wanted.iter().map(|one| one.definition.name.as_str()).collect();
        let out = way_out(wanted.iter().map(|one| (&one.definition, one.settings)));
        format!("{} out {}", order.join(" "), told(out))
    };
    assert_eq!(check("b", &[]), "b out b -");
    assert_eq!(check("c", &[wish("b", 0), wish("a", 9)]), "c a b out b -");
    assert_eq!(check("c", &[wish("b", 0), wish("c", 1)]), "c b out c -");
    assert_eq!(check("a", &[]), "a out - -");
    let out = |networks: &[(&str, i64)]| {
        let networks: Vec<_> =
            networks.iter().map(|(text, priority)| (of_families(text), wish("", *priority))).collect();
        told(way_out(networks.iter().map(|(definition, wish)| (definition, &wish.settings))))
    };
    assert_eq!(out(&[("b4", 0), ("z46", 0)]), "z46 z46", "one that has both");
    assert_eq!(out(&[("b4", 1), ("z46", 0)]), "b4 z46");
    assert_eq!(out(&[("b6", 0), ("c6", 0), ("z4", 0)]), "z4 b6");
    assert_eq!(out(&[("b6", 0)]), "- b6");
}

/// A network of the families that its name ends with.
fn of_families(name: &str) -> NetworkDefinition {
    let has = |family: char| Switch::from(name.contains(family));
    NetworkDefinition { ipv4: has('4'), ipv6: has('6'), ..definition(name, false) }
}

fn told(networks: Option<ByFamily<'_>>) -> String {
    let (four, six) = networks.map_or((None, None), Families::parts);
    let name = |one: Option<&NetworkDefinition>| one.map_or("-".to_owned(), |one| one.name.clone());
    format!("{} {}", name(four), name(six))
}

#[test]
fn ports_lead_through_the_network_of_their_family() {
    let (four, six, inner) = (of_families("a4"), of_families("b6"), of_families("c4"));
    let through = |out: &[&NetworkDefinition], first: &NetworkDefinition| {
        let unspoken = EndpointSettings::default();
        told(Some(outlets(way_out(out.iter().map(|one| (*one, &unspoken))), first)))
    };
    assert_eq!(through(&[&four, &six], &four), "a4 b6");
    assert_eq!(through(&[&four], &four), "a4 a4", "those of IPv6 are carried");
    assert_eq!(through(&[&six], &six), "- b6", "those of IPv4 are not");
    assert_eq!(through(&[], &inner), "c4 c4", "kept for later");
    assert_eq!(through(&[], &six), "- b6");
    let ways = Families::Both(&four, &six);
    let routes = [&four, &six, &inner].map(|one| default_route(one, Some(ways)));
    assert_eq!(routes, [DefaultRoute::Four, DefaultRoute::Six, DefaultRoute::Neither]);
    assert_eq!(default_route(&four, Some(Families::Both(&four, &four))), DefaultRoute::Both);
    assert_eq!(default_route(&four, None), DefaultRoute::Neither);
}

#[test]
fn links_are_called_as_chosen_or_by_the_first_free_number() {
    let known = [definition("a", false), definition("b", false), definition("c", false)];
    let named = |name: &str| {
        let options = [(links::OPTION.to_owned(), name.to_owned())];
        EndpointSettings { driver_options: options.into(), ..EndpointSettings::default() }
    };
    let check = |settings: [EndpointSettings; 3]| {
        let names = links::names(known.iter().zip(&settings))?;
        Ok::<_, NetworksError>(names.iter().map(LinkName::as_str).collect::<Vec<_>>().join(" "))
    };
    let plain = EndpointSettings::default;
    assert_eq!(check([plain(), plain(), plain()]).unwrap(), "eth0 eth1 eth2");
    assert_eq!(check([plain(), named("eth0"), plain()]).unwrap(), "eth1 eth0 eth2");
    assert_eq!(check([named("wan"), plain(), plain()]).unwrap(), "wan eth0 eth1");
    for wrong in ["no/name", "lo"] {
        let why = check_settings(&known[0], &named(wrong)).unwrap_err().to_string();
        assert!(why.contains(&format!("`{wrong}`")), "{why}");
    }
    let twice = check([named("wan"), plain(), named("wan")]).unwrap_err().to_string();
    assert!(twice.starts_with("the links to the networks a and c cannot both be called `wan`"), "{twice}");

    let another = |settings| {
        let others = [("a", LinkName::eth(0)), ("b", LinkName::eth(2))];
        links::another(&known[2], &settings, &others).map(|name| name.to_string())
    };
    assert_eq!(another(plain()).unwrap(), "eth1");
    assert_eq!(another(named("wan")).unwrap(), "wan");
    let taken = another(named("eth2")).unwrap_err().to_string();
    assert!(taken.starts_with("the links to the networks b and c cannot both be called `eth2`"), "{taken}");
}

#[test]
fn what_stands_alone_is_not_mixed() {
    let check = |mode: &str, networks: &[&str]| {
        let networks: Vec<_> = networks.iter().map(|name| definition(name, false)).collect();
        alone(&NetworkMode::from(mode.to_owned()), &networks).map_err(|error| error.to_string())
    };
    assert!(check("app", &["app", "other"]).is_ok());
    assert!(check("host", &[]).is_ok());
    assert!(check("host", &["app"]).unwrap_err().contains("sharing network namespace"));
    assert!(check("app", &["app", "none"]).unwrap_err().contains("private (none) mode"));
}

#[test]
fn options_of_endpoints_tell_the_kernel_or_are_kept_or_refused() {
    let check = |options: &[(&str, &str)]| {
        let pairs = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings = EndpointSettings { driver_options: pairs.collect(), ..EndpointSettings::default() };
        let checked = check_settings(&definition("app", false), &settings);
        checked.map(|()| links::settings(&settings).unwrap().len()).map_err(|error| error.to_string())
    };
    const SYSCTLS: &str = "com.docker.network.endpoint.sysctls";
    let two = "net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.IFNAME.accept_ra=2";
    assert_eq!(check(&[(SYSCTLS, two), ("my.own", "kept")]), Ok(2));
    assert_eq!(
        check(&[(SYSCTLS, "net.ipv4.ip_forward=1,net.ipv4.conf.IFNAME.forwarding")]),
        Err("invalid config for network app: invalid endpoint settings:\n\
             unrecognised network interface sysctl 'net.ipv4.ip_forward=1'; represent 'net.X.Y.ethN.Z=V' as \
             'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'\n\
             expected sysctl 'net.ipv4.conf.IFNAME.forwarding' to have format name=value"
            .to_owned())
    );
    let off = EndpointSettings {
        driver_options: [(SYSCTLS.to_owned(), "net.ipv6.conf.IFNAME.disable_ipv6=1".to_owned())].into(),
        ..EndpointSettings::default()
    };
    let with = |ipv6| check_settings(&NetworkDefinition { ipv6, ..definition("app", false) }, &off);
    assert!(with(Switch::Off).is_ok());
    assert!(with(Switch::On).unwrap_err().to_string().ends_with("use a network without IPv6"));
    let told = "the endpoint option `com.docker.network.endpoint.other` is not supported yet";
    assert_eq!(check(&[("com.docker.network.endpoint.other", "1")]), Err(told.to_owned()));
}

#[test]
fn what_an_endpoint_cannot_have_is_told_with_all_reasons() {
    let settings = EndpointSettings {
        ipv4: Some(Ipv4Addr::new(10, 0, 0, 9)),
        aliases: vec!["x".to_owned()],
        ..EndpointSettings::default()
    };
    assert_eq!(
        check_settings(&definition("bridge", false), &settings).unwrap_err().to_string(),
        "invalid config for network bridge: invalid endpoint settings:\n\
         user specified IP address is supported on user defined networks only\n\
         network-scoped alias is supported only for containers in user defined networks"
    );
    let error = check_settings(&definition("app", false), &settings).unwrap_err().to_string();
    assert!(error.ends_with("only when connecting to networks with user configured subnets"), "{error}");
    let mut chosen = definition("app", false);
    chosen.chosen_subnets = Switch::On;
    chosen.ipam.config = vec![AddressPool { subnet: "10.0.0.0/24".to_owned(), ..AddressPool::default() }];
    let at = |ipv4: Option<[u8; 4]>, ipv6: Option<&str>| {
        let (ipv4, ipv6) = (ipv4.map(Ipv4Addr::from), ipv6.map(|text| text.parse().unwrap()));
        let settings = EndpointSettings { ipv4, ipv6, ..EndpointSettings::default() };
        let checked = check_settings(&chosen, &settings);
        checked.map_err(|error| error.to_string().lines().last().unwrap_or_default().to_owned())
    };
    assert_eq!(at(Some([10, 0, 0, 9]), None), Ok(()));
    let told = "address already in use: 10.0.0.1 is the gateway of network app";
    assert_eq!(at(Some([10, 0, 0, 1]), None).unwrap_err(), told);
    let told = "no configured subnet or ip-range contain the IP address 10.0.1.9";
    assert_eq!(at(Some([10, 0, 1, 9]), None).unwrap_err(), told);
    assert!(at(None, Some("fd00::9")).unwrap_err().ends_with("networks with user configured subnets"));
    let link_local = |address: &str| {
        let settings =
            EndpointSettings { link_local: vec![address.parse().unwrap()], ..EndpointSettings::default() };
        let checked = check_settings(&definition("bridge", false), &settings);
        checked.map_err(|error| error.to_string().lines().last().unwrap_or_default().to_owned())
    };
    assert_eq!(link_local("169.254.7.1"), Ok(()));
    assert_eq!(link_local("10.1.1.9").unwrap_err(), "invalid link local IP address: 10.1.1.9");
    assert_eq!(
        link_local("fe80::7").unwrap_err(),
        "the link local IP address fe80::7 needs a network with IPv6"
    );
}

#[test]
fn a_port_is_had_for_both_families_and_the_first_free_one_of_a_range() {
    let take = |host_port, options: &[(&str, &str)], at: Option<IpAddr>, name: &str| {
        let mut network = of_families(name);
        network.options =
            options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let protocol = rbuild_model::network::Protocol::Tcp;
        let binding = PortBinding { host: at, host_port, port: 80, protocol };
        let mut ports = Ports::default();
        ports.take(&binding, outlets(None, &network)).map(|()| ports)
    };
    let local = [("com.docker.network.bridge.host_binding_ipv4", "127.0.0.1")];
    let held = take(HostPort::Any, &[], None, "a4").unwrap();
    let port = held.published[0].port;
    assert!(held.published.iter().all(|one| one.port == port));
    let error = take(HostPort::One(port), &[], None, "a4").unwrap_err().to_string();
    assert!(error.contains("is already in use by process"), "{error}");
    if port < u16::MAX - 20 {
        let next = take(HostPort::Range(port, port + 20), &[], None, "a4").unwrap();
        assert!(next.published[0].port > port);
    }
    let one = take(HostPort::Any, &local, None, "a4").unwrap().published;
    assert_eq!((one.len(), one[0].host), (1, IpAddr::from([127, 0, 0, 1])));
    // Where endpoints are reached by their own addresses no port of the host is taken, free or not.
    let routed = [local[0], ("com.docker.network.bridge.gateway_mode_ipv4", "routed")];
    let one = take(HostPort::One(port), &routed, None, "a4").unwrap();
    assert!(one.reservations.is_empty());
    assert_eq!((one.published[0].port, one.published[0].target), (0, 80));
    // Without IPv4 there are ports of IPv6 alone, and what is asked for beside them is told of.
    let six = take(HostPort::Any, &[], None, "a6").unwrap();
    assert_eq!((six.published.len(), six.published[0].host), (1, std::net::Ipv6Addr::UNSPECIFIED.into()));
    for (options, at) in [(&[][..], Some([127, 0, 0, 1].into())), (&local[..], None)] {
        let none = take(HostPort::Any, options, at, "a6").unwrap();
        assert!(none.published.is_empty() && none.reservations.is_empty());
        assert_eq!(none.notes, ["the port 80/tcp is not published at 127.0.0.1: the network a6 has no IPv4"]);
    }
}

#[test]
fn names_that_hosts_elsewhere_have_are_told_of() {
    let network = definition("app", false);
    let told =
        |names: &[&str]| hiding(&network, &names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    assert_eq!(told(&["web", "0123456789ab"]), None);
    assert_eq!(
        told(&["registry-1.docker.io", "web", "localhost"]).unwrap(),
        "hosts elsewhere that are called `registry-1.docker.io`, `localhost` are not reached from the network app: \
         the name leads to this container there"
    );
}
