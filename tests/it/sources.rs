//! ADD from web servers and git repositories, as one finds it on the way to and from a server of this machine.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;

use rbuild_testkit::context::{Output, TestContext};
use rbuild_testkit::web::{Reply, Repository, Web};

use crate::scene::{assert_clean, assert_sound, build, built, built_from, file, scene, steps};

/// `Wed, 21 Oct 2015 07:28:00 GMT`
const MODIFIED: (&str, i64) = ("Wed, 21 Oct 2015 07:28:00 GMT", 1_445_412_480);

/// A server of one file that may change.
fn server_of(text: &str) -> (Web, Arc<Mutex<String>>) {
    let now = Arc::new(Mutex::new(text.to_owned()));
    let served = Arc::clone(&now);
    let web = Web::start(move |request| {
        let text = served.lock().unwrap().clone();
        match request.path.as_str() {
            "/dir/file.txt" | "/dir/" => request.file(text.as_bytes(), &format!("\"{text}\""), MODIFIED.0),
            "/plain" => Reply::of(text),
            "/away" => Reply::status(302).header("Location", "file:///etc/passwd"),
            "/loop" => Reply::status(302).header("Location", "/loop"),
            _ => Reply::status(404),
        }
    });
    (web, now)
}

/// The states of all ADD steps, as one line.
fn adds(output: &Output) -> String {
    let steps = steps(output);
    let adds = steps.iter().filter(|(name, _)| name.contains("] ADD "));
    adds.map(|(_, state)| state.as_str()).collect::<Vec<_>>().join(" ")
}

/// Whether a text is anywhere in a folder.
fn is_in(folder: &Path, text: &str) -> bool {
    fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => is_in(&entry.path(), text),
        Ok(kind) if kind.is_file() => fs::read(entry.path())
            .is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes())),
        _ => false,
    })
}

#[test]
fn a_file_of_a_web_server_is_known_by_its_content() {
    let Some(context) = scene("a_file_of_a_web_server_is_known_by_its_content") else { return };
    let (web, now) = server_of("one");
    let text = format!(
        "FROM scratch\nADD {} /a/\nADD --chmod=640 {} /b\nADD {} /c/\n",
        web.url("/dir/file.txt?q#f"),
        web.url("/plain"),
        web.url("/dir/")
    );
    built_from(&context, &text, ["-o", "out"]);
    let meta = |path: &str| fs::metadata(context.project().join("out").join(path)).unwrap();
    assert_eq!(file(&context, "out/a/file.txt"), "one");
    assert_eq!((meta("a/file.txt").mode() & 0o7777, meta("a/file.txt").mtime()), (0o600, MODIFIED.1));
    assert_eq!((meta("b").mode() & 0o7777, meta("b").mtime()), (0o640, 0), "without Last-Modified");
    assert_eq!(file(&context, "out/c/dir"), "one", "the last element of the path, whatever ends it");

    let before = web.seen().len();
    let again = built(&context, []);
    assert_eq!(adds(&again), "CACHED CACHED CACHED");
    let asked: Vec<_> = web.seen()[before..].to_vec();
    let conditional = |path: &str| {
        let request = asked.iter().find(|request| request.path == path).unwrap();
        request.headers.get("if-none-match").cloned()
    };
    assert_eq!(conditional("/dir/file.txt").as_deref(), Some("\"one\""));
    assert_eq!(conditional("/plain"), None, "a server that states nothing is asked without a condition");

    *now.lock().unwrap() = "two".to_owned();
    let changed = built(&context, ["-o", "out"]);
    assert_eq!(adds(&changed), "DONE DONE DONE");
    assert_eq!(file(&context, "out/a/file.txt"), "two");
}

#[test]
fn a_checksum_binds_what_a_server_sends_and_saves_the_question() {
    let Some(context) = scene("a_checksum_binds_what_a_server_sends_and_saves_the_question") else { return };
    let (web, _now) = server_of("one");
    // printf one | sha256sum
    let right = "sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
    let wrong = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    let text = |sum: &str| format!("FROM scratch\nADD --checksum={sum} {} /f\n", web.url("/plain"));
    context.write("Dockerfile", text(wrong));
    let refused = build(&context, []);
    refused.assert_code(1);
    assert!(refused.stderr.contains("digest mismatch"), "{refused}");
    built_from(&context, &text(right), ["-o", "out"]);
    assert_eq!(file(&context, "out/f"), "one");
    let before = web.seen().len();
    built(&context, []);
    assert_eq!(web.seen().len(), before, "what has the checksum is here");
}

