//! Parsing: trees, errors, and what holds for any text.

use proptest::prelude::*;
use rbuild_frontend::dockerfile::{self, Parsed};
use rbuild_model::span::Source;

use crate::support::{findings, fixtures, with_places};

fn parse(text: &str) -> Parsed {
    dockerfile::parse(&Source::new("Dockerfile", text))
}

fn dump(parsed: &Parsed) -> String {
    let source = &parsed.dockerfile.source;
    let mut out = with_places(&format!("{:?}\n", parsed.dockerfile.directives), source);
    for instruction in &parsed.dockerfile.instructions {
        let start = source.position(instruction.span.start).line;
        let end = source.position(instruction.span.end).line;
        out.push_str(&format!(
            "\n{start}-{end} {}\n  text {:?}\n",
            instruction.keyword.value, instruction.text
        ));
        for comment in &instruction.comments {
            out.push_str(&format!("  comment {:?}\n", comment.value));
        }
        for blank in &instruction.blank_lines {
            out.push_str(&format!("  blank line {}\n", source.position(blank.start).line));
        }
        out.push_str(&format!("  {}\n", with_places(&format!("{:?}", instruction.kind), source)));
        for heredoc in &instruction.heredocs {
            out.push_str(&format!("  {}\n", with_places(&format!("{heredoc:?}"), source)));
        }
    }
    out
}

/// The instructions without their places.
fn meaning(parsed: &Parsed) -> Vec<String> {
    let strip = |text: String| {
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find("Span { start: ") {
            out.push_str(&rest[..at]);
            rest = rest[at..].split_once(" }").unwrap().1;
        }
        out + rest
    };
    parsed
        .dockerfile
        .instructions
        .iter()
        .map(|one| strip(format!("{:?} {:?} {:?} {:?}", one.keyword, one.text, one.kind, one.heredocs)))
        .collect()
}

#[test]
fn trees() {
    for (name, text) in fixtures("parse") {
        let parsed = parse(&text);
        assert_eq!(findings(&parsed.diagnostics), "", "fixture {name}");
        insta::assert_snapshot!(format!("tree-{name}"), dump(&parsed));
        let again = parse(&parsed.dockerfile.to_string());
        assert_eq!(meaning(&again), meaning(&parsed), "printed and read again: {name}");
    }
}

#[test]
fn errors() {
    for (name, text) in fixtures("errors") {
        let parsed = parse(&text);
        assert!(parsed.has_errors(), "fixture {name}");
        insta::assert_snapshot!(format!("errors-{name}"), findings(&parsed.diagnostics));
    }
}

