//! Making a project what its files say: flags to what is wanted, images, a plan, and carrying it out.

mod failure;
mod trace;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead as _, IsTerminal as _};
use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::Context as _;
use rbuild_engine::projects::{
    self, AfterFailure, Carried, ChangedContents, ChangedVolumes, Dependencies, Desired, Halt, Haste, Hold,
    Member, Observed, Operation, Orphans, Plan, Recreate, ReplicaKind, Wanted, Warning, Watcher, Work,
};
use rbuild_frontend::compose::is_on;
use rbuild_model::container::FirstProbe;
use rbuild_model::project::{Project as Model, Restart, Service, ServiceName};

pub(super) use self::failure::failed;
use super::board::Board;
use super::build;
use super::canonical::Canonical;
use super::images_needed::{self, Needed, Use, Way, Wishes};
use super::project::{Handle, Meant, VERSION};
use super::{doubts, places, providers};
use crate::cli::compose::Project;
use crate::cli::compose::up::Making;
use crate::commands::Context;
use crate::commands::system::unit;
use crate::flags::Mode;
use crate::report::Mistake;

/// How a verb goes about making.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// Whether images that were built here are built again.
    pub(super) evaluate: bool,
    /// Whether those are waited for that cannot hear that they should stop.
    pub(super) haste: Haste,
    /// Whether nothing is told of builds.
    pub(super) quiet_build: bool,
    /// How long services have to become ready, where that is waited for.
    pub(super) ready_within: Option<Duration>,
}

impl Manner {
    /// Means what docker does.
    pub(super) const fn plain() -> Self {
        Self { evaluate: false, haste: Haste::None, quiet_build: false, ready_within: None }
    }
}

/// What is carried out, and with what.
pub(super) struct Prepared {
    /// The plan.
    pub(super) plan: Plan,
    /// What was asked for.
    pub(super) wanted: Wanted,
    /// What was there.
    pub(super) members: Vec<Member>,
    /// What was read beside the project.
    pub(super) profiles: BTreeMap<String, String>,
    /// The right to change the project, where the plan asks for it.
    pub(super) hold: Option<Hold>,
}

impl Prepared {
    /// Whether it was planned from what services come to, so that it can be planned what is left of it, where another
    /// command makes anew what is waited for.
    fn can_go_on(&self) -> bool {
        !self.wanted.desired.is_empty()
    }
}

/// What is asked of images.
pub(super) fn wishes(making: &Making, evaluate: bool) -> Wishes {
    Wishes {
        pull: making.pull,
        build: making.build,
        no_build: making.no_build,
        evaluate: evaluate && !making.no_build,
    }
}

/// Reads the flags that all verbs that make something have in common.
pub(super) fn wanted(
    making: &Making,
    services: &[String],
    meant: &Meant,
    context: &Context,
) -> anyhow::Result<Wanted> {
    let conflicts = [
        (making.build && making.no_build, "--build and --no-build are incompatible"),
        (making.force_recreate && making.no_recreate, "--force-recreate and --no-recreate are incompatible"),
    ];
    if let Some((_, why)) = conflicts.iter().find(|(conflict, _)| *conflict) {
        return Err(Mistake::new(*why).into());
    }
    let model = &meant.model;
    let is_set = |name: &str| is_on(meant.variable(name, context).as_deref());
    let orphans =
        match (making.remove_orphans || is_set("COMPOSE_REMOVE_ORPHANS"), is_set("COMPOSE_IGNORE_ORPHANS")) {
            (true, true) => {
                let why = "cannot combine COMPOSE_IGNORE_ORPHANS and --remove-orphans";
                return Err(Mistake::new(why).into());
            }
            (true, false) => Orphans::Remove,
            (false, true) => Orphans::Ignore,
            (false, false) => Orphans::Warn,
        };
    Ok(Wanted {
        targets: images_needed::names(model, services),
        recreate: match (making.force_recreate, making.no_recreate) {
            (true, _) => Recreate::Always,
            (_, true) => Recreate::Never,
            _ => Recreate::Diverged,
        },
        recreate_dependencies: if making.no_recreate { Recreate::Never } else { Recreate::Diverged },
        scale: scales(&making.scale, model)?,
        orphans,
        first_probe: if making.strict_health { FirstProbe::Scheduled } else { FirstProbe::Early },
        ..Wanted::default()
    })
}

