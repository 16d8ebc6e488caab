//! `rbuild save`.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};

use anyhow::Context as _;

use super::{Context, Outcome};
use crate::cli::images::Save;
use crate::flags::PlatformList;
use crate::report::{Mistake, Status};
use crate::wiring::Home;

pub(super) fn run(arguments: &Save, context: &Context) -> Outcome {
    if arguments.output.is_none() && context.terminal.out().kind.is_terminal() {
        return Err(Mistake::new("cowardly refusing to save to a terminal")
            .hint("use `-o FILE`, or redirect the output")
            .into());
    }
    let home = Home::open_for_long(&context.settings, "rbuild save")?;
    home.ended(save(&home, arguments))
}

fn save(home: &Home, arguments: &Save) -> Outcome {
    let lease = home.lease("rbuild save")?;
    let platform = PlatformList::only(arguments.platform.as_ref())?;
    let wanted: Vec<&str> = arguments.images.iter().map(String::as_str).collect();
    // Found before anything is written, so that a wrong name leaves no file behind.
    for text in &wanted {
        home.images.find_for(text, platform)?;
    }
    let Some(path) = &arguments.output else {
        home.images.save_for(&wanted, platform, BufWriter::new(io::stdout().lock()), &lease)?.flush()?;
        return Ok(Status::Done);
    };
    // A link is followed to what it names.
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
    let failed = || format!("failed to write `{}`", path.display());
    // A device or a pipe is written to, never replaced.
    if std::fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        let file = BufWriter::new(File::options().write(true).open(path).with_context(failed)?);
        home.images.save_for(&wanted, platform, file, &lease)?.flush().with_context(failed)?;
        return Ok(Status::Done);
    }
    let partial = path.with_file_name(format!(
        ".{}.{}",
        path.file_name().unwrap_or_default().to_string_lossy(),
        std::process::id()
    ));
    let file = BufWriter::new(File::create(&partial).with_context(failed)?);
    let written = home
        .images
        .save_for(&wanted, platform, file, &lease)
        .map_err(anyhow::Error::from)
        .and_then(|mut file| file.flush().with_context(failed))
        .and_then(|()| std::fs::rename(&partial, path).with_context(failed));
    if written.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    written.map(|()| Status::Done)
}
