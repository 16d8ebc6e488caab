//! From the requests of all targets to one graph.

use rbuild_model::event::Event;
use rbuild_model::graph::{Graph, GraphBuilder};
use rbuild_model::span::Diagnostic;

use super::{Aimed, TargetError};
use crate::answer::Others;
use crate::cancel::Cancel;
use crate::cdi::{Refused, StepDevices};
use crate::check::Checked;
use crate::context::Contexts;
use crate::error::BuildError;
use crate::request::{BuildRequest, NamedContext, TargetRequest};
use crate::tasks::Tasks;
use crate::wanted::Wanted;
use crate::worker::Worker;

impl Worker {
    /// Reads and lowers every target into one graph, those first that others are made from. Says for each step which target
    /// asked for it first.
    pub(super) fn aim(
        &self,
        targets: Vec<TargetRequest<'_>>,
        contexts: &Contexts<'_>,
        tasks: &Tasks,
        cancel: &Cancel,
    ) -> Result<(Graph, Vec<u32>, Vec<Aimed>), TargetError> {
        let several = targets.len() > 1;
        let order = order(&targets)?;
        let mut requests: Vec<Option<(String, BuildRequest)>> =
            targets.into_iter().map(|target| Some((target.name, target.request))).collect();
        let mut aimed: Vec<Option<Aimed>> = requests.iter().map(|_| None).collect();
        let mut builder = GraphBuilder::new();
        let mut others = Others::default();
        let mut first = Vec::new();
        let mut told: Vec<Diagnostic> = Vec::new();
        for at in order {
            let (name, mut request) = requests[at].take().expect("each target comes once");
            let named;
            let tasks = if several {
                named = tasks.of_target(&name);
                &named
            } else {
                tasks
            };
            let Checked { findings, lowered, error, dockerfile: _ } =
                self.checked(&mut request, contexts.seat(at), &mut builder, &mut others, tasks, cancel);
            first.resize(builder.count(), at as u32);
            for finding in findings.warnings {
                // Targets share Dockerfiles.
                if !told.contains(&finding) {
                    told.push(finding.clone());
                    tasks.events().event(Event::Warning(finding));
                }
            }
            let label = several.then(|| name.clone());
            let aims = match (error, lowered) {
                (None, Some(lowered)) => *lowered,
                (error, _) => {
                    let error = error.unwrap_or(BuildError::Cancelled);
                    return Err(TargetError { target: label, error });
                }
            };
            if several {
                others.add(&name, aims.targets.clone());
            }
            aimed[at] = Some(Aimed { name: label, request, aims });
        }
        Ok((builder.finish(), first, aimed.into_iter().flatten().collect()))
    }

    /// Finds the devices of steps, and whether they may have them.
    pub(super) fn step_devices(
        &self,
        graph: &Graph,
        wanted: &Wanted<'_>,
        targets: &[Aimed],
    ) -> Result<StepDevices, TargetError> {
        let grants: Vec<_> = targets.iter().map(|target| &target.request.devices).collect();
        StepDevices::find(&self.device_folders, graph, wanted, &grants).map_err(|refused| {
            let Refused { step, target, error } = refused;
            targets[target].failed(BuildError::Step {
                name: wanted.name(graph, step),
                location: graph.note(step).location.clone(),
                source: Box::new(error.into()),
            })
        })
    }
}

/// Brings targets into an order in which each comes after those that it is made from.
fn order(targets: &[TargetRequest<'_>]) -> Result<Vec<usize>, TargetError> {
    fn visit(
        at: usize,
        targets: &[TargetRequest<'_>],
        path: &mut Vec<usize>,
        order: &mut Vec<usize>,
    ) -> Result<(), TargetError> {
        if order.contains(&at) {
            return Ok(());
        }
        let name = |at: usize| targets[at].name.clone();
        let failed = |error| TargetError { target: Some(name(at)), error };
        if let Some(begin) = path.iter().position(|on_path| *on_path == at) {
            let names = path[begin..].iter().map(|at| name(*at)).chain([name(at)]).collect();
            return Err(failed(BuildError::TargetCycle { names }));
        }
        path.push(at);
        for context in targets[at].request.contexts.values() {
            let NamedContext::Target(wanted) = context else { continue };
            let found = targets.iter().position(|target| target.name == *wanted);
            let found = found.ok_or_else(|| failed(BuildError::NoTarget { name: wanted.clone() }))?;
            visit(found, targets, path, order)?;
        }
        path.pop();
        order.push(at);
        Ok(())
    }
    let mut order = Vec::new();
    for at in 0..targets.len() {
        visit(at, targets, &mut Vec::new(), &mut order)?;
    }
    Ok(order)
}
