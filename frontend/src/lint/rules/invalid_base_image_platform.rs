//! `InvalidBaseImagePlatform`: the base image should be for the platform of the build.

use crate::lint::{Check, Rule};

pub(super) const RULE: Rule = Rule {
    id: "InvalidBaseImagePlatform",
    summary: "the base image should be for the platform of the build",
    docs: "The base image was found for another platform than the one that is built for.",
    experimental: false,
    advisory: false,
    check: Check::Lowering,
};
