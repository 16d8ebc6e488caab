//! `rbuild attach` and `rbuild exec`.

use std::io::IsTerminal as _;

use rbuild_engine::Engine;
use rbuild_engine::containers::ExecRequest;
use rbuild_model::container::{Definition, State};
use rbuild_monitor::Attach as Streams;

use super::{Context, Outcome};
use crate::cli::container::{Attach, Exec};
use crate::flags::{DetachKeys, Mode};
use crate::report::{Mistake, NotStarted, Status};
use crate::wiring::Touch;

pub(super) fn run(arguments: &Attach, context: &Context) -> Outcome {
    let (_home, engine) = crate::wiring::engine(context, "rbuild attach")?;
    let definition = engine.find(&arguments.container)?;
    let input = if arguments.no_stdin { Mode::Off } else { Mode::On };
    let signals = if arguments.sig_proxy { Mode::On } else { Mode::Off };
    match attach(&engine, &definition, input, arguments.detach_keys.clone(), signals, context)? {
        // As with Docker's command, who goes by the keys has no status of the program to return; `run` and `start` have done
        // their work by then.
        Status::Done => Ok(Status::Failed),
        status => Ok(status),
    }
}

/// Attaches a container that runs: its output, our input if that is wanted and it takes any, signals if they are passed on.
pub(super) fn attach(
    engine: &Engine,
    definition: &Definition,
    input: Mode,
    detach: Option<DetachKeys>,
    signals: Mode,
    context: &Context,
) -> Outcome {
    let cannot = |what: &str, hint: &str| -> anyhow::Error {
        Mistake::new(format!("you cannot attach to a {what} container")).hint(hint.to_owned()).into()
    };
    match engine.observe(definition)?.state {
        State::Running(_) => {}
        State::Paused(_) => return Err(cannot("paused", "unpause it first")),
        State::Restarting { .. } => return Err(cannot("restarting", "wait until it is running")),
        _ => return Err(cannot("stopped", "start it first")),
    }
    let input = definition.streams.open_stdin && input == Mode::On;
    if definition.streams.tty && input && !std::io::stdin().is_terminal() {
        return Err(Mistake::new("the input device is not a TTY").hint("use `--no-stdin`").into());
    }
    let touch = Touch {
        streams: Streams { stdin: input, stdout: true, stderr: true },
        detach: detach.unwrap_or_default(),
        // A terminal sends its own.
        signals: if definition.streams.tty && input { Mode::Off } else { signals },
    };
    crate::wiring::attach(engine, definition, &touch, context)
}

pub(super) fn exec(arguments: Exec, context: &Context) -> Outcome {
    if arguments.tty && arguments.interactive && !arguments.detach && !std::io::stdin().is_terminal() {
        return Err(Mistake::new("the input device is not a TTY").hint("leave out `-t`").into());
    }
    let Some((container, argv)) = arguments.container_and_command.split_first() else {
        return Err(Mistake::new("name a container and a program").into());
    };
    let (_home, engine) = crate::wiring::engine(context, "rbuild exec")?;
    let definition = engine.find(container)?;
    if let Some(folder) = arguments.workdir.as_ref().filter(|folder| !folder.starts_with('/'))
        && engine.observe(&definition)?.state.run().is_some()
    {
        let message = format!("exec failed: Cwd must be an absolute path: `{folder}` is not");
        // As with docker, only who waits for a program has a status that stands for it: that of a runtime that fails before it
        // looks for the program.
        return Err(match arguments.detach {
            true => Mistake::new(message).into(),
            false => NotStarted { status: 128, message }.into(),
        });
    }
    let request = ExecRequest {
        argv: argv.to_vec(),
        env: super::create::environment(&arguments.env_file, arguments.env, &context.settings)?,
        user: arguments.user,
        workdir: arguments.workdir,
        privileged: arguments.privileged,
        terminal: arguments.tty.then(crate::wiring::window),
        stdin: arguments.interactive && !arguments.detach,
    };
    let touch = (!arguments.detach).then(|| Touch {
        streams: Streams { stdin: request.stdin, stdout: true, stderr: true },
        detach: arguments.detach_keys.unwrap_or_default(),
        signals: Mode::Off,
    });
    match crate::wiring::exec(&engine, &definition, &request, touch.as_ref()) {
        Err(error) if touch.is_none() && error.is::<NotStarted>() => {
            Err(Mistake::new(error.to_string()).into())
        }
        ended => ended,
    }
}
