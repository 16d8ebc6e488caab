//! From the graph to trees, and the digests of their layers meanwhile.

use std::num::NonZeroUsize;
use std::sync::mpsc;
use std::sync::{Mutex, Once, PoisonError};

use rbuild_model::graph::{Graph, StepId};
use rbuild_model::snapshot::Chain;
use rbuild_model::step::Operation;
use rbuild_solver::RecordId;

use super::{Aimed, Whole};
use crate::berths::Berths;
use crate::cancel::Cancel;
use crate::describe::layer_step;
use crate::drive::{Driven, drive};
use crate::error::StepError;
use crate::runner::{Parts, Runner};
use crate::worker::Worker;

impl Worker {
    /// Makes the trees of all targets, and the digests of their layers meanwhile.
    pub(super) fn solve(&self, whole: &Whole<'_>, cancel: &Cancel) -> Driven<StepError> {
        let Whole { graph, targets, wanted, contexts, tasks, imports, devices, wall: _ } = *whole;
        let goals: Vec<StepId> = targets.iter().flat_map(Aimed::roots).collect();
        let ids = tasks.declare_steps(graph, wanted);
        let epochs = layer_epochs(graph, targets);
        let (send, receive) = mpsc::channel::<Made>();
        let (send, receive) = (Mutex::new(Some(send)), Mutex::new(Some(receive)));
        let execs = graph
            .steps()
            .filter(|(id, step)| ids[id.index()].is_some() && matches!(step.operation, Operation::Exec(_)));
        let berths = Berths::new(self, tasks, execs.count(), devices);
        std::thread::scope(|scope| {
            // Whatever happens here, the threads of the scope must come to their ends.
            let _closing = Closing { berths: &berths, send: &send };
            // A build that finds everything needs neither.
            let begun = Once::new();
            let begin = || {
                begun.call_once(|| {
                    let receive = receive.lock().unwrap_or_else(PoisonError::into_inner).take();
                    scope.spawn(move || self.digest(receive.into_iter().flatten(), cancel));
                    scope.spawn(|| berths.keep_ready());
                });
            };
            let committed = |step: StepId, chain: &Chain, record: RecordId| {
                if let Some(send) = &*send.lock().unwrap_or_else(PoisonError::into_inner) {
                    let _ = send.send(Made { chain: chain.clone(), record, epoch: epochs[step.index()] });
                }
            };
            let runner = Runner::new(Parts {
                worker: self,
                graph,
                contexts,
                tasks,
                ids,
                cancel,
                wanted,
                extra_ca: targets.iter().map(|target| target.request.extra_ca.as_deref()).collect(),
                berths: &berths,
                begin: Box::new(begin),
                committed: Box::new(committed),
                imports,
            });
            let parallel = targets.iter().find_map(|target| target.request.parallel).unwrap_or_else(|| {
                std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN).saturating_add(2)
            });
            drive(graph, &goals, &**imports, &runner, &runner, cancel, parallel)
        })
    }

    /// Digests and measures layers while later steps run: by the end of the build the image has an id.
    fn digest(&self, layers: impl Iterator<Item = Made>, cancel: &Cancel) {
        for Made { chain, record, epoch } in layers {
            if let Some(epoch) = epoch
                && !cancel.is_cancelled()
            {
                // What fails here fails again, and is told, where the digest is needed.
                let _ = self.images.diff_id(&chain, epoch);
            }
            // A layer that was not measured only counts for nothing where room is made.
            if let Some(top) = chain.top()
                && let Ok(usage) = self.snapshotter.usage(top)
            {
                let _ = self.records.measured(record, top, usage.bytes);
            }
        }
    }
}

/// A layer that a step made.
struct Made {
    chain: Chain,
    record: RecordId,
    /// With which epoch it is a layer of the result; `None` if it is none.
    epoch: Option<Option<i64>>,
}

/// Ends what the threads around a solved graph wait for.
struct Closing<'a, 'w, T> {
    berths: &'a Berths<'w>,
    send: &'a Mutex<Option<mpsc::Sender<T>>>,
}

impl<T> Drop for Closing<'_, '_, T> {
    fn drop(&mut self) {
        self.berths.close();
        drop(self.send.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// For each step whether it makes a layer of a result, and with which epoch.
fn layer_epochs(graph: &Graph, targets: &[Aimed]) -> Vec<Option<Option<i64>>> {
    let mut epochs = vec![None; graph.len()];
    for target in targets.iter().flat_map(|target| &target.aims.targets) {
        for step in target.history.iter().filter_map(|item| item.layer) {
            epochs[layer_step(graph, step).index()] = Some(target.layer_epoch);
        }
    }
    epochs
}
