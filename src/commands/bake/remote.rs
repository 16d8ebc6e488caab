//! Definitions elsewhere: a repository or an archive with bake files in it, or one bake file of a server.
//!
//! | Written in such a file | Means |
//! |---|---|
//! | the context `.` | the whole repository or archive |
//! | the context `PATH` | the folder there |
//! | the context `cwd://PATH`, the Dockerfile `cwd://PATH` | the path here |
//! | any context, in a single file that a server has | the path here |
//!
//! They are brought by a build of one ADD: what a build can reach they can be read from, and what is here does not come again.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use rbuild_frontend::bake::{self, HERE, Plan, is_address};
use rbuild_frontend::lower::{parse_git_url, without_credentials};
use rbuild_image::compress::Compression;

use super::plan::{self, Scratch};
use crate::commands::Context;
use crate::commands::build::{self, BuildPlan};
use crate::flags::{ContextSource, context_source};
use crate::report::Mistake;
use crate::wiring::{self, PlannedTarget};

/// The words of a command line: where the definition is, if it is elsewhere, what the context is that it may ask for, and
/// the names of targets.
pub(super) fn words(words: &[String]) -> (Option<&str>, &str, &[String]) {
    let is_elsewhere =
        |word: &String| matches!(context_source(word), ContextSource::Git(_) | ContextSource::Http(_));
    match words {
        [definition, context, names @ ..] if is_elsewhere(definition) && is_elsewhere(context) => {
            (Some(definition), context, names)
        }
        [definition, names @ ..] if is_elsewhere(definition) => (Some(definition), HERE, names),
        names => (None, HERE, names),
    }
}

/// A definition that was brought.
pub(super) struct Remote {
    address: String,
    /// Where it is now; it goes with this value.
    _folder: Scratch,
    kind: Kind,
}

enum Kind {
    /// A folder with all files of a repository.
    Repository(PathBuf),
    /// A folder with all files of an archive.
    Archive(PathBuf),
    /// One bake file.
    File(PathBuf),
}

impl Remote {
    /// Brings a definition. `None` if somebody interrupted it.
    pub(super) fn bring(address: &str, context: &Context) -> anyhow::Result<Option<Self>> {
        let scratch = Scratch::default();
        let folder = scratch.folder()?.to_owned();
        let is_git = matches!(context_source(address), ContextSource::Git(_));
        let (all, file) = (folder.join("all"), folder.join("file"));
        let kind = if is_git {
            if !added("ADD", address, "/", &all, &scratch, context)? {
                return Ok(None);
            }
            Kind::Repository(all)
        } else {
            if !added("ADD", address, "/definition", &file, &scratch, context)? {
                return Ok(None);
            }
            let definition = file.join("definition");
            if !is_archive(&definition)? {
                Kind::File(definition)
            } else if added("ADD --unpack=true", address, "/", &all, &scratch, context)? {
                Kind::Archive(all)
            } else {
                return Ok(None);
            }
        };
        Ok(Some(Self { address: address.to_owned(), _folder: scratch, kind }))
    }

    /// What it is called in messages.
    pub(super) fn name(&self) -> String {
        without_credentials(&self.address)
    }

    /// The folder that its files are in, or the one file that it is.
    pub(super) fn files(&self) -> Result<&Path, &Path> {
        match &self.kind {
            Kind::Repository(folder) | Kind::Archive(folder) => Ok(folder),
            Kind::File(file) => Err(file),
        }
    }

    /// Returns where a context is that a target names.
    pub(super) fn located(&self, place: &str) -> String {
        let is_named = |kind: &str| place.starts_with(kind);
        if is_address(place) || is_named("docker-image:") || is_named("oci-layout:") || is_named(HERE) {
            return place.to_owned();
        }
        match (&self.kind, place) {
            (Kind::File(_), _) => place.to_owned(),
            (_, ".") => self.address.clone(),
            (Kind::Archive(folder), path) => {
                folder.join(bake::clean(&format!("/{path}")).trim_start_matches('/')).display().to_string()
            }
            (Kind::Repository(_), path) => below(&self.address, &bake::clean(&format!("/{path}"))),
        }
    }

    /// Brings named contexts to where they are. This is done behind what prints a plan, as those who read one know them as
    /// they are written.
    pub(super) fn locate_named(&self, plan: &mut Plan) {
        for target in plan.targets.values_mut() {
            for place in target.contexts.values_mut() {
                *place = self.located(place);
            }
        }
    }
}

