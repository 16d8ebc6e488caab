//! Roots, mounts, and what is left of mount points.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};

use rbuild_model::container::{BindRecursion, Propagation};
use rbuild_model::rootfs::RootPlan;
use rbuild_sandbox::cgroup::Limits;
use rbuild_sandbox::volume::{VolumeMount, mount_volume, unmount_volume};
use rbuild_sandbox::{Access, FileContent, HostBind, Mount, MountSource, Restrictions, Tmpfs};

use super::house::{House, chain, shell};
use crate::Scenario;

pub(crate) const ALL: &[Scenario] = &[
    ("host_mounts_are_writable_or_not", host_mounts),
    ("binds_take_along_what_is_asked_for", recursion),
    ("mounts_spread_as_they_are_asked_to", propagation),
    ("only_what_is_shared_is_seen_by_the_host", unshared),
    ("files_lie_on_files_and_folders_on_folders", kinds),
    ("a_path_of_another_root_stays_in_it", within),
    ("files_are_made_of_bytes", files),
    ("tmpfs_has_its_options", tmpfs),
    ("mount_points_vanish_from_the_layer", stubs),
    ("mount_points_that_were_used_stay", used_stubs),
    ("later_mounts_cover_earlier_ones", nested),
    ("the_working_folder_is_made_and_stays", working_folder),
    ("a_merged_tree_can_be_read_without_attaching_it", detached),
    ("a_long_chain_of_layers_is_merged", long_chain),
    ("a_root_can_be_read_only", read_only_root),
];

fn mount(target: &str, source: MountSource, access: Access) -> Mount {
    Mount { target: target.into(), source, access, restrictions: Restrictions::default() }
}

fn host_mounts(house: &House) {
    let folder = house.path().join("shared");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("file"), "host\n").unwrap();
    let mounts = vec![
        mount("/ro", MountSource::Host(folder.clone()), Access::ReadOnly),
        mount("/rw", MountSource::Host(folder.clone()), Access::ReadWrite),
        mount("/one", MountSource::Host(folder.join("file")), Access::ReadOnly),
    ];
    let outcome =
        house.run(shell("cat /ro/file /one; echo x > /ro/new; echo x > /one; echo new > /rw/new"), mounts);
    assert!(outcome.output.starts_with("host\nhost\n"), "{}", outcome.output);
    assert_eq!(outcome.output.matches("Read-only file system").count(), 2, "{}", outcome.output);
    assert_eq!(fs::read_to_string(folder.join("new")).unwrap(), "new\n");
    assert_eq!(fs::read_to_string(folder.join("file")).unwrap(), "host\n");
    let missing = vec![mount("/x", MountSource::Host(house.path().join("missing")), Access::ReadOnly)];
    let error = house.try_run(shell("true"), missing, Limits::default()).err().expect("an error");
    assert!(chain(&error).contains("missing`"), "{}", chain(&error));
}

/// A folder of the host that is a mount of its own while this lives, with the given way to spread.
struct MountPoint(std::path::PathBuf);

impl MountPoint {
    fn new(folder: std::path::PathBuf) -> Self {
        fs::create_dir_all(&folder).unwrap();
        let tmpfs = VolumeMount { kind: "tmpfs".into(), device: "tmpfs".into(), options: String::new() };
        mount_volume(&tmpfs, &folder).unwrap();
        Self(folder)
    }

    fn spreading(self) -> Self {
        let how = rustix::mount::MountPropagationFlags::SHARED;
        rustix::mount::mount_change(&self.0, how).unwrap();
        self
    }
}

impl Drop for MountPoint {
    fn drop(&mut self) {
        // A failed test is told by its own panic.
        let _ = unmount_volume(&self.0);
    }
}

fn bind(path: &std::path::Path, recursion: BindRecursion, propagation: Propagation) -> MountSource {
    MountSource::Bind(HostBind { path: path.to_owned(), recursion, propagation })
}

