//! Forms of results, and what is told of them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, FileType, Mode};
use serde_json::Value;

use crate::scene::{assert_clean, build, built, built_from, file, scene};

const TEXT: &str = "\
FROM busybox
RUN mkdir /d && echo made > /d/f && ln -s f /d/l && ln /d/f /d/hard
COPY in.txt /in.txt
ENV A=b
LABEL from=file
EXPOSE 80
USER nobody
WORKDIR /d
CMD [\"cat\", \"f\"]
";

/// The members of a tar by name, with their sizes.
fn members(tar: &Path) -> Vec<String> {
    let listed = Command::new("tar").arg("-tf").arg(tar).output().unwrap();
    assert!(listed.status.success(), "{listed:?}");
    let mut names: Vec<String> =
        String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect();
    names.sort();
    names
}

/// A member of a tar.
fn member(tar: &Path, name: &str) -> Vec<u8> {
    let read = Command::new("tar").arg("-xOf").arg(tar).arg(name).output().unwrap();
    assert!(read.status.success(), "{name}: {read:?}");
    read.stdout
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn an_archive_never_takes_the_place_of_a_device() {
    let Some(context) = scene("an_archive_never_takes_the_place_of_a_device") else { return };
    let device = context.project().join("null");
    let null = rustix::fs::makedev(1, 3);
    let (kind, mode) = (FileType::CharacterDevice, Mode::RUSR | Mode::WUSR);
    rustix::fs::mknodat(CWD, &device, kind, mode, null).unwrap();
    symlink("null", context.project().join("link")).unwrap();
    for output in ["null", "link"] {
        context.rbuild(["save", "-o", output, "busybox"]).run().assert_success();
        assert!(fs::symlink_metadata(&device).unwrap().file_type().is_char_device(), "{output}");
    }
    context.write("old.tar", "old");
    fs::remove_file(context.project().join("link")).unwrap();
    symlink("old.tar", context.project().join("link")).unwrap();
    context.rbuild(["save", "-o", "link", "busybox"]).run().assert_success();
    assert!(fs::symlink_metadata(context.project().join("old.tar")).unwrap().len() > 1000);
    assert!(context.project().join("link").is_symlink());
}

#[test]
fn an_image_in_its_archives() {
    let Some(context) = scene("an_image_in_its_archives") else { return };
    context.write("in.txt", "in");
    built_from(&context, TEXT, ["-t", "app", "--label", "flag=given", "-o", "type=oci,dest=app.oci.tar"]);
    built(&context, ["-t", "app", "--label", "flag=given", "-o", "type=docker,dest=app.docker.tar"]);
    built(&context, ["-o", "type=oci,dest=-"]);
    let kept = context.rbuild(["images", "--all", "--quiet"]).run();
    assert_eq!(kept.assert_success().stdout.lines().count(), 1, "the store keeps its base alone: {kept}");
    let oci = context.project().join("app.oci.tar");
    let index = json(&member(&oci, "index.json"));
    assert_eq!(json(&member(&oci, "oci-layout"))["imageLayoutVersion"], "1.0.0");
    let blob = |digest: &Value| {
        let digest = digest.as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned();
        let bytes = member(&oci, &format!("blobs/sha256/{digest}"));
        let sum = Command::new("sh")
            .args(["-c", "tar -xOf \"$0\" \"$1\" | sha256sum"])
            .arg(&oci)
            .arg(format!("blobs/sha256/{digest}"))
            .output()
            .unwrap();
        assert!(sum.stdout.starts_with(digest.as_bytes()), "{digest} is what its name says");
        bytes
    };
    let mut manifest = json(&blob(&index["manifests"][0]["digest"]));
    if let Some(inner) = manifest.get("manifests") {
        manifest = json(&blob(&inner[0]["digest"]));
    }
    let config = json(&blob(&manifest["config"]["digest"]));
    assert_eq!(config["config"]["Cmd"], serde_json::json!(["cat", "f"]));
    assert_eq!(config["config"]["User"], "nobody");
    assert_eq!(config["config"]["WorkingDir"], "/d");
    assert_eq!(config["config"]["Labels"]["flag"], "given");
    assert_eq!(config["config"]["Labels"]["from"], "file");
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), config["rootfs"]["diff_ids"].as_array().unwrap().len());
    for layer in layers {
        assert_eq!(blob(&layer["digest"]).len() as u64, layer["size"].as_u64().unwrap());
    }
    let docker = context.project().join("app.docker.tar");
    let list = json(&member(&docker, "manifest.json"));
    assert_eq!(
        list[0]["RepoTags"][0].as_str().map(|name| name.trim_start_matches("docker.io/library/")),
        Some("app:latest")
    );
    assert_eq!(json(&member(&docker, list[0]["Config"].as_str().unwrap()))["config"]["Env"][1], "A=b");

    // Into another store, and run there.
    let other = rbuild_testkit::context!();
    fs::copy(&docker, other.project().join("app.tar")).unwrap();
    other.rbuild(["load", "-i", "app.tar"]).run().assert_success();
    let ran = other.rbuild(["run", "--rm", "--network", "none", "app"]).run();
    assert_eq!(ran.assert_success().stdout, "made\n");
    assert_clean(&other);
    assert_clean(&context);
}

