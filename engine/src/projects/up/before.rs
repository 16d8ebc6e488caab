//! What runs to its end before a service starts.

use super::{Placed, Planner};
use crate::projects::cause::{BeforeWhy, Cause};
use crate::projects::observed::{Replica, ReplicaKind};
use crate::projects::operation::{Before, Operation, OperationId, Startable};
use crate::projects::pre_start;
use crate::projects::wanted::Starting;

use rbuild_model::project::Service;

impl<'a> Planner<'a> {
    /// Removes what earlier runs left behind, unless it is under way still and what would be run now.
    pub(super) fn left_before(&mut self) {
        if self.wanted.starting == Starting::CreateOnly {
            return;
        }
        let observed: &'a super::Observed = self.observed;
        for replica in observed.replicas.iter().filter(|replica| replica.kind == ReplicaKind::PreStart) {
            let service = self.project.services.get(replica.service.as_str());
            let Some(service) = service.filter(|service| self.selected.contains(&service.name)) else {
                continue;
            };
            let is_meant = self.wanted.one_off.as_ref() != Some(&service.name);
            if is_meant && !is_under_way(service, replica) {
                self.remove(replica, &Cause::Left);
            }
        }
    }

    /// Plans what runs before a service starts, where none of its containers runs, one comes anew, or it was not done the
    /// last time. Returns the last of it.
    pub(super) fn before(
        &mut self,
        service: &Service,
        to_start: &[(Startable, Cause, Vec<OperationId>)],
        placed: &Placed,
        needs: &[OperationId],
        any_runs: bool,
    ) -> Option<OperationId> {
        let left = self.observed.replicas.iter().filter(|replica| {
            replica.kind == ReplicaKind::PreStart && replica.service == service.name.as_str()
        });
        let left: Vec<&Replica> = left.collect();
        let under_way = left.iter().find(|replica| is_under_way(service, replica));
        let first = under_way.and_then(|replica| usize::try_from(replica.number).ok());
        let why = match () {
            () if to_start.is_empty() => return None,
            () if placed.recreated => BeforeWhy::Recreated,
            () if !left.is_empty() => BeforeWhy::NotDone,
            () if !any_runs => BeforeWhy::NoneRuns,
            () => return None,
        };
        let mut after: Vec<OperationId> = to_start.iter().flat_map(|(.., after)| after).copied().collect();
        after.extend(needs);
        let only = (placed.count == 1).then(|| to_start[0].0.clone());
        let mut last = None;
        for at in first.unwrap_or_default()..service.pre_start.len() {
            let why = if first == Some(at) { BeforeWhy::UnderWay } else { why };
            let name = pre_start::name(self.project, service, at);
            let before = Before { service: service.name.clone(), at, name, only: only.clone() };
            let cause = Cause::Before { service: service.name.clone(), why };
            let gone = self.plan_of_removal(&left, at);
            let needs = last.map_or_else(|| after.clone(), |last| vec![last]);
            let after = needs.into_iter().chain(gone).collect();
            last = Some(self.plan.add(Operation::RunBefore(before), cause, after));
        }
        last
    }

    /// What removes the one that was left behind in a place.
    fn plan_of_removal(&self, left: &[&Replica], at: usize) -> Option<OperationId> {
        let same = left.iter().find(|replica| usize::try_from(replica.number) == Ok(at))?;
        self.ground.removed.get(&same.id).copied()
    }
}

/// Whether one runs that would be run now.
fn is_under_way(service: &Service, replica: &Replica) -> bool {
    replica.activity.goes_on()
        && replica.config_hash == service.config_hash
        && usize::try_from(replica.number).is_ok_and(|at| at < service.pre_start.len())
}
