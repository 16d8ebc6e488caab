use proptest::prelude::*;

use super::*;
use crate::error::Error;

fn id(text: &str) -> NetworkId {
    NetworkId::new(text).unwrap()
}

fn state(subnet: &str) -> NetworkState {
    let subnet: Subnet = subnet.parse().unwrap();
    let bridge = LinkName::new("rbdeadbeefbtest").unwrap();
    NetworkState::new(id("net"), bridge, subnet, subnet.first(), Reach::Outside, PortIsolation::Shared, 1500)
}

fn add(state: &mut NetworkState) -> Option<Ipv4Addr> {
    let address = state.next_address()?;
    state.cursor = address;
    state.endpoints.push(EndpointRecord {
        id: EndpointId::new(&format!("e{}", u32::from(address))).unwrap(),
        port: LinkName::eth(9),
        address,
        mac: Mac::derived("net", address),
        guard: Guard::Strict,
        names: vec!["web".to_owned()],
        published: Vec::new(),
    });
    Some(address)
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
    let addresses: std::collections::HashSet<_> =
        file.read().unwrap().unwrap().endpoints.iter().map(|endpoint| endpoint.address).collect();
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

proptest! {
    #[test]
    fn no_address_is_given_twice(removals in proptest::collection::vec(any::<prop::sample::Index>(), 0..40)) {
        let mut state = state("10.9.8.0/28");
        for removal in removals {
            let added = add(&mut state);
            prop_assert_eq!(added.is_none(), state.endpoints.len() == 13 && added.is_none());
            let distinct: std::collections::HashSet<_> = state.endpoints.iter().map(|endpoint| endpoint.address).collect();
            prop_assert_eq!(distinct.len(), state.endpoints.len());
            prop_assert!(!distinct.contains(&state.gateway));
            if state.endpoints.len() > 6 {
                let at = removal.index(state.endpoints.len());
                state.endpoints.remove(at);
            }
        }
    }
}
