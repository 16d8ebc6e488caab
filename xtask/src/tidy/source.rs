//! The rules about each Rust file.

use super::{File, Finding, Report, code, functions, modules};

/// Lines from which a file is worth a look, and from which it must be split. Tests are longer than what they test.
const LOOK: usize = 600;
const SPLIT: usize = 1000;
const SPLIT_TESTS: usize = 2000;

/// Crates that may have `unsafe`, in their `sys` modules and in tests that try system calls themselves.
const UNSAFE: &[&str] = &["sandbox", "snapshotter", "network", "confined"];

/// Where a crate's only asynchronous module is; elsewhere whole crates are (see `floors`).
const ASYNC_MODULES: &[(&str, &str)] =
    &[("image", "image/src/distribution"), ("cache", "cache/src/backends")];
const SYNCHRONOUS: &[&str] = &[
    "model",
    "confined",
    "store",
    "frontend",
    "solver",
    "snapshotter",
    "sandbox",
    "network",
    "monitor",
    "image",
    "cache",
];

/// Who may write that a test did not run: the others have `rbuild_testkit::privilege` tell it, so that it is counted.
const SKIPS: &[&str] = &["testkit", "xtask"];

const PRINTING: &[&str] = &["println!", "print!", "eprintln!", "eprint!", "dbg!"];
const STANDARD_STREAMS: &[&str] = &["io::stdout", "io::stderr"];
const ENVIRONMENT: &[&str] =
    &["env::var", "env::var_os", "env::vars", "env::vars_os", "env::args", "env::args_os"];

pub(super) fn check(file: &File, report: &mut Report) {
    let split = code::split(&file.text);
    lengths(file, report);
    for function in functions::of(&split).iter().filter(|function| function.lines > functions::LONGEST) {
        let message = format!("`{}` has {} lines: it is more than one thing", function.name, function.lines);
        report.findings.push(Finding::new(file, function.line + 1, message));
    }
    if !starts_with_docs(file) {
        report.findings.push(Finding::new(file, 1, "has no module documentation: begin with `//!`"));
    }
    for (index, line) in split.code.iter().enumerate() {
        for message in line_findings(file, line) {
            report.findings.push(Finding::new(file, index + 1, message));
        }
    }
    for (index, _) in file.text.lines().enumerate().filter(|(_, line)| line.contains("SKIPPED")) {
        if !SKIPS.contains(&file.krate()) {
            let message = "a test that does not run is told by `rbuild_testkit::privilege`";
            report.findings.push(Finding::new(file, index + 1, message));
        }
    }
    for (index, comment) in split.comments.iter().enumerate() {
        if let Some(message) = comment_finding(comment) {
            report.findings.push(Finding::new(file, index + 1, message));
        }
    }
}

fn lengths(file: &File, report: &mut Report) {
    let lines = file.text.lines().count();
    let limit = if file.is_test() { SPLIT_TESTS } else { SPLIT };
    if lines > limit {
        report.findings.push(Finding::new(file, limit, format!("has {lines} lines: split it")));
    } else if lines > LOOK && !file.is_test() {
        report.hints.push(Finding::new(file, LOOK, format!("has {lines} lines: is it more than one thing?")));
    }
}

/// Modules of tests explain themselves by what they stand beside or are included by.
fn starts_with_docs(file: &File) -> bool {
    let inner_test = file.is_test() && !modules::is_target(&file.path);
    inner_test || file.text.starts_with("//!")
}

fn line_findings(file: &File, line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (krate, shipped) = (file.krate(), !file.is_test() && !file.is_tool());
    let may_be_unsafe = UNSAFE.contains(&krate) && (is_sys(&file.path) || file.is_test());
    if code::has_word(line, "unsafe") && !may_be_unsafe {
        found.push(
            "`unsafe` belongs into a `sys` module of sandbox, snapshotter, network or confined".to_owned(),
        );
    }
    if shipped && !krate.is_empty() {
        for macro_name in PRINTING.iter().filter(|name| has_macro(line, name)) {
            found.push(format!("`{macro_name}`: only `src/` prints"));
        }
        if STANDARD_STREAMS.iter().any(|name| code::has_word(line, name)) {
            found.push("only `src/` prints: take a writer".to_owned());
        }
        if ENVIRONMENT.iter().any(|name| code::has_word(line, name)) {
            found.push("only `src/` reads the environment and the arguments".to_owned());
        }
        if line.contains("process::exit") {
            found.push("only `main` ends the process".to_owned());
        }
    }
    if line.contains("thread::sleep")
        || file.is_test() && line.contains("let _ =") && line.contains("recv_timeout")
    {
        found.push("await the event instead of sleeping".to_owned());
    }
    if SYNCHRONOUS.contains(&krate) && !file.is_test() {
        let allowed =
            ASYNC_MODULES.iter().any(|(owner, module)| *owner == krate && file.path.starts_with(module));
        let names = ["tokio", "reqwest", "futures_util", "async", "await"];
        if !allowed && names.iter().any(|name| code::has_word(line, name)) {
            found.push(format!("`{krate}` is synchronous here"));
        }
    }
    if line.contains("#[ignore") || line.contains("#[should_panic") {
        found.push("a test runs and asserts: no `ignore`, no `should_panic`".to_owned());
    }
    for word in ["todo!", "unimplemented!"] {
        if has_macro(line, word) {
            found.push(format!("`{word}`: what is not supported returns an error that says so"));
        }
    }
    found
}

