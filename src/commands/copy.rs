//! `rbuild cp`.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rbuild_confined::{Kind, Owner, Root};
use rbuild_engine::Engine;
use rbuild_engine::containers::PathStat;
use rbuild_image::tar::{Limits, Reader};
use rbuild_model::container::Definition;
use rbuild_snapshotter::extract::{Extractor, Rules};
use rbuild_snapshotter::write_tree;

use super::{Context, Outcome};
use crate::cli::container::Copy;
use crate::flags::Mode;
use crate::report::{Mistake, Status};

/// A place as it is written: of a container, or of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    Container(&'a str, &'a str),
    Here(&'a str),
    Stream,
}

impl<'a> Place<'a> {
    /// A path with a slash before the colon is one of this machine, as with docker.
    pub(super) fn read(text: &'a str) -> Self {
        match text.split_once(':') {
            _ if text == "-" => Self::Stream,
            Some((container, path)) if !text.starts_with(['/', '.']) && !container.is_empty() => {
                Self::Container(container, path)
            }
            _ => Self::Here(text),
        }
    }
}

/// How files are copied.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    /// Whether they keep their owners.
    pub(super) archive: Mode,
    /// Whether what a link leads to is copied instead of it.
    pub(super) follow_link: Mode,
}

pub(super) fn run(arguments: &Copy, context: &Context) -> Outcome {
    let mode = |on| if on { Mode::On } else { Mode::Off };
    let how = How { archive: mode(arguments.archive), follow_link: mode(arguments.follow_link) };
    if arguments.target.is_empty() {
        return Err(Mistake::new("the destination is empty: name a path, or `.` for this folder").into());
    }
    let (_home, engine) = crate::wiring::engine(context, "rbuild cp")?;
    match (Place::read(&arguments.source), Place::read(&arguments.target)) {
        (Place::Container(..), Place::Container(..)) => {
            return Err(Mistake::new("copying between containers is not supported")
                .hint("copy out with `CONTAINER:PATH -` and in with `- CONTAINER:PATH`")
                .into());
        }
        (Place::Container(name, path), target) => {
            from(&engine, &engine.find(name)?, path, target, how)?;
        }
        (source, Place::Container(name, path)) => {
            to(&engine, source, &engine.find(name)?, path, how)?;
        }
        _ => {
            return Err(Mistake::new("must specify at least one container source")
                .hint("write the container's path as `CONTAINER:PATH`")
                .into());
        }
    }
    Ok(Status::Done)
}

