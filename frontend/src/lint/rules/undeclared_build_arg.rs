//! `UndeclaredBuildArg`: every --build-arg should be declared by an ARG.

use crate::lint::{Check, Rule};

pub(super) const RULE: Rule = Rule {
    id: "UndeclaredBuildArg",
    summary: "every --build-arg should be declared by an ARG",
    docs: "A build argument that no ARG declares has no effect.",
    experimental: false,
    advisory: true,
    check: Check::Lowering,
};
