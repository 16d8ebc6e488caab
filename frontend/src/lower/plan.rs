//! Which stages a target needs, and what each stands on.

mod taken;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use rbuild_model::platform::Platform;
use rbuild_model::reference::Reference;
use rbuild_model::span::{Diagnostic, Location, Source, Span, nearest};
use rbuild_model::step;

use super::Target;
use super::options::{Answer, Answers, Asked, ImageAnswer, LowerOptions, Question};
use super::outline::Recorder;
use super::scope::{self, GlobalScope, undefined_variables};
use crate::dockerfile::expand::{self, Mode};
use crate::dockerfile::instruction::{Instruction, InstructionKind, Word};
use crate::dockerfile::stage::Stage;
use crate::dockerfile::{Dockerfile, parse_trigger};
use crate::errors::Errors;

/// The name of the empty image.
const SCRATCH: &str = "scratch";

/// For how many images and variables a similar name is looked for.
const COMPARED: usize = 100;

/// How many triggers the stages of a file may run. Each stage on a base runs all of the base's, so that a file may ask for as
/// many as the square of its lines.
const MAX_TRIGGERS: usize = 100_000;

/// How often a cycle of stages is looked for.
const CYCLES: usize = 100;

/// What a stage stands on.
#[derive(Clone, Debug)]
pub(super) enum Base {
    /// Nothing.
    Scratch,
    /// An earlier stage.
    Stage(usize),
    /// An image.
    Image(Box<ImageAnswer>),
    /// A tree without a config.
    Tree(Box<step::Source>),
    /// What comes out of another Dockerfile in the same graph.
    Target(Box<Target>),
    /// What an earlier mistake keeps from being known; nothing that comes of it is built.
    Unknown,
}

/// Where the files of a `--from` or mount `from` come from.
#[derive(Clone, Debug)]
pub(super) enum FileSource {
    Stage(usize),
    Base(Base),
}

/// A stage that the target needs.
#[derive(Clone, Debug)]
pub(super) struct StagePlan<'a> {
    pub(super) stage: Stage<'a>,
    pub(super) base: Base,
    /// What `--platform` or the build says.
    pub(super) platform: Platform,
    /// The triggers of the base, run before the body.
    pub(super) triggers: Vec<Arc<Instruction>>,
    /// Whether a named context stands for the stage, so that its body is not run.
    pub(super) replaced: bool,
    /// The variables that its FROM refers to.
    pub(super) used: BTreeSet<String>,
}

impl<'a> StagePlan<'a> {
    /// A stage of which nothing is known but what stands in the file.
    fn unknown(stage: Stage<'a>, platform: &Platform) -> Self {
        let platform = platform.clone();
        Self {
            stage,
            base: Base::Unknown,
            platform,
            triggers: Vec::new(),
            replaced: false,
            used: BTreeSet::new(),
        }
    }
}

/// All that lowering for one platform needs to know.
#[derive(Clone, Debug)]
pub(super) struct Plan<'a> {
    pub(super) platform: Platform,
    pub(super) scope: GlobalScope,
    /// By the position of the stage; stages that are not needed are missing.
    pub(super) needed: BTreeMap<usize, StagePlan<'a>>,
    /// Sources of `--from` and `from`, by name as written.
    pub(super) sources: HashMap<String, FileSource>,
    pub(super) target: usize,
    pub(super) target_name: String,
    /// Whether displays name the stage.
    pub(super) name_stages: bool,
    /// Whether global variables were lost to mistakes.
    pub(super) lost_variables: bool,
}

pub(super) enum Outcome<'a> {
    Needs(Vec<Asked>),
    Ready(Box<Plan<'a>>),
}

type Failure = Box<Diagnostic>;

pub(super) struct Planner<'a> {
    dockerfile: &'a Dockerfile,
    options: &'a LowerOptions,
    answers: &'a Answers,
    platform: &'a Platform,
    stages: Vec<Stage<'a>>,
    /// The positions of the stages of each name, ascending.
    names: HashMap<String, Vec<usize>>,
    scope: GlobalScope,
    asked: Vec<Asked>,
    needed: BTreeMap<usize, StagePlan<'a>>,
    visited: Vec<bool>,
    sources: HashMap<String, FileSource>,
    /// The variables that the FROM at hand refers to.
    used: BTreeSet<String>,
    lost_variables: bool,
    /// How often a cycle is still looked for.
    cycles_left: usize,
    /// How many triggers may still be run.
    triggers_left: usize,
    pub(super) errors: Errors,
    pub(super) warnings: Vec<Diagnostic>,
}

