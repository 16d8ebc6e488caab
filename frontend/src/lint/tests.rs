//! Each rule on a text that breaks it and on one that does not.

use rbuild_model::span::Source;

use super::*;
use crate::dockerfile;

fn found(text: &str) -> Vec<String> {
    let parsed = dockerfile::parse(&Source::new("Dockerfile", text));
    assert!(!parsed.has_errors(), "{:?}", parsed.diagnostics);
    let checks = Checks::new(&parsed.dockerfile, None).unwrap();
    checks.apply(&parsed.dockerfile, &[]).warnings.iter().map(ToString::to_string).collect()
}

fn rules(text: &str) -> Vec<String> {
    found(text)
        .into_iter()
        .map(|line| {
            let mut parts = line.splitn(5, ':');
            let at = parts.nth(1).unwrap_or_default().to_owned();
            format!("{}:{at}", parts.nth(1).unwrap_or_default().trim())
        })
        .collect()
}

#[test]
fn each_rule_finds_what_it_is_for() {
    for (text, expected) in [
        ("# syntax=docker/dockerfile:1\nFROM a\n", vec![]),
        ("# syntax=acme/frontend x\nFROM a\n", vec!["ForeignSyntax:1"]),
        ("FROM a AS Build\n", vec!["StageNameCasing:1"]),
        ("FROM a as build\n", vec!["FromAsCasing:1"]),
        ("from a as build\n", vec![]),
        ("FROM a\nrun x\nRUN y\n", vec!["ConsistentInstructionCasing:2"]),
        ("from a\nrun x\nRUN y\n", vec!["ConsistentInstructionCasing:3"]),
        ("FROM a\nRun x\n", vec!["ConsistentInstructionCasing:2"]),
        ("FROM a\nRUN x \\\n\n  y\n", vec!["NoEmptyContinuation:4"]),
        ("FROM a\nRUN x \\\n\n", vec!["NoEmptyContinuation:3"]),
        ("FROM a AS x\nFROM b AS x\n", vec!["DuplicateStageName:2"]),
        ("FROM a AS context\n", vec!["ReservedStageName:1"]),
        ("FROM a\nMAINTAINER me\n", vec!["MaintainerDeprecated:2"]),
        ("FROM a\nCMD [\"x\"]\nCMD [\"y\"]\n", vec!["MultipleInstructionsDisallowed:2"]),
        ("FROM a\nCMD [\"x\"]\nFROM b\nCMD [\"y\"]\n", vec![]),
        ("FROM a\nENV a b\nLABEL c d\n", vec!["LegacyKeyValueFormat:2", "LegacyKeyValueFormat:3"]),
        ("FROM --platform=$TARGETPLATFORM a\n", vec!["RedundantTargetPlatform:1"]),
        ("FROM --platform=${TARGETPLATFORM:-linux/amd64} a\n", vec!["RedundantTargetPlatform:1"]),
        ("FROM --platform=$BUILDPLATFORM a\n", vec![]),
        ("ARG A_TOKEN\nFROM a\n", vec![]),
        ("FROM a\nENV API_TOKEN=x PUBLIC_KEY=y TOKENS=z\n", vec!["SecretsUsedInArgOrEnv:2"]),
        ("FROM a\nARG MY_password\n", vec!["SecretsUsedInArgOrEnv:2"]),
        ("ARG V\nFROM a:${V}\n", vec!["InvalidDefaultArgInFrom:2"]),
        ("ARG V=1\nFROM a:${V}\nFROM b:${W:-1}\n", vec![]),
        ("FROM --platform=linux/amd64 a\n", vec!["FromPlatformFlagConstDisallowed:1"]),
        ("FROM --platform=linux/amd64 a AS base-amd64\n", vec![]),
        ("FROM a\nCOPY a b /c\nCOPY a b /c/\nCOPY a b .\n", vec!["AmbiguousDestination:2"]),
    ] {
        assert_eq!(rules(text), expected, "text {text:?}");
    }
}

