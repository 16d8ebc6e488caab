//! A Dockerfile read, checked and lowered: the first half of a build, and all of a check.

use std::sync::Arc;

use rbuild_frontend::dockerfile::{Dockerfile, Parsed, parse};
use rbuild_frontend::lint::{Checks, Findings};
use rbuild_frontend::lower::{Answers, Lowered, Lowering, lower};
use rbuild_model::event::Events;
use rbuild_model::span::{Diagnostic, Severity};
use rbuild_model::step::Source;

use crate::answer;
use crate::cancel::Cancel;
use crate::context;
use crate::error::BuildError;
use crate::request::{BuildRequest, Client};
use crate::tasks::Tasks;
use crate::worker::Worker;

/// What a check of a Dockerfile came to.
#[derive(Debug, Default)]
pub struct Checked {
    /// What the check rules found; with an error, what they found up to there.
    pub findings: Findings,
    /// The graph, if there is one.
    pub lowered: Option<Box<Lowered>>,
    /// Why there is no graph, or why there should not be one: findings that fail the build.
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
        request.options.all_stages |= request.options.target.is_none();
        let checked = self.checked(&mut request, client, &Tasks::new(events), cancel);
        Checked { dockerfile: Some(request.dockerfile), ..checked }
    }

    /// Reads, checks and lowers a Dockerfile; what the request does not know yet is filled in.
    pub(crate) fn checked(
        &self,
        request: &mut BuildRequest,
        client: &dyn Client,
        tasks: &Tasks,
        cancel: &Cancel,
    ) -> Checked {
        let failed = |findings, error| Checked { findings, error: Some(error), ..Checked::default() };
        if let Err(error) = context::bring(self, request, client, tasks, cancel) {
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
        if parsed.has_errors() {
            let findings = checks.before_errors(&parsed);
            let Parsed { diagnostics, .. } = parsed;
            let errors = diagnostics.into_iter().filter(|finding| finding.severity == Severity::Error);
            return failed(findings, BuildError::Dockerfile(errors.collect()));
        }
        let dockerfile = parsed.dockerfile;
        if let Err(error) = ignore(request, client) {
            return failed(checks.apply(&dockerfile, &[]), error);
        }
        request.options.named_contexts = request.contexts.keys().cloned().collect();
        match self.lowered(request, client, &dockerfile, tasks, cancel) {
            Ok(lowered) => {
                let findings = checks.apply(&dockerfile, &lowered.warnings);
                let error = findings.error().map(|message| BuildError::Dockerfile(vec![unplaced(message)]));
                Checked { findings, lowered: Some(lowered), error, dockerfile: None }
            }
            Err((warnings, error)) => failed(checks.apply(&dockerfile, &warnings), error),
        }
    }

    /// Lowers, asking until nothing is unknown. An error brings what was found up to there.
    fn lowered(
        &self,
        request: &BuildRequest,
        client: &dyn Client,
        dockerfile: &Dockerfile,
        tasks: &Tasks,
        cancel: &Cancel,
    ) -> Result<Box<Lowered>, (Vec<Diagnostic>, BuildError)> {
        let mut answers = Answers::new();
        loop {
            if cancel.is_cancelled() {
                return Err((Vec::new(), BuildError::Cancelled));
            }
            match lower(dockerfile, &request.options, &answers) {
                Ok(Lowering::Needs(questions)) => {
                    for asked in questions {
                        let answer = answer::answer(self, request, client, &asked, tasks, cancel)
                            .map_err(|error| (Vec::new(), error))?;
                        answers.insert(asked.question, answer);
                    }
                }
                Ok(Lowering::Ready(lowered)) => return Ok(lowered),
                Err(mut error) => return Err((std::mem::take(&mut error.warnings), error.into())),
            }
        }
    }
}

/// Reads the ignore file of the main context.
fn ignore(request: &mut BuildRequest, client: &dyn Client) -> Result<(), BuildError> {
    if matches!(&request.options.context, Source::Local(_))
        && let Some(text) = client.local("context")?.ignore
    {
        request.options.ignore = Some(Arc::new(context::ignore(&text)?));
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
