//! What the sandbox is told, made of what was asked for and what the image says. Pure.

use rbuild_model::image_config::RunConfig;

use crate::error::RunError;
use crate::request::RunRequest;

/// The program that an image and a request come to.
///
/// | | no command given | command given |
/// |---|---|---|
/// | entrypoint not replaced | image's Entrypoint, image's Cmd | image's Entrypoint, command |
/// | entrypoint replaced | new entrypoint | new entrypoint, command |
pub fn argv(request: &RunRequest, config: &RunConfig) -> Result<Vec<String>, RunError> {
    let (entrypoint, default) = match &request.entrypoint {
        Some(entrypoint) => (entrypoint.clone(), Vec::new()),
        None => (config.entrypoint.clone().unwrap_or_default(), config.cmd.clone().unwrap_or_default()),
    };
    let mut argv = entrypoint;
    argv.extend(if request.command.is_empty() { default } else { request.command.clone() });
    match argv.first() {
        Some(program) if !program.is_empty() => Ok(argv),
        _ => Err(RunError::NoCommand),
    }
}

/// The path in which programs are looked for when nobody says.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The environment: the image's, then what was asked for; a later entry of a name takes the place of an earlier one.
///
/// An entry of the image without `=` never takes its value from anywhere.
pub fn environment(request: &RunRequest, config: &RunConfig, hostname: &str, home: &str) -> Vec<String> {
    let mut env: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: &str| match env.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => value.clone_into(old),
        None => env.push((name.to_owned(), value.to_owned())),
    };
    set("PATH", DEFAULT_PATH);
    set("HOSTNAME", hostname);
    if request.terminal.is_some() {
        set("TERM", "xterm");
    }
    for entry in config.env.iter().chain(&request.env) {
        if let Some((name, value)) = entry.split_once('=')
            && !name.is_empty()
        {
            set(name, value);
        }
    }
    if !env.iter().any(|(name, _)| name == "HOME") {
        env.push(("HOME".to_owned(), home.to_owned()));
    }
    env.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// The working folder: what was asked for, the image's, or the root; made absolute.
pub fn workdir(request: &RunRequest, config: &RunConfig) -> Result<String, RunError> {
    match &request.workdir {
        Some(path) if !path.starts_with('/') => Err(RunError::Invalid {
            what: "working directory",
            why: format!("'{path}', it needs to be an absolute path"),
        }),
        Some(path) => Ok(path.clone()),
        None if config.working_dir.is_empty() => Ok("/".to_owned()),
        None if config.working_dir.starts_with('/') => Ok(config.working_dir.clone()),
        None => Ok(format!("/{}", config.working_dir)),
    }
}

#[cfg(test)]
mod tests;