fn recursion(house: &House) {
    let top = house.path().join("top");
    fs::create_dir(&top).unwrap();
    let below = MountPoint::new(top.join("below"));
    fs::write(below.0.join("deep"), "").unwrap();
    let private = Propagation::RPrivate;
    let mounts = vec![
        mount("/all", bind(&top, BindRecursion::All, private), Access::ReadOnly),
        mount("/one", bind(&top, BindRecursion::One, private), Access::ReadOnly),
        mount("/top", bind(&top, BindRecursion::Writable, private), Access::ReadOnly),
        mount("/rw", bind(&top, BindRecursion::All, private), Access::ReadWrite),
    ];
    let script = "for p in all one top rw; do ls /$p/below | wc -l; \
        (echo x > /$p/new) 2>/dev/null && echo top; (echo x > /$p/below/new) 2>/dev/null && echo below; done; true";
    let outcome = house.run(shell(script), mounts);
    // In turn: all read-only; what is below does not come along; below stays writable; all writable.
    assert_eq!(outcome.output, "1\n0\n1\nbelow\n2\ntop\nbelow\n");
}

fn propagation(house: &House) {
    let plain = house.path().join("plain");
    fs::create_dir(&plain).unwrap();
    let private = MountPoint::new(house.path().join("private"));
    rustix::mount::mount_change(&private.0, rustix::mount::MountPropagationFlags::PRIVATE).unwrap();
    for wish in [Propagation::RShared, Propagation::RSlave] {
        let mounts = vec![mount("/x", bind(&private.0, BindRecursion::All, wish), Access::ReadWrite)];
        let error = house.try_run(shell("true"), mounts, Limits::default()).err().expect("an error");
        let text = chain(&error);
        assert!(text.contains("but it is not a shared") && text.contains("private is mounted on"), "{text}");
    }
    let shared = MountPoint::new(house.path().join("shared")).spreading();
    for inner in ["own", "theirs"] {
        fs::create_dir(shared.0.join(inner)).unwrap();
    }
    let (all, rslave) = (BindRecursion::All, Propagation::RSlave);
    let mounts = vec![
        mount("/shared", bind(&shared.0, all, Propagation::RShared), Access::ReadWrite),
        mount("/slave", bind(&shared.0, all, rslave), Access::ReadWrite),
        mount("/private", bind(&shared.0, all, Propagation::RPrivate), Access::ReadWrite),
    ];
    let script = r#"awk '$5 ~ /^.(shared|slave|private)$/ {print $5, $7}' /proc/self/mountinfo | sed 's/:.*//; s/ -$//'"#;
    let outcome = house.run(shell(script), mounts);
    assert_eq!(outcome.output, "/shared shared\n/slave master\n/private\n");
}

fn unshared(house: &House) {
    let top = MountPoint::new(house.path().join("top")).spreading();
    let below = MountPoint::new(top.0.join("below")).spreading();
    let mounts = [
        ("private", Propagation::Private),
        ("rprivate", Propagation::RPrivate),
        ("slave", Propagation::Slave),
        ("rslave", Propagation::RSlave),
        ("shared", Propagation::Shared),
    ]
    .map(|(name, wish)| {
        mount(&format!("/{name}"), bind(&top.0, BindRecursion::All, wish), Access::ReadWrite)
    });
    let script = r#"awk '$5 ~ "/below$" {print $5, $7}' /proc/self/mountinfo | sed 's/:.*//; s/ -$//'"#;
    let outcome = house.run(shell(script), mounts.into());
    let expected = "/private/below master\n/rprivate/below\n/slave/below master\n/rslave/below master\n\
                    /shared/below shared\n";
    assert_eq!(outcome.output, expected);
    drop(below);
}

fn kinds(house: &House) {
    let folder = house.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let file = house.path().join("file");
    fs::write(&file, "").unwrap();
    for (target, source, why) in [
        ("/data", &file, "a file was to be mounted on a folder"),
        ("/etc/kept", &folder, "a folder was to be mounted on a file"),
    ] {
        let mounts = vec![mount(target, MountSource::Host(source.clone()), Access::ReadOnly)];
        let error = house.try_run(shell("true"), mounts, Limits::default()).err().expect("an error");
        let text = chain(&error);
        assert!(text.contains(&format!("cannot mount on `{target}`: {why}")), "{text}");
    }
}

