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
