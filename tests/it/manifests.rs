//! What registries say of images, and lists that are put together of them: as buildx and docker print and write them.

use rbuild_model::digest::BlobDigest;
use rbuild_testkit::context::TestContext;
use rbuild_testkit::running::Running;
use rbuild_testkit::web::{Reply, Web};
use serde_json::Value;

use crate::scene::{assert_clean, built, built_from, said, scene};

const TEXT: &str = "\
FROM scratch
ARG TARGETARCH
COPY Dockerfile /$TARGETARCH
LABEL of=$TARGETARCH z=1 a='<&>'
HEALTHCHECK CMD true
";

/// A registry of another store, and its host.
fn registry(there: &TestContext) -> (Running, String) {
    let serving = there.rbuild(["registry", "serve", "127.0.0.1:0", "--allow-push"]).start();
    let host = serving.line("serving on http://");
    (serving, host)
}

/// What the program writes, to the byte.
#[track_caller]
fn exactly(context: &TestContext, arguments: &[&str]) -> String {
    let output = context.rbuild(arguments).run();
    output.assert_success();
    String::from_utf8(output.raw_stdout).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn images_at_registries_are_shown_and_combined_as_buildx_does() {
    let Some(context) = scene("images_at_registries_are_shown_and_combined_as_buildx_does") else { return };
    let there = rbuild_testkit::context!();
    let (_serving, host) = registry(&there);
    let image = format!("{host}/app:1");
    context.write("Dockerfile", TEXT);
    let platforms = "linux/amd64,linux/arm64,linux/arm/v7";
    built(
        &context,
        ["--platform", platforms, "--annotation", "index:ix=1", "--provenance=true", "-t", &image, "--push"],
    );

    // The index with what names it, the platforms in the order of texts, the fields of the specification in its order; no line
    // is ended.
    let shown = |format: &str| exactly(&context, &["imagetools", "inspect", "--format", format, &image]);
    let raw = exactly(&context, &["imagetools", "inspect", "--raw", &image]);
    let digest = BlobDigest::of(raw.as_bytes()).to_string();
    assert_eq!(shown("{{.Manifest.Digest}}"), digest);
    let text = shown("{{json .Manifest}}");
    assert!(text.ends_with('}'), "{text:?}");
    let manifest: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(keys(&manifest), ["schemaVersion", "mediaType", "digest", "size", "manifests", "annotations"]);
    assert_eq!(
        (manifest["digest"].as_str(), manifest["size"].as_u64()),
        (Some(&*digest), Some(raw.len() as u64))
    );
    assert_eq!(keys(&manifest["manifests"][5]), ["mediaType", "digest", "size", "annotations", "platform"]);
    let all: Value = serde_json::from_str(&shown("{{json .}}")).unwrap();
    assert_eq!(keys(&all), ["name", "manifest", "image"]);
    assert_eq!(all["manifest"], manifest);
    let text = shown("{{json .Image}}");
    assert!(text.contains(r#""a": "\u003c\u0026\u003e""#), "{text}");
    let images: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(keys(&images), ["linux/amd64", "linux/arm/v7", "linux/arm64"]);
    let one = &images["linux/arm/v7"];
    assert_eq!(keys(one), ["created", "architecture", "os", "variant", "config", "rootfs", "history"]);
    assert_eq!(keys(&one["config"]), ["Env", "WorkingDir", "Labels"]);

    // One platform of an index: with what is said of it, and with the rest of the index.
    let dry = |arguments: &[&str]| -> Value {
        let fixed = ["imagetools", "create", "--builder=default", "--dry-run", "-t", &image];
        serde_json::from_str(&exactly(&context, &[&fixed[..], arguments].concat())).unwrap()
    };
    let narrow = dry(&["-p", "linux/arm64", &image]);
    assert_eq!(narrow["annotations"]["ix"], "1");
    let [arm64, about] = &narrow["manifests"].as_array().unwrap()[..] else { panic!("{narrow:#}") };
    assert_eq!(about["annotations"]["vnd.docker.reference.digest"], arm64["digest"]);
    let annotated = dry(&["--annotation", "manifest-descriptor[linux/arm64]:q=1", &image]);
    let of = |at: usize| annotated["manifests"][at]["annotations"]["q"].as_str();
    assert_eq!((of(0), of(1), &annotated["annotations"]), (None, Some("1"), &Value::Null));
    let none = context
        .rbuild(["imagetools", "create", "--dry-run", "-t", &image, "-p", "linux/s390x", &image])
        .run();
    none.assert_code(1);
    assert!(
        none.stderr.contains("none of the manifests match the provided platforms [linux/s390x]"),
        "{none}"
    );
    assert_clean(&context);
}

#[test]
fn lists_of_manifests_are_written_as_docker_writes_them() {
    let Some(context) = scene("lists_of_manifests_are_written_as_docker_writes_them") else { return };
    let there = rbuild_testkit::context!();
    let (_serving, host) = registry(&there);
    let image = |name: &str, output: &str| {
        let name = format!("{host}/{name}:1");
        let output = format!("type=image,push=true,{output}");
        built_from(
            &context,
            "FROM scratch\nCOPY Dockerfile /\n",
            ["--provenance=false", "-t", &name, "-o", &output],
        );
        name
    };
    let (oci, docker) = (image("oci", "oci-mediatypes=true"), image("docker", "oci-mediatypes=false"));
    let list = format!("{host}/list:1");
    for (entries, kind) in [
        (vec![&docker], "application/vnd.docker.distribution.manifest.list.v2+json"),
        (vec![&oci], "application/vnd.oci.image.index.v1+json"),
        (vec![&oci, &docker], "application/vnd.oci.image.index.v1+json"),
    ] {
        let mut create = vec!["manifest", "create", "--insecure", &list];
        create.extend(entries.iter().map(|entry| entry.as_str()));
        exactly(&context, &create);
        let text = exactly(&context, &["manifest", "inspect", "--insecure", &list]);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["mediaType"], kind, "{text}");
        assert_eq!(keys(&value["manifests"][0]), ["mediaType", "size", "digest", "platform"]);
        // The manifest itself, and what the list says of it.
        let manifest: Value =
            serde_json::from_str(&exactly(&context, &["manifest", "inspect", &list, entries[0]])).unwrap();
        assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(1), "{manifest:#}");
        let told: Value =
            serde_json::from_str(&exactly(&context, &["manifest", "inspect", "-v", &list, entries[0]]))
                .unwrap();
        assert_eq!(told["Ref"], entries[0].as_str());
        // What was shown is what is pushed.
        let pushed = exactly(&context, &["manifest", "push", "--insecure", "--purge", &list]);
        assert_eq!(pushed.trim_end(), BlobDigest::of(text.trim_end().as_bytes()).to_string());
        assert_eq!(exactly(&context, &["imagetools", "inspect", "--raw", &list]), text.trim_end());
    }
    assert_clean(&context);
}

#[test]
fn a_registry_without_tls_is_asked_where_that_is_said() {
    let Some(mut context) = scene("a_registry_without_tls_is_asked_where_that_is_said") else { return };
    const KIND: &str = "application/vnd.oci.image.index.v1+json";
    // A proxy, as names of this machine are asked in the clear at any time. It leads to no TLS.
    let proxy = Web::start(|request| {
        let body = format!(r#"{{"schemaVersion":2,"mediaType":"{KIND}","manifests":[]}}"#);
        if request.path.ends_with("/v2/app/manifests/1") {
            Reply::of(body).header("Content-Type", KIND)
        } else {
            Reply::status(403)
        }
    });
    context.set("http_proxy", format!("http://{}", proxy.host()));
    context.set("https_proxy", format!("http://{}", proxy.host()));
    let refused = context.rbuild(["manifest", "inspect", "r.test/app:1"]).run();
    refused.assert_code(1);
    assert!(refused.stderr.contains("cannot reach https://r.test"), "{refused}");
    let text = exactly(&context, &["manifest", "inspect", "--insecure", "r.test/app:1"]);
    assert!(text.contains(KIND), "{text}");
}

#[test]
fn all_tags_of_a_repository_are_pulled() {
    let Some(context) = scene("all_tags_of_a_repository_are_pulled") else { return };
    let there = rbuild_testkit::context!();
    let (serving, host) = registry(&there);
    let app = format!("{host}/app");
    let tags = ["1", "2", "next"].map(|tag| format!("{app}:{tag}"));
    for tag in &tags {
        context.write("Dockerfile", format!("FROM scratch\nCOPY Dockerfile /\n# {tag}\n"));
        built(&context, ["-t", tag, "--push"]);
        said(&context, ["rmi", tag]);
    }
    assert_eq!(exactly(&context, &["pull", "-aq", &app]), format!("{app}\n"));
    for tag in &tags {
        said(&context, ["inspect", tag]);
    }
    let told = exactly(&context, &["pull", "--all-tags", &app]);
    assert!(tags.iter().all(|tag| told.contains(&format!("Image is up to date for {tag}\n"))), "{told}");
    let tagged = context.rbuild(["pull", "-a", &tags[0]]).run();
    tagged.assert_code(125);
    assert!(tagged.stderr.contains("tag can't be used with --all-tags/-a"), "{tagged}");
    context.rbuild(["pull", "-a", &format!("{host}/other")]).run().assert_code(1);

    // Who is told no about a name that is here did not mean another.
    drop(serving);
    let offline = |name: &str| {
        let refused = context.rbuild(["--offline", "pull", name]).run();
        refused.assert_code(1);
        refused.stderr
    };
    assert!(!offline(&tags[0]).contains("did you mean"), "{}", offline(&tags[0]));
    assert!(
        offline(&format!("{app}:3")).contains(&format!("did you mean `{}`", tags[0])),
        "{}",
        offline(&app)
    );
    assert_clean(&context);
}
