//! What wins over what.

use super::*;
use crate::report;
use crate::terminal::Colour;

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn global() -> Global {
    Global { root: None, config: None, run_folder: None, debug: false, offline: false, cache_max: None }
}

fn settings(global: &Global, variables: &[(&str, &str)], user: User, config: &str) -> Settings {
    let config = file::Config::parse(Path::new("c"), config).unwrap();
    Settings::assemble(global, environment(variables), user, config).unwrap()
}

/// Settings of an empty environment.
pub(crate) fn bare() -> Settings {
    settings(&global(), &[], User::Root, "")
}

#[test]
fn the_root_comes_from_flag_then_environment_then_file_then_user() {
    let flag = Global { root: Some("/flag".into()), ..global() };
    let variable = [("RBUILD_ROOT", "/variable"), ("HOME", "/home/u")];
    let file = "root = '/file'";
    for (actual, expected) in [
        (settings(&flag, &variable, User::Root, file), "/flag"),
        (settings(&global(), &variable, User::Root, file), "/variable"),
        (settings(&global(), &variable[1..], User::Root, file), "/file"),
        (settings(&global(), &variable[1..], User::Root, ""), "/var/lib/rbuild"),
        (settings(&global(), &variable[1..], User::Other(7), ""), "/home/u/.local/share/rbuild"),
        (settings(&global(), &[("XDG_DATA_HOME", "/data")], User::Other(7), ""), "/data/rbuild"),
    ] {
        assert_eq!(actual.root, Path::new(expected));
    }
    assert_eq!(settings(&global(), &[], User::Root, "").runtime, Path::new("/run/rbuild"));
    let own = settings(&global(), &[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/run/user/7")], User::Other(7), "");
    assert_eq!(own.runtime, Path::new("/run/user/7/rbuild"));
    assert!(
        Settings::assemble(&global(), environment(&[]), User::Other(7), file::Config::default()).is_err()
    );
}

#[test]
fn variables_are_read_and_checked() {
    let all = settings(
        &global(),
        &[
            ("BUILDKIT_PROGRESS", "plain"),
            ("SOURCE_DATE_EPOCH", "context"),
            ("DOCKER_CONFIG", "/d"),
            ("http_proxy", "http://p"),
            ("NO_PROXY", "x"),
            ("HTTPS_PROXY", ""),
        ],
        User::Root,
        "",
    );
    assert_eq!((all.progress, all.environment.epoch().as_deref()), (Mode::Plain, Some("context")));
    assert_eq!(all.docker_config.as_deref(), Some(Path::new("/d")));
    let proxies: Vec<_> = all.environment.proxies().into_iter().map(|proxy| proxy.name).collect();
    assert_eq!(proxies, ["NO_PROXY", "http_proxy"]);
    let both = [("RBUILD_PROGRESS", "quiet"), ("BUILDKIT_PROGRESS", "plain")];
    assert_eq!(settings(&global(), &both, User::Root, "progress = 'tty'").progress, Mode::Quiet);
    for bad in [("RBUILD_PROGRESS", "frob"), ("DOCKER_DEFAULT_PLATFORM", "/")] {
        let result = Settings::assemble(&global(), environment(&[bad]), User::Root, file::Config::default());
        assert!(result.unwrap_err().to_string().starts_with(bad.0));
    }
}

/// How many pools of addresses a config file names.
fn pools(text: &str) -> Result<usize, String> {
    let text = format!("[networks]\naddress_pools = {text}\n");
    let config = file::Config::parse(Path::new("c.toml"), &text)
        .map_err(|finding| report::render(&finding.into(), Colour::Off))?;
    Ok(Settings::assemble(&global(), environment(&[]), User::Root, config).unwrap().pools.len())
}

#[test]
fn files_merge_and_unknown_keys_are_pointed_at() {
    let mut config = file::Config::parse(
        Path::new("a"),
        "ca = 'host'\n[registry.'docker.io']\nmirrors = ['127.0.0.1:5000']\n[limits]\nparallel = 4\n",
    )
    .unwrap();
    config.merge(
        file::Config::parse(Path::new("b"), "ca = '/x.pem'\n[registry.b]\ninsecure = true\n").unwrap(),
    );
    assert_eq!(config.ca, Some(Authorities::File("/x.pem".into())));
    assert_eq!(config.registry["docker.io"].mirrors, ["127.0.0.1:5000"]);
    assert_eq!(config.registry["b"].insecure, Some(true));
    let more = "[registry.b]\nblocked = true\n[registry.'docker.io']\ninsecure = false\n";
    config.merge(file::Config::parse(Path::new("b"), more).unwrap());
    assert_eq!((config.registry["b"].insecure, config.registry["b"].blocked), (Some(true), Some(true)));
    assert_eq!(config.registry["docker.io"].mirrors, ["127.0.0.1:5000"]);
    assert_eq!(config.limits.parallel.map(NonZeroUsize::get), Some(4));
    config.merge(file::Config::parse(Path::new("b"), "[networks]\ndocker_rules = false\n").unwrap());
    assert_eq!(settings(&global(), &[], User::Root, "").passage, Passage::BesideDocker);
    let set = Settings::assemble(&global(), environment(&[]), User::Root, config).unwrap();
    assert_eq!((set.passage, set.pools), (Passage::Never, Vec::new()));
    assert_eq!(pools("[{ base = '10.200.7.0/16', size = 24 }, { base = '10.9.0.0/24', size = 30 }]"), Ok(2));
    for (wrong, why) in [
        (
            "[{ base = '10.200.0.0/16', size = 31 }]",
            "no network of size 31 can be taken from 10.200.0.0/16: a size is from 16 to 30",
        ),
        (
            "[{ base = '10.200.0.0/16', size = 8 }]",
            "no network of size 8 can be taken from 10.200.0.0/16: a size is from 16 to 30",
        ),
        ("[{ base = '10.200.0.0', size = 24 }]", "10.200.0.0"),
        ("[{ base = 'fd00::/48', size = 64 }]", "pools are of IPv4"),
        ("[{ base = '10.200.0.0/16' }]", "missing field `size`"),
        ("['10.200.0.0/16']", "invalid type"),
    ] {
        let told = pools(wrong).unwrap_err();
        assert!(told.starts_with("c.toml:2\n") && told.contains(why), "{told}");
    }
    let finding = file::Config::parse(Path::new("c.toml"), "# c\nprogres = 'tty'\n").unwrap_err();
    let told = report::render(&finding.into(), Colour::Off);
    insta::assert_snapshot!(told.split(", expected").next().unwrap(), @r#"
    c.toml:2
    --------------------
       1 |     # c
       2 | >>> progres = 'tty'
         |     ^^^^^^^
    --------------------
    error: unknown field `progres`
    "#);
}

#[test]
fn colours_are_the_users_choice() {
    for (variables, choice) in [
        (&[][..], ColourChoice::Auto),
        (&[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")], ColourChoice::Never),
        (&[("NO_COLOR", "")], ColourChoice::Auto),
        (&[("CLICOLOR_FORCE", "1"), ("TERM", "dumb")], ColourChoice::Always),
        (&[("CLICOLOR_FORCE", "0")], ColourChoice::Auto),
        (&[("TERM", "dumb")], ColourChoice::Never),
        (&[("CLICOLOR", "0")], ColourChoice::Never),
    ] {
        assert_eq!(colour(&environment(variables)), choice, "{variables:?}");
    }
}

#[test]
fn a_dumb_terminal_only_goes_on() {
    assert_eq!(ability(&environment(&[("TERM", "dumb")])), Ability::Rolling);
    assert_eq!(ability(&environment(&[("TERM", "xterm")])), Ability::Moving);
    assert_eq!(ability(&environment(&[])), Ability::Moving);
}
