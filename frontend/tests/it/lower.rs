//! Lowering: whole graphs, configs and histories as snapshots.
//!
//! A fixture may begin with comments that say how it is built: `# target=x`, `# arg=K=V`, `# platform=a,b`, `# context=n`,
//! `# nocache=a,b`, `# ignore=pattern`.

use std::sync::Arc;

use rbuild_frontend::dockerfile;
use rbuild_frontend::ignore::Ignore;
use rbuild_frontend::lower::{
    Answer, Answers, Entitlement, ImageAnswer, LowerError, LowerOptions, Lowered, Lowering, NoCache, Outline,
    Question, lower,
};
use rbuild_model::digest::{BlobDigest, ChainId, DiffId, ImageId};
use rbuild_model::image_config::{History, ImageConfig};
use rbuild_model::platform::Platform;
use rbuild_model::span::Source;
use rbuild_model::step::{self, ImagePin, LocalSource};

use crate::support::{findings, fixtures};

/// Images that the tests know: what a registry would say.
fn image(name: &str, platform: &Platform) -> Answer {
    let layer: DiffId = format!("sha256:{}", "1".repeat(64)).parse().unwrap();
    let mut config =
        ImageConfig { created: Some("2024-01-01T00:00:00Z".to_owned()), ..ImageConfig::default() };
    config.set_platform(platform);
    config.config.env = vec!["PATH=/bin".to_owned()];
    config.config.cmd = Some(vec!["sh".to_owned()]);
    config.rootfs.diff_ids = vec![layer];
    config.history = vec![History { created_by: Some("base".to_owned()), ..History::default() }];
    if name.contains("bare") {
        config.config.env = vec!["LONE".to_owned(), "X=1".to_owned(), "X=2".to_owned()];
        config.config.working_dir = String::new();
        config.config.cmd = None;
    }
    if name.contains("committed") {
        config.extra.insert("docker_version".to_owned(), "28".into());
        config.config.extra.insert("Hostname".to_owned(), "host".into());
    }
    if name.contains("triggers") {
        config.config.on_build =
            vec!["ARG T=1".to_owned(), "RUN echo $T".to_owned(), "COPY --from=tools /t /t".to_owned()];
        config.config.on_build.push("ONBUILD RUN grandchild".to_owned());
    }
    if name.contains("app") {
        config.config.user = "app".to_owned();
        config.config.working_dir = "/srv".to_owned();
        config.config.entrypoint = Some(vec!["/entry".to_owned()]);
    }
    let id: ImageId = format!("sha256:{}", "2".repeat(64)).parse().unwrap();
    Answer::Image(Box::new(ImageAnswer {
        name: name.to_owned(),
        pin: ImagePin {
            manifest: Some(BlobDigest::of(name.as_bytes())),
            image: id,
            chain: ChainId::of(&[layer]),
        },
        platform: platform.clone(),
        config,
    }))
}

/// Asks and answers until all is known; the names asked for are kept.
fn solve(text: &str, options: &LowerOptions) -> Result<(Vec<String>, Box<Lowered>), LowerError> {
    let parsed = dockerfile::parse(&Source::new("Dockerfile", text));
    assert_eq!(findings(&parsed.diagnostics), "", "text {text}");
    let mut answers = Answers::new();
    let mut asked = Vec::new();
    for _ in 0..10 {
        match lower(&parsed.dockerfile, options, &answers)? {
            Lowering::Ready(lowered) => return Ok((asked, lowered)),
            Lowering::Needs(questions) => {
                for needed in questions {
                    let answer = match &needed.question {
                        Question::Image { reference, platform, .. } => {
                            asked.push(format!("image {reference} for {platform}"));
                            image(&reference.to_string(), platform)
                        }
                        Question::Time { source } => {
                            let name = match source {
                                step::Source::Git(git) => &git.remote,
                                step::Source::Http(file) => &file.url,
                                other => panic!("who asks for the time of {other:?}?"),
                            };
                            asked.push(format!("time of {name}"));
                            Answer::Time((!name.contains("timeless")).then_some(1_234))
                        }
                        Question::Context { name, platform } => {
                            asked.push(format!("context {name} for {platform}"));
                            if name.contains("repository") {
                                let source = rbuild_frontend::lower::parse_git_url("https://h/r.git#main");
                                Answer::Tree(step::Source::Git(source.unwrap()))
                            } else if name.contains("image") {
                                image("docker.io/library/context-app:latest", platform)
                            } else {
                                Answer::Tree(step::Source::Local(LocalSource { name: name.clone() }))
                            }
                        }
                    };
                    answers.insert(needed.question, answer);
                }
            }
        }
    }
    panic!("lowering never ends: {asked:?}");
}

