//! Standard streams that are closed, and readers that go away.

use std::process::{Command, Stdio};

use super::{rbuild, told};

const PROGRAM: &str = env!("CARGO_BIN_EXE_rbuild");

fn shell(script: &str) -> std::process::Output {
    Command::new("/bin/sh")
        .args(["-c", script, "sh", PROGRAM])
        .env_clear()
        .output()
        .expect("there is a shell")
}

#[test]
fn closed_streams_do_no_harm() {
    for script in
        ["\"$1\" version <&-", "\"$1\" version 2>&-", "\"$1\" version >&-", "\"$1\" version <&- >&- 2>&-"]
    {
        let output = shell(script);
        assert!(output.status.success(), "{script}: {output:?}");
    }
}

#[test]
fn a_file_opened_by_the_program_never_becomes_a_standard_stream() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!("\"$1\" man {} <&- >&- 2>&-", folder.path().display());
    assert!(shell(&script).status.success());
    let page = std::fs::read_to_string(folder.path().join("rbuild.1")).unwrap();
    assert!(page.contains(".TH"), "{page}");
}

#[test]
fn a_reader_that_goes_away_is_told_by_the_status_alone() {
    // Gone before it begins: what it writes has room in a pipe.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let child = rbuild()
        .args(["completion", "bash"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be run");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(141), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn colours_are_written_only_when_they_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    assert!(!told(["frob"], folder.path()).contains('\x1b'));
    let output = rbuild().arg("frob").env("CLICOLOR_FORCE", "1").current_dir(folder.path()).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("\x1b[1;31merror:\x1b[0m"), "{output:?}");
}

#[test]
fn a_folder_is_never_mistaken_for_a_verb_that_is_not_there_yet() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("serve")).unwrap();
    let text = told(["serve"], folder.path());
    assert!(text.starts_with("status: 125\n") && text.contains("write `rbuild ./serve`"), "{text}");
}
