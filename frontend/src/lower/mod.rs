//! Dockerfiles to graphs: what the instructions mean.
//!
//! [`lower`] does no I/O. Where it has to know what lies outside, such as what an image name stands for today, it
//! returns [`Lowering::Needs`] with every question it can already ask; the caller answers and calls again. Lowering is
//! cheap, so starting over costs less than keeping its state would.
//!
//! 1. `plan` finds, for each platform, what the target needs: the stages reachable over FROM, COPY and mounts, the
//!    base of each, and the triggers that bases bring along. Stages that nobody needs are not looked at.
//! 2. `state` walks through the needed stages in the order of the file; the files of the instructions say
//!    what each does. Equal steps become one step, also across stages and platforms.

mod epoch;
pub(crate) mod exec;
mod mounts;
pub(crate) mod transfer;

mod options;
mod outline;
mod plan;
mod remote;
mod scope;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use rbuild_model::graph::{Graph, GraphBuilder, StepId};
use rbuild_model::image_config::{History, ImageConfig};
use rbuild_model::platform::Platform;
use rbuild_model::span::{Diagnostic, Location, Span, nearest};

use crate::dockerfile::Dockerfile;
use crate::dockerfile::directive::is_builtin_syntax;
use crate::dockerfile::instruction::InstructionKind;
pub use options::{Answer, Answers, Asked, Entitlement, ImageAnswer, LowerOptions, NoCache, Question};
pub use outline::{Outline, OutlineArg, OutlineGrant, TargetLine, description, targets};
pub use remote::{GitUrlError, is_git_url, parse_git_url, percent_decode, without_credentials};
pub(crate) use state::StageState;

/// What became of lowering.
#[derive(Clone, Debug)]
pub enum Lowering<R = Lowered> {
    /// Something has to be known first.
    Needs(Vec<Asked>),
    /// All is known.
    Ready(Box<R>),
}

/// A Dockerfile brought down to steps.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The steps of every platform.
    pub graph: Graph,
    /// What comes out, one a platform, in the order they were asked for.
    pub targets: Vec<Target>,
    /// Findings of check rules, each once, in the order of the text.
    pub warnings: Vec<Diagnostic>,
    /// What the target takes from outside, for the first of the platforms.
    pub outline: Outline,
}

/// What the steps of a Dockerfile come to, where they are a part of a larger graph.
#[derive(Clone, Debug)]
pub struct Aims {
    /// What comes out, one a platform, in the order they were asked for.
    pub targets: Vec<Target>,
    /// Findings of check rules, each once, in the order of the text.
    pub warnings: Vec<Diagnostic>,
    /// What the target takes from outside, for the first of the platforms.
    pub outline: Outline,
}

/// What comes out for one platform.
#[derive(Clone, Debug)]
pub struct Target {
    /// The platform that was asked for.
    pub requested: Platform,
    /// The stage's name, `default` for one without.
    pub stage: String,
    /// The step whose result is the root file system.
    pub root: StepId,
    /// The config, with layers and history of the base image only: those of the build are `history`.
    pub config: ImageConfig,
    /// What the build adds to the history, oldest first.
    pub history: Vec<HistoryItem>,
    /// The time in Unix seconds that the result is said to be of (`SOURCE_DATE_EPOCH`, or that of the outputs).
    pub epoch: Option<i64>,
    /// The latest time that files in its layers have.
    pub layer_epoch: Option<i64>,
}

/// One act of the build in the image's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryItem {
    /// The entry, without its time.
    pub entry: History,
    /// The step that makes its layer; `None` for an act that makes none.
    pub layer: Option<StepId>,
    /// The line it comes from.
    pub location: Option<Location>,
}

/// Why a Dockerfile cannot be lowered.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", .diagnostics.first().map(ToString::to_string).unwrap_or_default())]
pub struct LowerError {
    /// What is wrong, at least one finding.
    pub diagnostics: Vec<Diagnostic>,
    /// How many more errors there are.
    pub more: usize,
    /// Findings of check rules up to there.
    pub warnings: Vec<Diagnostic>,
    /// What has to be known to find the rest of what is wrong.
    pub asked: Vec<Asked>,
}

/// Brings a Dockerfile down to steps.
///
/// A Dockerfile with errors can be lowered too, to find further ones; what comes out is that of the instructions that could
/// be read, and nothing to build.
pub fn lower(
    dockerfile: &Dockerfile,
    options: &LowerOptions,
    answers: &Answers,
) -> Result<Lowering, LowerError> {
    let mut builder = GraphBuilder::new();
    Ok(match lower_into(&mut builder, dockerfile, options, answers)? {
        Lowering::Needs(questions) => Lowering::Needs(questions),
        Lowering::Ready(aims) => {
            let Aims { targets, warnings, outline } = *aims;
            Lowering::Ready(Box::new(Lowered { graph: builder.finish(), targets, warnings, outline }))
        }
    })
}

