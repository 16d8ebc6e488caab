//! Proxies of Docker's `config.json`, in builds and containers.

use std::fs;

use crate::scene::{assert_clean, built_from, file, scene};

#[test]
fn builds_and_containers_get_the_proxies_of_the_config_file() {
    let Some(context) = scene("builds_and_containers_get_the_proxies_of_the_config_file") else { return };
    let folder = context.home().join(".docker");
    fs::create_dir(&folder).unwrap();
    let config = r#"{"proxies": {"default": {"httpProxy": "http://p:1", "noProxy": "localhost"}}}"#;
    fs::write(folder.join("config.json"), config).unwrap();
    let proxies = |text: &str| {
        let mut lines: Vec<String> =
            text.lines().filter(|line| line.to_lowercase().contains("proxy=")).map(str::to_owned).collect();
        lines.sort();
        lines.join(" ")
    };
    let run = context
        .rbuild(["run", "--rm", "--network", "none", "-e", "NO_PROXY=mine", "busybox", "env"])
        .env("FTP_PROXY", "the caller's stays outside")
        .run();
    run.assert_success();
    assert_eq!(
        proxies(&run.stdout),
        "HTTP_PROXY=http://p:1 NO_PROXY=mine http_proxy=http://p:1 no_proxy=localhost"
    );
    let project = "services: {web: {image: busybox, network_mode: none, environment: [NO_PROXY=mine]}}\n";
    context.write("compose.yaml", project);
    let run = context.rbuild(["compose", "run", "--rm", "-T", "web", "env"]).run();
    run.assert_success();
    assert_eq!(
        proxies(&run.stdout),
        "HTTP_PROXY=http://p:1 NO_PROXY=mine http_proxy=http://p:1 no_proxy=localhost"
    );
    let text = "FROM busybox AS run\nRUN env > /env\nFROM scratch\nCOPY --from=run /env /\n";
    built_from(&context, text, ["--build-arg", "http_proxy=http://own", "-o", "out"]);
    let seen = proxies(&file(&context, "out/env"));
    assert!(seen.contains("http_proxy=http://own") && seen.contains("NO_PROXY=localhost"), "{seen}");
    assert!(!seen.contains("http://p:1"), "{seen}");
    fs::write(folder.join("config.json"), "{\"proxies\": 1").unwrap();
    let refused = context.rbuild(["run", "--rm", "busybox", "true"]).run();
    refused.assert_code(125);
    assert!(refused.stderr.contains("config.json") && refused.stderr.contains("line 1"), "{refused}");
    assert_clean(&context);
}

#[test]
fn what_could_never_start_is_not_made() {
    let Some(context) = scene("what_could_never_start_is_not_made") else { return };
    for (flags, told) in [
        (&["--uts", "host", "--hostname", "x"][..], "conflicting options: hostname and the UTS mode"),
        (&["--uts", "host", "--domainname", "x"], "conflicting options: domainname and the UTS mode"),
        (
            &["--network", "container:a", "--hostname", "x"],
            "conflicting options: hostname and the network mode",
        ),
        (&["--network", "container:a", "--dns", "1.1.1.1"], "conflicting options: dns and the network mode"),
        (
            &["--network", "container:a", "--add-host", "a:1.1.1.1"],
            "conflicting options: custom host-to-IP mapping and the network mode",
        ),
        (
            &["--network", "container:a", "--expose", "80"],
            "conflicting options: port exposing and the container type network mode",
        ),
        (&["--cpu-period", "5"], "CPU cfs period can not be less than"),
        (&["--cpu-quota", "5"], "CPU cfs quota can not be less than"),
        (&["--device-cgroup-rule", "x 1:3 r"], "write one like `c 1:3 rwm`"),
    ] {
        let refused = context.rbuild([&["create"], flags, &["busybox", "true"]].concat()).run();
        assert!(!refused.status.success() && refused.stderr.contains(told), "{flags:?}: {refused}");
    }
    assert_eq!(context.rbuild(["ps", "-aq"]).run().stdout, "");
    assert_clean(&context);
}
