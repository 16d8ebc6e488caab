//! `RedundantTargetPlatform`: --platform=$TARGETPLATFORM is what happens anyway.

use std::collections::BTreeMap;

use crate::dockerfile::Dockerfile;
use crate::dockerfile::expand::{Mode, expand};
use crate::lint::{Check, Report, Rule};

pub(super) const RULE: Rule = Rule {
    id: "RedundantTargetPlatform",
    summary: "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    docs: "The target platform is the default of FROM.",
    experimental: false,
    advisory: false,
    check: Check::Text(check),
};

fn check(dockerfile: &Dockerfile, report: &mut Report<'_>) {
    let mode = Mode::argument(dockerfile.directives.escape());
    for stage in dockerfile.stages() {
        if let Some(platform) = &stage.from.platform
            && is_target(&platform.value, mode)
        {
            let message = format!(
                "setting platform to predefined {} in FROM is redundant as this is the default behavior",
                platform.value
            );
            report.find(platform.span, message);
        }
    }
}

/// Tells whether a text stands for the target platform, whichever that is.
fn is_target(text: &str, mode: Mode) -> bool {
    const ANY: &str = "any/platform";
    let env = BTreeMap::from([("TARGETPLATFORM".to_owned(), ANY.to_owned())]);
    expand(text, mode, &env).is_ok_and(|expanded| expanded.text == ANY)
}
