//! What runs to its end before a service starts.

use std::collections::BTreeMap;

use super::{Placed, Planner, Replica};
use crate::projects::cause::Cause;
use crate::projects::observed::ReplicaKind;
use crate::projects::operation::{OperationId, Startable, Warning};
use crate::projects::pre_start::{Steps, place};
use crate::projects::wanted::Starting;

use rbuild_model::project::Service;

impl<'a> Planner<'a> {
    /// Removes what earlier runs left behind, unless it is under way still and what would be run now. Of a service that
    /// runs it stays until it is known whether anything starts: it is the only sign that something was not done.
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
            let runs = |other: &Replica| {
                other.kind == ReplicaKind::Numbered
                    && other.service == replica.service
                    && other.activity.goes_on()
            };
            let is_sign = self.count(service) > 0 && observed.replicas.iter().any(runs);
            let stays = place(service, replica).is_some() && (replica.activity.goes_on() || is_sign);
            if self.wanted.one_off.as_ref() != Some(&service.name) && !stays {
                self.remove(replica, &Cause::Left);
            }
        }
    }

    /// Plans what runs before a service starts, where none of its containers runs, one comes anew, or it was not done the
    /// last time. Returns the last of it.
    pub(super) fn before(
        &mut self,
        service: &'a Service,
        to_start: &[(Startable, Cause, Vec<OperationId>)],
        placed: &Placed,
        needs: &[OperationId],
        any_runs: bool,
    ) -> Option<OperationId> {
        let observed: &'a super::Observed = self.observed;
        let steps = Steps::of(self.project, service, observed.replicas.iter());
        if to_start.is_empty() {
            for (at, left) in steps.left() {
                let (service, container) = (service.name.clone(), left.name.clone());
                self.plan.warnings.push(Warning::StepLeft { service, at, container });
            }
            return None;
        }
        let why = steps.why(placed.recreated, any_runs)?;
        let mut gone = BTreeMap::new();
        for (at, left) in steps.left() {
            let removed = self.ground.removed.get(&left.id).copied();
            gone.insert(at, removed.unwrap_or_else(|| self.remove(left, &Cause::Left)));
        }
        let mut after: Vec<OperationId> = to_start.iter().flat_map(|(.., after)| after).copied().collect();
        after.extend(needs);
        let only = (placed.count == 1).then(|| to_start[0].0.clone());
        let starts: Vec<Startable> = to_start.iter().map(|(start, ..)| start.clone()).collect();
        steps.plan(&mut self.plan, why, only, &starts, &after, &gone)
    }
}
