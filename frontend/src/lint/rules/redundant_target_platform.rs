//! `RedundantTargetPlatform`: --platform=$TARGETPLATFORM is what happens anyway.

use crate::dockerfile::Dockerfile;
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
    for stage in dockerfile.stages() {
        if let Some(platform) = &stage.from.platform
            && matches!(platform.value.as_str(), "$TARGETPLATFORM" | "${TARGETPLATFORM}")
        {
            let message = format!(
                "setting platform to predefined {} in FROM is redundant as this is the default behavior",
                platform.value
            );
            report.find(platform.span, message);
        }
    }
}
