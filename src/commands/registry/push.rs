//! `rbuild push`.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use rbuild_images::{Existing, ImagesError, LayerState, Packing, Progress};
use rbuild_model::digest::BlobDigest;
use rbuild_model::event::Outcome as TaskOutcome;
use rbuild_model::platform::Platform;
use rbuild_model::reference::Reference;
use rbuild_store::Lease;

use crate::cli::registry::Push;
use crate::commands::transfer::Transfer;
use crate::commands::{Context, Outcome};
use crate::flags::{self, PlatformList};
use crate::progress::{Display, End, Mode};
use crate::report::{Mistake, Status};
use crate::wiring::Home;

pub(in crate::commands) fn run(arguments: &Push, context: &Context) -> Outcome {
    let reference: Reference =
        arguments.name.parse().map_err(|error| Mistake::new(format!("`{}`: {error}", arguments.name)))?;
    if reference.digest().is_some() {
        return Err(Mistake::usage("cannot push a digest reference")
            .hint("name the image by a tag: what is pushed decides its digest")
            .into());
    }
    if arguments.all_tags && reference.tag().is_some() {
        return Err(Mistake::usage("a tag cannot be used with `--all-tags`").into());
    }
    let packing = Packing {
        encoding: flags::encoding(Some(arguments.compression), arguments.compression_level)
            .map_err(|error| Mistake::usage(error.to_string()))?,
        existing: if arguments.force_compression { Existing::Recompress } else { Existing::Keep },
        family: None,
    };
    let platform = PlatformList::only(arguments.platform.as_ref())?;
    let home = Home::open_for_long(&context.settings, "rbuild push")?;
    let pushing = Pushing { home: &home, arguments, packing, platform, context };
    home.ended(pushing.run(&reference))
}

struct Pushing<'a> {
    home: &'a Home,
    arguments: &'a Push,
    packing: Packing,
    platform: Option<&'a Platform>,
    context: &'a Context,
}

impl Pushing<'_> {
    fn run(&self, reference: &Reference) -> Outcome {
        let names = self.names(reference)?;
        let lease = self.home.lease("rbuild push")?;
        let mode = if self.arguments.quiet {
            Mode::Quiet
        } else {
            self.arguments.progress.unwrap_or(self.context.settings.progress)
        };
        if !self.arguments.quiet {
            if reference.tag().is_none() && !self.arguments.all_tags {
                self.context.terminal.print("Using default tag: latest\n")?;
            }
            let told = format!("The push refers to repository [{}]\n", reference.name());
            self.context.terminal.print(&told)?;
        }
        let display = Display::start(mode, self.context.terminal)?;
        let mut told = String::new();
        for (number, name) in (1..).zip(&names) {
            match self.one(number, name, &display, &lease) {
                Ok(text) => told.push_str(&text),
                Err(error) => {
                    display.finish(End::Failed);
                    return Err(error.into());
                }
            }
        }
        display.finish(End::Succeeded);
        self.context.terminal.print(&told)?;
        Ok(Status::Done)
    }

    /// Finds what is to be pushed before anything is.
    fn names(&self, reference: &Reference) -> anyhow::Result<Vec<Reference>> {
        let mut tags: Vec<_> = self
            .home
            .images
            .list()?
            .into_iter()
            .flat_map(|image| image.tags)
            .filter(|name| name.name() == reference.name())
            .collect();
        tags.sort_by_key(ToString::to_string);
        tags.dedup();
        let repository = reference.familiar_name();
        if tags.is_empty() {
            let why = format!("an image does not exist locally with the tag: {repository}");
            let hint = format!("give an image that name: `rbuild tag IMAGE {}`", reference.familiar());
            return Err(Mistake::new(why).hint(hint).into());
        }
        if self.arguments.all_tags {
            return Ok(tags);
        }
        let wanted = reference.clone().with_default_tag();
        if !tags.contains(&wanted) {
            let there: Vec<_> = tags.iter().filter_map(Reference::tag).collect();
            return Err(Mistake::new(format!("tag does not exist: {}", wanted.familiar()))
                .hint(format!("`{repository}` has [{}]", there.join(", ")))
                .into());
        }
        Ok(vec![wanted])
    }

    /// Pushes a name and returns what is told of it in the end.
    fn one(
        &self,
        number: u32,
        name: &Reference,
        display: &Display,
        lease: &Lease,
    ) -> Result<String, ImagesError> {
        let transfer = Transfer::start(display.events(), number, format!("push {}", name.familiar()));
        let kept = Kept { transfer, layers: Mutex::default() };
        let pushed =
            self.home.images.push(&name.to_string(), self.platform, name, self.packing, lease, &kept);
        let Kept { transfer, layers } = kept;
        transfer.finish(if pushed.is_ok() { TaskOutcome::Done } else { TaskOutcome::Failed });
        let pushed = pushed?;
        if self.arguments.quiet {
            return Ok(format!("{name}\n"));
        }
        let mut text = String::new();
        for (layer, state) in layers.into_inner().unwrap_or_else(PoisonError::into_inner) {
            let _ = writeln!(text, "{}: {}", &layer.hex()[..12], word(state));
        }
        let tag = name.tag().unwrap_or("latest");
        let _ = writeln!(text, "{tag}: digest: {} size: {}", pushed.digest, pushed.size);
        Ok(text)
    }
}

const fn word(state: LayerState) -> &'static str {
    match state {
        LayerState::AlreadyExists => "Layer already exists",
        LayerState::Mounted => "Mounted",
        _ => "Pushed",
    }
}

/// A transfer whose layers' ends are told when all is done.
struct Kept {
    transfer: Transfer,
    layers: Mutex<Vec<(BlobDigest, LayerState)>>,
}

impl Progress for Kept {
    fn layer(&self, layer: BlobDigest, state: LayerState) {
        self.transfer.layer(layer, state);
        if matches!(state, LayerState::AlreadyExists | LayerState::Mounted | LayerState::Complete) {
            self.layers.lock().unwrap_or_else(PoisonError::into_inner).push((layer, state));
        }
    }

    fn note(&self, text: &str) {
        self.transfer.note(text);
    }
}
