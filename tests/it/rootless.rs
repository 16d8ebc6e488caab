//! Without root: an ordinary user builds and runs, with the same result.
//!
//! The user here has no subordinate ids, so there is only one user in their namespace; with ids, and the helpers that
//! map them, `cargo xtask rootless` does the same in another machine.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use rbuild_testkit::context::{Output, TestContext};
use rbuild_testkit::privilege;

use crate::scene;

const USER: u32 = 12345;
const EPOCH: &str = "1700000000";
const DOCKERFILE: &str = "FROM busybox\nRUN echo one > /one && ln /one /two && rm -r /tmp && mkdir /tmp\n\
    COPY Dockerfile /kept/\nRUN rm /two && mkfifo /fifo\nCMD cat /one && id -u\n";

/// The program as the user calls it.
fn as_user(context: &TestContext, arguments: &[&str]) -> Output {
    let program = context.folder().join("rbuild").to_string_lossy().into_owned();
    let user = USER.to_string();
    let mut all = vec!["--reuid", &user, "--regid", &user, "--clear-groups", "--", &program];
    all.extend(arguments);
    context.rbuild(all).env("SOURCE_DATE_EPOCH", EPOCH).run()
}

#[test]
fn an_ordinary_user_builds_the_image_that_root_builds() {
    let name = "an_ordinary_user_builds_the_image_that_root_builds";
    let Some(root) = scene::scene(name) else { return };
    let user = TestContext::new("/usr/bin/setpriv");
    fs::set_permissions(user.folder(), PermissionsExt::from_mode(0o755)).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_rbuild"), user.folder().join("rbuild")).unwrap();
    root.write("Dockerfile", DOCKERFILE);
    user.write("Dockerfile", DOCKERFILE);
    let base = user.project().join("base.tar");
    root.rbuild(["save", "-o", base.to_str().unwrap(), "busybox"]).run().assert_success();
    fs::set_permissions(&base, PermissionsExt::from_mode(0o644)).unwrap();
    for folder in [user.root(), user.runtime(), user.home(), user.project()] {
        chown(&folder, Some(USER), Some(USER)).unwrap();
        fs::set_permissions(&folder, PermissionsExt::from_mode(0o700)).unwrap();
    }
    let loaded = as_user(&user, &["load", "-i", "base.tar"]);
    if loaded.stderr.contains("cannot make a user namespace") {
        return privilege::skipped(name, &loaded.stderr);
    }
    loaded.assert_success();
    assert!(loaded.stderr.contains("has no subordinate ids: add the line `12345:100000:65536`"), "{loaded}");
    let by_user = as_user(&user, &["build", "-q", "-t", "x", "."]);
    by_user.assert_success();
    let by_root = root.rbuild(["build", "-q", "-t", "x", "."]).env("SOURCE_DATE_EPOCH", EPOCH).run();
    by_root.assert_success();
    assert_eq!(by_user.raw_stdout, by_root.raw_stdout, "{by_user}{by_root}");
    let ran = as_user(&user, &["run", "--rm", "--network", "none", "x"]);
    ran.assert_success();
    assert_eq!(ran.stdout, "one\n0\n");
    let again = as_user(&user, &["images", "-q"]);
    again.assert_success();
    let owners = Command::new("find").arg(user.root()).args(["!", "-uid", "12345"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&owners.stdout), "", "all of the store is the user's");
    let limited = as_user(&user, &["run", "--rm", "-m", "32m", "--network", "none", "x"]);
    limited.assert_code(125);
    assert!(limited.stderr.contains("the cgroup controller `memory`"), "{limited}");
}