/// Reads how a text is built from the comments at its beginning.
pub(crate) fn options(text: &str) -> LowerOptions {
    let mut options = LowerOptions::new("linux/amd64".parse().unwrap());
    options.entitlements.insert(Entitlement::NetworkHost);
    let mut patterns = Vec::new();
    for line in text.lines().map_while(|line| line.strip_prefix("# ")) {
        let Some((key, value)) = line.split_once('=') else { break };
        let list = || value.split(',').map(str::to_owned);
        match key {
            "target" => options.target = Some(value.to_owned()),
            "arg" => {
                let (name, value) = value.split_once('=').unwrap();
                options.build_args.insert(name.to_owned(), value.to_owned());
            }
            "platform" => {
                options.platforms = list().map(|text| text.parse().unwrap()).collect();
                options.platforms_chosen = true;
            }
            "context" => options.named_contexts.extend(list()),
            "all" => options.all_stages = true,
            "nocache" => options.no_cache = NoCache::Stages(list().collect()),
            "label" => {
                let (name, value) = value.split_once('=').unwrap();
                options.labels.push((name.to_owned(), value.to_owned()));
            }
            "ignore" => patterns.push(value.to_owned()),
            _ => break,
        }
    }
    if !patterns.is_empty() {
        options.ignore = Some(Arc::new(Ignore::parse(&patterns.join("\n")).unwrap()));
    }
    options
}

fn dump(asked: &[String], lowered: &Lowered) -> String {
    let mut out = String::new();
    for line in asked {
        out.push_str(&format!("asked: {line}\n"));
    }
    out.push('\n');
    for (id, step) in lowered.graph.steps() {
        let inputs: Vec<String> = step.inputs.iter().map(|input| input.0.to_string()).collect();
        let note = lowered.graph.note(id);
        let fresh = if note.ignore_cache { " (no cache)" } else { "" };
        out.push_str(&format!("{} <- [{}] {}{fresh}\n", id.0, inputs.join(" "), note.name));
        out.push_str(&format!("    {}\n", serde_json::to_string(&step.operation).unwrap()));
    }
    for target in &lowered.targets {
        out.push_str(&format!(
            "\ntarget {} for {}: step {}\n",
            target.stage, target.requested, target.root.0
        ));
        let mut config = target.config.clone();
        config.rootfs.diff_ids.clear();
        out.push_str(&format!("{}\n", serde_json::to_string(&config).unwrap()));
        for item in &target.history {
            let layer = item.layer.map_or("-".to_owned(), |step| step.0.to_string());
            out.push_str(&format!("{layer:>4} {}\n", item.entry.created_by.as_deref().unwrap_or("")));
        }
    }
    out.push_str(&findings(&lowered.warnings));
    out
}

#[test]
fn graphs() {
    for (name, text) in fixtures("lower") {
        let dumped = match solve(&text, &options(&text)) {
            Ok((asked, lowered)) => dump(&asked, &lowered),
            Err(error) => format!("failed\n{}", findings(&error.diagnostics)),
        };
        insta::assert_snapshot!(format!("graph-{name}"), dumped);
    }
}

