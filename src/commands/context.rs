//! `rbuild context`: what a build context holds, and which rule of the ignore file says so.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use rbuild_confined::{Kind, Root, Step};
use rbuild_frontend::ignore::{Ignore, Verdict, shown, text_of};
use rbuild_model::span::Source;

use super::build::plan_of;
use super::{Context, Outcome};
use crate::cli::build::What;
use crate::cli::check::{ContextQuestion, ContextVerb};
use crate::flags::{self, ContextSource};
use crate::report::{Mistake, Status};
use crate::{human, text, wiring};

pub(super) fn run(arguments: &ContextVerb, context: &Context) -> Outcome {
    let answer = match &arguments.question {
        ContextQuestion::Ls(list) => {
            let place = (list.context.as_path(), list.file.as_deref());
            look(place, context, |tree| ls(tree, list.sizes))?
        }
        ContextQuestion::Why(question) => {
            let place = (question.context.as_path(), question.file.as_deref());
            look(place, context, |tree| why(tree, &question.paths))?
        }
    };
    let Some(answer) = answer else { return Ok(Status::Interrupted) };
    context.terminal.print(&answer)?;
    Ok(Status::Done)
}

/// What a build is given.
enum Tree<'a> {
    /// A folder here, of which an ignore file may leave something out.
    Folder(&'a Path, &'a Rules),
    /// What was brought from elsewhere, all of which is sent; no root is a Dockerfile alone.
    Brought(Option<&'a Root>),
}

/// Finds a context, or brings it in, and has it looked at. `None` if somebody cancelled.
fn look(
    (place, file): (&Path, Option<&Path>),
    context: &Context,
    look: impl FnOnce(&Tree<'_>) -> anyhow::Result<String>,
) -> anyhow::Result<Option<String>> {
    // What is no text is no URL.
    let source = match place.to_str() {
        Some(text) => flags::context_source(text),
        None => ContextSource::Local(place.to_owned()),
    };
    if let Some(folder) = wiring::folder_of(&source) {
        return look(&Tree::Folder(folder, &rules(folder, file)?)).map(Some);
    }
    if file.is_some() {
        let why = "`--file` says whose ignore file counts, and of what comes from elsewhere all is sent";
        return Err(Mistake::usage(why).hint("leave `--file` out").into());
    }
    let what = What {
        context: place.to_string_lossy().into_owned(),
        file: None,
        target: None,
        platform: Vec::new(),
        build_arg: Vec::new(),
        build_context: Vec::new(),
    };
    wiring::look_into(&plan_of(what, &context.settings)?, context, |root| look(&Tree::Brought(root)))
}

/// The ignore file that counts for a folder.
struct Rules {
    ignore: Ignore,
    /// Its name, if there is one.
    name: Option<String>,
}

fn rules(folder: &Path, file: Option<&Path>) -> anyhow::Result<Rules> {
    if !folder.is_dir() {
        return Err(Mistake::new(format!("the context `{}` is not a folder", folder.display()))
            .hint("name a folder, a git URL, the URL of a tar, or `-` for a tar on standard input")
            .into());
    }
    let dockerfile = match file {
        Some(file) => Some(wiring::dockerfile(Some(file), folder)?.0),
        // What a context holds can be asked before there is a Dockerfile.
        None => wiring::find_dockerfile(folder),
    };
    let source: Option<Arc<Source>> = wiring::ignore(dockerfile.as_deref(), folder)?;
    let Some(source) = source else { return Ok(Rules { ignore: Ignore::default(), name: None }) };
    let ignore =
        Ignore::parse(source.text()).map_err(|error| Mistake::new(format!("{}: {error}", source.name())))?;
    Ok(Rules { ignore, name: Some(source.name().to_owned()) })
}

/// One thing in a context that is not a folder with something in it.
struct Entry {
    /// As patterns are matched with it.
    path: String,
    bytes: u64,
}

#[derive(Default)]
struct Walk {
    sent: Vec<Entry>,
    left_out: u64,
    left_out_bytes: u64,
}

fn ls(tree: &Tree<'_>, sizes: bool) -> anyhow::Result<String> {
    let mut walk = Walk::default();
    let mut name = None;
    match tree {
        Tree::Folder(folder, rules) => {
            // Sizes of what is left out are found only where they are shown: it may be much more than the rest.
            visit(folder, String::new(), &rules.ignore, sizes, &mut walk)?;
            name = rules.name.as_ref();
        }
        Tree::Brought(root) => root.map_or(Ok(()), |root| visit_all(root, &mut walk))?,
    }
    if !sizes {
        return Ok(walk.sent.iter().map(|entry| text::one_line(&shown(&entry.path)) + "\n").collect());
    }
    walk.sent.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.path.cmp(&b.path)));
    let mut answer = String::new();
    for entry in &walk.sent {
        let _ = writeln!(answer, "{:>9} {}", human::size(entry.bytes), text::one_line(&shown(&entry.path)));
    }
    let total = walk.sent.iter().map(|entry| entry.bytes).sum();
    let _ = writeln!(answer, "{:>9} in {} files", human::size(total), walk.sent.len());
    if let Some(name) = name {
        let left = human::size(walk.left_out_bytes);
        let _ = writeln!(answer, "{left:>9} in {} files left out by {}", walk.left_out, text::one_line(name));
    }
    Ok(answer)
}

