//! `rbuild import`.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::Context as _;
use rbuild_images::ImportOptions;
use rbuild_model::platform::Platform;
use rbuild_model::reference::Reference;

use super::{Context, Outcome};
use crate::cli::images::Import;
use crate::report::{Mistake, NotYet, Status};
use crate::wiring::Home;

pub(super) fn run(arguments: &Import, context: &Context) -> Outcome {
    if arguments.source.starts_with("http://") || arguments.source.starts_with("https://") {
        return Err(
            NotYet::supported("a URL in `rbuild import`", "download the file, and import that").into()
        );
    }
    let reference = match &arguments.name {
        None => None,
        Some(name) => Some(
            name.parse::<Reference>().map_err(|error| Mistake::new(error.to_string()))?.with_default_tag(),
        ),
    };
    let platform = match arguments.platform.as_ref().map(|list| &list.0[..]) {
        None => Platform::host(),
        Some([platform]) => platform.clone(),
        Some(_) => return Err(Mistake::usage("an image has one platform").into()),
    };
    let message = arguments.message.clone().unwrap_or_else(|| format!("Imported from {}", arguments.source));
    let run = rbuild_images::run_config(&arguments.change, &platform)?;
    let created = context.settings.environment.epoch().map(|epoch| time(&epoch)).transpose()?;
    let options = ImportOptions { reference, platform, run, message, created };
    let home = Home::open_for_long(&context.settings, "rbuild import")?;
    home.ended(import(&home, arguments, options, context))
}

/// Returns seconds since 1970 as configs of images have times.
fn time(epoch: &str) -> anyhow::Result<String> {
    let time = epoch.parse().ok().and_then(|epoch| jiff::Timestamp::from_second(epoch).ok());
    let unknown = || {
        Mistake::usage(format!("SOURCE_DATE_EPOCH is `{epoch}`, which is no time"))
            .hint("use whole seconds since 1970")
    };
    Ok(time.ok_or_else(unknown)?.to_string())
}

fn import(home: &Home, arguments: &Import, options: ImportOptions, context: &Context) -> Outcome {
    let lease = home.lease("rbuild import")?;
    let unusable = || format!("failed to import `{}`", arguments.source);
    let id = if arguments.source == "-" {
        home.images.import(BufReader::new(home.stdin()), options, &lease)?
    } else if Path::new(&arguments.source).is_dir() {
        home.images.import_folder(Path::new(&arguments.source), options, &lease)?
    } else {
        let failed = || format!("failed to open `{}`", arguments.source);
        let tar = File::open(&arguments.source).with_context(failed)?;
        home.images.import(tar, options, &lease).with_context(unusable)?
    };
    context.terminal.print(&format!("{id}\n"))?;
    Ok(Status::Done)
}
