//! `ExposeInvalidFormat`: EXPOSE should name ports of the container only.

use crate::lint::{Check, Rule};

pub(super) const RULE: Rule = Rule {
    id: "ExposeInvalidFormat",
    summary: "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release",
    docs: "An address or a port of the host has no effect here: publish ports when the container is run.",
    experimental: false,
    advisory: false,
    check: Check::Lowering,
};
