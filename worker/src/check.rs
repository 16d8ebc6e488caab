//! A Dockerfile read, checked and lowered: the first half of a build, and all of a check.

use std::sync::Arc;

use rbuild_frontend::dockerfile::{Parsed, parse};
use rbuild_frontend::errors;
use rbuild_frontend::lint::{Checks, Findings};
use rbuild_frontend::lower::{Aims, Answer, Answers, LowerError, Lowering, lower_into};
use rbuild_model::event::Events;
use rbuild_model::graph::GraphBuilder;
use rbuild_model::span::{Diagnostic, Severity};
use rbuild_model::step::{LocalSource, Source};

use crate::answer::{self, Others};
use crate::cancel::Cancel;
use crate::context::{self, Contexts, Seat};
use crate::error::BuildError;
use crate::request::{BuildRequest, Client};
use crate::tasks::Tasks;
use crate::worker::Worker;

/// What a check of a Dockerfile came to.
#[derive(Debug, Default)]
pub struct Checked {
    /// What the check rules found; with an error, what they found up to there.
    pub findings: Findings,
    /// What it comes to, if it could be lowered.
    pub lowered: Option<Box<Aims>>,
    /// Why it could not be lowered, or should not be built: findings that fail the build.
    pub error: Option<BuildError>,
    /// The Dockerfile, if it was found.
    pub dockerfile: Option<Arc<rbuild_model::span::Source>>,
}

impl Worker {
    /// Reads, checks and lowers a Dockerfile, and builds nothing.
    pub fn check(
        &self,
        mut request: BuildRequest,
        client: &dyn Client,
        events: Events,
        cancel: &Cancel,
    ) -> Checked {
        let contexts = Contexts::new(vec![client], self.store.layout().index());
        let mut builder = GraphBuilder::new();
        let tasks = Tasks::new(events);
        let checked = self.checked(
            &mut request,
            contexts.seat(0),
            &mut builder,
            &mut Others::default(),
            &tasks,
            cancel,
        );
        Checked { dockerfile: Some(request.dockerfile), ..checked }
    }

    /// Reads, checks and lowers a Dockerfile into a graph; what the request does not know yet is filled in.
    pub(crate) fn checked(
        &self,
        request: &mut BuildRequest,
        seat: Seat<'_, '_>,
        builder: &mut GraphBuilder,
        others: &mut Others,
        tasks: &Tasks,
        cancel: &Cancel,
    ) -> Checked {
        let failed = |findings, error| Checked { findings, error: Some(error), ..Checked::default() };
        if let Err(error) = context::bring(self, request, seat.client(), tasks, cancel) {
            return failed(Findings::default(), error);
        }
        let parsed = parse(&request.dockerfile);
        let check = request.options.build_args.get("BUILDKIT_DOCKERFILE_CHECK");
        let checks = match Checks::new(&parsed.dockerfile, check.map(String::as_str)) {
            Ok(checks) => checks,
            Err(error) => {
                let error = BuildError::Dockerfile(vec![unplaced(error.to_string())]);
                return failed(Findings::default(), error);
            }
        };
        let is_sound = !parsed.has_errors();
        if let Err(error) = ignore(request, seat)
            && is_sound
        {
            return failed(checks.apply(&parsed.dockerfile, &[]), error);
        }
        request.options.named_contexts = request.contexts.keys().cloned().collect();
        let lowered = self.lowered(request, seat, &parsed, builder, others, tasks, cancel);
        let dockerfile = &parsed.dockerfile;
        match lowered {
            Ok(lowered) => {
                let findings = checks.apply(dockerfile, &lowered.warnings);
                let error = findings.error().map(|message| BuildError::Dockerfile(vec![unplaced(message)]));
                Checked { findings, lowered: Some(lowered), error, dockerfile: None }
            }
            Err((warnings, error)) => failed(checks.beside_errors(dockerfile, &warnings), error),
        }
    }

    /// Lowers, asking until nothing is unknown. An error brings what was found up to there; where something is wrong with the
    /// file, that is all that is, and what cannot be found out beside it is not told of: it is waited for once, and then
    /// nothing more is asked.
    #[expect(clippy::too_many_arguments, reason = "the parts of one target")]
    fn lowered(
        &self,
        request: &BuildRequest,
        seat: Seat<'_, '_>,
        parsed: &Parsed,
        builder: &mut GraphBuilder,
        others: &mut Others,
        tasks: &Tasks,
        cancel: &Cancel,
    ) -> Result<Box<Aims>, (Vec<Diagnostic>, BuildError)> {
        let mut answers = Answers::new();
        let mut is_in_vain = false;
        loop {
            if cancel.is_cancelled() {
                return Err((Vec::new(), BuildError::Cancelled));
            }
            let (questions, is_sound) =
                match lower_into(builder, &parsed.dockerfile, &request.options, &answers) {
                    Ok(Lowering::Needs(questions)) => (questions, !parsed.has_errors()),
                    Ok(Lowering::Ready(lowered)) if !parsed.has_errors() => return Ok(lowered),
                    Ok(Lowering::Ready(lowered)) => {
                        return Err((lowered.warnings, wrong(parsed, Vec::new(), 0)));
                    }
                    Err(LowerError { diagnostics, more, warnings, asked }) if asked.is_empty() => {
                        return Err((warnings, wrong(parsed, diagnostics, more)));
                    }
                    Err(error) => (error.asked, false),
                };
            for asked in questions {
                if let Some(known) = others.image(&asked.question, request.pull) {
                    answers.insert(asked.question, known.clone());
                    continue;
                }
                if is_in_vain && !is_sound {
                    answers.insert(asked.question, Answer::Unknown);
                    continue;
                }
                match answer::answer(self, request, seat, others, &asked, tasks, cancel) {
                    Ok(answer) => {
                        others.keep(&asked.question, request.pull, &answer);
                        answers.insert(asked.question, answer);
                    }
                    Err(error) if is_sound => return Err((Vec::new(), error)),
                    Err(_) => {
                        is_in_vain = true;
                        answers.insert(asked.question, Answer::Unknown);
                    }
                }
            }
        }
    }
}

/// All that is wrong with a file, in the order of the text: what kept it from being read, and what lowering found.
fn wrong(parsed: &Parsed, lowering: Vec<Diagnostic>, more: usize) -> BuildError {
    let unread = parsed.diagnostics.iter().filter(|finding| finding.severity == Severity::Error);
    // That a file without an instruction has no stage goes without saying.
    let lowering = lowering.into_iter().filter(|_| !parsed.dockerfile.instructions.is_empty());
    let mut errors: Vec<Diagnostic> = unread.cloned().chain(lowering).collect();
    errors.sort_by_key(|error| error.labels.first().map_or(0, |label| label.span.start));
    BuildError::Dockerfile(errors::told(errors, parsed.more_errors + more))
}

/// Reads the ignore file of the main context, and finds the folder among those of all targets.
fn ignore(request: &mut BuildRequest, seat: Seat<'_, '_>) -> Result<(), BuildError> {
    if let Source::Local(LocalSource { name }) = &request.options.context {
        if let Some(text) = seat.client().local(name)?.ignore {
            request.options.ignore = Some(Arc::new(context::ignore(&text)?));
        }
        request.options.context = Source::Local(seat.folder(name)?);
    }
    Ok(())
}

/// An error about no line of the file.
fn unplaced(message: String) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        rule: None,
        message,
        source: None,
        labels: Vec::new(),
        help: None,
    }
}
