//! A host of our own and a world behind it, each a network namespace.
//!
//! ```text
//! world 192.0.2.1 ── uplink ── 192.0.2.2 host ── bridges of the test
//! ```

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::Command;

use rbuild_network::link::StorePrefix;
use rbuild_network::namespace::Namespace;
use rbuild_network::site::{Site, SiteConfig};
use rbuild_testkit::privilege;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

/// The stage of a test.
pub(crate) struct Scene {
    /// Where networks are made.
    pub(crate) site: Site,
    /// The namespace that stands for the host.
    pub(crate) host: Namespace,
    /// The namespace that stands for everything outside.
    pub(crate) world: Namespace,
    /// The host's address towards the world.
    pub(crate) host_address: Ipv4Addr,
    /// The world's address.
    pub(crate) world_address: Ipv4Addr,
    _runtime: TempDir,
}

impl Scene {
    /// Runs a test on a fresh stage, in the namespace of its host. Without the right to make namespaces the
    /// test is skipped, loudly.
    pub(crate) fn run(test: impl FnOnce(&Scene) + Send) {
        let host = match Namespace::create() {
            Ok(host) => host,
            Err(error @ rbuild_network::error::Error::NotPermitted { .. }) => {
                return privilege::not_permitted(&privilege::this_test(), &error.to_string());
            }
            Err(error) => panic!("{error:?}"),
        };
        let world = Namespace::create().unwrap();
        inside(&host.as_fd().try_clone_to_owned().unwrap(), move || {
            let runtime = tempfile::tempdir().unwrap();
            connect(&world);
            let site = Site::open(SiteConfig {
                store: StorePrefix::new("deadbeef").unwrap(),
                runtime: runtime.path().to_owned(),
                is_abandoned: |run| {
                    run.file_name().is_some_and(|store| store.as_encoded_bytes().starts_with(b"gone"))
                },
                host_lock: runtime.path().join("host.lock"),
                nft: None,
                passage: Default::default(),
                pools: Vec::new(),
                place: Default::default(),
            })
            .unwrap();
            let scene = Scene {
                site,
                host,
                world,
                host_address: Ipv4Addr::new(192, 0, 2, 2),
                world_address: Ipv4Addr::new(192, 0, 2, 1),
                _runtime: runtime,
            };
            test(&scene);
        });
    }

    /// The names of all links of the host.
    pub(crate) fn links(&self) -> BTreeSet<String> {
        let text = command("ip", &["-o", "link"]);
        text.lines().filter_map(|line| Some(line.split(": ").nth(1)?.split('@').next()?.to_owned())).collect()
    }
}

fn connect(world: &Namespace) {
    let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&world.as_fd()));
    // `ip` opens the path itself, so the descriptor must be named by this process's number.
    let link = link.replace("self", &std::process::id().to_string());
    command("ip", &["link", "add", "uplink", "type", "veth", "peer", "name", "uplink", "netns", &link]);
    command("ip", &["addr", "add", "192.0.2.2/24", "dev", "uplink"]);
    command("ip", &["link", "set", "uplink", "up"]);
    inside(world, || {
        command("ip", &["addr", "add", "192.0.2.1/24", "dev", "uplink"]);
        command("ip", &["link", "set", "uplink", "up"]);
    });
}

/// Does something in another network namespace.
pub(crate) fn inside<T: Send>(namespace: &impl AsFd, act: impl FnOnce() -> T + Send) -> T {
    let fd = namespace.as_fd();
    std::thread::scope(|scope| {
        scope
            .spawn(move || {
                move_into_link_name_space(fd, Some(LinkNameSpaceType::Network)).unwrap();
                act()
            })
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Runs a program in the namespace of the calling thread and returns what it printed.
pub(crate) fn command(program: &str, arguments: &[&str]) -> String {
    let output =
        Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