/// Reads `SERVICE=NUMBER`.
pub(super) fn scales(texts: &[String], model: &Model) -> anyhow::Result<BTreeMap<ServiceName, u64>> {
    let mut scales = BTreeMap::new();
    for text in texts {
        let invalid = || Mistake::new(format!("invalid --scale option {text:?}. Should be SERVICE=NUM"));
        let (name, number) = text.split_once('=').ok_or_else(invalid)?;
        let number = number.parse().map_err(|_| invalid())?;
        let (name, _) = model
            .services
            .get_key_value(name)
            .ok_or_else(|| Mistake::new(format!("no such service: {name}")))?;
        scales.insert(name.clone(), number);
    }
    Ok(scales)
}

/// Has the images, looks what is there, and plans; `None` if somebody cancelled. Nobody else changes the project from that
/// look on, if the plan does.
pub(super) fn prepare(
    handle: &Handle,
    project: &Project,
    making: &Making,
    mut wanted: Wanted,
    manner: Manner,
    board: &Board,
    context: &Context,
) -> anyhow::Result<Option<Prepared>> {
    let hold = handle.engine.hold_of_project(&handle.meant.name);
    // Who only shows what would be done is in nobody's way.
    if !project.dry_run {
        hold.try_take()?;
    }
    let mut members = handle.members()?;
    for doubt in doubts::of(&handle.meant, &members) {
        board.note(&format!("warning: {doubt}"));
    }
    if members.is_empty()
        && let Some(other) = doubts::other_name(&handle.meant, &handle.engine)?
    {
        let name = &handle.meant.name;
        board.note(&format!("note: project {name} has no containers; {}", doubts::of_other_name(&other)));
    }
    // Where nothing is done, those who provide services are not asked either.
    let recalled = project.dry_run.then(|| providers::recalled(&handle.meant, &members));
    let (model, provided) = match &recalled {
        Some(recalled) => (&recalled.model, &recalled.provided),
        None => (&handle.meant.model, &handle.meant.provided),
    };
    let loaded = handle.meant.loaded.as_ref().context("only what was read from files can be made")?;
    let mut canonical = Canonical::of(loaded, model)?;
    canonical.add_variables(provided);
    let services = projects::selected(model, &wanted.targets, wanted.dependencies);
    let profiles = places::check(&handle.meant, model, &services)?;
    let had = images(handle, project, making, &services, &canonical, manner, &hold, board, context)?;
    let Some(had) = had else { return Ok(None) };
    for (name, service) in &canonical.services {
        let image = had.get(name).cloned().unwrap_or_default();
        let mounted = match model.services.get(name) {
            Some(service) => images_needed::mounted(handle, service, context)?,
            None => None,
        };
        let desired = Desired { image, mounted, config: service.clone(), contents: None };
        wanted.desired.insert(name.clone(), desired);
    }
    wanted.network_hashes.clone_from(&canonical.networks);
    wanted.volume_hashes.clone_from(&canonical.volumes);
    let told = |error: projects::PlanError| {
        let mistake = Mistake::new(error.to_string());
        let mistake = match error.help() {
            Some(help) => mistake.hint(help),
            None => mistake,
        };
        places::placed(&handle.meant, &error.path(), mistake)
    };
    let mut is_alone = project.dry_run || hold.is_held();
    if !is_alone {
        is_alone = hold.try_take()?;
        members = handle.members()?;
    }
    let mut has_asked = false;
    let plan = loop {
        let observed = handle.engine.observe_project(model, &members)?;
        compare_contents(model, &observed, &mut wanted);
        let mut plan = projects::up(model, &observed, &wanted).map_err(told)?;
        let keeps = plan.warnings.iter().any(|warning| matches!(warning, Warning::VolumeKept { .. }));
        if keeps && making.yes {
            wanted.changed_volumes = ChangedVolumes::Replace;
            plan = projects::up(model, &observed, &wanted).map_err(told)?;
        } else if keeps && !has_asked && !project.dry_run && io::stdin().is_terminal() {
            // Nobody waits for what a person thinks about; what there is is looked at again then.
            hold.let_go();
            (is_alone, has_asked) = (false, true);
            if asked_to_replace(&plan, context)? {
                wanted.changed_volumes = ChangedVolumes::Replace;
            }
            members = handle.members()?;
            continue;
        }
        // Where there is nothing to do, it counts for nothing what others are about to do.
        if is_alone || !plan.changes() {
            break plan;
        }
        if !hold.take(&handle.halt, &|text| board.note(&format!("note: project {} {text}", model.name)))? {
            return Ok(None);
        }
        is_alone = true;
        members = handle.members()?;
    };
    for warning in &plan.warnings {
        board.note(&format!("warning: {warning}"));
    }
    places::check_machine(handle, model, &plan, &wanted)?;
    let taken = projects::check_ports(&handle.engine, &plan, model, &members);
    if project.dry_run {
        // Whoever has a port may have given it back by then.
        if let Err(error) = taken {
            board.note(&format!("warning: {:#}", anyhow::Error::new(error)));
        }
        tell_perhaps(&plan, &wanted, &services, &members, context)?;
    } else {
        taken.map_err(|error| places::placed(&handle.meant, &error.path(), error))?;
    }
    Ok(Some(Prepared { plan, wanted, members, profiles, hold: Some(hold) }))
}

