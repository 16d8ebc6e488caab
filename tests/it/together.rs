//! Several commands on one store at the same time, and hostile or changing contexts.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::scene::{
    assert_clean, build, built, built_from, file, images, lines_in_cache_mounts, open_gate, scene, state,
};

#[test]
fn eight_builds_at_once() {
    let Some(context) = scene("eight_builds_at_once") else { return };
    context.write("in.txt", "in");
    for number in 0..8 {
        let text = format!(
            "FROM busybox AS shared\nRUN --mount=type=cache,target=/c echo x >> /c/shared-runs && echo s > /s\n\
             FROM busybox\nCOPY --from=shared /s /s\nCOPY in.txt /\nRUN --mount=type=cache,target=/c echo {} >> /c/own-runs\n\
             RUN echo {number} > /number\n",
            number % 4
        );
        context.write(&format!("Dockerfile.{number}"), text);
    }
    let calls: Vec<_> = (0..8)
        .map(|number| {
            let (file, tag) = (format!("Dockerfile.{number}"), format!("n{number}"));
            context.rbuild(["build", "--progress", "plain", "-f", &file, "-t", &tag, "."]).start()
        })
        .collect();
    // Beside them, commands that look and sweep.
    let others: Vec<_> = [&["du"][..], &["prune", "--force"], &["images"], &["prune", "--force"], &["du"]]
        .into_iter()
        .map(|line| (line, context.rbuild(line).start()))
        .collect();
    for call in calls {
        let ended = call.wait();
        assert!(ended.status.success(), "{}", ended.stderr);
    }
    for (line, call) in others {
        let ended = call.wait();
        // Two that sweep at once: one of them is told so.
        let rival = line[0] == "prune" && ended.stderr.contains("another rbuild is sweeping this store");
        assert!(
            ended.status.success() || (line[0] == "prune" && rival),
            "{line:?}: {}{}",
            ended.stdout,
            ended.stderr
        );
    }
    let expected: Vec<String> = (0..8).map(|number| format!("n{number}:latest")).collect();
    assert_eq!(images(&context), format!("busybox:latest {}", expected.join(" ")));
    for number in 0..8 {
        let ran = context
            .rbuild(["run", "--rm", "--network", "none", &format!("n{number}"), "cat", "/number"])
            .run();
        assert_eq!(ran.assert_success().stdout, format!("{number}\n"));
    }
    assert_eq!(lines_in_cache_mounts(&context, "shared-runs"), 1);
    assert_eq!(lines_in_cache_mounts(&context, "own-runs"), 4);
    assert_clean(&context);
}

#[test]
fn sweeping_while_a_build_runs_takes_nothing_it_needs() {
    let Some(context) = scene("sweeping_while_a_build_runs_takes_nothing_it_needs") else { return };
    let text = "\
FROM busybox AS a
RUN echo a > /a
FROM busybox
RUN --mount=type=cache,target=/c echo b > /b && mkfifo /c/gate && echo rea\"\"dy && cat /c/gate
COPY --from=a /a /a
RUN cat /a /b
";
    context.write("Dockerfile", text);
    let running = context.rbuild(["build", "--progress", "plain", "-t", "kept", "."]).start();
    running.until(" ready");
    context.rbuild(["prune", "--all", "--force"]).run().assert_success();
    context.rbuild(["du"]).run().assert_success();
    open_gate(&context);
    let ended = running.wait();
    assert!(ended.status.success(), "{}", ended.stderr);
    let ran = context.rbuild(["run", "--rm", "--network", "none", "kept", "cat", "/a", "/b"]).run();
    assert_eq!(ran.assert_success().stdout, "a\nb\n");
    assert_clean(&context);
}

#[test]
fn prune_frees_what_nothing_needs() {
    let Some(context) = scene("prune_frees_what_nothing_needs") else { return };
    built_from(&context, "FROM busybox\nRUN echo keep > /f\n", ["-t", "keep"]);
    built_from(&context, "FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=8 2>/dev/null\n", []);
    let cache = || {
        let told = context.rbuild(["du", "--format", "{{.Type}}={{.Size}}"]).run();
        let text = &told.assert_success().stdout;
        text.lines().find(|line| line.starts_with("Build Cache")).unwrap_or_default().to_owned()
    };
    context.rbuild(["prune", "--force", "--max-used-space", "100m"]).run().assert_success();
    assert!(cache().starts_with("Build Cache=8."), "what was an image's is the cache's: {}", cache());
    assert_eq!(state(&built(&context, []), "RUN dd"), "CACHED", "there is room for it");
    let pruned = context.rbuild(["prune", "--force", "--max-used-space", "1m"]).run();
    assert!(pruned.assert_success().stdout.contains("reclaimed space: 8."), "{pruned}");
    assert_eq!(state(&built(&context, []), "RUN dd"), "DONE", "there was not");
    context.rbuild(["prune", "--all", "--force"]).run().assert_success();
    crate::scene::furnish(&context);
    let output = built(&context, []);
    assert_eq!(state(&output, "RUN dd"), "DONE", "it was swept: {output}");
    built_from(&context, "FROM busybox\nRUN echo keep > /f\n", ["-t", "keep"]);
    context.rbuild(["prune", "--force"]).run().assert_success();
    let kept = context.rbuild(["run", "--rm", "--network", "none", "keep", "cat", "/f"]).run();
    assert_eq!(kept.assert_success().stdout, "keep\n", "what has a name is kept");
    assert_clean(&context);
}