/// Returns a path of a container from its root on, without `..` and what is doubled; a slash or `/.` at its end stays, as
/// it says that the path is a folder. As with docker, `..` is taken by the letter, whatever links are on the way.
fn cleaned(path: &str) -> Result<String, Mistake> {
    if path.is_empty() {
        return Err(
            Mistake::new("the container's path is empty").hint("write `CONTAINER:/` for the whole container")
        );
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let end = match path {
        _ if parts.is_empty() => "",
        _ if path.ends_with("/.") => "/.",
        _ if path.ends_with('/') => "/",
        _ => "",
    };
    Ok(format!("/{}{end}", parts.join("/")))
}

/// Copies from a container to a place that is no container's.
pub(super) fn from(
    engine: &Engine,
    definition: &Definition,
    path: &str,
    target: Place<'_>,
    how: How,
) -> anyhow::Result<()> {
    let path = &*cleaned(path)?;
    if let Place::Here(target) = target {
        return out(engine, definition, path, Path::new(target), how);
    }
    let path = followed(engine, definition, path, how)?;
    let mut name = last_part(&path);
    if name.as_os_str().is_empty() {
        name.push(".");
    }
    Ok(engine.copy_out(definition, &path, &name, &mut std::io::stdout().lock())?)
}

/// Copies to a container, from a place that is no container's.
pub(super) fn to(
    engine: &Engine,
    source: Place<'_>,
    definition: &Definition,
    path: &str,
    how: How,
) -> anyhow::Result<()> {
    let path = &*cleaned(path)?;
    if let Place::Here(source) = source {
        return into(engine, definition, Path::new(source), path, how);
    }
    let owner = if how.archive == Mode::On { engine.owner_inside(definition)? } else { None };
    Ok(engine.copy_in(definition, path, owner, &mut std::io::stdin().lock())?)
}

/// Returns the path that is copied: with `-L`, what a link at its end leads to.
fn followed(engine: &Engine, definition: &Definition, path: &str, how: How) -> anyhow::Result<String> {
    let stat = engine.stat_path(definition, path)?.ok_or_else(|| missing(definition, path))?;
    match stat.link {
        Some(link) if how.follow_link == Mode::On => {
            let folder = Path::new(path).parent().unwrap_or(Path::new("/"));
            Ok(Path::new("/").join(folder).join(link).to_string_lossy().into_owned())
        }
        _ => Ok(path.to_owned()),
    }
}

fn missing(definition: &Definition, path: &str) -> Mistake {
    Mistake::new(format!("Could not find the file {path} in container {}", definition.name))
}

/// Returns what the top entry of a copy is called; nothing for a folder's content alone (`/.`).
fn last_part(path: &str) -> PathBuf {
    if path.ends_with("/.") || path == "." {
        return PathBuf::new();
    }
    Path::new(path).file_name().map(PathBuf::from).unwrap_or_default()
}

/// Copies out of a container. What comes out belongs to the caller.
fn out(engine: &Engine, definition: &Definition, path: &str, target: &Path, how: How) -> anyhow::Result<()> {
    let path = followed(engine, definition, path, how)?;
    let stat = engine.stat_path(definition, &path)?.ok_or_else(|| missing(definition, &path))?;
    let ends_with_slash = target.as_os_str().as_encoded_bytes().ends_with(b"/");
    let target = &*led_here(target)?;
    let plan = Plan::of(stat.kind, &path, target, kind_here(target), ends_with_slash)?;
    let owner = Owner::new(rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    through_pipe(
        |tar| Ok(engine.copy_out(definition, &path, &plan.entry, tar)?),
        |tar| extract_here(&plan.folder, owner, tar),
    )
}

/// Copies into a container.
fn into(engine: &Engine, definition: &Definition, source: &Path, path: &str, how: How) -> anyhow::Result<()> {
    let text = source.to_string_lossy().into_owned();
    let found = || format!("failed to look at `{}`", source.display());
    // A path that ends so means what a link leads to.
    let is_folder = text.ends_with('/') || text.ends_with("/.");
    let real = match how.follow_link {
        Mode::Off if !is_folder => std::path::absolute(source).with_context(found)?,
        _ => std::fs::canonicalize(source).with_context(found)?,
    };
    let meta = std::fs::symlink_metadata(&real).with_context(found)?;
    let kind = if meta.is_dir() { Kind::Directory } else { Kind::File };
    let (path, there) = led(engine, definition, path)?;
    let plan = Plan::of(kind, &text, Path::new(&path), there, path.ends_with('/'))?;
    let owner = if how.archive == Mode::On { engine.owner_inside(definition)? } else { None };
    let folder = real.parent().unwrap_or(Path::new("/"));
    let root = Root::open(folder)?;
    let name = real.file_name().map(PathBuf::from).unwrap_or_else(|| PathBuf::from("."));
    let target = plan.folder.to_string_lossy().into_owned();
    through_pipe(
        |tar| {
            write_tree(&root, &name, &plan.entry, tar)?;
            Ok(())
        },
        |tar| Ok(engine.copy_in(definition, &target, owner, tar)?),
    )
}

/// As many links as the kernel follows.
const LINKS: usize = 40;

/// Returns where links at the end of a path of this machine lead, whether or not there is anything.
fn led_here(path: &Path) -> anyhow::Result<PathBuf> {
    let mut led = path.to_owned();
    for _ in 0..LINKS {
        match std::fs::read_link(&led) {
            Ok(link) => led = led.parent().unwrap_or(Path::new("")).join(link),
            // Not there, or no link: what is wrong with it is told by who writes there.
            Err(_) => return Ok(led),
        }
    }
    Err(Mistake::new(format!("too many links lead on from `{}`", path.display())).into())
}

/// Returns where links at the end of a path of a container lead, whether or not there is anything, and what is there.
fn led(engine: &Engine, definition: &Definition, path: &str) -> anyhow::Result<(String, Option<Kind>)> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        match engine.stat_path(definition, &path)? {
            Some(PathStat { link: Some(link), .. }) => {
                let folder = Path::new(&path).parent().unwrap_or(Path::new("/"));
                path = cleaned(&folder.join(link).to_string_lossy())?;
            }
            found => return Ok((path, found.map(|stat| stat.kind))),
        }
    }
    Err(Mistake::new(format!("too many links lead on from `{path}` in container {}", definition.name)).into())
}

/// Copies a path of this machine into a folder of a container, under a name of its own and to an owner.
pub(super) fn place(
    engine: &Engine,
    source: &Path,
    definition: &Definition,
    folder: &str,
    name: &Path,
    owner: Owner,
) -> anyhow::Result<()> {
    let root = Root::open(source.parent().unwrap_or(Path::new("/")))?;
    let file = source.file_name().map(PathBuf::from).unwrap_or_else(|| PathBuf::from("."));
    through_pipe(
        |tar| {
            write_tree(&root, &file, name, tar)?;
            Ok(())
        },
        |tar| Ok(engine.copy_in(definition, folder, Some(owner), tar)?),
    )
}

/// Where a copy goes: into which folder, and under which name.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    folder: PathBuf,
    /// Empty for the content of a folder.
    entry: PathBuf,
}

