//! `rbuild run`.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use rbuild_monitor::Attach;

use super::create::{attached, request, shown, tell_of_lost};
use super::{Context, Outcome};
use crate::cli::run::Arguments;
use crate::flags::Mode;
use crate::report::{self, Mistake};
use crate::wiring::Touch;

pub(super) fn run(arguments: Arguments, context: &Context) -> Outcome {
    let options = &arguments.options;
    let foreground = !arguments.detach;
    // As in Docker, these two alone are failures as any other.
    if options.tty && options.interactive && foreground && !std::io::stdin().is_terminal() {
        let mistake = Mistake::new("the input device is not a TTY").hint("leave out `-t`");
        return Ok(report::tell(&mistake.into(), context.terminal));
    }
    if arguments.detach && !arguments.attach.is_empty() {
        let mistake = Mistake::new("conflicting options: cannot specify both --attach and --detach");
        return Ok(report::tell(&mistake.into(), context.terminal));
    }
    let here = std::env::current_dir().context("failed to find the current folder")?;
    let progress = shown(options, &context.settings);
    let cidfile = options.cidfile.clone();
    tell_of_lost(&options.limits, context);
    let mut request = request(arguments.options, &context.settings, &here)?;
    request.streams.attached = attached(&arguments.attach, request.streams, foreground.into());
    let [stdin, stdout, stderr] = request.streams.attached;
    request.streams.stdin_once = foreground && request.streams.open_stdin;
    let touch = foreground.then(|| Touch {
        streams: Attach { stdin: stdin && request.streams.open_stdin, stdout, stderr },
        detach: arguments.detach_keys.clone().unwrap_or_default(),
        signals: if arguments.sig_proxy && !(request.streams.tty && stdin) { Mode::On } else { Mode::Off },
    });
    crate::wiring::run(&request, progress, cidfile.as_deref(), touch.as_ref(), context)
}