#[test]
fn small_errors() {
    let mut out = String::new();
    for text in [
        "",
        "\n# only a comment\n",
        "ARG a\n",
        "RUN x\nFROM a\n",
        "FORM a\n",
        "FROM\n",
        "FROM a b\n",
        "FROM a by b\n",
        "FROM a AS 1x\n",
        "FROM a AS $X\n",
        "FROM a\nCMD --foo\n",
        "FROM a\nCOPY --form=x a b\n",
        "FROM a\nCOPY --link=maybe a b\n",
        "FROM a\nCOPY --link= a b\n",
        "FROM a\nCOPY --chown a b c\n",
        "FROM a\nCOPY --chown=1 --chown=2 a b\n",
        "FROM a\nCOPY --from=$x a b\n",
        "FROM a\nCOPY a\n",
        "FROM a\nCOPY\n",
        "FROM a\nCOPY a <<EOF\nEOF\n",
        "FROM a\nCOPY <<EOF /x\nbody\n",
        "FROM a\nCOPY [1, \"/x\"]\n",
        "FROM a\nRUN [\"a\", 1]\n",
        "FROM a\nRUN []\n",
        "FROM a\nRUN --network=foo x\n",
        "FROM a\nRUN --security=foo x\n",
        "FROM a\nRUN --mount=type=bind,from=$x,target=/x x\n",
        "FROM a\nRUN --mount='\"a x\n",
        "FROM a\nENV\n",
        "FROM a\nENV x\n",
        "FROM a\nENV a=1 b\n",
        "FROM a\nENV =1\n",
        "FROM a\nLABEL\n",
        "FROM a\nARG\n",
        "FROM a\nARG =x\n",
        "FROM a\nSHELL []\n",
        "FROM a\nSHELL /bin/sh\n",
        "FROM a\nHEALTHCHECK\n",
        "FROM a\nHEALTHCHECK FOO\n",
        "FROM a\nHEALTHCHECK CMD\n",
        "FROM a\nHEALTHCHECK NONE x\n",
        "FROM a\nHEALTHCHECK --interval=1 CMD x\n",
        "FROM a\nHEALTHCHECK --interval=1us CMD x\n",
        "FROM a\nHEALTHCHECK --retries=-1 CMD x\n",
        "FROM a\nONBUILD\n",
        "FROM a\nONBUILD ONBUILD RUN x\n",
        "FROM a\nONBUILD FROM x\n",
        "FROM a\nonbuild maintainer x\n",
        "FROM a\nVOLUME\n",
        "FROM a\nVOLUME [\"\"]\n",
        "FROM a\nWORKDIR\n",
        "FROM a\nUSER\n",
        "FROM a\nEXPOSE\n",
        "# escape=x\nFROM a\n",
        "# escape=`\n# escape=`\nFROM a\n",
        "# check=foo=bar\nFROM a\n",
        "FROM a\nRUN cat <<'E\nE\n",
    ] {
        let parsed = parse(text);
        assert!(parsed.has_errors(), "text {text:?}");
        out.push_str(&format!("{text:?}\n{}\n", findings(&parsed.diagnostics)));
    }
    insta::assert_snapshot!("small-errors", out);
}

#[test]
fn long_lines_are_refused() {
    let parsed = parse(&format!("FROM a\nRUN {}\n", "x".repeat(65_536)));
    assert_eq!(
        findings(&parsed.diagnostics).lines().next(),
        Some("error: Dockerfile:2:1: dockerfile line greater than max allowed size of 65535")
    );
    assert!(!parse(&format!("FROM a\nRUN {}\n", "x".repeat(65_531))).has_errors());
}

/// Lines that are near to what people write, and some that are not.
fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("FROM a AS b\n".to_owned()),
        Just("RUN x <<EOF\nbody\nEOF\n".to_owned()),
        Just("COPY <<-'A' <<B /x/\n\tone\n\tA\ntwo\nB\n".to_owned()),
        Just("ONBUILD RUN <<E\nx\nE\n".to_owned()),
        Just("# comment\n".to_owned()),
        Just("\n".to_owned()),
        "(FROM|RUN|CMD|COPY|ADD|ENV|ARG|LABEL|EXPOSE|USER|VOLUME|WORKDIR|SHELL|HEALTHCHECK|ONBUILD|STOPSIGNAL) ([a-z$/.]{1,6}|--[a-z]{1,4}=[a-z]|\"[a-z ]*\"|\\[\"a\"\\]|a=b|\\\\)( [a-z'\"=\\\\]{1,5}){0,3}( \\\\)?\n",
        "\\PC{0,30}\n",
    ]
}

proptest! {
    #[test]
    fn no_text_is_too_odd_to_parse(text in "\\PC{0,200}|[A-Z<>\"'\\\\\\[\\]{}$ \n\t\r=#-]{0,200}") {
        let parsed = parse(&text);
        findings(&parsed.diagnostics);
        dump(&parsed);
    }

    #[test]
    fn printing_and_reading_again_changes_nothing(lines in prop::collection::vec(line(), 0..8)) {
        let parsed = parse(&lines.concat());
        let printed = parsed.dockerfile.to_string();
        let again = parse(&printed);
        prop_assert_eq!(meaning(&again), meaning(&parsed), "printed {:?}", printed);
        prop_assert_eq!(again.dockerfile.to_string(), printed);
    }
}
