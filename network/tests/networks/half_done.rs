//! What was begun and not finished, and what others do meanwhile.

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
