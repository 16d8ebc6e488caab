use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxDeviceType;
use rbuild_sandbox::cgroup::{DeviceAccess, DeviceKind, DeviceRule};
use rbuild_sandbox::{Access, MountSource};
use rustix::fs::{FileType, Mode};

use super::{DeviceError, Given, Registry, is_qualified};

/// Folders with files, the first one of the least weight.
struct Machine {
    root: tempfile::TempDir,
}

impl Machine {
    fn new(files: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self { root }
    }

    fn registry(&self) -> Registry {
        let folders: Vec<PathBuf> =
            ["low", "high", "nowhere"].iter().map(|name| self.root.path().join(name)).collect();
        Registry::load(&folders)
    }
}

/// The devices `vendor.com/gpu=0`, `=1` and `=spare`; those with numbers are of the class `fast`.
const GPU: &str = r#"
cdiVersion: "0.6.0"
kind: vendor.com/gpu
annotations: {org.mobyproject.buildkit.device.class: fast}
containerEdits:
  env: [COMMON=1, WHICH=none]
  mounts:
    - {hostPath: /etc/hostname, containerPath: /opt/driver/name, options: [ro, nosuid, bind]}
    - {hostPath: /etc, containerPath: /opt, options: [rbind, rw]}
devices:
  - name: "1"
    containerEdits:
      env: [WHICH=1]
      deviceNodes: [{path: /dev/gpu1, hostPath: /dev/zero, permissions: rw, fileMode: 416, gid: 44}]
  - name: "0"
    containerEdits:
      env: [WHICH=0]
      deviceNodes: [{path: /dev/gpu0, type: c, major: 195, minor: 7}]
      additionalGids: [0, 44]
  - name: spare
    annotations: {org.mobyproject.buildkit.device.class: slow, org.mobyproject.buildkit.device.autoallow: "true"}
"#;

fn names(found: Result<Vec<String>, DeviceError>) -> String {
    found.map_or_else(|error| error.to_string(), |names| names.join(" "))
}

#[test]
fn requests_mean_one_device_all_of_a_kind_or_those_of_a_class() {
    let machine = Machine::new(&[("low/gpu.yaml", GPU)]);
    let registry = machine.registry();
    assert_eq!(registry.problems(), [""; 0]);
    for (request, found) in [
        ("vendor.com/gpu", "vendor.com/gpu=0"),
        ("vendor.com/gpu=1", "vendor.com/gpu=1"),
        ("vendor.com/gpu=*", "vendor.com/gpu=0 vendor.com/gpu=1 vendor.com/gpu=spare"),
        ("vendor.com/gpu=fast", "vendor.com/gpu=0 vendor.com/gpu=1"),
        ("vendor.com/gpu=slow", "vendor.com/gpu=spare"),
        ("vendor.com/gpu=2", ""),
        ("vendor.com/net", ""),
    ] {
        assert_eq!(names(registry.find(request)), found, "{request}");
    }
    for request in ["gpu", "/gpu", "vendor/", "1vendor/gpu", "vendor/gpu.x", "vendor/gpu/x=1", "v-/gpu"] {
        assert!(matches!(registry.find(request), Err(DeviceError::Name { .. })), "{request}");
    }
}

#[test]
fn a_full_name_has_a_vendor_a_class_and_a_device() {
    for name in ["vendor.com/gpu=0", "v/c=x", "nvidia.com/gpu=GPU-8a:0", "vendor/class_-a=1.b"] {
        assert!(is_qualified(name), "{name}");
    }
    for name in [
        "",
        "vendor.com/gpu",
        "/dev/null",
        "/dev/x=y",
        "v/c=*",
        "v/c=",
        "=x",
        "v=x",
        "1v/c=x",
        "v/c/d=x",
        "v/c=-x",
    ] {
        assert!(!is_qualified(name), "{name}");
    }
}

#[test]
fn what_a_later_folder_says_counts_and_what_two_files_of_one_say_does_not() {
    let file = |kind: &str, device: &str, env: &str| {
        format!(
            r#"{{"cdiVersion": "0.5.0", "kind": "{kind}",
                "devices": [{{"name": "{device}", "containerEdits": {{"env": ["FROM={env}"]}}}}]}}"#
        )
    };
    let machine = Machine::new(&[
        ("low/a.json", &file("v/c", "x", "low")),
        ("high/a.json", &file("v/c", "x", "high")),
        ("low/b.json", &file("v/d", "y", "one")),
        ("low/c.json", &file("v/d", "y", "two")),
        ("low/notes.txt", "not looked at"),
        ("low/broken.json", "{"),
        ("low/odd.yaml", "cdiVersion: 0.5.0\nkind: v/e\ndevices: [{name: a, colour: red}]\n"),
        ("low/kind.yaml", "cdiVersion: 0.5.0\nkind: v\ndevices: [{name: a}]\n"),
        ("low/version.yaml", "cdiVersion: next\nkind: v/f\ndevices: [{name: a}]\n"),
        ("low/twice.yaml", "cdiVersion: 0.5.0\nkind: v/g\ndevices: [{name: a}, {name: a}]\n"),
        ("low/empty.yaml", "cdiVersion: 0.5.0\nkind: v/h\n"),
    ]);
    let (pipe, mode) = (machine.root.path().join("low/pipe.json"), Mode::RUSR | Mode::WUSR);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, mode, 0).unwrap();
    let registry = machine.registry();
    let given = registry.given(&["v/c=x".to_owned()]).unwrap();
    assert_eq!(given.env.iter().map(|var| &*var.value).collect::<Vec<_>>(), ["high"]);
    for kind in ["v/d", "v/e", "v/f", "v/g", "v/h"] {
        assert_eq!(names(registry.find(kind)), "", "{kind}");
    }
    let problems = registry.problems().join("\n");
    for part in [
        "broken.json` is left out",
        "pipe.json` is left out: it is no file",
        "odd.yaml` is left out: unknown field `colour`",
        "`v` is no `vendor/class`",
        "`next` is no version",
        "the device `a` is there twice",
        "it has no device",
        "device v/d=y is left out: both",
    ] {
        assert!(problems.contains(part), "{part}: {problems}");
    }
}

