//! Caches that travel: what one store made, another finds, and fetches only what somebody reads.

use std::fs;
use std::path::{Path, PathBuf};

use rbuild_testkit::context::{Output, TestContext};
use rbuild_testkit::registry::Registry;

use crate::scene::{
    assert_clean, built, built_from, file, lines_in_cache_mounts, said, scene, state, states, steps,
};

/// Another store, on a machine that has never built anything, with the same project.
fn elsewhere(context: &TestContext) -> TestContext {
    let other = rbuild_testkit::context!();
    bring(context, &other, &["busybox"]);
    copy(&context.project(), &other.project());
    other
}

/// Brings images to another store as they are, with their times.
fn bring(from: &TestContext, to: &TestContext, images: &[&str]) {
    let saved = from.rbuild([&["save"], images].concat()).run();
    to.rbuild(["load"]).input(saved.assert_success().raw_stdout.clone()).run().assert_success();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What became of the step whose name begins with a text.
fn step(output: &Output, name: &str) -> String {
    let found: Vec<_> = steps(output).into_iter().filter(|(known, _)| known.starts_with(name)).collect();
    assert_eq!(found.len(), 1, "one step that begins with {name:?}: {found:?}\n{output}");
    found[0].1.clone()
}

/// Several stages: one whose result is copied from, one that nothing of the result needs again, one that is linked.
const DOCKERFILE: &str = "\
FROM busybox AS tools
RUN --mount=type=cache,target=/c echo ran >> /c/runs; echo tools > /tools; head -c 300000 /dev/zero > /ballast
FROM busybox AS compile
COPY --from=tools /tools /tools
COPY src /src
RUN --mount=type=cache,target=/c echo ran >> /c/runs; cat /src/a /tools > /out
FROM busybox
RUN echo fixed > /fixed
COPY --link extra /extra
COPY --from=compile /out /out
RUN --mount=type=cache,target=/c echo ran >> /c/runs; cat /out /extra /fixed > /all
";

fn project(context: &TestContext) {
    context.write("Dockerfile", DOCKERFILE);
    context.write("src/a", "one\n");
    context.write("extra", "more\n");
}

fn image_id(context: &TestContext, name: &str) -> String {
    said(context, ["inspect", "--format", "{{.Id}}", name])
}

fn blobs(cache: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(cache.join("blobs/sha256")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn another_store_finds_everything_and_fetches_what_is_read() {
    let Some(context) = scene("another_store_finds_everything_and_fetches_what_is_read") else { return };
    project(&context);
    let place = tempfile::tempdir().unwrap();
    let cache = place.path().join("cache");
    let (to, from) = (
        format!("type=local,dest={},mode=max", cache.display()),
        format!("type=local,src={}", cache.display()),
    );
    let first = built(&context, ["-t", "x", "--cache-to", &to]);
    assert!(!states(&first).contains("CACHED"), "{first}");
    assert_eq!(state(&first, "exporting cache to local"), "DONE", "{first}");

    // The ballast of a stage that nobody reads stays where it is: taken away, it is not missed.
    let large: Vec<PathBuf> = blobs(&cache).into_iter().filter(|path| holds_ballast(path)).collect();
    assert_eq!(large.len(), 1, "one layer has the ballast");
    let aside = place.path().join("aside");
    fs::rename(&large[0], &aside).unwrap();

    let other = elsewhere(&context);
    let again = built(&other, ["-t", "x", "--cache-from", &from]);
    assert!(!states(&again).contains("DONE"), "nothing is done again: {again}");
    assert_eq!(lines_in_cache_mounts(&other, "runs"), 0, "no step ran: {again}");
    assert_eq!(image_id(&other, "x"), image_id(&context, "x"), "the image is the same to the bit");
    let fetched: Vec<&str> =
        again.stderr.lines().filter(|line| line.contains("fetching the result of")).collect();
    assert_eq!(fetched.len(), 1, "one stack is read: {again}");
    // From now on it stands by itself.
    let alone = built(&other, ["-t", "x"]);
    assert!(!states(&alone).contains("DONE"), "{alone}");

    // One file is another: what depends on it is done, on what is fetched for it.
    fs::rename(&aside, &large[0]).unwrap();
    let third = elsewhere(&context);
    third.write("src/a", "two\n");
    let changed = built(&third, ["-t", "x", "--cache-from", &from, "-o", "out"]);
    for (name, expected) in [
        ("[tools 2/2] RUN", "CACHED"),
        ("[compile 2/4] COPY --from=tools", "CACHED"),
        ("[compile 3/4] COPY src", "DONE"),
        ("[compile 4/4] RUN", "DONE"),
        ("[stage-2 2/5] RUN echo fixed", "CACHED"),
        ("[stage-2 3/5] COPY --link", "CACHED"),
        ("[stage-2 4/5] COPY --from=compile", "DONE"),
        ("[stage-2 5/5] RUN", "DONE"),
    ] {
        assert_eq!(step(&changed, name), expected, "{name}: {changed}");
    }
    assert_eq!(file(&third, "out/all"), "two\ntools\nmore\nfixed\n");
    // Three steps ran in the first store. Their mount came along, and the two that ran here went on with it.
    assert_eq!(lines_in_cache_mounts(&third, "runs"), 5, "{changed}");
    for context in [&context, &other, &third] {
        assert_clean(context);
    }
}

/// Whether a blob is a layer with the ballast: a gzip of many zeros names the file in its tar.
fn holds_ballast(path: &Path) -> bool {
    let output = std::process::Command::new("tar").arg("-tzf").arg(path).output().unwrap();
    output.status.success() && String::from_utf8_lossy(&output.stdout).contains("ballast")
}

#[test]
fn a_cache_of_the_result_alone_still_resolves_the_whole_chain() {
    let Some(context) = scene("a_cache_of_the_result_alone_still_resolves_the_whole_chain") else { return };
    project(&context);
    let place = tempfile::tempdir().unwrap();
    let (small, large) = (place.path().join("min"), place.path().join("max"));
    let to = |path: &Path, more: &str| format!("type=local,dest={}{more}", path.display());
    built(
        &context,
        [
            "-t",
            "x",
            "--cache-to",
            &to(&small, ",compression=zstd"),
            "--cache-to",
            &to(&large, ",mode=max,mounts=false"),
        ],
    );
    assert!(blobs(&small).len() < blobs(&large).len(), "the layers of other stages stay");
    let from = format!("type=local,src={}", small.display());
    let other = elsewhere(&context);
    let again = built(&other, ["-t", "x", "--cache-from", &from]);
    assert!(!states(&again).contains("DONE"), "{again}");
    assert_eq!(image_id(&other, "x"), image_id(&context, "x"));
    // Exported again without having been fetched, it is complete.
    let third = elsewhere(&context);
    let handed = place.path().join("handed");
    let (from_large, to_handed) = (format!("type=local,src={}", large.display()), to(&handed, ",mode=max"));
    built(&third, ["-t", "x", "--cache-from", &from_large, "--cache-to", &to_handed]);
    assert_eq!(blobs(&handed).len(), blobs(&large).len(), "every layer is there");
    let listed = third.rbuild(["cache", "ls", "--from", &handed.display().to_string()]).run();
    listed.assert_success();
    assert!(listed.stdout.contains("COPY --from=compile /out /out"), "{listed}");
    let compared = third.rbuild(["cache", "diff", &handed.display().to_string(), "."]).run();
    compared.assert_success();
    assert!(compared.stdout.lines().all(|line| line.starts_with(['=', '~'])), "{compared}");
    assert_clean(&third);
}

#[test]
fn a_broken_cache_is_told_of_and_left_out() {
    let Some(context) = scene("a_broken_cache_is_told_of_and_left_out") else { return };
    project(&context);
    let place = tempfile::tempdir().unwrap();
    let cache = place.path().join("cache");
    let (to, from) = (
        format!("type=local,dest={},mode=max", cache.display()),
        format!("type=local,src={}", cache.display()),
    );
    built(&context, ["-t", "x", "--cache-to", &to]);
    // Layers that are something else: what they claim to be is compared with what they are.
    for blob in blobs(&cache) {
        let bytes = fs::read(&blob).unwrap();
        if bytes.starts_with(&[0x1f, 0x8b]) {
            fs::write(&blob, vec![b'x'; bytes.len()]).unwrap();
        }
    }
    let other = elsewhere(&context);
    let output = built(&other, ["-t", "x", "--cache-from", &from, "-o", "out"]);
    assert!(output.stderr.contains("is not used any more"), "{output}");
    assert_eq!(file(&other, "out/all"), "one\ntools\nmore\nfixed\n");
    assert!(lines_in_cache_mounts(&other, "runs") >= 3, "the steps ran: {output}");
    // What the broken cache claimed left no trace: the next build is found whole, by what was made here.
    let again = built(&other, ["-t", "x"]);
    assert!(!states(&again).contains("DONE"), "{again}");
    // A folder that is no cache, and none at all.
    let junk = place.path().join("junk");
    fs::create_dir(&junk).unwrap();
    fs::write(junk.join("index.json"), "{\"schemaVersion\":2,\"manifests\":\"all\"}").unwrap();
    let nowhere = format!("type=local,src={}", place.path().join("nowhere").display());
    let output = built(
        &other,
        ["-t", "x", "--cache-from", &format!("type=local,src={}", junk.display()), "--cache-from", &nowhere],
    );
    assert!(output.stderr.contains("is not used: "), "{output}");
    assert!(output.stderr.contains("there is none yet"), "{output}");
    // Whatever fails later fails for its own reason.
    for (text, why) in [
        ("FROM scratch\nCOPY nothere /\n", "\nerror: failed to compute cache key: "),
        (
            "FROM busybox\nRUN false\n",
            "\nerror: process \"/bin/sh -c false\" did not complete successfully: ",
        ),
    ] {
        other.write("Dockerfile.wrong", text);
        let broken = format!("type=local,src={}", junk.display());
        let output = crate::scene::build(&other, ["-f", "Dockerfile.wrong", "--cache-from", &broken]);
        assert_eq!(output.status.code(), Some(1), "{output}");
        assert!(output.stderr.contains("is not used: ") && output.stderr.contains(why), "{output}");
    }
    assert_buildkits_are_known(&other);
    // Without time only keys go up: they are found, and what is read is made.
    let keys = place.path().join("keys");
    let output = built(
        &other,
        ["-t", "x", "--cache-to", &format!("type=local,dest={},mode=max,timeout=0s", keys.display())],
    );
    assert!(output.stderr.contains("the time for it is over"), "{output}");
    let third = elsewhere(&context);
    let output = built(&third, ["-o", "out", "--cache-from", &format!("type=local,src={}", keys.display())]);
    assert_eq!(file(&third, "out/all"), "one\ntools\nmore\nfixed\n");
    assert!(output.stderr.contains("importing cache manifest from local"), "{output}");
    // One that cannot be written is a remark, unless it was to be an error.
    let blocked = place.path().join("file");
    fs::write(&blocked, "").unwrap();
    let to = format!("type=local,dest={}/cache", blocked.display());
    let output = built(&other, ["-t", "x", "--cache-to", &to]);
    assert!(output.stderr.contains("was not exported to local"), "{output}");
    let output = crate::scene::build(&other, ["-t", "x", "--cache-to", &format!("{to},ignore-error=false")]);
    assert_eq!(output.status.code(), Some(1), "{output}");
    assert_clean(&other);
}

/// Asks of each form of cache that BuildKit writes that it is known for what it is; the index of the image has a manifest
/// of attestations too.
fn assert_buildkits_are_known(context: &TestContext) {
    let image = "sha256:6d51bd10e4b39dc5c372af1d386ce4d4a5170fdf2f50a54519a82679f07a46fe";
    for (form, chosen, layers) in [
        ("manifest", String::new(), 2),
        ("index", String::new(), 2),
        ("inline", format!(",digest={image}"), 1),
    ] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/caches/buildkit").join(form);
        let from = format!("type=local,src={}{chosen}", folder.display());
        let output = built(context, ["-t", "x", "--cache-from", &from]);
        let told = format!("BuildKit wrote it, with 3 results in {layers} layers");
        assert!(output.stderr.contains(&told), "{form}: {output}");
        let listed =
            context.rbuild(["cache", "ls", "--from", &from, "--format", "{{.Type}} {{.Layers}}"]).run();
        assert_eq!(listed.assert_success().stdout, "buildkit 1\n".repeat(layers), "{form}");
    }
}

#[test]
fn a_registry_holds_caches_also_in_images() {
    let Some(context) = scene("a_registry_holds_caches_also_in_images") else { return };
    let Some(server) = Registry::start("a_registry_holds_caches_also_in_images") else { return };
    project(&context);
    let cache = format!("{}/caches/app:main", server.host());
    let image = format!("{}/app:latest", server.host());
    let first = built(&context, ["-t", &image, "--push", "--cache", &cache, "--cache-to", "type=inline"]);
    assert_eq!(state(&first, "exporting cache to registry"), "DONE", "{first}");
    let other = elsewhere(&context);
    let again = built(&other, ["-t", "x", "--cache", &cache]);
    assert!(!states(&again).contains("DONE"), "{again}");
    assert_eq!(lines_in_cache_mounts(&other, "runs"), 0, "{again}");
    let up = again.stderr.lines().find(|line| line.contains("blobs with")).unwrap_or_default();
    assert!(up.contains(" 0 blobs with 0 bytes went up"), "what is there stays there: {up}");
    let third = elsewhere(&context);
    let from_image = built(&third, ["-t", "x", "--cache-from", &image]);
    assert!(!states(&from_image).contains("DONE"), "the image brings its cache along: {from_image}");
    assert_clean(&other);
}

#[test]
fn an_image_that_claims_to_be_a_result_is_no_cache() {
    let Some(context) = scene("an_image_that_claims_to_be_a_result_is_no_cache") else { return };
    let text = "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /made\n";
    built_from(&context, text, ["-t", "claims"]);
    let there = rbuild_testkit::context!();
    bring(&context, &there, &["busybox", "claims"]);
    assert_eq!(image_id(&there, "claims"), image_id(&context, "claims"), "history and all");
    let built = built_from(&there, text, ["-t", "own"]);
    assert_eq!(state(&built, "RUN cat"), "DONE", "{built}");
    assert_ne!(image_id(&there, "own"), image_id(&there, "claims"));
    assert_clean(&there);
}
