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

pub(super) fn run(arguments: &Pull, context: &Context) -> Outcome {
    let names = arguments
        .names
        .iter()
        .map(|name| name.parse::<Reference>().map(Reference::with_default_tag))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Mistake::new(error.to_string()))?;
    let platform = match arguments.platform.as_ref().map(|list| &list.0[..]) {
        None => context.settings.platform.clone().unwrap_or_else(Platform::host),
        Some([platform]) => platform.clone(),
        Some(_) => return Err(Mistake::usage("one platform can be pulled at a time").into()),
    };
    let home = Home::open_for_long(&context.settings, "rbuild pull")?;
    home.ended(pull(&home, arguments, &names, &platform, context))
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
        context.terminal.print(&format!("{name}\n"))?;
    }
    Ok(Status::Done)
}
