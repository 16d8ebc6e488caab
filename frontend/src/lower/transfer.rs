//! COPY and ADD: which files, from which trees, to where.

use rbuild_model::digest::BlobDigest;
use rbuild_model::span::Diagnostic;
use rbuild_model::step::{Copy, CopySource, FileAction, Operation, Owner, PathSource, Source, Unpack};

use super::exec::{Inputs, is_remote};
use super::remote;
use super::state::{StageState, Title, Tree};
use crate::dockerfile::instruction::add::Add;
use crate::dockerfile::instruction::{self, Instruction, Transfer, TransferSource, Word};
use crate::ignore::Ignore;
use crate::path;

/// What COPY and ADD come to before their sources are known.
#[derive(Default)]
struct Common {
    dest: String,
    owner: Option<String>,
    mode: Option<String>,
    parents: bool,
    exclude: Vec<String>,
    link: bool,
    /// The words that history shows, without the sources.
    flags: Vec<String>,
    written_dest: String,
}

pub(crate) fn copy(
    copy: &instruction::copy::Copy,
    at: &Instruction,
    stage: &mut StageState<'_, '_>,
) -> Result<(), Diagnostic> {
    let mut texts = Vec::new();
    for word in copy.transfer.paths() {
        let text = expand_path(stage, word)?;
        if remote::is_git_url(&text) {
            return Err(stage
                .error(word.span, "source can't be a git ref for COPY")
                .with_help("ADD takes git references"));
        }
        if remote::is_http_url(&text) {
            return Err(stage.error(word.span, "source can't be a URL for COPY").with_help("ADD takes URLs"));
        }
        texts.push((word, text));
    }
    let common = common(stage, &copy.transfer, copy.parents)?;
    let bodies = heredocs(stage, &copy.transfer)?;
    let mut inputs = Inputs::new(stage.root);
    let mut sources = Vec::with_capacity(texts.len());
    if !texts.is_empty() {
        let tree = match &copy.from {
            Some(from) => stage.tree(&from.value),
            None => stage.context(),
        };
        for (word, text) in &texts {
            if copy.from.is_none() {
                check_ignored(stage, at, word, text);
            }
            sources.push(tree_source(&mut inputs, tree, text, &common));
        }
    }
    let mut shown: Vec<String> = texts.into_iter().map(|(_, text)| text).collect();
    add_bodies(bodies, &mut sources, &mut shown);
    let action = action(&common, sources, Unpack::Never);
    finish(stage, at, common, vec![action], inputs, &shown, "COPY")
}

/// Makes the files of a tree without a config the root of a stage: its FROM names a folder, a repository, a file.
pub(super) fn all(stage: &mut StageState<'_, '_>, files: Tree, written: String) {
    let common = Common { dest: "/".to_owned(), ..Common::default() };
    let mut inputs = Inputs::new(stage.scratch());
    let source = literal_source(&mut inputs, files, "/".to_owned(), &common);
    let operation = Operation::File(vec![FileAction::Copy(action(&common, vec![source], Unpack::Never))]);
    stage.root = stage.add_named_step(operation, inputs.finish(), Title::plain(written.clone()));
    let root = stage.root;
    stage.commit(format!("{written} # buildkit"), Some(root));
}

