//! Errors that come after loading, told where the project's files say what they are about.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use rbuild_engine::projects::{self, Operation, Plan, Wanted};
use rbuild_model::project::{Project as Model, Service, ServiceName};
use rbuild_model::span::Diagnostic;

use super::project::{Handle, Meant};
use crate::report::{self, Findings, Kind};

/// Tells an error with the place that these keys and positions lead to. Where the project is known by its labels only it
/// stays as it is; where the machine is to blame, file and line stand before it.
pub(super) fn placed(
    meant: &Meant,
    path: &[impl AsRef<str>],
    error: impl Into<anyhow::Error>,
) -> anyhow::Error {
    placed_at(meant, &path.iter().map(AsRef::as_ref).collect::<Vec<_>>(), error.into())
}

fn placed_at(meant: &Meant, path: &[&str], error: anyhow::Error) -> anyhow::Error {
    let place = meant.loaded.as_ref().and_then(|loaded| loaded.place(path));
    let Some(place) = place.filter(|_| !error.is::<Findings>()) else { return error };
    if report::judge(&error).kind != Kind::Yours {
        return error.context(format!("{}:{}", place.source.name(), place.lines().0));
    }
    let finding = Diagnostic::error(&place.source, place.span, report::chain(&error));
    Findings(vec![Diagnostic { help: report::hint(&error), ..finding }]).into()
}

/// Looks whether containers can be made of what services say; returns the profiles of system calls that they name, by path.
pub(super) fn check(
    meant: &Meant,
    model: &Model,
    services: &BTreeSet<ServiceName>,
) -> anyhow::Result<BTreeMap<String, String>> {
    let mut profiles = BTreeMap::new();
    for service in services.iter().filter_map(|name| model.services.get(name)) {
        read_profiles(meant, model, service, &mut profiles)?;
    }
    projects::check(model, services, &profiles).map_err(|error| placed(meant, &error.path(), error))?;
    Ok(profiles)
}

/// Looks whether this machine has what the containers are to have of it that a plan makes.
pub(super) fn check_machine(
    handle: &Handle,
    model: &Model,
    plan: &Plan,
    wanted: &Wanted,
) -> anyhow::Result<()> {
    let made = plan.operations.iter().filter_map(|planned| match &planned.operation {
        Operation::Create(new) | Operation::Recreate { new, .. } | Operation::MakeBeside { new, .. } => {
            Some(&new.service)
        }
        _ => None,
    });
    let services = made.chain(&wanted.one_off).cloned().collect();
    let checked = handle.engine.check_machine(model, &services);
    let checked = checked.and_then(|()| handle.engine.check_plan(model, plan, &services));
    checked.map_err(|error| placed(&handle.meant, &error.path(), error))
}

fn read_profiles(
    meant: &Meant,
    model: &Model,
    service: &Service,
    profiles: &mut BTreeMap<String, String>,
) -> anyhow::Result<()> {
    for (number, option) in service.security_opt.iter().enumerate() {
        let Some(("seccomp", path)) = option.split_once(['=', ':']) else { continue };
        if matches!(path, "unconfined" | "builtin") {
            continue;
        }
        let at = model.directory.join(path);
        let read = std::fs::read_to_string(&at).with_context(|| {
            format!("services.{}.security_opt: cannot read `{}`", service.name, at.display())
        });
        let keys = ["services", service.name.as_str(), "security_opt", &number.to_string()];
        profiles.insert(path.to_owned(), read.map_err(|error| placed(meant, &keys, error))?);
    }
    Ok(())
}
