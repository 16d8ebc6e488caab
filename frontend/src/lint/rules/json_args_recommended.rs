//! `JSONArgsRecommended`: CMD and ENTRYPOINT should be in JSON form.

use crate::lint::{Check, Rule};

pub(super) const RULE: Rule = Rule {
    id: "JSONArgsRecommended",
    summary: "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
    docs: "In shell form the shell is process 1: it does not pass signals on, so the program cannot end in good order. Write `CMD [\"program\", \"argument\"]`, or choose a shell with SHELL to say that this is meant.",
    experimental: false,
    advisory: false,
    check: Check::Lowering,
};
