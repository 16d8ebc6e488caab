//! `rbuild system boot`: what was running before the machine was restarted comes back.

use crate::commands::{Context, Outcome};
use crate::report::{self, Status};

/// Starts what its policy wants back, and prints the names. What cannot be started does not keep the others from it.
pub(super) fn run(context: &Context) -> Outcome {
    let (_home, engine) = crate::wiring::engine(context, "rbuild system boot")?;
    let mut status = Status::Done;
    let mut text = String::new();
    engine.boot(|back| match back.result {
        Ok(notes) => {
            for note in notes {
                context.terminal.tell(&format!("note: {}\n", crate::text::one_line(&note)));
            }
            text.push_str(&format!("{}\n", back.definition.name));
        }
        Err(error) => {
            let error = anyhow::Error::from(error)
                .context(format!("failed to start container {}", back.definition.name));
            status = report::tell(&error, context.terminal);
        }
    })?;
    context.terminal.print(&text)?;
    Ok(status)
}
