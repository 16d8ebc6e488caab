//! Volumes: made, shown, filled, shared, removed.

use rbuild_testkit::context::TestContext;

use crate::scene::{assert_clean, built_from, scene};

/// What a command that must succeed prints.
#[track_caller]
fn done(context: &TestContext, arguments: &[&str]) -> String {
    let output = context.rbuild(arguments).run();
    output.assert_success();
    String::from_utf8_lossy(&output.raw_stdout).into_owned()
}

/// Why a command that must fail does.
#[track_caller]
fn refused(context: &TestContext, arguments: &[&str]) -> String {
    let output = context.rbuild(arguments).run();
    assert!(!output.status.success(), "{output}");
    output.stderr.trim_end().to_owned()
}

/// What a script in a container with a mount prints.
#[track_caller]
fn said(context: &TestContext, mount: &str, script: &str) -> String {
    done(context, &["run", "--rm", "--network", "none", "--mount", mount, "busybox", "sh", "-c", script])
}

#[test]
fn volumes_are_made_listed_and_removed_as_dockers() {
    let Some(context) = scene("volumes_are_made_listed_and_removed_as_dockers") else { return };
    let context = &context;
    assert_eq!(done(context, &["volume", "create", "data"]), "data\n");
    assert_eq!(done(context, &["volume", "create", "data"]), "data\n", "again");
    assert_eq!(done(context, &["volume", "create"]).trim().len(), 64);
    let options = [
        "volume",
        "create",
        "-o",
        "type=tmpfs",
        "-o",
        "device=tmpfs",
        "-o",
        "o=size=1m",
        "--label",
        "x=y",
        "memory",
    ];
    done(context, &options);
    assert_eq!(done(context, &["volume", "ls", "-q", "-f", "label=x"]), "memory\n");
    assert_eq!(done(context, &["volume", "ls", "-q", "-f", "name=^data$"]), "data\n");
    let shown =
        done(context, &["volume", "inspect", "-f", "{{json .Options}} {{.Driver}} {{.Scope}}", "memory"]);
    assert_eq!(shown, "{\"device\":\"tmpfs\",\"o\":\"size=1m\",\"type\":\"tmpfs\"} local local\n");
    for (arguments, said) in [
        (&["volume", "inspect", "nobody"][..], "error: get nobody: no such volume"),
        (
            &["volume", "create", "x"],
            "error: create x: volume name is too short, names should be at least two alphanumeric characters",
        ),
        (&["volume", "create", "-o", "foo=bar", "bad"], "error: create bad: invalid option: \"foo\""),
        (
            &["volume", "create", "-o", "type=tmpfs", "bad"],
            "error: create bad: missing required option: \"device\"",
        ),
        (
            &["volume", "create", "-d", "foo", "bad"],
            "error: create bad: error looking up volume plugin foo: plugin \"foo\" not found",
        ),
        (&["volume", "rm", "nobody"], "error: get nobody: no such volume"),
    ] {
        assert_eq!(refused(context, arguments), said);
    }
    let pruned = done(context, &["volume", "prune", "-f"]);
    assert!(
        pruned.starts_with("Deleted Volumes:\n") && pruned.ends_with("\n\nTotal reclaimed space: 0B\n"),
        "{pruned}"
    );
    assert_eq!(done(context, &["volume", "ls", "-q"]), "data\nmemory\n", "only the one without a name went");
    assert!(done(context, &["volume", "prune", "-af"]).contains("\ndata\n"));
    assert_eq!(done(context, &["volume", "rm", "memory"]), "memory\n");
    assert_clean(context);
}

#[test]
fn a_volume_begins_with_the_image_and_outlives_its_containers() {
    let Some(context) = scene("a_volume_begins_with_the_image_and_outlives_its_containers") else { return };
    let context = &context;
    let first = said(
        context,
        "type=volume,src=etc,dst=/etc",
        "test -s /etc/passwd && echo filled; echo mine > /etc/mine; grep -c localhost /etc/hosts",
    );
    assert_eq!(first, "filled\n2\n", "files of names lie above what is mounted there");
    assert_eq!(said(context, "type=volume,src=etc,dst=/x", "cat /x/mine"), "mine\n");
    assert_eq!(
        said(context, "type=volume,src=empty,dst=/etc,volume-nocopy=true", "ls /etc | grep -c passwd; true"),
        "0\n"
    );
    done(context, &["create", "--name", "holder", "-v", "etc:/x", "busybox", "true"]);
    let error = refused(context, &["volume", "rm", "etc"]);
    assert!(error.starts_with("error: remove etc: volume is in use - ["), "{error}");
    assert_eq!(done(context, &["volume", "ls", "-q", "-f", "dangling=true"]), "empty\n");
    done(context, &["rm", "holder"]);
    done(context, &["volume", "rm", "etc", "empty"]);
    assert_clean(context);
}

