//! `rbuild load`.

use std::fs::File;
use std::io::{self, BufReader, IsTerminal as _};

use anyhow::Context as _;
use rbuild_images::{LoadedImage, Quiet};
use rbuild_model::platform::Platform;

use super::{Context, Outcome};
use crate::cli::images::Load;
use crate::report::{Mistake, Status};
use crate::wiring::Home;

pub(super) fn run(arguments: &Load, context: &Context) -> Outcome {
    if arguments.input.is_none() && io::stdin().is_terminal() {
        return Err(Mistake::new("there is nothing on standard input")
            .hint("use `-i FILE`, or `< FILE`")
            .into());
    }
    let home = Home::open_for_long(&context.settings, "rbuild load")?;
    home.ended(load(&home, arguments, context))
}

fn load(home: &Home, arguments: &Load, context: &Context) -> Outcome {
    let lease = home.lease("rbuild load")?;
    let platform = context.settings.platform.clone().unwrap_or_else(Platform::host);
    let loaded = match &arguments.input {
        Some(path) if path.is_dir() => home.images.load_layout(path, &platform, &lease, &Quiet)?,
        Some(path) => {
            let file = File::open(path).with_context(|| format!("failed to open `{}`", path.display()))?;
            let loaded = home.images.load(file, &platform, &lease, &Quiet);
            loaded.with_context(|| format!("failed to load `{}`", path.display()))?
        }
        None => home.images.load(BufReader::new(home.stdin()), &platform, &lease, &Quiet)?,
    };
    context.terminal.print(&told(&loaded))?;
    Ok(Status::Done)
}

/// Returns what came, in Docker's words.
fn told(loaded: &[LoadedImage]) -> String {
    let mut text = String::new();
    for image in loaded {
        for (name, former) in &image.names {
            if let Some(former) = former.filter(|former| *former != image.image) {
                text.push_str(&format!(
                    "The image {} already exists, renaming the old one with ID {former} to empty string\n",
                    name.familiar()
                ));
            }
            text.push_str(&format!("Loaded image: {}\n", name.familiar()));
        }
        if image.names.is_empty() {
            text.push_str(&format!("Loaded image ID: {}\n", image.image));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use rbuild_model::digest::ImageId;

    use super::*;

    #[test]
    fn a_name_that_moves_is_told_of_with_what_it_meant() {
        let [image, former] = [1, 2].map(|byte| ImageId::from_bytes([byte; 32]));
        let named = |former| LoadedImage { image, names: vec![("alpine:latest".parse().unwrap(), former)] };
        let loaded = "Loaded image: alpine:latest\n";
        assert_eq!(told(&[named(None)]), loaded);
        assert_eq!(told(&[named(Some(image))]), loaded);
        let moved = format!(
            "The image alpine:latest already exists, renaming the old one with ID {former} to empty string\n{loaded}"
        );
        assert_eq!(told(&[named(Some(former))]), moved);
        assert_eq!(told(&[LoadedImage { image, names: Vec::new() }]), format!("Loaded image ID: {image}\n"));
    }
}
