//! `rbuild complete`: what may follow, a line each, for the scripts of `rbuild completion`.

use rbuild_engine::Engine;
use rbuild_engine::containers::ListRequest;

use super::compose::project::{self, Source};
use super::{Context, Outcome};
use crate::cli::complete::{self, Complete, Named};
use crate::cli::{self, Command};
use crate::report::Status;
use crate::text::one_line;
use crate::wiring::{self, Home};

pub(super) fn run(arguments: &Complete, context: &Context) -> Outcome {
    let offers = complete::offers(&arguments.words);
    let mut text: String =
        offers.words.iter().map(|(word, help)| format!("{word}\t{}\n", one_line(help))).collect();
    if let Some(named) = &offers.named {
        let mut names = names(named, context)?;
        names.retain(|name| name.starts_with(&offers.begun));
        names.sort();
        names.dedup();
        text.extend(names.iter().map(|name| format!("{}{name}\t\n", offers.before)));
    }
    context.terminal.print(&text)?;
    Ok(Status::Done)
}

fn names(named: &Named, context: &Context) -> anyhow::Result<Vec<String>> {
    let open = || wiring::engine(context, "rbuild complete");
    Ok(match named {
        Named::Running => containers(false, &open()?.1)?,
        Named::Containers => containers(true, &open()?.1)?,
        Named::Images => images(&open()?.0)?,
        Named::Objects => {
            let (home, engine) = open()?;
            [containers(true, &engine)?, images(&home)?].concat()
        }
        Named::Networks => {
            let (_home, engine) = open()?;
            engine.networks().list()?.into_iter().map(|network| network.name.to_string()).collect()
        }
        Named::Volumes => {
            let (_home, engine) = open()?;
            engine.volumes().list()?.into_iter().map(|volume| volume.name.to_string()).collect()
        }
        Named::Services(path) => {
            let config = path.iter().cloned().chain(["config".into()]);
            let Command::Compose(asked) = cli::parse(config)?.command else { return Ok(Vec::new()) };
            let model = project::meant(&asked.project, &[], Source::WhatIsThere, context)?.model;
            model.services.keys().chain(model.disabled.keys()).map(ToString::to_string).collect()
        }
    })
}

fn containers(all: bool, engine: &Engine) -> anyhow::Result<Vec<String>> {
    let listed = engine.list(&ListRequest { all, ..ListRequest::default() })?;
    Ok(listed.into_iter().map(|one| one.definition.name.to_string()).collect())
}

fn images(home: &Home) -> anyhow::Result<Vec<String>> {
    let images = home.images.list()?;
    let names =
        images.iter().flat_map(|image| &image.tags).map(|name| wiring::short(&name.familiar()).to_owned());
    Ok(names.collect())
}