#[test]
fn errors() {
    let mut out = String::new();
    for text in [
        "# target=buidl\nFROM a AS build\n",
        "FROM a AS x\nCOPY --from=x /a /b\n",
        "# target=x\nFROM a AS x\nCOPY --from=y /a /b\nFROM x AS y\n",
        "# target=x\nFROM a AS x\nCOPY --from=y /a /b\nFROM b AS y\n",
        "# target=x\nFROM a AS x\nRUN --mount=from=y,target=/m x\nFROM b AS y\n",
        "FROM a\nCOPY --from=3 /a /b\n",
        "ARG X\nFROM $X\n",
        "FROM a/B\n",
        "ARG P\nFROM --platform=$P a\n",
        "FROM --platform=foo/bar/baz/x a\n",
        "FROM a\nCOPY \"a b\" /c\n",
        "FROM a\nCOPY https://x/y /c\n",
        "FROM a\nCOPY https://x/y.git /c\n",
        "FROM a\nCOPY --chmod=888 x /c\n",
        "FROM a\nCOPY --chmod=foo x /c\n",
        "FROM scratch\nCOPY --chown=app x /c\n",
        "FROM a\nADD --checksum=sha256:x a /c\n",
        "FROM a\nADD --checksum=md5:x https://a/b /c\n",
        "FROM a\nADD --checksum=zz https://a/b.git /c\n",
        "FROM a\nADD --keep-git-dir https://a/b.git?keep-git-dir=false /c\n",
        "FROM a\nADD https://a/b.git?foo=1 /c\n",
        "FROM a\nRUN --security=insecure x\n",
        "FROM a\nRUN --mount=typ=cache x\n",
        "FROM a\nRUN --mount=type=tmp,target=/x x\n",
        "FROM a\nRUN --mount=type=cache,target=/x,sharing=lock x\n",
        "FROM a\nRUN --mount=foo x\n",
        "FROM a\nRUN --mount=target x\n",
        "FROM a\nRUN --mount=type=cache,target=/ x\n",
        "FROM a\nRUN --mount=type=secret x\n",
        "FROM a\nRUN --mount=type=secret,id=a,source=b x\n",
        "FROM a\nRUN --mount=type=bind,target=/x,required x\n",
        "FROM a\nRUN --mount=type=bind,target=/x,size=1m x\n",
        "FROM a\nRUN --mount=type=cache,target=/x,mode=9 x\n",
        "FROM a\nRUN --mount=type=ssh,source=x x\n",
        "FROM a\nRUN --mount=type=tmpfs x\n",
        "FROM a\nARG t=bind\nRUN --mount=type=$t,size=4,target=/x x\n",
        "FROM a\nRUN --mount=target=${x:?no x} x\n",
        "FROM a\nCOPY --exclude=[ a /c\n",
        "FROM a\nCOPY <<a/b /c\nx\na/b\n",
        "FROM a\nRUN <<a/b\n#!/bin/sh\na/b\n",
        "FROM a\nEXPOSE http\n",
        "FROM a\nEXPOSE 80/foo\n",
        "FROM a\nEXPOSE 70000\n",
        "FROM a\nEXPOSE 9-8\n",
        "FROM a\nSTOPSIGNAL SIGFOO\n",
        "FROM a\nENV x=\"${y:?y is needed}\"\n",
        "FROM a\nENV x='y\n",
        "FROM a\nVOLUME $x\n",
        "ARG SOURCE_DATE_EPOCH=soon\nFROM a\n",
        "ARG A=${B:?set B}\nFROM a\n",
    ] {
        match solve(text, &options(text)) {
            Ok((_, lowered)) => panic!("no error in {text:?}: {}", dump(&[], &lowered)),
            Err(error) => out.push_str(&format!("{text:?}\n{}\n", findings(&error.diagnostics))),
        }
    }
    insta::assert_snapshot!("lowering-errors", out);
}

#[test]
fn a_default_that_is_overridden_is_not_evaluated() {
    let text = "# arg=B=1\nARG B=${A:?msg}\nFROM a\nARG B=${A:?msg}\nRUN x\n";
    assert!(solve(text, &options(text)).is_ok());
}

#[test]
fn words_come_out_as_with_docker() {
    let (_, recorded) = fixtures("expand").into_iter().find(|(name, _)| name == "docker").unwrap();
    let cases: Vec<(String, String)> = recorded
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (word, value) = line.split_once('\t').unwrap();
            (serde_json::from_str(word).unwrap(), serde_json::from_str(value).unwrap())
        })
        .collect();
    assert!(cases.len() > 200);
    let mut text = String::from("FROM a\nENV A=hello B=foo.bar.baz E= P=/a/b/c\n");
    for (at, (word, _)) in cases.iter().enumerate() {
        text.push_str(&format!("LABEL k{at}={word}\n"));
    }
    let (_, lowered) = solve(&text, &options("")).unwrap();
    let labels = &lowered.targets[0].config.config.labels;
    for (at, (word, value)) in cases.iter().enumerate() {
        assert_eq!(&labels[&format!("k{at}")], value, "word {word:?}");
    }
}

#[test]
fn stages_that_nobody_needs_are_not_looked_at() {
    let text = "FROM nosuch AS unused\nENV x=${y:?never}\nFROM a AS dep\nFROM b\nCOPY --from=DEP / /\n";
    let (asked, lowered) = solve(text, &options(text)).unwrap();
    assert_eq!(
        asked,
        [
            "image docker.io/library/b:latest for linux/amd64",
            "image docker.io/library/a:latest for linux/amd64"
        ]
    );
    assert_eq!(lowered.graph.len(), 3);
}

