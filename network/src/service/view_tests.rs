use super::*;
use crate::address::derived_mac;
use crate::driver::{Guard, PortIsolation};
use crate::families::Families;
use crate::link::LinkName;
use crate::names::{EndpointRecord, NetworkId, PrivateName};

fn network(name: &str, subnet: &str, reach: Reach) -> NetworkState {
    let subnet: crate::address::Subnet = subnet.parse().unwrap();
    let id = NetworkId::new(name).unwrap();
    let bridge = LinkName::new("rbdeadbeefbtest").unwrap();
    let four = crate::names::FourState::new(subnet, subnet.first());
    NetworkState::new(id, bridge, Families::Four(four), reach, PortIsolation::Shared, 1500)
}

/// An endpoint with the next free address.
pub(in super::super) fn record(state: &NetworkState, id: &str, names: &[&str]) -> EndpointRecord {
    let address = state.next_address(None).unwrap();
    EndpointRecord {
        id: EndpointId::new(id).unwrap(),
        port: LinkName::eth(9),
        link: LinkName::eth(0),
        families: Families::Four(address),
        link_local: Vec::new(),
        mac: derived_mac("x", address.into()),
        guard: Guard::Strict,
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        private_names: Vec::new(),
        presence: Presence::Running,
        published: Vec::new(),
    }
}

fn add(state: &mut NetworkState, id: &str, names: &[&str]) {
    let record = record(state, id, names);
    state.families.four_mut().unwrap().cursor = *record.families.four().unwrap();
    state.endpoints.push(record);
}

fn ask(view: &View, name: &str, kind: u16) -> String {
    ask_at(view, name, kind, 0)
}

fn ask_at(view: &View, name: &str, kind: u16, turn: usize) -> String {
    ask_class(view, name, kind, 1, turn)
}

fn ask_class(view: &View, name: &str, kind: u16, class: u16, turn: usize) -> String {
    let mut message = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend(class.to_be_bytes());
    match view.decide(&Query::read(&message).unwrap(), turn) {
        Decision::Forward => "forward".to_owned(),
        Decision::Answer(code, records) => {
            let records: Vec<String> = records
                .iter()
                .map(|record| match record {
                    Record::Address(address) => address.to_string(),
                    Record::Name(name) => name.clone(),
                })
                .collect();
            format!("{code:?} {}", records.join(" ")).trim_end().to_owned()
        }
    }
}

fn view(asker: &str) -> View {
    let mut front = network("front", "10.1.0.0/24", Reach::Outside);
    let mut back = network("Back", "10.2.0.0/24", Reach::Internal);
    let mut other = network("other", "10.3.0.0/24", Reach::Outside);
    add(&mut front, "web1", &["p-web-1", "web"]);
    add(&mut front, "web2", &["p-web-2", "web"]);
    add(&mut front, "down", &["p-web-3", "web"]);
    front.endpoints[2].presence = Presence::Stopped;
    add(&mut back, "web1", &["p-web-1", "web"]);
    add(&mut back, "db", &["DB"]);
    back.endpoints[1].families =
        Families::Both(*back.endpoints[1].families.four().unwrap(), "fd00::5".parse().unwrap());
    back.endpoints[0].private_names.push(PrivateName { name: "store".to_owned(), target: "db".to_owned() });
    add(&mut other, "secret", &["secret"]);
    View::of(vec![front, back, other], &EndpointId::new(asker).unwrap())
}

#[test]
fn a_name_leads_to_all_that_have_it_each_in_turn() {
    let view = view("web2");
    let answers: Vec<String> = (1..4).map(|turn| ask_at(&view, "web", A, turn)).collect();
    assert_eq!(answers, ["Fine 10.1.0.3 10.1.0.2", "Fine 10.1.0.2 10.1.0.3", "Fine 10.1.0.3 10.1.0.2"]);
    assert_eq!(ask(&view, "P-Web-1.FRONT", A), "Fine 10.1.0.2");
    assert_eq!(ask(&view, "p-web-3", A), "forward", "it does not run");
}

#[test]
fn who_shares_several_networks_is_told_once() {
    let mut back = network("back", "10.2.0.0/24", Reach::Outside);
    let mut front = network("front", "10.1.0.0/24", Reach::Outside);
    for state in [&mut front, &mut back] {
        add(state, "asker", &["asker"]);
        add(state, "web1", &["p-web-1", "web"]);
    }
    add(&mut front, "web2", &["p-web-2", "web", "web"]);
    let six = |state: &mut NetworkState, at: usize| {
        let four = *state.endpoints[at].families.four().unwrap();
        state.endpoints[at].families = Families::Both(four, "fd00::5".parse().unwrap());
    };
    six(&mut front, 1);
    for states in [vec![front.clone(), back.clone()], vec![back, front]] {
        let view = View::of(states, &EndpointId::new("asker").unwrap());
        assert_eq!(ask(&view, "web", A), "Fine 10.2.0.3 10.1.0.4");
        assert_eq!(ask(&view, "web", AAAA), "Fine fd00::5", "only one of its networks has the family");
        assert_eq!(ask(&view, "p-web-1.front", A), "Fine 10.1.0.3");
        assert_eq!(ask(&view, "3.0.1.10.in-addr.arpa", PTR), "Fine p-web-1.front");
    }
}

#[test]
fn only_the_askers_networks_are_told() {
    let one = view("web1");
    for (name, kind, expected) in [
        ("db", A, "Fine 10.2.0.3"),
        ("db", AAAA, "Fine fd00::5"),
        ("web", AAAA, "Fine"),
        ("db", 15, "Fine"),
        ("store", A, "Fine 10.2.0.3"),
        ("secret", A, "forward"),
        ("example.org", A, "forward"),
        ("3.0.2.10.in-addr.arpa", PTR, "Fine DB.Back"),
        ("9.0.2.10.in-addr.arpa", PTR, "NoSuchName"),
        ("8.8.8.8.in-addr.arpa", PTR, "forward"),
    ] {
        assert_eq!(ask(&one, name, kind), expected, "{name}");
    }
    assert_eq!(ask(&view("web2"), "store", A), "forward", "a private name");
}

#[test]
fn names_that_are_known_are_told_to_nobody_else_whatever_is_asked() {
    const CHAOS: u16 = 3;
    const ANY: u16 = 255;
    let view = view("web1");
    for class in [1, CHAOS, ANY] {
        assert_eq!(ask_class(&view, "db", A, class, 0), "Fine 10.2.0.3");
        assert_eq!(ask_class(&view, "db", 16, class, 0), "Fine");
        assert_eq!(ask_class(&view, "3.0.2.10.in-addr.arpa", PTR, class, 0), "Fine DB.Back");
        assert_eq!(ask_class(&view, "version.bind", 16, class, 0), "forward");
    }
}

#[test]
fn what_leads_nowhere_asks_nobody() {
    let view = view("db");
    assert_eq!(ask(&view, "p-web-1", A), "Fine 10.2.0.2");
    assert_eq!(ask(&view, "example.org", A), "NoSuchName");
    assert_eq!(ask(&View::default(), "example.org", A), "NoSuchName", "nor does one in no network");
}

#[test]
fn a_network_without_names_has_none_and_leads_outside() {
    let mut default = network("bridge", "10.9.0.0/24", Reach::Outside);
    default.names = NameScope::Nowhere;
    add(&mut default, "a", &["a"]);
    add(&mut default, "b", &["b"]);
    let view = View::of(vec![default], &EndpointId::new("a").unwrap());
    assert_eq!(ask(&view, "b", A), "forward");
    assert_eq!(ask(&view, "b.bridge", A), "forward");
}
