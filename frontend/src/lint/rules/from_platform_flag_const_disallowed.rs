//! `FromPlatformFlagConstDisallowed`: --platform of a FROM should not be a constant.

use rbuild_model::platform::Platform;

use crate::dockerfile::Dockerfile;
use crate::lint::{Check, Report, Rule};

pub(super) const RULE: Rule = Rule {
    id: "FromPlatformFlagConstDisallowed",
    summary: "FROM --platform flag should not use a constant value",
    docs: "A constant platform makes the stage ignore the platform that is built for. Use $BUILDPLATFORM or $TARGETPLATFORM, or name the stage after the platform it is for.",
    experimental: false,
    advisory: false,
    check: Check::Text(check),
};

fn check(dockerfile: &Dockerfile, report: &mut Report<'_>) {
    for stage in dockerfile.stages() {
        let Some(platform) = &stage.from.platform else { continue };
        let Ok(parsed) = platform.value.parse::<Platform>() else { continue };
        let named =
            stage.name().is_some_and(|name| name.contains(&parsed.os) || name.contains(&parsed.architecture));
        if !named {
            let message = format!("FROM --platform flag should not use constant value {:?}", platform.value);
            report.find(platform.span, message);
        }
    }
}
