//! Input that no author would write: it is refused, or done, in bounded time and memory, and never by a crash.

use rbuild_frontend::dockerfile::expand::{Mode, expand};
use rbuild_frontend::dockerfile::parse;
use rbuild_frontend::errors::{MAX_ERRORS, told};
use rbuild_frontend::ignore::Ignore;
use rbuild_frontend::lower::{LowerOptions, Lowered};
use rbuild_model::span::{Diagnostic, Severity, Source};

use crate::targets;

fn errors(text: &str) -> Vec<String> {
    let parsed = parse(&Source::new("Dockerfile", text));
    let errors = parsed.diagnostics.iter().filter(|finding| finding.severity == Severity::Error);
    errors.map(|finding| finding.message.clone()).collect()
}

fn options() -> LowerOptions {
    LowerOptions::new("linux/amd64".parse().unwrap())
}

#[test]
fn a_line_may_have_65535_bytes() {
    let line = |length: usize| format!("FROM a\nRUN {}\n", "x".repeat(length - 4));
    assert_eq!(errors(&line(65535)), Vec::<String>::new());
    assert_eq!(errors(&line(65536)), ["dockerfile line greater than max allowed size of 65535"]);
    let heredoc = format!("FROM a\nRUN <<E\n{}\nE\n", "é".repeat(40000));
    assert_eq!(
        errors(&heredoc),
        ["dockerfile parse error on line 2: dockerfile line greater than max allowed size of 65535"]
    );
}

#[test]
fn a_file_of_ten_megabytes_is_read() {
    let mut text = String::from("FROM a\n");
    while text.len() < 10 << 20 {
        text.push_str("RUN echo something that is not very long && \\\n    # a comment\n    echo more\n");
    }
    let parsed = parse(&Source::new("Dockerfile", text.as_str()));
    assert!(!parsed.has_errors());
    assert_eq!(parsed.dockerfile.instructions.len(), text.matches("RUN").count() + 1);
    // One instruction on a quarter of a million lines.
    let one = format!("FROM a\nRUN a{}\n", " \\\n  b".repeat(250_000));
    assert_eq!(parse(&Source::new("Dockerfile", one.as_str())).dockerfile.instructions.len(), 2);
    // As many words, flags and names as fit into a line.
    for line in ["ENV a=1", "LABEL a=1", "ARG a", "EXPOSE 1", "COPY a", "VOLUME /a", "RUN --mount=target=/a"]
    {
        let (keyword, word) = line.split_once(' ').unwrap();
        let words = format!(" {word}").repeat(60_000 / (word.len() + 1));
        let text = format!("FROM a\n{keyword}{words} x\n");
        let parsed = parse(&Source::new("Dockerfile", text.as_str()));
        if !parsed.has_errors() {
            // Whether it can be lowered is not the question; that it ends is.
            let _ = targets::lowered(&parsed, &options());
        }
    }
}

#[test]
fn ten_thousand_stages_are_lowered() {
    let mut chain = String::from("FROM a AS s0\n");
    let mut wide = chain.clone();
    for at in 1..10_000 {
        chain.push_str(&format!("FROM s{} AS s{at}\nRUN x{at}\n", at - 1));
        wide.push_str(&format!("FROM a AS s{at}\nCOPY --from=s{} /a /b\n", at - 1));
    }
    for text in [chain, wide] {
        let parsed = parse(&Source::new("Dockerfile", text.as_str()));
        let lowered = targets::lowered(&parsed, &options()).unwrap();
        assert_eq!(lowered.graph.len(), 10_000);
    }
    // Every stage that names one that comes later is an error of its own, found without walking all of them each time.
    let mut later = String::new();
    for at in 0..2_000 {
        later.push_str(&format!("FROM a AS s{at}\nCOPY --from=s{} /a /b\n", at + 1));
    }
    later.push_str("FROM a AS s2000\n");
    let parsed = parse(&Source::new("Dockerfile", later.as_str()));
    let mut options = options();
    options.all_stages = true;
    let error = targets::lowered(&parsed, &options).unwrap_err();
    assert_eq!(error.lines().count(), 101);
    assert!(error.ends_with("1900 more errors are not shown"), "{error:.200}");
}

/// Returns stages that each stand on the one before, with some lines more; `{}` is the stage's number.
fn stages_with(count: usize, lines: &str) -> String {
    let mut text = String::from("FROM a AS s0\n");
    for at in 1..count {
        text.push_str(&format!("FROM s{} AS s{at}\n{}", at - 1, lines.replace("{}", &at.to_string())));
    }
    text
}

