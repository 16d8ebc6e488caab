//! Networks of containers that run on their own: names, addresses, ports, and what changes meanwhile.
//!
//! Each scenario has a network namespace for itself: whatever firewall the machine has does not matter, and what is
//! left behind is seen.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::time::Duration;

use rbuild_network::namespace::Namespace;
use rbuild_testkit::context::{Output, TestContext};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::scene::{assert_no_leaks, scene};

/// Runs a scenario in a network of its own; programs that it starts are in it too. Nothing is left of it after.
pub(crate) fn in_a_network_of_its_own(test: &str, scenario: impl FnOnce(&TestContext) + Send) {
    let Some(context) = scene(test) else { return };
    let namespace = Namespace::create().unwrap();
    std::thread::scope(|scope| {
        let context = &context;
        let namespace = namespace.as_fd();
        let thread = scope.spawn(move || {
            move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network)).unwrap();
            let before = links();
            scenario(context);
            done(context, &["network", "prune", "-f"]);
            // Links of containers go with their namespaces, for which the kernel takes its time.
            if !(0..1000).any(|_| links() == before) {
                assert_eq!(links(), before, "links of the networks");
            }
            let rules = Command::new("nft").args(["list", "ruleset"]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&rules.stdout), "", "rules of the networks");
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    assert_no_leaks(&context);
}

fn links() -> BTreeSet<String> {
    let listed = Command::new("ip").args(["-o", "link"]).output().unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    text.lines().filter_map(|line| Some(line.split(": ").nth(1)?.split('@').next()?.to_owned())).collect()
}

/// What a command that must succeed prints.
#[track_caller]
fn done(context: &TestContext, arguments: &[&str]) -> String {
    let output = context.rbuild(arguments).run();
    output.assert_success();
    String::from_utf8_lossy(&output.raw_stdout).into_owned()
}

/// Why a command that must fail does.
#[track_caller]
fn refused(context: &TestContext, arguments: &[&str]) -> String {
    let output: Output = context.rbuild(arguments).run();
    assert!(!output.status.success(), "{output}");
    output.stderr.lines().filter(|line| !line.starts_with("warning:")).collect::<Vec<_>>().join("\n")
}

/// Starts a container that serves its own name on port 80.
#[track_caller]
fn serve(context: &TestContext, name: &str, flags: &[&str]) {
    let mut all = vec!["run", "-d", "--name", name];
    all.extend(flags);
    all.extend(["busybox", "sh", "-c", "mkdir /www; hostname > /www/name; exec httpd -f -p 80 -h /www"]);
    done(context, &all);
}

/// The addresses that a name leads to, seen from a container.
#[track_caller]
fn seen_from(context: &TestContext, from: &str, name: &str) -> String {
    let script = format!("nslookup -type=a {name} 127.0.0.11 | sed -n 's/^Address: //p'");
    done(context, &["exec", from, "sh", "-c", &script])
}

/// What is served at a port of this machine.
fn served(address: SocketAddr) -> Option<String> {
    // Longer than any answer takes: a connection that is dropped on its way would be tried for minutes.
    const PATIENCE: Duration = Duration::from_secs(20);
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(b"GET /name HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text.rsplit("\r\n").next()?.trim().to_owned())
}

#[test]
fn a_network_that_is_just_made_is_not_what_nobody_uses() {
    in_a_network_of_its_own("a_network_that_is_just_made_is_not_what_nobody_uses", |context| {
        std::thread::scope(|scope| {
            let makers: Vec<_> = ["one", "two"]
                .map(|maker| {
                    scope.spawn(move || {
                        for number in 0..8 {
                            done(context, &["network", "create", &format!("{maker}-{number}")]);
                        }
                    })
                })
                .into();
            // None of them bears the label, so nothing goes but what has no row.
            while makers.iter().any(|maker| !maker.is_finished()) {
                done(context, &["network", "prune", "-f", "--filter", "label=none"]);
            }
            makers.into_iter().for_each(|maker| maker.join().unwrap());
        });
        let bridges = links().into_iter().filter(|link| link.starts_with("rb")).count();
        assert_eq!(bridges, 16, "each has its bridge still");
        let ids = done(context, &["network", "ls", "-q", "--filter", "type=custom"]);
        let mut inspect = vec!["network", "inspect", "-f", "{{range .IPAM.Config}}{{.Subnet}}{{end}}"];
        inspect.extend(ids.lines());
        let subnets: BTreeSet<String> = done(context, &inspect).lines().map(str::to_owned).collect();
        assert_eq!(subnets.len(), 16, "no two have one subnet");
    });
}

#[test]
fn a_subnet_that_nobody_asked_for_makes_way_for_who_has_it_now() {
    in_a_network_of_its_own("a_subnet_that_nobody_asked_for_makes_way_for_who_has_it_now", |context| {
        let run = |network: &str| ["run", "--rm", "--network", network, "busybox", "true"].map(str::to_owned);
        let subnet = |network: &str| {
            let format = "{{range .IPAM.Config}}{{.Subnet}}{{end}}";
            done(context, &["network", "inspect", "-f", format, network]).trim().to_owned()
        };
        done(context, &["network", "create", "any"]);
        done(context, &["network", "create", "--subnet", "10.77.0.0/16", "own"]);
        let before = subnet("any");
        // As after a reboot: the bridges are away, and somebody else was quicker.
        for bridge in links().into_iter().filter(|link| link.starts_with("rb")) {
            ip(&["link", "del", &bridge]);
        }
        let taken = before.replace(".0.0/16", ".0.9/16");
        ip(&["link", "add", "quicker", "type", "bridge"]);
        for address in [&*taken, "10.77.0.9/16"] {
            ip(&["addr", "add", address, "dev", "quicker"]);
        }
        ip(&["link", "set", "quicker", "up"]);
        done(context, &run("any").each_ref().map(String::as_str));
        let after = subnet("any");
        assert_ne!(after, before);
        done(context, &run("any").each_ref().map(String::as_str));
        assert_eq!(subnet("any"), after, "it stays with that one");
        // Whoever asked for one gets that one or none.
        let told = refused(context, &run("own").each_ref().map(String::as_str));
        assert!(told.contains("the subnet 10.77.0.0/16 overlaps with"), "{told}");
        ip(&["link", "del", "quicker"]);
        done(context, &run("own").each_ref().map(String::as_str));
        done(context, &["network", "rm", "any", "own"]);
    });
}

#[test]
fn rules_that_killed_commands_left_make_way() {
    in_a_network_of_its_own("rules_that_killed_commands_left_make_way", |context| {
        done(context, &["network", "create", "other"]);
        serve(context, "witness", &["--network", "other", "-p", "18087:80"]);
        // As of a network and an endpoint that somebody was making: no file tells of them.
        let table = format!("inet rbuild_{}", context.store8().unwrap());
        for left in ["sources { 10.77.3.0/24 }", "ports { tcp . 18088 : 10.99.0.9 . 80 }"] {
            nft(&format!("add element {table} {left}"));
        }
        done(context, &["network", "create", "--subnet", "10.77.0.0/16", "own"]);
        // The tables were made again, without what is nobody's; so it is put in once more.
        nft(&format!("add element {table} ports {{ tcp . 18088 : 10.99.0.9 . 80 }}"));
        serve(context, "server", &["--network", "own", "-p", "18088:80"]);
        for (port, name) in [(18087, "witness"), (18088, "server")] {
            let host = done(context, &["exec", name, "hostname"]);
            assert_eq!(served((Ipv4Addr::LOCALHOST, port).into()).as_deref(), Some(host.trim()), "{name}");
        }
        let sources =
            Command::new("nft").args(["list", "set"]).args(table.split(' ')).arg("sources").output();
        let sources = String::from_utf8(sources.unwrap().stdout).unwrap();
        assert!(sources.contains("10.77.0.0/16") && !sources.contains("10.77.3.0"), "{sources}");
        done(context, &["rm", "-f", "witness", "server"]);
        done(context, &["network", "rm", "own", "other"]);
    });
}

/// Has `nft` do something that must succeed.
#[track_caller]
fn nft(command: &str) {
    assert!(Command::new("nft").arg(command).status().unwrap().success(), "nft {command}");
}

/// Has `ip` do something that must succeed.
#[track_caller]
fn ip(arguments: &[&str]) {
    assert!(Command::new("ip").args(arguments).status().unwrap().success(), "ip {arguments:?}");
}

#[test]
fn networks_are_made_listed_and_removed_as_dockers() {
    in_a_network_of_its_own("networks_are_made_listed_and_removed_as_dockers", |context| {
        let id = done(
            context,
            &[
                "network",
                "create",
                "--subnet",
                "10.66.0.0/16",
                "--ip-range",
                "10.66.5.0/24",
                "--label",
                "a=b",
                "one",
            ],
        );
        assert_eq!(id.trim().len(), 64);
        let name = "com.docker.network.bridge.name=br7";
        done(context, &["network", "create", "--ipv6", "--internal", "-o", name, "two"]);
        assert!(links().contains("br7"));
        let list =
            done(context, &["network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Internal}} {{.IPv6}}"]);
        assert_eq!(
            list,
            "bridge bridge false false\nhost host false false\nnone null false false\n\
             one bridge false false\ntwo bridge true true\n"
        );
        let filtered =
            |filter: &str| done(context, &["network", "ls", "-f", filter, "--format", "{{.Name}}"]);
        assert_eq!(filtered("label=a=b"), "one\n");
        assert_eq!(filtered("type=builtin"), "bridge\nhost\nnone\n");
        assert_eq!(filtered("driver=null"), "none\n");
        assert_eq!(filtered("name=^o"), "one\n");
        let config =
            done(context, &["network", "inspect", "-f", "{{json .IPAM.Config}} {{.EnableIPv6}}", "one"]);
        assert_eq!(config, "[{\"Subnet\":\"10.66.0.0/16\",\"IPRange\":\"10.66.5.0/24\"}] false\n");
        for (arguments, said) in [
            (&["network", "create", "one"][..], "error: network with name one already exists"),
            (
                &["network", "create", "bridge"],
                "error: operation is not permitted on predefined bridge network",
            ),
            (&["network", "rm", "host"], "error: host is a pre-defined network and cannot be removed"),
            (&["network", "rm", "nobody"], "error: network nobody not found"),
            (&["network", "create", "-d", "overlay", "x"], "error: plugin \"overlay\" not found"),
            (
                &["network", "create", "--gateway", "10.9.0.1", "x"],
                "error: every ip-range or gateway must have a corresponding subnet",
            ),
            (
                &["network", "create", "--subnet", "10.9.300.0/24", "x"],
                "error: invalid subnet 10.9.300.0/24: invalid CIDR block notation",
            ),
            (
                &["network", "create", "-o", "com.docker.network.bridge.inhibit_ipv4=true", "x"],
                "error: the network option `com.docker.network.bridge.inhibit_ipv4=true` is not supported yet",
            ),
            (
                &["network", "create", "-o", "com.docker.network.bridge.gateway_mode_ipv4=isolated", "x"],
                "error: invalid network config:\ngateway mode 'isolated' can only be used for an internal network",
            ),
            (
                &["network", "create", "--subnet", "10.9.1.0/24", "--subnet", "10.9.2.0/24", "x"],
                "error: invalid network config:\nbridge driver doesn't support multiple subnets",
            ),
        ] {
            assert_eq!(refused(context, arguments), said);
        }
        assert!(
            refused(context, &["network", "create", "--subnet", "10.66.1.0/24", "x"])
                .contains("cannot create network x: its subnet 10.66.1.0/24 overlaps with that of network ")
        );
        let same = refused(context, &["network", "create", "-o", name, "x"]);
        assert!(same.ends_with("(two): networks have same bridge name"), "{same}");
        assert_eq!(done(context, &["network", "rm", "-f", "one", "nobody"]), "one\n");
        assert_eq!(done(context, &["network", "prune", "-f"]), "Deleted Networks:\ntwo\n\n");
    });
}

#[test]
fn networks_are_taken_from_the_pools_that_the_config_names() {
    in_a_network_of_its_own("networks_are_taken_from_the_pools_that_the_config_names", |context| {
        let pools = "[networks]\naddress_pools = [{ base = '10.91.0.0/29', size = 30 }, { base = '10.92.0.0/24', size = 24 }]\n";
        context.write("pools.toml", pools);
        let with = |arguments: &[&'static str]| [&["--config", "pools.toml"], arguments].concat();
        let subnet = "{{(index .IPAM.Config 0).Subnet}}";
        for (name, expected) in [("one", "10.91.0.0/30"), ("two", "10.91.0.4/30")] {
            done(context, &with(&["network", "create", name]));
            assert_eq!(done(context, &["network", "inspect", "-f", subnet, name]).trim(), expected);
        }
        // Containers without a network of their own, and steps, keep to them too.
        let own = done(
            context,
            &with(&["run", "--rm", "busybox", "ip", "-o", "-4", "addr", "show", "dev", "eth0"]),
        );
        assert!(own.contains("10.92.0.2/24"), "{own}");
        context.write("Dockerfile", "FROM busybox\nRUN true\n");
        for arguments in [&["network", "create", "three"][..], &["build", "."]] {
            let full = refused(context, &with(arguments));
            assert!(full.contains("all predefined address pools have been fully subnetted"), "{full}");
            assert!(full.contains("address_pools = "), "{full}");
        }
        done(context, &["network", "create", "three"]);
    });
}

#[test]
fn names_lead_to_the_containers_of_the_same_networks() {
    in_a_network_of_its_own("names_lead_to_the_containers_of_the_same_networks", |context| {
        done(context, &["network", "create", "--subnet", "10.77.0.0/24", "front"]);
        done(context, &["network", "create", "--subnet", "10.78.0.0/24", "back"]);
        serve(
            context,
            "web",
            &["--network", "front", "--ip", "10.77.0.9", "--network-alias", "www", "--hostname", "the-web"],
        );
        serve(context, "db", &["--network", "back", "--hostname", "the-db"]);
        done(context, &["run", "-d", "--name", "user", "--network", "front", "busybox", "sleep", "1000"]);
        assert_eq!(seen_from(context, "user", "web"), "10.77.0.9\n");
        assert_eq!(seen_from(context, "user", "www.front"), "10.77.0.9\n");
        let unknown = ["exec", "user", "nslookup", "db", "127.0.0.11"];
        assert!(!context.rbuild(unknown).run().status.success(), "another network's name");

        // A running container joins the other network, and leaves it again.
        done(context, &["network", "connect", "--alias", "twice", "back", "user"]);
        assert_eq!(seen_from(context, "user", "db"), "10.78.0.2\n");
        assert_eq!(
            refused(context, &["network", "connect", "back", "user"]),
            "error: endpoint with name user already exists in network back"
        );
        assert!(
            refused(context, &["network", "rm", "back"])
                .contains("network back has active endpoints (name:\"db\"")
        );
        done(context, &["network", "disconnect", "back", "user"]);
        assert!(!context.rbuild(unknown).run().status.success(), "it left");
        assert!(
            refused(context, &["network", "disconnect", "back", "user"])
                .contains("is not connected to network back")
        );
        done(context, &["network", "disconnect", "-f", "back", "user"]);
        done(context, &["rename", "web", "site"]);
        assert_eq!(seen_from(context, "user", "site"), "10.77.0.9\n");
        assert_eq!(seen_from(context, "user", "www"), "10.77.0.9\n");
        let former = ["exec", "user", "nslookup", "web", "127.0.0.11"];
        assert!(!context.rbuild(former).run().status.success(), "its name of before");
        // A name that is an alias, too, stays one.
        done(context, &["rename", "site", "www"]);
        done(context, &["rename", "www", "site"]);
        assert_eq!(seen_from(context, "user", "www"), "10.77.0.9\n");
        // Who comes again has the address that its name has, also where it came by another one.
        let own = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let address = |name: &str| done(context, &["inspect", "-f", own, name]);
        done(context, &["rename", "user", "asks"]);
        let before = address("asks");
        done(context, &["restart", "-t", "0", "asks"]);
        assert_eq!(address("asks"), before);
        done(context, &["rename", "asks", "user"]);

        let outside = ["run", "--rm", "--network", "front", "--ip", "10.99.0.1", "busybox", "true"];
        assert!(refused(context, &outside).contains("no configured subnet or ip-range contain"));
        names_come_with_the_first_network_that_has_them(context);
        done(context, &["rm", "-f", "site", "db", "user"]);
    });
}

/// A container of the default network has no name service until it is put into a network that has names; its own lines of
/// the file of names follow its networks.
fn names_come_with_the_first_network_that_has_them(context: &TestContext) {
    let restarts = ["--restart", "always"];
    let run = ["run", "-d", "--name", "plain", "--hostname", "the-plain", "--add-host", "a:10.1.1.1"];
    done(
        context,
        &[
            &run[..],
            &restarts,
            &["busybox", "sh", "-c", "trap exit TERM; while :; do sleep 1 & wait $!; done"],
        ]
        .concat(),
    );
    let read = |script: &str| done(context, &["exec", "plain", "sh", "-c", script]);
    let own_lines = || read("grep the-plain /etc/hosts");
    let before = own_lines();
    assert!(!read("cat /etc/resolv.conf").contains("127.0.0.11"));
    read("echo 10.9.9.9 mine >> /etc/hosts");
    let shares = ["run", "-d", "--name", "guest", "--network", "container:plain", "busybox", "sleep", "1000"];
    done(context, &shares);
    let known_to_guest = || done(context, &["exec", "guest", "sh", "-c", "cat /etc/hosts /etc/resolv.conf"]);

    done(context, &["network", "connect", "--link", "db:base", "back", "plain"]);
    assert_eq!(seen_from(context, "plain", "db"), "10.78.0.2\n");
    assert_eq!(seen_from(context, "plain", "base"), "10.78.0.2\n");
    assert!(read("cat /etc/resolv.conf").starts_with("nameserver 127.0.0.11\n"));
    let joined = own_lines();
    assert!(joined.starts_with(&before) && joined[before.len()..].starts_with("10.78.0."), "{joined}");
    let known = known_to_guest();
    let has_joined = joined.lines().all(|line| known.contains(line));
    assert!(has_joined && known.contains("nameserver 127.0.0.11\n"), "{known}");
    done(context, &["rm", "-f", "guest"]);

    // What its policy starts again knows the same. Whoever ends the program ends with it.
    let starts = ["inspect", "-f", "{{.RestartCount}}", "plain"];
    context.rbuild(["exec", "plain", "kill", "1"]).run();
    let is_again = || {
        done(context, &starts) == "1\n" && context.rbuild(["exec", "plain", "true"]).run().status.success()
    };
    assert!((0..1000).any(|_| is_again()));
    assert_eq!(own_lines(), joined);
    assert_eq!(seen_from(context, "plain", "db"), "10.78.0.2\n");

    read("echo 10.9.9.9 mine >> /etc/hosts");
    done(context, &["network", "disconnect", "back", "plain"]);
    assert_eq!(own_lines(), before);
    assert_eq!(read("grep -c -e mine -e 10.1.1.1 /etc/hosts"), "2\n");
    done(context, &["rm", "-f", "plain"]);
}

#[test]
fn networks_are_routed_unprotected_or_isolated() {
    in_a_network_of_its_own("networks_are_routed_unprotected_or_isolated", |context| {
        let create = |name: &str, mode: &str, more: &[&str]| {
            let option = format!("com.docker.network.bridge.gateway_mode_ipv4={mode}");
            done(context, &[&["network", "create", "-o", &option], more, &[name]].concat());
        };
        create("routed", "routed", &["--subnet", "10.77.0.0/24"]);
        create("open", "nat-unprotected", &["--subnet", "10.78.0.0/24"]);
        create("closed", "isolated", &["--subnet", "10.79.0.0/24", "--internal"]);
        let listed = done(context, &["network", "inspect", "-f", "{{json .Options}}", "routed"]);
        assert_eq!(listed, "{\"com.docker.network.bridge.gateway_mode_ipv4\":\"routed\"}\n");
        serve(
            context,
            "web",
            &["--network", "routed", "--ip", "10.77.0.9", "-p", "18081:80", "--hostname", "the-web"],
        );
        serve(context, "free", &["--network", "open", "--ip", "10.78.0.9", "--hostname", "the-free"]);
        serve(context, "shut", &["--network", "closed", "--ip", "10.79.0.9", "--hostname", "the-shut"]);
        let told = |from: &str, address: &str| {
            let script =
                format!("printf 'GET /name HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {address} 80 | tail -n 1");
            context.rbuild(["exec", from, "sh", "-c", &script]).run().stdout
        };
        let until = |from: &str, address: &str, name: &str| (0..1000).any(|_| told(from, address) == name);
        assert!(until("free", "10.77.0.9", "the-web\n"), "a published port is reached by its own address");
        assert!(until("free", "10.78.0.9", "the-free\n"));
        assert_eq!(told("web", "10.78.0.9"), "", "another network is not outside");
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 18081));
        assert_eq!(served(local), None, "no port of the host leads there");
        let published = ["inspect", "-f", "{{json .NetworkSettings.Ports}}", "web"];
        assert!(
            done(context, &published).starts_with("{\"80/tcp\":[{\"HostIp\":\"0.0.0.0\",\"HostPort\":\"\"}")
        );
        assert!(done(context, &["port", "web"]).starts_with("80/tcp -> 0.0.0.0:\n"));
        assert_eq!(served(SocketAddr::from((Ipv4Addr::new(10, 77, 0, 9), 80))).as_deref(), Some("the-web"));
        assert!(done(context, &["exec", "shut", "ip", "-o", "addr"]).contains("10.79.0.9/24"));
        assert!(
            served(SocketAddr::from((Ipv4Addr::new(10, 79, 0, 9), 80))).is_none(),
            "the host has no way there"
        );
        let names = Command::new("ip").args(["-o", "-4", "addr"]).output().unwrap();
        assert!(!String::from_utf8_lossy(&names.stdout).contains("10.79.0."), "the bridge has no address");
        done(context, &["rm", "-f", "web", "free", "shut"]);
    });
}

#[test]
fn networks_of_ipv6_alone_have_no_ipv4_anywhere() {
    in_a_network_of_its_own("networks_of_ipv6_alone_have_no_ipv4_anywhere", |context| {
        let neither = refused(context, &["network", "create", "--ipv4=false", "six"]);
        assert!(neither.contains("IPv4 or IPv6 must be enabled"), "{neither}");
        let subnet = ["network", "create", "--ipv4=false", "--ipv6", "--subnet", "10.7.0.0/24", "six"];
        assert!(refused(context, &subnet).contains("an IPv4 subnet needs a network with IPv4"));
        done(context, &["network", "create", "--ipv4=false", "--ipv6", "--subnet", "fd07::/64", "six"]);
        let families = "{{.Name}} {{.IPv4}} {{.IPv6}}";
        let list = done(context, &["network", "ls", "-f", "name=six", "--format", families]);
        assert_eq!(list, "six false true\n");
        let told = "{{.EnableIPv4}} {{.EnableIPv6}} {{json .IPAM.Config}}";
        let shown = done(context, &["network", "inspect", "-f", told, "six"]);
        assert_eq!(shown, "false true [{\"Subnet\":\"fd07::/64\"}]\n");

        let local = ["-p", "127.0.0.1:18083:80"];
        let web = ["--network", "six", "-p", "18082:80", "--hostname", "the-web"];
        serve(context, "web", &[&web[..], &local].concat());
        let shown = |format: &str| done(context, &["inspect", "-f", format, "web"]);
        let ports = "{{json .NetworkSettings.Ports}}";
        assert_eq!(shown(ports), "{\"80/tcp\":[{\"HostIp\":\"::\",\"HostPort\":\"18082\"}]}\n");
        let own = "{{with .NetworkSettings.Networks.six}}{{.IPAddress}}|{{.Gateway}}|{{.GlobalIPv6Address}}/{{.GlobalIPv6PrefixLen}}|{{.IPv6Gateway}}{{end}}";
        assert_eq!(shown(own), "||fd07::2/64|fd07::1\n");
        let member = "{{range .Containers}}{{.IPv4Address}}|{{.IPv6Address}}{{end}}";
        assert_eq!(done(context, &["network", "inspect", "-f", member, "six"]), "|fd07::2/64\n");
        let inside = done(context, &["exec", "web", "sh", "-c", "ip -4 -o addr show dev eth0; ip -4 route"]);
        assert_eq!(inside, "");
        assert!(done(context, &["exec", "web", "cat", "/etc/hosts"]).ends_with("fd07::2\tthe-web\n"));
        assert_eq!(seen_from(context, "web", "web"), "", "it has no address of IPv4");
        let six = "nslookup -type=aaaa web 127.0.0.11 | sed -n 's/^Address: //p'";
        assert_eq!(done(context, &["exec", "web", "sh", "-c", six]), "fd07::2\n");

        let (at, nowhere) = (
            SocketAddr::from((Ipv6Addr::LOCALHOST, 18082)),
            [18082, 18083].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        );
        let until_served = || (0..1000).find_map(|_| served(at).filter(|text| !text.is_empty()));
        assert_eq!(until_served().as_deref(), Some("the-web"));
        assert_eq!(nowhere.map(served), [None, None], "no port of IPv4 leads there");

        // Beside a network of IPv4 each family goes its own way, and what remains keeps its ports.
        done(context, &["network", "create", "--subnet", "10.77.0.0/24", "four"]);
        done(context, &["network", "connect", "four", "web"]);
        let routes = "ip -4 route | grep default; ip -6 route | grep default";
        let routes = done(context, &["exec", "web", "sh", "-c", routes]);
        assert!(routes.contains("via 10.77.0.1") && routes.contains("via fd07::1"), "{routes}");
        assert_eq!(until_served().as_deref(), Some("the-web"));
        done(context, &["network", "disconnect", "six", "web"]);
        assert_eq!(until_served().as_deref(), Some("the-web"), "carried to IPv4");
        done(context, &["rm", "-f", "web"]);
        done(context, &["network", "rm", "six", "four"]);

        let project = "services:\n  web: {image: busybox, command: sleep 1000, init: true, networks: [six]}\n\
                       networks:\n  six:\n    enable_ipv4: false\n";
        context.write("compose.yaml", project);
        let neither = refused(context, &["compose", "up", "-d"]);
        assert!(
            neither.starts_with("compose.yaml:5\n") && neither.contains("IPv4 or IPv6 must"),
            "{neither}"
        );
        context.write("compose.yaml", format!("{project}    enable_ipv6: true\n"));
        let config = done(context, &["compose", "config"]);
        assert!(config.contains("enable_ipv4: false\n    enable_ipv6: true\n"), "{config}");
        done(context, &["compose", "up", "-d"]);
        let has = done(context, &["compose", "exec", "-T", "web", "ip", "-o", "addr", "show", "dev", "eth0"]);
        assert!(has.contains("inet6 fd") && !has.contains("inet "), "{has}");
        done(context, &["compose", "down", "-t", "0"]);
    });
}

#[test]
fn addresses_that_a_network_keeps_are_refused_before_anything_is_made() {
    in_a_network_of_its_own(
        "addresses_that_a_network_keeps_are_refused_before_anything_is_made",
        |context| {
            let subnet = ["network", "create", "--subnet", "10.77.0.0/24"];
            for (address, what) in
                [("10.77.0.0", "the subnet"), ("10.77.0.1", "the gateway"), ("10.77.0.255", "broadcast")]
            {
                let aside = format!("a={address}");
                let told = refused(context, &[&subnet[..], &["--aux-address", &aside, "net"]].concat());
                let expected =
                    format!("failed to allocate secondary ip address (a:{address}): address already in use");
                assert!(told.contains(&expected) && told.contains(what), "{told}");
            }
            done(context, &[&subnet[..], &["--aux-address", "a=10.77.0.7", "net"]].concat());
            for address in ["10.77.0.0", "10.77.0.1", "10.77.0.7", "10.77.0.255"] {
                let told =
                    refused(context, &["create", "--network", "net", "--ip", address, "busybox", "true"]);
                assert!(told.contains(&format!("address already in use: {address} is ")), "{told}");
            }
            let outside =
                refused(context, &["create", "--network", "net", "--ip", "10.78.0.9", "busybox", "true"]);
            assert!(
                outside.contains("no configured subnet or ip-range contain the IP address 10.78.0.9"),
                "{outside}"
            );
            assert_eq!(done(context, &["ps", "-aq"]), "");
            done(context, &["create", "--name", "one", "busybox", "true"]);
            for (flag, text, family) in [("--ip", "nonsense", "IPv4"), ("--ip6", "10.77.0.9", "IPv6")] {
                let output = context.rbuild(["network", "connect", flag, text, "net", "one"]).run();
                output.assert_code(1);
                let expected = format!("invalid endpoint settings:\ninvalid {family} address: {text}");
                assert!(output.stderr.contains(&expected), "{output}");
            }
            done(context, &["rm", "one"]);
            done(context, &["network", "rm", "net"]);

            let project = |mode: &str| {
                format!(
                    "services:\n  web:\n    image: busybox\n    command: [ip, -o, addr]\n    networks:\n      net:\n        ipv4_address: 10.77.0.1\nnetworks:\n  net:\n    internal: true\n    driver_opts: {{com.docker.network.bridge.gateway_mode_ipv4: {mode}}}\n    ipam: {{config: [{{subnet: 10.77.0.0/24}}]}}\n"
                )
            };
            context.write("compose.yaml", project("nat"));
            let told = refused(context, &["compose", "up"]);
            assert!(
                told.starts_with("compose.yaml:7\n") && told.contains("10.77.0.1 is the gateway"),
                "{told}"
            );
            assert!(
                !done(context, &["network", "ls", "--format", "{{.Name}}"]).contains("_net"),
                "nothing is made"
            );
            context.write("compose.yaml", project("isolated"));
            assert!(done(context, &["compose", "up"]).contains("10.77.0.1/24"), "the bridge has no address");
            done(context, &["compose", "down"]);
        },
    );
}

#[test]
fn more_ports_than_a_message_has_sockets_are_published() {
    in_a_network_of_its_own("more_ports_than_a_message_has_sockets_are_published", |context| {
        let ports = ["-p", "18001-18300:18001-18300", "-p", "18999:80", "--hostname", "the-web"];
        serve(context, "many", &ports);
        // The last one is carried by a socket that was not handed on.
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 18999));
        let until_served = || (0..1000).find_map(|_| served(local).filter(|text| !text.is_empty()));
        assert_eq!(until_served().as_deref(), Some("the-web"));
        done(context, &["rm", "-f", "many"]);
    });
}

