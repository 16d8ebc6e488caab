use super::*;

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn check_argv(entrypoint: Option<&str>, command: &str, expected: Option<&str>) {
    let mut request = CreateRequest::new("image");
    request.entrypoint = entrypoint.map(words);
    request.command = words(command);
    let image = RunConfig {
        entrypoint: Some(words("/entry -x")),
        cmd: Some(words("default")),
        ..RunConfig::default()
    };
    let argv = program(&request, &image).ok().map(|program| program.argv().join(" "));
    assert_eq!(argv.as_deref(), expected, "{entrypoint:?} {command:?}");
}

#[test]
fn the_program_follows_the_table() {
    check_argv(None, "", Some("/entry -x default"));
    check_argv(None, "a b", Some("/entry -x a b"));
    check_argv(Some("/other"), "", Some("/other"));
    check_argv(Some("/other"), "a", Some("/other a"));
    check_argv(Some(""), "a b", Some("a b"));
    check_argv(Some(""), "", None);
}

#[test]
fn what_is_asked_for_covers_the_image() {
    let env = variables(&words("A=1 B"), &words("A=0 B=2 C=3")).unwrap();
    assert_eq!(env, words("A=1 B C=3"));
    assert!(variables(&words("=x"), &[]).is_err());
}

#[test]
fn a_health_check_inherits_what_it_does_not_say() {
    let image =
        Healthcheck { test: words("CMD true"), interval: 7_000_000, retries: 5, ..Healthcheck::default() };
    let asked = Healthcheck { interval: 9_000_000, ..Healthcheck::default() };
    let health = health(Some(&asked), Some(&image)).unwrap().unwrap();
    assert_eq!(health, Healthcheck { interval: 9_000_000, ..image.clone() });
    let short = Healthcheck { timeout: 5, ..Healthcheck::default() };
    assert!(super::health(Some(&short), Some(&image)).is_err());
    assert_eq!(super::health(None, Some(&image)).unwrap(), Some(image));
}

#[test]
fn targets_are_compared_without_detours() {
    for (target, expected) in
        [("/data/", "/data"), ("data", "/data"), ("/a/./b//c", "/a/b/c"), ("/a/../..", "/")]
    {
        assert_eq!(plain(target), Path::new(expected), "{target}");
    }
}

#[test]
fn what_this_kernel_lacks_is_left_out_and_told() {
    use rbuild_model::container::Resources;
    let mut resources = Resources {
        blkio_weight: Some(300),
        memory_swappiness: Some(0),
        oom_kill_disable: true,
        cpu_shares: Some(512),
        ..Resources::default()
    };
    let warnings = left_out(&mut resources, &Layout::default());
    assert_eq!(
        warnings,
        [
            "this kernel has no weight of block input and output: it is left out",
            "this kernel has no swappiness of control groups: it is left out",
            "this kernel has no way to keep it from killing when memory is used up: it is left out",
        ]
    );
    assert_eq!(resources, Resources { cpu_shares: Some(512), ..Resources::default() });
}

/// A container of which nothing was asked.
fn plain_definition() -> Definition {
    use rbuild_model::container::{ContainerId, DEFINITION_VERSION, FirstProbe, ImageUse, Streams};
    use rbuild_model::digest::ImageId;
    use rbuild_model::platform::Platform;
    use rbuild_model::snapshot::{Chain, SnapshotId};

    Definition {
        version: DEFINITION_VERSION,
        id: ContainerId::from_bytes([1; 32]),
        name: crate::containers::names::generate([0; 3], 0),
        created: jiff::Timestamp::UNIX_EPOCH,
        image: ImageUse {
            reference: "image".to_owned(),
            id: ImageId::from_bytes([2; 32]),
            chain: Chain::empty(),
            platform: Platform::host(),
        },
        writes: SnapshotId::from_bytes([3; 16]),
        program: Program::default(),
        streams: Streams::default(),
        hostname: None,
        domainname: None,
        labels: Default::default(),
        exposed: Default::default(),
        volumes: Default::default(),
        health: None,
        first_probe: FirstProbe::default(),
        origin: None,
        host: Default::default(),
    }
}

#[test]
fn what_is_refused_to_a_new_container_an_old_one_may_have() {
    let mut old = plain_definition();
    assert!(check_new(&old).is_ok());
    old.host.seccomp = SeccompUse::Profile("{".to_owned());
    assert!(check_new(&old).is_err());
    check(&old).unwrap();
    old.host.seccomp = SeccompUse::Default;
    old.host.resources.nano_cpus = Some(1 << 50);
    assert!(check_new(&old).is_err());
    check(&old).unwrap();
}

#[test]
fn processors_are_chosen_among_those_that_there_are() {
    for fine in ["0", "0-1", "1,0", "3", "odd"] {
        check_list("CPUs", fine, "0-1,3").unwrap();
    }
    check_list("CPUs", "9", "").unwrap();
    let why = check_list("CPUs", "0,2", "0-1,3").unwrap_err().to_string();
    assert_eq!(why, "Requested CPUs are not available - requested 0,2, available: 0-1,3");
    assert!(check_list("CPUs", "0-99", "0-1").is_err());
    let why = check_list("memory nodes", "9", "0").unwrap_err().to_string();
    assert_eq!(why, "Requested memory nodes are not available - requested 9, available: 0");
}

#[test]
fn real_time_is_given_where_the_kernel_has_it() {
    let given = Resources { cpu_rt_runtime: Some(1000), ..Resources::default() };
    assert_eq!(
        check_real_time(&given, &Layout::default()).unwrap_err().to_string(),
        "kernel does not support CPU real-time scheduler"
    );
    check_real_time(&Resources::default(), &Layout::default()).unwrap();
    let mut definition = plain_definition();
    definition.host.resources = Resources { cpu_rt_period: Some(500), ..given };
    let why = check(&definition).unwrap_err().to_string();
    assert_eq!(why, "cpu real-time runtime cannot be higher than cpu real-time period");
}

#[test]
fn nobody_gets_more_processors_than_there_are() {
    let check = |cpus: u64| {
        let mut definition = plain_definition();
        definition.host.resources.nano_cpus = Some(cpus);
        check_new(&definition).map_err(|error| error.to_string())
    };
    check(10_000_000).unwrap();
    check(1_000_000_000).unwrap();
    for wrong in [0, 9_999_999, 1 << 50] {
        let why = check(wrong).unwrap_err();
        assert!(why.starts_with("range of CPUs is from 0.01 to "), "{why}");
    }
}