pub(crate) fn add(add: &Add, at: &Instruction, stage: &mut StageState<'_, '_>) -> Result<(), Diagnostic> {
    let mut texts = Vec::new();
    for word in add.transfer.paths() {
        texts.push((word, expand_path(stage, word)?));
    }
    let common = common(stage, &add.transfer, false)?;
    let bodies = heredocs(stage, &add.transfer)?;
    let checksum = match &add.checksum {
        Some(word) => {
            let text = stage.expand(word)?;
            if add.transfer.sources.len() != 1 {
                return Err(stage.error(word.span, "checksum can't be specified for multiple sources"));
            }
            if !texts.iter().all(|(_, text)| is_remote(text)) || texts.is_empty() {
                return Err(stage.error(word.span, "checksum requires HTTP(S) or Git sources"));
            }
            Some((word, text)).filter(|(_, text)| !text.is_empty())
        }
        None => None,
    };
    let mut inputs = Inputs::new(stage.root);
    // Neighbours that are treated alike are one action, so that order is kept.
    let mut groups: Vec<(Unpack, Vec<CopySource>)> = Vec::new();
    let mut push = |unpack, source| match groups.last_mut() {
        Some((last, sources)) if *last == unpack => sources.push(source),
        _ => groups.push((unpack, vec![source])),
    };
    for (word, text) in &texts {
        if remote::is_git_url(text) {
            let source = git_source(stage, add, word, text, checksum.as_ref())?;
            let tree =
                Tree { step: stage.remote(source, source_title("git", word, text)), from_client: false };
            push(Unpack::Never, literal_source(&mut inputs, tree, "/".to_owned(), &common));
        } else if remote::is_http_url(text) {
            let mut source = remote::http_source(text);
            if let Some((word, text)) = &checksum {
                let digest = text.parse::<BlobDigest>().map_err(|error| {
                    stage
                        .error(word.span, format!("unsupported digest algorithm or digest {text:?}: {error}"))
                })?;
                source.checksum = Some(digest);
            }
            let file = format!("/{}", source.file_name);
            let step = stage.remote(Source::Http(source), source_title("http", word, text));
            let tree = Tree { step, from_client: false };
            let unpack = if add.unpack == Some(true) { Unpack::Archives } else { Unpack::Never };
            push(unpack, literal_source(&mut inputs, tree, file, &common));
        } else {
            check_ignored(stage, at, word, text);
            let tree = stage.context();
            let unpack = if add.unpack == Some(false) { Unpack::Never } else { Unpack::Archives };
            push(unpack, tree_source(&mut inputs, tree, text, &common));
        }
    }
    // What opens a server stays out of the history.
    let mut shown: Vec<String> =
        texts.into_iter().map(|(_, text)| remote::without_credentials(&text)).collect();
    let mut inline = Vec::new();
    add_bodies(bodies, &mut inline, &mut shown);
    for source in inline {
        push(Unpack::Never, source);
    }
    let actions = groups.into_iter().map(|(unpack, sources)| action(&common, sources, unpack)).collect();
    finish(stage, at, common, actions, inputs, &shown, "ADD")
}

fn git_source(
    stage: &StageState<'_, '_>,
    add: &Add,
    word: &Word,
    text: &str,
    checksum: Option<&(&Word, String)>,
) -> Result<Source, Diagnostic> {
    let mut git = remote::parse_git_url(text).map_err(|error| stage.error(word.span, error.to_string()))?;
    if let Some(keep) = add.keep_git_dir {
        let in_query = text.contains("keep-git-dir");
        if in_query && keep != git.keep_git_dir {
            return Err(stage.error(word.span, "inconsistent keep-git-dir configuration"));
        }
        git.keep_git_dir = keep;
    }
    if let Some((word, sum)) = checksum {
        let hex = !sum.is_empty() && sum.len() <= 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !hex {
            let message = format!("invalid checksum {sum:?} for Git source, expected hex commit hash");
            return Err(stage.error(word.span, message));
        }
        if git.checksum.as_ref().is_some_and(|known| !known.starts_with(sum) && !sum.starts_with(known)) {
            return Err(stage.error(word.span, "the checksum differs from the one in the reference"));
        }
        git.checksum = Some(sum.to_lowercase());
    }
    Ok(Source::Git(git))
}

fn expand_path(stage: &mut StageState<'_, '_>, word: &Word) -> Result<String, Diagnostic> {
    stage.expand(word).map_err(|error| {
        if error.message.contains("looking for matching") {
            error.with_help("quotes do not keep blanks together here: write such paths in JSON form, `[\"a b\", \"/dest/\"]`")
        } else {
            error
        }
    })
}

fn heredocs(
    stage: &mut StageState<'_, '_>,
    transfer: &Transfer,
) -> Result<Vec<(String, String)>, Diagnostic> {
    let mut bodies = Vec::new();
    for source in &transfer.sources {
        let TransferSource::Heredoc(heredoc) = source else { continue };
        if heredoc.name.contains('/') {
            let message = format!("a heredoc's name is a file name and holds no slash: {:?}", heredoc.name);
            return Err(stage.error(heredoc.word.span, message));
        }
        let mut body = heredoc.content();
        if heredoc.expand {
            body = stage.expand_body(&body, heredoc.word.span)?;
        }
        bodies.push((heredoc.name.clone(), body));
    }
    Ok(bodies)
}

