//! What was begun and not finished, and what others do meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[test]
fn a_network_that_leads_out_is_there_only_where_the_host_forwards() {
    Scene::run(|scene| {
        let driver = driver(BRIDGE);
        let setting = "/proc/sys/net/ipv4/ip_forward";
        std::fs::write(setting, "0").unwrap();
        // Where the note about it cannot be written, nothing of the host is changed.
        let note = scene.site.config().runtime.join("forwarding");
        std::fs::create_dir(&note).unwrap();
        for _ in 0..2 {
            let told = driver.ensure(&scene.site, &spec("one")).unwrap_err().to_string();
            assert!(told.contains(&*note.to_string_lossy()), "{told}");
        }
        std::fs::remove_dir(&note).unwrap();
        let network = driver.ensure(&scene.site, &spec("one")).unwrap();
        assert_eq!(std::fs::read_to_string(setting).unwrap(), "1\n");
        let (a, world) =
            (place(scene, &network, &endpoint("a")), answer(&scene.world, at(scene.world_address, 0)));
        assert_eq!(ask(&a.namespace, world.address).unwrap(), scene.host_address.to_string());
    });
}

#[test]
fn who_comes_while_others_make_the_tables_anew_is_in_them() {
    Scene::run(|scene| {
        let ensure = |id: &str| driver(BRIDGE).ensure(&scene.site, &spec(id)).unwrap();
        let networks = ["one", "two", "three", "four", "five", "six"].map(ensure);
        let runtime = &scene.site.config().runtime;
        let records =
            || names::all(runtime).unwrap().into_iter().flat_map(|state| state.endpoints).collect::<Vec<_>>();
        let mut places = Vec::new();
        for round in 0..6 {
            let is_first = AtomicBool::new(true);
            let come = |number: usize| {
                let id = format!("e{round}-{number}");
                inside(&scene.host, || {
                    let site = Site::open(scene.site.config().clone()).unwrap();
                    let (network, mut namespace) = (&networks[number % 6], Namespace::create().unwrap());
                    driver(BRIDGE).attach(&site, network, &mut namespace, &endpoint(&id)).unwrap();
                    if is_first.swap(false, Ordering::Relaxed) {
                        // The others have looked at the tables by now. Whoever does not know what they were last makes them.
                        std::fs::remove_file(runtime.join("firewall.state")).unwrap();
                        driver(BRIDGE).ensure(&site, &spec("one")).unwrap();
                    }
                    namespace
                })
            };
            let come = &come;
            std::thread::scope(|threads| {
                let coming: Vec<_> = (0..24).map(|number| threads.spawn(move || come(number))).collect();
                places.extend(coming.into_iter().map(|coming| coming.join().unwrap()));
            });
            let rules = command("nft", &["list", "ruleset"]);
            let records = records();
            let lost = records.iter().filter(|record| !rules.contains(record.port.as_str()));
            let lost: Vec<_> = lost.map(|record| &record.id).collect();
            assert!(lost.is_empty() && records.len() == places.len(), "{lost:?}");
        }
    });
}

#[test]
fn any_number_of_ports_is_published_at_once() {
    Scene::run(|scene| {
        let driver = driver(BRIDGE);
        let network = driver.ensure(&scene.site, &spec("one")).unwrap();
        let published = |port| Published {
            protocol: Protocol::Tcp,
            host: Ipv4Addr::UNSPECIFIED.into(),
            port,
            target: port,
        };
        let many = EndpointSpec { published: (10_000..14_000).map(published).collect(), ..endpoint("many") };
        let own = place(scene, &network, &many);
        let leads = |port: u16| {
            let rules = command("nft", &["list", "ruleset"]);
            let count = rules.matches(&format!(": {} . ", own.address)).count();
            assert_eq!((count, rules.contains(&format!("{} . {port}", own.address))), (4000, true));
        };
        leads(13_999);
        command("nft", &["flush", "ruleset"]);
        driver.ensure(&scene.site, &spec("one")).unwrap();
        leads(10_000);
        driver.detach(&scene.site, &network.id, &many.id, LinkEnd::Now).unwrap();
        assert!(!command("nft", &["list", "ruleset"]).contains(&own.address.to_string()));
    });
}
