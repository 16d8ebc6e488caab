//! `rbuild copy`: images from registry to registry.

use rbuild_images::Selection;

use super::{named, progress, spool};
use crate::cli::registry::Copy;
use crate::commands::{Context, Outcome};
use crate::progress::Mode;
use crate::report::{Mistake, Status};
use crate::wiring::logins::remote;

pub(in crate::commands) fn run(arguments: &Copy, context: &Context) -> Outcome {
    let (source, target) = (named(&arguments.source)?, named(&arguments.target)?);
    if target.digest().is_some() {
        return Err(
            Mistake::usage("the target's name cannot state a digest: what is copied decides it").into()
        );
    }
    let platforms: Vec<_> = arguments.platform.iter().flat_map(|list| list.0.clone()).collect();
    let selection = if platforms.is_empty() { Selection::All } else { Selection::Platforms(platforms) };
    let remote = remote(&context.settings)?;
    let spool = spool(context);
    let mode =
        if arguments.quiet { Mode::Quiet } else { arguments.progress.unwrap_or(context.settings.progress) };
    let what = format!("copy {} to {}", source.familiar(), target.familiar());
    let copied =
        progress(mode, context, &what, |told| remote.copy(&source, &target, &selection, &spool, told))?;
    let text = if arguments.quiet {
        format!("{}\n", copied.digest)
    } else {
        format!("{}: digest: {} size: {}\n", target.familiar(), copied.digest, copied.size)
    };
    context.terminal.print(&text)?;
    Ok(Status::Done)
}
