//! Instructions that change how an image runs, as `import` and `commit` take them.

use rbuild_frontend::dockerfile::parse;
use rbuild_frontend::lower::{Answers, LowerOptions, Lowering, lower};
use rbuild_model::image_config::RunConfig;
use rbuild_model::platform::Platform;
use rbuild_model::span::{Diagnostic, Severity, Source};

use crate::error::ImagesError;

/// The instructions that change how an image runs and nothing else.
const ALLOWED: [&str; 11] = [
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "ONBUILD",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Returns how an image runs for which instructions say it, one after the other.
pub fn run_config(changes: &[String], platform: &Platform) -> Result<RunConfig, ImagesError> {
    if changes.is_empty() {
        return Ok(RunConfig::default());
    }
    let text = format!("FROM scratch\n{}\n", changes.join("\n"));
    let parsed = parse(&Source::new("changes", text));
    refuse(&parsed.diagnostics)?;
    let instructions = parsed.dockerfile.instructions.get(1..).unwrap_or_default();
    for instruction in instructions {
        let keyword = instruction.keyword.value.to_ascii_uppercase();
        if !ALLOWED.contains(&keyword.as_str()) {
            return Err(ImagesError::Change(format!("{keyword} is not a valid change command")));
        }
    }
    let lowered = lower(&parsed.dockerfile, &LowerOptions::new(platform.clone()), &Answers::default())
        .map_err(|error| {
            refuse(&error.diagnostics).err().unwrap_or(ImagesError::Change(error.to_string()))
        })?;
    let Lowering::Ready(lowered) = lowered else {
        return Err(ImagesError::Change("something outside would have to be asked".to_owned()));
    };
    let mut config =
        lowered.targets.into_iter().next().map(|target| target.config.config).unwrap_or_default();
    // Where a build starts from nothing, it sets PATH and a folder; what is changed is not asked about these.
    let says = |keyword: &str, text: &str| {
        let mut said = instructions.iter();
        said.any(|one| one.keyword.value.eq_ignore_ascii_case(keyword) && one.text.contains(text))
    };
    if !says("ENV", "PATH") {
        config.env.retain(|entry| !entry.starts_with("PATH="));
    }
    if !says("WORKDIR", "") {
        config.working_dir.clear();
    }
    Ok(config)
}

fn refuse(findings: &[Diagnostic]) -> Result<(), ImagesError> {
    match findings.iter().find(|finding| finding.severity == Severity::Error) {
        Some(finding) => Err(ImagesError::Change(finding.message.clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(changes: &[&str]) -> Result<RunConfig, String> {
        let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
        run_config(&changes, &Platform::host()).map_err(|error| error.to_string())
    }

    #[test]
    fn each_change_counts() {
        let config = changed(&[
            "CMD [\"sh\"]",
            "ENV A=1 B=two",
            "env C=$A",
            "EXPOSE 80",
            "WORKDIR /srv",
            "USER nobody",
            "VOLUME /data",
            "LABEL x=y",
        ])
        .unwrap();
        assert_eq!(config.cmd.as_deref(), Some(&["sh".to_owned()][..]));
        assert_eq!(config.env, ["A=1", "B=two", "C=1"]);
        assert_eq!((config.working_dir.as_str(), config.user.as_str()), ("/srv", "nobody"));
        assert!(config.exposed_ports.contains_key("80/tcp"));
        assert!(config.volumes.contains_key("/data"));
        assert_eq!(config.labels.get("x").map(String::as_str), Some("y"));
        assert_eq!(changed(&[]), Ok(RunConfig::default()));
        assert_eq!(changed(&["ENV PATH=/x:$PATH"]).unwrap().env.len(), 1);
        assert_eq!(changed(&["ENV A=1"]).unwrap().working_dir, "", "what is changed keeps its folder");
    }

    #[test]
    fn what_is_no_change_is_refused() {
        assert_eq!(
            changed(&["RUN true"]),
            Err("invalid change: RUN is not a valid change command".to_owned())
        );
        assert_eq!(
            changed(&["CMD a\nFROM x"]),
            Err("invalid change: FROM is not a valid change command".to_owned())
        );
        assert!(changed(&["NONSENSE"]).unwrap_err().contains("unknown instruction: NONSENSE"));
        assert!(changed(&["ENV"]).is_err());
        assert!(changed(&["# only a remark"]).is_ok());
    }
}
