//! What flags come to.

use rbuild_model::network::HostPort;

use super::*;
use crate::cli::{self, Command};

fn asked(line: &str) -> CreateRequest {
    let words = std::iter::once("rbuild").chain(line.split_whitespace()).map(Into::into);
    let Command::Create(create) = cli::parse(words).unwrap().command else { panic!("{line}") };
    let settings = crate::settings::bare();
    request(create.options, &settings, Path::new("/here")).unwrap()
}

#[test]
fn zeroes_are_no_limits() {
    let request =
        asked("create -m 0 --memory-swap 0 --cpus 0 --shm-size 0 --pids-limit 0 --cpu-shares 0 image");
    assert_eq!(request.host.resources, Resources::default());
    assert_eq!(request.host.shm_size, None);
    let request = asked("create -m 64m --memory-swap -1 image");
    assert_eq!(
        (request.host.resources.memory, request.host.resources.memory_swap),
        (Some(64 << 20), Some(-1))
    );
}

#[test]
fn several_ports_of_the_host_are_a_choice() {
    let ports = |line: &str| {
        asked(line).host.ports.iter().map(|port| (port.host_port, port.port)).collect::<Vec<_>>()
    };
    assert_eq!(ports("create -p 8000-8010:80 image"), [(HostPort::Range(8000, 8010), 80)]);
    assert_eq!(ports("create -p 90-91:80-81 image"), [(HostPort::One(90), 80), (HostPort::One(91), 81)]);
    assert_eq!(ports("create -p 80 image"), [(HostPort::Any, 80)]);
    assert!(asked("create -p 8080:80/udp --expose 9 image").exposed.iter().eq(["80/udp", "9/tcp"]));
}

#[test]
fn settings_without_a_network_are_the_first_ones() {
    let request =
        asked("create --network app --network name=other,alias=o --network-alias a --ip 10.0.0.9 image");
    assert_eq!(request.host.network, NetworkMode::Named("app".into()));
    let [app, other] = &request.host.endpoints[..] else { panic!("{:?}", request.host.endpoints) };
    assert_eq!((app.settings.aliases.clone(), app.settings.ipv4.is_some()), (vec!["a".to_owned()], true));
    assert_eq!((other.network.as_str(), other.settings.aliases.clone()), ("other", vec!["o".to_owned()]));
}

#[test]
fn variables_are_the_last_of_their_name() {
    let request = asked("create -e A=1 -e B=2 -e A=3 -e NOT_THERE image");
    assert_eq!(request.env, ["A=3", "B=2"]);
}
