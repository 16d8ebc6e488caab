//! What people search for when something is wrong: these texts are the same in every builder, and each points at the
//! words it is about.

use rbuild_frontend::dockerfile::parse;
use rbuild_frontend::ignore::Ignore;
use rbuild_model::span::{Diagnostic, Severity, Source};
use rbuild_testkit::mistakes::{Part, mistakes};

use crate::{lower, targets};

/// Everything wrong with a text, as `line:column: message`, or the message alone where no line is at fault.
fn errors(text: &str) -> Vec<String> {
    let parsed = parse(&Source::new("Dockerfile", text));
    let wrong = |finding: &&Diagnostic| finding.severity == Severity::Error;
    let mut found: Vec<String> = parsed.diagnostics.iter().filter(wrong).map(ToString::to_string).collect();
    if !parsed.dockerfile.stages().is_empty() || found.is_empty() {
        let mut options = lower::options(text);
        options.entitlements.clear();
        let lowered = targets::lowered(&parsed, &options).map(drop);
        found.extend(lowered.err().iter().flat_map(|messages| messages.lines().map(str::to_owned)));
    }
    let mut found: Vec<String> =
        found.iter().map(|error| error.strip_prefix("Dockerfile:").unwrap_or(error).to_owned()).collect();
    found.sort_by_key(|error| line(error));
    found
}

/// The line that an error stands in.
fn line(error: &str) -> Option<usize> {
    error.split(':').next()?.parse().ok()
}

/// The lines of all errors of a text.
fn lines(text: &str) -> Vec<usize> {
    errors(text).iter().filter_map(|error| line(error)).collect()
}