#[test]
fn prune_by_label_keeps_what_has_none() {
    let Some(context) = scene("prune_by_label_keeps_what_has_none") else { return };
    let text = "FROM busybox\nRUN echo cached > /f\n";
    built_from(&context, text, ["-t", "plain"]);
    built_from(&context, "FROM busybox\nLABEL ci=1\n", ["-t", "ci"]);
    context.rbuild(["prune", "--all", "--force", "--filter", "label=ci"]).run().assert_success();
    assert_eq!(images(&context), "busybox:latest plain:latest");
    let again = built_from(&context, text, []);
    assert_eq!(state(&again, "RUN echo cached"), "CACHED", "nobody asked to lose it: {again}");
    for filter in ["dangling=true", "reference=plain", "before=plain"] {
        let refused = context.rbuild(["prune", "--force", "--filter", filter]).run();
        assert!(
            !refused.status.success() && refused.stderr.contains("invalid filter"),
            "{filter}: {refused}"
        );
    }
    assert_clean(&context);
}

#[test]
fn links_that_lead_out_of_the_context() {
    let Some(context) = scene("links_that_lead_out_of_the_context") else { return };
    fs::write(context.folder().join("secret"), "outside").unwrap();
    context.write("in/f", "inside");
    for (target, name) in [
        ("../secret", "up"),
        ("../../../../../../etc/shadow", "far"),
        ("/etc/passwd", "absolute"),
        ("in", "folder"),
        ("../project/in", "back"),
        ("loop", "loop"),
        ("nowhere", "dangling"),
    ] {
        symlink(target, context.project().join(name)).unwrap();
    }
    // A link as such is copied as it is.
    built_from(
        &context,
        "FROM busybox\nCOPY . /all/\nRUN for l in up absolute dangling; do readlink /all/$l; done > /links\n",
        ["-o", "out"],
    );
    assert_eq!(file(&context, "out/links"), "../secret\n/etc/passwd\nnowhere\n");
    fs::remove_dir_all(context.project().join("out")).unwrap();
    // What is named by an instruction is followed, within the context.
    built_from(&context, "FROM scratch\nCOPY folder /folder/\n", ["-o", "out"]);
    assert_eq!(file(&context, "out/folder/f"), "inside");
    for name in ["up", "far", "absolute", "loop", "dangling", "folder/../../secret"] {
        context.write("Dockerfile", format!("FROM busybox\nCOPY {name} /copied\n"));
        let output = build(&context, ["-t", "bad"]);
        output.assert_code(1);
        assert!(output.stderr.contains("Dockerfile:2"), "{name}: {output}");
    }
    for name in ["up", "folder"] {
        context.write(
            "Dockerfile",
            format!("FROM busybox\nRUN --mount=source={name},target=/m cat /m /m/f; true\n"),
        );
        let output = build(&context, []);
        assert!(!output.stderr.contains("outside"), "{name}: {output}");
    }
    assert_clean(&context);
}

#[test]
fn odd_files_in_the_context() {
    let Some(context) = scene("odd_files_in_the_context") else { return };
    context.write("d/plain", "p");
    assert!(Command::new("mkfifo").arg(context.project().join("d/fifo")).status().unwrap().success());
    let _listener = std::os::unix::net::UnixListener::bind(context.project().join("d/socket")).unwrap();
    context.write("d/new\nline", "n");
    context.write("d/ space", "s");
    context.write("d/\u{fc}ml\u{e4}ut", "u");
    fs::write(context.project().join("d").join(std::ffi::OsStr::new("-rf")), "dash").unwrap();
    let text = "FROM busybox\nCOPY d /d\nRUN cd /d && test -p fifo && cat -- plain -rf > /seen && ls | wc -l >> /seen\n";
    let output = built_from(&context, text, ["-o", "out"]);
    assert_eq!(file(&context, "out/seen"), "pdash7\n", "{output}");
    let again = built(&context, ["-o", "out"]);
    assert_eq!(state(&again, "COPY d /d"), "CACHED", "{again}");
    assert_clean(&context);
}

