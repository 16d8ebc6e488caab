//! `ArgOverridesEnv`: an ARG should not have the name of an ENV above it.

use crate::lint::{Check, Rule};

pub(super) const RULE: Rule = Rule {
    id: "ArgOverridesEnv",
    summary: "an ARG should not have the name of an ENV above it",
    docs: "From the ARG on, steps see the value of the ARG, while the image keeps the value of the ENV.",
    experimental: false,
    advisory: true,
    check: Check::Lowering,
};