#[test]
fn published_ports_move_with_their_container_and_name_who_has_them() {
    in_a_network_of_its_own("published_ports_move_with_their_container_and_name_who_has_them", |context| {
        done(context, &["network", "create", "--subnet", "10.77.0.0/24", "one"]);
        done(context, &["network", "create", "--subnet", "10.78.0.0/24", "two"]);
        serve(context, "web", &["--network", "one", "-p", "18080:80", "--hostname", "the-web"]);
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 18080));
        let until_served = || (0..1000).find_map(|_| served(local).filter(|text| !text.is_empty()));
        assert_eq!(until_served().as_deref(), Some("the-web"));
        let taken = refused(context, &["run", "--rm", "-p", "18080:80", "busybox", "true"]);
        assert!(taken.contains("the port 0.0.0.0:18080/tcp is already in use by container web"), "{taken}");
        serve(context, "range", &["-p", "18080-18089:80", "--hostname", "the-range"]);
        assert_eq!(done(context, &["port", "range", "80/tcp"]).lines().next(), Some("0.0.0.0:18081"));
        // The network that the port leads through goes away under it.
        done(context, &["network", "connect", "two", "web"]);
        done(context, &["network", "disconnect", "one", "web"]);
        assert_eq!(until_served().as_deref(), Some("the-web"));
        // Out of all networks it keeps its mode, and what it is put into next gets its ports.
        done(context, &["network", "disconnect", "two", "web"]);
        let place = "{{.HostConfig.NetworkMode}} {{len .NetworkSettings.Networks}}";
        assert_eq!(done(context, &["inspect", "--format", place, "web"]).trim(), "one 0");
        done(context, &["restart", "-t", "0", "web"]);
        assert_eq!(done(context, &["inspect", "--format", place, "web"]).trim(), "one 0");
        done(context, &["network", "connect", "one", "web"]);
        assert_eq!(done(context, &["inspect", "--format", place, "web"]).trim(), "one 1");
        let address = "{{.NetworkSettings.Networks.one.IPAddress}}";
        let given = done(context, &["inspect", "--format", address, "web"]);
        assert!(
            done(context, &["exec", "web", "ip", "-o", "addr"]).contains(&format!("{}/24", given.trim()))
        );
        done(context, &["restart", "-t", "0", "web"]);
        done(context, &["network", "disconnect", "one", "web"]);
        done(context, &["network", "connect", "two", "web"]);
        assert_eq!(until_served().as_deref(), Some("the-web"));
        done(context, &["rm", "-f", "web", "range"]);
        assert_eq!(served(local), None, "the port is free again");
    });
}