#[test]
fn a_file_that_changes_while_it_is_built() {
    let Some(context) = scene("a_file_that_changes_while_it_is_built") else { return };
    let path = context.write("f", vec![b'a'; 1 << 20]);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let output = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut byte = b'a';
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                byte = if byte == b'z' { b'a' } else { byte + 1 };
                // Replaced as a whole: each content is one letter.
                let fresh = path.with_extension("new");
                fs::write(&fresh, vec![byte; 1 << 20]).unwrap();
                fs::rename(&fresh, &path).unwrap();
            }
        });
        context.write(
            "Dockerfile",
            "FROM busybox\nCOPY f /f\nRUN test $(fold -w1 /f | head -c 2000000 | sort -u | wc -l) = 1\n",
        );
        let outputs: Vec<_> = (0..3).map(|_| build(&context, ["-t", "x"])).collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        outputs
    });
    for output in output {
        // Either one whole content, or an error that names the file; never a mixture under a key.
        assert!(output.status.success() || output.stderr.contains("Dockerfile:2"), "{output}");
    }
    built_from(&context, "FROM scratch\nCOPY f /f\n", ["-o", "out"]);
    assert_eq!(fs::read(context.project().join("out/f")).unwrap(), fs::read(&path).unwrap());
    assert_clean(&context);
}

#[test]
fn a_context_that_changes_between_two_steps_that_see_it() {
    let Some(context) = scene("a_context_that_changes_between_two_steps_that_see_it") else { return };
    context.write("f", "old");
    let text = "\
FROM busybox AS first
RUN --mount=source=f,target=/f cp /f /first
FROM busybox
COPY --from=first /first /
RUN --mount=type=cache,target=/c mkfifo /c/gate && echo rea\"\"dy && cat /c/gate
RUN --mount=source=f,target=/f cp /f /second
";
    context.write("Dockerfile", text);
    let running = context.rbuild(["build", "--progress", "plain", "-o", "out", "."]).start();
    running.until(" ready");
    context.write("f", "new");
    open_gate(&context);
    let ended = running.wait();
    assert!(ended.status.success(), "{}", ended.stderr);
    assert_eq!(file(&context, "out/first"), "old");
    assert_eq!(file(&context, "out/second"), "new");
    // What came of it is found by what was seen, not by what was there when the build began.
    fs::remove_dir_all(context.project().join("out")).unwrap();
    context.write("Dockerfile", "FROM busybox\nRUN --mount=source=f,target=/f cp /f /first\n");
    for (content, expected) in [("old", "CACHED"), ("new", "DONE")] {
        context.write("f", content);
        let output = built(&context, ["-o", "out"]);
        assert_eq!(state(&output, "cp /f /first"), expected, "{content}: {output}");
        assert_eq!(file(&context, "out/first"), content);
    }
    assert_clean(&context);
}

#[test]
fn a_build_goes_on_while_another_does_one_of_its_steps() {
    let Some(context) = scene("a_build_goes_on_while_another_does_one_of_its_steps") else { return };
    let shared = "FROM busybox AS shared\nRUN --mount=type=cache,target=/c mkfifo /c/gate && echo rea\"\"dy && cat /c/gate > /s\n";
    context.write("Dockerfile", shared);
    let other = "FROM busybox AS other\nRUN echo own > /o && echo fini\"\"shed\nFROM busybox\nCOPY --from=shared /s /\nCOPY --from=other /o /\n";
    context.write("Dockerfile.two", format!("{shared}{other}"));
    let first = context.rbuild(["build", "--progress", "plain", "."]).start();
    first.until(" ready");
    // One step at a time: the one that waits must not be it.
    fs::write(context.folder().join("config.toml"), "[limits]\nparallel = 1\n").unwrap();
    let config = context.folder().join("config.toml").display().to_string();
    let line =
        ["--config", &config, "build", "--progress", "plain", "-f", "Dockerfile.two", "-o", "out", "."];
    let second = context.rbuild(line).start();
    second.until(" finished");
    second.until("waiting for");
    open_gate(&context);
    for call in [first, second] {
        let ended = call.wait();
        assert!(ended.status.success(), "{}", ended.stderr);
    }
    assert_eq!(file(&context, "out/s"), "go on\n");
    assert_eq!(file(&context, "out/o"), "own\n");
    assert_clean(&context);
}
