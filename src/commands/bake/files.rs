//! The files that define targets: found, read, told apart.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rbuild_frontend::bake::{self, File};
use rbuild_frontend::compose::{Request, Skip};
use rbuild_model::span::Source;

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

/// Reads the files that were named, else the usual ones.
pub(super) fn read(named: &[PathBuf], context: &Context) -> anyhow::Result<Vec<File>> {
    let mut paths = named.to_vec();
    if paths.is_empty()
        && let Some(list) = context.settings.environment.text("BUILDX_BAKE_FILE")
    {
        paths.extend(list.split(':').filter(|path| !path.is_empty()).map(PathBuf::from));
    }
    if paths.is_empty() {
        paths = USUAL.iter().map(PathBuf::from).filter(|path| path.exists()).collect();
        if paths.is_empty() {
            return Err(Mistake::new("there is no bake file here")
                .hint("write docker-bake.hcl, or name a file with `-f FILE`")
                .into());
        }
    }
    let mut files = Vec::new();
    let mut composed = Vec::new();
    for path in &paths {
        let shown = path.display().to_string();
        if matches!(path.extension().and_then(|end| end.to_str()), Some("yaml" | "yml")) {
            composed.push(shown);
            continue;
        }
        let text = text(path)?;
        let is_json = match path.extension().and_then(|end| end.to_str()) {
            Some("json") => true,
            Some("hcl") => false,
            // What says nothing of itself is told by how it begins.
            _ => text.trim_start().starts_with('{'),
        };
        let source = Source::new(if shown == "-" { "standard input".to_owned() } else { shown }, text);
        files.push(if is_json { File::Json(source) } else { File::Hcl(source) });
    }
    if !composed.is_empty() {
        files.insert(0, File::Compose(compose(composed, context)?));
    }
    Ok(files)
}

/// Loads compose files as one project, with all of its services.
fn compose(files: Vec<String>, context: &Context) -> anyhow::Result<serde_json::Value> {
    let environment = &context.settings.environment;
    let request = Request {
        current_dir: std::env::current_dir()?,
        home: environment.path("HOME"),
        environment: environment.variables(),
        files,
        profiles: vec!["*".to_owned()],
        skip: Skip { path_resolution: true, consistency: true, ..Skip::default() },
        ..Request::default()
    };
    let loaded = loading::loaded(&request, &|| Ok(context.settings.clone()), context.terminal)?;
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
