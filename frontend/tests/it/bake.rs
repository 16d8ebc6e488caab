//! Bake files against what buildx printed for them (`testdata/bake`): the plans byte for byte, the errors where it has one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rbuild_frontend::bake::{self, File, Override, Request};
use rbuild_frontend::compose;
use rbuild_frontend::hcl::functions::World;
use rbuild_model::span::{Diagnostic, Source};

/// A case: the parts of its file.
struct Case {
    name: String,
    parts: BTreeMap<String, String>,
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/bake");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let mut parts: BTreeMap<String, String> = BTreeMap::new();
            let mut current = String::new();
            for line in text.split_inclusive('\n') {
                match line.trim_end().strip_prefix("-- ").and_then(|line| line.strip_suffix(" --")) {
                    Some(name) => {
                        name.clone_into(&mut current);
                        parts.entry(current.clone()).or_default();
                    }
                    None => parts.get_mut(&current).unwrap().push_str(line),
                }
            }
            Case { name: path.file_stem().unwrap().to_str().unwrap().to_owned(), parts }
        })
        .collect()
}

/// What a command line asks for.
#[derive(Default)]
struct Arguments {
    files: Vec<String>,
    names: Vec<String>,
    overrides: Vec<String>,
    list: Option<String>,
}

fn arguments(case: &Case) -> Arguments {
    let mut arguments = Arguments::default();
    let text = case.parts.get("args").cloned().unwrap_or_default();
    let mut words = text.split_whitespace().map(str::to_owned);
    while let Some(word) = words.next() {
        match &*word {
            "-f" => arguments.files.extend(words.next()),
            "--set" => arguments.overrides.extend(words.next()),
            "--list" => arguments.list = words.next(),
            "--push" => arguments.overrides.push("*.push=true".to_owned()),
            "--load" => arguments.overrides.push("*.load=true".to_owned()),
            "--pull" => arguments.overrides.push("*.pull=true".to_owned()),
            "--no-cache" => arguments.overrides.push("*.no-cache=true".to_owned()),
            "--sbom=true" => arguments.overrides.push("*.attest=type=sbom".to_owned()),
            "--provenance=mode=max" => {
                arguments.overrides.push("*.attest=type=provenance,mode=max".to_owned())
            }
            name => arguments.names.push(name.to_owned()),
        }
    }
    if arguments.files.is_empty() {
        let usual = [
            "compose.yaml",
            "docker-bake.json",
            "docker-bake.hcl",
            "docker-bake.override.json",
            "docker-bake.override.hcl",
        ];
        arguments.files = usual
            .iter()
            .filter(|name| case.parts.contains_key(**name))
            .map(|name| (*name).to_owned())
            .collect();
    }
    arguments
}

fn project(text: &str, environment: &BTreeMap<String, String>) -> serde_json::Value {
    let mut request = compose::Request { current_dir: "/project".into(), ..compose::Request::default() };
    request.files = vec!["/project/compose.yaml".to_owned()];
    request.environment = environment.clone().into_iter().collect();
    request.profiles = vec!["*".to_owned()];
    request.skip.path_resolution = true;
    request.skip.consistency = true;
    let mut answers = compose::Answers::default();
    loop {
        match compose::load(&request, &answers).unwrap() {
            compose::Loading::Ready(loaded) => return bake::project(&loaded).unwrap(),
            compose::Loading::Needs(questions) => {
                for question in questions {
                    let answer = match &question {
                        compose::Question::File(path) if path.ends_with("compose.yaml") => {
                            compose::Answer::Text(Source::new("compose.yaml", text))
                        }
                        compose::Question::Followed(path) => compose::Answer::Path(path.clone()),
                        _ => compose::Answer::Missing,
                    };
                    answers.add(question, answer);
                }
            }
        }
    }
}

#[test]
fn a_plan_that_was_printed_is_read_as_the_same() {
    for case in cases() {
        for (name, text) in &case.parts {
            if name.ends_with(".hcl") || name.ends_with(".json") {
                crate::targets::bake_file(text.as_bytes());
            }
        }
    }
}

