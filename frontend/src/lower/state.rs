//! A stage while its instructions are done.

mod env;
mod shared_map;
mod sources;
mod steps;
mod variables;
mod words;

pub(crate) use steps::Title;

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use rbuild_model::graph::{GraphBuilder, StepId};
use rbuild_model::image_config::{History, ImageConfig, RunConfig};
use rbuild_model::platform::Platform;
use rbuild_model::span::{Diagnostic, Location, Span};
use rbuild_model::step;

use self::env::BuildEnv;
use self::shared_map::SharedMap;
use super::options::LowerOptions;
use super::outline::{Gathered, Outline, OutlineGrant, Whole, description};
use super::plan::{Base, Plan, StagePlan};
use super::{HistoryItem, Target, epoch, transfer};
use crate::dockerfile::Dockerfile;
use crate::dockerfile::instruction::{Command, Instruction, InstructionKind};
use crate::errors::Errors;

/// What programs find in PATH when an image says nothing.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How much memory the values of a file may take, in bytes: variables, labels, the environments of its steps, and what
/// stages have copies of.
const MAX_VALUES: usize = 128 << 20;

/// What a name and its value take besides their text, in bytes.
const ENTRY: usize = 96;

type Failure = Box<Diagnostic>;

/// A tree that files are taken from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree {
    pub(crate) step: StepId,
    /// Whether it is a client's folder.
    pub(crate) from_client: bool,
}

/// A stage whose instructions are done.
#[derive(Clone, Debug)]
struct Done {
    root: StepId,
    /// What it leaves to those that stand on it: the last one takes it.
    left: Option<Left>,
    /// How many still come for it.
    heirs: usize,
    on_build: Vec<String>,
    /// What the stage itself adds; that of the stage below comes before it.
    history: Vec<HistoryItem>,
    below: Option<usize>,
    /// The stages that it takes files from.
    takes_from: BTreeSet<usize>,
    outline: Gathered,
}

/// What a stage leaves to those that stand on it.
#[derive(Clone, Debug)]
struct Left {
    config: Rc<ImageConfig>,
    env: BuildEnv,
    args: SharedMap<BuildArg>,
    platform: Platform,
    workdir_set: bool,
    is_guess: bool,
}

/// An ARG that is in scope, with or without a value.
#[derive(Clone, Debug)]
struct BuildArg {
    /// Its place among those that were declared.
    first: usize,
    value: Option<Rc<str>>,
}

/// What all stages of a platform share.
struct Shared<'a> {
    dockerfile: &'a Dockerfile,
    options: &'a LowerOptions,
    plan: &'a Plan<'a>,
    builder: &'a mut GraphBuilder,
    warnings: &'a mut Vec<Diagnostic>,
    done: HashMap<usize, Done>,
    /// How many stages stand on each.
    heirs: HashMap<usize, usize>,
    /// The config of a stage that stands on nothing.
    no_config: Rc<ImageConfig>,
    epoch: Option<i64>,
    errors: Errors,
    /// How much memory values take so far, in bytes.
    spent: usize,
}

/// A stage while its instructions are done.
pub(crate) struct StageState<'l, 'a> {
    shared: &'l mut Shared<'a>,
    plan: &'l StagePlan<'a>,
    /// The step whose result the stage's root is.
    pub(crate) root: StepId,
    /// The image config so far, without variables and triggers; its history is the base image's. It is that of the stage
    /// below until it is changed.
    pub(crate) config: Rc<ImageConfig>,
    pub(crate) platform: Platform,
    env: BuildEnv,
    args: SharedMap<BuildArg>,
    on_build: Vec<String>,
    history: Vec<HistoryItem>,
    /// Whether this stage itself has set CMD.
    pub(crate) cmd_set: bool,
    /// Whether WORKDIR was set in this file, here or in a stage below.
    pub(crate) workdir_set: bool,
    /// The instruction being done, for triggers: then places are those of the FROM.
    trigger: Option<String>,
    current: Span,
    position: usize,
    total: usize,
    takes_from: BTreeSet<usize>,
    /// Whether a mistake keeps what the stage stands on, or variables, from being known.
    is_guess: bool,
    /// Whether the instruction being done hangs on what is not known: then nothing is said of it.
    is_doubtful: bool,
    outline: Gathered,
}