fn within(house: &House) {
    let other = house.path().join("other");
    fs::create_dir_all(other.join("etc")).unwrap();
    fs::write(other.join("etc/passwd"), "theirs\n").unwrap();
    symlink("/etc/passwd", other.join("absolute")).unwrap();
    symlink("../../../../etc/passwd", other.join("relative")).unwrap();
    let within = |path: &str| MountSource::Within {
        root: RootPlan::Directory { path: other.clone(), readonly: true },
        path: path.into(),
    };
    let mounts = vec![
        mount("/a", within("/absolute"), Access::ReadOnly),
        mount("/b", within("/relative"), Access::ReadOnly),
        mount("/c", within("/"), Access::ReadOnly),
        mount("/d", within("etc"), Access::ReadWrite),
    ];
    let outcome = house.run(shell("cat /a /b /c/etc/passwd /d/passwd; echo x >> /d/passwd"), mounts);
    assert!(outcome.output.starts_with("theirs\ntheirs\ntheirs\ntheirs\n"), "{}", outcome.output);
    assert!(outcome.output.contains("Read-only"), "{}", outcome.output);
}

fn files(house: &House) {
    let content = FileContent { bytes: b"secret\0bytes".to_vec(), mode: 0o400, uid: 1000, gid: 7 };
    assert!(!format!("{content:?}").contains("secret"));
    let mut secret = mount("/run/secrets/it", MountSource::File(content), Access::ReadOnly);
    secret.restrictions = Restrictions::ALL;
    let outcome = house.run(
        shell("stat -c %a:%u:%g:%s /run/secrets/it; echo x > /run/secrets/it; ls /run/secrets"),
        vec![secret],
    );
    assert_eq!(outcome.output.lines().next(), Some("400:1000:7:12"), "{}", outcome.output);
    assert!(outcome.output.contains("Read-only"), "{}", outcome.output);
    assert!(!outcome.upper.join("run").exists(), "nothing of it is in the layer");
}

fn tmpfs(house: &House) {
    let options = Tmpfs { size: Some(64 << 10), mode: Some(0o1770), uid: 3, gid: 4, more: Vec::new() };
    let mounts = vec![mount("/t", MountSource::Tmpfs(options), Access::ReadWrite)];
    let outcome = house.run(
        shell(
            "stat -c %a:%u:%g /t; dd if=/dev/zero of=/t/big bs=1k count=100 2>&1 | grep -o 'No space'; ls /t",
        ),
        mounts,
    );
    assert!(outcome.output.starts_with("1770:3:4\n"), "{}", outcome.output);
    assert!(outcome.output.contains("big"), "{}", outcome.output);
    assert!(!outcome.upper.join("t").exists());
}

fn file(text: &str) -> MountSource {
    MountSource::File(FileContent { bytes: text.into(), mode: 0o644, uid: 0, gid: 0 })
}

fn stubs(house: &House) {
    // A link that leads nowhere yet: the mount point is made where it leads.
    symlink("../run/resolver/stub.conf", house.base().join("etc/resolv.conf")).unwrap();
    let etc = fs::metadata(house.base().join("etc")).unwrap();
    let mounts = vec![
        mount("/etc/resolv.conf", file("nameserver\n"), Access::ReadOnly),
        mount("/etc/hosts", file("hosts\n"), Access::ReadOnly),
        mount("/etc/kept", file("covered\n"), Access::ReadOnly),
        mount("/deep/er/folder", MountSource::Tmpfs(Tmpfs::default()), Access::ReadWrite),
    ];
    let outcome = house.run(
        shell("cat /etc/resolv.conf /run/resolver/stub.conf /etc/hosts /etc/kept; ls -d /deep/er/folder"),
        mounts,
    );
    assert_eq!(outcome.output, "nameserver\nnameserver\nhosts\ncovered\n/deep/er/folder\n");
    let mut left: Vec<String> = fs::read_dir(&outcome.upper)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    // A folder of the lower layer that was copied up stays, with nothing in it.
    assert_eq!(left, ["dev", "etc", "proc", "sys"]);
    assert_eq!(fs::read_dir(outcome.upper.join("etc")).unwrap().count(), 0);
    assert!(fs::metadata(outcome.upper.join("etc")).unwrap().mtime() >= etc.mtime());
}