/// Brings a Dockerfile down to steps of a graph that others go into too: steps that are equal to theirs are theirs, and
/// [answers](Answer::Target) may be what came out of theirs.
///
/// After an error the graph may hold steps that lead nowhere.
pub fn lower_into(
    builder: &mut GraphBuilder,
    dockerfile: &Dockerfile,
    options: &LowerOptions,
    answers: &Answers,
) -> Result<Lowering<Aims>, LowerError> {
    let mut errors = Vec::new();
    // Platforms share most of theirs.
    let mut more = 0;
    let settled;
    let options = match epoch::settle(dockerfile, options, answers) {
        Ok(epoch::Settled::AsWritten) => options,
        Ok(epoch::Settled::Replaced(with_time)) => {
            settled = with_time;
            &settled
        }
        Ok(epoch::Settled::Needs(asked)) => return Ok(Lowering::Needs(vec![*asked])),
        Err(error) => {
            errors.push(*error);
            settled = Box::new(epoch::with_time(options, None));
            &settled
        }
    };
    let mut questions: Vec<Asked> = Vec::new();
    let mut plans = Vec::new();
    let mut warnings = Vec::new();
    for platform in options.distinct_platforms() {
        let mut planner = plan::Planner::new(dockerfile, options, answers, platform);
        let outcome = planner.plan();
        warnings.append(&mut planner.warnings);
        errors.append(&mut planner.errors.list);
        more = more.max(planner.errors.more);
        match outcome {
            Ok(plan::Outcome::Ready(plan)) => plans.push(*plan),
            Ok(plan::Outcome::Needs(needs)) => {
                for asked in needs {
                    if !questions.iter().any(|known| known.question == asked.question) {
                        questions.push(asked);
                    }
                }
            }
            Err(error) => errors.push(*error),
        }
    }
    if !questions.is_empty() && errors.is_empty() {
        return Ok(Lowering::Needs(questions));
    }
    if !questions.is_empty() {
        return Err(LowerError {
            diagnostics: dedup(errors),
            more,
            warnings: dedup(warnings),
            asked: questions,
        });
    }
    warnings.extend(undeclared_build_args(dockerfile, options, &plans));
    warnings.extend(foreign_syntax(dockerfile, options));
    let mut targets = Vec::new();
    let mut outline = None;
    for plan in &plans {
        match state::build(dockerfile, options, plan, builder, &mut warnings) {
            Ok((target, found)) => {
                targets.push(target);
                outline.get_or_insert(found);
            }
            Err(mut found) => {
                errors.append(&mut found.list);
                more = more.max(found.more);
            }
        }
    }
    let warnings = dedup(warnings);
    if !errors.is_empty() {
        return Err(LowerError { diagnostics: dedup(errors), more, warnings, asked: Vec::new() });
    }
    let outline = outline.unwrap_or_default();
    Ok(Lowering::Ready(Box::new(Aims { targets, warnings, outline })))
}

/// Finds the build arguments that no ARG declares.
fn undeclared_build_args(
    dockerfile: &Dockerfile,
    options: &LowerOptions,
    plans: &[plan::Plan<'_>],
) -> Vec<Diagnostic> {
    let triggers = plans.iter().flat_map(|plan| plan.needed.values()).flat_map(|stage| &stage.triggers);
    let declared: BTreeSet<&str> = dockerfile
        .instructions
        .iter()
        .chain(triggers.map(|trigger| &**trigger))
        .filter_map(|instruction| match &instruction.kind {
            InstructionKind::Arg(arg) => Some(arg),
            _ => None,
        })
        .flat_map(|arg| arg.declarations.iter().map(|declaration| declaration.name.value.as_str()))
        .collect();
    options
        .build_args
        .keys()
        .filter(|name| !declared.contains(name.as_str()) && !scope::is_predefined(name))
        .map(|name| {
            let near = nearest(name, declared.iter().copied());
            let hint = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
            let message = format!("build argument {name:?} is not declared by any ARG{hint}");
            let mut finding =
                Diagnostic::warning("UndeclaredBuildArg", &dockerfile.source, Span::default(), message);
            // The mistake is on the command line: no line of the file is at fault.
            finding.labels.clear();
            finding
        })
        .collect()
}

/// Warns when a build argument asks for a frontend that is not built in.
fn foreign_syntax(dockerfile: &Dockerfile, options: &LowerOptions) -> Option<Diagnostic> {
    let syntax = options.build_args.get("BUILDKIT_SYNTAX").filter(|syntax| !is_builtin_syntax(syntax))?;
    let message =
        format!("BUILDKIT_SYNTAX {syntax:?} is ignored: the file is read as an ordinary Dockerfile");
    let mut finding = Diagnostic::warning("ForeignSyntax", &dockerfile.source, Span::default(), message);
    finding.labels.clear();
    Some(finding)
}

/// Brings findings into the order of the text, each once: platforms share them.
fn dedup(mut findings: Vec<Diagnostic>) -> Vec<Diagnostic> {
    findings.sort_by_key(|finding| finding.labels.first().map_or(0, |label| label.span.start));
    let mut result: Vec<Diagnostic> = Vec::with_capacity(findings.len());
    for finding in findings {
        if !result.iter().rev().take(64).any(|known| *known == finding) {
            result.push(finding);
        }
    }
    result
}
