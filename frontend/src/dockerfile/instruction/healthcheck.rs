//! `HEALTHCHECK`: how the health of a container is found out.

use rbuild_model::image_config;
use rbuild_model::span::{Diagnostic, Spanned};

use super::{Args, Command, FlagSpec, Form, Heredocs, Instruction, InstructionKind, InstructionSpec};
use crate::go;
use crate::lower::StageState;

/// `HEALTHCHECK`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Healthcheck {
    /// The check; its times are nanoseconds.
    pub check: image_config::Healthcheck,
}

pub(super) const SPEC: InstructionSpec = InstructionSpec {
    name: "HEALTHCHECK",
    summary: "say how the health of a container is found out",
    flags: &[
        FlagSpec::text("interval"),
        FlagSpec::text("timeout"),
        FlagSpec::text("start-period"),
        FlagSpec::text("start-interval"),
        FlagSpec::text("retries"),
    ],
    ignores_flags: false,
    leaves_out_mistakes: false,
    heredocs: Heredocs::No,
    parse,
};

fn parse(args: &mut Args<'_>) -> Option<InstructionKind> {
    let (kind, rest) = args.rest.split_field();
    let mut check = image_config::Healthcheck::default();
    match kind.text().to_ascii_uppercase().as_str() {
        "" => return args.fail("HEALTHCHECK requires at least one argument"),
        "NONE" => {
            if !rest.is_empty() {
                args.error(rest.span(), "HEALTHCHECK NONE takes no arguments");
                return None;
            }
            check.test = vec!["NONE".to_owned()];
        }
        "CMD" => {
            let command = Command::parse_slice(args, rest)?;
            check.test = match command.form {
                Form::Exec(argv) if !argv.is_empty() => {
                    std::iter::once("CMD".to_owned()).chain(argv).collect()
                }
                Form::Shell(text) if !text.is_empty() => vec!["CMD-SHELL".to_owned(), text],
                _ => return args.fail("Missing command after HEALTHCHECK CMD"),
            };
            check.interval = duration(args, "interval");
            check.timeout = duration(args, "timeout");
            check.start_period = duration(args, "start-period");
            check.start_interval = duration(args, "start-interval");
            check.retries = retries(args);
        }
        other => {
            let message = format!("Unknown type {other:?} in HEALTHCHECK (try CMD)");
            args.error(kind.span(), message);
            return None;
        }
    }
    Some(InstructionKind::Healthcheck(Healthcheck { check }))
}

/// Reads a time; 0 and absence mean that it is inherited.
fn duration(args: &mut Args<'_>, name: &str) -> i64 {
    let Some(Spanned { value, span }) = args.flags.text(name) else { return 0 };
    match go::parse_duration(&value) {
        Some(0) => 0,
        Some(time) if time < 1_000_000 => {
            args.error(span, format!("Interval {name:?} cannot be less than 1ms: {value}"));
            0
        }
        Some(time) => time,
        None => {
            args.report.push(
                Diagnostic::error(args.source, span, go::no_duration(&value))
                    .with_help("write a time with its unit: `30s`, `1m30s`, `500ms`"),
            );
            0
        }
    }
}

fn retries(args: &mut Args<'_>) -> i64 {
    let Some(Spanned { value, span }) = args.flags.text("retries") else { return 0 };
    match value.parse::<i32>() {
        Ok(retries) if retries >= 0 => retries.into(),
        Ok(_) => {
            args.error(span, format!("--retries cannot be negative ({value})"));
            0
        }
        Err(_) => {
            args.error(span, format!("--retries must be a number: {value}"));
            0
        }
    }
}

impl Healthcheck {
    pub(super) fn apply(&self, _: &Instruction, stage: &mut StageState<'_, '_>) -> Result<(), Diagnostic> {
        let check = &self.check;
        let text = format!(
            "HEALTHCHECK {{Test:[{}] Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
            check.test.join(" "),
            go::duration(check.interval),
            go::duration(check.timeout),
            go::duration(check.start_period),
            go::duration(check.start_interval),
            check.retries,
        );
        stage.config_mut().config.healthcheck = Some(check.clone());
        stage.commit(text, None);
        Ok(())
    }
}
