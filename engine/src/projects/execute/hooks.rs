//! Programs of the project beside a container's own: after its start, before its stop.

use rbuild_model::container::{Definition, State};
use rbuild_model::project::Hook;
use rbuild_monitor::log::{Filter, Source, Tail};
use rbuild_monitor::{Attach, SessionEvent};

use super::Execution;
use super::error::OperationError;
use crate::containers::{ContainerError, ExecRequest};
use crate::projects::happening::{HookAt, HookPlace};

/// How many of a container's last lines are told of a failure.
const LAST_LINES: usize = 10;

/// So much of what a hook wrote is told of its failure.
const HOOK_OUTPUT: usize = 4 << 10;

impl Execution<'_> {
    /// Runs hooks in a container, one after the other.
    pub(super) fn hooks(
        &self,
        definition: &Definition,
        service: &str,
        number: u64,
        key: &'static str,
        hooks: &[Hook],
    ) -> Result<(), OperationError> {
        let place = HookPlace { service: service.to_owned(), at: HookAt::Container(number) };
        for (at, hook) in hooks.iter().enumerate() {
            let (status, output) = self.hook(definition, &place, hook)?;
            if status != 0 {
                let service = service.to_owned();
                return Err(OperationError::Hook { service, at: (key, at), status, output });
            }
        }
        Ok(())
    }

    fn hook(
        &self,
        definition: &Definition,
        place: &HookPlace,
        hook: &Hook,
    ) -> Result<(i32, String), ContainerError> {
        let variables = hook.environment.iter();
        let request = ExecRequest {
            argv: hook.command.clone(),
            env: variables
                .filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}={value}")))
                .collect(),
            user: hook.user.clone().filter(|user| !user.is_empty()),
            workdir: hook.working_dir.clone().filter(|folder| !folder.is_empty()),
            privileged: hook.privileged,
            terminal: None,
            stdin: false,
        };
        let (mut client, plan) = self.engine.exec(definition, &request)?;
        let command = request.argv.join(" ");
        let id = client.exec_create(plan)?;
        self.engine.tell_exec(definition, &format!("exec_create: {command}"), &id.0, None);
        let streams = Attach { stdin: false, stdout: true, stderr: true };
        let mut session = client.exec_attach(&id, streams, None)?;
        self.engine.tell_exec(definition, &format!("exec_start: {command}"), &id.0, None);
        let mut output = Vec::new();
        loop {
            match session.next_event()? {
                SessionEvent::Stdout(bytes) | SessionEvent::Stderr(bytes) => {
                    self.watcher.said(place, &bytes);
                    let room = HOOK_OUTPUT.saturating_sub(output.len()).min(bytes.len());
                    output.extend_from_slice(&bytes[..room]);
                }
                SessionEvent::ExecEnded(code) => {
                    self.engine.tell_exec(definition, "exec_die", &id.0, Some(code));
                    return Ok((code, String::from_utf8_lossy(&output).trim().to_owned()));
                }
                SessionEvent::Ended(_) => {}
            }
        }
    }

    /// Returns what a container wrote last, since it was started. What cannot be read is nothing.
    pub(super) fn last_lines(&self, name: &str) -> Vec<String> {
        let Ok(definition) = self.engine.find(name) else { return Vec::new() };
        // What it wrote before is of a failure that was told then.
        let started = self.engine.observe(&definition).ok().and_then(|seen| match seen.state {
            State::Running(run) => Some(run.started),
            State::Exited(ended) => Some(ended.started),
            _ => None,
        });
        let since = started.and_then(|at| i64::try_from(at.as_nanosecond()).ok());
        let filter = Filter { since, tail: Tail::Lines(LAST_LINES), ..Filter::default() };
        let Ok(mut reader) = self.engine.logs(&definition, filter) else { return Vec::new() };
        let mut lines: Vec<Vec<u8>> = Vec::new();
        while let Ok(Some(entry)) = reader.next_entry() {
            match lines.last_mut() {
                Some(line) if !entry.begins_line && entry.source == Source::Stdout => {
                    line.extend_from_slice(&entry.bytes);
                }
                _ => lines.push(entry.bytes),
            }
        }
        lines.iter().map(|line| String::from_utf8_lossy(line).trim_end().to_owned()).collect()
    }
}