/// Names the step of a source elsewhere by its address.
fn source_title(kind: &str, word: &Word, text: &str) -> Title {
    let name = |url: &str| format!("[{kind}] {}", remote::without_credentials(url));
    Title { shown: name(text), written: name(&word.value) }
}

/// Files that stand in the Dockerfile come after all others.
fn add_bodies(bodies: Vec<(String, String)>, sources: &mut Vec<CopySource>, shown: &mut Vec<String>) {
    for (name, body) in bodies {
        shown.push(format!("<<{name}"));
        sources.push(CopySource::Inline { name, body });
    }
}

fn common(stage: &mut StageState<'_, '_>, transfer: &Transfer, parents: bool) -> Result<Common, Diagnostic> {
    let written_dest = expand_path(stage, &transfer.dest)?;
    let workdir = stage.config.config.working_dir.clone();
    let mut dest = path::join(&workdir, &written_dest);
    let last = written_dest.rsplit('/').next().unwrap_or("");
    // An empty destination and one that ends with `/` have an empty last element.
    if (matches!(last, "" | ".") || parents) && !dest.ends_with('/') {
        dest.push('/');
    }
    let mut flags = Vec::new();
    if parents {
        flags.push("--parents".to_owned());
    }
    let owner = match &transfer.chown {
        Some(word) => Some((word, stage.expand(word)?)).filter(|(_, text)| !text.is_empty()),
        None => None,
    };
    if let Some((word, text)) = &owner {
        flags.push(format!("--chown={text}"));
        if has_name(text) && stage.is_scratch() {
            return Err(stage
                .error(
                    word.span,
                    format!("invalid user index: -1: {text:?} cannot be looked up in an empty root"),
                )
                .with_help("use numbers: there is no /etc/passwd to look names up in"));
        }
    }
    let mode = match &transfer.chmod {
        Some(word) => Some((word, stage.expand(word)?)).filter(|(_, text)| !text.is_empty()),
        None => None,
    };
    if let Some((word, text)) = &mode {
        flags.push(format!("--chmod={text}"));
        check_mode(text).map_err(|message| stage.error(word.span, message))?;
    }
    for word in &transfer.exclude {
        Ignore::from_patterns([word.value.as_str()]).map_err(|_| {
            let message = format!("invalid excludepatterns: [{}]: syntax error in pattern", word.value);
            stage.error(word.span, message)
        })?;
    }
    Ok(Common {
        dest,
        owner: owner.map(|(_, text)| text),
        // Zeros in front say nothing, and make no other step.
        mode: mode.map(|(_, text)| match text.trim_start_matches('0') {
            "" => "0".to_owned(),
            digits => digits.to_owned(),
        }),
        parents,
        exclude: transfer.exclude.iter().map(|word| word.value.clone()).collect(),
        link: transfer.link,
        flags,
        written_dest,
    })
}

/// Tells whether an owner has to be looked up: some part is neither a number nor `root`.
fn has_name(owner: &str) -> bool {
    owner.splitn(2, ':').any(|part| !part.is_empty() && part != "root" && part.parse::<i32>().is_err())
}

/// Checks the mode of `--chmod`: octal, or the symbolic form of chmod(1).
fn check_mode(text: &str) -> Result<(), String> {
    if text.starts_with(|ch: char| ch.is_ascii_digit()) {
        return match u32::from_str_radix(text, 8) {
            Ok(mode) if mode <= 0o7777 => Ok(()),
            _ => Err(format!(
                "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
            )),
        };
    }
    let clause = |clause: &str| {
        let actions = clause.trim_start_matches(['u', 'g', 'o', 'a']);
        if !actions.starts_with(['+', '-', '=']) {
            return false;
        }
        let mut rest = actions;
        while let Some(after) = rest.strip_prefix(['+', '-', '=']) {
            // Permissions are letters, or one letter for those of another class.
            let bits = after.trim_start_matches(['r', 'w', 'x', 'X', 's', 't']);
            rest = if bits.len() == after.len() {
                after.strip_prefix(['u', 'g', 'o']).unwrap_or(after)
            } else {
                bits
            };
        }
        rest.is_empty()
    };
    if text.split(',').all(clause) {
        return Ok(());
    }
    Err(format!("invalid chmod parameter: '{text}'. invalid syntax"))
}

