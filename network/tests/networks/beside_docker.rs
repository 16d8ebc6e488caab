//! Networks beside a Docker, or another, that drops what it did not ask for.

use rbuild_testkit::privilege;

use super::*;

/// A filter as Docker makes it with `iptables`: what nobody accepts is not forwarded.
fn docker_comes(family: &str) {
    for line in [
        format!("add table {family} filter"),
        format!("add chain {family} filter FORWARD {{ type filter hook forward priority 0; policy drop; }}"),
        format!("add chain {family} filter DOCKER-USER"),
        format!("add chain {family} filter DOCKER-FORWARD"),
        format!("add rule {family} filter FORWARD counter jump DOCKER-USER"),
        format!("add rule {family} filter FORWARD counter jump DOCKER-FORWARD"),
        format!("add rule {family} filter DOCKER-FORWARD iifname docker0 accept"),
    ] {
        command("nft", &[&line]);
    }
}

fn forward_rules(family: &str) -> Vec<String> {
    let listing = command("nft", &["-s", "list", "chain", family, "filter", "FORWARD"]);
    let rules = listing.lines().filter(|line| line.contains("ifname"));
    rules.map(|rule| rule.trim().replace("counter packets 0 bytes 0", "counter")).collect()
}

/// The two rules of a store.
fn passage_of(store: &str) -> Vec<String> {
    let rule = |direction| format!("{direction} \"rb{store}*\" counter accept comment \"rbuild {store}\"");
    ["iifname", "oifname"].map(rule).to_vec()
}

#[test]
fn beside_docker_networks_get_out_and_to_each_other() {
    Scene::run(|scene| {
        let driver = driver(BRIDGE);
        let wanted = || NetworkSpec {
            families: Families::Both(FourSpec::default(), SixSpec::default()),
            ..spec("one")
        };
        let network = driver.ensure(&scene.site, &wanted()).unwrap();
        let (a, b) = (place(scene, &network, &endpoint("a")), place(scene, &network, &endpoint("b")));
        let world = answer(&scene.world, at(scene.world_address, 0));
        let beside = answer(&b.namespace, at(b.address, 0));
        docker_comes("ip");
        docker_comes("ip6");
        assert_eq!(ask_in_vain(&a.namespace, world.address), Err(ErrorKind::TimedOut));

        assert_eq!(driver.ensure(&scene.site, &wanted()).unwrap().warnings, []);
        for family in ["ip", "ip6"] {
            assert_eq!(forward_rules(family), passage_of("deadbeef"), "{family}");
        }
        assert_eq!(ask(&a.namespace, world.address).unwrap(), scene.host_address.to_string());
        // With br_netfilter this passes there, too.
        assert_eq!(ask(&a.namespace, beside.address).unwrap(), a.address.to_string());
        // Nobody from outside gets in by them: our own table decides on that.
        inside(&scene.world, || {
            let (subnet, host) = ("172.16.0.0/12", scene.host_address.to_string());
            command("ip", &["route", "add", subnet, "via", &host]);
        });
        assert_eq!(ask_in_vain(&scene.world, beside.address), Err(ErrorKind::TimedOut));

        // Made once; and made again when a restart of Docker, or somebody else, took one away.
        let rules = command("nft", &["-s", "list", "ruleset"]);
        driver.ensure(&scene.site, &wanted()).unwrap();
        assert_eq!(command("nft", &["-s", "list", "ruleset"]), rules);
        let numbered = command("nft", &["-a", "list", "chain", "ip", "filter", "FORWARD"]);
        let (_, handle) =
            numbered.lines().find(|line| line.contains("oifname")).unwrap().split_once("# handle ").unwrap();
        command("nft", &["delete", "rule", "ip", "filter", "FORWARD", "handle", handle]);
        assert_eq!(forward_rules("ip").len(), 1);
        place(scene, &network, &endpoint("c"));
        assert_eq!(forward_rules("ip"), passage_of("deadbeef"));

        // The last network takes them along, and nothing else.
        for id in ["a", "b", "c"] {
            driver.detach(&scene.site, &network.id, &EndpointId::new(id).unwrap(), LinkEnd::Now).unwrap();
        }
        let reclaimed = remove_unused(&scene.site).unwrap();
        assert!(reclaimed.errors.is_empty(), "{:?}", reclaimed.errors);
        let left = command("nft", &["list", "ruleset"]);
        assert!(!left.contains("rbdeadbeef") && !left.contains("rbuild"), "{left}");
        assert_eq!(left.matches("jump DOCKER-USER").count(), 2, "{left}");
    });
}

