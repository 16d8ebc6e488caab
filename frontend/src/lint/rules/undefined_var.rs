//! `UndefinedVar`: variables should be declared before they are used.

use crate::lint::{Check, Rule};

pub(super) const RULE: Rule = Rule {
    id: "UndefinedVar",
    summary: "Variables should be defined before their use",
    docs: "A variable that is not set is replaced by nothing. Declare it with ARG or ENV in the same stage, above its use.",
    experimental: false,
    advisory: false,
    check: Check::Lowering,
};
