//! `rbuild start`, `stop`, `restart`, `kill`, `pause`, `unpause`, `wait`.

use rbuild_engine::Engine;
use rbuild_engine::containers::{ContainerError, Start as Started};
use rbuild_model::container::{Definition, Signal};
use rbuild_monitor::Attach;

use super::containers::each;
use super::{Context, Outcome};
use crate::cli::container::{Kill, Named, Start, Stop};
use crate::flags::Mode;
use crate::report::Mistake;
use crate::wiring::Touch;

pub(super) fn start(arguments: &Start, context: &Context) -> Outcome {
    let (_home, engine) = crate::wiring::engine(context, "rbuild start")?;
    if arguments.attach || arguments.interactive {
        let [name] = &arguments.containers[..] else {
            return Err(Mistake::new("you cannot start and attach multiple containers at once").into());
        };
        let definition = engine.find(name)?;
        let attached = arguments.attach;
        let touch = Touch {
            streams: Attach {
                stdin: arguments.interactive && definition.streams.open_stdin,
                stdout: attached || arguments.interactive,
                stderr: attached || arguments.interactive,
            },
            detach: arguments.detach_keys.clone().unwrap_or_default(),
            signals: if definition.streams.tty { Mode::Off } else { Mode::On },
        };
        return crate::wiring::start_attached(&engine, &definition, &touch, context);
    }
    each(&arguments.containers, context, |name| {
        if let Started::Started(notes) = engine.start(&engine.find(name)?)? {
            for note in notes {
                context.terminal.tell(&format!("note: {}\n", crate::text::one_line(&note)));
            }
        }
        Ok(Some(name.to_owned()))
    })
}

/// Does something to each container, all at the same time where there are several, and prints their names in order.
fn at_once(
    names: &[String],
    purpose: &str,
    context: &Context,
    act: impl Fn(&Engine, &Definition, &str) -> Result<(), ContainerError> + Sync,
) -> Outcome {
    let (_home, engine) = crate::wiring::engine(context, purpose)?;
    let one = |name: &String| engine.find(name).and_then(|definition| act(&engine, &definition, name));
    let mut results = std::thread::scope(|scope| {
        let threads: Vec<_> = names.iter().map(|name| scope.spawn(|| one(name))).collect();
        let results: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect();
        results.into_iter()
    });
    each(names, context, |name| {
        let result = results.next().unwrap_or(Ok(()));
        result.map(|()| Some(name.to_owned()))
    })
}

/// Reads a signal; one that does not exist is as wrong as a container that does not.
fn signal(text: &str) -> anyhow::Result<Signal> {
    Ok(crate::flags::signal(text).map_err(|error| Mistake::new(error.to_string()))?)
}

/// Returns the signal that a container is to be stopped with; one that does not exist matters only where there is something to stop.
fn stopping(
    engine: &Engine,
    definition: &Definition,
    text: Option<&str>,
) -> Result<Option<Signal>, ContainerError> {
    match text.map(str::parse::<Signal>).transpose() {
        Ok(signal) => Ok(signal),
        Err(error) if engine.observe(definition)?.state.run().is_some() => {
            Err(ContainerError::Invalid(format!("cannot stop container: {}: {error}", definition.name)))
        }
        Err(_) => Ok(None),
    }
}

pub(super) fn stop(arguments: &Stop, context: &Context) -> Outcome {
    at_once(&arguments.containers, "rbuild stop", context, |engine, definition, _| {
        let signal = stopping(engine, definition, arguments.signal.as_deref())?;
        engine.stop(definition, signal, arguments.timeout)
    })
}

pub(super) fn restart(arguments: &Stop, context: &Context) -> Outcome {
    at_once(&arguments.containers, "rbuild restart", context, |engine, definition, _| {
        let signal = stopping(engine, definition, arguments.signal.as_deref())?;
        engine.restart(definition, signal, arguments.timeout)
    })
}

pub(super) fn kill(arguments: &Kill, context: &Context) -> Outcome {
    let signal = signal(&arguments.signal)?;
    at_once(&arguments.containers, "rbuild kill", context, |engine, definition, name| {
        engine.kill(definition, name, signal)
    })
}

pub(super) fn pause(arguments: &Named, context: &Context) -> Outcome {
    at_once(&arguments.containers, "rbuild pause", context, |engine, definition, _| engine.pause(definition))
}

pub(super) fn unpause(arguments: &Named, context: &Context) -> Outcome {
    at_once(&arguments.containers, "rbuild unpause", context, |engine, definition, _| {
        engine.unpause(definition)
    })
}

pub(super) fn wait(arguments: &Named, context: &Context) -> Outcome {
    let (_home, engine) = crate::wiring::engine(context, "rbuild wait")?;
    each(&arguments.containers, context, |name| Ok(Some(engine.wait(&engine.find(name)?)?.to_string())))
}