#[test]
fn an_image_that_is_mounted_stays_with_its_container() {
    let Some(context) = scene("an_image_that_is_mounted_stays_with_its_container") else { return };
    let context = &context;
    built_from(context, "FROM busybox\nRUN echo kept > /kept\n", ["-t", "lent"]);
    let mount = "type=image,source=lent,target=/lent";
    done(
        context,
        &[
            "create",
            "--name",
            "lender",
            "--network",
            "none",
            "--mount",
            mount,
            "busybox",
            "cat",
            "/lent/kept",
        ],
    );
    done(context, &["rmi", "-f", "lent"]);
    done(context, &["prune", "-af"]);
    assert_eq!(done(context, &["start", "-a", "lender"]), "kept\n");
    done(context, &["rm", "lender"]);
    assert_clean(context);
}

#[test]
fn containers_see_the_same_memory_through_a_volume() {
    let Some(context) = scene("containers_see_the_same_memory_through_a_volume") else { return };
    let context = &context;
    done(
        context,
        &["volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m", "memory"],
    );
    let writer = [
        "run",
        "-d",
        "--name",
        "writer",
        "--network",
        "none",
        "-v",
        "memory:/m",
        "busybox",
        "sh",
        "-c",
        "echo here > /m/x; exec sleep 1000",
    ];
    done(context, &writer);
    let read = "until test -s /m/x; do :; done; cat /m/x; grep ' /m ' /proc/mounts | cut -d' ' -f3";
    assert_eq!(said(context, "type=volume,src=memory,dst=/m", read), "here\ntmpfs\n");
    done(context, &["rm", "-f", "writer"]);
    done(context, &["volume", "rm", "memory"]);
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&*context.root().to_string_lossy()), "the volume is mounted no more");
    assert_clean(context);
}

#[test]
fn a_volume_with_options_is_given_back_by_its_last_user() {
    let Some(context) = scene("a_volume_with_options_is_given_back_by_its_last_user") else { return };
    let create = ["volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "memory"];
    context.rbuild(create).run().assert_success();
    let is_mounted = || {
        let place = context.root().join("volumes/memory/_data");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        mounts.contains(&format!(" {} ", place.display()))
    };
    for name in ["one", "two"] {
        let run =
            ["run", "-d", "--name", name, "--network", "none", "-v", "memory:/m", "busybox", "sleep", "1000"];
        context.rbuild(run).run().assert_success();
    }
    context.rbuild(["stop", "-t", "0", "one"]).run().assert_success();
    assert!(is_mounted(), "another uses it");
    context.rbuild(["rm", "-f", "two"]).run().assert_success();
    assert!(!is_mounted());
    context.rbuild(["start", "one"]).run().assert_success();
    assert!(is_mounted());
    context.rbuild(["stop", "-t", "0", "one"]).run().assert_success();
    assert!(!is_mounted());
    context.rbuild(["rm", "one"]).run().assert_success();
    context.rbuild(["volume", "rm", "memory"]).run().assert_success();
    let options = "type=volume,src=made,dst=/m,volume-opt=type=tmpfs,volume-opt=device=tmpfs,volume-opt=o=mode=711,volume-label=a=b";
    assert_eq!(said(&context, options, "stat -c %a /m"), "711\n");
    let labelled = done(&context, &["volume", "ls", "-q", "-f", "label=a=b"]);
    assert_eq!(labelled, "made\n");
    let events = ["events", "--since", "5m", "--until", "0s", "-f", "volume=made", "--format", "{{.Action}}"];
    assert_eq!(done(&context, &events), "create\nmount\nunmount\n");
    done(&context, &["volume", "rm", "made"]);
    assert_clean(&context);
}

#[test]
fn a_container_that_was_not_made_leaves_no_volume() {
    let Some(context) = scene("a_container_that_was_not_made_leaves_no_volume") else { return };
    context
        .rbuild(["create", "--name", "taken", "--network", "none", "busybox", "true"])
        .run()
        .assert_success();
    for refused in [
        &["create", "-v", "/anonymous", "-v", "/", "busybox", "true"][..],
        &["create", "-v", "/anonymous", "--name", "taken", "busybox", "true"],
        &["create", "-v", "/anonymous", "--memory", "1m", "busybox", "true"],
    ] {
        let output = context.rbuild(refused).run();
        assert!(!output.status.success(), "{output}");
        assert_eq!(context.rbuild(["volume", "ls", "-q"]).run().stdout, "", "{output}");
    }
    context.rbuild(["rm", "taken"]).run().assert_success();
    assert_clean(&context);
}
