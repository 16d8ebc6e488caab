//! `ExposeProtoCasing`: protocols of EXPOSE should be lower case.

use crate::lint::{Check, Rule};

pub(super) const RULE: Rule = Rule {
    id: "ExposeProtoCasing",
    summary: "Protocol in EXPOSE instruction should be lowercase",
    docs: "Write `EXPOSE 80/tcp`.",
    experimental: false,
    advisory: false,
    check: Check::Lowering,
};
