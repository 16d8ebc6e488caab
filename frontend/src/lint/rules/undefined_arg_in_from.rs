//! `UndefinedArgInFrom`: a FROM should use declared variables.

use crate::lint::{Check, Rule};

pub(super) const RULE: Rule = Rule {
    id: "UndefinedArgInFrom",
    summary: "a FROM should use declared variables",
    docs: "FROM sees the ARGs before the first FROM and the predefined platform variables, nothing else.",
    experimental: false,
    advisory: false,
    check: Check::Lowering,
};
