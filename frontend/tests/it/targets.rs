//! What has to hold of any input: run by the ordinary tests over a corpus, and by the fuzzer over what it makes up.
//!
//! A target takes bytes and fails by a panic.

use std::collections::BTreeMap;

use rbuild_frontend::bake;
use rbuild_frontend::dockerfile::expand::{Mode, expand};
use rbuild_frontend::dockerfile::{Parsed, mount, parse};
use rbuild_frontend::errors;
use rbuild_frontend::hcl::functions::World;
use rbuild_frontend::ignore::Ignore;
use rbuild_frontend::lint::Checks;
use rbuild_frontend::lower::{
    Answer, Answers, Asked, ImageAnswer, LowerOptions, Lowered, Lowering, Question, lower, targets,
};
use rbuild_model::digest::{ChainId, DiffId, ImageId};
use rbuild_model::image_config::ImageConfig;
use rbuild_model::platform::Platform;
use rbuild_model::span::Source;
use rbuild_model::step::{self, ImagePin, LocalSource};

/// How often a file may ask before it is called endless.
const ROUNDS: usize = 64;

/// Answers what a registry or a caller would.
pub(crate) fn answer(asked: &Asked) -> Answer {
    match &asked.question {
        Question::Image { reference, platform, any_platform: _ } => image(&reference.to_string(), platform),
        Question::Time { .. } => Answer::Time(Some(1)),
        Question::Context { name, platform: _ } => {
            Answer::Tree(step::Source::Local(LocalSource { name: name.clone() }))
        }
    }
}

fn image(name: &str, platform: &Platform) -> Answer {
    let layer: DiffId = format!("sha256:{}", "1".repeat(64)).parse().expect("it is a digest");
    let id: ImageId = format!("sha256:{}", "2".repeat(64)).parse().expect("it is a digest");
    let mut config = ImageConfig::default();
    config.set_platform(platform);
    config.config.env = vec!["PATH=/bin".to_owned()];
    config.rootfs.diff_ids = vec![layer];
    if name.contains("onbuild") {
        config.config.on_build = vec!["COPY . /x".to_owned(), "RUN <<E\nx\nE".to_owned()];
    }
    let pin = ImagePin { manifest: None, image: id, chain: ChainId::of(&[layer]) };
    Answer::Image(Box::new(ImageAnswer { name: name.to_owned(), pin, platform: platform.clone(), config }))
}

/// Lowers a file with every question answered.
pub(crate) fn lowered(parsed: &Parsed, options: &LowerOptions) -> Result<Box<Lowered>, String> {
    let mut answers = Answers::new();
    for _ in 0..ROUNDS {
        match lower(&parsed.dockerfile, options, &answers) {
            Ok(Lowering::Ready(lowered)) => return Ok(lowered),
            Ok(Lowering::Needs(questions)) => {
                assert!(!questions.is_empty(), "nothing is asked and nothing comes out");
                for asked in questions {
                    let answer = answer(&asked);
                    answers.insert(asked.question, answer);
                }
            }
            Err(error) => {
                let errors = errors::told(error.diagnostics, error.more);
                let messages: Vec<String> = errors.iter().map(ToString::to_string).collect();
                assert!(!messages.is_empty(), "an error that says nothing");
                if error.asked.is_empty() {
                    return Err(messages.join("\n"));
                }
                for asked in error.asked {
                    let answer = answer(&asked);
                    answers.insert(asked.question, answer);
                }
            }
        }
    }
    panic!("a file asks without end");
}

/// A Dockerfile: it is read, checked, listed, lowered; written out and read again it is the same.
pub(crate) fn dockerfile(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let source = Source::new("Dockerfile", text);
    let parsed = parse(&source);
    for finding in &parsed.diagnostics {
        for label in &finding.labels {
            assert!(
                source.text().get(label.span.range()).is_some(),
                "a place outside of the text: {finding}"
            );
        }
    }
    let checks = Checks::new(&parsed.dockerfile, None).expect("no configuration is always one");
    let mut options = LowerOptions::new("linux/amd64".parse().expect("it is a platform"));
    options.all_stages = true;
    if let Ok(lowered) = lowered(&parsed, &options) {
        checks.beside_errors(&parsed.dockerfile, &lowered.warnings);
    }
    if parsed.has_errors() {
        return;
    }
    let written = parsed.dockerfile.to_string();
    let again = parse(&Source::new("Dockerfile", written.as_str()));
    assert!(!again.has_errors(), "what was written out cannot be read: {:?}", again.diagnostics);
    let texts = |parsed: &Parsed| -> Vec<String> {
        parsed.dockerfile.instructions.iter().map(|instruction| instruction.text.clone()).collect()
    };
    assert_eq!(texts(&parsed), texts(&again));
    targets(&parsed.dockerfile);
}

/// A word: it is expanded in every mode.
pub(crate) fn word(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let env =
        BTreeMap::from([("a", "aa/b*"), ("e", ""), ("é", "\\")].map(|(k, v)| (k.to_owned(), v.to_owned())));
    for mode in [Mode::argument('\\'), Mode::argument('`'), Mode::heredoc(), Mode::display('\\')] {
        // That it ends is what counts; what comes of it is in the tables.
        let _ = expand(text, mode, &env);
    }
}

/// The value of `--mount`: it is looked at, and read.
pub(crate) fn mount_value(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = mount::source(text);
    let _ = mount::parse(text, &mut |value| Ok(value.to_owned()));
}

/// A bake file, in both forms: it is read, evaluated, planned; what was printed is read as the same plan.
pub(crate) fn bake_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for is_json in [false, true] {
        let Some(plan) = baked(text, is_json) else { continue };
        let printed = bake::json(&plan);
        // Names of places may hold what would be read as an interpolation.
        if !printed.contains("${") && !printed.contains("%{") {
            let again = baked(&printed, true).expect("what was printed can be read");
            assert_eq!(printed, bake::json(&again));
        }
    }
}

fn baked(text: &str, is_json: bool) -> Option<bake::Plan> {
    let source = Source::new("docker-bake", text);
    let request = bake::Request {
        files: vec![if is_json { bake::File::Json(source) } else { bake::File::Hcl(source) }],
        names: Vec::new(),
        overrides: Vec::new(),
        environment: &|_| None,
        world: World::default(),
        platform: "linux/amd64".to_owned(),
        command_context: bake::HERE.to_owned(),
        located: &|place| place.to_owned(),
    };
    let bake = bake::read(&request).ok()?;
    bake::plan(&bake, &request).ok()
}

/// An ignore file, and behind an empty line the paths it is asked about: what is pruned holds nothing that is sent.
pub(crate) fn ignore_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (rules, paths) = text.split_once("\n\n").unwrap_or((text, "a/b/c\na.log\nb"));
    let Ok(ignore) = Ignore::parse(rules) else { return };
    for path in paths.lines().map(|path| path.trim_matches('/')).filter(|path| !path.is_empty()) {
        let ignored = ignore.ignores(path);
        for (at, _) in path.match_indices('/') {
            assert!(
                ignored || !ignore.prunes(&path[..at]),
                "{path} is sent, and the folder above it is not looked into"
            );
        }
    }
}