/// Tells which containers come anew if what is only told of, a build or a pull, brings another image.
fn tell_perhaps(
    plan: &Plan,
    wanted: &Wanted,
    services: &BTreeSet<ServiceName>,
    members: &[Member],
    context: &Context,
) -> anyhow::Result<()> {
    let is_unknown = |service: &&ServiceName| {
        let is_target = wanted.targets.is_empty() || wanted.targets.contains(*service);
        let policy = if is_target { wanted.recreate } else { wanted.recreate_dependencies };
        policy != Recreate::Never
            && wanted.one_off.as_ref() != Some(*service)
            && wanted.desired.get(*service).is_some_and(|desired| desired.image.is_empty())
    };
    let unknown: BTreeSet<&str> = services.iter().filter(is_unknown).map(ServiceName::as_str).collect();
    let is_planned = |member: &Member| {
        plan.operations.iter().any(|planned| match &planned.operation {
            Operation::Recreate { old, .. } | Operation::MakeBeside { old, .. } => {
                old.id == member.replica.id
            }
            Operation::Remove { container, .. } => container.id == member.replica.id,
            _ => false,
        })
    };
    for member in members.iter().filter(|member| member.replica.kind == ReplicaKind::Numbered) {
        if unknown.contains(member.replica.service.as_str()) && !is_planned(member) {
            let name = &member.replica.name;
            context.terminal.print(&format!("recreate {name}: if its image is another one then\n"))?;
        }
    }
    Ok(())
}

/// Reads the files that containers were given, where those may hold something else by now.
fn compare_contents(model: &Model, observed: &Observed, wanted: &mut Wanted) {
    if wanted.changed_contents != ChangedContents::Recreate {
        return;
    }
    for (name, desired) in &mut wanted.desired {
        let is_there = observed.replicas.iter().any(|other| other.service == name.as_str());
        let compared = model.services.get(name).filter(|_| is_there);
        desired.contents = compared.and_then(|service| projects::contents(model, service));
    }
}

