//! Programs beside a running one.

use rbuild_model::container::{Definition, State};
use rbuild_monitor::{Client, ExecPlan, ExecPrivilege, Stdin};

use super::error::ContainerError;
use super::launch::identity;
use crate::engine::Engine;

/// A program that is to run in a running container.
#[derive(Clone, Debug, Default)]
pub struct ExecRequest {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Variables over those of the container, `NAME=value`.
    pub env: Vec<String>,
    /// What replaces the container's user.
    pub user: Option<String>,
    /// What replaces the container's working folder.
    pub workdir: Option<String>,
    /// Whether it gets all rights.
    pub privileged: bool,
    /// Columns and rows of its terminal, if it gets one.
    pub terminal: Option<(u16, u16)>,
    /// Whether its standard input is attached.
    pub stdin: bool,
}

impl Engine {
    /// Makes a program ready to run in a container; returns the monitor that will run it, and its plan.
    pub fn exec(
        &self,
        definition: &Definition,
        request: &ExecRequest,
    ) -> Result<(Client, ExecPlan), ContainerError> {
        if request.argv.is_empty() {
            return Err(ContainerError::Invalid("No exec command specified".to_owned()));
        }
        let id = &definition.id;
        match self.observe(definition)?.state {
            State::Running(_) => {}
            State::Paused(_) => {
                return Err(ContainerError::State(format!(
                    "container {} is paused, unpause the container before exec",
                    definition.name
                )));
            }
            State::Restarting { .. } => return Err(ContainerError::restarting(*id)),
            _ => return Err(ContainerError::State(format!("container {id} is not running"))),
        }
        let user = match &request.user {
            Some(user) => {
                let (found, _) = identity(&self.tree(definition)?, user, &[])?;
                Some((found.uid, found.gid, found.groups))
            }
            None => None,
        };
        let mut env = request.env.clone();
        let says = |env: &[String]| env.iter().any(|entry| entry.starts_with("TERM="));
        if request.terminal.is_none() && !says(&env) && !says(&definition.program.env) {
            // What is only there because the container has a terminal.
            env.push("TERM".to_owned());
        }
        let plan = ExecPlan {
            args: request.argv.clone(),
            env,
            cwd: request.workdir.clone(),
            user,
            privilege: if request.privileged { ExecPrivilege::Privileged } else { ExecPrivilege::Ordinary },
            terminal: request.terminal,
            stdin: if request.stdin { Stdin::Once } else { Stdin::Closed },
            note: serde_json::Value::Null,
        };
        Ok((self.running(definition)?, plan))
    }

    /// Tells of a step in the life of an execution: `exec_create`, `exec_start`, `exec_die`, `exec_detach`.
    pub fn tell_exec(&self, definition: &Definition, action: &str, exec: &str, code: Option<i32>) {
        let mut extra = vec![("execID", exec.to_owned())];
        extra.extend(code.map(|code| ("exitCode", code.to_string())));
        self.tell(definition, action, &extra);
    }

    /// Tells that somebody attached a container, or detached from it.
    pub fn tell_attach(&self, definition: &Definition, action: &str) {
        self.tell(definition, action, &[]);
    }
}