#[test]
fn odd_owners_signals_and_arrays_are_told_of() {
    for (line, rule) in [
        ("COPY --chown=1:2:3 a /b", Some("UnusualOwner")),
        ("ADD --chown=-1 a /b", Some("UnusualOwner")),
        ("COPY --chown=4294967295 a /b", Some("UnusualOwner")),
        ("COPY --chown=app:1000 a /b", None),
        ("COPY --chown=:7 a /b", None),
        ("COPY --chown=$USER:2:3 a /b", None),
        ("STOPSIGNAL 65", Some("UnknownSignal")),
        ("STOPSIGNAL -1", Some("UnknownSignal")),
        ("STOPSIGNAL 64", None),
        ("STOPSIGNAL $SIGNAL", None),
        ("COPY [\"a\",\"/b\"] /c/", Some("WordsLikeJson")),
        ("COPY [\"a\",\"/c/\"]", None),
        ("COPY [ab] /c/", None),
    ] {
        let expected: Vec<String> = rule.map(|rule| format!("{rule}:2")).into_iter().collect();
        assert_eq!(rules(&format!("FROM a\n{line}\n")), expected, "{line}");
    }
}

#[test]
fn descriptions_are_checked_only_when_asked_for() {
    let text = "# what it is\nARG x\n# x is known\nFROM a AS x\n";
    assert_eq!(rules(text), Vec::<String>::new());
    let asked = format!("# check=experimental=InvalidDefinitionDescription\n\n{text}");
    assert_eq!(rules(&asked), ["InvalidDefinitionDescription:4"]);
    let skipped = format!("# check=skip=all;experimental=InvalidDefinitionDescription\n\n{text}");
    assert_eq!(rules(&skipped), ["InvalidDefinitionDescription:4"]);
}

#[test]
fn rules_are_skipped_for_the_file_and_for_one_line() {
    let text = "FROM a AS X\nMAINTAINER me\n";
    assert_eq!(rules(text).len(), 2);
    assert_eq!(rules(&format!("# check=skip=stagenamecasing\n{text}")), ["MaintainerDeprecated:3"]);
    assert_eq!(rules(&format!("# check=skip=all\n{text}")), Vec::<String>::new());
    let one = "FROM a AS X\n# check=skip=MaintainerDeprecated // he insists\nMAINTAINER me\n";
    assert_eq!(rules(one), ["StageNameCasing:1"]);
}

#[test]
fn findings_fail_the_build_when_the_file_says_so() {
    let text = "# check=error=true\nFROM a AS X\nMAINTAINER me\n";
    let parsed = dockerfile::parse(&Source::new("Dockerfile", text));
    let findings = Checks::new(&parsed.dockerfile, None).unwrap().apply(&parsed.dockerfile, &[]);
    assert_eq!(
        findings.error().as_deref(),
        Some("lint violation found for rules: MaintainerDeprecated, StageNameCasing")
    );
    let replaced = Checks::new(&parsed.dockerfile, Some("skip=all;error=true")).unwrap();
    assert_eq!(replaced.apply(&parsed.dockerfile, &[]).error(), None);
    assert_eq!(
        Checks::new(&parsed.dockerfile, Some("nonsense=1")).unwrap_err().to_string(),
        "invalid check option \"nonsense\""
    );
}

#[test]
fn rules_are_found_by_name_and_have_the_pages_of_buildkit() {
    let url = |name: &str| Rule::named(name).unwrap().url();
    let page = |name: &str| Some(format!("https://docs.docker.com/go/dockerfile/rule/{name}/"));
    assert_eq!(url("jsonargsrecommended"), page("json-args-recommended"));
    assert_eq!(url("SecretsUsedInArgOrEnv"), page("secrets-used-in-arg-or-env"));
    assert_eq!(url("FromAsCasing"), page("from-as-casing"));
    assert_eq!((url("InvalidBaseImagePlatform"), url("AmbiguousDestination")), (None, None));
    assert!(Rule::named("nosuch").is_none());
}

#[test]
fn what_stands_around_an_error_is_still_found() {
    let text = "# check=error=true\nFROM a AS X\nFOO\nMAINTAINER me\n";
    let parsed = dockerfile::parse(&Source::new("Dockerfile", text));
    let findings = Checks::new(&parsed.dockerfile, None).unwrap().beside_errors(&parsed.dockerfile, &[]);
    let rules: Vec<_> = findings.warnings.iter().filter_map(|finding| finding.rule).collect();
    assert_eq!(rules, ["StageNameCasing", "MaintainerDeprecated"]);
    assert_eq!(findings.error(), None);
}

#[test]
fn every_rule_is_documented_once() {
    for (at, rule) in RULES.iter().enumerate() {
        assert!(!rule.docs.is_empty() && !rule.summary.is_empty(), "{}", rule.id);
        assert!(!RULES[..at].iter().any(|earlier| earlier.id == rule.id), "{}", rule.id);
    }
}
