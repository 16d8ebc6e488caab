//! Projects that repositories and registries have, as one reads and starts them.

use rbuild_testkit::context::{Output, TestContext};
use rbuild_testkit::web::{Repository, Web};

use crate::scene::{assert_clean, built_from, scene};

/// Runs a verb of the project, with its cache folder among the test's own.
fn compose<const N: usize>(context: &TestContext, arguments: [&str; N]) -> Output {
    let cache = context.folder().join("cache");
    let all = ["compose"].into_iter().chain(arguments);
    context.rbuild(all).env("XDG_CACHE_HOME", cache.as_os_str()).run()
}

fn said<const N: usize>(context: &TestContext, arguments: [&str; N]) -> String {
    let output = compose(context, arguments);
    output.assert_success();
    output.stdout
}

#[test]
fn a_project_of_a_registry_is_what_was_published() {
    let Some(context) = scene("a_project_of_a_registry_is_what_was_published") else { return };
    built_from(&context, "FROM busybox\nRUN echo made > /made\n", ["-t", "team/web:1"]);
    let serving = context.rbuild(["registry", "serve", "127.0.0.1:0", "--allow-push"]).start();
    let host = serving.line("serving on http://");
    let (app, image) = (format!("{host}/team/app:1"), format!("{host}/team/web"));
    context.write("base.yaml", "services: { base: { environment: [TOKEN], command: echo $$HOME } }\n");
    let text = format!(
        "name: shop\nservices:\n  web: {{ image: '{image}:${{TAG:-1}}', extends: {{ file: base.yaml, service: base }} }}\n"
    );
    context.write("compose.yaml", text);
    let here = said(&context, ["config"]);
    compose(&context, ["publish", &app]).assert_success();

    let far = format!("oci://{app}");
    assert_eq!(said(&context, ["-f", &far, "config"]), here);
    context.write("own.yaml", format!("include: ['{far}']\nservices: {{ own: {{ image: busybox }} }}\n"));
    assert_eq!(said(&context, ["-f", "own.yaml", "config", "--services"]), "own\nweb\n");

    // Before it is started, whoever starts it is asked about the variables that it gets.
    let asked = compose(&context, ["-f", &far, "up", "-d"]);
    asked.assert_code(1);
    for part in [&format!("Your compose stack \"{far}\" is stored in \""), "TAG ", "hint: use `--yes`"] {
        assert!(asked.stderr.contains(part), "{part}: {asked}");
    }
    // So it is where a project of this machine includes it.
    let asked = compose(&context, ["-f", "own.yaml", "up", "-d"]);
    asked.assert_code(1);
    for part in [&format!("\"{far}\" is stored in \""), "TAG ", "hint: use `--yes`"] {
        assert!(asked.stderr.contains(part), "{part}: {asked}");
    }
    let meant = compose(&context, ["-f", &far, "--dry-run", "up", "-d", "-y"]);
    assert!(meant.stdout.contains("create shop-web-1"), "{meant}");

    // With its images: they are pinned, and beside it.
    compose(&context, ["publish", "--app", &app]).assert_success();
    said(&context, ["-f", &far, "config", "-o", "pinned.yaml"]);
    let pinned = std::fs::read_to_string(context.project().join("pinned.yaml")).unwrap();
    let line = pinned.lines().find_map(|line| line.trim().strip_prefix(&format!("image: {image}:1@")));
    let digest = line.expect("it is pinned").to_owned();
    let beside = format!("{host}/team/app@{digest}");
    context.rbuild(["manifest", "inspect", &beside]).run().assert_success();

    let other = compose(&context, ["-f", &format!("oci://{image}:1"), "config"]);
    assert!(other.stderr.contains("is not a compose project OCI artifact"), "{other}");
    let missing = compose(&context, ["-f", &format!("oci://{host}/team/none"), "config"]);
    assert!(missing.stderr.contains("failed to pull OCI resource"), "{missing}");
    let off =
        context.rbuild(["compose", "-f", &far, "config"]).env("COMPOSE_EXPERIMENTAL_OCI_REMOTE", "0").run();
    assert!(off.stderr.contains("OCI remote resource is disabled by"), "{off}");
    drop(serving);
    assert_clean(&context);
}

#[test]
fn what_others_could_read_is_asked_about_before_it_is_published() {
    let Some(context) = scene("what_others_could_read_is_asked_about_before_it_is_published") else { return };
    let serving = context.rbuild(["registry", "serve", "127.0.0.1:0", "--allow-push"]).start();
    let host = serving.line("serving on http://");
    let (app, image) = (format!("{host}/team/app:1"), format!("{host}/team/web:2"));
    context.write("sub/own.env", "A=1\n");
    let build = "build: { context: ., dockerfile_inline: FROM busybox }";
    context.write(
        "compose.yaml",
        format!(
            "name: shop\nservices:\n  web: {{ image: '{image}', {build}, env_file: [sub/own.env] }}\n  \
             opt: {{ image: busybox, profiles: [more] }}\n"
        ),
    );
    for (flags, part) in [
        (&["publish"][..], "hint: publish it with `--with-env`"),
        (&["publish", "-y"], "hint: publish it with `--with-env`"),
        (&["publish", "--with-env"], "  service web\nhint: use `--yes`"),
    ] {
        let refused = context.rbuild(["compose"].iter().chain(flags).chain([&app.as_str()])).run();
        refused.assert_code(1);
        assert!(refused.stderr.contains(part), "{flags:?}: {refused}");
    }
    // What is built goes along, and so does what others may turn on.
    compose(&context, ["build", "-q"]).assert_success();
    compose(&context, ["publish", "--with-env", "-y", &app]).assert_success();
    context.rbuild(["manifest", "inspect", &image]).run().assert_success();
    let far = format!("oci://{app}");
    let config = said(&context, ["-f", &far, "--profile", "more", "config"]);
    assert!(config.contains("A: \"1\"\n") && config.contains("  opt:\n"), "{config}");

    context.write("told.yaml", "services: { web: { image: busybox, command: [x, AKIAIOSFODNN7EXAMPLE] } }\n");
    let refused = compose(&context, ["-f", "told.yaml", "publish", &app]);
    refused.assert_code(1);
    assert!(refused.stderr.contains("  services.web.command[1]: AWS access key\n"), "{refused}");
    assert!(!refused.stderr.contains("IOSFODNN7"), "{refused}");
    compose(&context, ["-f", "told.yaml", "publish", "-y", &app]).assert_success();
    drop(serving);
    assert_clean(&context);
}