/// Walks a tree in the order of the names, and not into links; nothing is left out.
fn visit_all(root: &Root, walk: &mut Walk) -> anyhow::Result<()> {
    let mut steps = rbuild_confined::Walk::new(root.resolve("/")?.open_dir()?)?;
    // How much was listed when each of the folders was entered that the walk is in.
    let mut entered = Vec::new();
    while let Some(step) = steps.next()? {
        let path = text_of(steps.path().as_os_str().as_bytes()).into_owned();
        match step {
            Step::Leave => {
                if entered.pop() == Some(walk.sent.len()) {
                    walk.sent.push(Entry { path: path + "/", bytes: 0 });
                }
            }
            Step::Entry(_) => {
                let meta = steps.metadata()?;
                if meta.kind == Kind::Directory {
                    steps.enter()?;
                    entered.push(walk.sent.len());
                } else {
                    walk.sent.push(Entry { path, bytes: meta.size });
                }
            }
        }
    }
    Ok(())
}

/// Walks a folder in the order of the names, and not into links.
fn visit(folder: &Path, below: String, ignore: &Ignore, count: bool, walk: &mut Walk) -> anyhow::Result<()> {
    let failed = || format!("failed to list `{}`", folder.display());
    let mut names: Vec<std::ffi::OsString> = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(failed)? {
        names.push(entry.with_context(failed)?.file_name());
    }
    names.sort();
    for name in names {
        let path = folder.join(&name);
        let relative = format!("{below}{}", text_of(name.as_bytes()));
        let meta = std::fs::symlink_metadata(&path)
            .with_context(|| format!("failed to look at `{}`", path.display()))?;
        let ignored = ignore.ignores(&relative);
        if !meta.is_dir() {
            if ignored {
                walk.left_out += 1;
                walk.left_out_bytes += meta.len();
            } else {
                walk.sent.push(Entry { path: relative, bytes: meta.len() });
            }
            continue;
        }
        if ignored && ignore.prunes(&relative) {
            if count {
                visit(&path, format!("{relative}/"), ignore, count, walk)?;
            }
            continue;
        }
        let before = walk.sent.len();
        visit(&path, format!("{relative}/"), ignore, count, walk)?;
        if walk.sent.len() == before && !ignored {
            walk.sent.push(Entry { path: relative + "/", bytes: 0 });
        }
    }
    Ok(())
}

fn why(tree: &Tree<'_>, paths: &[String]) -> anyhow::Result<String> {
    let mut answer = String::new();
    for written in paths {
        let path =
            clean(written).ok_or_else(|| Mistake::new(format!("`{written}` does not lie in the context")))?;
        let exists = match tree {
            Tree::Folder(folder, _) => std::fs::symlink_metadata(folder.join(&path)).is_ok(),
            Tree::Brought(None) => path.is_empty(),
            Tree::Brought(Some(root)) => root.find_nofollow(&path)?.is_some(),
        };
        let missing = if exists { "" } else { " (there is no such file)" };
        let shown = if path.is_empty() { ".".into() } else { text::one_line(&path) };
        let reason = match tree {
            Tree::Folder(_, rules) => reason(rules, &path),
            Tree::Brought(_) => {
                "sent, as all is that comes from elsewhere: ignore files are for folders".into()
            }
        };
        let _ = writeln!(answer, "{shown}: {reason}{missing}");
    }
    Ok(answer)
}

