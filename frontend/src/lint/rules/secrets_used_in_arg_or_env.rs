//! `SecretsUsedInArgOrEnv`: secrets should not be passed by ARG or ENV.

use crate::dockerfile::Dockerfile;
use crate::dockerfile::instruction::InstructionKind;
use crate::lint::{Check, Report, Rule};

pub(super) const RULE: Rule = Rule {
    id: "SecretsUsedInArgOrEnv",
    summary: "Sensitive data should not be used in the ARG or ENV commands",
    docs: "Values of ARG and ENV stay in the image or its history, where anyone can read them. Use `RUN --mount=type=secret`.",
    experimental: false,
    advisory: false,
    check: Check::Text(check),
};

fn check(dockerfile: &Dockerfile, report: &mut Report<'_>) {
    // What stands above the first stage is in no image.
    for instruction in dockerfile.stages().iter().flat_map(|stage| stage.body) {
        let (kind, names): (&str, Vec<_>) = match &instruction.kind {
            InstructionKind::Arg(arg) => ("ARG", arg.declarations.iter().map(|one| &one.name).collect()),
            InstructionKind::Env(env) => ("ENV", env.values.pairs.iter().map(|pair| &pair.key).collect()),
            _ => continue,
        };
        for name in names {
            if is_secret(&name.value) {
                let message = format!(
                    "do not use ARG or ENV instructions for sensitive data ({kind} {:?})",
                    name.value
                );
                report.find_with_help(name.span, message, "use `RUN --mount=type=secret`");
            }
        }
    }
}

const SECRET: &[&str] =
    &["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
const HARMLESS: &[&str] = &["public", "file", "version"];

/// Whether the name of a variable says that its value is a secret.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    let has = |words: &[&str]| name.split('_').any(|token| words.contains(&token));
    has(SECRET) && !has(HARMLESS)
}
