//! What a target takes from outside: build arguments, secrets, agents; and which targets a file has.
//!
//! An outline is put together while the file is lowered, because only then the values of arguments are known. An
//! argument that several stages declare is listed once: as the target has it, else the stage below, else one that files
//! are taken from.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use rbuild_model::span::Span;

use super::scope::GlobalScope;
use crate::dockerfile::Dockerfile;
use crate::dockerfile::expand::Environment;
use crate::dockerfile::instruction::Instruction;

/// What a target takes from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// The target's name, `None` for a stage without one.
    pub name: Option<String>,
    /// What the comment above its FROM says.
    pub description: Option<String>,
    /// Build arguments in the order of the text.
    pub args: Vec<OutlineArg>,
    /// Secrets in the order of the lines that use them first.
    pub secrets: Vec<OutlineGrant>,
    /// Agents in the order of the lines that use them first.
    pub ssh: Vec<OutlineGrant>,
}

/// A build argument that a target uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlineArg {
    /// Its name.
    pub name: String,
    /// What the comment above its ARG says.
    pub description: Option<String>,
    /// Its value in this build.
    pub value: Option<String>,
    /// The line that declares it.
    pub span: Span,
    /// Its name in that line, which may declare several.
    pub word: Span,
}

/// A secret or an agent that a target uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlineGrant {
    /// Its name.
    pub name: String,
    /// Whether there is no build without it.
    pub required: bool,
    /// The first line that uses it.
    pub span: Span,
}

/// One stage as a list of targets shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetLine {
    /// Its name in lower case, `None` for a stage without one.
    pub name: Option<String>,
    /// What the comment above its FROM says.
    pub description: Option<String>,
    /// The base as written.
    pub base: String,
    /// The platform as written.
    pub platform: Option<String>,
    /// Whether it is built when no target is named.
    pub default: bool,
    /// The FROM.
    pub span: Span,
}

/// Lists the targets of a file.
pub fn targets(dockerfile: &Dockerfile) -> Vec<TargetLine> {
    let stages = dockerfile.stages();
    let last = stages.len().saturating_sub(1);
    stages
        .into_iter()
        .map(|stage| TargetLine {
            description: stage.name().and_then(|name| description(stage.head, &name)),
            name: stage.name(),
            base: stage.from.image.value.clone(),
            platform: stage.from.platform.as_ref().map(|platform| platform.value.clone()),
            default: stage.index == last,
            span: stage.head.line_span,
        })
        .collect()
}

/// Returns what the comments directly above an instruction say of a name: the rest of the line that begins with it. A
/// lone `#` ends a block of comments, so that what is above it describes nothing.
pub fn description(instruction: &Instruction, name: &str) -> Option<String> {
    let block = instruction.comments.split(|comment| comment.value.is_empty()).next_back()?;
    block.iter().find_map(|comment| {
        let rest = comment.value.strip_prefix(name)?;
        let text = rest.strip_prefix([' ', '\t'])?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    })
}

/// What one stage takes from outside.
#[derive(Clone, Debug, Default)]
pub(super) struct Gathered {
    args: Vec<Taken>,
    secrets: BTreeMap<String, OutlineGrant>,
    ssh: BTreeMap<String, OutlineGrant>,
}

/// A build argument that a stage uses.
#[derive(Clone, Debug)]
enum Taken {
    /// One of its own.
    Own(OutlineArg),
    /// A global one, and with it those that its default is made of.
    Global(String),
}

impl Gathered {
    pub(super) fn arg(&mut self, arg: OutlineArg) {
        self.args.push(Taken::Own(arg));
    }

    pub(super) fn global(&mut self, name: &str) {
        self.args.push(Taken::Global(name.to_owned()));
    }

    pub(super) fn secret(&mut self, grant: OutlineGrant) {
        add(&mut self.secrets, grant);
    }

    pub(super) fn ssh(&mut self, grant: OutlineGrant) {
        add(&mut self.ssh, grant);
    }
}

/// What a target takes from outside, with all its stages.
#[derive(Debug, Default)]
pub(super) struct Whole {
    args: BTreeMap<String, OutlineArg>,
    /// The global ARGs that are in it.
    globals: BTreeSet<String>,
    secrets: BTreeMap<String, OutlineGrant>,
    ssh: BTreeMap<String, OutlineGrant>,
}

impl Whole {
    /// Adds what a stage takes, where nothing is known of it.
    pub(super) fn take_in(&mut self, stage: Gathered, scope: &GlobalScope) {
        let Gathered { args, secrets, ssh } = stage;
        let mut own = BTreeMap::new();
        let mut put = |arg: OutlineArg| own.insert(arg.name.clone(), arg);
        for arg in args {
            match arg {
                Taken::Own(arg) => drop(put(arg)),
                Taken::Global(name) => {
                    scope.used(&name, &mut self.globals, &mut |arg| drop(put(arg.clone())));
                }
            }
        }
        for (name, arg) in own {
            self.args.entry(name).or_insert(arg);
        }
        secrets.into_values().for_each(|grant| add(&mut self.secrets, grant));
        ssh.into_values().for_each(|grant| add(&mut self.ssh, grant));
    }

    pub(super) fn finish(self, name: Option<String>, description: Option<String>) -> Outline {
        let mut args: Vec<_> = self.args.into_values().collect();
        args.sort_by_key(|arg| (arg.span.start, arg.word.start));
        Outline { name, description, args, secrets: in_order(self.secrets), ssh: in_order(self.ssh) }
    }
}

fn add(known: &mut BTreeMap<String, OutlineGrant>, grant: OutlineGrant) {
    let required = grant.required;
    known.entry(grant.name.clone()).or_insert(grant).required |= required;
}

/// Returns what is taken in the order of the lines that take it first.
fn in_order(grants: BTreeMap<String, OutlineGrant>) -> Vec<OutlineGrant> {
    let mut grants: Vec<_> = grants.into_values().collect();
    grants.sort_by_key(|grant| grant.span.start);
    grants
}

/// An environment that remembers what was asked of it.
pub(super) struct Recorder<'e> {
    env: &'e dyn Environment,
    names: RefCell<BTreeSet<String>>,
}

impl<'e> Recorder<'e> {
    pub(super) fn new(env: &'e dyn Environment) -> Self {
        Self { env, names: RefCell::default() }
    }

    pub(super) fn names(self) -> BTreeSet<String> {
        self.names.into_inner()
    }
}

impl Environment for Recorder<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.names.borrow_mut().insert(name.to_owned());
        self.env.get(name)
    }
}
