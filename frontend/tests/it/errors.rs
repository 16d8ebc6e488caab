//! What people search for when something is wrong: these texts are the same in every builder, and each points at the
//! words it is about.

use rbuild_frontend::dockerfile::parse;
use rbuild_frontend::ignore::Ignore;
use rbuild_frontend::lower::LowerOptions;
use rbuild_model::span::{Diagnostic, Severity, Source};

use crate::targets;

/// Everything wrong with a text, as `line: message`.
fn errors(text: &str, options: &LowerOptions) -> Vec<String> {
    let parsed = parse(&Source::new("Dockerfile", text));
    let place = |finding: &Diagnostic| finding.location().map_or(0, |location| location.lines().0);
    let mut found: Vec<String> = parsed
        .diagnostics
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .map(|finding| format!("{}: {}", place(finding), finding.message))
        .collect();
    if parsed.dockerfile.stages().is_empty() && !found.is_empty() {
        return found;
    }
    if let Err(messages) = targets::lowered(&parsed, options) {
        found.extend(messages.lines().map(|line| {
            let mut parts = line.splitn(4, ':');
            match (parts.next(), parts.next(), parts.next(), parts.next()) {
                (Some("Dockerfile"), Some(number), Some(_), Some(message)) => format!("{number}:{message}"),
                _ => format!("0: {line}"),
            }
        }));
    }
    found.sort_by_key(|error| error.split(':').next().and_then(|line| line.parse::<usize>().ok()));
    found
}

fn options() -> LowerOptions {
    LowerOptions::new("linux/amd64".parse().unwrap())
}

/// Checks that a text has one error, in a line and with these words.
fn check(text: &str, line: usize, words: &str) {
    let found = errors(text, &options());
    assert_eq!(found.len(), 1, "{text:?}: {found:?}");
    let (at, message) = found[0].split_once(": ").unwrap();
    assert_eq!(at, line.to_string(), "{text:?}: {message}");
    assert!(message.contains(words), "{text:?}: {message:?} without {words:?}");
}