#[test]
fn what_is_asked_for_twice_is_had_once_or_told() {
    in_a_network_of_its_own("what_is_asked_for_twice_is_had_once_or_told", |context| {
        let told = |arguments: &[&str], code: i32, why: &str| {
            let refused = context.rbuild(arguments).run();
            refused.assert_code(code);
            assert!(refused.stderr.contains(why), "{refused}");
        };
        // A format is looked at before there is anything to show.
        told(&["ps", "--format", "{{.Nope}}"], 1, "there is no field `Nope`");
        let twice =
            "the port 0.0.0.0:8080/tcp is already in use by the same container, which asks for it twice";
        told(&["run", "--rm", "-p", "8080:80", "-p", "8080:81", "busybox", "true"], 125, twice);
        done(context, &["run", "-d", "--name", "has", "-p", "8080:80", "busybox", "sleep", "1000"]);
        let by = "the port 127.0.0.1:8080/tcp is already in use by container has";
        told(&["run", "--rm", "-p", "127.0.0.1:8080:80", "busybox", "true"], 125, by);
        context.write(
            "compose.yaml",
            "services: {web: {image: busybox, ports: ['8080:80'], command: sleep 9}}\n",
        );
        told(&["compose", "up", "-d"], 1, "already in use by container has");

        done(
            context,
            &["create", "-v", "/a", "-v", "/a", "--tmpfs", "/b", "--tmpfs", "/b:size=1m", "busybox", "true"],
        );
        told(&["create", "-v", "aa:/a", "-v", "aa:/a:ro", "busybox", "true"], 1, "Duplicate mount point: /a");
        let mount = "type=volume,src=aa,dst=/a";
        told(
            &["create", "--mount", mount, "--mount", mount, "busybox", "true"],
            1,
            "Duplicate mount point: /a",
        );
        told(&["exec", "-w", "rel", "has", "pwd"], 128, "Cwd must be an absolute path: `rel` is not");
        told(&["create", "--sysctl", "foo=1", "busybox", "true"], 125, "sysctl 'foo=1' is not allowed");
        let all = done(context, &["ps", "-aq"]);
        done(context, &[&["rm", "-fv"], &all.lines().collect::<Vec<_>>()[..]].concat());
    });
}

