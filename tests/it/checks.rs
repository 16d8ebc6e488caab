//! Looking at Dockerfiles and contexts without building: `check`, `--call`, `context`.

use std::fs;

use crate::scene::{assert_clean, scene};

const DOCKERFILE: &str = "\
# TAG of the base
ARG TAG=latest
# base is what all stand on
FROM busybox:$TAG AS base
# TOKEN_FILE is read by the program
ARG TOKEN_FILE=/t
RUN --mount=type=secret,id=key,required --mount=type=ssh true
FROM base AS Final
MAINTAINER me
copy a b
";

#[test]
fn a_dockerfile_is_looked_at() {
    let Some(context) = scene("a_dockerfile_is_looked_at") else { return };
    let file = |text: &str| fs::write(context.project().join("Dockerfile"), text).unwrap();
    file(DOCKERFILE);
    let output = context.rbuild(["build", "--check", "."]).run();
    output.assert_code(1);
    let expected = "\
Check complete, 3 warnings have been found!

WARNING: StageNameCasing - https://docs.docker.com/go/dockerfile/rule/stage-name-casing/
Stage name 'Final' should be lowercase
Dockerfile:8
--------------------
   6 |     ARG TOKEN_FILE=/t
   7 |     RUN --mount=type=secret,id=key,required --mount=type=ssh true
   8 | >>> FROM base AS Final
   9 |     MAINTAINER me
  10 |     copy a b
--------------------
";
    assert!(output.stdout.starts_with(expected), "{output}");
    let output = context.rbuild(["build", "--call", "outline", "."]).run();
    output.assert_code(0);
    let expected = "\
TARGET: final

BUILD ARG    VALUE    DESCRIPTION
TAG          latest   of the base
TOKEN_FILE   /t       is read by the program

SECRET   REQUIRED
key      true

SSH       REQUIRED
default   

";
    assert_eq!(output.stdout, expected);
    let output = context.rbuild(["build", "--call", "targets", "."]).run();
    output.assert_code(0);
    assert_eq!(
        output.stdout,
        "TARGET          DESCRIPTION\nbase            is what all stand on\nfinal (default) \n"
    );
    let output = context.rbuild(["check", "--format", "json", "."]).run();
    output.assert_code(1);
    let document: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    let rules: Vec<&str> = document["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["ruleName"].as_str().unwrap())
        .collect();
    assert_eq!(rules, ["StageNameCasing", "MaintainerDeprecated", "ConsistentInstructionCasing"]);

    let bake = "target \"a\" { target = \"base\" }\ntarget \"b\" {}\n";
    fs::write(context.project().join("docker-bake.hcl"), bake).unwrap();
    let output = context.rbuild(["bake", "--call", "outline,format=json", "a", "b"]).run();
    output.assert_code(0);
    let document: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    for (target, name) in [("a", "base"), ("b", "final")] {
        assert_eq!(document["target"][target]["outline"]["name"], name, "{output}");
        assert_eq!(document["target"][target]["build"]["call"], "outline", "{output}");
    }
    let output = context.rbuild(["bake", "--call", "targets", "a", "b"]).run();
    output.assert_code(0);
    let table = "TARGET          DESCRIPTION\nbase            is what all stand on\nfinal (default) \n";
    assert_eq!(output.stdout, format!("a\n\n{table}\nb\n\n{table}"));

    file("# check=skip=all\nFROM busybox AS A\n");
    let output = context.rbuild(["check"]).run();
    output.assert_code(0);
    assert_eq!(output.stdout, "Check complete, no warnings found.\n");
    file("FROM busybox\nMAINTAINER me\nFOO\nEXPOSE\n");
    let output = context.rbuild(["check"]).run();
    output.assert_code(1);
    for text in
        ["MaintainerDeprecated", "line 3: unknown instruction: FOO", "EXPOSE requires at least one argument"]
    {
        assert!(output.stdout.contains(text), "no {text:?} in {output}");
    }
    file("# check=error=true\nFROM busybox AS A\n");
    let output = context.rbuild(["build", "."]).run();
    output.assert_code(1);
    assert!(output.stderr.contains("lint violation found for rules: StageNameCasing"), "{output}");
    let output = context.rbuild(["check", "--explain", "StageNameCasng"]).run();
    output.assert_code(125);
    assert!(output.stderr.contains("did you mean `StageNameCasing`?"), "{output}");
    assert_clean(&context);
}

#[test]
fn a_context_is_looked_at() {
    let Some(context) = scene("a_context_is_looked_at") else { return };
    let project = context.project();
    fs::create_dir_all(project.join("out/keep")).unwrap();
    for file in ["a.txt", "b.log", "out/x", "out/keep/y"] {
        fs::write(project.join(file), "12345").unwrap();
    }
    fs::write(project.join(".dockerignore"), "*.log\nout\n!out/keep\n").unwrap();
    let output = context.rbuild(["context", "ls"]).run();
    output.assert_code(0);
    assert_eq!(output.stdout, ".dockerignore\na.txt\nout/keep/y\n");
    let output = context.rbuild(["context", "why", "b.log", "out/keep/y", "nosuch"]).run();
    output.assert_code(0);
    assert_eq!(
        output.stdout,
        "b.log: left out by .dockerignore:1: *.log\n\
         out/keep/y: sent because of .dockerignore:3: !out/keep (with `out/keep`)\n\
         nosuch: sent, no rule of .dockerignore matches (there is no such file)\n"
    );
    let output = context.rbuild(["context", "ls", "--sizes"]).run();
    assert!(output.stdout.ends_with("10B in 2 files left out by .dockerignore\n"), "{output}");
    assert_clean(&context);
}
