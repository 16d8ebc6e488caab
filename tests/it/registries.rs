//! Images on their way to registries and between them, and the store as a registry for others.

use std::fs;

use rbuild_testkit::certificates::Certificate;
use rbuild_testkit::context::TestContext;
use rbuild_testkit::registry::{Access, PASSWORD, Registry, USER};
use rustix::process::Signal;
use serde_json::Value;

use crate::others::{has, ran};
use crate::scene::{assert_clean, built, built_from, scene};

const TEXT: &str = "\
FROM scratch
ARG TARGETARCH
COPY Dockerfile /$TARGETARCH
LABEL of=$TARGETARCH
";

/// What a name means at a registry, as skopeo fetches it.
fn raw(context: &TestContext, name: &str) -> Value {
    let name = format!("docker://{name}");
    let text = ran(context, "skopeo", ["inspect", "--raw", "--tls-verify=false", &name]);
    serde_json::from_str(&text).unwrap()
}

fn said(context: &TestContext, arguments: &[&str]) -> String {
    let output = context.rbuild(arguments).run();
    output.assert_success();
    String::from_utf8_lossy(&output.raw_stdout).into_owned()
}

fn digest_in(text: &str) -> String {
    let at = text.find("sha256:").expect("a digest is told");
    text[at..at + 71].to_owned()
}