fn is_sys(path: &str) -> bool {
    path.split('/').any(|part| part == "sys" || part == "sys.rs")
}

fn has_macro(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|character| character.is_alphanumeric() || character == '_')
    })
}

fn comment_finding(comment: &str) -> Option<&'static str> {
    let conditional = [" when ", " once ", " until ", " as soon as "];
    if code::has_word(comment, "FIXME") || code::has_word(comment, "XXX") {
        return Some("fix it now, or write a TODO that names the condition that ends it");
    }
    if code::has_word(comment, "TODO") && !conditional.iter().any(|word| comment.contains(word)) {
        return Some("a TODO names the condition that ends it (`TODO: ... when ...`)");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, line: &str) -> Vec<String> {
        let file = File { path: path.to_owned(), text: format!("//! Docs.\n{line}\n") };
        let mut report = Report::default();
        check(&file, &mut report);
        report.findings.into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn each_rule_has_its_place() {
        for (path, line, allowed) in [
            ("network/src/sys.rs", "unsafe { f() }", true),
            ("network/src/a/sys/b.rs", "unsafe { f() }", true),
            ("network/src/link.rs", "unsafe { f() }", false),
            ("store/src/sys.rs", "unsafe { f() }", false),
            ("store/src/a.rs", "// unsafe in a comment", true),
            ("store/src/a.rs", "println!(\"x\");", false),
            ("store/src/a.rs", "my_println!(\"x\");", true),
            ("store/src/a.rs", "std::io::stderr().write_all(b)", false),
            ("store/src/a.rs", "dup(rustix::stdio::stdout())", true),
            ("store/src/a.rs", "Command::new(x).stdout(pipe)", true),
            ("src/report.rs", "println!(\"x\"); io::stdout().lock()", true),
            ("store/tests/a.rs", "eprintln!(\"x\");", true),
            ("store/tests/a.rs", "eprintln!(\"SKIPPED: x\");", false),
            ("testkit/src/a.rs", "tell(\"SKIPPED\", test, reason);", true),
            ("store/src/a.rs", "std::env::var(\"HOME\")", false),
            ("src/settings.rs", "std::env::var(\"HOME\")", true),
            ("store/src/a.rs", "std::thread::sleep(d)", false),
            ("store/tests/a.rs", "std::thread::sleep(d)", false),
            ("store/tests/a.rs", "let _ = never.recv_timeout(d);", false),
            ("store/tests/a.rs", "assert!(heard.recv_timeout(d).is_ok())", true),
            ("solver/src/a.rs", "async fn f() {}", false),
            ("image/src/distribution/a.rs", "async fn f() {}", true),
            ("image/src/tar/a.rs", "use tokio::io;", false),
            ("worker/src/a.rs", "use tokio::io;", true),
            ("store/src/a.rs", "// TODO: faster", false),
            ("store/src/a.rs", "// TODO: drop this when kernels before 5.6 are gone", true),
            ("store/src/a.rs", "todo!()", false),
            ("store/tests/a.rs", "#[ignore = \"slow\"]", false),
        ] {
            let found = messages(path, line);
            assert_eq!(found.is_empty(), allowed, "{path}: {line}: {found:?}");
        }
    }

    #[test]
    fn docs_come_first() {
        let report = |path: &str| {
            let mut report = Report::default();
            check(&File { path: path.to_owned(), text: "fn f() {}\n".to_owned() }, &mut report);
            report.findings.len()
        };
        assert_eq!(
            (report("store/src/a.rs"), report("store/src/a_tests.rs"), report("store/tests/a.rs")),
            (1, 0, 1)
        );
    }
}
