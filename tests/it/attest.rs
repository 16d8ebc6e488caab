//! What is said about results: what is in them, how they were made.

use std::fs;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use rbuild_testkit::context::TestContext;
use rbuild_testkit::privilege;
use rbuild_testkit::registry::Registry;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::scene::{assert_clean, build, built, scene};

/// Two package managers, an argument, a secret.
const TEXT: &str = "\
FROM busybox AS tools
RUN --mount=type=secret,id=token echo tool > /tool
FROM busybox
ARG FLAVOUR=plain
COPY --from=tools /tool /tool
COPY installed /lib/apk/db/installed
COPY package.json /srv/node_modules/counter/package.json
RUN echo $FLAVOUR > /flavour
LABEL kind=test
";

/// A layout that was unpacked.
struct Layout<'a>(&'a Path);

impl Layout<'_> {
    fn json(&self, digest: &Value) -> Value {
        let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
        serde_json::from_slice(&fs::read(self.0.join("blobs/sha256").join(hex)).unwrap()).unwrap()
    }
}

fn write(context: &TestContext) {
    context.write("Dockerfile", TEXT);
    context.write("installed", "P:musl\nV:1.2.5-r0\nA:x86_64\n\n");
    context.write("package.json", r#"{"name": "counter", "version": "1.0.0"}"#);
}

/// Asks of a provenance that it names what was asked for, and no values of arguments in the steps.
#[track_caller]
fn assert_provenance(statement: &Value) {
    let made = &statement["predicate"];
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    let definition = &made["buildDefinition"];
    let request = &definition["externalParameters"]["request"];
    assert_eq!(request["args"]["build-arg:FLAVOUR"], "sweet");
    assert_eq!(request["secrets"], json!([{"id": "token", "optional": true}]));
    assert_eq!(request["args"]["no-cache"], "");
    assert_eq!(request["locals"], json!([{"name": "context"}, {"name": "dockerfile"}]));
    let sources = definition["resolvedDependencies"].as_array().unwrap();
    assert!(
        sources[0]["uri"].as_str().unwrap().starts_with("pkg:docker/busybox@latest?platform="),
        "{sources:?}"
    );
    let steps = definition["internalParameters"]["buildConfig"]["steps"].to_string();
    assert!(steps.contains("RUN echo $FLAVOUR") && !steps.contains("sweet"), "{steps}");
    let metadata = &made["runDetails"]["metadata"];
    assert_eq!(metadata["startedOn"], "2023-11-14T22:13:20Z");
    // The Dockerfile is there, and says of each step where it stands.
    let written = &metadata["buildkit_metadata"]["source"];
    let text =
        base64::engine::general_purpose::STANDARD.decode(written["infos"][0]["data"].as_str().unwrap());
    assert_eq!(
        (&written["infos"][0]["filename"], &text.unwrap()[..]),
        (&json!("Dockerfile"), TEXT.as_bytes())
    );
    let steps = definition["internalParameters"]["buildConfig"]["steps"].as_array().unwrap();
    let last =
        steps.iter().find(|step| step["name"].as_str().unwrap().contains("RUN echo $FLAVOUR")).unwrap();
    let lines = &written["locations"][last["id"].as_str().unwrap()]["locations"][0]["ranges"];
    assert_eq!(lines, &json!([{"start": {"line": 8}, "end": {"line": 8}}]));
}

/// Asks of a provenance that it names the layers of the image under the steps that made them.
#[track_caller]
fn assert_layers(statement: &Value, image: &Value) {
    let made = &statement["predicate"];
    let layers = image["layers"].as_array().unwrap();
    let steps = made["buildDefinition"]["internalParameters"]["buildConfig"]["steps"].as_array().unwrap();
    let of = |name: &str| {
        let step = steps.iter().find(|step| step["name"].as_str().unwrap().contains(name)).unwrap();
        made["runDetails"]["metadata"]["buildkit_metadata"]["layers"]
            .get(format!("{}:0", step["id"].as_str().unwrap()))
    };
    assert_eq!(of("RUN echo $FLAVOUR"), Some(&json!([layers])));
    let below = layers.len() - 1;
    assert_eq!(of("COPY package.json"), Some(&json!([layers[..below]])));
    assert_eq!(of("FROM busybox"), Some(&json!([layers[..below - 3]])));
    assert_eq!(of("RUN --mount=type=secret"), None, "no layer of the image is made by it");
}

/// Asks of a bill of materials that it has the packages that were installed.
#[track_caller]
fn assert_packages(statement: &Value) {
    let document = &statement["predicate"];
    assert_eq!((&document["spdxVersion"], &document["dataLicense"]), (&json!("SPDX-2.3"), &json!("CC0-1.0")));
    let packages = document["packages"].as_array().unwrap();
    let urls: Vec<&str> = packages
        .iter()
        .filter_map(|package| package["externalRefs"][0]["referenceLocator"].as_str())
        .collect();
    assert_eq!(urls, ["pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64", "pkg:npm/counter@1.0.0"]);
}

#[test]
fn facts_stand_beside_the_image_in_an_archive() {
    let Some(context) = scene("facts_stand_beside_the_image_in_an_archive") else { return };
    write(&context);
    for folder in ["one", "two"] {
        let output = context
            .rbuild([
                "build",
                "-t",
                "app:v1",
                "--sbom",
                "--provenance=mode=max",
                "--build-arg",
                "FLAVOUR=sweet",
                "--no-cache",
                "-o",
                &format!("type=oci,dest={folder}.tar"),
                ".",
            ])
            .env("SOURCE_DATE_EPOCH", "1700000000")
            .run();
        output.assert_success();
        fs::create_dir(context.project().join(folder)).unwrap();
        let mut tar = Command::new("tar");
        tar.args(["-xf", &format!("{folder}.tar"), "-C", folder]).current_dir(context.project());
        assert!(tar.status().unwrap().success());
    }
    let archive = |name: &str| fs::read(context.project().join(name)).unwrap();
    assert_eq!(archive("one.tar"), archive("two.tar"), "equal builds say equal things");

    let folder = context.project().join("one");
    let layout = Layout(&folder);
    let top: Value = serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
    let index = layout.json(&top["manifests"][0]["digest"]);
    let [image, facts] = &index["manifests"].as_array().unwrap()[..] else { panic!("{index:#}") };
    assert_eq!(facts["platform"], json!({"architecture": "unknown", "os": "unknown"}));
    assert_eq!(
        facts["annotations"],
        json!({
            "vnd.docker.reference.digest": image["digest"],
            "vnd.docker.reference.type": "attestation-manifest",
        })
    );
    let manifest = layout.json(&facts["digest"]);
    let config = layout.json(&manifest["config"]["digest"]);
    assert_eq!((&config["os"], &config["rootfs"]["type"]), (&json!("unknown"), &json!("layers")));
    let statements: Vec<Value> =
        manifest["layers"].as_array().unwrap().iter().map(|layer| layout.json(&layer["digest"])).collect();
    for (statement, layer) in statements.iter().zip(manifest["layers"].as_array().unwrap()) {
        assert_eq!(layer["mediaType"], "application/vnd.in-toto+json");
        assert_eq!(layer["annotations"]["in-toto.io/predicate-type"], statement["predicateType"]);
        let about = format!("sha256:{}", statement["subject"][0]["digest"]["sha256"].as_str().unwrap());
        assert_eq!(image["digest"], about);
        assert!(
            statement["subject"][0]["name"]
                .as_str()
                .unwrap()
                .starts_with("pkg:docker/app@v1?platform=linux%2F")
        );
    }

    assert_provenance(&statements[0]);
    assert_layers(&statements[0], &layout.json(&image["digest"]));
    assert_packages(&statements[1]);

    // Who reads the archive gets the image and what is said about it, and can hand both on.
    context.rbuild(["load", "-i", "one.tar"]).run().assert_success();
    let ran = context.rbuild(["run", "--rm", "--network", "none", "app:v1", "cat", "/flavour"]).run();
    assert_eq!(ran.assert_success().stdout, "sweet\n");
    context.rbuild(["save", "-o", "saved.tar", "app:v1"]).run().assert_success();
    let mut tar = Command::new("tar");
    tar.args(["-tf", "saved.tar"]).current_dir(context.project());
    let saved = String::from_utf8(tar.output().unwrap().stdout).unwrap();
    for layer in manifest["layers"].as_array().unwrap() {
        assert!(saved.contains(layer["digest"].as_str().unwrap().trim_start_matches("sha256:")), "{saved}");
    }

    // The least says nothing of arguments; without a flag nothing is said; without an image that leaves there is nobody to tell.
    built(&context, ["--attest", "type=provenance", "-o", "type=oci,dest=least.tar"]);
    let least = String::from_utf8_lossy(&archive("least.tar")).into_owned();
    assert!(
        least.contains("resolvedDependencies") && !least.contains("build-arg:") && !least.contains("spdx")
    );
    built(&context, ["-o", "type=oci,dest=none.tar"]);
    assert!(!String::from_utf8_lossy(&archive("none.tar")).contains("in-toto"));
    let refused = build(&context, ["--sbom", "-o", "type=docker,dest=x.tar"]);
    assert!(refused.stderr.contains("an archive of `type=docker` with attestations"), "{refused}");
    // What is said only in an index that is there anyway makes none.
    built(&context, ["--provenance=inline-only=true", "-o", "type=oci,dest=none.tar"]);
    assert!(!String::from_utf8_lossy(&archive("none.tar")).contains("in-toto"));
    let output = "type=oci,dest=inline.tar,attestation-inline=true";
    built(&context, ["--provenance=inline-only=true", "-o", output]);
    assert!(String::from_utf8_lossy(&archive("inline.tar")).contains("in-toto"));
    assert_clean(&context);
}

#[test]
fn facts_lie_beside_files() {
    let Some(context) = scene("facts_lie_beside_files") else { return };
    context.write("Dockerfile", "FROM scratch\nCOPY data /etc/data\nCOPY installed /lib/apk/db/installed\n");
    context.write("data", "data");
    context.write("installed", "P:musl\nV:1.2.5-r0\n\n");
    let asked = "--provenance=version=v0.2,filename=made.json,reproducible=true";
    let with = |output| ["--sbom", asked, "-o", output];
    built(&context, with("type=local,dest=files,attestation-prefix=of-"));
    let files = context.project().join("files");
    let read =
        |name: &str| -> Value { serde_json::from_slice(&fs::read(files.join(name)).unwrap()).unwrap() };
    let (made, bill) = (read("of-made.json"), read("of-sbom.spdx.json"));
    let names = |statement: &Value| -> Vec<String> {
        let subjects = statement["subject"].as_array().unwrap().iter();
        subjects.map(|subject| subject["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&made), ["etc/data", "lib/apk/db/installed"]);
    assert_eq!(names(&bill), names(&made));
    let data = "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7";
    assert_eq!(made["subject"][0]["digest"]["sha256"], data);
    assert_eq!(made["predicateType"], "https://slsa.dev/provenance/v0.2");
    assert_eq!(made["predicate"]["metadata"]["reproducible"], true);
    assert_eq!(made["predicate"]["invocation"]["configSource"]["entryPoint"], "Dockerfile");
    assert_eq!(bill["predicate"]["packages"][1]["name"], "musl");

    // Once more into the same folder; and into a tar.
    built(&context, with("type=local,dest=files,attestation-prefix=of-"));
    built(&context, with("type=tar,dest=files.tar"));
    let mut tar = Command::new("tar");
    let listed = tar.args(["-tf", "files.tar"]).current_dir(context.project()).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("\nmade.json\n") && listed.contains("\nsbom.spdx.json\n"), "{listed}");

    // A name that the result has itself is not taken from it.
    context.write("Dockerfile", "FROM scratch\nCOPY data /made.json\n");
    let refused = build(&context, with("type=local,dest=other"));
    assert!(refused.stderr.contains("the result has a file `made.json`"), "{refused}");
    assert!(!context.project().join("other").exists());
    assert_clean(&context);
}

#[test]
fn what_is_said_stays_with_the_image_until_it_leaves() {
    let Some(context) = scene("what_is_said_stays_with_the_image_until_it_leaves") else { return };
    let there = rbuild_testkit::context!();
    let serving = there.rbuild(["registry", "serve", "127.0.0.1:0", "--allow-push"]).start();
    let host = serving.line("serving on http://");
    let image = format!("{host}/app:v1");
    let inspect = |arguments: &[&str], image: &str| -> Value {
        let output = context.rbuild([&["imagetools", "inspect"], arguments, &[image]].concat()).run();
        serde_json::from_slice(&output.assert_success().raw_stdout).unwrap()
    };
    context.write("Dockerfile", "FROM scratch\nCOPY installed /lib/apk/db/installed\n");
    context.write("installed", "P:musl\nV:1.2.5-r0\nA:x86_64\n\n");

    // The image stays; what is said about it leaves with it.
    built(&context, ["--sbom", "--provenance=mode=max", "-t", &image]);
    context.rbuild(["push", &image]).run().assert_success();
    let index = inspect(&["--raw"], &image);
    let [entry, facts] = &index["manifests"].as_array().unwrap()[..] else { panic!("{index:#}") };
    assert_eq!(facts["annotations"]["vnd.docker.reference.digest"], entry["digest"]);
    let bill = inspect(&["--format", "{{json .SBOM}}"], &image);
    let package = &bill["SPDX"]["packages"][1];
    assert_eq!(package["externalRefs"][0]["referenceLocator"], "pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64");
    let made = inspect(&["--format", "{{json .Provenance.SLSA}}"], &image);
    assert_eq!(made["buildDefinition"]["buildType"], "urn:rbuild:dockerfile:v1");
    // Its layers got their names when it was packed.
    let pushed = inspect(&["--raw"], &format!("{host}/app@{}", entry["digest"].as_str().unwrap()));
    let named = made["runDetails"]["metadata"]["buildkit_metadata"]["layers"].as_object().unwrap();
    assert_eq!(named.values().collect::<Vec<_>>(), [&json!([pushed["layers"]])]);

    // A build that says nothing takes it back.
    built(&context, ["-t", &image]);
    context.rbuild(["push", &image]).run().assert_success();
    assert!(inspect(&["--raw"], &image).get("layers").is_some());
    // In one manifest there is no place for it, and nothing refers to it; so buildx says as well.
    let plain = inspect(&["--format", "{{json .Image.os}}"], &image);
    assert_eq!(plain, "linux");

    // As an artifact it refers to the image, and the registry lists it.
    let artifact = format!("{host}/artifact:1");
    built(&context, ["--provenance=mode=max", "-t", &artifact, "-o", "type=registry,oci-artifact=true"]);
    let index = inspect(&["--raw"], &artifact);
    let by_digest =
        |at: usize| format!("{host}/artifact@{}", index["manifests"][at]["digest"].as_str().unwrap());
    let manifest = inspect(&["--raw"], &by_digest(1));
    assert_eq!(manifest["artifactType"], "application/vnd.docker.attestation.manifest.v1+json");
    assert_eq!(manifest["subject"]["digest"], index["manifests"][0]["digest"]);
    assert_eq!(manifest["config"]["data"], "e30=");
    let alone = inspect(&["--format", "{{json .Provenance}}"], &by_digest(0));
    assert!(alone["SLSA"]["buildDefinition"]["internalParameters"]["buildConfig"].is_object(), "{alone:#}");
    assert_eq!(alone, inspect(&["--format", "{{json .Provenance}}"], &artifact));
    assert_eq!(inspect(&["--format", "{{json .SBOM}}"], &artifact), json!({}));

    serving.signal(Signal::TERM);
    assert!(serving.wait().status.success());
    assert_clean(&context);
}

#[test]
fn facts_are_pushed_with_the_image() {
    let name = "facts_are_pushed_with_the_image";
    let Some(context) = scene(name) else { return };
    let Some(registry) = Registry::start(name) else { return };
    if Command::new("skopeo").arg("--version").output().is_err() {
        return privilege::missing(name, "skopeo is not installed");
    }
    write(&context);
    let image = format!("{}/facts:v1", registry.host());
    built(&context, ["--sbom", "--provenance", "-t", &image, "--push"]);
    let raw = |reference: &str| -> Value {
        let reference = format!("docker://{reference}");
        let output = Command::new("skopeo")
            .args(["inspect", "--raw", "--tls-verify=false", &reference])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let index = raw(&image);
    let facts = &index["manifests"][1];
    assert_eq!(facts["annotations"]["vnd.docker.reference.digest"], index["manifests"][0]["digest"]);
    let by_digest = format!("{}/facts@{}", registry.host(), facts["digest"].as_str().unwrap());
    assert_eq!(raw(&by_digest)["layers"].as_array().unwrap().len(), 2);
    // It is pulled as any other.
    context.rbuild(["rmi", "--force", &image]).run().assert_success();
    let ran = context.rbuild(["run", "--rm", "--network", "none", &image, "cat", "/flavour"]).run();
    assert_eq!(ran.assert_success().stdout, "plain\n");
    assert_clean(&context);
}