#[test]
fn a_check_without_a_target_looks_at_every_stage() {
    let text = "# all=\nFROM nosuch AS unused\nCOPY $never /\nFROM b\n";
    let (asked, lowered) = solve(text, &options(text)).unwrap();
    assert_eq!((asked.len(), lowered.warnings.len()), (2, 1));
    let last = lowered.targets[0].root;
    assert_eq!(lowered.graph.note(last).name, "[stage-1 1/1] FROM docker.io/library/b:latest");
}

#[test]
fn an_outline_has_what_the_target_takes_in() {
    let text = "ARG V=global\nARG BASE=busybox\nFROM $BASE AS files\nARG V=files\nARG OWN=1\nRUN x\n\
                FROM busybox AS other\nARG OTHER=1\nRUN x\n\
                FROM busybox AS below\nARG V=below\nRUN --mount=type=secret,id=s x\n\
                FROM below\nARG V=target\nCOPY --from=files /a /b\n";
    let lowered = solve(text, &options("")).unwrap().1;
    let args: Vec<_> = lowered.outline.args.iter().map(|arg| (&*arg.name, arg.value.as_deref())).collect();
    assert_eq!(args, [("BASE", Some("busybox")), ("OWN", Some("1")), ("V", Some("target"))]);
    assert_eq!(lowered.outline.secrets[0].name, "s");
}

#[test]
fn an_outline_keeps_the_order_of_the_file() {
    let text = "FROM busybox AS first\nARG z=\"a b\" y x\nRUN --mount=type=secret,id=s2 x\nRUN --mount=type=ssh,id=s x\n\
                FROM first\nRUN --mount=type=secret,id=s1 x\nRUN --mount=type=ssh x\n";
    let Outline { args, secrets, ssh, .. } = solve(text, &options("")).unwrap().1.outline;
    let args: Vec<_> = args.iter().map(|arg| &*arg.name).collect();
    let grants: Vec<_> = secrets.iter().chain(&ssh).map(|grant| &*grant.name).collect();
    assert_eq!(args, ["z", "y", "x"]);
    assert_eq!(grants, ["s2", "s1", "s", "default"]);
}

#[test]
fn what_no_instruction_knows_stays_with_the_base() {
    let lowered = solve("FROM committed\n", &options("")).unwrap().1;
    let written = serde_json::to_value(&lowered.targets[0].config).unwrap();
    assert_eq!((written.get("docker_version"), written["config"].get("Hostname")), (None, None));
    assert_eq!(written["config"]["Cmd"][0], "sh");
}

#[test]
fn all_questions_of_a_file_are_asked_at_once() {
    let text = "FROM a AS x\nFROM b AS y\nCOPY --from=x / /\nFROM c\nCOPY --from=y / /\nCOPY --from=d / /\nRUN --mount=from=e,target=/e x\n";
    let parsed = dockerfile::parse(&Source::new("Dockerfile", text));
    let Lowering::Needs(asked) = lower(&parsed.dockerfile, &options(""), &Answers::new()).unwrap() else {
        panic!("nothing asked")
    };
    assert_eq!(asked.len(), 5);
    let lines: Vec<_> = asked.iter().map(|asked| asked.location.lines().0).collect();
    assert_eq!(lines, [4, 6, 7, 2, 1]);
}

#[test]
fn platforms_share_the_steps_that_do_not_depend_on_them() {
    let text = "# platform=linux/amd64,linux/arm64\nFROM --platform=$BUILDPLATFORM a AS tools\nRUN make tools\nFROM b\nCOPY --from=tools /t /t\n";
    let (_, lowered) = solve(text, &options(text)).unwrap();
    let runs = lowered.graph.steps().filter(|(id, _)| lowered.graph.note(*id).name.contains("RUN")).count();
    assert_eq!((runs, lowered.targets.len()), (1, 2));
}

#[test]
fn a_thousand_stages_are_no_trouble() {
    let mut text = String::from("FROM a AS s0\n");
    for at in 1..3000 {
        text.push_str(&format!("FROM s{} AS s{at}\nRUN x{at}\n", at - 1));
    }
    let (_, lowered) = solve(&text, &options("")).unwrap();
    assert_eq!(lowered.graph.len(), 3000);
}

mod arbitrary {
    use proptest::prelude::*;

    use super::*;

