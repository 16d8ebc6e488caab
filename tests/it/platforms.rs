//! Builds for several platforms: one graph, an index of images, folders for files.

use std::process::Command;

use rbuild_testkit::registry::Registry;

use crate::others::{has, ran};
use crate::scene::{build, built, built_from, file, images, scene, steps};

/// A Dockerfile whose first stage is the same for all platforms, and whose second is not.
const CROSS: &str = "FROM --platform=$BUILDPLATFORM busybox AS tools\nRUN --network=none echo $((6 * 7)) > /answer\n\
                     FROM scratch\nARG TARGETPLATFORM\nCOPY --from=tools /answer /\nADD f /for-$TARGETPLATFORM\n";

#[test]
fn platforms_share_what_is_equal_and_become_one_name() {
    let Some(context) = scene("platforms_share_what_is_equal_and_become_one_name") else { return };
    context.write("f", "file");
    let output = built_from(
        &context,
        CROSS,
        ["--platform", "linux/arm64,linux/s390x", "-t", "app", "--iidfile", "id"],
    );
    let runs = steps(&output).iter().filter(|(name, _)| name.contains("RUN")).count();
    assert_eq!(runs, 1, "{output}");
    let adds = steps(&output).iter().filter(|(name, _)| name.contains("ADD f")).count();
    assert_eq!(adds, 2, "{output}");
    assert_eq!(images(&context), "app:latest busybox:latest");
    let rows = context.rbuild(["images", "--no-trunc", "--format", "{{.ID}}", "app"]).run();
    assert_eq!(rows.raw_stdout, [file(&context, "id").as_bytes(), b"\n"].concat(), "the id of the index");
    let inspect = |arguments: &[&str]| {
        let mut all = vec!["inspect", "--format", "{{.Architecture}}"];
        all.extend(arguments);
        context.rbuild(all).run()
    };
    assert_eq!(inspect(&["--platform", "linux/s390x", "app"]).stdout, "s390x\n");
    assert_eq!(inspect(&["--platform", "linux/arm64", "app"]).stdout, "arm64\n");
    let other = inspect(&["--platform", "linux/riscv64", "app"]);
    other.assert_code(1);
    assert!(other.stderr.contains("linux/riscv64 is not among [linux/arm64, linux/s390x]"), "{other}");

    // Another name, an archive with all of it, one with a part of it.
    context.rbuild(["tag", "app", "again:1"]).run().assert_success();
    let saved = context.rbuild(["save", "again:1"]).run();
    let index = String::from_utf8_lossy(&saved.raw_stdout).into_owned();
    assert!(index.contains("\"architecture\": \"arm64\"") && index.contains("\"architecture\": \"s390x\""));
    let saved = context.rbuild(["save", "--platform", "linux/s390x", "again:1"]).run();
    assert!(!String::from_utf8_lossy(&saved.raw_stdout).contains("\"architecture\": \"arm64\""));
    context.rbuild(["rmi", "app", "again:1"]).run().assert_success();
    assert_eq!(images(&context), "busybox:latest");
    context.rbuild(["images", "-aq"]).run().assert_success();
}

#[test]
fn files_of_platforms_go_to_folders_of_their_own() {
    let Some(context) = scene("files_of_platforms_go_to_folders_of_their_own") else { return };
    context.write("f", "file");
    let two = ["--platform", "linux/amd64,linux/arm/v7", "--platform", "linux/amd64"];
    let [first, second, third, fourth] = two;
    built_from(&context, CROSS, [first, second, third, fourth, "-o", "out"]);
    assert_eq!(file(&context, "out/linux_amd64/for-linux/amd64"), "file");
    assert_eq!(file(&context, "out/linux_arm_v7/for-linux/arm/v7"), "file");
    assert_eq!(file(&context, "out/linux_arm_v7/answer"), "42\n");
    let tar = built(&context, [first, second, "-o", "-"]);
    context.write("two.tar", &tar.raw_stdout);
    let listed =
        Command::new("tar").args(["-tf", "two.tar"]).current_dir(context.project()).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    for path in ["linux_amd64/", "linux_amd64/answer", "linux_arm_v7/for-linux/arm/v7"] {
        assert!(listed.lines().any(|line| line == path), "{path}: {listed}");
    }
    built(&context, ["-o", "type=local,dest=one,platform-split=true"]);
    built(&context, ["--build-arg", "BUILDKIT_MULTI_PLATFORM=1", "-o", "asked"]);
    for folder in ["one", "asked"] {
        assert_eq!(std::fs::read_dir(context.project().join(folder)).unwrap().count(), 1, "{folder}");
    }
    for (output, why) in [
        ("type=local,dest=x,platform-split=false", "type=local holds one platform, and 2 were built"),
        ("type=docker,dest=x.tar", "type=docker holds one platform, and 2 were built"),
    ] {
        let refused = build(&context, [first, second, "-o", output]);
        refused.assert_code(1);
        assert!(refused.stderr.contains(why), "{refused}");
    }
}

