//! What was done lasts: it is there after the machine went down, whichever command did it.

use std::process::Command;

use rbuild_testkit::context::TestContext;
use rbuild_testkit::registry::Registry;

use crate::scene::{assert_no_leaks, built_from, images, scene};

/// The names of the store's images as a machine sees them that was started again: with another boot id.
fn images_after_a_reboot(context: &TestContext) -> String {
    // Promotion goes on in the background; the machine goes down when it is through.
    assert_no_leaks(context);
    let boot = context.write("boot-id", "00000000-0000-4000-8000-000000000001\n");
    let script = format!(
        "mount --bind '{}' /proc/sys/kernel/random/boot_id && exec '{}' images --format '{{{{.Repository}}}}:{{{{.Tag}}}}'",
        boot.display(),
        env!("CARGO_BIN_EXE_rbuild")
    );
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
        .env("RBUILD_ROOT", context.root())
        .env("HOME", context.home())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut names: Vec<&str> = text.lines().collect();
    names.sort_unstable();
    names.join(" ")
}

#[test]
fn what_every_verb_did_is_there_after_a_reboot() {
    let name = "what_every_verb_did_is_there_after_a_reboot";
    let Some(context) = scene(name) else { return };
    context.rbuild(["tag", "busybox", "tagged"]).run().assert_success();
    assert_eq!(images_after_a_reboot(&context), "busybox:latest tagged:latest");
    built_from(&context, "FROM busybox\nRUN echo x > /x\n", ["-t", "built"]);
    assert_eq!(images_after_a_reboot(&context), "built:latest busybox:latest tagged:latest");
    let Some(registry) = Registry::start(name) else { return };
    context.rbuild(["save", "-o", "app.tar", "built"]).run().assert_success();
    let filled = |name: &str| {
        let target = format!("docker://{}/{name}", registry.host());
        let archive = format!("docker-archive:{}", context.project().join("app.tar").display());
        let copied = Command::new("skopeo")
            .args(["copy", "--quiet", "--dest-tls-verify=false", &archive, &target])
            .output();
        copied.is_ok_and(|output| output.status.success())
    };
    if !filled("pulled:1") || !filled("run:1") {
        return rbuild_testkit::privilege::missing(name, "skopeo cannot fill a registry");
    }
    let there = rbuild_testkit::context!();
    let (pulled, run) = (format!("{}/pulled:1", registry.host()), format!("{}/run:1", registry.host()));
    there.rbuild(["pull", &pulled]).run().assert_success();
    assert_eq!(images_after_a_reboot(&there), pulled);
    let ran = there.rbuild(["run", "--rm", "--network", "none", &run, "cat", "/x"]).run();
    assert_eq!(ran.assert_success().stdout, "x\n");
    assert_eq!(images_after_a_reboot(&there), format!("{pulled} {run}"));
    assert_eq!(images(&there), format!("{pulled} {run}"));
}
