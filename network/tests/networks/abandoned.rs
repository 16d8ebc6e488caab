//! What stores leave whose folders were removed.

use rbuild_network::address::Pool;
use rbuild_network::link::StorePrefix;

use super::*;

/// The place of another store on the same host, with a runtime folder of its own beside the scene's. It takes nobody for gone.
fn other(scene: &Scene, store: &str) -> (tempfile::TempDir, Site) {
    let runtime = tempfile::tempdir().unwrap();
    let config = SiteConfig {
        store: StorePrefix::new(store).unwrap(),
        runtime: runtime.path().to_owned(),
        is_abandoned: |_| false,
        ..scene.site.config().clone()
    };
    (runtime, Site::open(config).unwrap())
}

fn with_subnet(id: &str, subnet: &str) -> NetworkSpec {
    NetworkSpec { families: chosen(subnet), ..spec(id) }
}

/// A network for which there is room for exactly one.
fn in_one_pool(id: &str) -> NetworkSpec {
    let pools = vec![Pool { range: "10.77.0.0/24".parse().unwrap(), prefix: 24 }];
    NetworkSpec { pools, ..spec(id) }
}

fn bridge(network: &Network) -> String {
    network.addressing.as_ref().unwrap().bridge.to_string()
}

#[test]
fn what_a_store_left_that_is_no_more_goes() {
    Scene::run(|scene| {
        let driver = driver(BRIDGE);
        let (_gone, gone) = other(scene, "gonegone");
        let (_busy, busy) = other(scene, "gonebusy");
        let (_here, here) = other(scene, "livelive");
        let own = driver.ensure(&scene.site, &with_subnet("own", "10.77.6.0/24")).unwrap();
        let left = driver.ensure(&gone, &with_subnet("left", "10.77.1.0/24")).unwrap();
        let named = NetworkSpec {
            bridge: Some(LinkName::new("br7").unwrap()),
            ..with_subnet("named", "10.77.2.0/24")
        };
        driver.ensure(&gone, &named).unwrap();
        let used = driver.ensure(&busy, &with_subnet("used", "10.77.3.0/24")).unwrap();
        let idle = driver.ensure(&busy, &with_subnet("idle", "10.77.4.0/24")).unwrap();
        let mut namespace = Namespace::create().unwrap();
        driver.attach(&busy, &used, &mut namespace, &endpoint("a")).unwrap();
        // All that is left of this one are its tables, in the way of every packet.
        let (_bare, bare) = other(scene, "gonebare");
        let removed = driver.ensure(&bare, &with_subnet("removed", "10.77.7.0/24")).unwrap();
        driver.remove(&bare, &removed.id).unwrap();
        assert!(command("nft", &["list", "tables"]).contains("inet rbuild_gonebare"));
        let stays = driver.ensure(&here, &with_subnet("stays", "10.77.5.0/24")).unwrap();

        let reclaimed = reclaim(&scene.site).unwrap();
        assert_eq!((reclaimed.links, reclaimed.errors.len()), (3, 0), "{:?}", reclaimed.errors);
        let links = scene.links();
        let is_there = |network: &Network| links.contains(&bridge(network));
        assert_eq!([&left, &idle].map(is_there), [false; 2]);
        assert_eq!([&used, &stays, &own].map(is_there), [true; 3]);
        assert!(!links.contains("br7"));
        let rules = command("nft", &["list", "ruleset"]);
        let has_table = |store: &str| rules.contains(&format!(" rbuild_{store} "));
        assert_eq!(
            ["gonegone", "gonebare", "gonebusy", "livelive", "deadbeef"].map(has_table),
            [false, false, true, true, true]
        );

        // Its disk is there again.
        let again = driver.ensure(&gone, &with_subnet("left", "10.77.1.0/24")).unwrap();
        assert_eq!(again.addressing, left.addressing);
        assert!(scene.links().contains(&bridge(&again)));
        assert!(command("nft", &["list", "ruleset"]).contains(" rbuild_gonegone "));
    });
}

#[test]
fn rules_that_stores_left_are_none_for_whoever_comes_next() {
    Scene::run(|scene| {
        let driver = driver(BRIDGE);
        let (_gone, gone) = other(scene, "gonegone");
        let left = driver.ensure(&gone, &with_subnet("left", "10.77.1.0/24")).unwrap();
        // Somebody took the bridge away; what hides the subnet behind the host's addresses is there still.
        command("ip", &["link", "delete", &bridge(&left)]);
        assert!(command("nft", &["list", "table", "inet", "rbuild_gonegone"]).contains("10.77.1.0/24"));
        driver.ensure(&scene.site, &with_subnet("own", "10.77.1.0/24")).unwrap();
        let tables = command("nft", &["list", "tables"]);
        assert!(!tables.contains("gonegone") && tables.contains("deadbeef"), "{tables}");
    });
}

#[test]
fn subnets_that_stores_left_are_given_to_others() {
    Scene::run(|scene| {
        let driver = driver(BRIDGE);
        let (_here, here) = other(scene, "livelive");
        let kept = driver.ensure(&here, &in_one_pool("kept")).unwrap();
        let refused = driver.ensure(&scene.site, &in_one_pool("own")).unwrap_err();
        assert!(matches!(refused, Error::PoolsExhausted), "{refused}");
        driver.remove(&here, &kept.id).unwrap();

        let (_gone, gone) = other(scene, "gonegone");
        let left = driver.ensure(&gone, &in_one_pool("left")).unwrap();
        let own = driver.ensure(&scene.site, &in_one_pool("own")).unwrap();
        let subnet = |network: &Network| four(network).0.to_string();
        assert_eq!(subnet(&own), subnet(&left));
        assert!(!scene.links().contains(&bridge(&left)));

        // The store is back: what another has by now it does not take.
        let refused = driver.ensure(&gone, &in_one_pool("left")).unwrap_err();
        assert!(matches!(refused, Error::PoolsExhausted), "{refused}");
        let again = driver.ensure(&gone, &spec("left")).unwrap();
        assert_ne!(subnet(&again), subnet(&own));
        let place = |site: &Site, network: &Network| {
            let mut namespace = Namespace::create().unwrap();
            driver.attach(site, network, &mut namespace, &endpoint("a")).unwrap();
            namespace
        };
        for namespace in [place(&gone, &again), place(&scene.site, &own)] {
            let outside = answer(&scene.world, at(scene.world_address, 0));
            assert_eq!(ask(&namespace, outside.address), Ok(scene.host_address.to_string()));
        }
    });
}
