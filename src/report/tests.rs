//! Messages, whole.

use std::time::Duration;

use anyhow::Context as _;
use rbuild_engine::containers::ContainerError;
use rbuild_engine::networks::NetworksError;
use rbuild_model::event::{ExitStatus, Outcome};
use rbuild_model::span::{Location, Source, Span};

use super::*;

fn dockerfile() -> std::sync::Arc<Source> {
    Source::new(
        "Dockerfile",
        "FROM busybox AS build\nARG VER=1\nRUN echo hi && \\\n    sleep 1 && \\\n    echo \"$VER\"\nCOPY --form=build /x /y\nRUNN make\n",
    )
}

fn span_of(source: &Source, part: &str) -> Span {
    let at = source.text().find(part).unwrap();
    Span::new(at, at + part.len())
}

fn plain(error: impl Into<anyhow::Error>) -> String {
    render(&error.into(), Colour::Off)
}

#[test]
fn a_finding_shows_its_lines() {
    let source = dockerfile();
    let whole = Diagnostic::error(
        &source,
        span_of(&source, "RUNN make"),
        "unknown instruction: RUNN (did you mean RUN?)",
    );
    insta::assert_snapshot!(plain(Findings(vec![whole])), @r#"
    Dockerfile:7
    --------------------
       5 |         echo "$VER"
       6 |     COPY --form=build /x /y
       7 | >>> RUNN make
    --------------------
    error: unknown instruction: RUNN (did you mean RUN?)
    "#);
    let part = Diagnostic::error(&source, span_of(&source, "--form"), "unknown flag: --form")
        .with_help("did you mean `--from`?")
        .with_label(span_of(&source, "/y"), "for this copy");
    insta::assert_snapshot!(plain(Findings(vec![part])), @r#"
    Dockerfile:6
    --------------------
       4 |         sleep 1 && \
       5 |         echo "$VER"
       6 | >>> COPY --form=build /x /y
         |          ^^^^^^
         |                          ^^ for this copy
       7 |     RUNN make
    --------------------
    error: unknown flag: --form
    hint: did you mean `--from`?
    "#);
}

#[test]
fn colours_only_on_request() {
    let source = dockerfile();
    let finding = || Findings(vec![Diagnostic::error(&source, span_of(&source, "RUNN make"), "bad")]);
    assert!(!plain(finding()).contains('\x1b'));
    let coloured = render(&finding().into(), Colour::On);
    assert!(coloured.contains("\x1b[1;31merror:\x1b[0m bad"), "{coloured:?}");
    assert_eq!(console::strip_ansi_codes(&coloured), plain(finding()));
}

#[test]
fn a_failed_step_shows_everything_about_it() {
    let source = dockerfile();
    let text = "RUN echo hi && \\\n    sleep 1 && \\\n    echo \"$VER\"";
    let failure = StepFailure {
        name: "[build 2/3] RUN echo hi &&     sleep 1 &&     echo \"$VER\"".to_owned(),
        command: Some("/bin/sh -c echo hi &&     sleep 1 &&     echo \"$VER\"".to_owned()),
        location: Some(Location { source: std::sync::Arc::clone(&source), span: span_of(&source, text) }),
        outcome: Outcome::Exited(ExitStatus::Code(7)),
        tail: vec![
            (Duration::from_millis(182), "hi".to_owned()),
            (Duration::from_millis(1184), "1".to_owned()),
        ],
        log: Some("/var/lib/rbuild/logs/x".into()),
        reason: None,
    };
    insta::assert_snapshot!(plain(failure), @r#"
    ------
     > [build 2/3] RUN echo hi &&     sleep 1 &&     echo "$VER":
    0.182 hi
    1.184 1
    ------
    Dockerfile:3
    --------------------
       1 |     FROM busybox AS build
       2 |     ARG VER=1
       3 | >>> RUN echo hi && \
       4 | >>>     sleep 1 && \
       5 | >>>     echo "$VER"
       6 |     COPY --form=build /x /y
       7 |     RUNN make
    --------------------
    error: process "/bin/sh -c echo hi &&     sleep 1 &&     echo \"$VER\"" did not complete successfully: exit code: 7
    note: the full log is in /var/lib/rbuild/logs/x
    "#);
}

#[test]
fn a_step_says_how_it_ended() {
    for (outcome, text) in [
        (Outcome::Exited(ExitStatus::Signal(9)), "was killed by SIGKILL (exit code: 137)"),
        (Outcome::Exited(ExitStatus::Signal(40)), "was killed by signal 40 (exit code: 168)"),
        (
            Outcome::Exited(ExitStatus::OutOfMemory),
            "was killed because it used more memory than it may (exit code: 137)",
        ),
        (Outcome::TimedOut, "took longer than it may"),
        (Outcome::Cancelled, "was cancelled"),
    ] {
        assert_eq!(step::ending(outcome), text);
    }
}

#[test]
fn kinds_and_statuses_are_found_in_the_chain() {
    let io = |kind| anyhow::Error::from(io::Error::from(kind)).context("failed to read `x`");
    for (error, kind, status) in [
        (Mistake::new("no").into(), Kind::Yours, Status::Failed),
        (Mistake::usage("no").into(), Kind::Yours, Status::Usage),
        (NotYet::supported("`--sbom`", "later").into(), Kind::Yours, Status::Usage),
        (anyhow::Error::from(Mistake::new("no")).context("outer"), Kind::Yours, Status::Failed),
        (anyhow::Error::from(std::fmt::Error).context("outer"), Kind::Ours, Status::Bug),
        (io(io::ErrorKind::NotFound), Kind::Yours, Status::Failed),
        (io(io::ErrorKind::InvalidData), Kind::Yours, Status::Failed),
        (io(io::ErrorKind::StorageFull), Kind::Machine, Status::Failed),
        (io(io::ErrorKind::BrokenPipe), Kind::Machine, Status::Unread),
    ] {
        let verdict = judge(&error);
        assert_eq!((verdict.kind, verdict.status), (kind, status), "{error:#}");
    }
}

#[test]
fn chains_are_one_line_with_hints_behind() {
    let full = Err::<(), _>(io::Error::from(io::ErrorKind::StorageFull))
        .context("failed to write `/x\u{1b}[2J`")
        .unwrap_err();
    insta::assert_snapshot!(plain(full), @r#"
    error: failed to write `/x\u{1b}[2J`: no storage space
    hint: free some space, for example with `rbuild prune`
    note: this is about the machine, not about your project
    "#);
    insta::assert_snapshot!(plain(NotYet::supported("`--sbom`", "make one with a step of your own")), @r#"
    error: `--sbom` is not supported yet
    hint: make one with a step of your own
    "#);
    insta::assert_snapshot!(panicked("index out of bounds", "src/x.rs:1:2", Colour::Off).replace(env!("CARGO_PKG_VERSION"), "VERSION"), @r#"
    internal error: index out of bounds (src/x.rs:1:2, rbuild VERSION)
    hint: this is a mistake in rbuild, not in your project: please report it, with the lines above and the output of `rbuild doctor`
    "#);
}

#[test]
fn what_is_told_is_not_told_again() {
    for (links, told) in [
        (&["failed to read `x`", "x: no such file"][..], "failed to read `x`: no such file"),
        (
            &["cannot get a:1", "cannot get a:1 from any of h", "a:1: gone"],
            "cannot get a:1 from any of h: gone",
        ),
        (&["no space", "cannot write: no space"], "no space: cannot write: no space"),
        (&["cannot write: no space", "no space"], "cannot write: no space"),
        (&["cannot read data", "a: gone"], "cannot read data: a: gone"),
    ] {
        let (last, before) = links.split_last().unwrap();
        let error = before.iter().rev().fold(anyhow::anyhow!("{last}"), |error, link| error.context(*link));
        assert_eq!(chain(&error), told, "{links:?}");
    }
}

#[test]
fn a_way_out_is_named_of_whatever_lies_below() {
    let missing = |ignored| rbuild_cache::content::Error::NotFound { path: "/x".into(), ignored };
    let failure = |reason: anyhow::Error| StepFailure {
        name: "[1/1] COPY x /".to_owned(),
        command: None,
        location: None,
        outcome: Outcome::Failed,
        tail: Vec::new(),
        log: None,
        reason: Some(reason.context("failed to compute cache key")),
    };
    for (error, hint) in [
        (failure(missing(true).into()), "hint: the ignore file leaves it out"),
        (failure(missing(false).into()), "hint: paths begin at the root of the context"),
        (
            failure(rbuild_network::error::Error::PoolsExhausted.into()),
            "hint: free one with `rbuild network prune`",
        ),
    ] {
        let message = plain(error);
        assert!(message.contains(hint), "{message}");
    }
    let absent = plain(ContainerError::Networks(Box::new(NetworksError::NotFound("nosuch".to_owned()))));
    assert!(
        absent.contains("network nosuch not found\nhint: `rbuild network create NAME` makes one"),
        "{absent}"
    );
    let unwritten = Unwritten(io::Error::from(io::ErrorKind::StorageFull));
    assert_eq!(judge(&unwritten.into()).status, Status::Program(1));
}

#[test]
fn a_hostile_source_is_harmless() {
    let source = Source::new("Docker\x1b]0;x\x07file", format!("RUN \x1b[2J{}\n", "x".repeat(10_000)));
    let finding = Diagnostic::error(&source, Span::new(0, 5), "bad \u{202e}text");
    let message = plain(Findings(vec![finding]));
    assert!(message.chars().all(|c| c == '\n' || !c.is_control()), "{message:?}");
    assert!(message.len() < 1500 && !message.contains('\u{202e}'));
}

#[test]
fn a_span_behind_the_end_is_no_reason_to_fail() {
    let source = Source::new("Dockerfile", "FROM a");
    let finding = Diagnostic::error(&source, Span::new(6, 6), "something is missing");
    assert!(plain(Findings(vec![finding])).contains("   1 | >>> FROM a\n"));
    let empty = Source::new("Dockerfile", "");
    let finding = Diagnostic::error(&empty, Span::new(0, 0), "file with no instructions");
    assert!(plain(Findings(vec![finding])).starts_with("Dockerfile:1\n"));
}