#[test]
fn what_a_server_may_not_do_fails_the_build() {
    let Some(context) = scene("what_a_server_may_not_do_fails_the_build") else { return };
    let (web, _now) = server_of("one");
    for (path, why) in [
        ("/missing", "invalid response status 404"),
        ("/away", "it leads to something else than HTTP"),
        ("/loop", "more than 5 redirects"),
    ] {
        context.write("Dockerfile", format!("FROM scratch\nADD {} /f\n", web.url(path)));
        let output = build(&context, []);
        output.assert_code(1);
        assert!(output.stderr.contains(why), "{path}: {output}");
    }
}

#[test]
fn what_opens_a_server_is_left_nowhere() {
    let Some(context) = scene("what_opens_a_server_is_left_nowhere") else { return };
    let web = Web::start(|request| match (request.path.as_str(), request.headers.get("authorization")) {
        // base64 of me:hunter2
        ("/basic", Some(value)) if value == "Basic bWU6aHVudGVyMg==" => Reply::of("basic"),
        ("/token", Some(value)) if value == "Bearer hunter2" => Reply::of("token"),
        _ => Reply::status(403),
    });
    context.write("secret", "hunter2\n");
    let basic = web.url("/basic").replace("http://", "http://me:hunter2@");
    let text = format!("FROM scratch\nADD {basic} /\nADD {} /\n", web.url("/token"));
    let secret = "id=HTTP_AUTH_TOKEN_127.0.0.1,src=secret";
    let output = built_from(&context, &text, ["--secret", secret, "-o", "out", "--load", "-t", "x"]);
    assert_eq!(
        (file(&context, "out/basic").as_str(), file(&context, "out/token").as_str()),
        ("basic", "token")
    );
    assert!(!output.stderr.contains("hunter2"), "{output}");
    let history = context.rbuild(["history", "--no-trunc", "x"]).run();
    assert!(history.stdout.contains("ADD http://127.0.0.1"), "{history}");
    assert!(!history.stdout.contains("hunter2"), "{history}");
    assert!(!is_in(&context.root(), "hunter2"), "the password is in the store");
}

#[test]
fn an_archive_of_a_web_server_is_unpacked_when_asked_for() {
    let Some(context) = scene("an_archive_of_a_web_server_is_unpacked_when_asked_for") else { return };
    context.write("in/f", "packed");
    let tar = std::process::Command::new("tar")
        .args(["-C", "in", "-czf", "-", "f"])
        .current_dir(context.project())
        .output()
        .unwrap()
        .stdout;
    let web = Web::start(move |_| Reply::of(tar.clone()));
    let url = web.url("/a.tgz");
    built_from(&context, &format!("FROM scratch\nADD {url} /\nADD --unpack=true {url} /u/\n"), ["-o", "out"]);
    assert_eq!(file(&context, "out/u/f"), "packed");
    assert!(context.project().join("out/a.tgz").exists());
}

/// A server of repositories, and a repository with a submodule.
fn served(test: &str, context: &TestContext) -> Option<(Web, Repository, Repository)> {
    let folder = context.folder().join("repositories");
    let library = Repository::new(test, &folder, "library")?;
    let inner = library.commit(&[("l.txt", "library")]);
    let app = Repository::new(test, &folder, "app")?;
    app.commit(&[("a.txt", "one"), ("sub/s.txt", "sub"), (".gitattributes", "sub export-ignore\n")]);
    app.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{inner},lib")]);
    fs::create_dir_all(app.work().join("lib")).unwrap();
    fs::write(app.work().join(".gitmodules"), "[submodule \"x\"]\n\tpath = lib\n\turl = ../library.git\n")
        .unwrap();
    app.git(&["add", ".gitmodules"]);
    app.git(&["commit", "--quiet", "--message=submodule"]);
    let web = Web::start(move |request| request.git(&folder));
    Some((web, app, library))
}