/// The manifest of the one image in an OCI archive.
fn manifest(archive: &Path) -> Value {
    let index = json(&member(archive, "index.json"));
    let digest = index["manifests"][0]["digest"].as_str().unwrap().replace(':', "/");
    json(&member(archive, &format!("blobs/{digest}")))
}

#[test]
fn layers_are_packed_as_it_is_asked() {
    let Some(context) = scene("layers_are_packed_as_it_is_asked") else { return };
    let text = "FROM busybox\nRUN for i in $(seq 3000); do echo line $i; done > /lines\n";
    context.write("Dockerfile", text);
    let packed = |keys: &str| {
        built(&context, ["-o", &format!("type=oci,dest=a.tar{keys}")]);
        manifest(&context.project().join("a.tar"))
    };
    let of = |manifest: &Value, key: &str| {
        let layers = manifest["layers"].as_array().unwrap();
        layers.iter().map(|layer| layer[key].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let size = |manifest: &Value| manifest["layers"][1]["size"].as_u64().unwrap();
    let (plain, fast, best) = (packed(""), packed(",compression-level=1"), packed(",compression-level=9"));
    assert!(size(&fast) > size(&best), "{fast} {best}");
    assert_eq!(packed(""), plain, "whatever was asked for in between");
    let zstd = packed(",compression=zstd");
    assert!(of(&zstd, "mediaType").iter().all(|kind| kind.ends_with("tar+zstd")), "{zstd}");
    let none = packed(",compression=uncompressed");
    assert!(of(&none, "mediaType").iter().all(|kind| kind.ends_with(".tar")), "{none}");
    let docker = packed(",oci-mediatypes=false");
    assert_eq!(docker["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    assert_eq!(docker["config"]["mediaType"], "application/vnd.docker.container.image.v1+json");
    assert_eq!(of(&docker, "digest"), of(&plain, "digest"));
    assert_eq!(packed(",oci-mediatypes=true"), plain);

    // A base that came packed: as it came, unless all is to be packed anew.
    let other = rbuild_testkit::context!();
    let base = context.rbuild(["save", "busybox"]).run();
    other.rbuild(["load"]).input(base.assert_success().raw_stdout.clone()).run().assert_success();
    other.write("Dockerfile", text);
    for (keys, kinds) in [
        (",compression=zstd", ["gzip", "zstd"]),
        (",compression=zstd,force-compression=true", ["zstd", "zstd"]),
        ("", ["gzip", "gzip"]),
    ] {
        built(&other, ["-o", &format!("type=oci,dest=a.tar{keys}")]);
        let found = of(&manifest(&other.project().join("a.tar")), "mediaType");
        assert!(found.iter().zip(kinds).all(|(found, kind)| found.ends_with(kind)), "{keys}: {found:?}");
    }

    // What is not done is refused.
    for (output, told) in [
        ("type=image,compression=zstd", "of an image in the store is not supported yet"),
        ("type=docker,compression-level=3", "of an image in the store is not supported yet"),
        ("type=image,push=true", "an image that is pushed needs a name"),
    ] {
        let refused = build(&context, ["-o", output]);
        assert!(!refused.status.success() && refused.stderr.contains(told), "{output}: {refused}");
    }
    // The times of files and of the image are two things.
    let late = |rewrite: &str| {
        let output = format!("type=oci,dest=late,tar=false,name=late:1{rewrite}");
        let arguments = ["build", "-o", &output, "--metadata-file", "late.json", "."];
        context.rbuild(arguments).env("SOURCE_DATE_EPOCH", "1").run().assert_success();
        let digest = json(file(&context, "late.json").as_bytes());
        let digest = digest["containerimage.digest"].as_str().unwrap().to_owned();
        let folder = context.project().join("late");
        let blob = |digest: &str| fs::read(folder.join("blobs/sha256").join(&digest[7..])).unwrap();
        let index = json(&fs::read(folder.join("index.json")).unwrap());
        let entries = index["manifests"].as_array().unwrap();
        assert_eq!(entries.len(), 1, "what had the name before is replaced: {index}");
        assert_eq!(entries[0]["digest"], digest);
        let config = json(&blob(json(&blob(&digest))["config"]["digest"].as_str().unwrap()));
        assert_eq!(config["created"], "1970-01-01T00:00:01Z");
        config["rootfs"]["diff_ids"].clone()
    };
    let clamped = late("");
    assert_eq!(late(",rewrite-timestamp=true"), clamped);
    let kept = late(",rewrite-timestamp=false");
    assert_ne!(kept, clamped);
    let both = ["-o", "type=oci,dest=x.tar,rewrite-timestamp=false", "-o", "type=oci,dest=y.tar"];
    let both = build(&context, both);
    assert!(both.stderr.contains("is said of one output and not of another"), "{both}");
    built(&context, ["-o", "type=image,name=kept,compression=gzip,oci-mediatypes=true"]);
    assert!(!context.project().join("x.tar").exists());
    assert_clean(&other);
    assert_clean(&context);
}

#[test]
fn files_in_a_folder_and_in_a_tar() {
    let Some(context) = scene("files_in_a_folder_and_in_a_tar") else { return };
    context.write("in.txt", "in");
    let text = "FROM busybox AS b\nRUN mkdir -p /o/d && echo f > /o/d/f && ln -s d/f /o/l && touch -d 2001-02-03 /o/d/f\nFROM scratch\nCOPY --from=b /o /\nCOPY in.txt /\n";
    built_from(&context, text, ["-o", "out"]);
    assert_eq!(fs::read_link(context.project().join("out/l")).unwrap(), Path::new("d/f"));
    assert_eq!((file(&context, "out/d/f"), file(&context, "out/in.txt")), ("f\n".into(), "in".into()));
    built(&context, ["-o", "type=tar,dest=out.tar"]);
    let names = members(&context.project().join("out.tar"));
    let names: Vec<_> = names
        .iter()
        .map(|name| name.trim_start_matches("./").trim_end_matches('/'))
        .filter(|name| !name.is_empty())
        .collect();
    assert_eq!(names, ["d", "d/f", "in.txt", "l"]);
    let piped = context.rbuild(["build", "--progress", "plain", "-o", "-", "."]).run();
    piped.assert_success();
    fs::write(context.project().join("piped.tar"), &piped.raw_stdout).unwrap();
    assert_eq!(members(&context.project().join("piped.tar")), members(&context.project().join("out.tar")));
    // With an epoch everything in them has its time, older or newer as it was; what else is in the folder stays as it is.
    fs::write(context.project().join("out/other"), "").unwrap();
    for output in ["out", "type=tar,dest=out.tar,rewrite-timestamp=true,source-date-epoch=1500000000"] {
        let build = context.rbuild(["build", "-o", output, "."]);
        build.env("SOURCE_DATE_EPOCH", "1600000000").run().assert_success();
    }
    let folder = context.project().join("untarred");
    fs::create_dir(&folder).unwrap();
    let tar = context.project().join("out.tar");
    let unpacked = Command::new("tar").arg("-xf").arg(tar).arg("-C").arg(&folder).status().unwrap();
    assert!(unpacked.success());
    let time = |path: &Path| {
        let modified = fs::symlink_metadata(path).unwrap().modified().unwrap();
        modified.duration_since(SystemTime::UNIX_EPOCH).unwrap()
    };
    for (folder, epoch) in [(context.project().join("out"), 1_600_000_000), (folder, 1_500_000_000)] {
        for name in ["d", "d/f", "in.txt", "l"] {
            assert_eq!(time(&folder.join(name)), Duration::from_secs(epoch), "{folder:?} {name}");
        }
    }
    assert!(time(&context.project().join("out/other")) > Duration::from_secs(1_600_000_000));
    let both = ["-o", "type=tar,dest=x.tar,source-date-epoch=5", "-o", "elsewhere"];
    let both = build(&context, both);
    assert!(both.stderr.contains("`source-date-epoch` is not the same for all outputs"), "{both}");
    // Where the result cannot go, there is an error, and nothing is left.
    let output = build(&context, ["-o", "type=tar,dest=missing/folder/x.tar"]);
    output.assert_code(1);
    assert!(output.stderr.contains("missing/folder"), "{output}");
    assert_clean(&context);
}

#[test]
fn what_is_told_of_a_result() {
    let Some(context) = scene("what_is_told_of_a_result") else { return };
    context.write("in.txt", "in");
    built_from(&context, TEXT, ["-t", "app:1", "--iidfile", "id.txt", "--metadata-file", "meta.json"]);
    let id = file(&context, "id.txt");
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    let metadata = json(file(&context, "meta.json").as_bytes());
    assert_eq!(metadata["containerimage.config.digest"], id);
    assert_eq!(metadata["image.name"], "docker.io/library/app:1");
    let quiet = context.rbuild(["build", "-q", "."]).run();
    quiet.assert_success();
    assert_eq!(String::from_utf8_lossy(&quiet.raw_stdout), format!("{id}\n"));
    assert_eq!(quiet.stderr, "");
    let inspected = context.rbuild(["inspect", "app:1", "--format", "{{.Id}} {{.Config.WorkingDir}}"]).run();
    inspected.assert_success();
    assert_eq!(String::from_utf8_lossy(&inspected.raw_stdout), format!("{id} /d\n"));
    let failed = context.rbuild(["build", "-q", "--build-arg", "X=1", "-f", "Other", "."]).run();
    failed.assert_code(1);
    assert!(!failed.stderr.is_empty(), "errors are told, also quietly");
    // Nobody takes the id of an older build for that of one which failed.
    context.write("Dockerfile", "FROM scratch\nCOPY absent /\n");
    context.rbuild(["build", "--iidfile", "id.txt", "."]).run().assert_code(1);
    assert!(!context.project().join("id.txt").exists());
    // A link stays: `/dev/stdout` is one.
    context.write("behind", "");
    std::os::unix::fs::symlink("behind", context.project().join("link")).unwrap();
    context.rbuild(["build", "--iidfile", "link", "."]).run().assert_code(1);
    assert!(context.project().join("link").is_symlink());
    assert_clean(&context);
}

#[test]
fn progress_as_json_lines() {
    let Some(context) = scene("progress_as_json_lines") else { return };
    context.write("in.txt", "in");
    context.write("Dockerfile", format!("{TEXT}RUN echo said-by-step\n"));
    let output = context.rbuild(["build", "--progress", "rawjson", "."]).run();
    output.assert_success();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for line in output.stderr.lines() {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for key in value.as_object().expect("each line is an object").keys() {
            *kinds.entry(key.clone()).or_default() += 1;
        }
    }
    assert!(kinds.contains_key("vertexes") && kinds.contains_key("logs"), "{kinds:?}");
    assert_clean(&context);
}

#[test]
fn the_same_inputs_give_the_same_digests_in_two_places() {
    let Some(context) = scene("the_same_inputs_give_the_same_digests_in_two_places") else { return };
    let text = "\
FROM busybox AS b
ARG SOURCE_DATE_EPOCH
RUN mkdir /x && for i in 9 3 7 1; do echo $i > /x/$i; done && ln /x/1 /x/hard && ln -s 9 /x/soft && chmod 4755 /x/3
FROM busybox
COPY --from=b /x /x
COPY tree /tree
WORKDIR /made/here
RUN date > /dev/null && rm /x/7 && echo more >> /x/9
ADD --chmod=600 in.txt /y/
";
    let mut seen: Vec<(String, String, String)> = Vec::new();
    // The same base, which carries the time of its import.
    let second = rbuild_testkit::context!();
    let base = context.rbuild(["save", "busybox"]).run();
    base.assert_success();
    second.rbuild(["load"]).input(base.raw_stdout).run().assert_success();
    let [imported, again] = [&context, &second].map(|context| {
        let import = context.rbuild(["import", "-", "dated"]).env("SOURCE_DATE_EPOCH", "1700000000");
        import.input(crate::scene::base()).run().assert_success().stdout.clone()
    });
    assert_eq!(imported, again, "without the time of its import");
    for context in [&context, &second] {
        rbuild_testkit::files::generate(
            &context.project().join("tree"),
            rbuild_testkit::files::Shape { files: 60, ..Default::default() },
        );
        context.write("in.txt", "in");
        context.write("Dockerfile", text);
        // A checkout has the time at which it was made, and each place is another folder.
        let days = Duration::from_secs(86_400 * u64::try_from(seen.len()).unwrap());
        for path in ["in.txt", "tree"] {
            let file = fs::File::open(context.project().join(path)).unwrap();
            file.set_modified(SystemTime::now() - days).unwrap();
        }
        for name in ["one", "two"] {
            let output = context
                .rbuild([
                    "build",
                    "--no-cache",
                    "--progress",
                    "plain",
                    "--iidfile",
                    "id",
                    "-o",
                    &format!("type=oci,dest={name}.tar"),
                    ".",
                ])
                .env("SOURCE_DATE_EPOCH", "1700000000")
                .run();
            output.assert_success();
            let index = json(&member(&context.project().join(format!("{name}.tar")), "index.json"));
            let digest = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
            let id = fs::read_to_string(context.project().join("id")).unwrap_or_default();
            let sum = Command::new("sha256sum")
                .arg(context.project().join(format!("{name}.tar")))
                .output()
                .unwrap();
            let sum = String::from_utf8_lossy(&sum.stdout).split(' ').next().unwrap().to_owned();
            seen.push((id, digest, sum));
        }
    }
    for other in &seen[1..] {
        assert_eq!(other, &seen[0]);
    }
    assert_clean(&context);
    assert_clean(&second);
}

#[test]
fn extended_attributes_in_a_tar() {
    let Some(context) = scene("extended_attributes_in_a_tar") else { return };
    let base = context.folder().join("base");
    fs::create_dir_all(base.join("d")).unwrap();
    fs::write(base.join("program"), "x").unwrap();
    let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let set = |path: &str, name: &str, value: &[u8]| {
        rustix::fs::setxattr(base.join(path), name, value, rustix::fs::XattrFlags::empty()).unwrap();
    };
    set("program", "security.capability", capability);
    context
        .rbuild([std::ffi::OsStr::new("import"), base.as_os_str(), "capable".as_ref()])
        .run()
        .assert_success();
    for text in
        ["FROM capable\n", "FROM capable\nCOPY Dockerfile /\n", "FROM scratch\nCOPY --from=capable / /\n"]
    {
        built_from(&context, text, ["-o", "type=tar,dest=out.tar"]);
        let tar = fs::read(context.project().join("out.tar")).unwrap();
        let record = [b"SCHILY.xattr.security.capability=", &capability[..], b"\n"].concat();
        assert!(tar.windows(record.len()).any(|window| window == record), "{text}");
        let overlay = b"overlay.";
        assert!(!tar.windows(overlay.len()).any(|window| window == overlay), "{text}");
    }
    assert_clean(&context);
}