/// Does the instructions of all needed stages.
pub(super) fn build<'a>(
    dockerfile: &'a Dockerfile,
    options: &'a LowerOptions,
    plan: &'a Plan<'a>,
    builder: &'a mut GraphBuilder,
    warnings: &'a mut Vec<Diagnostic>,
) -> Result<(Target, Outline), Errors> {
    let mut shared = Shared {
        dockerfile,
        options,
        plan,
        builder,
        warnings,
        done: HashMap::with_capacity(plan.needed.len()),
        heirs: heirs(plan),
        no_config: Rc::default(),
        epoch: None,
        errors: Errors::default(),
        spent: 0,
    };
    match given_epoch(dockerfile, options, plan) {
        Ok(epoch) => shared.epoch = epoch,
        Err(error) => shared.errors.push(*error),
    }
    for (index, stage) in &plan.needed {
        let done = StageState::begin(&mut shared, stage).run();
        shared.done.insert(*index, done);
    }
    if !shared.errors.is_empty() {
        return Err(shared.errors);
    }
    let outline = outline_of(&mut shared.done, plan);
    let mut parts = Vec::new();
    let mut below = Some(plan.target);
    while let Some(done) = below.and_then(|index| shared.done.get_mut(&index)) {
        parts.push(std::mem::take(&mut done.history));
        below = done.below;
    }
    let done = shared.done.remove(&plan.target).expect("the target is needed and has been built");
    let left = done.left.expect("the target's own is kept to the end");
    let mut config = Rc::unwrap_or_clone(left.config);
    config.config.env = left.env.image_list();
    config.config.on_build = done.on_build;
    for (name, value) in &options.labels {
        config.config.labels.insert(name.clone(), value.clone());
    }
    let epoch = options.result_epoch.or(shared.epoch);
    let target = Target {
        requested: plan.platform.clone(),
        stage: plan.target_name.clone(),
        root: done.root,
        config,
        history: parts.into_iter().rev().flatten().collect(),
        epoch,
        layer_epoch: epoch.filter(|_| !options.keep_times),
    };
    let stage = plan.needed.get(&plan.target).expect("the target is needed and has been built").stage;
    let name = stage.name();
    let described = name.as_deref().and_then(|name| description(stage.head, name));
    Ok((target, outline.finish(name, described)))
}

/// Counts who comes for what a stage leaves: the stages that stand on it, and the image for the target's.
fn heirs(plan: &Plan<'_>) -> HashMap<usize, usize> {
    let mut heirs = HashMap::from([(plan.target, 1)]);
    for stage in plan.needed.values() {
        if let Base::Stage(below) = &stage.base {
            *heirs.entry(*below).or_default() += 1;
        }
    }
    heirs
}

/// Puts together what a target takes from outside.
fn outline_of(done: &mut HashMap<usize, Done>, plan: &Plan<'_>) -> Whole {
    let mut outline = Whole::default();
    let mut work = vec![plan.target];
    let mut seen = BTreeSet::new();
    while let Some(index) = work.pop() {
        if !seen.insert(index) {
            continue;
        }
        let stage = done.get_mut(&index).expect("what a built stage needs has been built");
        outline.take_in(std::mem::take(&mut stage.outline), &plan.scope);
        work.extend(&stage.takes_from);
        work.extend(stage.below);
    }
    outline
}

/// Reads `SOURCE_DATE_EPOCH`, which by now is a time if it named something.
fn given_epoch(
    dockerfile: &Dockerfile,
    options: &LowerOptions,
    plan: &Plan<'_>,
) -> Result<Option<i64>, Failure> {
    let given = options.build_args.get(epoch::NAME).or_else(|| plan.scope.values.get(epoch::NAME));
    match given.map(String::as_str) {
        None | Some("") => Ok(None),
        Some(text) => match text.parse::<i64>() {
            Ok(epoch) => Ok(Some(epoch)),
            Err(_) => {
                let message = format!("invalid {}: {text}", epoch::NAME);
                let error = Diagnostic::error(&dockerfile.source, epoch::place(dockerfile), message);
                let help = "give Unix seconds, `context`, or the name of a context or of a stage that is one remote ADD";
                Err(Box::new(error.with_help(help)))
            }
        },
    }
}

/// Returns the config that a stage on an image begins with. Fields that no instruction knows (`container_config`,
/// `docker_version`, `comment`) are facts about the base, and BuildKit drops them too.
fn begun_with(base: &ImageConfig) -> ImageConfig {
    let mut config = base.clone();
    config.created = None;
    config.extra.clear();
    config.config.extra.clear();
    config
}

impl Shared<'_> {
    fn location(&self, span: Span) -> Location {
        Location { source: Arc::clone(&self.dockerfile.source), span }
    }

    /// Returns what a stage begins with that stands on another.
    fn inherit(&mut self, below: usize) -> Left {
        let below = self.done.get_mut(&below).expect("stages are built in order");
        below.heirs -= 1;
        let left = if below.heirs == 0 { below.left.take() } else { below.left.clone() };
        left.expect("it is there until the last has come for it")
    }
}