fn printed(case: &Case) -> Result<String, Vec<Diagnostic>> {
    let environment: BTreeMap<String, String> = case
        .parts
        .get("env")
        .map(|text| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect()
        })
        .unwrap_or_default();
    let arguments = arguments(case);
    let file = |name: &String| {
        let text = &case.parts[name];
        if name.ends_with(".json") {
            File::Json(Source::new(&**name, &**text))
        } else if name.ends_with(".yaml") || name.ends_with(".yml") {
            File::Compose(project(text, &environment))
        } else {
            File::Hcl(Source::new(&**name, &**text))
        }
    };
    let message = |error: String| {
        let source = Source::new("", "");
        let mut error = Diagnostic::error(&source, rbuild_model::span::Span::default(), error);
        error.labels.clear();
        vec![error]
    };
    let overrides = arguments
        .overrides
        .iter()
        .map(|text| Override::read(text))
        .collect::<Result<_, _>>()
        .map_err(message)?;
    let request = Request {
        files: arguments.files.iter().map(file).collect(),
        names: arguments.names,
        overrides,
        environment: &|name| environment.get(name).cloned(),
        world: World { now: 1_600_000_000, home: None, seed: [7; 32] },
        platform: "linux/amd64".to_owned(),
        command_context: bake::HERE.to_owned(),
        located: &|place| place.to_owned(),
    };
    let bake = bake::read(&request)?;
    match arguments.list.as_deref() {
        None => Ok(bake::json(&bake::plan(&bake, &request).map_err(|error| vec![error])?)),
        Some(list) => Ok(bake::list(&bake, list).unwrap()),
    }
}

#[test]
fn plans_are_those_of_buildx() {
    let mut wrong = Vec::new();
    let mut compared = 0;
    for case in cases() {
        let Some(expected) = case.parts.get("output") else { continue };
        compared += 1;
        match printed(&case) {
            Ok(printed) if printed.trim_end() == expected.trim_end() => {}
            Ok(printed) => wrong.push(format!("== {}\n{printed}\n-- expected\n{expected}", case.name)),
            Err(errors) => wrong.push(format!("== {}: {}", case.name, errors[0])),
        }
    }
    assert!(wrong.is_empty(), "{} of {compared} differ\n{}", wrong.len(), wrong.join("\n"));
    assert!(compared > 50);
}

#[test]
fn what_buildx_refuses_is_refused_with_its_place() {
    let mut told = String::new();
    let mut accepted = Vec::new();
    for case in cases().iter().filter(|case| case.parts.contains_key("error")) {
        let Err(errors) = printed(case) else {
            accepted.push(case.name.clone());
            continue;
        };
        for error in errors {
            let place = error.location().map(|at| {
                let position = at.source.position(at.span.start);
                format!("{}:{}:{}: ", at.source.name(), position.line, position.column)
            });
            told.push_str(&format!("{}: {}{}\n", case.name, place.unwrap_or_default(), error.message));
            if let Some(help) = &error.help {
                told.push_str(&format!("    {help}\n"));
            }
        }
    }
    assert!(accepted.is_empty(), "{accepted:?} are no errors");
    insta::assert_snapshot!(told);
}

#[test]
fn no_text_makes_reading_fail_otherwise_than_with_an_error() {
    for text in [
        "a = ".to_owned(),
        "a = \"${".to_owned(),
        "a = <<E".to_owned(),
        "a = [".repeat(10_000),
        "a {".repeat(10_000),
        format!("a = {}1", "-".repeat(100_000)),
        format!("a = {}", "(".repeat(100_000)),
        "a = 1 +\n".to_owned(),
        "\u{feff}a = 1 \0".to_owned(),
        "a = \"\\u12\"".to_owned(),
        "a = \"%{ for x in y }\"".to_owned(),
        "variable \"A\" { default = B }\nvariable \"B\" { default = A }".to_owned(),
        "a = 1e999999".to_owned(),
    ] {
        let request = Request {
            files: vec![File::Hcl(Source::new("docker-bake.hcl", &*text))],
            names: Vec::new(),
            overrides: Vec::new(),
            environment: &|_| None,
            world: World::default(),
            platform: "linux/amd64".to_owned(),
            command_context: bake::HERE.to_owned(),
            located: &|place| place.to_owned(),
        };
        assert!(bake::read(&request).is_err(), "{}", text.chars().take(60).collect::<String>());
        let json = Request { files: vec![File::Json(Source::new("docker-bake.json", &*text))], ..request };
        assert!(bake::read(&json).is_err());
    }
}