/// Names a folder of a repository.
fn below(address: &str, path: &str) -> String {
    let (base, fragment) = address.split_once('#').unwrap_or((address, ""));
    let (reference, above) = fragment.split_once(':').unwrap_or((fragment, ""));
    let written_in_query = parse_git_url(base).ok().and_then(|git| git.subdir);
    let above = written_in_query.as_deref().unwrap_or(above).trim_matches('/');
    let folder = format!("{above}{path}");
    let query = |base: &str| -> String {
        // A folder that the query names comes into the fragment.
        match base.split_once('?') {
            None => base.to_owned(),
            Some((repository, query)) => {
                let rest: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with("subdir=")).collect();
                if rest.is_empty() {
                    repository.to_owned()
                } else {
                    format!("{repository}?{}", rest.join("&"))
                }
            }
        }
    };
    format!("{}#{reference}:{}", query(base), folder.trim_start_matches('/'))
}

/// Builds one ADD, and writes what it gives to a folder; `false` if somebody interrupted it.
fn added(
    instruction: &str,
    address: &str,
    dest: &str,
    into: &Path,
    scratch: &Scratch,
    context: &Context,
) -> anyhow::Result<bool> {
    // A dollar sign of an address begins no variable.
    let arguments = serde_json::to_string(&[&*address.replace('\\', "\\\\").replace('$', "\\$"), dest])?;
    let dockerfile = scratch.write("definition", &format!("FROM scratch\n{instruction} {arguments}\n"))?;
    let empty = scratch.folder()?.join("empty");
    std::fs::create_dir_all(&empty)?;
    let flags = [
        format!("--file={}", dockerfile.display()),
        format!("--output=type=local,dest={}", into.display()),
        "--".to_owned(),
        empty.display().to_string(),
    ];
    let read = plan::Flags::try_parse_from(&flags).map_err(|error| Mistake::new(error.to_string()))?;
    let settings = &context.settings;
    let progress = settings.progress;
    let plan = BuildPlan { progress, ..build::plan(read.arguments, settings)? };
    let (home, cancel) = wiring::open_to_build(settings, "rbuild bake")?;
    let target = PlannedTarget { name: "definition".to_owned(), plan };
    Ok(wiring::build_all(&home, &[target], progress, &cancel, context)?.is_some())
}

/// Tells an archive from a bake file by how it begins: packed, or with the header of a tar.
fn is_archive(path: &Path) -> anyhow::Result<bool> {
    let mut start = Vec::new();
    std::fs::File::open(path)?.take(512).read_to_end(&mut start)?;
    let is_tar = start.get(257..262) == Some(b"ustar");
    Ok(is_tar || Compression::detect(&start) != Compression::None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_elsewhere_stands_first_and_its_context_second() {
        let split = |text: &str| {
            let given: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            let (definition, context, names) = words(&given);
            (definition.map(str::to_owned), context.to_owned(), names.join(" "))
        };
        let some = |text: &str| Some(text.to_owned());
        for (text, expected) in [
            ("app db", (None, HERE.to_owned(), "app db".to_owned())),
            ("https://h/r.git#v1 app", (some("https://h/r.git#v1"), HERE.to_owned(), "app".to_owned())),
            ("http://h/bake.hcl", (some("http://h/bake.hcl"), HERE.to_owned(), String::new())),
            ("git@h:r https://h/c app", (some("git@h:r"), "https://h/c".to_owned(), "app".to_owned())),
            ("app https://h/r.git", (None, HERE.to_owned(), "app https://h/r.git".to_owned())),
        ] {
            assert_eq!(split(text), expected, "{text}");
        }
    }

    #[test]
    fn contexts_are_where_the_definition_is() {
        let remote =
            |kind, address: &str| Remote { address: address.to_owned(), _folder: Scratch::default(), kind };
        let git = remote(Kind::Repository("/r".into()), "https://h/r.git#v1:sub");
        for (place, expected) in [
            (".", "https://h/r.git#v1:sub"),
            ("./app", "https://h/r.git#v1:sub/app"),
            ("../../app", "https://h/r.git#v1:sub/app"),
            ("cwd://x", "cwd://x"),
            ("docker-image://a", "docker-image://a"),
            ("target:base", "target:base"),
            ("https://h/other.git", "https://h/other.git"),
        ] {
            assert_eq!(git.located(place), expected, "{place}");
        }
        assert_eq!(below("https://h/r.git", "/app"), "https://h/r.git#:app");
        assert_eq!(below("https://h/r.git?ref=v1&subdir=s", "/app"), "https://h/r.git?ref=v1#:s/app");
        let archive = remote(Kind::Archive("/a".into()), "https://h/a.tar");
        assert_eq!(archive.located("app/../../b"), "/a/b");
        assert_eq!(archive.located("."), "https://h/a.tar");
        assert_eq!(remote(Kind::File("/f".into()), "https://h/f").located("app"), "app");
    }
}