impl<'a> Planner<'a> {
    pub(super) fn new(
        dockerfile: &'a Dockerfile,
        options: &'a LowerOptions,
        answers: &'a Answers,
        platform: &'a Platform,
    ) -> Self {
        let stages = dockerfile.stages();
        let mut names: HashMap<String, Vec<usize>> = HashMap::with_capacity(stages.len());
        for stage in &stages {
            if let Some(name) = stage.name() {
                names.entry(name).or_default().push(stage.index);
            }
        }
        Self {
            names,
            dockerfile,
            options,
            answers,
            platform,
            visited: vec![false; stages.len()],
            stages,
            scope: GlobalScope::default(),
            asked: Vec::new(),
            needed: BTreeMap::new(),
            sources: HashMap::new(),
            used: BTreeSet::new(),
            lost_variables: dockerfile.lost_variables,
            cycles_left: CYCLES,
            triggers_left: MAX_TRIGGERS,
            errors: Errors::default(),
            warnings: Vec::new(),
        }
    }

    /// Finds out what is needed. What is wrong with it is in `errors`; an error that is returned leaves nothing to go on
    /// with.
    pub(super) fn plan(&mut self) -> Result<Outcome<'a>, Failure> {
        let target = self.target()?;
        let target_name = match (&self.options.target, self.stages[target].name()) {
            (_, Some(name)) => name,
            (Some(written), None) => written.clone(),
            (None, None) => "default".to_owned(),
        };
        let predefined = scope::predefined(self.options, self.platform, &target_name);
        let source = &self.dockerfile.source;
        let warnings = &mut self.warnings;
        let lost = self.lost_variables;
        let (scope, errors) =
            scope::global(self.dockerfile, self.options, predefined, &mut |span, unset, scope| {
                let known = scope.values.keys().map(String::as_str).take(compared(warnings));
                if !lost {
                    warnings.extend(undefined_variables("UndefinedVar", source, span, unset, known));
                }
            });
        self.scope = scope;
        self.lost_variables |= !errors.is_empty();
        errors.into_iter().for_each(|error| self.errors.push(error));
        let mut work = if self.options.all_stages { (0..self.stages.len()).collect() } else { vec![target] };
        while let Some(index) = work.pop() {
            self.visit(index, &mut work);
        }
        for index in 0..self.stages.len() {
            if !self.visited[index] {
                self.skim(index);
            }
        }
        if !self.asked.is_empty() {
            return Ok(Outcome::Needs(std::mem::take(&mut self.asked)));
        }
        let implicit = self.sources.values().any(|source| matches!(source, FileSource::Base(_)));
        Ok(Outcome::Ready(Box::new(Plan {
            platform: self.platform.clone(),
            scope: std::mem::take(&mut self.scope),
            name_stages: self.stages.len() > 1 || implicit,
            needed: std::mem::take(&mut self.needed),
            sources: std::mem::take(&mut self.sources),
            target,
            target_name,
            lost_variables: self.lost_variables,
        })))
    }

    fn error(&self, span: Span, message: impl Into<String>) -> Failure {
        Box::new(Diagnostic::error(&self.dockerfile.source, span, message))
    }

    fn target(&self) -> Result<usize, Failure> {
        let Some(last) = self.stages.len().checked_sub(1) else {
            return Err(self.error(Span::default(), "dockerfile contains no stages to build"));
        };
        let Some(written) = &self.options.target else { return Ok(last) };
        if let Some(index) = self.last_stage(written) {
            return Ok(index);
        }
        if let Ok(index) = written.parse::<usize>()
            && index <= last
        {
            return Ok(index);
        }
        let names: Vec<String> = self.stages.iter().filter_map(Stage::name).collect();
        let near = nearest(written, names.iter().map(String::as_str));
        let hint = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
        let mut error = Diagnostic::error(
            &self.dockerfile.source,
            Span::default(),
            format!("target stage {written:?} could not be found{hint}"),
        );
        // The mistake is on the command line: no line of the file is at fault.
        error.labels.clear();
        if !names.is_empty() {
            error = error.with_help(format!("the stages are {}", names.join(", ")));
        }
        Err(Box::new(error))
    }

    /// Keeps what is wrong, and goes on: one run tells everything.
    fn note<T>(&mut self, result: Result<T, Failure>) -> Option<T> {
        result.map_err(|error| self.errors.push(*error)).ok()
    }

    /// Takes in a stage and the stages below it, lowest first.
    fn visit(&mut self, index: usize, work: &mut Vec<usize>) {
        let mut chain = Vec::new();
        let mut next = Some(index);
        while let Some(index) = next {
            if self.visited[index] {
                break;
            }
            self.visited[index] = true;
            let stage = self.stages[index];
            let base = self.base(index).unwrap_or_else(|error| {
                self.errors.push(*error);
                Some(StagePlan::unknown(stage, self.platform))
            });
            let used = std::mem::take(&mut self.used);
            let plan = base.map(|plan| StagePlan { used, ..plan });
            next = match &plan {
                Some(StagePlan { base: Base::Stage(below), .. }) => Some(*below),
                _ => None,
            };
            chain.push((index, plan));
        }
        for (index, plan) in chain.into_iter().rev() {
            // A stage whose base is not known yet still says what else it needs.
            let mut body = Vec::new();
            if plan.as_ref().is_none_or(|plan| !plan.replaced) {
                body.extend(self.stages[index].body);
            }
            let mut plan = plan;
            if let Some(plan) = &mut plan {
                let triggers = self.triggers(plan);
                plan.triggers = self.note(triggers).unwrap_or_default();
            }
            let triggers = plan.as_ref().map(|plan| plan.triggers.clone()).unwrap_or_default();
            let head = self.stages[index].head.span;
            for trigger in &triggers {
                for from in trigger.sources() {
                    self.take_source(index, &Word::new(from.value.clone(), head), trigger, work);
                }
            }
            for instruction in body {
                for from in instruction.sources() {
                    self.take_source(index, from, instruction, work);
                }
            }
            if let Some(plan) = plan {
                self.needed.insert(index, plan);
            }
        }
    }

    /// Looks at a stage that nobody needs: as other builders have it, its names have to be right.
    fn skim(&mut self, index: usize) {
        let stage = self.stages[index];
        let head = self.head(&stage);
        self.used.clear();
        if let Some((image, platform)) = self.note(head).flatten() {
            let replaced =
                stage.from.name.as_ref().is_some_and(|name| self.is_context(&name.value, &platform));
            if !replaced && !self.is_context(&image, &platform) && self.earlier_stage(index, &image).is_none()
            {
                let image = self.reference(&image, stage.from.image.span);
                self.note(image);
            }
        }
        for from in stage.body.iter().flat_map(Instruction::sources) {
            let source = self.skim_source(index, from);
            self.note(source);
        }
    }

    /// Tells whether a name stands for nothing, or for what the caller says.
    fn is_context(&self, name: &str, platform: &Platform) -> bool {
        name == SCRATCH || self.options.named_context(name, platform).is_some()
    }

    /// Expands a text of a FROM line; the variables that are not there are returned with it.
    fn expand(&mut self, word: &Word) -> Result<(String, Vec<String>), Failure> {
        let mode = Mode::argument(self.dockerfile.directives.escape());
        let recorder = Recorder::new(&self.scope);
        let expanded = expand::expand(&word.value, mode, &recorder);
        let names = recorder.names();
        self.used.extend(names);
        let expanded =
            expanded.map_err(|error| self.error(word.span, expand::failure(&word.value, &error)))?;
        if self.lost_variables || expanded.unset.is_empty() {
            return Ok((expanded.text, expanded.unset));
        }
        let GlobalScope { values, declared, declarations: _ } = &self.scope;
        let known = values.keys().chain(declared).map(String::as_str).take(compared(&self.warnings));
        let unset: Vec<String> =
            expanded.unset.iter().filter(|name| !declared.contains(*name)).cloned().collect();
        self.warnings.extend(undefined_variables(
            "UndefinedArgInFrom",
            &self.dockerfile.source,
            word.span,
            &unset,
            known,
        ));
        Ok((expanded.text, unset))
    }

    /// Reads the image and the platform of a FROM; `None` if an earlier mistake keeps them from being known.
    fn head(&mut self, stage: &Stage<'a>) -> Result<Option<(String, Platform)>, Failure> {
        let (image, unset) = self.expand(&stage.from.image)?;
        let platform = match &stage.from.platform {
            Some(word) => self.written_platform(word)?,
            None => Some(self.platform.clone()),
        };
        // A FROM without any word has been told of.
        if stage.from.image.value.is_empty() || self.lost_variables && !unset.is_empty() {
            return Ok(None);
        }
        if image.is_empty() {
            let message =
                format!("base name ({}) should not be blank{}", stage.from.image.value, self.meant(&unset));
            return Err(self.error(stage.from.image.span, message));
        }
        Ok(platform.map(|platform| (image, platform)))
    }

    /// Finds what a stage stands on; `None` if that has to be asked.
    fn base(&mut self, index: usize) -> Result<Option<StagePlan<'a>>, Failure> {
        let stage = self.stages[index];
        let Some((image, platform)) = self.head(&stage)? else {
            return Ok(Some(StagePlan::unknown(stage, self.platform)));
        };
        let plan =
            |base, replaced| Some(StagePlan { base, replaced, ..StagePlan::unknown(stage, &platform) });
        // A context of the stage's own name stands for all of it.
        if let Some(name) = &stage.from.name
            && let Some(context) = self.options.named_context(&name.value, &platform).map(str::to_owned)
        {
            let base = self.context(&context, &platform, stage.head.span);
            return Ok(base.and_then(|base| plan(base, true)));
        }
        // A stage of that name is meant before the empty image.
        if image == SCRATCH && self.earlier_stage(index, &image).is_none() {
            return Ok(plan(Base::Scratch, false));
        }
        if let Some(context) = self.options.named_context(&image, &platform).map(str::to_owned) {
            let base = self.context(&context, &platform, stage.head.span);
            return Ok(base.and_then(|base| plan(base, false)));
        }
        if let Some(below) = self.earlier_stage(index, &image) {
            return Ok(plan(Base::Stage(below), false));
        }
        let any = stage.from.platform.is_none() && !self.options.platforms_chosen;
        let base = self.image(&image, &platform, any, stage.from.image.span)?;
        Ok(base.and_then(|base| plan(base, false)))
    }

    /// Says what may have been meant with a variable that is not there.
    fn meant(&self, unset: &[String]) -> String {
        let GlobalScope { values, declared, declarations: _ } = &self.scope;
        let known = || values.keys().chain(declared).map(String::as_str).take(compared(&self.errors.list));
        let near = unset.iter().find_map(|name| nearest(name, known()));
        near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default()
    }

    fn written_platform(&mut self, word: &Word) -> Result<Option<Platform>, Failure> {
        let (text, unset) = self.expand(word)?;
        if self.lost_variables && !unset.is_empty() {
            return Ok(None);
        }
        if text.is_empty() {
            let message =
                format!("empty platform value from expression {}{}", word.value, self.meant(&unset));
            return Err(self.error(word.span, message));
        }
        text.parse().map(Some).map_err(|error| {
            let mut error: Diagnostic = *self.error(word.span, format!("{error}{}", self.meant(&unset)));
            error.help = Some("write a platform like linux/amd64, or $BUILDPLATFORM".to_owned());
            Box::new(error)
        })
    }

    /// Finds the nearest stage of a name above a FROM.
    fn earlier_stage(&self, index: usize, name: &str) -> Option<usize> {
        let found = self.names.get(&name.to_lowercase())?;
        found[..found.partition_point(|at| *at < index)].last().copied()
    }

    /// Finds the last stage of a name.
    fn last_stage(&self, name: &str) -> Option<usize> {
        self.names.get(&name.to_lowercase())?.last().copied()
    }

    fn ask(&mut self, question: Question, span: Span, near: Option<String>) {
        if !self.asked.iter().any(|asked| asked.question == question) {
            let location = Location { source: Arc::clone(&self.dockerfile.source), span };
            self.asked.push(Asked { question, location, near });
        }
    }

    fn context(&mut self, name: &str, platform: &Platform, span: Span) -> Option<Base> {
        let question = Question::Context { name: name.to_owned(), platform: platform.clone() };
        match self.answers.get(&question) {
            Some(answer) => Some(base_of(answer)),
            None => {
                self.ask(question, span, None);
                None
            }
        }
    }

    fn image(
        &mut self,
        name: &str,
        platform: &Platform,
        any: bool,
        span: Span,
    ) -> Result<Option<Base>, Failure> {
        let reference = self.reference(name, span)?.with_default_tag();
        let question = Question::Image { reference, platform: platform.clone(), any_platform: any };
        if let Some(answer) = self.answers.get(&question) {
            let base = base_of(answer);
            if let Base::Image(image) = &base
                && (image.platform.os != platform.os || image.platform.architecture != platform.architecture)
            {
                self.warnings.push(Diagnostic::warning(
                    "InvalidBaseImagePlatform",
                    &self.dockerfile.source,
                    span,
                    format!(
                        "base image {name} was pulled with platform {:?}, expected {:?} for current build",
                        image.platform.to_string(),
                        platform.to_string()
                    ),
                ));
            }
            return Ok(Some(base));
        }
        if self.asked.iter().any(|asked| asked.question == question) {
            return Ok(None);
        }
        // Each is compared with every stage, which is work; so many images are hardly all misspelled.
        let near = if self.asked.len() < COMPARED { self.similar(name) } else { None };
        self.ask(question, span, near);
        Ok(None)
    }

    fn reference(&self, name: &str, span: Span) -> Result<Reference, Failure> {
        name.parse()
            .map_err(|error| self.error(span, format!("failed to parse stage name {name:?}: {error}")))
    }

    /// Finds the stage or common image whose name is closest to that of an image.
    fn similar(&self, name: &str) -> Option<String> {
        let names: Vec<String> = self.stages.iter().filter_map(Stage::name).collect();
        let common =
            ["alpine", "busybox", "debian", "ubuntu", "golang", "rust", "node", "python", "nginx", "fedora"];
        let candidates = names.iter().map(String::as_str).chain(common);
        nearest(name, candidates.filter(|candidate| *candidate != name)).map(str::to_owned)
    }

    /// Reads the triggers that a stage's base brings along.
    fn triggers(&mut self, plan: &StagePlan<'a>) -> Result<Vec<Arc<Instruction>>, Failure> {
        if self.triggers_left == 0 {
            return Ok(Vec::new());
        }
        let texts: Vec<String> = match &plan.base {
            Base::Image(image) => image.config.config.on_build.clone(),
            // Below a stage whose base is still asked for nothing can be said.
            Base::Stage(below) => self.needed.get(below).map(stored_triggers).unwrap_or_default(),
            Base::Target(target) => target.config.config.on_build.clone(),
            Base::Scratch | Base::Tree(_) | Base::Unknown => Vec::new(),
        };
        self.triggers_left = self.triggers_left.saturating_sub(texts.len());
        if self.triggers_left == 0 {
            let message =
                format!("the stages of this file run {MAX_TRIGGERS} ONBUILD triggers of their bases or more");
            let error = self.error(plan.stage.head.span, message);
            return Err(Box::new(
                error.with_help("have fewer ONBUILD, or fewer stages on a base that has them"),
            ));
        }
        texts
            .into_iter()
            .map(|text| {
                let source = Source::new("ONBUILD", text);
                parse_trigger(&source).map(Arc::new).map_err(|errors| {
                    let reason = errors.first().map(|error| error.message.clone()).unwrap_or_default();
                    let message = format!("ONBUILD trigger {:?} of the base: {reason}", source.text());
                    self.error(plan.stage.head.span, message)
                })
            })
            .collect()
    }
}

/// Returns for how many names a similar one is looked for, with so many findings before it.
pub(super) fn compared(findings: &[Diagnostic]) -> usize {
    if findings.len() < COMPARED { usize::MAX } else { 0 }
}

/// Returns the triggers that a stage leaves to those that stand on it.
fn stored_triggers(plan: &StagePlan<'_>) -> Vec<String> {
    let body: &[Instruction] = if plan.replaced { &[] } else { plan.stage.body };
    plan.triggers
        .iter()
        .map(|trigger| &**trigger)
        .chain(body)
        .filter_map(|instruction| match &instruction.kind {
            InstructionKind::Onbuild(onbuild) => Some(onbuild.trigger.clone()),
            _ => None,
        })
        .collect()
}

fn base_of(answer: &Answer) -> Base {
    match answer {
        Answer::Image(image) => Base::Image(image.clone()),
        // Nobody answers with a time who was asked for a tree.
        Answer::Tree(step::Source::Scratch) | Answer::Time(_) => Base::Scratch,
        Answer::Tree(source) => Base::Tree(Box::new(source.clone())),
        Answer::Target(target) => Base::Target(target.clone()),
        Answer::Unknown => Base::Unknown,
    }
}