fn reason(rules: &Rules, path: &str) -> String {
    if path.is_empty() {
        return "the context itself, of which no rule can be".to_owned();
    }
    let Some(name) = &rules.name else { return "sent, there is no ignore file".to_owned() };
    let name = text::one_line(name);
    let verdict = rules.ignore.verdict(path);
    let Verdict { ignored, rule: Some(rule) } = verdict else {
        return format!("sent, no rule of {name} matches");
    };
    let place = format!("{name}:{}: {}", rule.line, text::one_line(&rule.text));
    // The same rule may have matched a folder above already.
    let above = path
        .match_indices('/')
        .map(|(at, _)| &path[..at])
        .find(|above| rules.ignore.verdict(above).rule == Some(rule));
    let through = above.map(|above| format!(" (with `{}`)", text::one_line(above))).unwrap_or_default();
    if ignored {
        format!("left out by {place}{through}")
    } else {
        format!("sent because of {place}{through}")
    }
}

/// Brings a path into the form that ignore files are matched with, empty for the context itself; `None` if it leads out
/// of it.
fn clean(written: &str) -> Option<String> {
    let mut clean = PathBuf::new();
    for part in Path::new(written.trim_start_matches('/')).components() {
        match part {
            std::path::Component::Normal(name) => clean.push(name),
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                if !clean.pop() {
                    return None;
                }
            }
            _ => return None,
        }
    }
    clean.to_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules_of(text: &str) -> Rules {
        Rules { ignore: Ignore::parse(text).unwrap(), name: Some(".dockerignore".to_owned()) }
    }

    #[test]
    fn the_rule_that_decides_is_named() {
        let rules = rules_of("# logs\n*.log\nnode_modules\n!node_modules/keep\n");
        for (path, expected) in [
            ("a.txt", "sent, no rule of .dockerignore matches"),
            ("a.log", "left out by .dockerignore:2: *.log"),
            ("node_modules/x/y", "left out by .dockerignore:3: node_modules (with `node_modules`)"),
            ("node_modules/keep", "sent because of .dockerignore:4: !node_modules/keep"),
            (
                "node_modules/keep/a",
                "sent because of .dockerignore:4: !node_modules/keep (with `node_modules/keep`)",
            ),
        ] {
            assert_eq!(reason(&rules, path), expected, "{path}");
        }
        assert_eq!(reason(&rules, ""), "the context itself, of which no rule can be");
        let none = Rules { ignore: Ignore::default(), name: None };
        assert_eq!(reason(&none, "x"), "sent, there is no ignore file");
    }

    #[test]
    fn a_context_is_listed_with_what_comes_back_below_folders_left_out() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["a", "out/b", "out/keep/c", "logs/x.log", "empty/.gone"] {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "12345").unwrap();
        }
        std::fs::write(folder.path().join(".dockerignore"), "out\n!out/keep\n**/*.log\n*/.gone\n").unwrap();
        let rules = rules(folder.path(), None).unwrap();
        let tree = Tree::Folder(folder.path(), &rules);
        let list = |sizes| ls(&tree, sizes).unwrap();
        assert_eq!(list(false), ".dockerignore\na\nempty/\nlogs/\nout/keep/c\n");
        let sizes = list(true);
        assert!(sizes.ends_with("15B in 3 files left out by .dockerignore\n"), "{sizes}");
    }

    #[test]
    fn paths_are_cleaned_and_stay_in_the_context() {
        assert_eq!(clean("./a//b/../c").as_deref(), Some("a/c"));
        assert_eq!(clean("/a").as_deref(), Some("a"));
        assert_eq!((clean("../a"), clean("./b/..").as_deref()), (None, Some("")));
    }
}
