//! What services get from outside their files: what providers set, contents of files, images at registries.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rbuild_testkit::context::TestContext;
use rbuild_testkit::registry::Registry;
use serde_json::Value;

use crate::scene::{assert_clean, scene};

/// A provider that writes down how it was called.
const PROVIDER: &str = r#"#!/bin/sh
[ "$2" = metadata ] && exit 1
here=${0%/*}
echo "$*" >> "$here/calls"
[ "$3" = up ] || exit 0
echo '{"type":"info","message":"preparing"}'
read -r path < "$here/path"
echo '{"type":"setenv","message":"URL=http://db/'"$path"'"}'
"#;

/// A runner of models that writes down how it was called.
const MODELS: &str = r#"#!/bin/sh
echo "$*" >> "${0%/*}/models"
case $1 in
ls) echo '[{"tags": ["ai/other"]}]' ;;
status) echo '{"endpoint": "http://model/v1"}' ;;
esac
"#;

#[test]
fn programs_of_the_host_provide_services_and_models() {
    let Some(context) = scene("programs_of_the_host_provide_services_and_models") else { return };
    let bin = context.folder().join("bin");
    fs::create_dir(&bin).unwrap();
    for (name, program) in [("cloud", PROVIDER), ("docker-model", MODELS)] {
        fs::write(bin.join(name), program).unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::write(bin.join("path"), "one\n").unwrap();
    context.write(
        "compose.yaml",
        "\
name: given
services:
  db: {provider: {type: cloud, options: {size: 10, zone: [a, b]}}}
  web: {image: busybox, command: 'sh -c \"env; exec sleep 1000\"', init: true, network_mode: none, depends_on: [db],
    models: {llm: {endpoint_var: AT}}}
models: {llm: {model: ai/tiny, context_size: 512, runtime_flags: [--fast]}}
",
    );
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let rbuild = |arguments: &[&str]| context.rbuild(arguments).env("PATH", &path).run();
    let missing = context.rbuild(["compose", "up", "-d"]).env("PATH", "/nowhere").run();
    missing.assert_code(1);
    assert!(missing.stderr.contains("there is no provider `cloud`"), "{missing}");
    let dry = rbuild(&["compose", "up", "--dry-run"]);
    let provided = "provide db: by cloud\nprovide model llm: ai/tiny\n";
    assert!(dry.assert_success().stdout.starts_with(&format!("{provided}create given-web-1: ")), "{dry}");
    let up = rbuild(&["compose", "up", "-d"]);
    assert!(up.assert_success().stderr.contains("db  preparing"), "{up}");
    let environment = |wanted: &str| {
        let seen = rbuild(&["compose", "exec", "-T", "web", "env"]);
        assert!(seen.assert_success().stdout.contains(wanted), "{seen}");
    };
    for variable in ["DB_URL=http://db/one\n", "AT=http://model/v1\n", "LLM_MODEL=ai/tiny\n"] {
        environment(variable);
    }
    // The same again changes nothing; another answer makes whoever depends on it anew.
    let again = rbuild(&["compose", "up", "-d"]);
    assert!(again.assert_success().stderr.contains("Container given-web-1  Running"), "{again}");
    let dry = rbuild(&["compose", "up", "--dry-run"]);
    assert_eq!(dry.assert_success().stdout, provided);
    fs::write(bin.join("path"), "two\n").unwrap();
    let other = rbuild(&["compose", "up", "-d", "-t", "0"]);
    assert!(other.assert_success().stderr.contains("Container given-web-1  Recreated"), "{other}");
    environment("DB_URL=http://db/two\n");
    rbuild(&["compose", "down", "-t", "0"]).assert_success();
    let up = "compose --project-name=given up --size=10 --zone=a --zone=b db\n";
    let calls = fs::read_to_string(bin.join("calls")).unwrap();
    assert_eq!(calls, format!("{up}{up}{up}{}", up.replace(" up ", " down ")));
    let once = "ls --json\npull ai/tiny\nconfigure --context-size=512 ai/tiny -- --fast\nstatus --json\n";
    assert_eq!(fs::read_to_string(bin.join("models")).unwrap(), once.repeat(3));
    assert_clean(&context);
}

#[test]
fn what_is_in_configs_and_secrets_is_looked_at() {
    let Some(context) = scene("what_is_in_configs_and_secrets_is_looked_at") else { return };
    context.write("Dockerfile", "FROM busybox\nRUN mkdir -p /run/app && ln -s /run /led\nVOLUME /kept\n");
    context.rbuild(["build", "-t", "furnished", "."]).run().assert_success();
    context.write(
        "compose.yaml",
        "\
name: given
services:
  web:
    image: furnished
    command: sleep 1000
    init: true
    network_mode: none
    volumes: [memory:/led/app]
    configs:
      - app
      - {source: below, target: /led/app/deep/below}
      - {source: below, target: /kept/below}
      - {source: below, target: /more/below}
    secrets: [key]
configs: {app: {content: 'port ${PORT:-1}'}, below: {content: ', below'}}
secrets: {key: {environment: KEY}}
volumes: {memory: {driver_opts: {type: tmpfs, device: tmpfs}}}
",
    );
    let rbuild = |arguments: &[&str], port: &str, key: &str| {
        let output = context.rbuild(arguments).env("PORT", port).env("KEY", key).run();
        output.assert_success();
        output
    };
    #[cfg(feature = "crash-points")]
    {
        use std::os::unix::process::ExitStatusExt as _;

        // They are there before the container's folder has its name: what makes that last makes them last.
        let up = context.rbuild(["compose", "up", "-d"]).env("PORT", "1").env("KEY", "a");
        let cut = up.env("RBUILD_CRASH_POINT", "container.published:1").run();
        assert_eq!(cut.status.signal(), Some(9), "{cut}");
        let folder = context.root().join("containers");
        let mut find = std::process::Command::new("find");
        find.arg(folder).args(["-type", "f", "("]);
        let found =
            find.args(["-name", "app", "-o", "-name", "key", "-o", "-name", "given-*.tar", ")"]).output();
        let found = String::from_utf8(found.unwrap().stdout).unwrap();
        assert_eq!(found.lines().count(), 4, "{found}");
    }
    rbuild(&["up", "-d"], "1", "a");
    let same = rbuild(&["up", "--dry-run"], "1", "a");
    assert_eq!((&*same.stdout, &*same.stderr), ("", "nothing to do\n"));
    let docker = rbuild(&["compose", "up", "--dry-run"], "2", "b");
    assert_eq!((&*docker.stdout, &*docker.stderr), ("", "nothing to do\n"));
    let plan = rbuild(&["up", "--dry-run"], "2", "b").stdout;
    assert!(plan.starts_with("recreate given-web-1: content of config app, secret key changed\n"), "{plan}");
    let plan = rbuild(&["up", "--dry-run"], "1", "b").stdout;
    assert!(plan.starts_with("recreate given-web-1: content of secret key changed\n"), "{plan}");
    rbuild(&["up", "-d", "-t", "0"], "2", "b");
    // What is in memory goes with the program.
    rbuild(&["compose", "restart", "-t", "0"], "2", "b");
    let cat = ["cat", "/app", "/run/secrets/key", "/run/app/deep/below", "/kept/below", "/more/below"];
    let exec = [&["compose", "exec", "-T", "web"][..], &cat].concat();
    assert_eq!(rbuild(&exec, "2", "b").stdout, "port 2b, below, below, below");
    let run = ["compose", "run", "--rm", "-T", "-v"];
    let more = [&run[..], &["./more:/more", "web"], &cat].concat();
    assert_eq!(rbuild(&more, "2", "b").stdout, "port 2b, below, below, below");
    assert_eq!(fs::read_to_string(context.project().join("more/below")).unwrap(), ", below");
    let refused =
        context.rbuild([&run[..], &["./more:/more:ro", "web", "true"]].concat()).env("KEY", "b").run();
    let why = "config below: `/more/below` lies in `/more`, which is mounted read-only";
    assert!(!refused.status.success() && refused.stderr.contains(why), "{refused}");
    let after = rbuild(&["up", "--dry-run"], "2", "b");
    assert_eq!(after.stderr, "nothing to do\n");
    rbuild(&["compose", "down", "-v", "-t", "0"], "2", "b");
    assert_clean(&context);
}

fn said(context: &TestContext, arguments: &[&str]) -> String {
    let output = context.rbuild(arguments).run();
    output.assert_success();
    // Digests and all.
    String::from_utf8_lossy(&output.raw_stdout).into_owned()
}

/// What services mount, and what runs before they start, is pinned too; what another service builds is in no registry.
fn pinned_besides(context: &TestContext, host: &str) {
    context.write(
        "besides.yaml",
        format!(
            "\
name: besides
services:
  web:
    image: '{host}/team/app:1'
    pre_start: [{{image: '{host}/team/data:1'}}, {{image: besides-own}}]
    volumes:
      - {{type: image, source: '{host}/team/data:1', target: /x, image: {{subpath: bin}}}}
      - {{type: image, source: besides-own, target: /y}}
  own: {{build: {{dockerfile_inline: 'FROM busybox'}}}}
"
        ),
    );
    let pins = |flag| {
        let output = context.rbuild(["compose", "-f", "besides.yaml", "config", flag, "web"]).run();
        output.assert_success();
        (String::from_utf8_lossy(&output.raw_stdout).into_owned(), output.stderr.clone())
    };
    let data = "/team/data:1@sha256:";
    let (whole, told) = pins("--resolve-image-digests");
    assert_eq!((whole.matches(data).count(), told.as_str()), (2, ""), "{whole}");
    assert!(whole.contains("image: besides-own\n") && whole.contains("source: besides-own\n"), "{whole}");
    let (locked, told) = pins("--lock-image-digests");
    assert!(told.starts_with("warning: services.web.pre_start[0].image: not pinned"), "{told}");
    assert!(!locked.contains("pre_start"), "{locked}");
    context.write("lock.yaml", &locked);
    let files = ["compose", "-f", "besides.yaml", "-f", "lock.yaml", "config", "web"];
    let read = said(context, &files);
    assert_eq!((read.matches(data).count(), read.matches("subpath: bin").count()), (1, 1), "{read}");
    assert!(read.contains("/team/app:1@sha256:"), "{read}");
    // An old place of a flag that stands before the verb now.
    let built = ["compose", "-f", "besides.yaml", "build", "--progress", "quiet"];
    let built = context.rbuild(built).run();
    built.assert_success();
    let lines = "warning: `--progress` stands before the verb: `rbuild compose --progress KIND build`\n";
    assert_eq!(built.stderr, lines);
}

/// Steps of a stage that `no_cache_filter` names are run each time.
fn stages_without_a_cache(context: &TestContext) {
    let filter = "name: filter\nservices: {one: {build: {context: ., target: run, no_cache_filter: run}}}\n";
    context.write("filter.yaml", filter);
    let printed = said(context, &["compose", "-f", "filter.yaml", "build", "--print"]);
    assert!(printed.contains("\"no-cache-filter\": [\n        \"run\"\n      ]"), "{printed}");
    for _ in 0..2 {
        let built = context.rbuild(["compose", "-f", "filter.yaml", "build"]).run();
        built.assert_success();
        assert!(built.stderr.contains("RUN echo built") && !built.stderr.contains("CACHED"), "{built}");
    }
}

#[test]
fn images_are_built_for_registries_and_pinned() {
    let name = "images_are_built_for_registries_and_pinned";
    let Some(context) = scene(name) else { return };
    let Some(registry) = Registry::start(name) else { return };
    let host = registry.host();
    context.write("Dockerfile", "FROM busybox AS run\nRUN echo built > /built\n");
    context.write(
        "compose.yaml",
        format!(
            "\
name: pins
services:
  app: {{image: '{host}/team/app:1', build: {{context: ., args: {{A: '1'}}, provenance: 'mode=min', target: run}}}}
  own: {{build: {{dockerfile_inline: 'FROM busybox', entitlements: [device, network.host]}}}}
"
        ),
    );
    let file: Value =
        serde_json::from_str(&said(&context, &["compose", "build", "--print", "--push"])).unwrap();
    assert_eq!(file["group"]["default"]["targets"], serde_json::json!(["app", "own"]));
    let app = &file["target"]["app"];
    assert_eq!(app["output"], serde_json::json!(["type=registry"]));
    assert_eq!(app["attest"], serde_json::json!(["type=provenance,mode=min"]));
    assert_eq!((&app["args"]["A"], &app["target"]), (&"1".into(), &"run".into()));
    let own = &file["target"]["own"];
    assert_eq!((&own["dockerfile-inline"], &own["tags"][0]), (&"FROM busybox".into(), &"pins-own".into()));
    assert_eq!(own["entitlements"], serde_json::json!(["device", "network.host"]));
    stages_without_a_cache(&context);
    let checked = said(&context, &["compose", "build", "--check", "app"]);
    assert!(checked.contains("WARNING: UndeclaredBuildArg"), "{checked}");
    let built = context.rbuild(["compose", "build", "--push"]).run();
    built.assert_success();
    assert!(built.stderr.contains(&format!(" {host}/team/app:1  Built\n")), "{built}");
    assert!(built.stderr.contains(" pins-own  Built\n"), "{built}");
    let pinned = said(&context, &["compose", "config", "--lock-image-digests", "app"]);
    let start = format!("services:\n  app:\n    image: {host}/team/app:1@sha256:");
    assert!(pinned.starts_with(&start) && pinned.lines().count() == 3, "{pinned}");
    let digest = pinned.trim().rsplit('@').next().unwrap();
    let whole = said(&context, &["compose", "config", "--resolve-image-digests", "app"]);
    assert!(whole.contains(&format!("/team/app:1@{digest}\n")) && whole.contains("target: run"), "{whole}");
    // What a service mounts is pulled as its own image is, and another one under its name makes it anew.
    context.rbuild(["tag", "busybox", &format!("{host}/team/data:1")]).run().assert_success();
    context.rbuild(["push", &format!("{host}/team/data:1")]).run().assert_success();
    context.rbuild(["rmi", &format!("{host}/team/data:1")]).run().assert_success();
    context.write(
        "mounts.yaml",
        format!(
            "name: pins\nservices:\n  web:\n    image: busybox\n    pull_policy: ${{POLICY:-missing}}\n    \
             command: sleep 1000\n    init: true\n    network_mode: none\n    \
             volumes: [{{type: image, source: '{host}/team/data:1', target: /x}}]\n"
        ),
    );
    let mounts = |policy: &str, arguments: &[&str]| {
        let all = [&["compose", "-f", "mounts.yaml"], arguments].concat();
        context.rbuild(all).env("POLICY", policy).run()
    };
    let never = mounts("never", &["up", "-d"]);
    never.assert_code(1);
    assert!(never.stderr.contains("mounts.yaml:9") && never.stderr.contains("no such image"), "{never}");
    mounts("missing", &["up", "-d"]).assert_success();
    let label = "{{index .Config.Labels \"com.docker.compose.image-volume-digest\"}}";
    let label = said(&context, &["inspect", "-f", label, "pins-web-1"]);
    assert!(label.starts_with("/x=sha256:"), "{label}");
    let again = mounts("missing", &["up", "--dry-run"]);
    assert_eq!(again.assert_success().stderr, "nothing to do\n");
    context
        .rbuild(["tag", &format!("{host}/team/app:1"), &format!("{host}/team/data:1")])
        .run()
        .assert_success();
    let other = mounts("missing", &["up", "--dry-run"]);
    let why = "recreate pins-web-1: image at /x changed\n";
    assert!(other.assert_success().stdout.contains(why), "{other}");
    // What is called `latest` may be another one by now: it is asked for, though it is here.
    let pulled = mounts("missing", &["pull", "--ignore-pull-failures"]);
    pulled.assert_success();
    assert!(pulled.stderr.contains(" Image busybox  Pulling\n"), "{pulled}");
    assert!(pulled.stderr.contains(" web  Skipped - Image is already present locally\n"), "{pulled}");
    mounts("missing", &["down", "-t", "0"]).assert_success();
    pinned_besides(&context, &host);
    // What cannot be had is told before anything is made of it.
    for (used, keys) in [
        ("networks: [n]", "networks:\n  n:\n    driver: macvlan\n"),
        ("networks: [n]", "networks:\n  n:\n    ipam: {config: [{subnet: 10.1.2.3/16}]}\n"),
        ("volumes: ['n:/n']", "volumes:\n  n:\n    driver: foo\n"),
        ("volumes: ['n:/n']", "volumes:\n  n:\n    driver_opts: {foo: bar}\n"),
    ] {
        let service = format!("name: bad\nservices:\n  web:\n    image: busybox\n    {used}\n");
        context.write("bad.yaml", service + keys);
        let bad = context.rbuild(["compose", "-f", "bad.yaml", "up", "-d"]).run();
        bad.assert_code(1);
        assert!(bad.stderr.starts_with("bad.yaml:8\n"), "{bad}");
        assert_eq!(said(&context, &["network", "ls", "-q", "--filter", "name=bad"]), "");
        assert_eq!(said(&context, &["volume", "ls", "-q"]), "");
    }
    context.write("none.yaml", format!("services:\n  web:\n    image: {host}/team/none\n"));
    let none = context.rbuild(["compose", "-f", "none.yaml", "up", "-d"]).run();
    none.assert_code(1);
    assert!(none.stderr.contains("none.yaml:3") && none.stderr.contains("services.web.image"), "{none}");
    // What was pushed says how it was made.
    let index = said(&context, &["imagetools", "inspect", "--raw", &format!("{host}/team/app:1")]);
    assert!(index.contains("attestation-manifest"), "{index}");
    assert_clean(&context);
}
