//! `rbuild rmi`.

use rbuild_images::{ImagesError, NoUsers, Removed};

use super::{Context, Outcome};
use crate::cli::images::Remove;
use crate::report::{self, Status};
use crate::wiring::Home;

pub(super) fn run(arguments: &Remove, context: &Context) -> Outcome {
    let home = Home::open(&context.settings, "rbuild rmi")?;
    let mut status = Status::Done;
    for text in &arguments.images {
        let removed = if arguments.force {
            home.images.remove_forced(text, &NoUsers)
        } else {
            home.images.remove(text, &NoUsers)
        };
        match removed {
            Ok(removed) => context.terminal.print(&told(&removed))?,
            Err(ImagesError::NotFound(_)) if arguments.force => {}
            // The others are removed all the same.
            Err(error) => status = report::tell(&error.into(), context.terminal),
        }
    }
    Ok(status)
}

/// Returns what went, a line each.
pub(super) fn told(removed: &[Removed]) -> String {
    removed
        .iter()
        .map(|removed| match removed {
            Removed::Untagged(name) => format!("Untagged: {}\n", name.familiar()),
            Removed::Deleted(id) => format!("Deleted: {id}\n"),
        })
        .collect()
}
