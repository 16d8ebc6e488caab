//! `RUN`: runs a program in the stage and keeps what it changed.

use rbuild_model::span::{Diagnostic, Spanned};

use super::{Args, Command, FlagSpec, Form, Heredocs, Instruction, InstructionKind, InstructionSpec, Word};
use crate::dockerfile::device;
use crate::dockerfile::mount;
use crate::lower::{StageState, exec};

/// `RUN`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The command, without heredoc bodies.
    pub command: Command,
    /// `--mount`, in order, as written.
    pub mounts: Vec<Word>,
    /// The `from` of each mount that has one.
    pub mount_sources: Vec<Word>,
    /// `--network`
    pub network: Option<Word>,
    /// `--security`
    pub security: Option<Word>,
    /// `--device`, in order.
    pub devices: Vec<Word>,
}

pub(super) const SPEC: InstructionSpec = InstructionSpec {
    name: "RUN",
    summary: "run a program and keep what it changed",
    flags: &[
        FlagSpec::list("mount"),
        FlagSpec::text("network"),
        FlagSpec::text("security"),
        FlagSpec::list("device"),
    ],
    ignores_flags: false,
    leaves_out_mistakes: true,
    heredocs: Heredocs::Yes,
    parse,
};

fn parse(args: &mut Args<'_>) -> Option<InstructionKind> {
    let command = Command::parse(args)?;
    let mut mounts = Vec::new();
    let mut mount_sources = Vec::new();
    for word in args.flags.list("mount") {
        match mount::source(&word.value) {
            Ok(from) => {
                mount_sources.extend(from.map(|from| Spanned::new(from, word.span)));
                mounts.push(word);
            }
            Err(error) => {
                let help = error.help();
                let mut finding = Diagnostic::error(args.source, word.span, error.to_string());
                finding.help = help;
                args.report.push(finding);
            }
        }
    }
    let mut network = args.flags.text("network");
    if let Some(network) =
        network.take_if(|network| !matches!(network.value.as_str(), "default" | "none" | "host"))
    {
        args.report.push(
            Diagnostic::error(args.source, network.span, format!("invalid network mode {:?}", network.value))
                .with_help("write default, none or host"),
        );
    }
    let mut security = args.flags.text("security");
    if let Some(security) =
        security.take_if(|security| !matches!(security.value.as_str(), "sandbox" | "insecure"))
    {
        args.report.push(
            Diagnostic::error(
                args.source,
                security.span,
                format!("security {:?} is not valid", security.value),
            )
            .with_help("write sandbox or insecure"),
        );
    }
    if command.form == Form::Exec(Vec::new()) {
        args.error(command.span, "RUN [] names no program");
        return None;
    }
    let mut devices = args.flags.list("device");
    devices.retain(|word| match device::parse(&word.value) {
        Ok(_) => true,
        Err(error) => {
            let finding = Diagnostic::error(args.source, word.span, error.to_string());
            args.report.push(finding.with_help("write `--device=VENDOR/CLASS=NAME` or `…,required`"));
            false
        }
    });
    Some(InstructionKind::Run(Run { command, mounts, mount_sources, network, security, devices }))
}

impl Run {
    pub(super) fn apply(&self, at: &Instruction, stage: &mut StageState<'_, '_>) -> Result<(), Diagnostic> {
        exec::run(self, at, stage)
    }
}
