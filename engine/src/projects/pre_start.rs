//! Containers that run to their end before a service starts: what they are, and when they run. Pure.

use std::collections::BTreeMap;

use rbuild_model::project::{
    Attachment, HealthCheck, HealthTest, MountKind, PreStart, Project, Restart, Service,
};

use super::cause::{BeforeWhy, Cause};
use super::container::NotPossible;
use super::observed::{Replica, ReplicaKind};
use super::operation::{Before, Operation, OperationId, Plan, Startable};
use crate::containers::check_workdir;

/// Whether a service has one container, whose own volumes are mounted then, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// It has.
    All,
    /// It has several: what each of them has for itself is nobody else's.
    Shared,
}

/// Returns the name of such a container. Those of services end in a number of its own after a separator.
pub(super) fn name(project: &Project, service: &Service, at: usize) -> String {
    let Project { name, separator, .. } = project;
    format!("{name}{separator}{}{separator}pre_start{at}", service.name)
}

/// Returns the service that such a container is made of as if it were one of its own: in its networks and with its mounts,
/// variables and limits, but under no name of it, without its ports, and never started again.
pub(super) fn service(service: &Service, step: &PreStart, sharing: Sharing) -> Service {
    let PreStart { image, hook, per_replica: _ } = step;
    let mut own = Service {
        image: image.clone().or_else(|| service.image.clone()),
        command: Some(hook.command.clone()).filter(|command| !command.is_empty()),
        entrypoint: None,
        user: chosen(hook.user.as_ref()).or_else(|| service.user.clone()),
        working_dir: chosen(hook.working_dir.as_ref()).or_else(|| service.working_dir.clone()),
        privileged: hook.privileged || service.privileged,
        healthcheck: Some(HealthCheck { test: Some(HealthTest::None), ..HealthCheck::default() }),
        restart: Some(Restart::No),
        replicas: 1,
        container_name: None,
        hostname: None,
        domainname: None,
        mac_address: None,
        labels: Default::default(),
        annotations: Default::default(),
        pre_start: Vec::new(),
        post_start: Vec::new(),
        pre_stop: Vec::new(),
        ports: Vec::new(),
        expose: Vec::new(),
        tty: false,
        stdin_open: false,
        ..service.clone()
    };
    own.environment.extend(hook.environment.clone());
    // What a container has for itself in a network is the service's.
    for attachment in own.networks.values_mut() {
        *attachment = Attachment {
            aliases: Vec::new(),
            ipv4_address: None,
            ipv6_address: None,
            link_local_ips: Vec::new(),
            mac_address: None,
            ..attachment.clone()
        };
    }
    if sharing == Sharing::Shared {
        own.volumes.retain(|mount| !matches!(mount.kind, MountKind::Volume { source: None, .. }));
    }
    own
}

fn chosen(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).cloned()
}

/// Refuses what no such container can have.
pub(super) fn refuse(service: &Service) -> Result<(), NotPossible> {
    for (at, step) in service.pre_start.iter().enumerate() {
        let not =
            |key: &str, why: String| Err(NotPossible::new(service, format!("pre_start[{at}].{key}"), why));
        if step.per_replica {
            let why = "it can only run once for the service: leave it out, or say `false`";
            return not("per_replica", why.to_owned());
        }
        if let Some(folder) = chosen(step.hook.working_dir.as_ref())
            && let Err(why) = check_workdir(&folder)
        {
            return not("working_dir", why.to_string());
        }
    }
    Ok(())
}

/// What is left of a service's steps: of those that would be run now.
pub(super) struct Steps<'a> {
    project: &'a Project,
    service: &'a Service,
    left: Vec<(usize, &'a Replica)>,
}

impl<'a> Steps<'a> {
    /// Looks what is left of a service's steps. What was written otherwise then, or is not written any more, is nobody's.
    pub(super) fn of(
        project: &'a Project,
        service: &'a Service,
        replicas: impl Iterator<Item = &'a Replica>,
    ) -> Self {
        let left = replicas.filter_map(|replica| Some((place(service, replica)?, replica)));
        Self { project, service, left: left.collect() }
    }

    /// Those that have not ended well, by where they stand.
    pub(super) fn left(&self) -> impl Iterator<Item = (usize, &'a Replica)> {
        self.left.iter().copied().filter(|(_, replica)| !replica.activity.goes_on())
    }

    /// Why steps run before containers of the service start, if they do.
    pub(super) fn why(&self, comes_anew: bool, any_runs: bool) -> Option<BeforeWhy> {
        match () {
            () if comes_anew => Some(BeforeWhy::Recreated),
            () if !self.left.is_empty() => Some(BeforeWhy::NotDone),
            () if !any_runs => Some(BeforeWhy::NoneRuns),
            () => None,
        }
    }

    /// Plans the steps, each after the one before it, from the one on that is under way; returns the last of them. `gone`
    /// is what removes what was left in a place.
    pub(super) fn plan(
        &self,
        plan: &mut Plan,
        why: BeforeWhy,
        only: Option<Startable>,
        starts: &[Startable],
        after: &[OperationId],
        gone: &BTreeMap<usize, OperationId>,
    ) -> Option<OperationId> {
        let service = &self.service.name;
        let under_way = self.left.iter().find(|(_, replica)| replica.activity.goes_on()).map(|(at, _)| *at);
        let mut last = None;
        for at in under_way.unwrap_or_default()..self.service.pre_start.len() {
            let why = if under_way == Some(at) { BeforeWhy::UnderWay } else { why };
            let before = Before {
                service: service.clone(),
                at,
                name: name(self.project, self.service, at),
                only: only.clone(),
                starts: starts.to_vec(),
            };
            let cause = Cause::Before { service: service.clone(), why };
            let needs = last.map_or_else(|| after.to_vec(), |last| vec![last]);
            let after = needs.into_iter().chain(gone.get(&at).copied()).collect();
            last = Some(plan.add(Operation::RunBefore(before), cause, after));
        }
        last
    }
}

/// Where a container stands among the service's steps, if it is what would be run now.
pub(super) fn place(service: &Service, replica: &Replica) -> Option<usize> {
    let at = usize::try_from(replica.number).ok()?;
    let is_meant = replica.kind == ReplicaKind::PreStart
        && replica.service == service.name.as_str()
        && replica.config_hash == service.config_hash
        && at < service.pre_start.len();
    is_meant.then_some(at)
}