#[test]
fn images_go_to_registries_and_between_them() {
    let name = "images_go_to_registries_and_between_them";
    let Some(context) = scene(name) else { return };
    let Some(here) = Registry::start(name).filter(|_| has(name, "skopeo")) else { return };
    let Some(there) = Registry::start(name) else { return };
    let (here, there) = (here.host(), there.host());
    let app = format!("{here}/team/app:1");

    // A build pushes an index with annotations on it, on its entries and on one of its manifests.
    context.write("Dockerfile", TEXT);
    let both = "linux/amd64,linux/arm64";
    let noted = ["--annotation", "index:a=1", "--annotation", "manifest-descriptor:b=2"];
    let own = ["--annotation", "manifest[linux/arm64]:c=3", "--metadata-file", "told.json"];
    let push = ["build", "-t", &app, "--push", "--platform", both, "."];
    said(&context, &[&push[..], &noted, &own].concat());
    let index = raw(&context, &app);
    assert_eq!(index["annotations"]["a"], "1");
    let entries = index["manifests"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    assert!(entries.iter().all(|entry| entry["annotations"]["b"] == "2"), "{entries:?}");
    let arm = format!("{here}/team/app@{}", entries[1]["digest"].as_str().unwrap());
    assert_eq!(raw(&context, &arm)["annotations"]["c"], "3");
    let told: Value =
        serde_json::from_str(&fs::read_to_string(context.project().join("told.json")).unwrap()).unwrap();
    let inspected = said(&context, &["imagetools", "inspect", "--format", "{{.Manifest.Digest}}", &app]);
    assert_eq!(told["containerimage.digest"].as_str(), Some(inspected.as_str()));

    // Another repository of the registry takes the layers over; what is missing is told of.
    let other = format!("{here}/other:2");
    said(&context, &["tag", &app, &other]);
    let pushed = said(&context, &["push", &other]);
    assert!(pushed.starts_with(&format!("The push refers to repository [{here}/other]\n")), "{pushed}");
    assert!(pushed.contains(": Mounted\n") && pushed.contains("\n2: digest: sha256:"), "{pushed}");
    assert_eq!(said(&context, &["push", "-q", &other]), format!("{other}\n"));
    let missing = context.rbuild(["push", &format!("{here}/other:3")]).run();
    missing.assert_code(1);
    assert!(missing.stderr.contains("tag does not exist") && missing.stderr.contains("[2]"), "{missing}");

    // All of it goes to another registry as it is; one platform goes alone.
    let copied = format!("{there}/copied:1");
    assert_eq!(said(&context, &["copy", "-q", &app, &copied]), format!("{inspected}\n"));
    assert_eq!(raw(&context, &copied), index);
    let narrow = format!("{there}/narrow:1");
    said(&context, &["copy", "--platform", "linux/arm64", &app, &narrow]);
    assert_eq!(raw(&context, &narrow)["annotations"]["c"], "3");

    // Images become an index, as buildx and as docker put them together.
    let single = format!("{there}/narrow@{}", entries[1]["digest"].as_str().unwrap());
    let both = format!("{there}/both:1");
    said(&context, &["imagetools", "create", "-t", &both, "--annotation", "index:x=y", &copied, &single]);
    let combined = raw(&context, &both);
    assert_eq!(combined["manifests"].as_array().map(Vec::len), Some(2), "{combined}");
    assert_eq!(combined["annotations"]["x"], "y");
    let list = format!("{there}/list:1");
    said(&context, &["manifest", "create", &list, &narrow]);
    said(&context, &["manifest", "annotate", "--variant", "v8", &list, &narrow]);
    context.rbuild(["manifest", "create", &list, &narrow]).run().assert_code(1);
    let pushed = said(&context, &["manifest", "push", "--purge", &list]);
    assert!(pushed.starts_with("sha256:"), "{pushed}");
    assert_eq!(raw(&context, &list)["manifests"][0]["platform"]["variant"], "v8");
    context.rbuild(["manifest", "rm", &list]).run().assert_code(1);

    // A large layer leaves while it is packed, and arrives as what it is.
    let noise: Vec<u8> =
        std::iter::successors(Some(1_u64), |last| Some(last.wrapping_mul(6_364_136_223_846_793_005) + 1))
            .take(6 << 20)
            .map(|number| (number >> 56) as u8)
            .collect();
    fs::write(context.project().join("noise"), &noise).unwrap();
    let large = format!("{here}/large:1");
    built_from(&context, "FROM scratch\nCOPY noise /\n", ["-t", &large]);
    said(&context, &["push", &large]);
    let (from, to) = (format!("docker://{large}"), format!("dir:{}/arrived", context.project().display()));
    ran(&context, "skopeo", ["copy", "--src-tls-verify=false", &from, &to]);

    // Offline nobody is asked; what is here is still there.
    let offline = context.rbuild(["--offline", "pull", &app]).run();
    offline.assert_code(1);
    assert!(offline.stderr.contains("this is offline"), "{offline}");
    assert_clean(&context);
}

#[test]
fn who_logs_in_is_known_until_he_logs_out() {
    let name = "who_logs_in_is_known_until_he_logs_out";
    let Some(context) = scene(name) else { return };
    let Some(registry) = Registry::start_with(name, Access::Password, None) else { return };
    let host = registry.host();
    let app = format!("{host}/app:1");
    built_from(&context, "FROM scratch\nCOPY Dockerfile /\n", ["-t", &app]);
    context.rbuild(["push", &app]).run().assert_code(1);
    let log_in = |password: &str| {
        let input = format!("{password}\n");
        context.rbuild(["login", "-u", USER, "--password-stdin", &host]).input(input).run()
    };
    let wrong = log_in("wrong");
    wrong.assert_code(1);
    let file = context.home().join(".docker/config.json");
    assert!(!file.exists(), "what the registry does not take is not kept");
    let right = log_in(PASSWORD);
    assert_eq!(right.assert_success().stdout, "Login Succeeded\n");
    assert!(!right.stderr.contains(PASSWORD) && right.stderr.contains("unencrypted"), "{right}");
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let again = context.rbuild(["login", &host]).run();
    assert!(again.assert_success().stdout.contains("existing credentials"), "{again}");
    context.rbuild(["push", &app]).run().assert_success();
    let out = context.rbuild(["logout", &host]).run();
    assert_eq!(
        out.assert_success().raw_stdout,
        format!("Removing login credentials for {host}\n").as_bytes()
    );
    context.rbuild(["push", &app]).run().assert_code(1);
    let asked = context.rbuild(["login", &host]).run();
    asked.assert_code(1);
    assert!(asked.stderr.contains("there is no terminal"), "{asked}");
    assert_clean(&context);
}

#[test]
fn the_store_is_a_registry_for_others() {
    let name = "the_store_is_a_registry_for_others";
    let Some(context) = scene(name) else { return };
    if !has(name, "skopeo") {
        return;
    }
    built_from(&context, "FROM busybox\nRUN echo made > /made\n", ["-t", "app:1", "-t", "team/app:1"]);
    let serving = context.rbuild(["registry", "serve", "127.0.0.1:0", "--allow-push"]).start();
    let host = serving.line("serving on http://");

    // Our own client gets what was built here, and pushes something back.
    let there = rbuild_testkit::context!();
    let pulled = format!("{host}/app:1");
    said(&there, &["pull", &pulled]);
    assert_eq!(said(&there, &["run", "--rm", "--network", "none", &pulled, "cat", "/made"]), "made\n");
    there.write("Dockerfile", format!("FROM {pulled}\nRUN echo more > /more\n"));
    let more = format!("{host}/ghcr.io/me/more:2");
    built(&there, ["-t", &more, "--push"]);
    let manifest = raw(&context, &more);
    assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(3), "{manifest}");

    // So does skopeo, which hashes all that it gets; what it copies back is the same.
    let (source, back) = (format!("docker://{more}"), format!("docker://{host}/back:1"));
    ran(&context, "skopeo", ["copy", "--quiet", "--src-tls-verify=false", &source, "dir:copied"]);
    ran(&context, "skopeo", ["copy", "--quiet", "--dest-tls-verify=false", "dir:copied", &back]);
    let again = raw(&context, &format!("{host}/back:1"));
    assert_eq!(again, manifest);
    let tags = ran(&context, "skopeo", ["list-tags", "--tls-verify=false", &format!("docker://{host}/app")]);
    assert!(tags.contains("\"1\""), "{tags}");
    let found = said(&there, &["search", &format!("{host}/more"), "--format", "{{.Name}}"]);
    assert_eq!(found, format!("{host}/ghcr.io/me/more\n"));
    let gone = format!("docker://{host}/back:1");
    let refused = std::process::Command::new("skopeo").args(["delete", "--tls-verify=false", &gone]).output();
    assert!(!refused.unwrap().status.success(), "nothing is deleted unless that is allowed");

    // A signal ends it; what was pushed is there for the next one, who shows a certificate and asks who is there.
    serving.signal(Signal::TERM);
    let ended = serving.wait();
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(ended.stderr.contains("200 GET /v2/app/manifests/1"), "{}", ended.stderr);
    let Some(certificate) = Certificate::make(name) else { return };
    context.write("users", "anna:$2b$04$9DZULBhSI79LbRFqdV1hFe3BkMOV8ajEipog.AimR/PVIIwG.HA9u\n");
    let pushed = said(&context, &["registry", "ls", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert_eq!(pushed, "back:1\nghcr.io/me/more:2\n");
    said(&context, &["registry", "rm", "back"]);
    context.rbuild(["registry", "rm", "back:1"]).run().assert_code(1);
    let (cert, key) = (certificate.certificate(), certificate.key());
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let tls =
        ["registry", "serve", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key, "--htpasswd", "users"];
    let serving = context.rbuild(tls).start();
    let host = serving.line("serving on https://");
    let more = format!("{host}/ghcr.io/me/more:2");
    // Who has an authority for it speaks TLS, on this machine too; folders of certificates are Docker's.
    let folder = there.home().join(".config/docker/certs.d").join(&host);
    fs::create_dir_all(&folder).unwrap();
    fs::copy(certificate.authority(), folder.join("ca.crt")).unwrap();
    there.rbuild(["pull", &more]).run().assert_code(1);
    let input = format!("{PASSWORD}\n");
    there.rbuild(["login", "-u", USER, "--password-stdin", &host]).input(input).run().assert_success();
    let pulled = said(&there, &["pull", &more]);
    assert_eq!(digest_in(&pulled).len(), 71);
    let pushed = there.rbuild(["copy", &more, &format!("{host}/no:1")]).run();
    pushed.assert_code(1);
    drop(serving);

    // What was pushed is told of, and goes with all that nobody uses.
    let pushed = || said(&context, &["du", "--format", "{{.Type}}={{.TotalCount}}"]);
    assert!(!pushed().contains("Pushed Here=0\n"), "{}", pushed());
    let pruned = said(&context, &["prune", "--all", "--force"]);
    assert!(pruned.contains("pushed here: ghcr.io/me/more:2\n"), "{pruned}");
    assert!(pushed().contains("Pushed Here=0\n"), "{}", pushed());
    assert_eq!(said(&context, &["registry", "ls", "--format", "{{.Repository}}"]), "");
    assert_clean(&there);
}
