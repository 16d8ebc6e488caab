//! The tables of the module documentation, line by line.

use super::*;

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn config(entrypoint: &[&str], cmd: &[&str]) -> RunConfig {
    let some = |list: &[&str]| (!list.is_empty()).then(|| texts(list));
    RunConfig { entrypoint: some(entrypoint), cmd: some(cmd), ..RunConfig::default() }
}

#[test]
fn entrypoint_and_command_combine() {
    let check = |config: &RunConfig, entrypoint: Option<&[&str]>, command: &[&str], wanted: &[&str]| {
        let request = RunRequest {
            entrypoint: entrypoint.map(texts),
            command: texts(command),
            ..RunRequest::new("image")
        };
        assert_eq!(argv(&request, config).unwrap_or_default(), texts(wanted));
    };
    let both = config(&["/e"], &["c"]);
    check(&both, None, &[], &["/e", "c"]);
    check(&both, None, &["x", "y"], &["/e", "x", "y"]);
    check(&both, Some(&["/n"]), &[], &["/n"]);
    check(&both, Some(&["/n"]), &["x"], &["/n", "x"]);
    check(&both, Some(&[]), &["x"], &["x"]);
    check(&both, Some(&[]), &[], &[]);
    check(&config(&[], &["sh"]), None, &[], &["sh"]);
    check(&config(&[], &[]), None, &[], &[]);
}

#[test]
fn later_variables_win_in_place_and_bare_names_import_nothing() {
    let image = RunConfig { env: texts(&["A=1", "B=2", "SECRET", "PATH=/p"]), ..RunConfig::default() };
    let request = RunRequest { env: texts(&["B=3", "C="]), ..RunRequest::new("image") };
    assert_eq!(
        environment(&request, &image, "h", "/root"),
        texts(&["PATH=/p", "HOSTNAME=h", "A=1", "B=3", "C=", "HOME=/root"])
    );
}

#[test]
fn a_working_folder_is_absolute() {
    let image = RunConfig { working_dir: "/w".into(), ..RunConfig::default() };
    let with =
        |workdir: Option<&str>| RunRequest { workdir: workdir.map(str::to_owned), ..RunRequest::new("i") };
    assert_eq!(workdir(&with(None), &image).expect("the image's"), "/w");
    assert_eq!(workdir(&with(Some("/x")), &image).expect("absolute"), "/x");
    assert!(workdir(&with(Some("x")), &image).is_err());
    assert_eq!(workdir(&with(None), &RunConfig::default()).expect("the root"), "/");
}