#[test]
fn a_project_of_a_repository_lies_in_its_own_folder() {
    const TEST: &str = "a_project_of_a_repository_lies_in_its_own_folder";
    let Some(context) = scene(TEST) else { return };
    let folder = context.folder().join("repositories");
    let Some(app) = Repository::new(TEST, &folder, "app") else { return };
    let web = Web::start(move |request| request.git(&folder));
    let text = "services: { web: { image: busybox, env_file: web.env, volumes: ['./data:/data'] } }\n";
    let first = app.commit(&[
        ("sub/compose.yaml", text),
        ("sub/web.env", "A=1\n"),
        ("compose.yaml", "include: [sub/compose.yaml]\n"),
        ("empty/x", "x"),
    ]);
    app.git(&["tag", "v1"]);
    let url = web.url("/app.git");
    let tree = context.folder().join("cache/rbuild/projects/git").join(first.trim());
    let config = said(&context, ["-p", "p", "-f", &format!("{url}#v1:sub"), "config"]);
    let data = context.steady(&format!("source: {}\n", tree.join("sub/data").display()));
    assert!(config.contains(&data) && config.contains("A: \"1\"\n"), "{config}");
    assert_eq!(said(&context, ["-p", "p", "-f", &url, "config"]), config);
    let by_commit = format!("{url}#{}", first.trim());
    context.write("compose.yaml", format!("include: ['{by_commit}']\n"));
    assert_eq!(said(&context, ["-p", "p", "config"]), config);

    // What it wants of this machine beyond its own folder is listed, and asked about; nothing is made before.
    std::os::unix::fs::symlink("/etc/passwd", app.work().join("led")).unwrap();
    std::os::unix::fs::symlink("/etc", app.work().join("out")).unwrap();
    // The caller's own variables are no secret to the project; those of another folder are.
    let elsewhere = context.write("other/.env", "A=1\n");
    context.write(".env", "B=1\n");
    let text = format!(
        "services:\n  a:\n    image: busybox\n    privileged: true\n    env_file: [/etc/os-release, '{}']\n    \
         build: {{context: ., dockerfile: sub/web.env, network: host}}\n    \
         volumes: ['/etc:/host:ro', './own:/own', './out/new.d:/new']\n    secrets: [s]\nsecrets: {{s: {{file: ./led}}}}\n",
        elsewhere.display()
    );
    app.commit(&[("compose.yaml", &text)]);
    let listed = [
        "privileged",
        "reads /etc",
        "/led",
        "reads /etc/os-release",
        &context.steady(&format!("reads {}", elsewhere.display())),
        "/out/new.d",
        "build.network: host",
        "hint: use `--yes`",
    ];
    for verb in ["up", "build"] {
        let asked = compose(&context, ["-p", "p", "-f", &url, verb]);
        asked.assert_code(1);
        for part in listed {
            assert!(asked.stderr.contains(part), "{verb}: {part}: {asked}");
        }
        for part in ["/own", &context.steady(&context.project().join(".env").display().to_string())] {
            assert!(!asked.stderr.contains(part), "{verb}: {part}: {asked}");
        }
    }
    let run = compose(&context, ["-p", "p", "-f", &url, "run", "a"]);
    assert!(run.stderr.contains("hint: use `--yes`"), "{run}");
    let meant = said(&context, ["-p", "p", "-f", &url, "--dry-run", "up", "-y"]);
    assert!(meant.contains("create p-a-1"), "{meant}");
    let meant = said(&context, ["-p", "p", "-f", &url, "--dry-run", "build", "-y"]);
    assert!(meant.contains("build busybox: asked for"), "{meant}");

    // What a branch means is asked every time; what was brought stays.
    app.commit(&[("compose.yaml", "services: { later: { image: busybox } }\n")]);
    assert_eq!(said(&context, ["-f", &url, "config", "--services"]), "later\n");
    assert!(tree.join("sub/compose.yaml").is_file());

    for (name, part) in [
        (format!("{url}#none"), "repository does not contain ref none"),
        (format!("{url}#main:empty"), "has no configuration file: not found"),
        (format!("{url}#main:../../x"), "leads out of"),
    ] {
        let refused = compose(&context, ["-f", &name, "config"]);
        refused.assert_code(1);
        assert!(refused.stderr.contains(part), "{part}: {refused}");
    }
    assert_clean(&context);
}
