//! Instructions that change how an image runs, as `import` and `commit` take them.

use rbuild_frontend::dockerfile::{Dockerfile, parse};
use rbuild_frontend::lower::{
    Answer, Answers, Asked, ImageAnswer, LowerError, LowerOptions, Lowering, lower,
};
use rbuild_model::digest::ImageId;
use rbuild_model::image_config::{ImageConfig, RunConfig};
use rbuild_model::platform::Platform;
use rbuild_model::span::{Diagnostic, Severity, Source};
use rbuild_model::step::ImagePin;

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
    changed_config(&RunConfig::default(), changes, platform)
}

/// Returns how an image runs that is made of what runs as `base` says, with instructions after it: they see its variables and its
/// folder, as those of a build do.
pub fn changed_config(
    base: &RunConfig,
    changes: &[String],
    platform: &Platform,
) -> Result<RunConfig, ImagesError> {
    if changes.is_empty() {
        return Ok(base.clone());
    }
    let text = format!("FROM base\n{}\n", changes.join("\n"));
    let parsed = parse(&Source::new("changes", text));
    refuse(&parsed.diagnostics)?;
    let instructions = parsed.dockerfile.instructions.get(1..).unwrap_or_default();
    if instructions.is_empty() {
        return Err(ImagesError::Change("there is no instruction in it".to_owned()));
    }
    for instruction in instructions {
        let keyword = instruction.keyword.value.to_ascii_uppercase();
        if !ALLOWED.contains(&keyword.as_str()) {
            return Err(ImagesError::Change(format!("{keyword} is not a valid change command")));
        }
    }
    let mut config = lowered(&parsed.dockerfile, base, platform)?;
    // Where a build starts from nothing, it sets PATH and a folder; what is changed is not asked about these.
    let says = |keyword: &str, text: &str| {
        let mut said = instructions.iter();
        said.any(|one| one.keyword.value.eq_ignore_ascii_case(keyword) && one.text.contains(text))
    };
    if !says("ENV", "PATH") && base.env("PATH").is_none() {
        config.env.retain(|entry| !entry.starts_with("PATH="));
    }
    if !says("WORKDIR", "") {
        config.working_dir.clone_from(&base.working_dir);
    }
    // Nothing here is as good as nothing said.
    let is_empty = |words: &Option<Vec<String>>| words.as_ref().is_none_or(Vec::is_empty);
    if is_empty(&config.entrypoint) {
        config.entrypoint.clone_from(&base.entrypoint);
        if is_empty(&config.cmd) {
            config.cmd.clone_from(&base.cmd);
        }
    }
    config.on_build.splice(0..0, base.on_build.iter().cloned());
    Ok(config)
}

/// Returns what the config of `base` becomes by a Dockerfile that begins with it.
fn lowered(dockerfile: &Dockerfile, base: &RunConfig, platform: &Platform) -> Result<RunConfig, ImagesError> {
    let mut config = ImageConfig {
        // Its triggers are for who builds on the result.
        config: RunConfig { on_build: Vec::new(), ..base.clone() },
        ..ImageConfig::default()
    };
    config.set_platform(platform);
    let pin = ImagePin { manifest: None, image: ImageId::from_bytes([0; 32]), chain: None };
    let answer = ImageAnswer { name: "base".to_owned(), pin, platform: platform.clone(), config };
    let mut answers = Answers::default();
    let options = LowerOptions::new(platform.clone());
    let refused = |error: LowerError| {
        refuse(&error.diagnostics).err().unwrap_or_else(|| ImagesError::Change(error.to_string()))
    };
    let mut lowering = lower(dockerfile, &options, &answers).map_err(refused)?;
    if let Lowering::Needs(asked) = lowering {
        for Asked { question, .. } in asked {
            answers.insert(question, Answer::Image(Box::new(answer.clone())));
        }
        lowering = lower(dockerfile, &options, &answers).map_err(refused)?;
    }
    match lowering {
        Lowering::Ready(lowered) => {
            Ok(lowered.targets.into_iter().next().map(|target| target.config.config).unwrap_or_default())
        }
        Lowering::Needs(_) => Err(ImagesError::Change("something outside would have to be asked".to_owned())),
    }
}

fn refuse(findings: &[Diagnostic]) -> Result<(), ImagesError> {
    match findings.iter().find(|finding| finding.severity == Severity::Error) {
        Some(finding) => Err(ImagesError::Change(bare(&finding.message))),
        None => Ok(()),
    }
}

/// Returns a message without the number of a line: that of a change would not be what anybody wrote.
fn bare(message: &str) -> String {
    let numbered =
        message.strip_prefix("dockerfile parse error on line ").and_then(|text| text.split_once(": "));
    let message = numbered.map_or(message, |(_, text)| text);
    match message.strip_prefix("unknown instruction: ").and_then(|text| text.split_whitespace().next()) {
        Some(word) => format!("{word} is not a valid change command"),
        None => message.to_owned(),
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
        let refused = |changes: &[&str]| changed(changes).unwrap_err();
        assert_eq!(refused(&["NONSENSE x"]), "invalid change: NONSENSE is not a valid change command");
        assert_eq!(refused(&["CMD a", "ENV"]), "invalid change: ENV requires at least one argument");
        assert_eq!(refused(&["# only a remark"]), "invalid change: there is no instruction in it");
        assert_eq!(refused(&[""]), "invalid change: there is no instruction in it");
    }

    #[test]
    fn changes_see_what_they_change() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let base = RunConfig {
            env: words("A=1 B=2"),
            entrypoint: Some(words("sh")),
            cmd: Some(words("-c true")),
            working_dir: "/w".to_owned(),
            on_build: vec!["RUN make".to_owned()],
            ..RunConfig::default()
        };
        let changed = |change: &str| changed_config(&base, &[change.to_owned()], &Platform::host()).unwrap();
        assert_eq!(changed("ENV A=$A:2 C=3").env, words("A=1:2 B=2 C=3"));
        assert_eq!(changed("WORKDIR sub").working_dir, "/w/sub");
        assert_eq!(changed("WORKDIR /x/$B").working_dir, "/x/2");
        let replaced = changed("ENTRYPOINT [\"e\"]");
        assert_eq!((replaced.entrypoint, replaced.cmd), (Some(words("e")), None));
        for nothing in ["ENTRYPOINT []", "LABEL a=b"] {
            let kept = changed(nothing);
            assert_eq!((kept.entrypoint, kept.cmd), (base.entrypoint.clone(), base.cmd.clone()), "{nothing}");
            assert_eq!((kept.env, kept.working_dir), (base.env.clone(), base.working_dir.clone()));
        }
        assert_eq!(changed("ONBUILD RUN x").on_build, ["RUN make", "RUN x"]);
    }
}
