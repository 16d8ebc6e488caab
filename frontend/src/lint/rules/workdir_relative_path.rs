//! `WorkdirRelativePath`: the first WORKDIR should be absolute.

use crate::lint::{Check, Rule};

pub(super) const RULE: Rule = Rule {
    id: "WorkdirRelativePath",
    summary: "the first WORKDIR should be absolute",
    docs: "A relative WORKDIR begins in the folder that the base image names, which may change with the image.",
    experimental: false,
    advisory: false,
    check: Check::Lowering,
};