impl<'l, 'a> StageState<'l, 'a> {
    fn begin(shared: &'l mut Shared<'a>, plan: &'l StagePlan<'a>) -> Self {
        let head = plan.stage.head.span;
        let body: &[Instruction] = if plan.replaced { &[] } else { plan.stage.body };
        let steps =
            plan.triggers.iter().map(|trigger| &**trigger).chain(body).filter(|at| at.makes_step()).count();
        let counts_base = matches!(plan.base, Base::Image(_) | Base::Tree(_));
        let mut state = Self {
            root: StepId(0),
            config: Rc::clone(&shared.no_config),
            platform: plan.platform.clone(),
            env: BuildEnv::default(),
            args: SharedMap::default(),
            on_build: Vec::new(),
            history: Vec::new(),
            cmd_set: false,
            workdir_set: false,
            trigger: None,
            current: head,
            position: 0,
            total: steps + usize::from(counts_base),
            takes_from: BTreeSet::new(),
            is_guess: shared.plan.lost_variables,
            is_doubtful: false,
            outline: Gathered::default(),
            shared,
            plan,
        };
        for name in &plan.used {
            state.outline.global(name);
        }
        let written = format!("FROM {}", plan.stage.from.image.value);
        let title = match &plan.base {
            Base::Image(image) => {
                state.prefixed(Title { shown: format!("FROM {}", image.name), written: written.clone() })
            }
            Base::Tree(_) => Title::plain(format!("[context {}]", plan.stage.from.image.value)),
            Base::Scratch | Base::Stage(_) | Base::Target(_) | Base::Unknown => Title::plain(""),
        };
        state.root = state.shared.base_step(&plan.base, title, head);
        match &plan.base {
            Base::Stage(index) => {
                let Left { config, env, args, platform, workdir_set, is_guess } =
                    state.shared.inherit(*index);
                state.config = config;
                state.env = env;
                state.args = args;
                state.platform = platform;
                state.workdir_set = workdir_set;
                state.is_guess |= is_guess;
            }
            Base::Image(image) => {
                state.take_image(begun_with(&image.config));
                state.platform = image.platform.clone();
            }
            Base::Target(target) => {
                state.take_image(begun_with(&target.config));
                state.history.clone_from(&target.history);
                state.platform = target.config.platform();
            }
            Base::Scratch | Base::Tree(_) | Base::Unknown => {
                state.is_guess |= matches!(plan.base, Base::Unknown);
                // An empty root has no platform of its own: it is the target's.
                if matches!(plan.base, Base::Scratch) {
                    state.platform = state.shared.plan.platform.clone();
                }
                let mut config = ImageConfig::default();
                config.set_platform(&state.platform);
                config.config.working_dir = "/".to_owned();
                state.config = Rc::new(config);
                if let Base::Tree(source) = &plan.base {
                    let files =
                        Tree { step: state.root, from_client: matches!(**source, step::Source::Local(_)) };
                    transfer::all(&mut state, files, written);
                }
            }
        }
        if !state.env.is_listed("PATH") && state.platform.os != "windows" {
            state.env.set_listed("PATH", DEFAULT_PATH);
        }
        state
    }

    /// Begins with the config of an image.
    fn take_image(&mut self, mut config: ImageConfig) {
        self.env = BuildEnv::of_image(std::mem::take(&mut config.config.env));
        config.config.on_build.clear();
        self.config = Rc::new(config);
    }

    /// Does all instructions; one that cannot be done is noted, and the next ones are still looked at.
    fn run(mut self) -> Done {
        let plan = self.plan;
        if self.shared.spent > MAX_VALUES {
            return self.done();
        }
        for trigger in &plan.triggers {
            self.trigger = Some(trigger.text.clone());
            self.current = plan.stage.head.span;
            self.apply(trigger);
        }
        self.trigger = None;
        if !plan.replaced {
            for instruction in plan.stage.body {
                // Once there is no room for values, nothing more can be said that is true.
                if self.shared.spent > MAX_VALUES {
                    break;
                }
                self.current = instruction.span;
                self.apply(instruction);
            }
        }
        self.done()
    }

    fn apply(&mut self, instruction: &Instruction) {
        self.is_doubtful = false;
        let applied = instruction.apply(self);
        // What copies of configs take is seen here.
        let Err(error) = applied.and_then(|()| self.spend(0, instruction.span)) else { return };
        // Variables that it was to set are missing below.
        self.is_guess |= matches!(instruction.kind, InstructionKind::Arg(_) | InstructionKind::Env(_));
        if !self.is_doubtful {
            self.shared.errors.push(error);
        }
    }

