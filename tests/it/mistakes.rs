//! Bad input: each has a message with its place, a status, and leaves nothing half done.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use rbuild_testkit::context::{Output, TestContext};
use rbuild_testkit::mistakes::{Part, mistakes};

use crate::scene::{assert_clean, built, images, scene, state};

/// A build that has to fail, name its reasons, and leave no image and no file.
#[track_caller]
fn refused<const N: usize>(
    context: &TestContext,
    arguments: [&str; N],
    code: i32,
    reasons: &[&str],
) -> Output {
    let mut all = vec!["-t", "bad", "--iidfile", "id"];
    all.extend(arguments);
    let mut line = vec!["build", "--progress", "plain"];
    line.extend(all);
    line.push(".");
    let output = context.rbuild(line).run();
    output.assert_code(code);
    for reason in reasons {
        assert!(output.stderr.contains(reason), "no {reason:?} in: {output}");
    }
    assert!(!output.stderr.contains("panicked"), "{output}");
    assert_eq!(images(context), "busybox:latest", "{output}");
    assert!(!context.project().join("id").exists(), "an id of nothing");
    assert_clean(context);
    output
}

#[test]
fn dockerfiles_that_cannot_be_built() {
    let Some(context) = scene("dockerfiles_that_cannot_be_built") else { return };
    refused(&context, [], 1, &["Dockerfile"]);
    refused(&context, ["-f", "no/such/file"], 1, &["no/such/file"]);
    let cases: &[(&str, &[&str])] = &[
        ("", &["Dockerfile", "empty"]),
        ("# only a comment\n\n", &["Dockerfile"]),
        ("RUN true\n", &["Dockerfile:1", "FROM"]),
        ("FROM busybox\nRNU true\n", &["Dockerfile:2", "RNU", "RUN"]),
        ("FROM busybox\nCOPY a\n", &["Dockerfile:2", "COPY requires at least two arguments"]),
        ("FROM busybox\nRUN --muont=type=cache,target=/c true\n", &["Dockerfile:2", "muont", "mount"]),
        ("FROM busybox\nRUN --mount=type=cahce,target=/c true\n", &["Dockerfile:2", "cahce", "cache"]),
        ("FROM busybox\nCOPY --from=nope /a /a\n", &["Dockerfile:2", "nope"]),
        ("FROM 127.0.0.1:1/b AS a\nFROM a AS b\n", &["Dockerfile:1", "127.0.0.1:1"]),
        ("FROM busybox AS a\nCOPY --from=c /x /x\nFROM a AS c\n", &["Dockerfile:1", "circular"]),
        ("FROM busybox AS a\nCOPY --from=a /x /x\n", &["Dockerfile:", "circular"]),
        ("FROM busybox AS a\nCOPY --from=1 /x /x\nFROM a\n", &["Dockerfile:"]),
        ("FROM ${NOTHING}\n", &["Dockerfile:1"]),
        (
            "FROM busybox\nCOPY missing.txt /\n",
            &["Dockerfile:2", "missing.txt", "not found", "hint: paths begin"],
        ),
        ("FROM busybox\nCOPY ../outside /\n", &["Dockerfile:2", "outside"]),
        ("FROM busybox\nCOPY --chmod=9 Dockerfile /\n", &["Dockerfile:2", "chmod"]),
        ("FROM busybox\nRUN <<EOF\nnever ended\n", &["Dockerfile:2", "heredoc"]),
        ("FROM busybox\nENV ${x\n", &["Dockerfile:2"]),
        (
            "FROM busybox\nRUN exit 3\nRUN true\n",
            &["Dockerfile:2", "process \"/bin/sh -c exit 3\" did not complete successfully: exit code: 3"],
        ),
        ("FROM busybox\nRUN [\"/no/such/program\"]\n", &["Dockerfile:2", "/no/such/program"]),
        ("FROM busybox\nUSER nobody-knows\nRUN true\n", &["Dockerfile:", "nobody-knows"]),
        ("FROM busybox\nWORKDIR /etc/passwd/x\n", &["Dockerfile:2", "/etc/passwd"]),
        ("FROM busybox\0\nRUN true\n", &["Dockerfile:1"]),
    ];
    for (text, reasons) in cases {
        context.write("Dockerfile", text);
        refused(&context, [], 1, reasons);
    }
    let path = context.project().join("Dockerfile");
    fs::write(&path, b"FROM busybox\n# caf\xe9\nRUN echo \xff\xfe\n").unwrap();
    refused(&context, [], 1, &["Dockerfile:3", "the byte 0xff is not UTF-8"]);
    let comments = |bytes: usize| format!("# {}\n", "x".repeat(98)).repeat(bytes / 101);
    fs::write(&path, comments(10 << 20) + "FROM busybox\nRNU true\n").unwrap();
    refused(&context, [], 1, &["did you mean RUN?"]);
    fs::write(&path, comments(17 << 20)).unwrap();
    refused(&context, [], 1, &["has more than 16777216 bytes"]);
}

