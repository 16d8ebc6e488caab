//! `STOPSIGNAL`: the signal that asks a container to end.

use rbuild_model::span::Diagnostic;

use super::{Args, Heredocs, Instruction, InstructionKind, InstructionSpec, Word};
use crate::lower::StageState;

/// `STOPSIGNAL`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopsignal {
    /// The signal as written, variables included.
    pub signal: Word,
}

/// The largest signal that there is.
pub(crate) const LAST_SIGNAL: i64 = 64;

pub(super) const SPEC: InstructionSpec = InstructionSpec {
    name: "STOPSIGNAL",
    summary: "set the signal that asks a container to end",
    flags: &[],
    ignores_flags: true,
    leaves_out_mistakes: false,
    heredocs: Heredocs::No,
    parse,
};

fn parse(args: &mut Args<'_>) -> Option<InstructionKind> {
    Some(InstructionKind::Stopsignal(Stopsignal { signal: args.one()? }))
}

impl Stopsignal {
    pub(super) fn apply(&self, _: &Instruction, stage: &mut StageState<'_, '_>) -> Result<(), Diagnostic> {
        let signal = stage.expand(&self.signal)?;
        if !is_signal(&signal) {
            return Err(stage
                .error(self.signal.span, format!("invalid signal: {signal}"))
                .with_help("write a name like SIGTERM, or a number"));
        }
        let text = format!("STOPSIGNAL {signal}");
        stage.config_mut().config.stop_signal = Some(signal);
        stage.commit(text, None);
        Ok(())
    }
}

/// Linux' signals by name, without `SIG`.
const SIGNALS: &[&str] = &[
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE",
    "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU",
    "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
];

/// Tells whether a text may stand for a signal: any number but 0, or a name with or without `SIG`, in any case.
fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<i64>() {
        return number != 0;
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let offset = |prefix: &str, sign: char| {
        name.strip_prefix(prefix).map(|rest| match rest.strip_prefix(sign) {
            Some(number) => number.parse::<u32>().is_ok_and(|number| (1..=15).contains(&number)),
            None => rest.is_empty(),
        })
    };
    SIGNALS.contains(&name) || offset("RTMIN", '+').or_else(|| offset("RTMAX", '-')).unwrap_or(false)
}
