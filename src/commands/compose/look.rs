//! The verbs that look at a project, or reach into its containers: one file each, or a few that are alike.

use rbuild_engine::Engine;
use rbuild_engine::projects::{Member, ReplicaKind};

use super::project::{self, Meant, Source};
use super::{
    carry, commit, copy, doubts, events, exec, images, list, logs, port, ps, publish, top, version, wait,
    watch,
};
use crate::cli::compose::Project;
use crate::cli::compose::look::Verb;
use crate::commands::{Context, Outcome};
use crate::report::Mistake;
use crate::wiring::Home;

/// Runs a verb.
pub(super) fn run(verb: &Verb, project: &Project, context: &Context) -> Outcome {
    match verb {
        Verb::Attach(attach) => exec::attach(project, attach, context),
        Verb::Commit(arguments) => commit::run(project, arguments, context),
        Verb::Cp(arguments) => copy::run(project, arguments, context),
        Verb::Events(arguments) => events::run(project, arguments, context),
        Verb::Exec(arguments) => exec::run(project, arguments, context),
        Verb::Export(arguments) => commit::export(project, arguments, context),
        Verb::Images(arguments) => images::run(project, arguments, context),
        Verb::Logs(arguments) => logs::run(project, arguments, context),
        Verb::Ls(arguments) => list::run(arguments, context),
        Verb::Port(arguments) => port::run(project, arguments, context),
        Verb::Ps(arguments) => ps::run(project, arguments, context),
        Verb::Publish(arguments) => publish::run(project, arguments, context),
        Verb::Pull(arguments) => carry::pull(project, arguments, context),
        Verb::Push(arguments) => carry::push(project, arguments, context),
        Verb::Stats(arguments) => top::stats(project, arguments, context),
        Verb::Top(arguments) => top::run(project, arguments, context),
        Verb::Version(arguments) => version::run(arguments, context.terminal),
        Verb::Volumes(arguments) => images::volumes(project, arguments, context),
        Verb::Wait(arguments) => wait::run(project, arguments, context),
        Verb::Watch(arguments) => watch::run(project, arguments, context),
    }
}

/// A project that is looked at. A signal ends the verb at once: nothing is half done.
pub(super) struct Look {
    /// What it is meant to be.
    pub(super) meant: Meant,
    /// What runs its containers.
    pub(super) engine: Engine,
    /// The open store; goes last.
    pub(super) home: Home,
}

/// Which containers of services are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Those that run; also those of `run`.
    Running,
    /// Whatever state they are in.
    Any,
}

impl Look {
    /// Reads a project, from its files or from what is there, and opens the store.
    pub(super) fn at(flags: &Project, verb: &str, context: &Context) -> anyhow::Result<Self> {
        let meant = project::meant(flags, &[], Source::WhatIsThere, context)?;
        let (home, engine) = crate::wiring::engine(context, &format!("rbuild compose {verb}"))?;
        Ok(Self { meant, engine, home })
    }

    /// As [`Look::at`], for `commit`, which reserves room for what it makes.
    pub(super) fn to_commit(flags: &Project, context: &Context) -> anyhow::Result<Self> {
        let meant = project::meant(flags, &[], Source::WhatIsThere, context)?;
        let (home, engine) = crate::wiring::engine_to_fill(context, "rbuild compose commit")?;
        Ok(Self { meant, engine, home })
    }

    /// Refuses services that the project does not have, where it is known which it has.
    pub(super) fn check(&self, services: &[String]) -> anyhow::Result<()> {
        let model = &self.meant.model;
        let known = |name: &str| model.services.contains_key(name) || model.disabled.contains_key(name);
        match services.iter().find(|name| self.meant.loaded.is_some() && !known(name)) {
            Some(name) => Err(Mistake::new(format!("no such service: {name}")).into()),
            None => Ok(()),
        }
    }

    /// Returns the containers of services as [`Look::members`] does, for a verb that shows them: that there are none because
    /// the folder is called otherwise here is told.
    pub(super) fn shown(
        &self,
        services: &[String],
        which: Which,
        context: &Context,
    ) -> anyhow::Result<Vec<Member>> {
        let members = self.members(services, which)?;
        if members.is_empty() {
            doubts::tell_other_name(&self.meant, &self.engine, context.terminal)?;
        }
        Ok(members)
    }

    /// Returns the containers of services, of all if none is named, by service and number.
    pub(super) fn members(&self, services: &[String], which: Which) -> anyhow::Result<Vec<Member>> {
        let mut members = self.engine.members(self.meant.name.as_str())?;
        members.retain(|member| {
            (services.is_empty() || services.contains(&member.replica.service))
                && (which == Which::Any || member.replica.activity.is_up())
        });
        Ok(members)
    }

    /// Returns the container of a service that is meant: the one with a number, else the first; one of `run` only where
    /// there is no other.
    pub(super) fn one(&self, service: &str, index: Option<u64>, which: Which) -> anyhow::Result<Member> {
        let members = self.members(&[service.to_owned()], which)?;
        let index = index.filter(|index| *index > 0);
        let fits = |member: &Member| index.is_none_or(|index| member.replica.number == index);
        // They are sorted: those of `run` stand behind the others.
        if let Some(member) = members.into_iter().find(fits) {
            return Ok(member);
        }
        let place = index.map(|index| format!(" container #{index}")).unwrap_or_default();
        let mistake = Mistake::new(format!("service \"{service}\" is not running{place}"));
        Err(match doubts::other_name(&self.meant, &self.engine)? {
            Some(other) => mistake.hint(doubts::of_other_name(&other)).into(),
            None => mistake.into(),
        })
    }
}

/// Whether `up` counts a container.
pub(super) fn is_numbered(member: &Member) -> bool {
    member.replica.kind == ReplicaKind::Numbered
}
