use proptest::prelude::*;

use super::*;
use crate::error::Error;

fn id(text: &str) -> NetworkId {
    NetworkId::new(text).unwrap()
}

fn state(subnet: &str) -> NetworkState {
    let subnet: Subnet = subnet.parse().unwrap();
    of(Families::Four(FourState::new(subnet, subnet.first())))
}

fn state6(subnet: &str) -> SixState {
    let subnet: Subnet6 = subnet.parse().unwrap();
    SixState::new(subnet, subnet.first())
}

fn of(families: Families<FourState, SixState>) -> NetworkState {
    let bridge = LinkName::new("rbdeadbeefbtest").unwrap();
    NetworkState::new(id("net"), bridge, families, Reach::Outside, PortIsolation::Shared, 1500)
}

fn add(state: &mut NetworkState) -> Option<Ipv4Addr> {
    let families = Families::of(state.next_address(None), state.next_address6(None))?;
    if let (Some(six), Some(address)) = (state.families.six_mut(), families.six()) {
        six.cursor = *address;
    }
    if let (Some(four), Some(address)) = (state.families.four_mut(), families.four()) {
        four.cursor = *address;
    }
    let mac = crate::address::derived_mac("net", families.first());
    state.endpoints.push(EndpointRecord {
        id: EndpointId::new(&format!("e{}", mac.to_string().replace(':', ""))).unwrap(),
        port: LinkName::eth(9),
        link: LinkName::eth(0),
        families,
        link_local: Vec::new(),
        mac,
        guard: Guard::Strict,
        names: vec!["web".to_owned()],
        private_names: Vec::new(),
        presence: Presence::Running,
        published: Vec::new(),
    });
    families.four().copied()
}

#[test]
fn ids_cannot_leave_the_folder() {
    for text in ["", "..", "a/b", "a.json", "-a", "a b", "a\n", "\u{e9}", &"x".repeat(129)] {
        assert!(NetworkId::new(text).is_err(), "{text:?}");
    }
    assert!(EndpointId::new("0123abc_D-e").is_ok());
}

#[test]
fn a_freed_address_comes_last() {
    let mut state = state("10.9.8.0/29");
    let given: Vec<_> = std::iter::from_fn(|| add(&mut state)).map(|address| address.octets()[3]).collect();
    assert_eq!(given, [2, 3, 4, 5, 6]);
    state.endpoints.remove(1);
    assert_eq!(add(&mut state).map(|address| address.octets()[3]), Some(3));
    state.endpoints.clear();
    assert_eq!(add(&mut state).map(|address| address.octets()[3]), Some(4));
}

#[test]
fn addresses_are_given_out_of_the_range_and_never_those_that_are_reserved() {
    let mut four = state("10.9.8.0/24");
    let limited = four.families.four_mut().unwrap();
    limited.range = Some("10.9.8.16/30".parse().unwrap());
    limited.reserved = vec![Ipv4Addr::new(10, 9, 8, 17)];
    let given: Vec<_> = std::iter::from_fn(|| add(&mut four)).map(|address| address.octets()[3]).collect();
    assert_eq!(given, [16, 18, 19]);

    let mut limited = state6("fd00:1::/64");
    limited.reserved = vec!["fd00:1::3".parse().unwrap()];
    let mut six = of(Families::Six(limited));
    add(&mut six);
    add(&mut six);
    let given: Vec<_> = six
        .endpoints
        .iter()
        .filter_map(|record| record.families.six())
        .map(|address| address.to_string())
        .collect();
    assert_eq!(given, ["fd00:1::2", "fd00:1::4"]);
}

#[test]
fn a_file_of_the_first_form_is_understood() {
    let runtime = tempfile::tempdir().unwrap();
    let file = NetworkFile::new(runtime.path(), id("net"));
    fs::create_dir_all(folder(runtime.path())).unwrap();
    fs::write(
        file.path(),
        r#"{"format":1,"id":"net","bridge":"rbdeadbeefbtest","subnet":"10.9.8.0/24","gateway":"10.9.8.1",
            "reach":"outside","isolation":"shared","mtu":1500,"cursor":"10.9.8.2","endpoints":[{"id":"one",
            "port":"rbdeadbeefvtest","address":"10.9.8.2","mac":"02:00:00:00:00:01","guard":"strict","names":[],
            "published":[{"protocol":"tcp","host":"0.0.0.0","port":80,"target":8080}]}]}"#,
    )
    .unwrap();
    let state = file.read().unwrap().unwrap();
    assert_eq!((state.families.six(), state.masquerade), (None, Masquerade::On));
    assert_eq!(state.endpoints[0].families, Families::Four(Ipv4Addr::new(10, 9, 8, 2)));
    assert_eq!(
        (&state.endpoints[0].link, state.endpoints[0].presence),
        (&LinkName::eth(0), Presence::Running)
    );
}

