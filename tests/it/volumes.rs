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
fn a_container_has_any_number_of_mounts() {
    let Some(context) = scene("a_container_has_any_number_of_mounts") else { return };
    context.write("shared/file", "");
    let shared = context.project().join("shared");
    // More than one message has descriptors.
    let binds: Vec<String> = (0..600).map(|at| format!("{}:/mounts/{at}:ro", shared.display())).collect();
    let mut run = vec!["run", "--rm", "--network", "none"];
    run.extend(binds.iter().flat_map(|bind| ["-v", bind]));
    run.extend(["busybox", "sh", "-c", "ls /mounts/*/file | wc -l"]);
    let output = context.rbuild(run).run();
    output.assert_success();
    assert_eq!(output.stdout, "600\n");
    assert_clean(&context);
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
fn a_part_of_a_volume_or_image_has_to_be_there() {
    let Some(context) = scene("a_part_of_a_volume_or_image_has_to_be_there") else { return };
    let context = &context;
    built_from(
        context,
        "FROM busybox\nRUN mkdir -p /d/in && echo deep > /d/in/f && ln -s nowhere /d/gone\n",
        ["-t", "parts"],
    );
    assert_eq!(said(context, "type=volume,src=whole,dst=/v", "mkdir -p /v/a/b && echo mine > /v/a/b/f"), "");
    for path in ["a/b", "./a//b/", "a/../a/b", "a/missing/../b"] {
        let mount = format!("type=volume,src=whole,dst=/d,volume-subpath={path}");
        assert_eq!(said(context, &mount, "cat /d/f"), "mine\n", "{path}");
    }
    assert_eq!(said(context, "type=image,src=parts,dst=/d,image-subpath=d/in", "cat /d/f"), "deep\n");
    for (mount, place) in [
        ("type=volume,src=whole,dst=/d,volume-subpath=none", "[STORE]/volumes/whole/_data/none"),
        // It does not begin with what the image has, either.
        ("type=volume,src=new,dst=/d,volume-subpath=in", "[STORE]/volumes/new/_data/in"),
        ("type=image,src=parts,dst=/d,image-subpath=d/gone", "parts/d/gone"),
    ] {
        let run = ["run", "--rm", "--network", "none", "--mount", mount, "parts", "true"];
        let output = context.rbuild(run).run();
        let said = format!("error: cannot access path {place}: lstat {place}: no such file or directory\n");
        assert_eq!((output.status.code(), output.stderr.as_str()), (Some(127), said.as_str()), "{output}");
    }
    assert_eq!(said(context, "type=volume,src=new,dst=/d", "ls -A /d"), "");
    for (mount, why) in [
        ("type=volume,dst=/d,volume-subpath=a", "must not set Subpath when using anonymous volumes"),
        (
            "type=volume,src=whole,dst=/d,volume-subpath=a/../../x",
            "subpath must be a relative path within the volume",
        ),
        (
            "type=volume,src=whole,dst=/d,volume-subpath=/a",
            "subpath must be a relative path within the volume",
        ),
    ] {
        let said = refused(context, &["create", "--mount", mount, "busybox", "true"]);
        assert_eq!(said, format!("error: invalid mount config for type \"volume\": {why}"));
    }
    done(context, &["volume", "rm", "whole", "new"]);
    assert_clean(context);
}

#[test]
fn a_container_tells_how_its_mounts_were_asked_for() {
    let Some(context) = scene("a_container_tells_how_its_mounts_were_asked_for") else { return };
    let context = &context;
    let folder = context.project().display().to_string();
    let create = |name: &str, arguments: &[&str]| {
        let line = ["create", "--name", name, "--network", "none"];
        done(context, &[&line[..], arguments, &["busybox", "true"]].concat());
    };
    let told = |name: &str, format: &str| done(context, &["inspect", "-f", format, name]);
    let points = "{{range .Mounts}}{{.Type}} {{.Destination}} {{.Mode}}|{{.RW}}|{{.Propagation}}|{{.Driver}}{{println}}{{end}}";
    let bind = |rest: &str| format!("{folder}:{rest}");
    create(
        "short",
        &[
            "-v",
            "data:/a",
            "-v",
            "data:/b:ro,nocopy",
            "-v",
            &bind("/c:rprivate"),
            "-v",
            "/d",
            "--tmpfs",
            "/e:size=1m",
        ],
    );
    assert_eq!(
        told("short", points),
        "volume /a z|true||local\nvolume /b ro,nocopy|false||local\nbind /c rprivate|true|rprivate|\nvolume /d |true||local\n\n"
    );
    assert_eq!(
        told(
            "short",
            "{{json .HostConfig.Binds}} {{json .HostConfig.Mounts}} {{json .HostConfig.Tmpfs}} {{json .Config.Volumes}}"
        ),
        format!(
            "[\"data:/a\",\"data:/b:ro,nocopy\",\"{folder}:/c:rprivate\"] null {{\"/e\":\"size=1m\"}} {{\"/d\":{{}}}}\n"
        )
    );
    create(
        "long",
        &[
            "--mount",
            "type=volume,src=data,dst=/a,volume-nocopy,volume-label=x=y,ro",
            "--mount",
            &format!("type=bind,src={folder},dst=/b,ro,bind-recursive=writable,bind-propagation=private"),
            "--mount",
            "type=tmpfs,dst=/c,tmpfs-size=1m,tmpfs-mode=700",
            "--mount",
            "type=volume,dst=/d",
            "--mount",
            "type=image,src=busybox,dst=/e,image-subpath=bin",
        ],
    );
    assert_eq!(
        told("long", points),
        "volume /a z|false||local\nbind /b |false|private|\ntmpfs /c |true||\nvolume /d z|true||local\nimage /e |false|rprivate|\n\n"
    );
    assert_eq!(
        told("long", "{{json .HostConfig.Mounts}} {{json .HostConfig.Binds}} {{json .HostConfig.Tmpfs}}"),
        [
            r#"[{"Type":"volume","Source":"data","Target":"/a","ReadOnly":true,"VolumeOptions":{"NoCopy":true,"Labels":{"x":"y"},"DriverConfig":{}}},"#,
            &format!(r#"{{"Type":"bind","Source":"{folder}","Target":"/b","ReadOnly":true,"#),
            r#""BindOptions":{"Propagation":"private","ReadOnlyNonRecursive":true}},"#,
            r#"{"Type":"tmpfs","Target":"/c","TmpfsOptions":{"SizeBytes":1048576,"Mode":448}},{"Type":"volume","Target":"/d"},"#,
            r#"{"Type":"image","Source":"busybox","Target":"/e","ImageOptions":{"Subpath":"bin"}}] null null"#,
            "\n",
        ]
        .concat()
    );
    // Of what others lend, nothing was asked for here.
    create("lent", &["--volumes-from", "short:ro,z", "-v", "other:/b"]);
    assert_eq!(
        told("lent", points),
        "volume /b z|true||local\nvolume /a |false||local\nbind /c |false|rprivate|\nvolume /d |false||local\n\n"
    );
    assert_eq!(
        told("lent", "{{json .HostConfig.Binds}}{{.HostConfig.VolumesFrom}}"),
        "[\"other:/b\"][short:ro,z]\n"
    );
    for (mode, said) in
        [("foo", "invalid mode: foo"), ("ro,rw", "invalid mode: ro,rw"), ("nocopy", "invalid mode: nocopy")]
    {
        let from = format!("short:{mode}");
        assert_eq!(
            refused(context, &["create", "--volumes-from", &from, "busybox", "true"]),
            format!("error: {said}")
        );
    }
    // A volume without a name goes with the last who has it.
    done(context, &["rm", "-v", "short"]);
    let anonymous = || done(context, &["volume", "ls", "-q"]).lines().filter(|name| name.len() == 64).count();
    assert_eq!(anonymous(), 2);
    done(context, &["rm", "-v", "lent"]);
    assert_eq!(anonymous(), 1);
    done(context, &["rm", "-v", "long"]);
    assert_eq!(done(context, &["volume", "ls", "-q"]), "data\nother\n");
    done(context, &["volume", "rm", "data", "other"]);
    assert_clean(context);
}

#[test]
fn what_is_asked_for_by_its_target_alone_gives_way() {
    let Some(context) = scene("what_is_asked_for_by_its_target_alone_gives_way") else { return };
    let context = &context;
    built_from(context, "FROM busybox\nRUN mkdir -m 2750 /own && mkdir -m 1755 /other\n", ["-t", "modes"]);
    let run = ["run", "--rm", "--network", "none"];
    let script = "stat -c '%a %n' /own /other /new /set; grep -c ' /own ' /proc/mounts";
    let mounts = [
        "-v",
        "/own",
        "--tmpfs",
        "/own",
        "--mount",
        "type=tmpfs,dst=/other",
        "--tmpfs",
        "/new",
        "--tmpfs",
        "/set:mode=700",
    ];
    assert_eq!(
        done(context, &[&run[..], &mounts, &["modes", "sh", "-c", script]].concat()),
        // A folder in memory has the mode of the one that it covers.
        "2750 /own\n1755 /other\n1777 /new\n700 /set\n1\n"
    );
    let twice = refused(context, &[&run[..], &["-v", "x1:/t", "--tmpfs", "/t/", "modes", "true"]].concat());
    assert_eq!(twice, "error: Duplicate mount point: /t/");
    assert_eq!(done(context, &["volume", "ls", "-q"]), "");
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
    // One that ends by itself, with nobody there, gives it back as well: twice, as the second start has another end.
    for act in [
        &["run", "-d", "--name", "own", "--network", "none", "-v", "memory:/m", "busybox", "true"][..],
        &["start", "own"],
    ] {
        context.rbuild(act).run().assert_success();
        let table = std::fs::File::open("/proc/self/mountinfo").unwrap();
        while is_mounted() {
            // The kernel tells of every change of the table.
            let mut changed = [rustix::event::PollFd::new(&table, rustix::event::PollFlags::PRI)];
            let patience = rustix::event::Timespec { tv_sec: 30, tv_nsec: 0 };
            assert_ne!(
                rustix::event::poll(&mut changed, Some(&patience)).unwrap(),
                0,
                "it is mounted for ever"
            );
        }
    }
    context.rbuild(["rm", "own"]).run().assert_success();
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