    fn line() -> impl Strategy<Value = String> {
        let text = "[a-z$ {}:#%/?+\"'\\\\=,.*-]{0,20}";
        prop_oneof![
            text.prop_map(|rest| format!("RUN {rest}\n")),
            text.prop_map(|rest| format!("RUN --mount=type=cache,target={rest}\n")),
            text.prop_map(|rest| format!("COPY a {rest}\n")),
            text.prop_map(|rest| format!("COPY --from=s --parents --link {rest} /x/\n")),
            text.prop_map(|rest| format!("ADD {rest} b\n")),
            text.prop_map(|rest| format!("ENV a={rest}\n")),
            text.prop_map(|rest| format!("ARG b={rest}\n")),
            text.prop_map(|rest| format!("WORKDIR {rest}\n")),
            text.prop_map(|rest| format!("EXPOSE {rest}\n")),
            text.prop_map(|rest| format!("VOLUME {rest}\n")),
            text.prop_map(|rest| format!("ONBUILD {rest}\n")),
            text.prop_map(|rest| format!("FROM {rest}\n")),
            Just("FROM a AS s\n".to_owned()),
            Just("FROM s\n".to_owned()),
            Just("FROM triggers\n".to_owned()),
        ]
    }

    proptest! {
        #[test]
        fn no_file_that_parses_is_too_odd_to_lower(lines in prop::collection::vec(line(), 0..6)) {
            let text = format!("FROM a AS s\n{}", lines.concat());
            let parsed = dockerfile::parse(&Source::new("Dockerfile", text.as_str()));
            if !parsed.has_errors() && let Ok((_, lowered)) = solve(&text, &options("")) {
                dump(&[], &lowered);
            }
        }

        #[test]
        fn no_text_is_too_odd_to_expand(text in "\\PC{0,60}|[a$A{}:#%/?+\"'\\\\*<-]{0,60}") {
            use rbuild_frontend::dockerfile::expand::{Mode, expand};
            let env = std::collections::BTreeMap::from([("a".to_owned(), "aa/b*".to_owned())]);
            for mode in [Mode::argument('\\'), Mode::argument('`'), Mode::heredoc(), Mode::display('\\')] {
                let _ = expand(&text, mode, &env);
            }
        }
    }
}

