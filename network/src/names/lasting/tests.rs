use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::super::*;
use super::REMEMBERED;
use crate::address::derived_mac;

/// A network with both families, as it is when nobody was in it yet.
fn state(subnet: &str) -> NetworkState {
    let (four, six): (Subnet, Subnet6) = (subnet.parse().unwrap(), "fd00:1::/64".parse().unwrap());
    NetworkState::new(
        NetworkId::new("net").unwrap(),
        LinkName::new("rbdeadbeefbtest").unwrap(),
        Families::Both(FourState::new(four, four.first()), SixState::new(six, six.first())),
        Reach::Outside,
        PortIsolation::Shared,
        1500,
    )
}

/// Lets one come, as a driver does, and says how its addresses end.
fn come(state: &mut NetworkState, name: &str) -> Option<(u8, u16)> {
    let name = name.to_owned();
    let (four, six) = (state.next_address(Some(&name))?, state.next_address6(Some(&name))?);
    let record = EndpointRecord {
        id: EndpointId::new(&name).unwrap(),
        port: LinkName::eth(9),
        link: LinkName::eth(0),
        families: Families::Both(four, six),
        link_local: Vec::new(),
        mac: derived_mac("net", four.into()),
        guard: Guard::Strict,
        names: vec![name, "alias".to_owned()],
        private_names: Vec::new(),
        presence: Presence::Running,
        published: Vec::new(),
    };
    state.families.four_mut().unwrap().cursor = four;
    state.families.six_mut().unwrap().cursor = six;
    state.remember(&record);
    state.endpoints.push(record);
    Some((four.octets()[3], six.segments()[7]))
}

fn go(state: &mut NetworkState, name: &str) {
    state.endpoints.retain(|record| record.names[0] != name);
}

#[test]
fn who_comes_again_has_the_address_it_had() {
    let mut state = state("10.9.8.0/28");
    for (name, own) in [("proxy", 2), ("web", 3), ("db", 4)] {
        assert_eq!(come(&mut state, name), Some((own, own.into())));
    }
    // In any order, also after all have gone, and others have come meanwhile.
    for name in ["proxy", "web", "db"] {
        go(&mut state, name);
    }
    assert_eq!(come(&mut state, "new"), Some((5, 5)));
    for (name, own) in [("db", 4), ("web", 3), ("proxy", 2)] {
        assert_eq!(come(&mut state, name), Some((own, own.into())));
    }
    // It stands in the file, and nobody whom an older program wrote there lacks anything.
    let text = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<NetworkState>(&text).unwrap(), state);
    let mut older = serde_json::to_value(&state).unwrap();
    older.as_object_mut().unwrap().remove("lasting");
    assert_eq!(serde_json::from_value::<NetworkState>(older).unwrap().lasting, []);
}

#[test]
fn who_is_called_otherwise_keeps_its_address_under_the_new_name() {
    let mut state = state("10.9.8.0/28");
    // A second one beside the first takes over its name, as a roll-out does it.
    for (name, own) in [("web", 2), ("new_web", 3)] {
        assert_eq!(come(&mut state, name), Some((own, own.into())));
    }
    go(&mut state, "web");
    let call = |state: &mut NetworkState, id: &str, name: &str| {
        state.rename(&EndpointId::new(id).unwrap(), &[name.to_owned(), "alias".to_owned()]);
    };
    call(&mut state, "new_web", "web");
    assert_eq!(state.endpoints[0].names, ["web", "alias"]);
    go(&mut state, "web");
    assert_eq!(come(&mut state, "web"), Some((3, 3)));
    // Nobody else is found under the name that it had meanwhile, and who is not there changes nothing.
    assert_eq!(come(&mut state, "new_web"), Some((4, 4)));
    let before = state.clone();
    call(&mut state, "nobody", "web");
    assert_eq!(state, before);
}

#[test]
fn what_is_remembered_is_given_to_others_when_nothing_else_is_free() {
    let mut state = state("10.9.8.0/29");
    for name in ["a", "b", "c", "d", "e"] {
        come(&mut state, name);
    }
    assert_eq!(come(&mut state, "f"), None);
    go(&mut state, "b");
    assert_eq!(come(&mut state, "f"), Some((3, 7)));
    // Whose it was finds it taken.
    assert_eq!(come(&mut state, "b"), None);
    go(&mut state, "e");
    assert_eq!(come(&mut state, "b").map(|own| own.0), Some(6));
}

#[test]
fn no_more_are_remembered_than_are_there_and_a_bound() {
    let mut state = state("10.9.0.0/16");
    come(&mut state, "stays");
    for number in 0..3 * REMEMBERED {
        let name = format!("step{number}");
        come(&mut state, &name);
        go(&mut state, &name);
    }
    assert!((REMEMBERED..=REMEMBERED + 2).contains(&state.lasting.len()), "{}", state.lasting.len());
    go(&mut state, "stays");
    assert_eq!(come(&mut state, "stays").map(|own| own.0), Some(2));
}

proptest! {
    #[test]
    fn no_two_have_one_address_and_who_had_one_alone_keeps_it(
        moves in proptest::collection::vec((0_u8..12, any::<bool>()), 0..60),
    ) {
        let mut state = state("10.9.8.0/27");
        let mut had = BTreeMap::new();
        for (who, comes) in moves {
            let name = format!("c{who}");
            let is_there = state.endpoints.iter().any(|record| record.names[0] == name);
            if comes && !is_there {
                let own = come(&mut state, &name).unwrap();
                // There is room for all: nobody gets what another one had.
                prop_assert_eq!(*had.entry(name).or_insert(own), own);
            } else if !comes {
                go(&mut state, &name);
            }
            let all: Vec<Ipv4Addr> =
                state.endpoints.iter().filter_map(|record| record.families.four().copied()).collect();
            let distinct: std::collections::HashSet<_> = all.iter().collect();
            prop_assert_eq!(distinct.len(), all.len());
        }
    }
}