fn lowered(text: &str, all_stages: bool) -> Result<Box<Lowered>, String> {
    let parsed = parse(&Source::new("Dockerfile", text));
    targets::lowered(&parsed, &LowerOptions { all_stages, ..options() })
}

/// A file of nothing but mistakes has more of them than anyone reads.
#[test]
fn so_many_errors_are_counted_and_not_kept() {
    for line in ["ENV A\n", "FOO x\n", "COPY a\n", "ADD a\n", "WORKDIR\n"] {
        let text = format!("FROM a\n{}", line.repeat(20_000));
        let parsed = parse(&Source::new("Dockerfile", text));
        assert_eq!(
            (parsed.diagnostics.len(), parsed.more_errors),
            (MAX_ERRORS, 20_000 - MAX_ERRORS),
            "{line}"
        );
    }
    let text = format!("FROM a\n{}", "WORKDIR ${B:?no}\n".repeat(20_000));
    let error = lowered(&text, false).unwrap_err();
    assert!(error.ends_with("more errors are not shown"), "{error:.200}");
    assert_eq!(error.lines().count(), MAX_ERRORS + 1);
    // Warnings do not count, and what is told is counted in words.
    let mut found = parse(&Source::new("Dockerfile", "FROM a\nFOO\n")).diagnostics;
    assert_eq!(told(found.clone(), 0).len(), 1);
    found = told(found, 1);
    assert_eq!(found[1].to_string(), "1 more error is not shown");
}

/// Each stage begins with all that those below it have set: copies of that would be fifty million entries and more.
#[test]
fn ten_thousand_stages_share_what_they_inherit() {
    let args = lowered(&stages_with(10_000, "ARG A{}=1\nCOPY a /x{}\n"), false).unwrap();
    assert_eq!((args.graph.len(), args.outline.args.len()), (10_001, 9_999));
    let target = |text: &str| lowered(text, false).unwrap().targets.remove(0);
    let env = target(&stages_with(10_000, "ENV A{}=1\n")).config.config.env;
    assert_eq!((env.len(), &*env[0], &*env[9_999]), (10_000, "PATH=/bin", "A9999=1"));
    let labels = target(&stages_with(10_000, "LABEL l{}=1\n")).config.config.labels;
    assert_eq!(labels.len(), 9_999);
    // Where each has a second one on it, too.
    let both = stages_with(10_000, "ENV A{}=1\nARG B{}=1\nFROM s{} AS t{}\nARG C=1\nENV D=1\n");
    assert_eq!(lowered(&both, true).unwrap().targets[0].config.config.env.len(), 10_001);
    // Global arguments made of one another, which every FROM refers to.
    let globals: String = (1..5_000).map(|at| format!("ARG G{at}=$G{}\n", at - 1)).collect();
    let text = format!("ARG G0=a\n{globals}{}", "FROM $G4999\n".repeat(5_000));
    assert_eq!(lowered(&text, true).unwrap().outline.args.len(), 5_000);
}

/// What cannot be shared is counted: the environments of steps, configs that differ in one label, triggers.
#[test]
fn what_stages_cannot_share_is_bounded() {
    let refused = |text: &str| {
        let error = lowered(text, true).unwrap_err();
        assert_eq!(error.lines().count(), 1, "{error:.500}");
        error
    };
    for lines in [
        "ARG A{}=1\nRUN x\n",
        "ENV A{}=1\nRUN x\n",
        "LABEL l{}=1\nFROM s{} AS t{}\nUSER x\n",
        "EXPOSE {}\nFROM s{} AS t{}\nUSER x\n",
        "VOLUME /{}\nFROM s{} AS t{}\nUSER x\n",
    ] {
        let error = refused(&stages_with(2_500, lines));
        assert!(error.contains("the values of this file come to more than 134217728 bytes"), "{error:.500}");
    }
    let stored: String = (0..2_000).map(|at| format!("ONBUILD LABEL a{at}=1\n")).collect();
    let error = refused(&format!("FROM a AS s\n{stored}{}", "FROM s\n".repeat(2_000)));
    assert!(error.contains("run 100000 ONBUILD triggers"), "{error:.500}");
}

