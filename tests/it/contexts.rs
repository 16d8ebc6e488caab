//! Contexts that are no folders: streams, repositories, URLs, and named ones of every kind.

use std::process::Command;

use rbuild_testkit::context::{Output, TestContext};
use rbuild_testkit::web::{Reply, Repository, Web};

use crate::scene::{built_from, file, scene};

/// Packs a folder of the project.
fn tar(context: &TestContext, how: &str, folder: &str) -> Vec<u8> {
    let output = Command::new("tar")
        .args(["--owner=7", "--group=8", "--numeric-owner", "-C", folder, how, "-", "."])
        .current_dir(context.project())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

fn rbuild(context: &TestContext, arguments: &[&str], input: impl Into<Vec<u8>>) -> Output {
    context.rbuild(arguments.iter().copied()).input(input).run()
}

#[test]
fn a_stream_is_an_archive_or_a_dockerfile() {
    let Some(context) = scene("a_stream_is_an_archive_or_a_dockerfile") else { return };
    context.write("in/Dockerfile", "FROM busybox\nCOPY . /c/\nRUN stat -c '%u:%g %n' /c/a > /owner\n");
    context.write("in/other", "FROM scratch\nCOPY a /other\n");
    context.write("in/a", "text");
    context.write("in/.dockerignore", "a\n");
    for how in ["-cf", "-czf"] {
        let archive = tar(&context, how, "in");
        rbuild(&context, &["build", "-o", "out", "-"], archive.clone()).assert_success();
        assert_eq!(file(&context, "out/c/a"), "text", "ignore files are for folders");
        assert_eq!(file(&context, "out/owner"), "7:8 /c/a\n", "an archive says whom its files belong to");
        rbuild(&context, &["build", "-f", "other", "-o", "out", "-"], archive).assert_success();
        assert_eq!(file(&context, "out/other"), "text");
    }
    rbuild(&context, &["build", "-o", "plain", "-"], "FROM scratch\nCOPY <<E /e\nhi\nE\n").assert_success();
    assert_eq!(file(&context, "plain/e"), "hi\n");
    let nothing = rbuild(&context, &["build", "-"], "FROM scratch\nCOPY a /\n");
    nothing.assert_code(1);
    assert!(nothing.stderr.contains("not found"), "{nothing}");
    let both = rbuild(&context, &["build", "-f", "other", "-"], "FROM scratch\n");
    both.assert_code(1);
    assert!(both.stderr.contains("it is no archive, and another Dockerfile is named"), "{both}");
    let binary = rbuild(&context, &["build", "-"], vec![0xff; 100]);
    binary.assert_code(1);
    assert!(binary.stderr.contains("neither an archive nor a Dockerfile"), "{binary}");
    let missing = rbuild(&context, &["build", "-f", "no", "-"], tar(&context, "-cf", "in"));
    missing.assert_code(1);
    assert!(missing.stderr.contains("open no: no such file or directory"), "{missing}");
    // The Dockerfile alone may come from the stream.
    rbuild(&context, &["build", "-f", "-", "-o", "out", "in"], "FROM scratch\nCOPY other /o\n")
        .assert_success();
    assert!(file(&context, "out/o").starts_with("FROM"));
}

#[test]
fn an_archive_stays_in_its_folder() {
    let Some(context) = scene("an_archive_stays_in_its_folder") else { return };
    context.write("in/Dockerfile", "FROM scratch\nCOPY . /\n");
    context.write("in/x", "evil");
    for evil in ["../../evil", "/../evil"] {
        let archive = Command::new("tar")
            .args(["-C", "in", "-P", "-cf", "-", &format!("--transform=s,^x$,{evil},"), "Dockerfile", "x"])
            .current_dir(context.project())
            .output()
            .unwrap()
            .stdout;
        let refused = rbuild(&context, &["build", "-"], archive);
        refused.assert_code(1);
        assert!(refused.stderr.contains("evil"), "{refused}");
    }
}

#[test]
fn a_repository_is_a_context() {
    const TEST: &str = "a_repository_is_a_context";
    let Some(context) = scene(TEST) else { return };
    let folder = context.folder().join("repositories");
    let Some(app) = Repository::new(TEST, &folder, "app") else { return };
    app.commit(&[
        ("Dockerfile", "FROM scratch\nCOPY . /\n"),
        ("a.txt", "one"),
        (".dockerignore", "a.txt\n"),
        ("sub/Dockerfile", "FROM scratch\nCOPY s.txt /\n"),
        ("sub/s.txt", "sub"),
        ("sub/other", "FROM scratch\nCOPY s.txt /other\nARG SOURCE_DATE_EPOCH\nADD --chmod=600 s.txt /t\n"),
    ]);
    app.git(&["branch", "old"]);
    app.commit(&[("a.txt", "two")]);
    let web = Web::start(move |request| request.git(&folder));
    let url = web.url("/app.git");
    let built = |arguments: &[&str], input: &str| {
        let mut all = vec!["build", "-o", "out"];
        all.extend(arguments);
        let output = rbuild(&context, &all, input);
        output.assert_success();
        output
    };
    built(&[&url], "");
    assert_eq!(file(&context, "out/a.txt"), "two", "ignore files are for folders");
    assert!(!context.project().join("out/.git").exists());
    built(&[&format!("{url}#old")], "");
    assert_eq!(file(&context, "out/a.txt"), "one");
    built(&[&format!("{url}#old:sub")], "");
    assert_eq!(file(&context, "out/s.txt"), "sub");
    built(&["-f", "other", &format!("{url}#:sub")], "");
    assert_eq!(file(&context, "out/other"), "sub");
    built(&["-f", "-", &url], "FROM scratch\nCOPY sub/s.txt /given\n");
    assert_eq!(file(&context, "out/given"), "sub");
    built(&["--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1", &url], "");
    assert!(context.project().join("out/.git/HEAD").exists());
    let arguments = ["-f", "other", "-t", "dated", "--load", "--build-arg", "SOURCE_DATE_EPOCH=context"];
    built(&[&arguments[..], &[&format!("{url}#:sub")]].concat(), "");
    let by_variable = context.rbuild(["build", "-f", "other", "-t", "again", &format!("{url}#:sub")]);
    by_variable.env("SOURCE_DATE_EPOCH", "context").run().assert_success();
    for name in ["dated", "again"] {
        let created = context.rbuild(["inspect", "--format", "{{json .Created}}", name]).run();
        assert_eq!(created.raw_stdout, b"\"2023-11-14T22:13:20Z\"\n", "{name}: the time of the commit");
    }
    // All of it is sent, whatever an ignore file says.
    let told = |arguments: &[&str]| {
        let output = rbuild(&context, arguments, "");
        output.assert_success();
        output.stdout
    };
    let files = ".dockerignore\nDockerfile\na.txt\nsub/Dockerfile\nsub/other\nsub/s.txt\n";
    assert_eq!(told(&["context", "ls", &url]), files);
    let sizes = told(&["context", "ls", "--sizes", &format!("{url}#:sub")]);
    assert!(sizes.contains(" 3B s.txt\n") && sizes.ends_with(" in 3 files\n"), "{sizes}");
    let sent = "sent, as all is that comes from elsewhere: ignore files are for folders";
    assert_eq!(
        told(&["context", "why", "--context", &url, "a.txt", "sub", "nope/x"]),
        format!("a.txt: {sent}\nsub: {sent}\nnope/x: {sent} (there is no such file)\n")
    );
    let refused = rbuild(&context, &["context", "ls", "-f", "Dockerfile", &url], "");
    refused.assert_code(125);
    assert!(refused.stderr.contains("`--file` says whose ignore file counts"), "{refused}");
    let missing = rbuild(&context, &["build", &format!("{url}#nope")], "");
    missing.assert_code(1);
    assert!(missing.stderr.contains("failed to load") && missing.stderr.contains("ref nope"), "{missing}");
}

#[test]
fn what_is_behind_a_url_is_a_context_or_a_dockerfile() {
    let Some(context) = scene("what_is_behind_a_url_is_a_context_or_a_dockerfile") else { return };
    context.write("in/Dockerfile", "FROM scratch\nCOPY a /\n");
    context.write("in/a", "text");
    std::fs::create_dir(context.project().join("in/empty")).unwrap();
    let archive = tar(&context, "-czf", "in");
    let packed = archive.clone();
    let web = Web::start(move |request| match request.path.as_str() {
        "/archive" => Reply::of(archive.clone()),
        "/text" => Reply::of("FROM scratch\nCOPY . /x\n"),
        "/copy" => Reply::of("FROM scratch\nCOPY a /copied\n"),
        _ => Reply::status(404),
    });
    let built = |arguments: &[&str]| {
        let mut all = vec!["build", "-o", "out"];
        all.extend(arguments);
        rbuild(&context, &all, "").assert_success();
    };
    built(&[&web.url("/archive")]);
    assert_eq!(file(&context, "out/a"), "text");
    built(&[&web.url("/text")]);
    assert_eq!(file(&context, "out/x/context"), "FROM scratch\nCOPY . /x\n");
    built(&["-f", &web.url("/copy"), "in"]);
    assert_eq!(file(&context, "out/copied"), "text");
    let listed = |arguments: &[&str], input: &[u8]| {
        let output = context.rbuild([&["context", "ls"], arguments].concat()).input(input.to_vec()).run();
        output.assert_success();
        output.stdout
    };
    assert_eq!(listed(&[&web.url("/archive")], b""), "Dockerfile\na\nempty/\n");
    assert_eq!(listed(&[&web.url("/text")], b""), "context\n");
    assert_eq!(listed(&["-"], &packed), "Dockerfile\na\nempty/\n");
    assert_eq!(listed(&["-"], b"FROM scratch\n"), "");
    let image = rbuild(&context, &["context", "ls", "docker-image://busybox"], "");
    image.assert_code(125);
    assert!(image.stderr.contains("cannot be the main context"), "{image}");
    let missing = rbuild(&context, &["build", &web.url("/none")], "");
    missing.assert_code(1);
    assert!(missing.stderr.contains("invalid response status 404"), "{missing}");
}

#[test]
fn contexts_of_every_kind_have_names() {
    const TEST: &str = "contexts_of_every_kind_have_names";
    let Some(context) = scene(TEST) else { return };
    let folder = context.folder().join("repositories");
    let Some(app) = Repository::new(TEST, &folder, "app") else { return };
    app.commit(&[("g/f", "repository")]);
    let web = Web::start(move |request| match request.path.as_str() {
        "/file" => Reply::of("file"),
        _ => request.git(&folder),
    });
    context.write("lib/f", "folder");
    built_from(
        &context,
        "FROM scratch\nCOPY <<E /f\nlayout\nE\n",
        ["-t", "app:1", "-o", "type=oci,dest=l.tar"],
    );
    let layout = context.project().join("layout");
    std::fs::create_dir(&layout).unwrap();
    let unpacked =
        Command::new("tar").arg("-C").arg(&layout).arg("-xf").arg(context.project().join("l.tar")).status();
    assert!(unpacked.unwrap().success());
    let text = "FROM layout\nCOPY --from=git /f /git\nCOPY --from=web /context /web\nCOPY --from=dir /f /dir\n\
                COPY --from=base /bin/busybox /b\n";
    let git = format!("git={}#main:g", web.url("/app.git"));
    let file_url = format!("web={}", web.url("/file"));
    let named = [
        "dir=lib",
        "layout=oci-layout://layout:1",
        "base=docker-image://busybox",
        "unused=oci-layout://layout:none",
        "broken=git://127.0.0.1:1/none.git",
        &git,
        &file_url,
    ];
    let mut arguments = vec!["build", "-o", "out", "."];
    for one in &named {
        arguments.extend(["--build-context", one]);
    }
    context.write("Dockerfile", text);
    rbuild(&context, &arguments, "").assert_success();
    for (path, text) in [("f", "layout\n"), ("git", "repository"), ("web", "file"), ("dir", "folder")] {
        assert_eq!(file(&context, &format!("out/{path}")), text, "{path}");
    }
    assert!(context.project().join("out/b").exists());
    context.write("Dockerfile", "FROM unused\n");
    let missing = rbuild(&context, &arguments, "");
    missing.assert_code(1);
    assert!(missing.stderr.contains("there is no image \"none\" among [1]"), "{missing}");
    for (value, why) in [
        ("x=target:other", "targets are named in bake files only"),
        ("x=-", "only the main context comes from standard input"),
        ("x=oci-layout://d@sha256:1", "not a"),
    ] {
        let refused = rbuild(&context, &["build", "--build-context", value, "."], "");
        assert_ne!(refused.status.code(), Some(0), "{refused}");
        assert!(refused.stderr.contains(why), "{value}: {refused}");
    }
    let refused = rbuild(&context, &["build", "docker-image://busybox"], "");
    assert!(refused.stderr.contains("cannot be the main context"), "{refused}");
}