#[test]
fn every_mistake_that_a_build_finds_is_told_with_its_place() {
    let Some(context) = scene("every_mistake_that_a_build_finds_is_told_with_its_place") else { return };
    fs::create_dir(context.project().join("d")).unwrap();
    for (path, text) in [("f", "f"), ("d/x", "x"), ("secret", "s"), (".dockerignore", "secret\n")] {
        context.write(path, text);
    }
    for row in mistakes(Part::Built) {
        context.write("Dockerfile", &row.text);
        // Some are of no line.
        let place = if row.place == "-" { String::new() } else { format!("Dockerfile:{}", row.place) };
        refused(&context, [], 1, &[&place, row.said()]);
    }
}

#[test]
fn every_mistake_with_a_test_of_its_own_has_it() {
    for row in mistakes(Part::Shown) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&row.text);
        let file = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (_, test) = file.split_once(&format!("fn {}(", row.place)).unwrap_or_else(|| panic!("{row:?}"));
        let test = test.split_once("\n}\n").map_or(test, |(test, _)| test);
        assert!(test.contains(row.said()), "{row:?}");
    }
}

#[test]
fn things_that_are_no_dockerfile() {
    let Some(context) = scene("things_that_are_no_dockerfile") else { return };
    let path = context.project().join("Dockerfile");
    fs::create_dir(&path).unwrap();
    refused(&context, [], 1, &["Dockerfile"]);
    fs::remove_dir(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    refused(&context, [], 1, &["Dockerfile"]);
    fs::remove_file(&path).unwrap();
    File::create(&path).unwrap().set_len(5 << 30).unwrap();
    refused(&context, [], 1, &["Dockerfile"]);
    fs::remove_file(&path).unwrap();
    fs::write(&path, vec![0; 4096]).unwrap();
    refused(&context, [], 1, &["Dockerfile"]);
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/shadow", &path).unwrap();
    let output = refused(&context, [], 1, &["Dockerfile"]);
    assert!(!output.stderr.contains("root:"), "nothing of the file is told: {output}");
    fs::remove_file(&path).unwrap();
    let nowhere = context.rbuild(["build", "no-such-folder"]).run();
    nowhere.assert_code(1);
    assert!(nowhere.stderr.contains("no-such-folder"), "{nowhere}");
    context.write("file", "text");
    let no_folder = context.rbuild(["build", "file"]).run();
    no_folder.assert_code(1);
    assert!(no_folder.stderr.contains("file"), "{no_folder}");
    assert_clean(&context);
}

#[test]
fn flags_that_are_wrong() {
    let Some(context) = scene("flags_that_are_wrong") else { return };
    context.write("Dockerfile", "FROM busybox\nRUN true\n");
    refused(&context, ["--no-cahce"], 125, &["--no-cahce", "--no-cache"]);
    refused(&context, ["--build-arg", "=x"], 125, &["build-arg"]);
    let several = |value| ["--platform", "linux/amd64,linux/arm64", "--build-arg", value];
    refused(
        &context,
        several("BUILDKIT_MULTI_PLATFORM=x"),
        125,
        &["invalid boolean value for multi-platform: x"],
    );
    refused(
        &context,
        several("BUILDKIT_MULTI_PLATFORM=0"),
        125,
        &["conflicting config: returning multiple target platforms is not allowed"],
    );
    refused(&context, ["--target", "nope"], 1, &["nope"]);
    refused(&context, ["-o", "type=nope,dest=x"], 125, &["nope"]);
    refused(&context, ["-o", "type=oci,dset=x"], 125, &["dset", "dest"]);
    for option in
        ["--output=type=oci,dest=no/x.tar", "--output=type=tar,dest=no/x.tar", "--metadata-file=no/x"]
    {
        let early = refused(&context, [option], 1, &["no/x", "there is no folder `no`"]);
        assert!(!early.stderr.contains("RUN"), "{early}");
    }
    refused(&context, ["--secret", "id=a,src=not-there"], 1, &["not-there"]);
    refused(&context, ["-t", "UPPER:case:tag"], 125, &["UPPER:case:tag"]);
    refused(&context, ["--platform", "nope/nope/nope/nope"], 125, &["nope"]);
    // What is wrong about containers has the status of what is wrong about containers.
    for (line, code, reason) in [
        (&["kill", "-s", "FOO", "x"][..], 1, "invalid signal: FOO"),
        (&["stop", "-s", "FOO", "x"], 1, "No such container: x"),
        (&["update", "--restart", "foo", "x"], 1, "unknown policy 'foo'"),
        (&["update", "--cpus", "100000", "x"], 1, "range of CPUs is from 0.01 to "),
        (&["run", "--rm", "--cpus", "100000", "busybox", "true"], 125, "range of CPUs is from 0.01 to "),
        (
            &["create", "--memory-reservation", "1k", "busybox", "true"],
            1,
            "Minimum memory reservation allowed is 6MB",
        ),
    ] {
        let output = context.rbuild(line).run();
        output.assert_code(code);
        assert!(output.stderr.contains(reason), "{output}");
    }
    assert_clean(&context);
}

#[test]
fn an_image_that_is_nowhere() {
    let Some(context) = scene("an_image_that_is_nowhere") else { return };
    // Ports of this machine that nobody listens at: nothing leaves it.
    let closed = "http://127.0.0.1:1";
    context.write(
        "Dockerfile",
        "FROM busybox AS b\nRUN true\nFROM 127.0.0.1:1/some/where:1\nCOPY --from=b /bin /bin\n",
    );
    refused(&context, [], 1, &["Dockerfile:3", "127.0.0.1:1", "hint: check the address"]);
    fs::create_dir_all(context.home().join(".config/rbuild")).unwrap();
    let config = format!("[registry.\"docker.io\"]\nmirrors = [\"{closed}\"]\n");
    fs::write(context.home().join(".config/rbuild/config.toml"), config).unwrap();
    context.write("Dockerfile", "FROM no-such-image:9\n");
    let output = context
        .rbuild(["build", "--progress", "plain", "-t", "bad", "."])
        .env("HTTPS_PROXY", closed)
        .env("HTTP_PROXY", closed)
        .run();
    output.assert_code(1);
    for reason in ["Dockerfile:1", "no-such-image:9", "127.0.0.1:1", "docker.io"] {
        assert!(output.stderr.contains(reason), "{reason}: {output}");
    }
    let run = context.rbuild(["run", "--rm", "no-such-image"]).env("HTTPS_PROXY", closed).run();
    run.assert_code(125);
    assert!(run.stderr.contains("no-such-image"), "{run}");
    assert_clean(&context);
}

#[test]
fn a_step_killed_for_memory() {
    let Some(context) = scene("a_step_killed_for_memory") else { return };
    context.write(
        "Dockerfile",
        "FROM busybox\nRUN dd if=/dev/zero of=/dev/null bs=300M count=1; echo on; exit 3\n",
    );
    let mut expected =
        vec!["Dockerfile:2", "exit code: 3", "memory ran out", "the limit of the step is 24 MiB"];
    // Only the kernel's log knows the process.
    if std::fs::File::open("/dev/kmsg").is_ok() {
        expected.push("killed `dd`");
    }
    refused(&context, ["--memory", "24m"], 1, &expected);
    refused(&context, ["--memory", "1m"], 125, &["Minimum memory limit allowed is 6MB"]);
    refused(&context, ["--memory-swap", "1g"], 125, &["--memory-swap", "--memory"]);
    refused(&context, ["-m", "2g", "--memory-swap", "1g"], 125, &["--memory-swap", "below"]);
    // Limits are in no key.
    context.write("Dockerfile", "FROM busybox\nRUN true\n");
    built(
        &context,
        ["-m", "1g", "-c", "512", "--cpu-quota", "50000", "--cpu-period", "100000", "--cpuset-cpus", "0"],
    );
    assert_eq!(state(&built(&context, []), "RUN true"), "CACHED");
    assert_clean(&context);
}