#[test]
fn nodes_mounts_variables_and_groups_come_in_their_order() {
    let machine = Machine::new(&[("low/gpu.yaml", GPU)]);
    let given =
        machine.registry().given(&["vendor.com/gpu=0".to_owned(), "vendor.com/gpu=1".to_owned()]).unwrap();
    let env: Vec<_> = given.env.iter().map(|var| format!("{}={}", var.name, var.value)).collect();
    assert_eq!(env, ["COMMON=1", "WHICH=1"]);
    assert_eq!(given.groups, [44]);
    let rule = |major, minor, letters| DeviceRule {
        kind: DeviceKind::Character,
        major: Some(major),
        minor: Some(minor),
        access: DeviceAccess::parse(letters).unwrap(),
    };
    assert_eq!(given.rules, [rule(195, 7, "rwm"), rule(1, 5, "rw")]);
    let mounts = given.mounts();
    let targets: Vec<_> = mounts.iter().map(|mount| (&*mount.target, mount.access)).collect();
    let expected =
        [(Path::new("/opt"), Access::ReadWrite), (Path::new("/opt/driver/name"), Access::ReadOnly)];
    if rbuild_sandbox::rootless::in_initial_user_namespace() {
        assert_eq!(targets, expected);
        let devices = given.devices((7, 8));
        let shown: Vec<_> = devices
            .iter()
            .map(|device| (device.path().as_path(), device.uid(), device.gid(), device.file_mode()))
            .collect();
        let expected = [
            (Path::new("/dev/gpu0"), Some(7), Some(8), Some(0o666)),
            (Path::new("/dev/gpu1"), Some(7), Some(44), Some(0o640)),
        ];
        assert_eq!(shown, expected);
        assert!(devices.iter().all(|device| device.typ() == LinuxDeviceType::C));
    } else {
        assert_eq!(targets[2..], expected);
        assert!(matches!(&mounts[1].source, MountSource::Host(path) if path == Path::new("/dev/zero")));
    }
}

#[test]
fn what_a_step_cannot_be_given_is_refused_with_the_file() {
    let refused = |edits: &str| -> String {
        let text = format!("cdiVersion: 0.7.0\nkind: v/c\ndevices: [{{name: x, containerEdits: {edits}}}]\n");
        let machine = Machine::new(&[("low/x.yaml", &text)]);
        let result: Result<Given, DeviceError> = machine.registry().given(&["v/c=x".to_owned()]);
        let error = result.expect_err(edits);
        assert!(error.to_string().starts_with("device v/c=x"), "{error}");
        error.to_string()
    };
    for (edits, part) in [
        (
            "{hooks: [{hookName: createContainer, path: /bin/ldconfig}]}",
            "`/bin/ldconfig` to be run on the host",
        ),
        ("{netDevices: [{hostInterfaceName: eth7, name: eth0}]}", "an interface of the host's network"),
        ("{intelRdt: {closID: x}}", "intelRdt"),
        ("{env: [NOTHING]}", "the variable `NOTHING`"),
        ("{mounts: [{hostPath: /a, containerPath: b}]}", "no absolute path"),
        ("{mounts: [{hostPath: /a, containerPath: /b/../c}]}", "no absolute path"),
        ("{mounts: [{hostPath: /a, containerPath: /b, type: tmpfs}]}", "of type `tmpfs`"),
        ("{mounts: [{hostPath: /a, containerPath: /b, options: [shared]}]}", "the option `shared`"),
        ("{deviceNodes: [{path: dev/x}]}", "no absolute path"),
        ("{deviceNodes: [{path: /dev/x, type: p}]}", "of type `p`"),
        ("{deviceNodes: [{path: /dev/zero, permissions: rx}]}", "the rights `rx`"),
        ("{deviceNodes: [{path: /dev/x, hostPath: /etc}]}", "cannot look at `/etc`"),
        ("{deviceNodes: [{path: /dev/x, hostPath: /no/such}]}", "cannot look at `/no/such`"),
        ("{deviceNodes: [{path: /dev/zero, type: b}]}", "cannot look at `/dev/zero`"),
    ] {
        let error = refused(edits);
        assert!(error.contains(part), "{edits}: {error}");
    }
}