/// Checks that a text has one error, in a line and with these words.
fn check(text: &str, at: usize, words: &str) {
    let found = errors(text);
    assert_eq!(found.len(), 1, "{text:?}: {found:?}");
    assert_eq!(line(&found[0]), Some(at), "{text:?}: {found:?}");
    assert!(found[0].contains(words), "{text:?}: {found:?} without {words:?}");
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let mut wrong = String::new();
    for row in mistakes(Part::Read) {
        let found = errors(&row.text);
        let place = if row.place == "-" { String::new() } else { format!("{}: ", row.place) };
        let is_said = |error: &String| error.starts_with(&place) && error.contains(row.said());
        let is_as_theirs = row.ours.is_some() && found.iter().any(|error| error.contains(&row.theirs));
        if found.len() != 1 || !is_said(&found[0]) || is_as_theirs {
            wrong.push_str(&format!("{:?}: {} {:?}: {found:?}\n", row.text, row.place, row.said()));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_part_of_an_instruction_is_looked_at() {
    for (line, words) in [
        (
            "EXPOSE http 80 80/foo 3-1",
            ["invalid containerPort: 3-1", "invalid proto: foo", "containerPort: http"],
        ),
        ("ENV a=${x!y} b=1 c=${ d=${}", ["unsupported modifier", "missing '}'", "bad substitution"]),
        ("LABEL a=${x!y} b=1 c=${ d=${}", ["unsupported modifier", "missing '}'", "bad substitution"]),
        (
            "RUN --mount=typ=bind,target=/x --mount=type=tmp,target=/x --mount=type=tmpfs y",
            ["unexpected key 'typ'", "unsupported mount type", "invalid mount target"],
        ),
    ] {
        let found = errors(&format!("FROM scratch\n{line}\n"));
        assert_eq!(found.len(), words.len(), "{line}: {found:?}");
        assert!(
            words.iter().all(|words| found.iter().any(|error| error.contains(words))),
            "{line}: {found:?}"
        );
    }
}

#[test]
fn mistakes_of_ignore_files_are_told_with_their_line() {
    for row in mistakes(Part::Ignore) {
        let error = Ignore::parse(&row.text).unwrap_err().to_string();
        assert_eq!(error, format!("line {}: {}", row.place, row.said()));
    }
}

#[test]
fn what_is_wrong_with_the_mounts_of_a_stage_that_nobody_needs_is_not_told() {
    let mut seen = 0;
    for row in mistakes(Part::Read).iter().filter(|row| row.text.contains("--mount=ty")) {
        let text = format!("{}FROM b\n", row.text);
        if parse(&Source::new("Dockerfile", row.text.as_str())).has_errors() {
            continue;
        }
        assert_eq!(errors(&text), Vec::<String>::new(), "{text}");
        seen += 1;
    }
    assert!(seen > 10);
}

#[test]
fn no_stage_of_reading_hides_what_a_later_one_finds() {
    let text = "FROM busybox\nSTOPSIGNAL FOO\nEXPOSE foo\nCOPY --from=9 a b\nUSER ${x:?a}\nRUN --mount=type=bnd,target=/x true\nHEALTHCHECK --interval=1 CMD x\nVOLUME \"\"\nADD --chmod=9 a b\n";
    assert_eq!(lines(text), [2, 3, 4, 5, 6, 7, 8, 9], "{:?}", errors(text));
    assert_eq!(lines("FROM busybox:$Z@\nSTOPSIGNAL FOO\nFOO bar\n"), [1, 2, 3]);
    let text = "FROM a\nRUN --nosuch --mount=type=tmp,targt=/x --network=x y\n";
    assert_eq!(errors(text).len(), 3, "{:?}", errors(text));
}

#[test]
fn what_a_mistake_brings_about_is_not_told() {
    for (text, line, words) in [
        ("FORM a AS x\nFROM c\nCOPY --from=x a b\n", 1, "unknown instruction: FORM"),
        ("FROM a b\nRUN x\nFROM c\nCOPY --from=0 a b\n", 1, "either one or three"),
        ("FROM\nCOPY --chown=me a b\nUSER ${X:?}\nEXPOSE $X\n", 1, "either one or three"),
        ("FROM a AS 1\nFROM c\nCOPY --from=0 a b\n", 1, "invalid name for build stage"),
        ("FROM --nosuch a AS x\nFROM c\nCOPY --from=x a b\n", 1, "unknown flag"),
        ("FROM a//b AS x\nFROM x\nCOPY --chown=me a b\nUSER ${X:?}\n", 1, "failed to parse stage name"),
        ("FROM a\nENV X\nUSER ${X:?}\nEXPOSE $X\nVOLUME $X\n", 2, "ENV must have two arguments"),
        ("FROM a\nENV X=${\nUSER ${X:?}\nEXPOSE $X\n", 2, "missing '}'"),
        ("FROM a\nENVV X=1\nUSER ${X:?}\n", 2, "unknown instruction: ENVV"),
        ("ARG X=${\nFROM a:$X\nUSER ${X:?}\n", 1, "missing '}'"),
        ("ARG =x\nFROM $X\nFROM --platform=$X a\n", 1, "ARG names can not be blank"),
        ("FROM a\nRNU <<E\nSTOPSIGNAL nope\nE\n", 2, "unknown instruction: RNU"),
        ("FROM a\nRUN --mount=from=9,target=/x y\n", 2, "invalid stage index 9"),
        ("FROM a\nCOPY --from=1 a b\n", 2, "invalid stage index 1"),
    ] {
        check(text, line, words);
    }
}

#[test]
fn names_in_stages_that_nobody_needs_have_to_be_right() {
    for (text, line, words) in [
        ("FROM bad//ref AS q\nFROM b\n", 1, "failed to parse stage name \"bad//ref\""),
        ("FROM Upper/Case AS q\nFROM b\n", 1, "repository name must be lowercase"),
        ("FROM --platform=lin!ux a AS q\nFROM b\n", 1, "platform"),
        ("FROM ${X:?no} AS q\nFROM b\n", 1, "X: no"),
        ("FROM $X AS q\nFROM b\n", 1, "should not be blank"),
        ("FROM a AS q\nCOPY --from=7 /a /b\nFROM b\n", 2, "invalid stage index 7"),
        ("FROM a AS q\nCOPY --from=Bad//ref /a /b\nFROM b\n", 2, "failed to parse stage name"),
    ] {
        check(text, line, words);
    }
    // A cycle that goes through what a stage stands on is only one for those who need it.
    let text = "FROM a AS x\nCOPY --from=y /a /b\nFROM x AS y\nFROM b\n";
    assert_eq!(errors(text), Vec::<String>::new());
    // What is wrong with their steps is nobody's business.
    let text = "FROM scratch AS q\nFROM q AS r\nUSER ${X:?}\nCOPY --from=q a b\nCOPY --from=s a b\nFROM a as s\nFROM b\n";
    assert_eq!(errors(text), Vec::<String>::new());
}

#[test]
fn one_run_tells_everything() {
    let text = "FROM a\nFOO x\nCOPY --form=b c d\nRUN --mount=from=$X,target=/y z\nENV A\nCMD [1]\n";
    assert_eq!(lines(text), [2, 3, 4, 5, 6]);
    let text = "FROM a AS x\nCOPY --chmod=9 a b\nEXPOSE http\nSTOPSIGNAL nope\nLABEL a=${}\nFROM x\nADD --checksum=md5:1 http://x/y /\nRUN --mount=typ=x,target=/y z\n";
    assert_eq!(lines(text), [2, 3, 4, 5, 7, 8]);
    let text =
        "FROM a AS x\nCOPY --from=8 a b\nCOPY --from=x a b\nFROM --platform=a/b/c/d a\nCOPY --from=x a b\n";
    assert_eq!(errors(text).len(), 3);
}

#[test]
fn mistakes_are_pointed_at() {
    for (text, word) in [
        ("FROM a\nCOPPY a b\n", "COPPY"),
        ("FROM a\nCOPY --chown=1 --form=2 a b\n", "--form=2"),
        ("FROM a\nRUN --mount=type=bind,target=/a --mount=from=$x true\n", "--mount=from=$x"),
        ("FROM a AS 1x\n", "1x"),
        ("FROM a\nENV a=1 \\\n  b \\\n  c=2\n", "b"),
    ] {
        let parsed = parse(&Source::new("Dockerfile", text));
        let finding = parsed.diagnostics.first().unwrap();
        assert_eq!(&text[finding.labels[0].span.range()], word, "{text:?}");
    }
}

#[test]
fn a_nul_byte_in_a_heredoc_is_refused_where_it_becomes_an_argument() {
    const TOLD: &str = "the heredoc holds a NUL byte";
    check("FROM scratch\nRUN <<E\necho a\0b\nE\n", 3, TOLD);
    check("FROM scratch\nRUN cat <<A <<B\nx\nA\ny\nz\0\nB\n", 6, TOLD);
    check("FROM scratch\nRUN cat <<E | x\n#!/bin/sh\n\0\nE\n", 4, TOLD);
    check("FROM scratch AS b\nONBUILD RUN <<E\n\0\nE\nFROM b\n", 5, TOLD);
    // A script and a file hold what they like; what nobody needs is not run.
    for text in [
        "FROM scratch\nRUN <<E\n#!/bin/sh\nprintf 'a\0b'\nE\n",
        "FROM scratch\nCOPY <<E /f\n\0\nE\n",
        "FROM scratch\nRUN true\n# \0\n",
    ] {
        assert_eq!(errors(text), [""; 0], "{text:?}");
    }
}