#[test]
fn internal_networks_have_no_ports_of_the_host() {
    in_a_network_of_its_own("internal_networks_have_no_ports_of_the_host", |context| {
        done(context, &["network", "create", "--internal", "--ipv6", "inner"]);
        done(context, &["network", "create", "outer"]);
        let run = ["run", "-d", "--name", "web", "--network", "inner", "-p", "18080:80", "busybox"];
        let script = "mkdir /www; hostname > /www/name; exec httpd -f -p [::]:80 -h /www";
        let started = context.rbuild([&run[..], &["sh", "-c", script]].concat()).run();
        started.assert_success();
        let why = "no port is published as long as the container is in internal networks alone";
        assert!(started.stderr.contains(why), "{started}");
        // It serves, but not to this machine's ports.
        let by_name = "for i in $(seq 100); do nc web 80 </dev/null && exit 0; sleep 0.1; done; exit 1";
        done(context, &["run", "--rm", "--network", "inner", "busybox", "sh", "-c", by_name]);
        let hosts = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
        let reached =
            || hosts.map(|host| served(SocketAddr::new(host, 18080)).is_some_and(|text| !text.is_empty()));
        let listed = || {
            let shown = done(context, &["ps", "--format", "{{.Ports}}"]);
            let inspected = done(context, &["inspect", "-f", "{{json .NetworkSettings.Ports}}", "web"]);
            format!("{}|{}|{}", shown.trim(), done(context, &["port", "web"]).trim(), inspected.trim())
        };
        assert_eq!((reached(), listed().as_str()), ([false; 2], "||{}"));
        done(context, &["network", "connect", "outer", "web"]);
        assert_eq!(reached(), [true; 2]);
        assert!(listed().starts_with("0.0.0.0:18080->80/tcp, [::]:18080->80/tcp|80/tcp -> "), "{}", listed());
        done(context, &["network", "disconnect", "outer", "web"]);
        assert_eq!((reached(), listed().as_str()), ([false; 2], "||{}"));
        done(context, &["network", "disconnect", "inner", "web"]);
        assert_eq!((reached(), listed().as_str()), ([false; 2], "||{}"));
        done(context, &["rm", "-f", "web"]);
    });
}