/// Names that are not there are compared with those that are, for the first findings only.
#[test]
fn unset_variables_are_told_in_bounded_time() {
    let declared: String = (0..500).map(|at| format!("ARG VERSION{at}=x\n")).collect();
    let used: String = (0..500).map(|at| format!("FROM a$VERSION_{at}\n")).collect();
    let warnings = lowered(&format!("{declared}{used}"), true).unwrap().warnings;
    let near = warnings.iter().filter(|finding| finding.message.contains("did you mean")).count();
    assert_eq!((warnings.len(), near), (500, 100));
}

#[test]
fn nested_expansions_are_bounded() {
    let nested = |depth: usize| format!("{}x{}", "${a:-".repeat(depth), "}".repeat(depth));
    assert_eq!(expand(&nested(100), Mode::argument('\\'), &()).unwrap().text, "x");
    for depth in [129, 10_000, 60_000] {
        assert_eq!(
            expand(&nested(depth), Mode::argument('\\'), &()).unwrap_err().to_string(),
            "variables are nested more than 128 deep"
        );
    }
    // A variable that doubles itself grows with the file and not beyond a bound.
    let mut text = String::from("FROM a\nENV A=0123456789\n");
    for _ in 0..22 {
        text.push_str("ENV A=$A$A\n");
    }
    let parsed = parse(&Source::new("Dockerfile", text.as_str()));
    let error = targets::lowered(&parsed, &options()).unwrap_err();
    assert!(
        error.lines().next().unwrap().ends_with("the text becomes longer than 4194304 bytes"),
        "{error:.200}"
    );
    // So does what many steps are given.
    let mut text = format!("FROM a\nENV A={}\n", "x".repeat(60_000));
    for at in 0..3_000 {
        text.push_str(&format!("RUN {at}\n"));
    }
    let parsed = parse(&Source::new("Dockerfile", text.as_str()));
    let error = targets::lowered(&parsed, &options()).unwrap_err();
    assert!(error.contains("the values of this file come to more than 134217728 bytes"), "{error:.200}");
}

#[test]
fn bytes_that_are_not_text_are_refused_outside_of_comments() {
    let found = |bytes: &[u8]| -> Vec<_> {
        let parsed = parse(&Source::from_bytes("Dockerfile", bytes.to_vec()));
        let place = |error: &Diagnostic| {
            let location = error.location().unwrap();
            let at = location.source.position(location.span.start);
            (at.line, at.column, error.message.rsplit(": ").next().unwrap().to_owned())
        };
        parsed.diagnostics.iter().map(place).collect()
    };
    let not_utf8 = || "the byte 0xe9 is not UTF-8".to_owned();
    assert_eq!(found(b"# caf\xe9\nFROM scratch\nLABEL a=b \\\n# caf\xe9\n c=d\n"), []);
    assert_eq!(
        found(b"FROM scratch\nLABEL a=\xe9\xe9 \\\n c=\xe9\n"),
        [(2, 9, not_utf8()), (3, 4, not_utf8())]
    );
    assert_eq!(found(b"FROM scratch\nCOPY <<E /x\n\xc3\xa9 \xe9\nE\n"), [(3, 3, not_utf8())]);
    assert_eq!(found("FROM scratch\nLABEL a=\u{fffd}\n".as_bytes()), []);
}

#[test]
fn odd_bytes_are_text_like_any_other() {
    for text in [
        "FROM a\nRUN x\0y\n",
        "FROM a\0\n",
        "\0",
        "FROM a\nENV a=\u{1}\u{7f}\u{200b}\n",
        "FROM a\nCOPY a\0 b\n",
    ] {
        targets::dockerfile(text.as_bytes());
    }
    targets::dockerfile(b"FROM a\nRUN \xff\xfe\n");
    assert_eq!(
        errors("FROM a\n\0RUN x\n"),
        ["dockerfile parse error on line 2: unknown instruction: \0RUN (did you mean RUN?)"]
    );
}

#[test]
fn ignore_files_are_matched_in_bounded_time() {
    // Patterns that make a matcher that goes back try every way there is.
    let pattern = "**/a*".repeat(200) + "/b";
    let ignore = Ignore::parse(&format!("{pattern}\n{}\n", "*a".repeat(500))).unwrap();
    let path = "a/".repeat(2_000) + "c";
    assert!(!ignore.ignores(&path));
    let many: String = (0..20_000).map(|at| format!("folder{at}/**/file{at}*\n!keep{at}\n")).collect();
    let ignore = Ignore::parse(&many).unwrap();
    assert!(ignore.ignores("folder19999/x/y/file19999z"));
    assert!(!ignore.ignores("folder19999/x/y/z"));
}