/// Asks the person at the terminal whether volumes are made anew whose definition changed.
fn asked_to_replace(plan: &Plan, context: &Context) -> anyhow::Result<bool> {
    for warning in &plan.warnings {
        if let Warning::VolumeKept { name } = warning {
            context.terminal.tell(&format!(
                "Volume {name:?} exists but doesn't match configuration in compose file. Recreate (data will be lost)? [y/N] "
            ));
            let mut answer = String::new();
            io::stdin().lock().read_line(&mut answer)?;
            if !matches!(answer.trim(), "y" | "Y" | "yes") {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Has the images of services: here, from a registry, or built. With a dry run it is told what would be done.
#[expect(clippy::too_many_arguments, reason = "one caller, which has each of them")]
fn images(
    handle: &Handle,
    project: &Project,
    making: &Making,
    services: &BTreeSet<ServiceName>,
    canonical: &Canonical,
    manner: Manner,
    hold: &Hold,
    board: &Board,
    context: &Context,
) -> anyhow::Result<Option<BTreeMap<ServiceName, String>>> {
    let model = &handle.meant.model;
    let notes = handle.engine.build_notes(model.name.as_str())?;
    let was_built = |service: &ServiceName, image| {
        let section = canonical.builds.get(service);
        section.is_some_and(|section| notes.has(service.as_str(), image, section))
    };
    let wishes = wishes(making, manner.evaluate);
    let needed = images_needed::needed(handle, services, wishes, &was_built, context)?;
    for service in needed.iter().filter(|_| wishes.evaluate).filter_map(|(at, need)| {
        let Way::Here(image) = &need.way else { return None };
        let section = canonical.builds.get(&at.service)?;
        let is_old = at.beside.is_none() && notes.has_from_another(at.service.as_str(), *image, section);
        is_old.then_some(&at.service)
    }) {
        board.note(&format!(
            "warning: the image of service {service} was built before its `build` section changed: `--build` builds it \
             again"
        ));
    }
    if project.dry_run {
        return dry(&needed, context).map(Some);
    }
    if needed.values().any(|need| !matches!(need.way, Way::Here(_))) {
        // That takes its time, and changes nothing of what there is of the project.
        hold.let_go();
    }
    let silent = Board::new(project, context).quiet(true);
    let shown = if making.quiet_pull { &silent } else { board };
    let pulled =
        images_needed::pull(handle, &needed, parallel(project, &handle.meant, context)?, shown, context)?;
    let mut had: BTreeMap<ServiceName, String> =
        pulled.here.iter().map(|(name, image)| (name.clone(), image.to_string())).collect();
    if pulled.builds.is_empty() {
        return Ok(Some(had));
    }
    board.leave();
    let evaluates = only_evaluates(&needed, &pulled.builds, wishes);
    let quiet = manner.quiet_build || evaluates;
    let builds =
        build::Manner { progress: build::shown(project, quiet, context), ..build::Manner::default() };
    let built = build::build_all(handle, &pulled.builds, &builds, context)?;
    let Some(built) = built else { return Ok(None) };
    if !evaluates {
        build::tell_built(model, &built, board);
    }
    for (name, image) in built {
        if let Some(section) = canonical.builds.get(&name) {
            handle.engine.note_build(model.name.as_str(), name.as_str(), image, section)?;
        }
        if services.contains(&name) {
            had.insert(name, image.to_string());
        }
    }
    Ok(Some(had))
}

/// Whether all builds are of images that are there and are most likely as they should be.
fn only_evaluates(needed: &BTreeMap<Use, Needed>, builds: &BTreeSet<ServiceName>, wishes: Wishes) -> bool {
    wishes.evaluate
        && needed
            .iter()
            .filter(|(at, _)| at.beside.is_none() && builds.contains(&at.service))
            .all(|(_, need)| need.cause == "it was built here")
}

/// Tells what would be done for images, and returns those that are here.
fn dry(needed: &BTreeMap<Use, Needed>, context: &Context) -> anyhow::Result<BTreeMap<ServiceName, String>> {
    let mut had = BTreeMap::new();
    let mut told = BTreeSet::new();
    for (at, need) in needed {
        let act = match &need.way {
            Way::Here(image) => {
                if at.beside.is_none() {
                    had.insert(at.service.clone(), image.to_string());
                }
                continue;
            }
            Way::Pull { .. } => "pull",
            Way::Build => "build",
        };
        if told.insert((act, &need.name)) {
            context.terminal.print(&format!("{act} {}: {}\n", need.name, need.cause))?;
        }
    }
    Ok(had)
}

/// Prints a plan instead of carrying it out.
pub(super) fn print(plan: &Plan, context: &Context) -> anyhow::Result<()> {
    let text = plan.to_string();
    if text.is_empty() {
        context.terminal.tell("nothing to do\n");
    }
    Ok(context.terminal.print(&text)?)
}

/// How much is done at once: as the flag says, else COMPOSE_PARALLEL_LIMIT.
pub(super) fn parallel(
    project: &Project,
    meant: &Meant,
    context: &Context,
) -> anyhow::Result<Option<NonZeroUsize>> {
    if let Some(parallel) = project.parallel {
        return Ok(parallel.0);
    }
    let text = meant.variable("COMPOSE_PARALLEL_LIMIT", context);
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let parallel = crate::cli::compose::parallel(&text)
        .map_err(|why| Mistake::new(format!("COMPOSE_PARALLEL_LIMIT: {why}")))?;
    Ok(parallel.0)
}

/// Carries a plan out.
#[expect(clippy::too_many_arguments, reason = "each is another thing, and callers have all of them at hand")]
pub(super) fn carry_out(
    handle: &Handle,
    project: &Project,
    prepared: &Prepared,
    manner: Manner,
    after_failure: AfterFailure,
    halt: &Halt,
    watcher: &dyn Watcher,
    context: &Context,
) -> anyhow::Result<Carried> {
    let work = Work {
        project: &handle.meant.model,
        members: &prepared.members,
        wanted: &prepared.wanted,
        profiles: &prepared.profiles,
        haste: manner.haste,
        parallel: parallel(project, &handle.meant, context)?,
        after_failure,
        ready_within: manner.ready_within,
        halt,
        hold: prepared.hold.as_ref(),
        version: VERSION,
    };
    let failed = "failed to carry the plan out";
    let mut carried = handle.engine.execute(&prepared.plan, work, watcher).context(failed)?;
    while prepared.can_go_on() && carried.is_overtaken() && !halt.is_made() {
        let mut plan = carried.plan.take().unwrap_or_else(|| prepared.plan.clone());
        let Some((left, wanted, members)) = left_to_do(handle, prepared, &plan, halt)? else { break };
        let begin = plan.append(left);
        let work = Work { members: &members, wanted: &wanted, ..work };
        carried = handle.engine.execute_from(begin, &plan, work, watcher).context(failed)?;
        carried.plan = Some(plan);
    }
    Ok(carried)
}

/// Looks once more what there is, and plans what is left to do: another command has made containers anew meanwhile, and
/// these are taken as they are. Nothing if somebody cancelled.
fn left_to_do(
    handle: &Handle,
    prepared: &Prepared,
    plan: &Plan,
    halt: &Halt,
) -> anyhow::Result<Option<(Plan, Wanted, Vec<Member>)>> {
    // It was held when that was seen: there is nobody to be told of.
    if let Some(hold) = &prepared.hold
        && !hold.take(halt, &|_| {})?
    {
        return Ok(None);
    }
    let model = &handle.meant.model;
    let members = handle.members()?;
    let observed = handle.engine.observe_project(model, &members)?;
    let wanted = prepared.wanted.as_it_is();
    let mut left = projects::up(model, &observed, &wanted)?;
    let awaited = plan.operations.iter().filter_map(|planned| match &planned.operation {
        Operation::AwaitReady { service } => Some(service.clone()),
        _ => None,
    });
    projects::ready(&mut left, awaited.collect::<BTreeSet<_>>());
    Ok(Some((left, wanted, members)))
}

/// Says that services that are to come back after a reboot would not.
pub(super) fn note_missing_unit(handle: &Handle, board: &Board, context: &Context) {
    let comes_back =
        |service: &Service| matches!(service.restart, Some(Restart::Always | Restart::UnlessStopped));
    let model = &handle.meant.model;
    if model.services.values().any(comes_back) && unit::is_missing(&context.settings, &handle.home.store) {
        board.note(
            "note: after a reboot nothing starts these services again; `rbuild system enable` sees to it",
        );
    }
}

/// Shows who waited for whom, and how long.
pub(super) fn show_trace(
    prepared: &Prepared,
    carried: Option<&Carried>,
    board: &Board,
    context: &Context,
) -> anyhow::Result<()> {
    let plan = carried.and_then(|carried| carried.plan.as_ref()).unwrap_or(&prepared.plan);
    Ok(context.terminal.print(&trace::lines(plan, &board.take_trace()))?)
}

/// What dependencies are looked after.
pub(super) fn dependencies(no_deps: bool) -> Dependencies {
    if no_deps { Dependencies::LeftAlone } else { Dependencies::Included }
}

/// Reads a time in seconds as docker does: what is below zero is for ever.
pub(super) fn timeout(seconds: Option<i64>) -> Option<Duration> {
    seconds.map(|seconds| u64::try_from(seconds).map_or(Duration::MAX, Duration::from_secs))
}

/// Whether something is on.
pub(super) const fn mode(on: bool) -> Mode {
    if on { Mode::On } else { Mode::Off }
}