fn used_stubs(house: &House) {
    let folder = house.path().join("bound");
    fs::create_dir(&folder).unwrap();
    let mounts = vec![
        mount("/made/inner", MountSource::Host(folder.clone()), Access::ReadWrite),
        mount("/other/inner", MountSource::Host(folder), Access::ReadWrite),
    ];
    let outcome = house.run(shell("echo x > /made/file"), mounts);
    assert!(outcome.upper.join("made/file").exists());
    assert!(!outcome.upper.join("made/inner").exists());
    assert!(!outcome.upper.join("other").exists());
}

fn nested(house: &House) {
    let cache = house.path().join("cache");
    fs::create_dir(&cache).unwrap();
    let mounts = vec![
        mount("/cache", MountSource::Host(cache.clone()), Access::ReadWrite),
        mount("/cache/inner", MountSource::Tmpfs(Tmpfs::default()), Access::ReadWrite),
        mount("/cache/file", file("first\n"), Access::ReadOnly),
        mount("/cache/file", file("second\n"), Access::ReadOnly),
    ];
    let outcome = house.run(shell("cat /cache/file; echo x > /cache/inner/x; echo y > /cache/y"), mounts);
    assert_eq!(outcome.output, "second\n");
    // A mount point in a cache stays there.
    assert!(cache.join("inner").is_dir() && cache.join("y").exists() && !cache.join("inner/x").exists());
    assert!(!outcome.upper.join("cache").exists());
}

fn working_folder(house: &House) {
    let mut options = shell("echo $PWD; stat -c %a:%u:%g .");
    options.cwd = "/new/work".to_owned();
    options.identity.uid = 12;
    options.identity.gid = 34;
    let outcome = house.run(options, Vec::new());
    assert_eq!(outcome.output, "/new/work\n755:12:34\n");
    let made = fs::metadata(outcome.upper.join("new")).unwrap();
    assert_eq!((made.uid(), made.gid()), (12, 34));
}

fn detached(house: &House) {
    let (plan, _) = house.plan();
    let mount = rbuild_sandbox::mounts::mount_detached(&plan).unwrap();
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::openat(&mount, "etc/kept", flags, rustix::fs::Mode::empty()).unwrap();
    let mut text = [0; 5];
    rustix::io::read(&file, &mut text).unwrap();
    assert_eq!(&text, b"kept\n");
}

fn long_chain(house: &House) {
    let mut lowers: Vec<_> = (0..200)
        .map(|number| {
            let layer = house.path().join(format!("layer-with-quite-a-long-name-{number}"));
            fs::create_dir_all(layer.join("l")).unwrap();
            fs::write(layer.join(format!("l/{number}")), "").unwrap();
            fs::write(layer.join("l/top"), number.to_string()).unwrap();
            layer
        })
        .collect();
    lowers.push(house.base());
    let plan = RootPlan::Overlay { lowers, upper: None, xattr: rbuild_model::rootfs::OverlayXattr::Trusted };
    let mount = rbuild_sandbox::mounts::mount_detached(&plan).unwrap();
    let path = format!("/proc/self/fd/{}/l", std::os::fd::AsRawFd::as_raw_fd(&mount));
    assert_eq!(fs::read_dir(&path).unwrap().count(), 201);
    assert_eq!(fs::read_to_string(format!("{path}/top")).unwrap(), "0");
}

fn read_only_root(house: &House) {
    let mut options = shell("echo x > /file; echo x > /dev/shm/x && echo shm");
    options.root = rbuild_sandbox::profile::RootAccess::ReadOnly;
    let outcome = house.run(options, Vec::new());
    assert!(
        outcome.output.contains("Read-only file system") && outcome.output.contains("shm"),
        "{}",
        outcome.output
    );
}