#[test]
fn what_another_store_takes_away_meanwhile_is_no_matter() {
    Scene::run(|scene| {
        // As if somebody else had done the same just before, once.
        let folder = tempfile::tempdir().unwrap();
        let (program, done) = (folder.path().join("nft"), folder.path().join("done"));
        let script = format!(
            "#!/bin/sh\nrules=$(/bin/cat)\ncase $rules in *'delete rule'*) [ -e {done} ] || {{ : > {done}; echo \"$rules\" | \
             /usr/sbin/nft -f -; }};; esac\necho \"$rules\" | exec /usr/sbin/nft -f -\n",
            done = done.display()
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        let config = SiteConfig { nft: Some(program), ..scene.site.config().clone() };
        let site = Site::open(config).unwrap();
        let driver = driver(BRIDGE);
        docker_comes("ip");
        // Rules of a store that is no more stand in the way of ours.
        for rule in passage_of("90000001") {
            command("nft", &["add", "rule", "ip", "filter", "FORWARD", &rule]);
        }
        let network = driver.ensure(&site, &spec("one")).unwrap();
        assert_eq!(network.warnings, []);
        assert_eq!(forward_rules("ip"), passage_of("deadbeef"));
        std::fs::remove_file(&done).unwrap();
        let reclaimed = remove_unused(&site).unwrap();
        assert!(reclaimed.errors.is_empty() && done.exists(), "{:?}", reclaimed.errors);
        assert_eq!(forward_rules("ip"), [""; 0]);
    });
}

#[test]
fn a_bridge_is_called_as_people_want() {
    Scene::run(|scene| {
        let driver = driver(BRIDGE);
        let named = |id: &str, bridge: &str| {
            let bridge = Some(LinkName::new(bridge).unwrap());
            NetworkSpec { bridge, ..spec(id) }
        };
        let refused =
            |bridge: &str| driver.ensure(&scene.site, &named("one", bridge)).unwrap_err().to_string();
        command("ip", &["link", "add", "br7", "type", "bridge"]);
        assert_eq!(
            refused("br7"),
            "the bridge of the network one cannot be called `br7`: an interface of this name exists"
        );
        assert!(scene.links().contains("br7"), "somebody else's bridge stays");
        command("ip", &["link", "del", "br7"]);
        assert!(refused("rbdeadbeefbxxxx").contains("the program's own"));
        assert!(refused("br*").contains("letters, digits"));

        docker_comes("ip");
        let one = driver.ensure(&scene.site, &named("one", "br7")).unwrap();
        assert_eq!(one.warnings, []);
        let two = driver.ensure(&scene.site, &spec("two")).unwrap();
        let (a, b) = (place(scene, &one, &endpoint("a")), place(scene, &one, &endpoint("b")));
        let c = place(scene, &two, &endpoint("c"));
        let (world, beside) =
            (answer(&scene.world, at(scene.world_address, 0)), answer(&b.namespace, at(b.address, 0)));
        // Out behind the host's address, to each other, and shut to other networks: as any other.
        assert_eq!(ask(&a.namespace, world.address).unwrap(), scene.host_address.to_string());
        assert_eq!(ask(&a.namespace, beside.address).unwrap(), a.address.to_string());
        assert_eq!(ask_in_vain(&c.namespace, beside.address), Err(ErrorKind::TimedOut));
        let of_bridge = |rules: Vec<String>| rules.iter().filter(|rule| rule.contains("\"br7\"")).count();
        assert_eq!((of_bridge(forward_rules("ip")), forward_rules("ip").len()), (2, 4));

        // It goes with its network, and so does its way past Docker's filter.
        for id in ["a", "b"] {
            driver.detach(&scene.site, &one.id, &EndpointId::new(id).unwrap(), LinkEnd::Now).unwrap();
        }
        driver.remove(&scene.site, &one.id).unwrap();
        assert_eq!((of_bridge(forward_rules("ip")), forward_rules("ip").len()), (0, 2));
        assert!(!scene.links().contains("br7"));

        // Killed before the file of the network was written.
        driver.ensure(&scene.site, &named("three", "br8")).unwrap();
        let file = NetworkFile::new(&scene.site.config().runtime, NetworkId::new("three").unwrap());
        std::fs::remove_file(file.path()).unwrap();
        assert_eq!(reclaim(&scene.site).unwrap().links, 1);
        assert!(!scene.links().contains("br8"));
    });
}

#[test]
fn rules_beside_docker_are_found_by_whoever_comes_next() {
    Scene::run(|scene| {
        let driver = driver(BRIDGE);
        docker_comes("ip");
        for (store, note) in
            [("gonegone", "rbuild gonegone"), ("livelive", "rbuild livelive"), ("mine", "mine")]
        {
            let rule =
                format!("add rule ip filter FORWARD iifname rb{store}* counter accept comment \"{note}\"");
            command("nft", &[&rule]);
        }
        command("ip", &["link", "add", "rblivelivebxxxx", "type", "bridge"]);
        driver.ensure(&scene.site, &spec("one")).unwrap();
        let rules = forward_rules("ip");
        let of = |text: &str| rules.iter().filter(|rule| rule.contains(text)).count();
        assert_eq!((of("gonegone"), of("livelive"), of("mine"), of("deadbeef")), (0, 1, 1, 2), "{rules:?}");

        // Killed after the rules were made, before anything was noted of them.
        let state = scene.site.config().runtime.join("firewall.state");
        let noted = std::fs::read_to_string(&state).unwrap();
        std::fs::write(&state, noted.replace("\"generation\":", "\"generation\":null,\"was\":")).unwrap();
        remove_unused(&scene.site).unwrap();
        let rules = forward_rules("ip");
        assert!(rules.len() == 2 && !rules.concat().contains("deadbeef"), "{rules:?}");
        assert!(!state.exists());
    });
}

#[test]
fn a_filter_that_is_left_alone_is_told() {
    Scene::run(|scene| {
        let driver = driver(BRIDGE);
        docker_comes("ip");
        // What Docker did not close is somebody's will.
        command(
            "nft",
            &[
                "add table inet own; add chain inet own out { type filter hook forward priority 0; policy drop; }",
            ],
        );
        let config = SiteConfig { passage: Passage::Never, ..scene.site.config().clone() };
        let site = Site::open(config).unwrap();
        let told = |site: &Site| -> Vec<String> {
            let network = driver.ensure(site, &spec("one")).unwrap();
            network.warnings.iter().map(ToString::to_string).collect()
        };
        let warnings = told(&site);
        assert_eq!(forward_rules("ip"), [""; 0]);
        assert!(warnings[0].contains("iptables -A FORWARD -i rbdeadbeef+ -j ACCEPT"), "{warnings:?}");
        assert!(warnings[1].contains("nft add rule inet own out iifname"), "{warnings:?}");
        let warnings = told(&scene.site);
        assert!(warnings.len() == 1 && warnings[0].contains("inet own"), "{warnings:?}");
        assert_eq!(forward_rules("ip"), passage_of("deadbeef"));
        assert_eq!(told(&site).len(), 2);
        assert_eq!(forward_rules("ip"), [""; 0]);
        // Whoever made such rules by hand has no need of ours, but for bridges that they do not speak of.
        for rule in ["ip filter FORWARD", "inet own out"] {
            command("nft", &[&format!("add rule {rule} iifname rbdeadbeef* accept")]);
        }
        assert_eq!(told(&scene.site), [""; 0]);
        assert_eq!(forward_rules("ip").len(), 1);
        let named = NetworkSpec { bridge: Some(LinkName::new("br7").unwrap()), ..spec("two") };
        let [told] = &driver.ensure(&scene.site, &named).unwrap().warnings[..] else {
            panic!("one is closed")
        };
        let told = told.to_string();
        assert!(told.contains("links `br7`; for example: nft add rule inet own out iifname"), "{told}");
        assert_eq!(forward_rules("ip").iter().filter(|rule| rule.contains("\"br7\"")).count(), 2);
        command("nft", &["add rule inet own out iifname br7 accept"]);
        assert_eq!(driver.ensure(&scene.site, &named).unwrap().warnings, []);
    });
}

#[test]
fn a_filter_that_refuses_at_its_end_is_told() {
    Scene::run(|scene| {
        let driver = driver(BRIDGE);
        let told = || -> Vec<String> {
            let network = driver.ensure(&scene.site, &spec("one")).unwrap();
            network.warnings.iter().map(ToString::to_string).collect()
        };
        let rules = |text: &str| text.lines().for_each(|line| drop(command("nft", &[line])));
        // As firewalld begins and ends its own; what it lets through by zones is not ours.
        rules(
            "add table inet firewalld
             add chain inet firewalld filter_FORWARD { type filter hook forward priority 10; policy accept; }
             add chain inet firewalld zones
             add rule inet firewalld filter_FORWARD ct state established,related accept
             add rule inet firewalld filter_FORWARD ct status dnat accept
             add rule inet firewalld filter_FORWARD jump zones",
        );
        assert_eq!(told(), [""; 0]);
        rules("add rule inet firewalld filter_FORWARD counter log reject with icmpx admin-prohibited");
        let network = driver.ensure(&scene.site, &spec("one")).unwrap();
        let endpoint = place(scene, &network, &endpoint("a"));
        let world = answer(&scene.world, at(scene.world_address, 0));
        assert!(ask_in_vain(&endpoint.namespace, world.address).is_err());
        let [warning] = &told()[..] else { panic!("one is closed") };
        assert!(
            warning.contains("--zone=trusted --add-interface='rbdeadbeef+'; firewall-cmd --reload"),
            "{warning}"
        );
        // What that comes to, at least as far as packets of ours are concerned.
        rules("add rule inet firewalld zones iifname \"rbdeadbeef*\" accept");
        assert_eq!(told(), [""; 0]);
        assert_eq!(ask(&endpoint.namespace, world.address), Ok(scene.host_address.to_string()));

        // Rules behind such a one are in vain, so none of ours are made there, beside a Docker either.
        docker_comes("ip");
        rules("add rule ip filter FORWARD counter drop");
        let [warning] = &told()[..] else { panic!("one is closed") };
        assert!(warning.contains("iptables -I FORWARD -i rbdeadbeef+ -j ACCEPT"), "{warning}");
        assert_eq!(forward_rules("ip"), [""; 0]);
        rules(
            "add table ip own
             add chain ip own out { type filter hook forward priority 0; policy accept; }
             add rule ip own out iifname eth7 reject
             insert rule ip filter FORWARD iifname \"rbdeadbeef*\" accept",
        );
        assert_eq!(told(), [""; 0]);
        rules("add rule ip own out reject");
        let [warning] = &told()[..] else { panic!("one is closed") };
        assert!(warning.contains("nft insert rule ip own out iifname '\"rbdeadbeef*\"' accept"), "{warning}");
    });
}

#[test]
fn docker_with_the_old_tables_is_passed_as_well() {
    Scene::run(|scene| {
        let old = |arguments: &str| {
            let arguments: Vec<&str> = arguments.split(' ').collect();
            std::process::Command::new("iptables-legacy").args(arguments).output()
        };
        let begin = ["-P FORWARD DROP", "-N DOCKER-USER", "-A FORWARD -j DOCKER-USER"];
        for line in begin {
            let name = "docker_with_the_old_tables_is_passed_as_well";
            match old(line) {
                Err(_) => return privilege::missing(name, "iptables-legacy is not installed"),
                Ok(output) if !output.status.success() => {
                    return privilege::skipped(name, "iptables-legacy has no tables in this kernel");
                }
                Ok(_) => {}
            }
        }
        let rules = || String::from_utf8(old("-S").unwrap().stdout).unwrap();
        let driver = driver(BRIDGE);
        let network = driver.ensure(&scene.site, &spec("one")).unwrap();
        assert_eq!(network.warnings, []);
        driver.ensure(&scene.site, &spec("one")).unwrap();
        assert_eq!(rules().matches("--comment \"rbuild deadbeef\" -j ACCEPT").count(), 2, "{}", rules());
        let a = place(scene, &network, &endpoint("a"));
        let world = answer(&scene.world, at(scene.world_address, 0));
        assert_eq!(ask(&a.namespace, world.address).unwrap(), scene.host_address.to_string());
        driver.detach(&scene.site, &network.id, &EndpointId::new("a").unwrap(), LinkEnd::Now).unwrap();

        // While nobody can tell which bridges there are, none loses its way.
        let named = NetworkSpec { bridge: Some(LinkName::new("br7").unwrap()), ..spec("two") };
        driver.ensure(&scene.site, &named).unwrap();
        let before = rules();
        assert_eq!(before.matches("--comment \"rbuild deadbeef br7\" -j ACCEPT").count(), 2, "{before}");
        let damaged = NetworkFile::new(&scene.site.config().runtime, NetworkId::new("three").unwrap());
        std::fs::write(damaged.path(), "{").unwrap();
        driver.ensure(&scene.site, &named).unwrap();
        assert_eq!(rules(), before);
        std::fs::remove_file(damaged.path()).unwrap();
        remove_unused(&scene.site).unwrap();
        assert!(!rules().contains("rbuild") && rules().contains("-P FORWARD DROP"), "{}", rules());
    });
}
