//! What comes back after the machine was restarted.

use std::collections::HashMap;

use rbuild_model::container::{Definition, Ended, NamespaceUse, Removal, RestartPolicy, State, Stopped};
use rbuild_model::network::NetworkMode;
use rbuild_monitor::{ClientError, MACHINE_RESTARTED};

use super::control::Start;
use super::error::ContainerError;
use super::link::links;
use crate::engine::Engine;

/// A container that its policy wants back, and what came of it.
#[derive(Debug)]
pub struct Back {
    /// Which one.
    pub definition: Definition,
    /// What people should know, or why it does not run.
    pub result: Result<Vec<String>, ContainerError>,
}

impl Engine {
    /// Starts what ran before the machine was restarted, or ended before, and whose policy wants it back. Repeatable:
    /// what has run since then is left alone, whether it still runs or was stopped.
    pub fn boot(&self, mut told: impl FnMut(Back)) -> Result<(), ContainerError> {
        let mut wanted = Vec::new();
        for definition in self.definitions()? {
            if self.has_run_since_boot(&definition)? {
                continue;
            }
            let observed = self.observe(&definition)?;
            let State::Exited(ended) = &observed.state else { continue };
            if definition.host.removal == Removal::Auto {
                // Nobody is left who would remove it.
                self.reap(definition.id)?;
            } else if comes_back(definition.host.restart, ended, observed.restarts) {
                wanted.push(definition);
            }
        }
        for definition in in_order(wanted) {
            let result = self.start(&definition).map(|start| match start {
                Start::Started(notes) => notes,
                Start::Running => Vec::new(),
            });
            told(Back { definition, result });
        }
        Ok(())
    }

    /// Whether a container was started since the machine was; one that never was counts as such.
    fn has_run_since_boot(&self, definition: &Definition) -> Result<bool, ContainerError> {
        let observed = self.place(definition.id).observe().map_err(ClientError::from)?;
        let record = observed.record();
        Ok(match record.state.ended() {
            // Another command may have found out already that the machine took it down.
            Some(Ended { error: Some(why), .. }) if why == MACHINE_RESTARTED => false,
            _ => record.boot == self.parts.store.boot().to_string(),
        })
    }
}

/// Puts containers in the order in which they can start: the oldest first, but each behind those that it needs. Where some
/// need each other, one of them has to begin.
fn in_order(mut wanted: Vec<Definition>) -> Vec<Definition> {
    wanted.sort_by_key(|definition| definition.created);
    let mut places: HashMap<String, usize> = HashMap::new();
    for (place, definition) in wanted.iter().enumerate() {
        places.insert(definition.id.to_string(), place);
        places.insert(definition.name.to_string(), place);
    }
    let needs: Vec<Vec<usize>> = wanted
        .iter()
        .map(|definition| {
            let names = needed(definition);
            names.filter_map(|name| places.get(name.trim_start_matches('/')).copied()).collect()
        })
        .collect();
    let mut order = Vec::with_capacity(wanted.len());
    let mut met = vec![false; wanted.len()];
    for first in 0..wanted.len() {
        // Those that wait for what they need, each with how much of it was looked at.
        let mut waiting = vec![(first, 0)];
        while let Some((place, looked_at)) = waiting.pop() {
            if looked_at == 0 && std::mem::replace(&mut met[place], true) {
                continue;
            }
            match needs[place].get(looked_at) {
                Some(need) => waiting.extend([(place, looked_at + 1), (*need, 0)]),
                None => order.push(place),
            }
        }
    }
    let mut wanted: Vec<Option<Definition>> = wanted.into_iter().map(Some).collect();
    order.into_iter().filter_map(|place| wanted[place].take()).collect()
}

/// Returns the containers, by id or name, that have to run when one starts: whose namespaces it shares, and to whom it is linked.
fn needed(definition: &Definition) -> impl Iterator<Item = &str> {
    let host = &definition.host;
    let network = match &host.network {
        NetworkMode::Container(lender) => Some(lender.as_str()),
        _ => None,
    };
    let shared = [&host.pid, &host.ipc].into_iter().filter_map(|of| match of {
        NamespaceUse::Container(lender) => Some(lender.as_str()),
        _ => None,
    });
    network.into_iter().chain(shared).chain(links(definition).map(|(target, _)| target))
}

/// Tells whether a policy wants a container back that does not run since the machine was restarted.
fn comes_back(policy: RestartPolicy, ended: &Ended, restarts: u32) -> bool {
    match policy {
        RestartPolicy::No => false,
        RestartPolicy::Always => true,
        RestartPolicy::UnlessStopped => ended.stopped == Stopped::ByItself,
        RestartPolicy::OnFailure { max } => {
            ended.stopped == Stopped::ByItself && ended.code != 0 && max.is_none_or(|max| restarts < max)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_say_what_comes_back() {
        use RestartPolicy::{Always, No, OnFailure, UnlessStopped};
        let ended = |code, stopped| Ended {
            started: jiff::Timestamp::UNIX_EPOCH,
            finished: jiff::Timestamp::UNIX_EPOCH,
            code,
            oom_killed: false,
            stopped,
            error: None,
            health: None,
        };
        let lost = ended(255, Stopped::ByItself);
        let stopped = ended(143, Stopped::ByHand);
        let done = ended(0, Stopped::ByItself);
        for (policy, back) in [
            (No, [false, false, false]),
            (Always, [true, true, true]),
            (UnlessStopped, [true, false, true]),
            (OnFailure { max: None }, [true, false, false]),
            (OnFailure { max: Some(3) }, [true, false, false]),
        ] {
            let told = [&lost, &stopped, &done].map(|ended| comes_back(policy, ended, 2));
            assert_eq!(told, back, "{policy}");
        }
        assert!(!comes_back(OnFailure { max: Some(2) }, &lost, 2));
    }
}