impl Plan {
    /// Decides by docker's table.
    ///
    /// | source | target | result |
    /// |---|---|---|
    /// | file | nothing | the target, if its folder is there |
    /// | file | nothing, with a slash | error |
    /// | file | file | the target is replaced |
    /// | any | folder | into it, under its own name; with `/.` its content |
    /// | folder | nothing | the target, if its folder is there |
    /// | folder | file | error |
    fn of(
        source: Kind,
        path: &str,
        target: &Path,
        there: Option<Kind>,
        ends_with_slash: bool,
    ) -> Result<Self, Mistake> {
        let content = path.ends_with("/.");
        let own = || last_part(path.trim_end_matches("/."));
        let beside = || {
            let folder =
                target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            (folder.to_owned(), target.file_name().map(PathBuf::from).unwrap_or_default())
        };
        match (source, there) {
            (_, Some(Kind::Directory)) => {
                Ok(Self { folder: target.to_owned(), entry: if content { PathBuf::new() } else { own() } })
            }
            (Kind::Directory, Some(_)) => {
                Err(Mistake::new(format!("cannot copy directory: `{}` is not a directory", target.display())))
            }
            (kind, None) if kind != Kind::Directory && ends_with_slash => {
                Err(Mistake::new(format!("destination directory `{}` must exist", target.display())))
            }
            _ => {
                let (folder, entry) = beside();
                Ok(Self { folder, entry })
            }
        }
    }
}

fn kind_here(path: &Path) -> Option<Kind> {
    let meta = std::fs::metadata(path).ok()?;
    Some(if meta.is_dir() { Kind::Directory } else { Kind::File })
}

fn extract_here(folder: &Path, owner: Owner, tar: &mut dyn Read) -> anyhow::Result<()> {
    let failed = || format!("failed to write to `{}`", folder.display());
    let root = Root::open(folder).with_context(failed)?;
    let rules = Rules { owner: Some(owner), ..Rules::default() };
    let extractor = Extractor::onto_tree(root, rules).with_context(failed)?;
    extractor.extract(Reader::new(tar, Limits::default())).with_context(failed)?;
    Ok(())
}

/// Writes a tar at one end of a pipe and reads it at the other. The reader's failure is told if there are two: the
/// writer's is then only that nobody reads.
fn through_pipe(
    write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()> + Send,
    read: impl FnOnce(&mut dyn Read) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (mut reader, writer) = std::io::pipe().context("failed to make a pipe")?;
    std::thread::scope(|scope| {
        let written = scope.spawn(move || {
            let mut writer = std::io::BufWriter::with_capacity(256 << 10, writer);
            write(&mut writer)?;
            writer.flush().context("failed to write to the pipe")
        });
        let read = read(&mut reader);
        drop(reader);
        let written = written.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (read, written) {
            (Ok(()), written) => written,
            // A tar that was cut off is the writer's failure.
            (Err(_), Err(error)) if !error.chain().any(is_broken_pipe) => Err(error),
            (Err(error), _) => Err(error),
        }
    })
}

fn is_broken_pipe(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: Kind, path: &str, target: &str, there: Option<Kind>, expected: Option<(&str, &str)>) {
        let plan = Plan::of(source, path, Path::new(target), there, target.ends_with('/'));
        let told = plan.ok().map(|plan| (plan.folder, plan.entry));
        let expected = expected.map(|(folder, entry)| (PathBuf::from(folder), PathBuf::from(entry)));
        assert_eq!(told, expected, "{path} -> {target}");
    }

    #[test]
    fn paths_of_containers_are_cleaned() {
        for (path, expected) in [
            ("/t/a/../b", "/t/b"),
            ("t//x/", "/t/x/"),
            ("/t/./x/.", "/t/x/."),
            ("../..", "/"),
            (".", "/"),
            ("/", "/"),
            ("/a/..", "/"),
        ] {
            assert_eq!(cleaned(path).unwrap(), expected, "{path}");
        }
        assert!(cleaned("").is_err());
    }

    #[test]
    fn a_copy_goes_where_docker_puts_it() {
        use Kind::{Directory, File};
        check(File, "/a/f", "/t/g", None, Some(("/t", "g")));
        check(File, "/a/f", "/t/", None, None);
        check(File, "/a/f", "/t/g", Some(File), Some(("/t", "g")));
        check(File, "/a/f", "/t", Some(Directory), Some(("/t", "f")));
        check(Directory, "/a/d", "/t/e", None, Some(("/t", "e")));
        check(Directory, "/a/d/.", "/t", Some(Directory), Some(("/t", "")));
        check(Directory, "/a/d", "/t", Some(Directory), Some(("/t", "d")));
        check(Directory, "/a/d", "/t", Some(File), None);
        check(File, "f", "g", None, Some((".", "g")));
    }
}