#[test]
fn what_a_step_is_called_where_it_is_kept_holds_no_value() {
    let text = "ARG BASE=a\nFROM $BASE\nARG TOKEN=s3cr3t\nENV WHO=me\nRUN echo ${TOKEN} $WHO\nCOPY $WHO.txt /in\n\
                ADD https://ann:pw@host/$TOKEN.tar /x\nADD --link https://host/$WHO /y\nRUN <<EOF\necho $TOKEN\nEOF\n";
    let (_, lowered) = solve(text, &options(text)).unwrap();
    let names: Vec<String> = lowered
        .graph
        .steps()
        .map(|(id, _)| lowered.graph.note(id))
        .filter(|note| !note.name.is_empty() && note.name != "scratch")
        .map(|note| format!("{} | {}", note.name, note.kept_name()))
        .collect();
    insta::assert_snapshot!(names.join("\n"), @r"
    [1/6] FROM docker.io/library/a:latest | [1/6] FROM $BASE
    [2/6] RUN echo s3cr3t me | [2/6] RUN echo ${TOKEN} $WHO
    [internal] load build context | [internal] load build context
    [3/6] COPY me.txt /in | [3/6] COPY $WHO.txt /in
    [http] https://host/s3cr3t.tar | [http] https://host/$TOKEN.tar
    [4/6] ADD https://host/s3cr3t.tar /x | [4/6] ADD https://host/$TOKEN.tar /x
    [http] https://host/me | [http] https://host/$WHO
    [5/6] ADD --link https://host/me /y | [5/6] ADD --link https://host/$WHO /y
    linking ADD --link https://host/me /y | linking ADD --link https://host/$WHO /y
    [6/6] RUN <<EOF (echo $TOKEN) | [6/6] RUN <<EOF (echo $TOKEN)
    ");
    assert!(lowered.graph.steps().all(|(id, _)| {
        let kept = lowered.graph.note(id).kept_name();
        !kept.contains("s3cr3t") && !kept.contains("pw@")
    }));
}

#[test]
fn the_epoch_may_be_the_time_of_something() {
    let repository = step::Source::Git(rbuild_frontend::lower::parse_git_url("https://h/main.git").unwrap());
    let of = |text: &str, build_arg: Option<&str>, main: Option<step::Source>| {
        let mut options = options("");
        options.named_contexts.extend(["repository", "folder", "app-image"].map(str::to_owned));
        if let Some(main) = main {
            options.context = main;
        }
        options.build_args.extend(build_arg.map(|value| ("SOURCE_DATE_EPOCH".to_owned(), value.to_owned())));
        solve(text, &options).map(|(asked, lowered)| {
            let target = &lowered.targets[0];
            let seen = target.config.config.labels.get("seen").cloned().unwrap_or_default();
            (target.epoch, seen, asked.join(", "))
        })
    };
    let seen =
        |rest: &str| format!("{rest}FROM scratch\nARG SOURCE_DATE_EPOCH\nLABEL seen=$SOURCE_DATE_EPOCH\n");
    let plain = seen("");
    let stage = |body: &str| {
        format!(
            "FROM scratch AS when\n{body}FROM scratch\nARG SOURCE_DATE_EPOCH\nLABEL seen=$SOURCE_DATE_EPOCH\n"
        )
    };
    let commit = "time of https://h/main.git";
    for (text, arg, main, epoch, asked) in [
        (&plain, Some("77"), None, Some(77), ""),
        (&plain, Some("context"), None, None, ""),
        (&plain, Some("context"), Some(repository.clone()), Some(1_234), commit),
        (&seen("ARG SOURCE_DATE_EPOCH=context\n"), None, Some(repository.clone()), Some(1_234), commit),
        (&plain, Some("folder"), None, None, "context folder for linux/amd64"),
        (&plain, Some("app-image"), None, None, "context app-image for linux/amd64"),
        (
            &plain,
            Some("repository"),
            None,
            Some(1_234),
            "context repository for linux/amd64, time of https://h/r.git",
        ),
        (
            &stage("ARG V=7\nADD http://h/v$V.tar /\n"),
            Some("When"),
            None,
            Some(1_234),
            "time of http://h/v7.tar",
        ),
        (&stage("ADD http://h/timeless /\n"), Some("when"), None, None, "time of http://h/timeless"),
        (&stage("ADD https://h/x.git#v1 /\n"), Some("when"), None, Some(1_234), "time of https://h/x.git"),
    ] {
        let label = epoch.map_or_else(String::new, |epoch| epoch.to_string());
        let found = of(text, arg, main).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(found, (epoch, label, asked.to_owned()), "{text} with {arg:?}");
    }
    for (text, wrong) in [
        (plain.clone(), "invalid SOURCE_DATE_EPOCH: when"),
        (stage(""), "must contain exactly one remote ADD"),
        (stage("ADD a /\n"), "must ADD from a URL or a repository"),
        (stage("ADD http://h/a http://h/b /d/\n"), "must contain exactly one remote ADD source"),
        (stage("ADD http://h/a /\nADD http://h/b /\n"), "must contain exactly one remote ADD"),
        (stage("ADD http://h/a /\nENV A=b\n"), "may hold nothing but ARGs and one ADD"),
        (stage("").replace("FROM scratch AS", "FROM app AS"), "must use FROM scratch"),
    ] {
        let error = of(&text, Some("when"), None).expect_err(&text);
        assert!(error.to_string().contains(wrong), "{text}: {error}");
    }
}

#[test]
fn zeros_before_a_mode_make_no_other_step() {
    let operation = |mode: &str| {
        let (_, lowered) = solve(&format!("FROM scratch\nCOPY --chmod={mode} a /\n"), &options("")).unwrap();
        let (_, step) = lowered.graph.steps().last().unwrap();
        serde_json::to_string(&step.operation).unwrap()
    };
    assert_eq!(operation("0644"), operation("644"));
    assert_eq!(operation("000"), operation("0"));
    assert_ne!(operation("0"), operation("u+x"));
}

#[test]
fn files_may_keep_their_times() {
    let mut options = options("");
    options.build_args.insert("SOURCE_DATE_EPOCH".to_owned(), "5".to_owned());
    for (keep_times, layer_epoch) in [(false, Some(5)), (true, None)] {
        options.keep_times = keep_times;
        let (_, lowered) = solve("FROM scratch\nCOPY a /\n", &options).unwrap();
        assert_eq!((lowered.targets[0].epoch, lowered.targets[0].layer_epoch), (Some(5), layer_epoch));
    }
    options.result_epoch = Some(4);
    options.keep_times = false;
    let (_, lowered) =
        solve("FROM scratch\nARG SOURCE_DATE_EPOCH\nWORKDIR /$SOURCE_DATE_EPOCH\n", &options).unwrap();
    assert_eq!((lowered.targets[0].epoch, lowered.targets[0].layer_epoch), (Some(4), Some(4)));
    assert_eq!(lowered.targets[0].config.config.working_dir, "/5", "the build has its own");
}
