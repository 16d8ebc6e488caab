//! Which elements of the packet filter's sets are a container's own: read of the files of networks once, and again only after
//! elements came, as those of a network that it was connected to do. So a hundred containers that stop side by side, each of
//! which hears of all the others, read the files a hundred times and not ten thousand times.
//!
//! Nothing here waits for the lock of a network: who holds it may be stopped, while the container is to be served. What
//! cannot be looked after now is kept, and looked at again a little later.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::firewall::Found;
use crate::firewall::elements::{self, Guarding};
use crate::firewall::watch::{Coming, Elements, Heard};
use crate::names::{EndpointRecord, NetworkId, NetworkState, Records, Settled};
use crate::netlink::nftables::{Element, Gone};

/// Most changes of a network take less.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// What a hundred containers can bear for as long as somebody keeps a lock.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The tables of the packet filter, and the networks of one endpoint.
pub(super) trait Tables {
    /// What can go wrong.
    type Error;

    /// Looks at the rules, and makes the tables again if they are not as we made them.
    fn mend(&mut self) -> Result<Found, Self::Error>;

    /// The endpoint's networks, each with its record there. Does not wait for those who change one.
    fn networks(&mut self) -> Result<(Records, Settled), Self::Error>;

    /// Puts back what is missing of the endpoint and one network; nothing if somebody changes that network now.
    fn restore(&mut self, network: &NetworkId) -> Result<Option<Found>, Self::Error>;
}

/// The elements of one endpoint and its networks.
#[derive(Debug, Default)]
pub(super) struct OwnElements {
    /// Those of each network; nothing if they are to be read.
    known: Option<Vec<(NetworkId, Vec<Element>)>>,
    /// What is to be looked after still.
    missing: Missing,
    /// When to come again for it.
    again: Option<Again>,
}

/// What may have been taken out of the sets.
#[derive(Debug, Default)]
struct Missing {
    /// Those that went.
    gone: HashSet<Gone>,
    /// Whether anything may have gone unheard.
    any: bool,
}

impl Missing {
    fn is_none(&self) -> bool {
        self.gone.is_empty() && !self.any
    }

    fn concerns(&self, own: &[Element]) -> bool {
        let has_gone =
            |own: &Element| self.gone.contains(&Gone { set: own.set.name.to_owned(), key: own.key.clone() });
        self.any || own.iter().any(has_gone)
    }
}

#[derive(Clone, Copy, Debug)]
struct Again {
    at: Instant,
    pause: Duration,
}