#[test]
fn a_network_of_either_family_is_read_as_it_was_written() {
    let (four, six) = (state("10.9.8.0/24"), of(Families::Six(state6("fd00:1::/64"))));
    let four_alone = four.families.four().unwrap().clone();
    let both = of(Families::Both(four_alone, state6("fd00:1::/64")));
    for (mut state, format) in [(four, 2), (six, 3), (both, 2)] {
        add(&mut state);
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<NetworkState>(&text).unwrap(), state);
        // Programs that came before read whatever has IPv4.
        assert_eq!(state.format, format, "{text}");
        assert_eq!(
            state.endpoints[0].addresses().count(),
            state.families.as_ref().parts().0.iter().count() + state.families.six().iter().count()
        );
    }
}

#[test]
fn addresses_that_are_not_whole_are_no_network() {
    let whole = serde_json::to_value({
        let mut state =
            of(Families::Both(state("10.9.8.0/24").families.four().unwrap().clone(), state6("fd00:1::/64")));
        add(&mut state);
        state
    })
    .unwrap();
    let without = |change: &dyn Fn(&mut serde_json::Map<String, serde_json::Value>)| {
        let mut value = whole.clone();
        change(value.as_object_mut().unwrap());
        serde_json::from_value::<NetworkState>(value).map_err(|error| error.to_string())
    };
    for part in ["subnet", "gateway", "cursor"] {
        let told = without(&|state| drop(state.remove(part))).unwrap_err();
        assert!(told.contains("half of its addresses"), "{part}: {told}");
    }
    let told = without(&|state| drop(state.insert("subnet".to_owned(), "10.9.8.0/99".into()))).unwrap_err();
    assert!(told.contains("10.9.8.0/99"), "{told}");
    let told = without(&|state| {
        ["subnet", "gateway", "cursor", "six"].iter().for_each(|part| drop(state.remove(*part)))
    });
    assert!(told.unwrap_err().contains("without addresses"));
    let told = without(&|state| {
        let record = state["endpoints"][0].as_object_mut().unwrap();
        ["address", "address6"].iter().for_each(|part| drop(record.remove(*part)));
    });
    assert!(told.unwrap_err().contains("without an address"));
}

#[test]
fn a_file_is_replaced_as_a_whole_and_removed_with_its_lock() {
    let runtime = tempfile::tempdir().unwrap();
    let file = NetworkFile::new(runtime.path(), id("net"));
    assert_eq!(file.read().unwrap(), None);
    file.update(|slot| -> Result<(), NamesError> {
        *slot = Some(state("10.9.8.0/24"));
        Ok(())
    })
    .unwrap();
    file.update(|slot| -> Result<(), NamesError> {
        add(slot.as_mut().unwrap());
        Ok(())
    })
    .unwrap();
    let refused = file.update(|slot| -> Result<(), Error> {
        *slot = None;
        Err(Error::PoolsExhausted)
    });
    assert!(refused.is_err());
    let read = file.read().unwrap().unwrap();
    assert_eq!(read.endpoints.len(), 1, "a change that failed changes nothing");
    assert_eq!(all(runtime.path()).unwrap(), [read]);
    file.update(|slot| -> Result<(), NamesError> {
        *slot = None;
        Ok(())
    })
    .unwrap();
    assert_eq!(fs::read_dir(folder(runtime.path())).unwrap().count(), 0, "neither file nor lock remains");
}

#[test]
fn no_lock_stays_for_what_is_not_there() {
    let runtime = tempfile::tempdir().unwrap();
    let file = NetworkFile::new(runtime.path(), id("net"));
    assert!(!file.is_set_up().unwrap());
    let refused: Result<(), Error> = file.update(|_| Err(Error::PoolsExhausted));
    assert!(refused.is_err());
    let locks = || fs::read_dir(folder(runtime.path())).unwrap().count();
    assert_eq!(locks(), 0, "neither a look nor a change that failed leaves one");
    // As of killed processes; one of them is held, so by somebody who may be about to set the network up.
    for name in ["net.lock", "other.lock"] {
        fs::write(folder(runtime.path()).join(name), "").unwrap();
    }
    let kept = put(runtime.path(), &six_alone());
    let held = Lock::take(&folder(runtime.path()).join("net.lock")).unwrap();
    super::remove_lone_locks(runtime.path()).unwrap();
    assert!(held.remove().is_ok() && kept.is_set_up().unwrap());
    assert_eq!(locks(), 2, "the file of a network that is set up, and its lock");
}

#[test]
fn changes_of_many_are_all_kept() {
    let runtime = tempfile::tempdir().unwrap();
    let file = NetworkFile::new(runtime.path(), id("net"));
    file.update(|slot| -> Result<(), NamesError> {
        *slot = Some(state("10.9.0.0/16"));
        Ok(())
    })
    .unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    file.update(|slot| -> Result<(), NamesError> {
                        add(slot.as_mut().unwrap());
                        Ok(())
                    })
                    .unwrap();
                }
            });
        }
    });
    let addresses: std::collections::HashSet<_> = file
        .read()
        .unwrap()
        .unwrap()
        .endpoints
        .iter()
        .filter_map(|endpoint| endpoint.families.four().copied())
        .collect();
    assert_eq!(addresses.len(), 100);
}