#[test]
fn an_oci_archive_of_platforms_holds_an_index() {
    let Some(context) = scene("an_oci_archive_of_platforms_holds_an_index") else { return };
    context.write("f", "file");
    let output = ["--platform", "linux/arm64,linux/s390x", "-t", "app:2", "-o", "type=oci,dest=app.tar"];
    built_from(&context, CROSS, output);
    let document = |path: &str| -> serde_json::Value {
        let tar = Command::new("tar")
            .args(["-xOf", "app.tar", path])
            .current_dir(context.project())
            .output()
            .unwrap();
        serde_json::from_slice(&tar.stdout).unwrap()
    };
    let top = document("index.json");
    let entry = &top["manifests"][0];
    assert_eq!(entry["mediaType"], "application/vnd.oci.image.index.v1+json");
    assert_eq!(entry["annotations"]["org.opencontainers.image.ref.name"], "2");
    let digest = entry["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let index = document(&format!("blobs/sha256/{digest}"));
    let platforms: Vec<_> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["platform"]["architecture"].as_str())
        .collect();
    assert_eq!(platforms, [Some("arm64"), Some("s390x")]);
}

#[test]
fn one_platform_stands_in_an_index_where_that_is_asked_for() {
    let name = "one_platform_stands_in_an_index_where_that_is_asked_for";
    let Some(context) = scene(name) else { return };
    let Some(registry) = Registry::start(name).filter(|_| has(name, "skopeo")) else { return };
    let app = format!("{}/app:1", registry.host());
    context.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let json = |path: &str| -> serde_json::Value { serde_json::from_str(&file(&context, path)).unwrap() };
    let document = |of: &serde_json::Value| {
        let digest = of["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        json(&format!("layout/blobs/sha256/{digest}"))
    };
    let remote = || -> serde_json::Value {
        let name = format!("docker://{app}");
        let text = ran(&context, "skopeo", ["inspect", "--raw", "--tls-verify=false", &name]);
        serde_json::from_str(&text).unwrap()
    };
    let index_type = "application/vnd.oci.image.index.v1+json";
    let listed = ["--build-arg", "BUILDKIT_MULTI_PLATFORM=1", "--annotation", "index:a=1"];
    let [arg, value, annotation, text] = listed;

    // One build, all that leaves.
    let (layout, pushed) = ("type=oci,dest=layout,tar=false", format!("type=registry,name={app}"));
    let (files, told) = ("type=local,dest=files", ["--metadata-file", "told.json"]);
    built(
        &context,
        [arg, value, annotation, text, "-o", layout, "-o", &pushed, "-o", files, told[0], told[1]],
    );
    let top = json("layout/index.json")["manifests"][0].clone();
    assert_eq!(top["mediaType"], index_type);
    let index = document(&top);
    assert_eq!(index["annotations"]["a"], "1", "{index}");
    let entries = index["manifests"].as_array().unwrap();
    assert_eq!(entries.len(), 1, "{index}");
    assert_eq!(entries[0]["platform"]["os"], "linux", "{index}");
    assert_eq!(document(&entries[0])["layers"].as_array().map(Vec::len), Some(1));
    assert_eq!(remote(), index);
    assert_eq!(json("told.json")["containerimage.digest"], top["digest"]);
    assert_eq!(std::fs::read_dir(context.project().join("files")).unwrap().count(), 1);

    // What is not kept, what is said beside it, and what comes without.
    let unkept = format!("type=image,push=true,store=false,name={app}");
    built(&context, [arg, value, "--provenance=mode=min,inline-only=true", "-o", &unkept]);
    assert_eq!(remote()["manifests"].as_array().map(Vec::len), Some(2), "{}", remote());
    built(&context, ["-o", "type=oci,dest=plain,tar=false"]);
    assert_ne!(json("plain/index.json")["manifests"][0]["mediaType"], index_type);

    let refused = build(&context, [arg, value, "-o", "type=docker,dest=x.tar"]);
    refused.assert_code(125);
    assert!(refused.stderr.contains("an index in an archive of `type=docker`"), "{refused}");
    assert!(!context.project().join("x.tar").exists());
    let refused = build(&context, [annotation, text, "-o", "type=oci,dest=x.tar"]);
    assert!(refused.stderr.contains("`a` is for an index"), "{refused}");
}

#[test]
fn a_program_for_another_processor_names_the_interpreter_that_is_missing() {
    let Some(context) = scene("a_program_for_another_processor_names_the_interpreter_that_is_missing") else {
        return;
    };
    if std::path::Path::new("/proc/sys/fs/binfmt_misc/qemu-s390x").exists() {
        rbuild_testkit::privilege::skipped("a_program_for_another_processor", "an interpreter is registered");
        return;
    }
    // The head of a program for s390x: 64 bits, big-endian, executable.
    let mut program =
        vec![0x7f, b'E', b'L', b'F', 2, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 22, 0, 0, 0, 1];
    program.resize(64, 0);
    context.write("program", program);
    context
        .write("Dockerfile", "FROM scratch\nCOPY --chmod=755 program /\nRUN --network=none [\"/program\"]\n");
    let output = build(&context, ["--platform", "linux/s390x"]);
    output.assert_code(1);
    assert!(output.stderr.contains("runs no programs for linux/s390x"), "{output}");
    assert!(output.stderr.contains("`qemu-s390x` in /proc/sys/fs/binfmt_misc"), "{output}");
}
