//! Which files make the project, where it lies, which variables they are read with, and its name.

use std::path::{Path, PathBuf};

use rbuild_model::project::{NameError, ProjectName};
use rbuild_model::span::{Diagnostic, Location};

use super::dotenv;
use super::environment::{Environment, Origin};
use super::fault::{fault, remark};
use super::request::{Answer, Files, Loads, Question, Request};
use crate::lower::is_git_url;
use crate::path::clean;

/// The names of a project's file, the first that is there.
pub const NAMES: &[&str] = &["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
/// The names of a file that is laid over it.
const OVERRIDES: &[&str] = &[
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// What was found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The files, absolute; `-` for standard input.
    pub(crate) files: Vec<PathBuf>,
    /// The folder that relative paths begin at: the project's, or that of the first file from elsewhere.
    pub(crate) directory: PathBuf,
    /// The folder that the project is named after.
    pub(crate) home: PathBuf,
    /// The name of the first file, if it comes from elsewhere.
    pub(crate) remote: Option<String>,
    /// The variables, the project's name not among them yet.
    pub(crate) environment: Environment,
    /// The name that was asked for, if one was.
    pub(crate) name: Option<ProjectName>,
    /// The profiles that are on.
    pub(crate) profiles: Vec<String>,
}

/// Finds a project.
pub(crate) fn discover(request: &Request, files: Files<'_>, warnings: &mut Vec<Diagnostic>) -> Loads<Found> {
    let current = &request.current_dir;
    let mut environment = Environment::of_caller(request.environment.iter().cloned());
    let known = match (&request.project_directory, request.files.first()) {
        (Some(directory), _) => Some(absolute(current, directory)),
        (None, Some(first)) if first != "-" && !is_remote(first) => {
            Some(folder(&absolute(current, Path::new(first))))
        }
        (None, Some(_)) => Some(current.clone()),
        (None, None) => None,
    };
    let explicit = explicit_env_files(request, &environment);
    if !explicit.is_empty() {
        let env_files: Vec<PathBuf> =
            explicit.iter().map(|file| absolute(current, Path::new(file))).collect();
        read_env_files(&env_files, &mut environment, files, warnings)?;
    } else if !is_on(environment.get("COMPOSE_DISABLE_ENV_FILE")) {
        let near = known.as_ref().unwrap_or(current).join(".env");
        read_env_file(&near, Wanted::IfThere, &mut environment, files, warnings)?;
    }
    let Project { files: project_files, remote, elsewhere: base } =
        find_files(request, &environment, files, warnings)?;
    let directory = match known {
        Some(directory) => directory,
        None if remote.is_some() => current.clone(),
        None => project_files.first().map_or_else(|| current.clone(), |file| folder(file)),
    };
    let elsewhere = explicit.is_empty()
        && request.files.is_empty()
        && request.project_directory.is_none()
        && directory != *current;
    if elsewhere && !is_on(environment.get("COMPOSE_DISABLE_ENV_FILE")) {
        let near = directory.join(".env");
        read_env_file(&near, Wanted::IfThere, &mut environment, files, warnings)?;
    }
    let asked = request.project_name.clone().filter(|name| !name.is_empty());
    let asked = asked.or_else(|| {
        environment.get("COMPOSE_PROJECT_NAME").filter(|name| !name.is_empty()).map(str::to_owned)
    });
    let name = asked.map(|name| ProjectName::new(&name)).transpose().map_err(|error| name_fault(&error))?;
    let profiles = if request.profiles.is_empty() {
        let listed = environment.get("COMPOSE_PROFILES").unwrap_or_default();
        // Nothing is a profile too, which is on where none is named.
        listed.split(',').map(|name| name.trim().to_owned()).collect()
    } else {
        request.profiles.clone()
    };
    Ok(Found {
        files: project_files,
        directory: base.unwrap_or_else(|| directory.clone()),
        home: directory,
        remote,
        environment,
        name,
        profiles,
    })
}

/// Says what is wrong with a project's name.
pub(crate) fn name_fault(error: &NameError) -> Box<Diagnostic> {
    let fault = fault(None, error.to_string());
    match error {
        NameError::Empty => Box::new(fault.with_help("give one with `--project-name` or `name:`")),
        NameError::Project(name) => match ProjectName::normalised(name) {
            Ok(near) => Box::new(fault.with_help(format!("`{near}` would do"))),
            Err(_) => fault,
        },
        NameError::Key(_) => fault,
    }
}

/// Whether a variable of compose itself says yes.
pub fn is_on(value: Option<&str>) -> bool {
    value.is_some_and(|value| matches!(&*value.trim().to_lowercase(), "1" | "t" | "true" | "y"))
}

fn explicit_env_files(request: &Request, environment: &Environment) -> Vec<String> {
    if !request.env_files.is_empty() {
        return request.env_files.clone();
    }
    let listed = environment.get("COMPOSE_ENV_FILES").unwrap_or_default();
    listed.split(',').filter(|file| !file.is_empty()).map(str::to_owned).collect()
}

/// Returns a path below a folder, or itself if it is absolute.
pub(crate) fn absolute(folder: &Path, path: &Path) -> PathBuf {
    let joined = folder.join(path);
    match joined.to_str() {
        Some(text) => PathBuf::from(clean(text)),
        None => joined,
    }
}

/// Returns the folder of a file.
pub(crate) fn folder(file: &Path) -> PathBuf {
    file.parent().map_or_else(|| PathBuf::from("/"), Path::to_path_buf)
}

/// Whether a file has to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// It has to.
    Always,
    /// It is read if it is.
    IfThere,
}

