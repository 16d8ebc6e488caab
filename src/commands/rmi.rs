//! `rbuild rmi`.

use rbuild_images::{ImagesError, Removed};

use super::{Context, Outcome};
use crate::cli::images::Remove;
use crate::report::{self, Status};

pub(super) fn run(arguments: &Remove, context: &Context) -> Outcome {
    let (home, engine) = crate::wiring::engine(context, "rbuild rmi")?;
    let mut status = Status::Done;
    for text in &arguments.images {
        let removed = if arguments.force {
            home.images.remove_forced(text, &engine)
        } else {
            home.images.remove(text, &engine)
        };
        match removed {
            Ok(removed) => {
                context.terminal.print(&removed.iter().map(|one| line(one) + "\n").collect::<String>())?
            }
            Err(ImagesError::NotFound(_)) if arguments.force => {}
            // The others are removed all the same.
            Err(error) => status = report::tell(&error.into(), context.terminal),
        }
    }
    Ok(status)
}

/// Returns what went.
pub(super) fn line(removed: &Removed) -> String {
    match removed {
        Removed::Untagged(name) => format!("Untagged: {}", name.familiar()),
        Removed::Deleted(id) => format!("Deleted: {id}"),
    }
}