/// Means the files of a tree that a source's text names.
fn tree_source(inputs: &mut Inputs, tree: Tree, text: &str, common: &Common) -> CopySource {
    let path = match text.split_once("/./") {
        // What stands before the first `/./` is looked in, but not kept.
        Some((before, after)) if common.parents => {
            let before = path::join("/", before);
            let after = path::join("/", after);
            format!("{}/.{after}", before.trim_end_matches('/'))
        }
        _ => path::join("/", text),
    };
    let wildcard = has_wildcards(&path);
    path_source(inputs, tree, path, wildcard, common)
}

fn literal_source(inputs: &mut Inputs, tree: Tree, path: String, common: &Common) -> CopySource {
    path_source(inputs, tree, path, false, common)
}

fn path_source(inputs: &mut Inputs, tree: Tree, path: String, wildcard: bool, common: &Common) -> CopySource {
    CopySource::Tree {
        input: inputs.add(tree.step),
        path: PathSource {
            path,
            wildcard,
            optional: false,
            from_client: tree.from_client,
            parents: common.parents,
            exclude: common.exclude.clone(),
        },
    }
}

/// Tells whether a path has `*`, `?` or `[` that a backslash does not protect.
fn has_wildcards(path: &str) -> bool {
    let mut chars = path.chars();
    while let Some(ch) = chars.next() {
        match ch {
            '\\' => {
                chars.next();
            }
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

fn action(common: &Common, sources: Vec<CopySource>, unpack: Unpack) -> Copy {
    Copy {
        sources,
        dest: common.dest.clone(),
        owner: common.owner.clone().map(|spec| Owner { spec, lookup: None }),
        mode: common.mode.clone(),
        parents: common.parents,
        exclude: common.exclude.clone(),
        unpack,
        link: common.link,
    }
}

fn finish(
    stage: &mut StageState<'_, '_>,
    at: &Instruction,
    common: Common,
    mut actions: Vec<Copy>,
    mut inputs: Inputs,
    shown: &[String],
    name: &str,
) -> Result<(), Diagnostic> {
    let below = stage.root;
    let linked = common.link && !stage.is_scratch();
    if linked && common.owner.as_deref().is_some_and(has_name) {
        // Names are explained by the stage's own files, although the copy does not stand on it.
        let lookup = inputs.add(below);
        for owner in actions.iter_mut().filter_map(|action| action.owner.as_mut()) {
            owner.lookup = Some(lookup);
        }
    }
    let mut steps = inputs.finish();
    if linked {
        steps[0] = stage.scratch();
    }
    let operation = Operation::File(actions.into_iter().map(FileAction::Copy).collect());
    let copied = stage.add_step(operation, steps, at);
    stage.root = if linked {
        let title = stage.title(at, &[]).after("linking ");
        stage.add_noted(Operation::Merge, vec![below, copied], title)
    } else {
        copied
    };
    let mut text = name.to_owned();
    for word in common.flags.iter().chain(shown).chain([&common.written_dest]) {
        text.push(' ');
        text.push_str(word);
    }
    text.push_str(" # buildkit");
    let root = stage.root;
    stage.commit(text, Some(root));
    Ok(())
}

/// Warns when the ignore file leaves out what an instruction names.
fn check_ignored(stage: &mut StageState<'_, '_>, at: &Instruction, word: &Word, text: &str) {
    let Some(ignore) = stage.options().ignore.clone() else { return };
    if ignore.has_exceptions() {
        return;
    }
    let path = path::join("/", text);
    let path = path.trim_start_matches('/');
    let ignored = if path.is_empty() { ignore.ignores_everything() } else { ignore.ignores(path) };
    if ignored && !has_wildcards(path) {
        let name = at.keyword.value.to_uppercase();
        let message = format!("attempting to {name} file {text:?} that is excluded by .dockerignore");
        stage.warn("CopyIgnoredFile", word.span, message);
    }
}
