//! Other people's programs: what is made here is read by skopeo and umoci and run by runc; what a registry of Docker's
//! has is pulled, whoever it lets in.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use rbuild_testkit::certificates::Certificate;
use rbuild_testkit::context::TestContext;
use rbuild_testkit::privilege;
use rbuild_testkit::registry::{Access, PASSWORD, Registry, USER};
use rbuild_testkit::tokens::Tokens;
use serde_json::Value;

use crate::scene::{assert_clean, built_from, file, scene};

/// All that a layer can hold: links, modes, owners, an attribute of its own, what is removed and what is replaced.
const TEXT: &str = "\
FROM busybox
RUN mkdir -p /d/sub && echo one > /d/f && ln /d/f /d/hard && ln -s f /d/soft && chown 12:34 /d/f && chmod 4755 /d/f
RUN rm /d/hard && echo two > /d/sub/g && rm -r /home && mkfifo /d/fifo && touch '/d/na me'
ENV GREETING=hello
USER 0
WORKDIR /d
CMD [\"sh\", \"-c\", \"echo $GREETING $(cat f sub/g) $(id -u); test ! -e hard\"]
";

/// Whether a program is here. If not, the test says that it is skipped.
pub(crate) fn has(test: &str, program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        privilege::missing(test, &format!("{program} is not installed"));
    }
    found
}

/// Runs another program in the project's folder, with nothing of the caller's environment.
fn run<const N: usize>(context: &TestContext, program: &str, arguments: [&str; N]) -> Output {
    Command::new(program)
        .args(arguments)
        .current_dir(context.project())
        .env_clear()
        .env("HOME", context.home())
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"))
}

#[track_caller]
pub(crate) fn ran<const N: usize>(context: &TestContext, program: &str, arguments: [&str; N]) -> String {
    let output = run(context, program, arguments);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {told}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The digest of the config that a manifest names: the id of its image.
fn id_in(manifest: &str) -> String {
    let manifest: Value = serde_json::from_str(manifest).unwrap();
    manifest["config"]["digest"].as_str().unwrap().to_owned()
}

#[test]
fn archives_are_read_by_skopeo() {
    let name = "archives_are_read_by_skopeo";
    let Some(context) = scene(name) else { return };
    if !has(name, "skopeo") {
        return;
    }
    for (kind, keys) in [
        ("oci", ""),
        ("oci", ",compression=zstd"),
        ("oci", ",compression=uncompressed"),
        ("oci", ",oci-mediatypes=false"),
        ("docker", ""),
        ("docker", ",compression=uncompressed"),
    ] {
        let story = format!("type={kind}{keys}");
        built_from(&context, TEXT, ["-t", "app", "--iidfile", "id", "-o", &format!("{story},dest=app.tar")]);
        let id = file(&context, "id");
        // skopeo hashes all that it reads.
        let archive = format!("{kind}-archive:app.tar");
        ran(&context, "skopeo", ["copy", "--quiet", &archive, "dir:copied"]);
        let found = id_in(&file(&context, "copied/manifest.json"));
        if kind == "oci" {
            assert_eq!(found, id, "{story}: the same image");
        }
        let config: Value =
            serde_json::from_str(&ran(&context, "skopeo", ["inspect", "--config", &archive])).unwrap();
        assert_eq!(config["config"]["WorkingDir"], "/d", "{story}");
        assert_eq!(config["rootfs"]["diff_ids"].as_array().map(Vec::len), Some(4), "{story}");
        fs::remove_dir_all(context.project().join("copied")).unwrap();
    }
    built_from(&context, TEXT, ["-t", "app", "-t", "other:2"]);
    context.rbuild(["save", "-o", "saved.tar", "app", "other:2"]).run().assert_success();
    ran(&context, "skopeo", ["copy", "--quiet", "docker-archive:saved.tar:other:2", "dir:copied"]);

    // And back: what skopeo writes is loaded.
    let there = rbuild_testkit::context!();
    for kind in ["oci-archive:back.tar:docker.io/library/back:1", "docker-archive:back.tar:back:1"] {
        let _ = fs::remove_file(context.project().join("back.tar"));
        ran(&context, "skopeo", ["copy", "--quiet", "dir:copied", kind]);
        fs::copy(context.project().join("back.tar"), there.project().join("back.tar")).unwrap();
        there.rbuild(["load", "-i", "back.tar"]).run().assert_success();
        let ran = there.rbuild(["run", "--rm", "--network", "none", "back:1"]).run();
        assert_eq!(ran.assert_success().stdout, "hello one two 0\n", "{kind}");
        there.rbuild(["rmi", "--force", "back:1"]).run().assert_success();
    }
    assert_clean(&there);
    assert_clean(&context);
}

#[test]
fn an_archive_is_unpacked_by_umoci_and_run_by_runc() {
    let name = "an_archive_is_unpacked_by_umoci_and_run_by_runc";
    let Some(context) = scene(name) else { return };
    if !has(name, "umoci") || !has(name, "runc") {
        return;
    }
    built_from(&context, TEXT, ["-t", "app:1", "-o", "type=oci,dest=app.tar"]);
    fs::create_dir(context.project().join("layout")).unwrap();
    ran(&context, "tar", ["-xf", "app.tar", "-C", "layout"]);
    ran(&context, "umoci", ["unpack", "--image", "layout:1", "bundle"]);
    let root = context.project().join("bundle/rootfs");
    assert!(root.join("d/soft").is_symlink() && !root.join("d/hard").exists() && !root.join("home").exists());
    use std::os::unix::fs::MetadataExt as _;
    let meta = fs::metadata(root.join("d/f")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0o4755, 12, 34));

    let config = context.project().join("bundle/config.json");
    let mut spec: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    spec["process"]["terminal"] = false.into();
    fs::write(&config, spec.to_string()).unwrap();
    let id = format!("rbuild-test-{}", std::process::id());
    let output = run(&context, "runc", ["--root", "state", "run", "--bundle", "bundle", &id]);
    let told = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && !runs(&context, Path::new("bundle")) {
        return privilege::skipped(name, &format!("runc cannot run anything here: {told}"));
    }
    assert!(output.status.success(), "{told}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello one two 0\n");
    assert_clean(&context);
}

