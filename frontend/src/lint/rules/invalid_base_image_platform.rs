//! `InvalidBaseImagePlatform`: the base image should be for the platform of the build.

use crate::lint::{Check, Rule};

pub(super) const RULE: Rule = Rule {
    id: "InvalidBaseImagePlatform",
    summary: "Base image platform does not match expected target platform",
    docs: "The base image was found for another platform than the one that is built for.",
    experimental: false,
    advisory: false,
    check: Check::Lowering,
};