#[test]
fn the_kernel_is_told_of_the_links_of_a_container() {
    in_a_network_of_its_own("the_kernel_is_told_of_the_links_of_a_container", |context| {
        done(context, &["network", "create", "one"]);
        let option = |settings: &str| format!("com.docker.network.endpoint.sysctls={settings}");
        let of = |settings: &str| format!("name=one,\"driver-opt={}\"", option(settings));
        let read = |link: &str| format!("cat /proc/sys/net/ipv4/conf/{link}/log_martians");
        let both = "net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.conf.IFNAME.forwarding=0";
        let script = format!("{}; cat /proc/sys/net/ipv4/conf/eth0/forwarding", read("eth0"));
        let shell = ["busybox", "sh", "-c"];
        let told =
            done(context, &[&["run", "--rm", "--network", &of(both)], &shell[..], &[&script]].concat());
        assert_eq!(told, "1\n0\n");
        let unknown = of("net.ipv4.conf.IFNAME.nope=1");
        let why = refused(context, &["run", "--rm", "--network", &unknown, "busybox", "true"]);
        assert!(why.contains("cannot set net.ipv4.conf.IFNAME.nope=1 for the link eth0"), "{why}");
        let elsewhere = of("net.ipv4.ip_forward=1");
        let why = refused(context, &["create", "--network", &elsewhere, "busybox", "true"]);
        assert!(why.contains("unrecognised network interface sysctl 'net.ipv4.ip_forward=1'"), "{why}");

        // One that comes later, and one of a project.
        done(context, &["run", "-d", "--name", "runs", "busybox", "sleep", "1000"]);
        let marked = option("net.ipv4.conf.IFNAME.log_martians=1");
        done(context, &["network", "connect", "--driver-opt", &marked, "one", "runs"]);
        assert_eq!(done(context, &["exec", "runs", "sh", "-c", &read("eth1")]), "1\n");
        done(context, &["rm", "-f", "runs"]);
        context.write(
            "compose.yaml",
            "services: {a: {image: busybox, command: sleep 99, stop_grace_period: 0s, networks: {n: {driver_opts: \
             {com.docker.network.endpoint.sysctls: net.ipv4.conf.IFNAME.log_martians=1}}}}}\nnetworks: {n: {}}\n",
        );
        done(context, &["compose", "up", "-d"]);
        assert_eq!(done(context, &["compose", "exec", "-T", "a", "sh", "-c", &read("eth0")]), "1\n");
        done(context, &["compose", "down"]);
    });
}
