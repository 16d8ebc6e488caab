//! The files that define targets: found, read, told apart.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use rbuild_frontend::bake::{self, File, HERE};
use rbuild_frontend::compose::{Answer, Answers, Question, Request, Skip};
use rbuild_model::span::Source;

use super::remote::Remote;
use crate::commands::Context;
use crate::commands::compose::loading;
use crate::report::{Findings, Mistake};

/// The files that are read where none is named: all that are there, later ones over earlier ones.
const USUAL: &[&str] = &[
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
    "docker-bake.json",
    "docker-bake.hcl",
    "docker-bake.override.json",
    "docker-bake.override.hcl",
];

/// The most that a file may hold.
const MAX_FILE: u64 = 8 << 20;

/// Reads the files that were named, else the usual ones; first those of a definition elsewhere.
pub(super) fn read(
    named: &[PathBuf],
    remote: Option<&Remote>,
    context: &Context,
) -> anyhow::Result<Vec<File>> {
    let mut named = named.to_vec();
    if named.is_empty()
        && let Some(list) = context.settings.environment.text("BUILDX_BAKE_FILE")
    {
        let between = context.settings.environment.text("BUILDX_BAKE_PATH_SEPARATOR");
        let between = between.filter(|text| !text.is_empty()).unwrap_or_else(|| ":".to_owned());
        named.extend(list.split(&*between).filter(|path| !path.is_empty()).map(PathBuf::from));
    }
    let mut found = Found::default();
    let here = Path::new("");
    let local = |path: &PathBuf| Some(PathBuf::from(path.to_str()?.strip_prefix(HERE)?));
    match remote {
        None => {
            found.take(here, named.into_iter().map(|path| local(&path).unwrap_or(path)).collect())?;
        }
        Some(remote) => {
            let (own, other): (Vec<_>, Vec<_>) = named.into_iter().partition(|path| local(path).is_some());
            match remote.files() {
                Ok(folder) => found.take(folder, other)?,
                Err(file) => found.add(remote.name(), file)?,
            }
            if !own.is_empty() {
                found.take(here, own.iter().filter_map(local).collect())?;
            }
        }
    }
    let Found { mut files, composed, streamed } = found;
    for (folder, paths) in composed.into_iter().rev() {
        let mut answers = Answers::default();
        if let Some(source) = &streamed {
            answers.add(Question::Stdin, Answer::Text(Arc::clone(source)));
        }
        files.insert(0, File::Compose(compose(&folder, paths, answers, context)?));
    }
    if files.is_empty() {
        return Err(match remote {
            Some(remote) => Mistake::new(format!("there is no bake file in `{}`", remote.name())),
            None => Mistake::new("there is no bake file here"),
        }
        .hint("write docker-bake.hcl, or name a file with `-f FILE`")
        .into());
    }
    Ok(files)
}

/// What was found so far.
#[derive(Default)]
struct Found {
    files: Vec<File>,
    /// The compose files of each folder: those of one folder are one project.
    composed: Vec<(PathBuf, Vec<String>)>,
    /// The compose file that came on standard input, which is read once.
    streamed: Option<Arc<Source>>,
}

impl Found {
    /// Reads files of a folder: those that are named, or the usual ones.
    fn take(&mut self, folder: &Path, named: Vec<PathBuf>) -> anyhow::Result<()> {
        let paths = if named.is_empty() {
            USUAL.iter().map(PathBuf::from).filter(|path| folder.join(path).exists()).collect()
        } else {
            named
        };
        let mut composed = Vec::new();
        for path in paths {
            let full = within(folder, &path)?;
            let source = Source::new(shown(&path), text(&full)?);
            match form(&path, source.text()) {
                Form::Compose => {
                    composed.push(full.display().to_string());
                    self.streamed = self.streamed.take().or((path == Path::new("-")).then_some(source));
                }
                Form::Json => self.files.push(File::Json(source)),
                Form::Hcl => self.files.push(File::Hcl(source)),
            }
        }
        if !composed.is_empty() {
            self.composed.push((folder.to_owned(), composed));
        }
        Ok(())
    }

    /// Reads one file that a server has.
    fn add(&mut self, name: String, path: &Path) -> anyhow::Result<()> {
        let source = Source::new(name.clone(), text(path)?);
        match form(Path::new(&name), source.text()) {
            Form::Compose => {
                let folder = path.parent().unwrap_or(path).to_owned();
                self.composed.push((folder, vec![path.display().to_string()]));
            }
            Form::Json => self.files.push(File::Json(source)),
            Form::Hcl => self.files.push(File::Hcl(source)),
        }
        Ok(())
    }
}

/// The languages of bake files.
enum Form {
    Hcl,
    Json,
    Compose,
}

/// Tells the language of a file: by the end of its name, or by how it begins.
fn form(path: &Path, text: &str) -> Form {
    match path.extension().and_then(|end| end.to_str()) {
        Some("yaml" | "yml") => Form::Compose,
        Some("json") => Form::Json,
        Some("hcl") => Form::Hcl,
        _ if text.trim_start().starts_with('{') => Form::Json,
        _ if text.lines().any(|line| line.trim_end() == "services:") => Form::Compose,
        _ => Form::Hcl,
    }
}

fn shown(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

/// Returns where a file is. In a folder that came from elsewhere no link leads out of it.
fn within(folder: &Path, path: &Path) -> anyhow::Result<PathBuf> {
    if folder == Path::new("") {
        return Ok(path.to_owned());
    }
    let full = folder.join(path.strip_prefix("/").unwrap_or(path));
    let real = full.canonicalize().with_context(|| format!("failed to open `{}`", path.display()))?;
    if real.starts_with(folder.canonicalize()?) {
        Ok(full)
    } else {
        Err(Mistake::new(format!("`{}` leads out of where the definition is", path.display())).into())
    }
}

/// Loads compose files as one project, with all of its services.
fn compose(
    folder: &Path,
    files: Vec<String>,
    answers: Answers,
    context: &Context,
) -> anyhow::Result<serde_json::Value> {
    let environment = &context.settings.environment;
    let request = Request {
        current_dir: std::env::current_dir()?.join(folder),
        home: environment.path("HOME"),
        environment: environment.variables(),
        files,
        profiles: vec!["*".to_owned()],
        skip: Skip { path_resolution: true, consistency: true, ..Skip::default() },
        ..Request::default()
    };
    let settings = || Ok(context.settings.clone());
    let loaded = loading::loaded_with(&request, answers, &settings, context.terminal)?;
    bake::project(&loaded).map_err(|error| Findings::from(error).into())
}

fn text(path: &Path) -> anyhow::Result<String> {
    let shown = path.display();
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(MAX_FILE + 1)
            .read_to_end(&mut bytes)
            .context("failed to read standard input")?;
    } else {
        let meta = std::fs::metadata(path).with_context(|| format!("failed to open `{shown}`"))?;
        if !meta.is_file() {
            return Err(Mistake::new(format!("`{shown}` is not a regular file")).into());
        }
        let file = std::fs::File::open(path).with_context(|| format!("failed to open `{shown}`"))?;
        file.take(MAX_FILE + 1)
            .read_to_end(&mut bytes)
            .with_context(|| format!("failed to read `{shown}`"))?;
    }
    if bytes.len() as u64 > MAX_FILE {
        return Err(Mistake::new(format!("`{shown}` has more than {MAX_FILE} bytes")).into());
    }
    String::from_utf8(bytes).map_err(|_| Mistake::new(format!("`{shown}` is not UTF-8 text")).into())
}
