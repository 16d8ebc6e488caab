//! Which steps of a graph are wanted, and by which targets.

use rbuild_model::graph::{Graph, StepId};

/// For every step of a graph the targets that depend on it, and what those are called.
pub(crate) struct Wanted<'a> {
    /// By step, the positions of the targets, ascending.
    by: Vec<Vec<u32>>,
    /// The names of the targets, where there are several.
    names: Vec<Option<&'a str>>,
    /// By step, the target that asked for it first.
    first: Vec<u32>,
}

impl<'a> Wanted<'a> {
    /// Looks from the goals of each target to all that they depend on. `first` says for each step which target asked for it
    /// first.
    pub(crate) fn new(
        graph: &Graph,
        first: Vec<u32>,
        targets: impl IntoIterator<Item = (Option<&'a str>, Vec<StepId>)>,
    ) -> Self {
        let mut by: Vec<Vec<u32>> = vec![Vec::new(); graph.len()];
        let mut names = Vec::new();
        for (name, goals) in targets {
            let target = names.len() as u32;
            names.push(name);
            let mut want = |step: StepId| {
                let by = &mut by[step.index()];
                if by.last() != Some(&target) {
                    by.push(target);
                    return true;
                }
                false
            };
            let mut work: Vec<StepId> = goals.into_iter().filter(|goal| want(*goal)).collect();
            while let Some(step) = work.pop() {
                work.extend(graph.step(step).inputs.iter().copied().filter(|input| want(*input)));
            }
        }
        Self { by, names, first }
    }

    /// Returns whether somebody wants a step.
    pub(crate) fn is_wanted(&self, step: StepId) -> bool {
        !self.by[step.index()].is_empty()
    }

    /// Returns whether a target wants a step.
    pub(crate) fn is_wanted_by(&self, step: StepId, target: usize) -> bool {
        self.by[step.index()].iter().any(|wanting| *wanting as usize == target)
    }

    /// Returns the targets that want a step.
    pub(crate) fn targets(&self, step: StepId) -> impl Iterator<Item = usize> + '_ {
        self.by[step.index()].iter().map(|target| *target as usize)
    }

    /// Returns the target that a step is told of: the one that asked for it first, if it wants it.
    pub(crate) fn owner(&self, step: StepId) -> Option<usize> {
        let first = self.first[step.index()] as usize;
        if self.is_wanted_by(step, first) { Some(first) } else { self.targets(step).next() }
    }

    /// Returns what displays call a step: with the name of the target that asked for it first.
    pub(crate) fn name(&self, graph: &Graph, step: StepId) -> String {
        let target = self.owner(step).and_then(|target| self.names[target]);
        prefixed(target, &graph.note(step).name)
    }
}

/// Puts the name of a target before that of something done for it, as in `[web 1/3] FROM ...`.
pub(crate) fn prefixed(target: Option<&str>, name: &str) -> String {
    match (target, name.strip_prefix('[')) {
        (None, _) => name.to_owned(),
        (Some(target), Some(rest)) => format!("[{target} {rest}"),
        (Some(target), None) => format!("[{target}] {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rbuild_model::graph::GraphBuilder;
    use rbuild_model::step::{LocalSource, Operation, Source, Step, StepNote};

    fn add(graph: &mut GraphBuilder, name: &str, inputs: Vec<StepId>) -> StepId {
        let source = Source::Local(LocalSource { name: name.to_owned() });
        let note = StepNote { name: format!("[1/1] {name}"), ..StepNote::default() };
        graph.add(Step { operation: Operation::Source(source), inputs }, note)
    }

    #[test]
    fn a_step_is_named_after_the_target_that_asked_for_it_first() {
        let mut graph = GraphBuilder::new();
        let shared = add(&mut graph, "shared", Vec::new());
        let first = add(&mut graph, "first", vec![shared]);
        let second = add(&mut graph, "second", vec![shared]);
        let nobodys = add(&mut graph, "nobodys", vec![second]);
        let graph = graph.finish();
        let targets = [(Some("a"), vec![first]), (Some("b"), vec![second, shared])];
        let wanted = Wanted::new(&graph, vec![1, 0, 1, 1], targets);
        assert_eq!(wanted.targets(shared).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(wanted.targets(second).collect::<Vec<_>>(), [1]);
        assert!(!wanted.is_wanted(nobodys));
        assert_eq!(wanted.name(&graph, shared), "[b 1/1] shared", "it was asked for there first");
        assert_eq!(wanted.name(&graph, second), "[b 1/1] second");
        let alone = Wanted::new(&graph, vec![0; 4], [(None, vec![first])]);
        assert_eq!(alone.name(&graph, shared), "[1/1] shared");
        assert_eq!(prefixed(Some("a"), "exporting to image"), "[a] exporting to image");
    }
}