    fn done(mut self) -> Done {
        self.env.settle();
        let heirs = self.shared.heirs.get(&self.plan.stage.index).copied().unwrap_or_default();
        let left = Left {
            config: self.config,
            env: self.env,
            args: self.args,
            platform: self.platform,
            workdir_set: self.workdir_set,
            is_guess: self.is_guess,
        };
        Done {
            root: self.root,
            left: (heirs > 0).then_some(left),
            heirs,
            on_build: self.on_build,
            history: self.history,
            below: match self.plan.base {
                Base::Stage(below) => Some(below),
                _ => None,
            },
            takes_from: self.takes_from,
            outline: self.outline,
        }
    }

    pub(crate) fn options(&self) -> &'a LowerOptions {
        self.shared.options
    }

    pub(crate) fn env(&self) -> &BuildEnv {
        &self.env
    }

    /// Keeps a trigger for the images that are built on this one.
    pub(crate) fn store_trigger(&mut self, text: &str) {
        self.on_build.push(text.to_owned());
    }

    /// Returns the image config to change it. A copy of one that others have too is counted.
    pub(crate) fn config_mut(&mut self) -> &mut ImageConfig {
        if Rc::strong_count(&self.config) > 1 {
            self.shared.spent += size(&self.config);
        }
        Rc::make_mut(&mut self.config)
    }

    pub(crate) fn epoch(&self) -> Option<i64> {
        self.shared.epoch
    }

    /// Returns the shell of shell-form commands.
    pub(crate) fn shell(&self) -> Vec<String> {
        match &self.config.config.shell {
            Some(shell) if !shell.is_empty() => shell.clone(),
            _ if self.platform.os == "windows" => ["cmd", "/S", "/C"].map(str::to_owned).to_vec(),
            _ => ["/bin/sh", "-c"].map(str::to_owned).to_vec(),
        }
    }

    fn place(&self, span: Span) -> Span {
        // A trigger's own text is not in this file.
        if self.trigger.is_some() { self.current } else { span }
    }

    /// Makes an error about a place of the instruction being done.
    pub(crate) fn error(&self, span: Span, message: impl Into<String>) -> Diagnostic {
        let message = match &self.trigger {
            Some(text) => format!("ONBUILD trigger {text:?} of the base: {}", message.into()),
            None => message.into(),
        };
        Diagnostic::error(&self.shared.dockerfile.source, self.place(span), message)
    }

    /// Notes a finding of a check rule.
    pub(crate) fn warn(&mut self, rule: &'static str, span: Span, message: impl Into<String>) {
        let finding = Diagnostic::warning(rule, &self.shared.dockerfile.source, self.place(span), message);
        self.shared.warnings.push(finding);
    }

    /// Warns of a shell-form command when nobody has chosen a shell.
    pub(crate) fn recommend_json(&mut self, at: &Instruction, command: &Command) {
        if command.is_shell() && self.config.config.shell.is_none() {
            let message = format!(
                "JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
                at.keyword.value.to_uppercase()
            );
            self.warn("JSONArgsRecommended", at.line_span, message);
        }
    }

    /// Notes that a step uses a secret.
    pub(crate) fn uses_secret(&mut self, name: &str, required: bool) {
        let grant = OutlineGrant { name: name.to_owned(), required, span: self.current };
        self.outline.secret(grant);
    }

    /// Notes that a step uses an agent.
    pub(crate) fn uses_agent(&mut self, name: &str, required: bool) {
        let grant = OutlineGrant { name: name.to_owned(), required, span: self.current };
        self.outline.ssh(grant);
    }

    /// Adds to the history; `layer` is the step that made a layer, if one was made.
    pub(crate) fn commit(&mut self, created_by: String, layer: Option<StepId>) {
        self.history.push(HistoryItem {
            entry: History {
                created: None,
                created_by: Some(created_by),
                author: None,
                comment: Some("buildkit.dockerfile.v0".to_owned()),
                empty_layer: layer.is_none(),
            },
            layer,
            location: Some(self.shared.location(self.current)),
        });
    }
}

/// Returns about what a copy of a config takes, in bytes.
fn size(config: &ImageConfig) -> usize {
    let RunConfig {
        user,
        exposed_ports,
        env,
        entrypoint,
        cmd,
        healthcheck,
        args_escaped: _,
        volumes,
        working_dir,
        on_build,
        labels,
        stop_signal: _,
        shell,
        extra,
    } = &config.config;
    let lists = [entrypoint, cmd, shell].into_iter().flatten().chain([env, on_build]);
    let lists = lists.chain(healthcheck.as_ref().map(|check| &check.test));
    let texts = lists
        .flatten()
        .chain([user, working_dir])
        .chain(exposed_ports.keys())
        .chain(volumes.keys())
        .chain(labels.iter().flat_map(|(name, value)| [name, value]));
    let layers = config.history.len() + config.rootfs.diff_ids.len() + config.extra.len() + extra.len();
    texts.map(|text| text.len() + ENTRY / 2).sum::<usize>() + layers * 4 * ENTRY
}