#[test]
fn a_repository_is_known_by_its_commit() {
    const TEST: &str = "a_repository_is_known_by_its_commit";
    let Some(context) = scene(TEST) else { return };
    let Some((web, app, _library)) = served(TEST, &context) else { return };
    let first = app.git(&["rev-parse", "HEAD"]);
    app.git(&["tag", "-a", "-m", "annotated", "v1"]);
    let url = web.url("/app.git");
    let text = format!(
        "FROM scratch\nADD {url} /head/\nADD {url}#v1:sub /sub/\nADD --keep-git-dir=true {url}#main /kept/\n\
         ADD {url}?submodules=false&subdir=/&commit={first} /bare/\n"
    );
    built_from(&context, &text, ["-o", "out"]);
    assert_eq!(file(&context, "out/head/a.txt"), "one");
    assert_eq!(file(&context, "out/head/lib/l.txt"), "library");
    assert_eq!(file(&context, "out/head/sub/s.txt"), "sub", "whatever export-ignore says");
    assert_eq!(file(&context, "out/sub/s.txt"), "sub");
    assert!(!context.project().join("out/head/.git").exists());
    assert!(!context.project().join("out/bare/lib/l.txt").exists());
    let meta = fs::metadata(context.project().join("out/head/a.txt")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.mtime()), (0o644, 1_700_000_000));
    let status = std::process::Command::new("git")
        .args(["-c", "safe.directory=*", "log", "--format=%H"])
        .current_dir(context.project().join("out/kept"))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&status.stdout).trim(), first);

    assert_eq!(adds(&built(&context, [])), "CACHED CACHED CACHED CACHED");
    app.commit(&[("a.txt", "two")]);
    let moved = built(&context, ["-o", "out"]);
    assert_eq!(file(&context, "out/head/a.txt"), "two");
    // The first is made anew, and with it what stands on it; the tag and the commit mean what they meant.
    assert_eq!(adds(&moved), "DONE DONE DONE DONE");

    // A commit is asked for once.
    context.write("Dockerfile", format!("FROM scratch\nADD {url}#{first} /\n"));
    built(&context, []);
    drop(web);
    built(&context, []);
}

#[test]
fn repositories_that_lack_or_refuse_what_is_wanted_fail_the_build() {
    const TEST: &str = "repositories_that_lack_or_refuse_what_is_wanted_fail_the_build";
    let Some(context) = scene(TEST) else { return };
    let Some((web, app, _library)) = served(TEST, &context) else { return };
    let url = web.url("/app.git");
    let (missing, dead) = ("1".repeat(40), web.url("/none.git"));
    for (source, why) in [
        (format!("{url}#nope"), "repository does not contain ref nope"),
        (format!("{url}#main:no"), "there is no folder \"no\""),
        (format!("{url}#main:../.."), "leads out of the repository"),
        (format!("{url}#main:.git"), "leads out of the repository"),
        (format!("{url}#--upload-pack=x"), "is no name of a branch or a tag"),
        (format!("--checksum=abcdef {url}"), "expected checksum to match abcdef"),
        (format!("{url}#{missing}"), "git fetch failed"),
        (dead, "git ls-remote failed"),
        (format!("{url}?nope=1"), "unexpected query \"nope\""),
    ] {
        context.write("Dockerfile", format!("FROM scratch\nADD {source} /\n"));
        let output = build(&context, []);
        output.assert_code(1);
        assert!(output.stderr.contains(why), "{source}: {output}");
    }
    // Submodules are fetched from servers alone, whatever protocol git knows.
    for (address, why) in [
        ("ext::sh -c touch% /tmp/x", "submodule \"lib\""),
        ("file:///etc", "not over \"file\""),
        ("/etc", "submodule \"lib\""),
        ("../../../../x", "submodule \"lib\""),
    ] {
        app.commit(&[(".gitmodules", &format!("[submodule \"x\"]\n\tpath = lib\n\turl = {address}\n"))]);
        context.write("Dockerfile", format!("FROM scratch\nADD {url} /\n"));
        let output = build(&context, []);
        output.assert_code(1);
        assert!(output.stderr.contains(why), "{address}: {output}");
    }
}

#[test]
fn a_token_opens_a_repository_and_is_left_nowhere() {
    const TEST: &str = "a_token_opens_a_repository_and_is_left_nowhere";
    let Some(context) = scene(TEST) else { return };
    let folder = context.folder().join("repositories");
    let Some(app) = Repository::new(TEST, &folder, "app") else { return };
    app.commit(&[("a.txt", "one")]);
    let web = Web::start(move |request| match request.headers.get("authorization") {
        // base64 of x-access-token:hunter2
        Some(value) if value == "Basic eC1hY2Nlc3MtdG9rZW46aHVudGVyMg==" => request.git(&folder),
        _ => Reply::status(401).header("WWW-Authenticate", "Basic realm=\"r\""),
    });
    context.write("secret", "hunter2");
    context.write("Dockerfile", format!("FROM scratch\nADD {} /\n", web.url("/app.git")));
    let closed = build(&context, []);
    closed.assert_code(1);
    assert!(closed.stderr.contains("could not read Username"), "{closed}");
    built(&context, ["--secret", "id=GIT_AUTH_TOKEN,src=secret", "-o", "out"]);
    assert_eq!(file(&context, "out/a.txt"), "one");
    assert!(!is_in(&context.root(), "hunter2"), "the token is in the store");
    assert!(!is_in(&context.root(), "eC1hY2Nlc3M"), "the token is in the store");
}