#[test]
fn texts_of_the_parser() {
    for (text, line, words) in [
        ("", 1, "the Dockerfile cannot be empty"),
        ("# x\n\n", 1, "file with no instructions"),
        ("ARG A\n", 1, "dockerfile contains no stages to build"),
        ("ENV A=1\nFROM a\n", 1, "no build stage in current context"),
        (
            "FROM a\nCOPPY a b\n",
            2,
            "dockerfile parse error on line 2: unknown instruction: COPPY (did you mean COPY?)",
        ),
        ("FROM a\n\nXYZZY\n", 3, "dockerfile parse error on line 3: unknown instruction: XYZZY"),
        ("FROM a\nCMD --foo\n", 2, "unknown flag: --foo"),
        ("FROM a\nCOPY --form=b c d\n", 2, "unknown flag: --form (did you mean from?)"),
        ("FROM a\nCOPY --link= a b\n", 2, "missing a value on flag"),
        ("FROM a\nCOPY --link=x a b\n", 2, "expecting boolean value for flag"),
        ("FROM a\nRUN --network=none --network=none x\n", 2, "duplicate flag specified"),
        ("FROM a\nCMD [\"a\", null]\n", 2, "arrays must be comprised of strings only"),
        ("FROM a\nSHELL []\n", 2, "SHELL requires at least one argument"),
        ("FROM a\nSHELL sh -c\n", 2, "SHELL requires the arguments to be in JSON form"),
        ("# escape=`\n# escape=`\nFROM a\n", 2, "only one escape parser directive can be used"),
        ("# escape=/\nFROM a\n", 1, "invalid escape token"),
        ("# check=foo=1\nFROM a\n", 1, "invalid check option"),
        ("FROM a\nRUN <<E\nx\n", 2, "unterminated heredoc"),
        ("FROM a\nCOPY a <<E\nE\n", 2, "COPY cannot accept a heredoc as a destination"),
        ("FROM a\nADD a <<E\nE\n", 2, "ADD cannot accept a heredoc as a destination"),
        ("FROM a b\n", 1, "FROM requires either one or three arguments"),
        ("FROM a AS 1\n", 1, "invalid name for build stage"),
        ("FROM a AS $X\n", 1, "invalid name for build stage"),
        (
            "FROM a\nCOPY --from=$X a b\n",
            2,
            "variable expansion is not supported for --from, define a new stage",
        ),
        ("FROM a\nRUN --network=x y\n", 2, "invalid network mode"),
        ("FROM a\nRUN --security=x y\n", 2, "security \"x\" is not valid"),
        (
            "FROM a\nRUN --mount=from=$X,target=/x y\n",
            2,
            "'from' doesn't support variable expansion, define alias stage instead",
        ),
        ("FROM a\nRUN --device=a/b,x=1 y\n", 2, "unexpected key 'x' in 'x=1'"),
        (
            "FROM a\nCOPY a\n",
            2,
            "COPY requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        ("FROM a\nUSER\n", 2, "USER requires exactly one argument"),
        ("FROM a\nEXPOSE\n", 2, "EXPOSE requires at least one argument"),
        ("FROM a\nENV X\n", 2, "ENV must have two arguments"),
        ("FROM a\nENV X=1 Y\n", 2, "can't find = in \"Y\""),
        ("FROM a\nENV =1\n", 2, "names can not be blank"),
        ("FROM a\nVOLUME [\"\"]\n", 2, "VOLUME specified can not be an empty string"),
        ("FROM a\nHEALTHCHECK --interval=1us CMD x\n", 2, "cannot be less than 1ms"),
        ("FROM a\nHEALTHCHECK RUN x\n", 2, "(try CMD)"),
        ("FROM a\nHEALTHCHECK CMD\n", 2, "Missing command after HEALTHCHECK CMD"),
        ("FROM a\nONBUILD ONBUILD RUN x\n", 2, "ONBUILD"),
    ] {
        check(text, line, words);
    }
}

#[test]
fn texts_of_values() {
    for (text, line, words) in [
        ("FROM a\nLABEL a=\"b\n", 2, "unexpected end of statement while looking for matching double-quote"),
        ("FROM a\nLABEL a=\"${B:?say B}\"\n", 2, "B: say B"),
        ("FROM a\nLABEL a=${B:?}\n", 2, "B: is not allowed to be unset"),
        ("FROM a\nENV B=\nLABEL a=${B:?}\n", 3, "B: is not allowed to be empty"),
        ("FROM a\nENV B=b\nLABEL a=${B#\\x}\n", 3, "invalid escape"),
        ("FROM a\nLABEL a=${B:=x}\n", 2, "unsupported modifier (:=) in substitution"),
        ("FROM a\nLABEL a=${}\n", 2, "bad substitution"),
        ("FROM a\nLABEL a=${B:-\n", 2, "missing '}'"),
        ("FROM a\nLABEL a=${B/x}\n", 2, "missing '/' in ${}"),
        ("ARG SOURCE_DATE_EPOCH=x\nFROM a\n", 1, "invalid SOURCE_DATE_EPOCH: x"),
        ("ARG X\nFROM $X\n", 2, "base name ($X) should not be blank"),
        ("FROM a AS x\nCOPY --from=x /a /b\n", 1, "circular dependency detected on stage: x"),
        ("FROM a\nCOPY --from=4 a b\n", 2, "invalid stage index 4"),
        ("ARG P\nFROM --platform=$P a\n", 2, "empty platform value from expression $P"),
        ("FROM --platform=a/b/c/d x\n", 1, "platform"),
        ("FROM a\nRUN --network=host x\n", 2, "network.host is not allowed"),
        ("FROM a\nRUN --security=insecure x\n", 2, "security.insecure is not allowed"),
        (
            "FROM a\nCOPY --chmod=8 a b\n",
            2,
            "invalid chmod parameter: '8'. it should be octal string and between 0 and 07777",
        ),
        ("FROM a\nCOPY --chmod=u+q a b\n", 2, "invalid syntax"),
        ("FROM scratch\nCOPY --chown=me a b\n", 2, "invalid user index: -1"),
        ("FROM a\nCOPY http://x/y b\n", 2, "source can't be a URL for COPY"),
        ("FROM a\nCOPY git://x/y b\n", 2, "source can't be a git ref for COPY"),
        ("FROM a\nADD --checksum=sha256:00 a b\n", 2, "checksum requires HTTP(S) or Git sources"),
        ("FROM a\nADD --checksum=sha512:00 http://x/y b\n", 2, "unsupported digest algorithm"),
        ("FROM a\nADD --checksum=xyz git://x/y b\n", 2, "expected hex commit hash"),
        ("FROM a\nADD git://x/y?nosuch=1 b\n", 2, "unexpected query"),
        ("FROM a\nADD git://x/y?ref=a#b b\n", 2, "ref conflicts"),
        (
            "FROM a\nADD --keep-git-dir=true git://x/y?keep-git-dir=false b\n",
            2,
            "inconsistent keep-git-dir configuration",
        ),
        ("FROM a\nEXPOSE http\n", 2, "invalid containerPort: http"),
        ("FROM a\nEXPOSE 65536\n", 2, "invalid containerPort: 65536"),
        ("FROM a\nEXPOSE 2-1\n", 2, "invalid containerPort: 2-1"),
        ("FROM a\nEXPOSE x:80\n", 2, "invalid hostPort: x"),
        ("FROM a\nEXPOSE 1.2.3:80:80\n", 2, "invalid IP address: 1.2.3"),
        (
            "FROM a\nEXPOSE 1-3:80-81\n",
            2,
            "invalid ranges specified for container and host Ports: 80-81 and 1-3",
        ),
        ("FROM a\nEXPOSE 80/foo\n", 2, "invalid port: \"80/foo\": invalid proto: foo"),
        ("FROM a\nSTOPSIGNAL SIGX\n", 2, "invalid signal: SIGX"),
        ("FROM a\nVOLUME $X\n", 2, "VOLUME specified can not be an empty string"),
    ] {
        check(text, line, words);
    }
}

#[test]
fn texts_of_mounts() {
    for (text, line, words) in [
        (
            "FROM a\nRUN --mount=typ=bind,target=/x y\n",
            2,
            "unexpected key 'typ' in 'typ=bind' (did you mean type?)",
        ),
        (
            "FROM a\nRUN --mount=type=tmp,target=/x y\n",
            2,
            "unsupported mount type \"tmp\" (did you mean tmpfs?)",
        ),
        ("FROM a\nRUN --mount=type=cache,target=/x,sharing=lokced y\n", 2, "(did you mean locked?)"),
        ("FROM a\nRUN --mount=type=cache,target y\n", 2, "invalid field 'target' must be a key=value pair"),
        ("FROM a\nRUN --mount=type=tmpfs,target=/ y\n", 2, "invalid mount target \"/\""),
        (
            "FROM a\nRUN --mount=type=bind,target=/x,size=1 y\n",
            2,
            "unexpected key 'size' for mount type 'bind'",
        ),
        (
            "FROM a\nRUN --mount=type=bind,target=/x,required y\n",
            2,
            "unexpected key 'required' for mount type 'bind'",
        ),
        (
            "FROM a\nRUN --mount=type=tmpfs,target=/x,sharing=shared y\n",
            2,
            "invalid cache sharing set for tmpfs mount",
        ),
    ] {
        check(text, line, words);
        // Where nobody needs the step, nobody reads it.
        assert_eq!(errors(&format!("{text}FROM b\n"), &options()), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn texts_of_stages_that_come_too_late() {
    let mut target = options();
    target.target = Some("x".to_owned());
    for (text, words) in [
        (
            "FROM a AS x\nCOPY --from=y /a /b\nFROM a AS y\n",
            "cannot copy from stage \"y\", it needs to be defined before current stage \"x\"",
        ),
        (
            "FROM a AS x\nRUN --mount=from=y,target=/t z\nFROM a AS y\n",
            "cannot mount from stage \"y\" to \"/t\", stage needs to be defined before current command",
        ),
        ("FROM a AS x\nCOPY --from=y /a /b\nFROM x AS y\n", "circular dependency detected on stage: x"),
        ("FROM a AS xy\nFROM a AS b\n", "target stage \"x\" could not be found (did you mean xy?)"),
    ] {
        let found = errors(text, &target);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(words), "{text:?}: {found:?}");
    }
}

#[test]
fn texts_of_ignore_files() {
    for (text, words) in [
        ("a\n!\n", "line 2: illegal exclusion pattern: \"!\""),
        ("a[\n", "line 1: syntax error in pattern: \"a[\""),
        ("bin\\Release\n", "line 1: syntax error in pattern: \"bin\\\\Release\""),
        ("[z-a]\n", "line 1: syntax error in pattern: \"[z-a]\""),
    ] {
        assert_eq!(Ignore::parse(text).unwrap_err().to_string(), words);
    }
}

#[test]
fn no_stage_of_reading_hides_what_a_later_one_finds() {
    let text = "FROM busybox\nSTOPSIGNAL FOO\nEXPOSE foo\nCOPY --from=9 a b\nUSER ${x:?a}\nRUN --mount=type=bnd,target=/x true\nHEALTHCHECK --interval=1 CMD x\nVOLUME \"\"\nADD --chmod=9 a b\n";
    let lines = |text: &str| -> Vec<String> {
        let found = errors(text, &options());
        found.iter().map(|error| error.split(':').next().unwrap().to_owned()).collect()
    };
    assert_eq!(lines(text), ["2", "3", "4", "5", "6", "7", "8", "9"], "{:?}", errors(text, &options()));
    assert_eq!(lines("FROM busybox:$Z@\nSTOPSIGNAL FOO\nFOO bar\n"), ["1", "2", "3"]);
    let text = "FROM a\nRUN --nosuch --mount=type=tmp,targt=/x --network=x y\n";
    assert_eq!(errors(text, &options()).len(), 3, "{:?}", errors(text, &options()));
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
    // What is wrong with their steps is nobody's business.
    let text = "FROM scratch AS q\nFROM q AS r\nUSER ${X:?}\nCOPY --from=q a b\nCOPY --from=s a b\nFROM a as s\nFROM b\n";
    assert_eq!(errors(text, &options()), Vec::<String>::new());
}

#[test]
fn one_run_tells_everything() {
    let text = "FROM a\nFOO x\nCOPY --form=b c d\nRUN --mount=from=$X,target=/y z\nENV A\nCMD [1]\n";
    let found = errors(text, &options());
    let lines: Vec<&str> = found.iter().map(|error| error.split(':').next().unwrap()).collect();
    assert_eq!(lines, ["2", "3", "4", "5", "6"]);
    let text = "FROM a AS x\nCOPY --chmod=9 a b\nEXPOSE http\nSTOPSIGNAL nope\nLABEL a=${}\nFROM x\nADD --checksum=md5:1 http://x/y /\nRUN --mount=typ=x,target=/y z\n";
    let found = errors(text, &options());
    let lines: Vec<&str> = found.iter().map(|error| error.split(':').next().unwrap()).collect();
    assert_eq!(lines, ["2", "3", "4", "5", "7", "8"]);
    let text =
        "FROM a AS x\nCOPY --from=8 a b\nCOPY --from=x a b\nFROM --platform=a/b/c/d a\nCOPY --from=x a b\n";
    assert_eq!(errors(text, &options()).len(), 3);
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