/// Adds the variables of an env file to those that there are; they do not replace any.
pub(crate) fn read_env_file(
    path: &Path,
    wanted: Wanted,
    environment: &mut Environment,
    files: Files<'_>,
    warnings: &mut Vec<Diagnostic>,
) -> Loads<()> {
    let mut read = Environment::default();
    let known = Known { seen: environment, earlier: &Environment::default() };
    read_into(path, wanted, &mut read, &known, files, warnings)?;
    environment.complete(&read);
    Ok(())
}

/// Adds the variables of several env files, later ones over earlier ones; they do not replace any that there are.
pub(crate) fn read_env_files(
    paths: &[PathBuf],
    environment: &mut Environment,
    files: Files<'_>,
    warnings: &mut Vec<Diagnostic>,
) -> Loads<()> {
    let mut all = Environment::default();
    for path in paths {
        let mut one = Environment::default();
        let known = Known { seen: environment, earlier: &all };
        read_into(path, Wanted::Always, &mut one, &known, files, warnings)?;
        all.overlay(one);
    }
    environment.complete(&all);
    Ok(())
}

/// What the values of an env file may refer to.
struct Known<'a> {
    /// What counts before the file itself.
    seen: &'a Environment,
    /// The files before it, behind its own.
    earlier: &'a Environment,
}

fn read_into(
    path: &Path,
    wanted: Wanted,
    into: &mut Environment,
    known: &Known<'_>,
    files: Files<'_>,
    warnings: &mut Vec<Diagnostic>,
) -> Loads<()> {
    let shown = path.display();
    let source = match (files.look(path)?, wanted) {
        (Answer::Text(source), _) => source,
        (Answer::Missing | Answer::Directory | Answer::Path(_), Wanted::IfThere) => return Ok(()),
        (Answer::Missing, _) => return Err(fault(None, format!("couldn't find env file: {shown}")).into()),
        (Answer::Directory | Answer::Path(_), _) => {
            return Err(fault(None, format!("{shown} is a directory")).into());
        }
        (Answer::Unreadable(why), _) => return Err(fault(None, format!("open {shown}: {why}")).into()),
    };
    let Known { seen, earlier } = known;
    let lookup = |name: &str| seen.get(name).map(str::to_owned);
    let file = dotenv::parse(source, &lookup, earlier).map_err(|mut error| {
        error.message = format!("failed to read {shown}: {}", error.message);
        error
    })?;
    warn_of_unset(&file.unset, warnings);
    into.overlay(file.variables);
    Ok(())
}

/// Tells of variables that an env file wanted and nobody had.
pub(crate) fn warn_of_unset(names: &[String], warnings: &mut Vec<Diagnostic>) {
    for name in names {
        let message = format!("The {name:?} variable is not set. Defaulting to a blank string.");
        if !warnings.iter().any(|known| known.message == message) {
            warnings.push(remark(None, message));
        }
    }
}

