//! The order in which services come.

use std::collections::{BTreeMap, BTreeSet};

/// Services that depend on each other in a circle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("dependency cycle detected: {}", .0.join(" -> "))]
pub struct Cycle(pub Vec<String>);

/// Sorts names so that each comes after what it depends on, else by name. Names that are only depended upon and are no
/// keys are left out.
pub fn dependencies_first(graph: &BTreeMap<String, BTreeSet<String>>) -> Result<Vec<String>, Cycle> {
    enum Mark {
        Open,
        Done,
    }
    let mut marks: BTreeMap<&str, Mark> = BTreeMap::new();
    let mut sorted = Vec::with_capacity(graph.len());
    for start in graph.keys() {
        // An own stack: a project may be a chain of any length.
        let mut path: Vec<(&str, Vec<&str>)> = Vec::new();
        let mut next = Some(start.as_str());
        loop {
            if let Some(name) = next.take() {
                match marks.get(name) {
                    Some(Mark::Done) => {}
                    Some(Mark::Open) => {
                        let from = path.iter().position(|(open, _)| *open == name).unwrap_or_default();
                        let mut cycle: Vec<_> =
                            path[from..].iter().map(|(open, _)| (*open).to_owned()).collect();
                        cycle.push(name.to_owned());
                        return Err(Cycle(cycle));
                    }
                    None => {
                        if let Some(dependencies) = graph.get(name) {
                            marks.insert(name, Mark::Open);
                            path.push((name, dependencies.iter().rev().map(String::as_str).collect()));
                        }
                    }
                }
            }
            let Some((name, left)) = path.last_mut() else { break };
            match left.pop() {
                Some(dependency) => next = Some(dependency),
                None => {
                    marks.insert(*name, Mark::Done);
                    sorted.push((*name).to_owned());
                    path.pop();
                }
            }
        }
    }
    Ok(sorted)
}
