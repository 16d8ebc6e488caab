//! What the store holds, why steps ran, and how room is kept and given back.

use std::process::Command;

use rbuild_testkit::context::TestContext;
use serde_json::Value;

use crate::scene::{assert_sound, build, built, built_from, scene, state};

/// Runs a command that succeeds and returns what it printed.
fn done<const N: usize>(context: &TestContext, arguments: [&str; N]) -> String {
    let output = context.rbuild(arguments).run();
    output.assert_success();
    String::from_utf8(output.raw_stdout).unwrap()
}

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What `du -s` counts below the root of the store, without containers and volumes.
fn on_disk(context: &TestContext) -> u64 {
    let counted = Command::new("du")
        .args(["-s", "--block-size=1", "--exclude=containers", "--exclude=volumes"])
        .arg(context.root())
        .output()
        .unwrap();
    String::from_utf8(counted.stdout).unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

const DOCKERFILE: &str = "\
FROM busybox
ARG VERSION
ARG TOKEN
COPY src /src
RUN --mount=type=cache,target=/c,id=stuff dd if=/dev/zero of=/c/made bs=1k count=2000 && echo $VERSION > /v
RUN cat /src/deep/one > /one
";

#[test]
fn why_names_the_file_and_the_value_and_prune_leaves_next_to_nothing() {
    let test = "why_names_the_file_and_the_value_and_prune_leaves_next_to_nothing";
    let Some(context) = scene(test) else { return };
    context.write("src/deep/one", "1");
    context.write("src/two", "2");
    let project = context.project();
    let project = project.to_str().unwrap();
    let first = ["-t", "x", "--build-arg", "VERSION=1", "--build-arg", "TOKEN=s3cr3t"];
    built_from(&context, DOCKERFILE, first);
    context.write("src/deep/one", "11");
    let second = ["-t", "x", "--build-arg", "VERSION=2", "--build-arg", "TOKEN=0ther"];
    let again = built(&context, second);
    assert_eq!(state(&again, "COPY src /src"), "DONE", "{again}");

    let why = done(&context, ["why", "--context", project]);
    let lines: Vec<&str> = why.lines().map(str::trim_end).collect();
    assert!(lines[0].starts_with("[2/4] COPY src /src: ran"), "{why}");
    assert_eq!(lines[1], "  src/deep/one changed (1B -> 2B)", "{why}");
    assert!(lines[2].contains("RUN --mount=type=cache") && lines[2].contains("echo $VERSION"), "{why}");
    assert!(lines.contains(&"  variable VERSION: `1` -> `2`"), "{why}");
    assert!(lines.contains(&"  variable TOKEN has another value"), "{why}");
    assert!(lines.contains(&"  the result of `[2/4] COPY src /src` is another"), "{why}");
    assert_eq!(lines.last(), Some(&"3 steps ran, 0 were cached"), "{why}");
    let one = rows(&done(&context, ["why", "--context", project, "--format", "json", "2/4"]));
    assert_eq!((one.len(), &one[0]["Reasons"][0]["Path"]), (1, &Value::from("src/deep/one")), "{one:?}");
    for subject in [project, "x"] {
        let told = done(&context, ["why", subject, "2/4"]);
        assert!(told.starts_with(lines[0]) && told.lines().count() == 3, "{subject}: {told}");
    }
    let nowhere = context.rbuild(["why", "--context", "/nowhere"]).run();
    nowhere.assert_code(1);
    assert!(nowhere.stderr.contains("hint: `rbuild why FOLDER` knows of: [PROJECT]\n"), "{nowhere}");
    let all = done(&context, ["why", "--context", project, "--last", "--format", "json"]);
    assert!(!all.contains("s3cr3t") && !all.contains("0ther"), "{all}");
    let unknown = context.rbuild(["why", "--context", project, "RUN nothing"]).run();
    unknown.assert_code(1);
    assert!(unknown.stderr.contains("has no step like `RUN nothing`"), "{unknown}");

    // Every byte is somebody's. What is promoted meanwhile moves a few of them.
    let counted: u64 = rows(&done(&context, ["du", "--format", "json"]))
        .iter()
        .map(|row| row["Bytes"].as_u64().unwrap())
        .sum();
    let found = on_disk(&context);
    assert!(counted.abs_diff(found) <= found / 100, "{counted} of {found}");
    let mounts = rows(&done(&context, ["cache", "mounts", "--format", "json"]));
    assert_eq!(
        (mounts.len(), &mounts[0]["CacheID"], &mounts[0]["Target"]),
        (1, &"stuff".into(), &"/c".into())
    );
    assert!(mounts[0]["Bytes"].as_u64().unwrap() >= 2_000_000, "{mounts:?}");
    let caches =
        rows(&done(&context, ["cache", "ls", "--filter", "type=exec.cachemount", "--format", "json"]));
    assert_eq!((caches.len(), &caches[0]["ID"]), (1, &mounts[0]["ID"]), "{caches:?}");
    done(&context, ["prune", "-f", "--filter", "type=exec.cachemount"]);
    assert_eq!(done(&context, ["cache", "mounts", "--format", "json"]), "");
    let kept = built(&context, second);
    assert_eq!(state(&kept, "COPY src /src"), "CACHED", "nothing else went: {kept}");
    built_from(&context, "FROM busybox\nRUN echo extra > /extra\n", ["-o", "out"]);
    let part = rows(&done(&context, ["du", "--filter", "description=echo extra", "--format", "json"]));
    assert_eq!((part.len(), &part[0]["Shared"]), (1, &false.into()), "{part:?}");
    let id = part[0]["ID"].as_str().unwrap();
    assert_eq!(done(&context, ["cache", "rm", &id[..12]]).trim(), id);
    let part = rows(&done(&context, ["du", "--filter", "description=cat /src/deep/one", "--format", "json"]));
    let refused = context.rbuild(["cache", "rm", part[0]["ID"].as_str().unwrap()]).run();
    refused.assert_code(1);
    assert!(refused.stderr.contains("is part of an image"), "{refused}");

    // A step that fails is laid beside its last success.
    context.write("Dockerfile", DOCKERFILE);
    std::fs::remove_file(context.project().join("src/deep/one")).unwrap();
    context.write("src/deep/other", "1");
    build(&context, second).assert_code(1);
    let why = done(&context, ["why", "--context", project, "4/4"]);
    let lines: Vec<&str> = why.lines().map(str::trim_end).collect();
    assert_eq!(lines[0], "[4/4] RUN cat /src/deep/one > /one: failed", "{why}");
    assert!(lines[1].starts_with("  the result of `[3/4] RUN --mount=type=cache"), "{why}");
    assert_eq!(lines[2], "2 steps ran, 0 were cached, and the build failed", "{why}");

    // What is told to be reclaimable is what goes.
    let counted = |field: &str| -> u64 {
        let rows = rows(&done(&context, ["du", "--format", "json"]));
        let pruned = rows.iter().filter(|row| row["Type"] != "Store");
        pruned.map(|row| row[field].as_u64().unwrap()).sum()
    };
    let (told, before) = (counted("ReclaimableBytes"), counted("Bytes"));
    done(&context, ["prune", "--force"]);
    let freed = before - counted("Bytes");
    assert!(told > 2_000_000 && told.abs_diff(freed) <= 100_000, "{told} were told, {freed} were freed");

    done(&context, ["prune", "--all", "--force"]);
    assert!(on_disk(&context) < 1_000_000, "{} bytes are left", on_disk(&context));
    assert_sound(&context);
}

#[test]
fn the_cache_stays_within_its_limit() {
    let Some(mut context) = scene("the_cache_stays_within_its_limit") else { return };
    let dd = |name: &str| format!("FROM busybox\nRUN dd if=/dev/urandom of=/{name} bs=1k count=3000\n");
    context.set("RBUILD_CACHE_MAX", "8m");
    for name in ["one", "two", "three", "four"] {
        built_from(&context, &dd(name), ["-o", "out"]);
        let used: u64 = rows(&done(&context, ["cache", "ls", "--filter", "private", "--format", "json"]))
            .iter()
            .map(|row| row["Bytes"].as_u64().unwrap())
            .sum();
        assert!(used <= 8 << 20, "{used} bytes after {name}");
    }
    let last = built(&context, ["-o", "out"]);
    assert_eq!(state(&last, "RUN dd"), "CACHED", "{last}");
    context.set("RBUILD_CACHE_MAX", "2m");
    context.write("Dockerfile", dd("five"));
    let full = build(&context, ["-o", "out"]);
    full.assert_code(1);
    assert!(full.stderr.contains("images and the cache may take 2.0 MiB (`cache.max`)"), "{full}");
    for told in ["(image busybox:latest ", "hint: remove images with `rbuild rmi`"] {
        assert!(full.stderr.contains(told), "{full}");
    }
    // An image whose name moved on makes room for the next; one with a name does not, nor for what comes by other roads.
    context.set("RBUILD_CACHE_MAX", "8m");
    for name in ["six", "seven", "eight"] {
        built_from(&context, &dd(name), ["-t", "app"]);
    }
    let again = |name: &str| {
        context.write("Dockerfile", dd(name));
        build(&context, ["-t", name])
    };
    again("nine").assert_code(0);
    let full = again("ten");
    full.assert_code(1);
    assert!(
        full.stderr.contains("image app:latest ") && full.stderr.contains("image nine:latest "),
        "{full}"
    );
    context.write("big", "x".repeat(4 << 20));
    let mut tar = std::process::Command::new("tar");
    tar.current_dir(context.project()).args(["-cf", "big.tar", "big"]);
    assert!(tar.status().unwrap().success());
    let full = context.rbuild(["import", "big.tar", "big"]).run();
    full.assert_code(1);
    assert!(full.stderr.contains("cannot reserve room for the tar to be imported"), "{full}");
    assert_sound(&context);
}