/// Tells whether a file is named by a repository or a registry.
pub(crate) fn is_remote(name: &str) -> bool {
    name.starts_with("oci://") || name.starts_with("github.com/") || is_git_url(name)
}

/// Returns where a file lies that is named as seen from a folder.
pub(crate) fn located(folder: &Path, name: &str, files: Files<'_>) -> Loads<PathBuf> {
    if is_remote(name) { files.bring(name) } else { Ok(absolute(folder, Path::new(name))) }
}

/// The files of a project.
#[derive(Default)]
struct Project {
    files: Vec<PathBuf>,
    /// The name of the first one, if it comes from elsewhere.
    remote: Option<String>,
    /// The folder of the first one that comes from elsewhere.
    elsewhere: Option<PathBuf>,
}

/// Finds files that were named.
fn named_files<'a>(
    names: impl IntoIterator<Item = &'a str>,
    current: &Path,
    files: Files<'_>,
) -> Loads<Project> {
    let names: Vec<&str> = names.into_iter().collect();
    let far = names.iter().filter(|name| is_remote(name));
    files.want(far.map(|name| Question::Remote((*name).to_owned())))?;
    let mut project = Project {
        remote: names.first().filter(|name| is_remote(name)).map(|name| (*name).to_owned()),
        ..Project::default()
    };
    for name in names {
        let file = if name == "-" { PathBuf::from(name) } else { located(current, name, files)? };
        if is_remote(name) {
            project.elsewhere.get_or_insert_with(|| folder(&file));
        }
        project.files.push(file);
    }
    Ok(project)
}

fn find_files(
    request: &Request,
    environment: &Environment,
    files: Files<'_>,
    warnings: &mut Vec<Diagnostic>,
) -> Loads<Project> {
    let current = &request.current_dir;
    if !request.files.is_empty() {
        return named_files(request.files.iter().map(String::as_str), current, files);
    }
    if let Some(listed) = environment.get("COMPOSE_FILE").filter(|listed| !listed.is_empty()) {
        let separator =
            environment.get("COMPOSE_PATH_SEPARATOR").filter(|text| !text.is_empty()).unwrap_or(":");
        return named_files(listed.split(separator).filter(|file| !file.is_empty()), current, files);
    }
    let start =
        request.project_directory.as_ref().map_or_else(|| current.clone(), |dir| absolute(current, dir));
    for folder in start.ancestors() {
        let first = pick(folder, NAMES, "config", files, warnings)?;
        let Some(first) = first else { continue };
        let mut found = vec![first];
        found.extend(pick(folder, OVERRIDES, "override", files, warnings)?);
        return Ok(Project { files: found, ..Project::default() });
    }
    Err(Box::new(
        fault(None, "no configuration file provided: not found")
            .with_help("name one with `-f`, or write a `compose.yaml`"),
    )
    .into())
}

/// Returns the first of several files that is there.
fn pick(
    folder: &Path,
    names: &[&str],
    kind: &str,
    files: Files<'_>,
    warnings: &mut Vec<Diagnostic>,
) -> Loads<Option<PathBuf>> {
    let paths: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
    files.want(paths.iter().cloned().map(Question::File))?;
    let mut there = Vec::new();
    for path in paths {
        if matches!(files.look(&path)?, Answer::Text(_) | Answer::Unreadable(_)) {
            there.push(path);
        }
    }
    if let [first, _, ..] = there.as_slice() {
        let list: Vec<String> = there.iter().map(|path| path.display().to_string()).collect();
        let list = list.join(", ");
        warnings.push(remark(None, format!("Found multiple {kind} files with supported names: {list}")));
        warnings.push(remark(None, format!("Using {}", first.display())));
    }
    Ok(there.into_iter().next())
}

/// Returns the variables with the project's name among them.
pub(crate) fn with_name(mut environment: Environment, name: &ProjectName) -> Environment {
    environment.set("COMPOSE_PROJECT_NAME", name.as_str(), Origin::ProjectName);
    environment
}

/// Says where a variable came from, as a person reads it.
pub(crate) fn place(location: &Location) -> String {
    format!("{}:{}", location.source.name(), location.source.position(location.span.start).line)
}
