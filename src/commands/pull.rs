//! `rbuild pull`.

use rbuild_model::event::Outcome as TaskOutcome;
use rbuild_model::platform::Platform;
use rbuild_model::reference::Reference;

use super::transfer::Transfer;
use super::{Context, Outcome};
use crate::cli::images::Pull;
use crate::progress::{Display, End, Mode};
use crate::report::{Mistake, Status};
use crate::wiring::Home;
use crate::wiring::logins::remote;

pub(super) fn run(arguments: &Pull, context: &Context) -> Outcome {
    let names = arguments
        .names
        .iter()
        .map(|name| name.parse::<Reference>())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Mistake::new(error.to_string()))?;
    if arguments.all_tags && names.iter().any(|name| name.tag().is_some() || name.digest().is_some()) {
        return Err(Mistake::usage("tag can't be used with --all-tags/-a").into());
    }
    let platform = match arguments.platform.as_ref().map(|list| &list.0[..]) {
        None => context.settings.platform.clone().unwrap_or_else(Platform::host),
        Some([platform]) => platform.clone(),
        Some(_) => return Err(Mistake::usage("one platform can be pulled at a time").into()),
    };
    let names = if arguments.all_tags { with_all_tags(&names, context)? } else { tagged(names) };
    let home = Home::open_for_long(&context.settings, "rbuild pull")?;
    home.ended(pull(&home, arguments, &names, &platform, context))
}

fn tagged(names: Vec<Reference>) -> Vec<Reference> {
    names.into_iter().map(Reference::with_default_tag).collect()
}

/// Asks registries for all tags of repositories.
fn with_all_tags(repositories: &[Reference], context: &Context) -> anyhow::Result<Vec<Reference>> {
    let remote = remote(&context.settings)?;
    let mut names = Vec::new();
    for repository in repositories {
        for tag in remote.tags(repository)? {
            let name = format!("{}:{tag}", repository.name());
            let name = name.parse().map_err(|error| {
                Mistake::new(format!("{} tells of a tag that is none: {error}", repository.familiar()))
            })?;
            names.push(name);
        }
    }
    Ok(names)
}

fn pull(
    home: &Home,
    arguments: &Pull,
    names: &[Reference],
    platform: &Platform,
    context: &Context,
) -> Outcome {
    let lease = home.lease("rbuild pull")?;
    let mode =
        if arguments.quiet { Mode::Quiet } else { arguments.progress.unwrap_or(context.settings.progress) };
    let display = Display::start(mode, context.terminal)?;
    let mut pulled = Vec::new();
    for (number, name) in (1..).zip(names) {
        let transfer = Transfer::start(display.events(), number, format!("pull {}", name.familiar()));
        match home.images.pull(name, platform, &lease, &transfer) {
            Ok(image) => {
                transfer.finish(TaskOutcome::Done);
                pulled.push((name, image));
            }
            Err(error) => {
                transfer.finish(TaskOutcome::Failed);
                display.finish(End::Failed);
                return Err(error.into());
            }
        }
    }
    display.finish(End::Succeeded);
    for (name, image) in pulled {
        if !arguments.quiet {
            let word =
                if image.up_to_date { "Image is up to date for" } else { "Downloaded newer image for" };
            context.terminal.print(&format!(
                "Digest: {}\nStatus: {word} {}\n",
                image.digest,
                name.familiar()
            ))?;
        }
        if !arguments.all_tags {
            context.terminal.print(&format!("{name}\n"))?;
        }
    }
    if arguments.all_tags {
        for name in &arguments.names {
            context.terminal.print(&format!(
                "{}\n",
                name.parse::<Reference>().map_or(name.clone(), |name| name.to_string())
            ))?;
        }
    }
    Ok(Status::Done)
}
