//! `rbuild compose config` as its users meet it.

use std::fs;

use crate::{rbuild, text_of, told};

fn project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let text = "name: shop\nservices:\n  web:\n    image: web:${TAG:-1}\n    depends_on: [db]\n    command: echo $$HOME\n  \
                db: {image: db, profiles: []}\n";
    fs::write(folder.path().join("compose.yaml"), text).expect("the file can be written");
    fs::write(folder.path().join(".env"), "# versions\nTAG=7\n").expect("the file can be written");
    folder
}

#[test]
fn the_canonical_form_is_printed_and_can_be_read_again() {
    let folder = project();
    let output = told(["compose", "config"], folder.path());
    let shown = "name: shop\nservices:\n  db:\n    image: db\n    networks:\n      default: null\n  web:\n    command:\n      \
                 - echo\n      - $$HOME\n    depends_on:\n      db:\n        condition: service_started\n        \
                 required: true\n    image: web:7\n    networks:\n      default: null\nnetworks:\n  default:\n    \
                 name: shop_default\n";
    assert_eq!(output, format!("status: 0\n--- out\n{shown}--- err\n"));
    let written = folder.path().join("out.yaml");
    let quiet = told(["compose", "config", "-o", "out.yaml"], folder.path());
    assert_eq!(quiet, "status: 0\n--- out\n--- err\n");
    assert_eq!(fs::read_to_string(&written).ok().as_deref(), Some(shown));
    let again = told(["compose", "-f", "out.yaml", "config"], folder.path());
    assert_eq!(again, format!("status: 0\n--- out\n{shown}--- err\n"));
}

#[test]
fn lists_and_explanations_are_lines() {
    let folder = project();
    for (arguments, wanted) in [
        (&["--services"][..], "db\nweb\n"),
        (&["--images"], "db\nweb:7\n"),
        (&["--networks"], "default\n"),
        (
            &["--explain", "TAG"],
            "TAG=7\n  from .env:2\n  used by services.web.image (compose.yaml:4): \"web:7\"\n",
        ),
        (&["--quiet"], ""),
        (
            &["--variables"],
            "NAME                REQUIRED            DEFAULT VALUE       ALTERNATE VALUE\nTAG                 false               1                   \n",
        ),
        (
            &["--variables", "--format", "yaml"],
            "TAG:\n    name: TAG\n    defaultvalue: \"1\"\n    presencevalue: \"\"\n    required: false\n",
        ),
    ] {
        let arguments = ["compose", "config"].iter().chain(arguments);
        assert_eq!(told(arguments, folder.path()), format!("status: 0\n--- out\n{wanted}--- err\n"));
    }
    let variables = told(["compose", "config", "--environment"], folder.path());
    let here = folder.path().canonicalize().expect("the folder is there");
    let wanted = format!("COMPOSE_PROJECT_NAME=shop\nPWD={}\nTAG=7\n", here.display());
    assert_eq!(variables, format!("status: 0\n--- out\n{wanted}--- err\n"));
}

#[test]
fn a_mistake_is_shown_where_it_stands() {
    let folder = project();
    let text = "services:\n  web:\n    imge: x\n";
    fs::write(folder.path().join("bad.yaml"), text).expect("the file can be written");
    let output = told(["compose", "-f", "bad.yaml", "config"], folder.path());
    let wanted = "status: 1\n--- out\n--- err\nbad.yaml:3\n--------------------\n   1 |     services:\n   2 |       \
                  web:\n   3 | >>>     imge: x\n     |         ^^^^\n--------------------\nerror: services.web \
                  additional properties 'imge' not allowed\nhint: did you mean `image`?\n";
    assert_eq!(output, wanted);
}

#[test]
fn standard_input_is_a_file_too() {
    let folder = project();
    let file = fs::File::open(folder.path().join("compose.yaml")).expect("the file is there");
    let output = rbuild()
        .args(["compose", "-f", "-", "config", "--services"])
        .current_dir(folder.path())
        .stdin(file)
        .output()
        .expect("the program can be run");
    assert_eq!(text_of(&output), "status: 0\n--- out\ndb\nweb\n--- err\n");
}

#[test]
fn a_file_without_anything_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    fs::write(folder.path().join("compose.yaml"), "# later\n").expect("the file can be written");
    let output = told(["compose", "config"], folder.path());
    assert!(
        output.starts_with("status: 1\n--- out\n--- err\nerror: empty compose file\nhint: `"),
        "{output}"
    );
    assert!(output.contains("compose.yaml` says nothing: write `services:`"), "{output}");
}

#[test]
fn old_projects_have_names_with_another_sign() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    fs::write(folder.path().join("compose.yaml"), "name: p\nservices: {a: {build: /b}}\n")
        .expect("the file can be written");
    let old = told(["compose", "--compatibility", "config", "--images"], folder.path());
    assert_eq!(old, "status: 0\n--- out\np_a\n--- err\n");
    let bare = "name: p\nservices:\n  a:\n    build:\n      context: /b\n";
    let shown = told(["compose", "--compatibility", "config"], folder.path());
    assert_eq!(shown, format!("status: 0\n--- out\n{bare}--- err\n"));
    fs::write(folder.path().join(".env"), "COMPOSE_COMPATIBILITY=true\n").expect("the file can be written");
    let said = told(["compose", "config", "--images"], folder.path());
    assert_eq!(said, "status: 0\n--- out\np_a\n--- err\n");
}

#[test]
fn a_wrong_command_line_is_a_failure_as_any_other() {
    let folder = project();
    for (line, status) in [
        (&["compose", "nosuch"][..], "status: 1\n"),
        (&["compose", "up", "--nosuchflag"], "status: 1\n"),
        (&["compose", "--progress", "foo", "ps"], "status: 1\n"),
        (&["compose", "scale"], "status: 1\n"),
        (&["up", "--pull", "foo"], "status: 1\n"),
        (&["down", "-t", "x"], "status: 1\n"),
        (&["ps", "--nosuchflag"], "status: 125\n"),
    ] {
        let output = told(line, folder.path());
        assert!(output.starts_with(status), "{line:?}: {output}");
    }
}

#[test]
fn the_folder_is_called_as_the_shell_calls_it() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let base = folder.path().canonicalize().expect("the folder is there");
    let (real, link) = (base.join("real"), base.join("link"));
    fs::create_dir(&real).expect("the folder can be made");
    std::os::unix::fs::symlink(&real, &link).expect("the link can be made");
    fs::write(real.join("compose.yaml"), "services: {a: {image: x, hostname: \"${PWD}\"}}\n")
        .expect("the file can be written");
    let told = |called: Option<&std::path::Path>| {
        let mut command = rbuild();
        command.args(["compose", "config"]).current_dir(&link).env_remove("PWD");
        if let Some(called) = called {
            command.env("PWD", called);
        }
        text_of(&command.output().expect("the program can be run"))
    };
    let shown = |name: &str, host: &std::path::Path, warning: &str| {
        format!(
            "status: 0\n--- out\nname: {name}\nservices:\n  a:\n    hostname: {}\n    image: x\n    networks:\n      \
             default: null\nnetworks:\n  default:\n    name: {name}_default\n--- err\n{warning}",
            host.display()
        )
    };
    let warning =
        "warning: project has been loaded without an explicit name from a symlink. Using name \"link\"\n";
    assert_eq!(told(Some(&link)), shown("link", &link, warning));
    assert_eq!(told(None), shown("real", &real, ""));
    let elsewhere = std::path::Path::new("/");
    assert_eq!(told(Some(elsewhere)), shown("real", elsewhere, ""));
}