#[test]
fn a_foreign_file_is_told_from_a_damaged_one() {
    let runtime = tempfile::tempdir().unwrap();
    let file = NetworkFile::new(runtime.path(), id("net"));
    fs::create_dir_all(folder(runtime.path())).unwrap();
    fs::write(file.path(), b"{\"format\":7,\"new\":true}").unwrap();
    assert!(matches!(file.read(), Err(NamesError::Format { found: 7, .. })));
    fs::write(file.path(), b"{\"format\":1").unwrap();
    assert!(matches!(file.read(), Err(NamesError::Damaged { .. })));
}

/// A network without IPv4 and with one endpoint.
fn six_alone() -> NetworkState {
    let mut six = of(Families::Six(state6("fd00:1::/64")));
    six.id = id("six");
    add(&mut six);
    six
}

fn put(runtime: &Path, state: &NetworkState) -> NetworkFile {
    let file = NetworkFile::new(runtime, state.id.clone());
    file.update(|slot| {
        *slot = Some(state.clone());
        Ok::<_, NamesError>(())
    })
    .unwrap();
    file
}

fn files(runtime: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder(runtime)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| !name.ends_with(".lock")).collect();
    names.sort();
    names
}

#[test]
fn a_network_without_ipv4_lies_where_older_programs_do_not_look() {
    let runtime = tempfile::tempdir().unwrap();
    let (four, six) = (state("10.9.8.0/24"), six_alone());
    put(runtime.path(), &four);
    let file = put(runtime.path(), &six);
    assert_eq!(files(runtime.path()), ["net.json", "six.six"]);
    assert!(file.path().exists());
    assert_eq!(all(runtime.path()).unwrap(), [four.clone(), six.clone()]);
    assert_eq!(file.read().unwrap().as_ref(), Some(&six));
    assert_eq!(of_endpoint(runtime.path(), &six.endpoints[0].id).unwrap().len(), 1);
    // One that gets the other family anew is one network still.
    let with_four = NetworkState { id: six.id.clone(), ..four.clone() };
    put(runtime.path(), &with_four);
    assert_eq!(files(runtime.path()), ["net.json", "six.json"]);
    put(runtime.path(), &six);
    assert_eq!(all(runtime.path()).unwrap(), [four, six]);
    file.update(|slot| {
        *slot = None;
        Ok::<_, NamesError>(())
    })
    .unwrap();
    assert_eq!(files(runtime.path()), ["net.json"]);
}

#[test]
fn a_file_that_cannot_be_read_takes_only_its_own_endpoints_from_others() {
    let runtime = tempfile::tempdir().unwrap();
    let six = six_alone();
    put(runtime.path(), &six);
    let own = six.endpoints[0].id.clone();
    let other = NetworkFile::new(runtime.path(), id("other"));
    let mut watched = Watched::new(runtime.path().to_owned(), own.clone());
    let mut now = || watched.current(|states, _| states.len()).copied().map_err(|error| error.to_string());
    assert_eq!(now(), Ok(1));
    // A new file each time, as a rename brings one: the folder's time moves.
    let write = |text: &str| {
        let _ = fs::remove_file(other.path());
        fs::write(other.path(), text).unwrap();
    };
    // Of another form, and of somebody else.
    write(r#"{"format":7,"endpoints":[{"id":"somebody"}]}"#);
    assert!(matches!(all(runtime.path()), Err(NamesError::Format { found: 7, .. })));
    assert_eq!(of_endpoint(runtime.path(), &own).unwrap().len(), 1);
    assert_eq!(now(), Ok(1));
    // Cut off: who was not in it is not in it, who never looked before cannot tell.
    write(r#"{"format":7,"endpo"#);
    assert!(matches!(of_endpoint(runtime.path(), &own), Err(NamesError::Damaged { .. })));
    assert_eq!(now(), Ok(1));
    let mut new = Watched::new(runtime.path().to_owned(), own.clone());
    assert!(new.current(|states, _| states.len()).is_err());
    // It may be in this one, of whose names nobody else is to be asked.
    write(&format!(r#"{{"format":7,"endpoints":[{{"id":"{own}"}}]}}"#));
    assert!(of_endpoint(runtime.path(), &own).is_err());
    let mut new = Watched::new(runtime.path().to_owned(), own);
    assert!(new.current(|states, _| states.len()).is_err());
}

proptest! {
    #[test]
    fn no_address_is_given_twice(removals in proptest::collection::vec(any::<prop::sample::Index>(), 0..40)) {
        let mut state = state("10.9.8.0/28");
        for removal in removals {
            let added = add(&mut state);
            prop_assert_eq!(added.is_none(), state.endpoints.len() == 13 && added.is_none());
            let distinct: std::collections::HashSet<_> = state.endpoints.iter().filter_map(|endpoint| endpoint.families.four().copied()).collect();
            prop_assert_eq!(distinct.len(), state.endpoints.len());
            prop_assert!(!distinct.contains(&state.families.four().unwrap().gateway));
            if state.endpoints.len() > 6 {
                let at = removal.index(state.endpoints.len());
                state.endpoints.remove(at);
            }
        }
    }
}