#[test]
fn servers_and_repositories_of_other_kinds_give_the_same_files() {
    const TEST: &str = "servers_and_repositories_of_other_kinds_give_the_same_files";
    let Some(context) = scene(TEST) else { return };
    let folder = context.folder().join("repositories");
    let Some(long) = Repository::of_format(TEST, &folder, "long", "sha256") else { return };
    let commit = long.commit(&[("a.txt", "long")]);
    assert_eq!(commit.len(), 64);
    let short = Repository::new(TEST, &folder, "short").unwrap();
    short.commit(&[("a.txt", "old")]);
    let wanted = short.commit(&[("a.txt", "short")]);
    short.git(&["update-server-info"]);
    // A server of plain files knows no protocol: it gives out no single commits.
    let plain = folder.clone();
    let web = Web::start(move |request| match request.path.strip_prefix("/plain/") {
        Some(path) => fs::read(plain.join(path)).map_or(Reply::status(404), Reply::of),
        None => request.git(&folder),
    });
    let text = format!(
        "FROM scratch\nADD {} /long/\nADD {}#main /plain/\nADD {}#{wanted} /commit/\n",
        web.url("/long.git"),
        web.url("/plain/short.git"),
        web.url("/plain/short.git"),
    );
    built_from(&context, &text, ["-o", "out"]);
    for (path, text) in [("long/a.txt", "long"), ("plain/a.txt", "short"), ("commit/a.txt", "short")] {
        assert_eq!(file(&context, &format!("out/{path}")), text, "{path}");
    }
}

/// Text that hardly packs.
fn noise(bytes: usize) -> String {
    let mut state = 1_u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + (state >> 57) as u8 % 90)
    };
    (0..bytes).map(next).collect()
}

#[test]
fn what_comes_from_outside_stays_within_the_limit() {
    let test = "what_comes_from_outside_stays_within_the_limit";
    let Some(mut context) = scene(test) else { return };
    let folder = context.folder().join("repositories");
    let Some(repository) = Repository::new(test, &folder, "large") else { return };
    let large = noise(6 << 20);
    repository.commit(&[("file", &large)]);
    let web = Web::start(move |request| match request.path.as_str() {
        "/file" => Reply::of(large.clone()),
        _ => request.git(&folder),
    });
    let (file, git) = (web.url("/file"), format!("{}#main", web.url("/large.git")));
    // The last has room for the repository or for its files.
    for (source, limits) in [(&file, &["5m"][..]), (&git, &["5m", "11m"])] {
        context.write("Dockerfile", format!("FROM busybox\nADD {source} /it/\n"));
        for max in limits {
            context.set("RBUILD_CACHE_MAX", max);
            let full = build(&context, ["-o", "out"]);
            full.assert_code(1);
            let told = full.stderr.contains("(`cache.max`)") && full.stderr.contains("more are needed");
            assert!(told, "{source} in {max}: {full}");
        }
        context.set("RBUILD_CACHE_MAX", "24m");
        built(&context, ["-o", "out"]);
    }
    assert_sound(&context);
}

#[test]
fn a_build_that_waits_for_a_server_ends_with_the_first_signal() {
    let Some(context) = scene("a_build_that_waits_for_a_server_ends_with_the_first_signal") else { return };
    let (asked, waiting) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let held = Mutex::new((asked, released));
    let web = Web::start(move |_| {
        let held = held.lock().unwrap();
        held.0.send(()).unwrap();
        // Until the test is over.
        let _ = held.1.recv();
        Reply::status(500)
    });
    for path in ["/file", "/repository.git"] {
        context.write("Dockerfile", format!("FROM scratch\nADD {} /\n", web.url(path)));
        let running = context.rbuild(["build", "--progress", "plain", "."]).start();
        waiting.recv().unwrap();
        running.signal(rustix::process::Signal::INT);
        let ended = running.wait();
        assert_eq!(ended.status.code(), Some(130), "{}", ended.stderr);
        release.send(()).unwrap();
        assert_clean(&context);
    }
}
