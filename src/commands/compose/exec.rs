//! `rbuild compose exec` and `attach`.

use std::io::IsTerminal as _;

use rbuild_engine::containers::ExecRequest;
use rbuild_monitor::Attach as Streams;

use super::look::{Look, Which};
use crate::cli::compose::Project;
use crate::cli::compose::reach::{Attach, Exec};
use crate::commands::{Context, Outcome, attach as single, create};
use crate::flags::Mode;
use crate::report::{Mistake, Status};
use crate::wiring::Touch;

pub(super) fn run(project: &Project, arguments: &Exec, context: &Context) -> Outcome {
    let Some((service, argv)) = arguments.service_and_command.split_first() else {
        return Err(Mistake::usage("name a service and a program").into());
    };
    let look = Look::at(project, "exec", context)?;
    let member = look.one(service, arguments.index, Which::Running)?;
    // A terminal where there is one on both sides; who says nothing gets what fits.
    let [stdin, stdout] = [std::io::stdin().is_terminal(), std::io::stdout().is_terminal()];
    let tty = !arguments.detach && !arguments.no_tty.unwrap_or(!(stdin && stdout));
    let interactive = !arguments.detach && arguments.interactive.unwrap_or(true);
    if tty && interactive && !stdin {
        let text = "cannot give the program a terminal because stdin is not a terminal";
        return Err(Mistake::new(text).into());
    }
    let request = ExecRequest {
        argv: argv.to_vec(),
        env: create::environment(&[], arguments.env.clone(), &context.settings)?,
        user: arguments.user.clone(),
        workdir: arguments.workdir.clone(),
        privileged: arguments.privileged,
        terminal: tty.then(crate::wiring::window),
        stdin: interactive,
    };
    if project.dry_run {
        let command = crate::text::one_line(&argv.join(" "));
        context.terminal.tell(&format!("DRY-RUN MODE - exec in {}: {command}\n", member.replica.name));
        return Ok(Status::Done);
    }
    let touch = (!arguments.detach).then(|| Touch {
        streams: Streams { stdin: interactive, stdout: true, stderr: true },
        detach: Default::default(),
        signals: Mode::Off,
    });
    crate::wiring::exec(&look.engine, &member.definition, &request, touch.as_ref())
}

pub(super) fn attach(project: &Project, arguments: &Attach, context: &Context) -> Outcome {
    let look = Look::at(project, "attach", context)?;
    let member = look.one(&arguments.service, arguments.index, Which::Running)?;
    if project.dry_run {
        context.terminal.tell(&format!("DRY-RUN MODE - attach to {}\n", member.replica.name));
        return Ok(Status::Done);
    }
    let mode = |on| if on { Mode::On } else { Mode::Off };
    single::attach(
        &look.engine,
        &member.definition,
        mode(!arguments.no_stdin),
        arguments.detach_keys.clone(),
        mode(arguments.sig_proxy),
        context,
    )
}