/// Whether runc can run a program of the machine's own busybox: if it cannot, that says nothing about the image.
fn runs(context: &TestContext, bundle: &Path) -> bool {
    let path = context.project().join(bundle).join("config.json");
    let mut spec: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    rbuild_testkit::rootfs::busybox(&context.project().join("plain/rootfs"));
    spec["process"]["args"] = serde_json::json!(["/bin/true"]);
    spec["process"]["cwd"] = "/".into();
    fs::write(context.project().join("plain/config.json"), spec.to_string()).unwrap();
    let id = format!("rbuild-test-plain-{}", std::process::id());
    run(context, "runc", ["--root", "state", "run", "--bundle", "plain", &id]).status.success()
}

/// Puts an image into a registry by skopeo and returns its id.
fn fill(context: &TestContext, registry: &str, name: &str, more: &[&str]) -> String {
    built_from(context, TEXT, ["-t", "app", "--iidfile", "id", "-o", "type=oci,dest=app.tar"]);
    let target = format!("docker://{registry}/{name}");
    let mut arguments = vec!["copy", "--quiet", "--dest-tls-verify=false"];
    arguments.extend(more);
    arguments.extend(["oci-archive:app.tar", &target]);
    let output = Command::new("skopeo").args(arguments).current_dir(context.project()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    file(context, "id")
}

/// Pulls an image, which has to be a certain one and to run.
#[track_caller]
fn pulled(context: &TestContext, name: &str, id: &str) {
    let pull = context.rbuild(["pull", name]).run();
    pull.assert_success();
    assert!(pull.stdout.contains("Status: Downloaded newer image for"), "{pull}");
    let found = context.rbuild(["inspect", "--format", "{{.Id}}", name]).run();
    assert_eq!(String::from_utf8_lossy(&found.assert_success().raw_stdout), format!("{id}\n"));
    let ran = context.rbuild(["run", "--rm", "--network", "none", name]).run();
    assert_eq!(ran.assert_success().stdout, "hello one two 0\n");
    let again = context.rbuild(["pull", name]).run();
    assert!(again.assert_success().stdout.contains("Status: Image is up to date for"), "{again}");
}

fn configure(context: &TestContext, text: &str) {
    let folder = context.home().join(".config/rbuild");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config.toml"), text).unwrap();
}

fn log_in(context: &TestContext, registry: &str, user: &str, password: &str) {
    let encoded = Command::new("sh")
        .args(["-c", "printf %s \"$0\" | base64", &format!("{user}:{password}")])
        .output()
        .unwrap();
    let encoded = String::from_utf8(encoded.stdout).unwrap();
    let text = serde_json::json!({ "auths": { registry: { "auth": encoded.trim() } } });
    fs::create_dir_all(context.home().join(".docker")).unwrap();
    fs::write(context.home().join(".docker/config.json"), text.to_string()).unwrap();
}

#[test]
fn images_are_pulled_from_an_open_registry_and_from_a_mirror() {
    let name = "images_are_pulled_from_an_open_registry_and_from_a_mirror";
    let Some(context) = scene(name) else { return };
    let Some(registry) = Registry::start(name).filter(|_| has(name, "skopeo")) else { return };
    let id = fill(&context, &registry.host(), "library/mirrored:1", &[]);
    let there = rbuild_testkit::context!();
    pulled(&there, &format!("{}/library/mirrored:1", registry.host()), &id);

    // As Docker Hub's, in a store that has nothing of it.
    let mirrored = rbuild_testkit::context!();
    configure(&mirrored, &format!("[registry.\"docker.io\"]\nmirrors = [\"http://{}\"]\n", registry.host()));
    pulled(&mirrored, "mirrored:1", &id);
    mirrored.write("Dockerfile", "FROM mirrored:1\nRUN test -e /d/sub/g\n");
    crate::scene::built(&mirrored, ["--pull"]);
    // What was pulled leaves with the manifest that it came with.
    let manifest = ran(
        &context,
        "skopeo",
        [
            "inspect",
            "--raw",
            "--tls-verify=false",
            &format!("docker://{}/library/mirrored:1", registry.host()),
        ],
    );
    mirrored.rbuild(["save", "-o", "saved.tar", "mirrored:1"]).run().assert_success();
    let saved = ran(&mirrored, "skopeo", ["inspect", "--raw", "oci-archive:saved.tar"]);
    assert_eq!(saved, manifest);
    let missing = there.rbuild(["pull", &format!("{}/library/no:1", registry.host())]).run();
    missing.assert_code(1);
    assert!(missing.stderr.contains("library/no:1"), "{missing}");
    for context in [&context, &there, &mirrored] {
        assert_clean(context);
    }
}

#[test]
fn registries_that_ask_who_is_there() {
    let name = "registries_that_ask_who_is_there";
    let Some(context) = scene(name) else { return };
    let Some(certificate) = Certificate::make(name).filter(|_| has(name, "skopeo")) else { return };
    let tokens = Tokens::start(&certificate);
    let realm = tokens.realm();
    let token = Access::Token { realm: &realm, certificate: &certificate };
    for access in [Access::Password, token] {
        let Some(registry) = Registry::start_with(name, access, None) else { return };
        let credentials = format!("{USER}:{PASSWORD}");
        let id = fill(&context, &registry.host(), "a/b:1", &["--dest-creds", &credentials]);
        let image = format!("{}/a/b:1", registry.host());
        let there = rbuild_testkit::context!();
        let refused = there.rbuild(["pull", &image]).run();
        refused.assert_code(1);
        assert!(refused.stderr.contains(&registry.host()), "{access:?}: {refused}");
        log_in(&there, &registry.host(), USER, "wrong");
        there.rbuild(["pull", &image]).run().assert_code(1);
        log_in(&there, &registry.host(), USER, PASSWORD);
        pulled(&there, &image, &id);
        assert_clean(&there);
    }
    let given = tokens.given();
    assert!(given.iter().any(|scope| scope == "repository:a/b:pull"), "the least that is needed: {given:?}");
    assert_clean(&context);
}

#[test]
fn an_authority_of_one_registry_vouches_for_no_other() {
    let name = "an_authority_of_one_registry_vouches_for_no_other";
    let Some(context) = scene(name) else { return };
    let Some(certificate) = Certificate::make(name).filter(|_| has(name, "skopeo")) else { return };
    let start = || Registry::start_with(name, Access::Open, Some(&certificate));
    let (Some(own), Some(other)) = (start(), start()) else { return };
    for registry in [&own, &other] {
        fill(&context, &registry.host(), "library/app:1", &[]);
    }
    // Loopback is spoken to in plain HTTP unless a URL says otherwise, which only mirrors have.
    let there = rbuild_testkit::context!();
    let mirror = |of: &str, registry: &Registry, ca: &str| {
        format!("[registry.\"{of}\"]\nmirrors = [\"https://{}\"]\n{ca}", registry.host())
    };
    let ca = format!("ca = \"{}\"\n", certificate.authority().display());
    configure(&there, &format!("{}{}", mirror("docker.io", &own, &ca), mirror("one.invalid", &other, "")));
    there.rbuild(["pull", "app:1"]).run().assert_success();
    let refused = there.rbuild(["pull", "one.invalid/library/app:1"]).run();
    refused.assert_code(1);
    configure(&there, &mirror("one.invalid", &other, &ca));
    there.rbuild(["pull", "one.invalid/library/app:1"]).run().assert_success();
    assert_clean(&there);
    assert_clean(&context);
}

#[test]
fn a_certificate_of_ones_own_opens_a_registry() {
    let name = "a_certificate_of_ones_own_opens_a_registry";
    let Some(context) = scene(name) else { return };
    let Some(certificate) = Certificate::make(name).filter(|_| has(name, "skopeo")) else { return };
    let Some(registry) = Registry::start_with(name, Access::Certificate, Some(&certificate)) else { return };
    let files = [
        ("ca.crt", certificate.authority()),
        ("client.cert", certificate.certificate()),
        ("client.key", certificate.key()),
    ];
    let lay = |folder: &Path| {
        fs::create_dir_all(folder).unwrap();
        for (name, file) in &files {
            fs::copy(file, folder.join(name)).unwrap();
        }
    };
    let shown = context.project().join("shown");
    lay(&shown);
    let id = fill(&context, &registry.host(), "a/b:1", &["--dest-cert-dir", shown.to_str().unwrap()]);
    let image = format!("{}/a/b:1", registry.host());

    let there = rbuild_testkit::context!();
    let [(_, ca), (_, cert), (_, key)] = &files;
    let trusted = format!("[registry.\"{}\"]\nca = \"{}\"\n", registry.host(), ca.display());
    configure(&there, &trusted);
    let refused = there.rbuild(["pull", &image]).run();
    refused.assert_code(1);
    assert!(refused.stderr.contains(&registry.host()), "{refused}");
    configure(&there, &format!("{trusted}cert = \"{}\"\nkey = \"{}\"\n", cert.display(), key.display()));
    pulled(&there, &image, &id);

    // Its certificate is for the address, and says nothing of any name.
    let by_name = registry.host().replace("127.0.0.1", "localhost");
    configure(&there, &format!("[registry.\"{by_name}\"]\nca = \"{}\"\n", ca.display()));
    let refused = there.rbuild(["pull", &format!("{by_name}/a/b:1")]).run();
    refused.assert_code(1);
    assert!(refused.stderr.contains("certificate"), "{refused}");

    // From where other engines have theirs, and in the other direction.
    let pushing = rbuild_testkit::context!();
    lay(&pushing.home().join(".config/containers/certs.d").join(registry.host()));
    pulled(&pushing, &image, &id);
    let other = format!("{}/a/c:1", registry.host());
    pushing.rbuild(["tag", &image, &other]).run().assert_success();
    pushing.rbuild(["push", &other]).run().assert_success();
    for context in [&context, &there, &pushing] {
        assert_clean(context);
    }
}
