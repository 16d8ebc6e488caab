//! `WorkdirRelativePath`: the first WORKDIR should be absolute.

use crate::lint::{Check, Rule};

pub(super) const RULE: Rule = Rule {
    id: "WorkdirRelativePath",
    summary: "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes",
    docs: "A relative WORKDIR begins in the folder that the base image names, which may change with the image.",
    experimental: false,
    advisory: false,
    check: Check::Lowering,
};
