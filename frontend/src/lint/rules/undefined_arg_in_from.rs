//! `UndefinedArgInFrom`: a FROM should use declared variables.

use crate::lint::{Check, Rule};

pub(super) const RULE: Rule = Rule {
    id: "UndefinedArgInFrom",
    summary: "FROM command must use declared ARGs",
    docs: "FROM sees the ARGs before the first FROM and the predefined platform variables, nothing else.",
    experimental: false,
    advisory: false,
    check: Check::Lowering,
};
