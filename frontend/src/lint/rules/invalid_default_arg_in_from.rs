//! `InvalidDefaultArgInFrom`: a FROM should be valid when no build argument is given.

use std::collections::BTreeMap;

use rbuild_model::reference::Reference;

use crate::dockerfile::Dockerfile;
use crate::dockerfile::expand::{self, Mode};
use crate::lint::{Check, Report, Rule};

pub(super) const RULE: Rule = Rule {
    id: "InvalidDefaultArgInFrom",
    summary: "Default value for global ARG results in an empty or invalid base image name",
    docs: "Without `--build-arg` the base name comes out empty or malformed. Give the ARG a default.",
    experimental: false,
    advisory: false,
    check: Check::Text(check),
};

fn check(dockerfile: &Dockerfile, report: &mut Report<'_>) {
    let mut values = BTreeMap::new();
    for prefix in ["TARGET", "BUILD"] {
        for (suffix, value) in [
            ("PLATFORM", "linux/amd64"),
            ("OS", "linux"),
            ("ARCH", "amd64"),
            ("VARIANT", ""),
            ("OSVERSION", ""),
        ] {
            values.insert(format!("{prefix}{suffix}"), value.to_owned());
        }
    }
    values.insert("TARGETSTAGE".to_owned(), "default".to_owned());
    let mode = Mode::argument(dockerfile.directives.escape());
    for (_, arg) in dockerfile.global_args() {
        for one in &arg.declarations {
            if let Some(default) = &one.default
                && let Ok(expanded) = expand::expand(&default.value, mode, &values)
            {
                values.insert(one.name.value.clone(), expanded.text);
            }
        }
    }
    for stage in dockerfile.stages() {
        let image = &stage.from.image;
        if !image.value.contains('$') {
            continue;
        }
        let valid = expand::expand(&image.value, mode, &values)
            .is_ok_and(|expanded| expanded.text == "scratch" || expanded.text.parse::<Reference>().is_ok());
        if !valid {
            let message =
                format!("default value for ARG {} results in empty or invalid base image name", image.value);
            report.find(image.span, message);
        }
    }
}
