//! What is asked about, key by key; where paths lead.

use std::os::unix::fs::symlink;

use rbuild_frontend::compose::{Answer, Answers, Loading, Question, Request, load};
use rbuild_model::span::Source;

use super::*;

/// The name of the project that others wrote.
const FAR: &str = "oci://far/app";

/// What a project asks for that was brought to a folder.
fn asked(folder: &Path, text: &str) -> Vec<String> {
    listed(folder, text, FAR).into_iter().map(|(_, what)| what).collect()
}

/// What is asked for by a project that was brought to a folder: as it is itself, or in a project of ours there.
fn listed(folder: &Path, text: &str, project: &str) -> Vec<Right> {
    let ours = if project == FAR { "" } else { project };
    let file = if project == FAR { FAR } else { "ours.yaml" };
    let request =
        Request { current_dir: folder.to_owned(), files: vec![file.to_owned()], ..Request::default() };
    let mut answers = Answers::default();
    let loaded = loop {
        match load(&request, &answers).unwrap_or_else(|error| panic!("{text}: {error}")) {
            Loading::Ready(loaded) => break loaded,
            Loading::Needs(questions) => questions.into_iter().for_each(|question| {
                let answer = match &question {
                    Question::File(path) if path.ends_with("compose.yaml") => {
                        Answer::Text(Source::new("compose.yaml", text))
                    }
                    Question::File(path) if path.ends_with("ours.yaml") => {
                        Answer::Text(Source::new("ours.yaml", ours))
                    }
                    Question::Remote(_) => Answer::Path(folder.join("compose.yaml")),
                    Question::File(path) if path.ends_with("app/.env") => {
                        Answer::Text(Source::new(".env", ""))
                    }
                    Question::Followed(path) => Answer::Path(path.clone()),
                    _ => Answer::Missing,
                };
                answers.add(question, answer);
            }),
        }
    };
    let model = loaded.project().unwrap_or_else(|error| panic!("{text}: {error}"));
    rights(&loaded, &model)
}

#[test]
fn what_a_key_asks_for_is_listed() {
    let folder = tempfile::tempdir().expect("a folder");
    for (keys, listed) in [
        ("privileged: true", "privileged"),
        ("env_file: /elsewhere/app/.env", "reads /elsewhere/app/.env"),
        ("cgroup_parent: other.slice", "cgroup_parent: other.slice"),
        (
            "deploy: {resources: {reservations: {devices: [{capabilities: [gpu]}]}}}",
            "deploy.resources.reservations.devices",
        ),
        ("network_mode: host", "network_mode: host"),
        ("network_mode: 'container:db'", "network_mode: container:db"),
        ("pid: 'container:db'", "pid: container:db"),
        ("volumes_from: ['container:db']", "volumes_from: container:db"),
        ("volumes: ['/etc:/host']", "writes /etc"),
        ("develop: {watch: [{path: /etc, action: rebuild}]}", "watches /etc"),
        (
            "develop: {watch: [{path: ., action: sync+exec, target: /x, exec: {command: x, privileged: true}}]}",
            "privileged hooks",
        ),
        ("pre_start: [{image: y, command: x}, {command: x, privileged: true}]", "privileged hooks"),
        ("build: {context: /etc, dockerfile_inline: FROM x}", "builds from /etc"),
        ("build: {context: ., dockerfile: /etc/passwd}", "reads /etc/passwd"),
        ("build: {context: ., network: host}", "build.network: host"),
        ("build: {context: ., ssh: [default]}", "build.ssh: uses the agent"),
        ("build: {context: ., ssh: ['key=/root/.ssh/id']}", "build.ssh: reads /root/.ssh/id"),
        ("build: {context: ., cache_from: ['type=local,src=/etc']}", "reads /etc"),
        ("build: {context: ., cache_to: ['type=local,dest=/etc/x']}", "writes /etc/x"),
        (
            "build: {context: ., cache_to: ['type=s3,bucket=b,region=r']}",
            "writes a cache with the credentials of the environment",
        ),
        ("build: {context: ., additional_contexts: {l: 'oci-layout:///etc:v1'}}", "builds from /etc"),
    ] {
        let text = format!("name: p\nservices:\n  a:\n    image: x\n    {keys}\n");
        assert_eq!(asked(folder.path(), &text), [listed], "{keys}");
    }
    for (sections, listed) in [
        ("volumes: [v:/v]\nvolumes: {v: {external: true, name: others}}", "uses the volume others"),
        ("networks: [n]\nnetworks: {n: {external: true, name: others}}", "joins the network others"),
        ("secrets: [s]\nsecrets: {s: {environment: TOKEN}}", "reads the variable TOKEN"),
        ("models: [m]\nmodels: {m: {model: x}}", "runs the program docker-model"),
    ] {
        let text = format!("name: p\nservices:\n  a:\n    image: x\n    {sections}\n");
        assert_eq!(asked(folder.path(), &text), [listed], "{sections}");
    }
}

#[test]
fn what_every_container_has_is_not_asked_about() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "name: p\nservices:\n  a:\n    image: x\n    network_mode: bridge\n    pid: 'service:b'\n    \
                security_opt: ['no-new-privileges:true']\n    volumes: ['./new/data:/data', 'v:/v']\n    \
                build: {context: ., dockerfile: sub/Dockerfile, cache_to: ['type=inline']}\n  b: {image: x}\nvolumes: {v: }\n";
    assert_eq!(asked(folder.path(), text), [""; 0]);
}

#[test]
fn only_services_that_others_had_a_hand_in_are_asked_about() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |theirs: &str, ours: &str, expected: &[(&str, &str)]| {
        let listed = listed(folder.path(), theirs, ours);
        let listed: Vec<_> = listed.iter().map(|(who, what)| (&**who, &**what)).collect();
        assert_eq!(listed, expected, "{ours}");
    };
    let theirs = "services: {web: {image: x, cap_add: [NET_ADMIN], networks: [n], volumes_from: [mine]}}\n";
    let networks = "networks: {n: {external: true, name: others}, m: {external: true}}\n";
    let mine = "mine: {image: x, privileged: true, volumes: ['/etc:/etc'], networks: [m]}";
    check(
        theirs,
        &format!("name: p\ninclude: ['{FAR}']\nservices: {{{mine}}}\n{networks}"),
        &[
            ("web", "cap_add: NET_ADMIN"),
            ("web", "volumes_from: service:mine"),
            ("network n", "joins the network others"),
        ],
    );
    // What a service of others is given here is given to them.
    check(
        "services: {base: {image: x, pid: host}}\n",
        &format!(
            "name: p\nservices:\n  {mine}\n  e: {{extends: {{file: '{FAR}', service: base}}, privileged: true}}\n{networks}"
        ),
        &[("e", "privileged"), ("e", "pid: host")],
    );
}

#[test]
fn what_is_not_there_yet_lies_where_the_links_on_its_way_lead() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    symlink("/etc", at.join("out")).expect("a link");
    symlink("/etc/no/such", at.join("dangling")).expect("a link");
    symlink("dangling", at.join("twice")).expect("a link");
    symlink("self", at.join("self")).expect("a link");
    symlink("new", at.join("own")).expect("a link");
    let own = Own(vec![real(at)]);
    for inside in ["new", "new/x", "own", "own/x", "self"] {
        assert!(own.has(&at.join(inside)), "{inside}");
    }
    for outside in ["out", "out/new.d", "dangling", "dangling/x", "twice", "twice/x", "new/../../x"] {
        assert!(!own.has(&at.join(outside)), "{outside}");
    }
}