impl OwnElements {
    /// When [`OwnElements::tend`] is to be called even if nothing was heard.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.again.map(|again| again.at)
    }

    /// Puts right what was heard of, and what was left over from the time before; says whether there was any damage.
    pub(super) fn tend<T: Tables>(
        &mut self,
        heard: Heard,
        now: Instant,
        tables: &mut T,
    ) -> Result<Found, T::Error> {
        match heard {
            Heard::Elements(Elements { gone, came }) => {
                self.missing.gone.extend(gone);
                if came == Coming::Some {
                    self.known = None;
                }
            }
            // What came and went of elements meanwhile was not told.
            Heard::Rules => {
                *self = Self { missing: Missing { any: true, ..Missing::default() }, ..Self::default() };
                let (networks, settled) = tables.networks()?;
                if networks.is_empty() && settled == Settled::Yes {
                    // With the last network the rules go, too, and are to stay away.
                    *self = Self::default();
                    return Ok(Found::Whole);
                }
                if !networks.is_empty() && tables.mend()? == Found::Damaged {
                    // All that the files tell of was put in.
                    self.missing = Missing { any: settled == Settled::NotYet, ..Missing::default() };
                    self.come_again(now);
                    return Ok(Found::Damaged);
                }
            }
        }
        if self.missing.is_none() {
            self.again = None;
            return Ok(Found::Whole);
        }
        // Elements come and go all the time while many containers start: files are not read for each of them.
        if self.known.is_none() && self.again.is_some_and(|again| now < again.at) {
            return Ok(Found::Whole);
        }
        self.look_after(now, tables)
    }

    fn look_after<T: Tables>(&mut self, now: Instant, tables: &mut T) -> Result<Found, T::Error> {
        let missing = std::mem::take(&mut self.missing);
        let (known, settled) = match self.known.take() {
            Some(known) => (known, Settled::Yes),
            None => {
                let (found, settled) = tables.networks()?;
                (
                    found.iter().map(|(state, record)| (state.id.clone(), own(state, record))).collect(),
                    settled,
                )
            }
        };
        let (mut found, mut failed, mut is_kept) = (Found::Whole, None, settled == Settled::NotYet);
        for (network, _) in known.iter().filter(|(_, own)| missing.concerns(own)) {
            match tables.restore(network) {
                Ok(Some(Found::Damaged)) => found = Found::Damaged,
                Ok(Some(Found::Whole)) => {}
                Ok(None) => is_kept = true,
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if settled == Settled::Yes {
            self.known = Some(known);
        }
        if is_kept {
            self.missing = missing;
        }
        self.come_again(now);
        match failed {
            Some(error) => Err(error),
            None => Ok(found),
        }
    }

    /// Sets the time for what is missing still: each time that it comes in vain, the next one is farther.
    fn come_again(&mut self, now: Instant) {
        let pause = match self.again {
            Some(again) if again.at <= now => (again.pause * 2).min(LONGEST_PAUSE),
            Some(again) => again.pause,
            None => FIRST_PAUSE,
        };
        self.again = (!self.missing.is_none()).then(|| Again { at: now + pause, pause });
    }
}

fn own(state: &NetworkState, record: &EndpointRecord) -> Vec<Element> {
    elements::of_all_of(state, record, Guarding::On)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::net::Ipv4Addr;

    use super::*;
    use crate::driver::{Guard, PortIsolation, Reach};
    use crate::families::Families;
    use crate::link::{LinkName, StorePrefix};
    use crate::names::{EndpointId, FourState, NamesError, NetworkFile, known_of_endpoint};

    fn network(id: &str, third: u8) -> NetworkState {
        let subnet = crate::address::Subnet::new(Ipv4Addr::new(10, 1, third, 0), 24).unwrap();
        let families = Families::Four(FourState::new(subnet, subnet.first()));
        let bridge = StorePrefix::new("deadbeef").unwrap().bridge(id);
        let id = NetworkId::new(id).unwrap();
        NetworkState::new(id, bridge, families, Reach::Outside, PortIsolation::Shared, 1500)
    }

    fn endpoint(state: &NetworkState, id: usize) -> EndpointRecord {
        let address = state.next_address(None).unwrap();
        EndpointRecord {
            id: EndpointId::new(&format!("e{id}")).unwrap(),
            port: StorePrefix::new("deadbeef").unwrap().port(&format!("{}/e{id}", state.id), 0),
            link: LinkName::eth(0),
            families: Families::Four(address),
            link_local: Vec::new(),
            mac: crate::address::derived_mac(state.id.as_str(), address.into()),
            guard: Guard::Strict,
            names: Vec::new(),
            private_names: Vec::new(),
            presence: Default::default(),
            published: Vec::new(),
        }
    }

    fn gone(elements: Vec<Element>) -> Elements {
        let gone = elements.into_iter().map(|one| Gone { set: one.set.name.to_owned(), key: one.key });
        Elements { gone: gone.collect(), came: Coming::None }
    }

    /// Tables that only count what is done to them.
    #[derive(Default)]
    struct Counted {
        networks: Records,
        settled: Option<Settled>,
        locked: Vec<&'static str>,
        damaged: bool,
        reads: usize,
        restored: Vec<String>,
    }

    impl Counted {
        fn restored(&mut self) -> String {
            std::mem::take(&mut self.restored).join(" ")
        }
    }

    impl Tables for Counted {
        type Error = Infallible;

        fn mend(&mut self) -> Result<Found, Infallible> {
            Ok(if self.damaged { Found::Damaged } else { Found::Whole })
        }

        fn networks(&mut self) -> Result<(Records, Settled), Infallible> {
            self.reads += 1;
            Ok((self.networks.clone(), self.settled.unwrap_or(Settled::Yes)))
        }

        fn restore(&mut self, network: &NetworkId) -> Result<Option<Found>, Infallible> {
            if self.locked.contains(&network.as_str()) {
                return Ok(None);
            }
            self.restored.push(network.to_string());
            Ok(Some(Found::Damaged))
        }
    }

    fn came() -> Heard {
        Heard::Elements(Elements { gone: Vec::new(), came: Coming::Some })
    }

    fn nothing() -> Heard {
        Heard::Elements(Elements::default())
    }

    fn two_networks() -> Records {
        let networks = [network("one", 0), network("two", 1)];
        networks.map(|state| (state.clone(), endpoint(&state, 1))).into()
    }

    fn gone_of((state, record): &(NetworkState, EndpointRecord)) -> Heard {
        Heard::Elements(gone(elements::of_endpoint(state, record, Guarding::On)))
    }

    #[test]
    fn containers_that_stop_side_by_side_read_the_files_once_each() {
        let mut state = network("net", 0);
        for id in 0..50 {
            let record = endpoint(&state, id);
            state.endpoints.push(record);
        }
        let monitor = |record: &EndpointRecord| {
            let networks = vec![(state.clone(), record.clone())];
            (OwnElements::default(), Counted { networks, ..Counted::default() })
        };
        let mut monitors: Vec<_> = state.endpoints.iter().map(monitor).collect();
        let now = Instant::now();
        for stopped in &state.endpoints {
            let heard = Heard::Elements(gone(elements::of_endpoint(&state, stopped, Guarding::On)));
            for ((own, tables), record) in monitors.iter_mut().zip(&state.endpoints) {
                own.tend(heard.clone(), now, tables).unwrap();
                assert_eq!(tables.restored(), if record.id == stopped.id { "net" } else { "" });
            }
        }
        assert!(monitors.iter().all(|(own, tables)| tables.reads == 1 && own.deadline().is_none()));
    }

    #[test]
    fn what_came_since_is_looked_for_when_something_goes() {
        let both = two_networks();
        let (mut own, now) = (OwnElements::default(), Instant::now());
        let mut tables = Counted { networks: both[..1].to_vec(), ..Counted::default() };
        let mut heard = |heard: Heard, tables: &mut Counted| {
            own.tend(heard, now, tables).unwrap();
            (tables.restored(), tables.reads)
        };
        let of_network = Heard::Elements(gone(elements::of_network(&both[0].0)));
        assert_eq!(heard(gone_of(&both[1]), &mut tables), (String::new(), 1));
        assert_eq!(heard(of_network, &mut tables), ("one".to_owned(), 1));
        tables.networks.clone_from(&both);
        assert_eq!(heard(came(), &mut tables), (String::new(), 1), "nothing went");
        assert_eq!(heard(gone_of(&both[1]), &mut tables), ("two".to_owned(), 2));
    }

    #[test]
    fn what_cannot_be_looked_after_now_is_kept() {
        let both = two_networks();
        let (mut own, mut now) = (OwnElements::default(), Instant::now());
        let mut tables = Counted { networks: both.clone(), locked: vec!["two"], ..Counted::default() };
        let Heard::Elements(mut all) = gone_of(&both[0]) else { unreachable!() };
        let Heard::Elements(of_two) = gone_of(&both[1]) else { unreachable!() };
        all.gone.extend(of_two.gone);
        // One network's lock is taken: the other is mended, and this one later.
        assert_eq!(own.tend(Heard::Elements(all), now, &mut tables), Ok(Found::Damaged));
        assert_eq!(tables.restored(), "one");
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let at = own.deadline().unwrap();
            pauses.push(at - now);
            now = at;
            own.tend(nothing(), now, &mut tables).unwrap();
            tables.restored();
        }
        assert!(pauses.is_sorted() && pauses[0] == FIRST_PAUSE && pauses[7] == LONGEST_PAUSE, "{pauses:?}");
        tables.locked.clear();
        now = own.deadline().unwrap();
        own.tend(nothing(), now, &mut tables).unwrap();
        assert!(tables.restored().contains("two"));
        assert_eq!(own.deadline(), None);
    }

    #[test]
    fn a_network_that_is_being_connected_is_known_once_it_is_there() {
        let both = two_networks();
        let (mut own, mut now) = (OwnElements::default(), Instant::now());
        let mut tables = Counted { networks: both[..1].to_vec(), ..Counted::default() };
        tables.settled = Some(Settled::NotYet);
        own.tend(came(), now, &mut tables).unwrap();
        own.tend(gone_of(&both[1]), now, &mut tables).unwrap();
        assert_eq!((tables.restored(), tables.reads), (String::new(), 1));
        // What comes before the time is only kept.
        own.tend(gone_of(&both[0]), now, &mut tables).unwrap();
        assert_eq!((tables.restored(), tables.reads), (String::new(), 1));
        tables.networks.clone_from(&both);
        tables.settled = None;
        now = own.deadline().unwrap();
        own.tend(nothing(), now, &mut tables).unwrap();
        assert_eq!((tables.restored(), tables.reads), ("one two".to_owned(), 2));
        assert_eq!(own.deadline(), None);
    }

    #[test]
    fn a_change_of_rules_forgets_what_was_known_of_elements() {
        let both = two_networks();
        for damaged in [false, true] {
            let (mut own, now) = (OwnElements::default(), Instant::now());
            let mut tables = Counted { networks: both[..1].to_vec(), ..Counted::default() };
            own.tend(gone_of(&both[0]), now, &mut tables).unwrap();
            assert_eq!(tables.restored(), "one");
            // Elements of another network came with it, and nobody told.
            (tables.networks, tables.damaged) = (both.clone(), damaged);
            own.tend(Heard::Rules, now, &mut tables).unwrap();
            assert_eq!(tables.restored(), if damaged { "" } else { "one two" });
            own.tend(gone_of(&both[1]), now, &mut tables).unwrap();
            assert_eq!(tables.restored(), "two", "{damaged}");
        }
        // Who is in no network has no rules to look after.
        let mut own = OwnElements::default();
        let mut tables = Counted { damaged: true, ..Counted::default() };
        assert_eq!(own.tend(Heard::Rules, Instant::now(), &mut tables), Ok(Found::Whole));
        assert_eq!(own.deadline(), None);
    }

    #[test]
    fn a_held_lock_is_not_waited_for() {
        let runtime = tempfile::tempdir().unwrap();
        let (mut state, record) = two_networks().swap_remove(0);
        state.endpoints.push(record.clone());
        let own = NetworkFile::new(runtime.path(), state.id.clone());
        let change = |slot: &mut Option<NetworkState>| {
            *slot = Some(state);
            Ok::<_, NamesError>(())
        };
        own.update(change).unwrap();
        let known = |expected: Settled| {
            let (found, settled) = known_of_endpoint(runtime.path(), &record.id).unwrap();
            assert_eq!((found.len(), settled), (1, expected));
        };
        known(Settled::Yes);
        own.update(|_| -> Result<(), NamesError> {
            known(Settled::NotYet);
            assert_eq!(own.try_update(|_| Ok::<_, NamesError>(()))?, None);
            Ok(())
        })
        .unwrap();
        known(Settled::Yes);
        assert_eq!(own.try_update(|_| Ok::<_, NamesError>(())).unwrap(), Some(()));
    }
}
