//! Merging, marks, places of errors, questions, types.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rbuild_model::project::{Condition, MountKind, NetworkMode, Project, PullPolicy, Restart};
use rbuild_model::span::{Diagnostic, Source};

use super::merge::{Marks, merge};
use super::path::Path;
use super::schema::{PROJECT, Shape};
use super::yaml::{Document, Node, compose, emit};
use super::{Answer, Answers, Loaded, Loading, Question, Request, load};

/// Loads texts as files of `/p`, `compose.yaml` first.
fn loaded(files: &[(&str, &str)]) -> Result<Loaded, Box<Diagnostic>> {
    let request =
        Request { current_dir: "/p".into(), files: vec![files[0].0.to_owned()], ..Request::default() };
    let mut answers = Answers::default();
    loop {
        match load(&request, &answers).map_err(|error| error.diagnostic)? {
            Loading::Ready(loaded) => return Ok(*loaded),
            Loading::Needs(questions) => {
                for question in questions {
                    let answer = match &question {
                        Question::File(path) => {
                            let text =
                                files.iter().find(|(name, _)| std::path::Path::new("/p").join(name) == *path);
                            text.map_or(Answer::Missing, |(name, text)| {
                                Answer::Text(Source::new(*name, *text))
                            })
                        }
                        Question::Followed(path) => Answer::Path(path.clone()),
                        Question::Stdin => Answer::Missing,
                        Question::Remote(name) => match name.strip_prefix("oci://far/") {
                            Some(name) => Answer::Path(format!("/far/{name}/compose.yaml").into()),
                            None => Answer::Missing,
                        },
                    };
                    answers.add(question, answer);
                }
            }
        }
    }
}

fn project(text: &str) -> Project {
    let loaded = loaded(&[("compose.yaml", text)]).unwrap_or_else(|error| panic!("{error}"));
    loaded.project().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn an_error_points_at_the_line_and_says_what_to_try() {
    let text = "services:\n  web:\n    imge: x\n";
    let error = loaded(&[("compose.yaml", text)]).err().unwrap_or_else(|| panic!("it is wrong"));
    assert_eq!(error.to_string(), "compose.yaml:3:5: services.web additional properties 'imge' not allowed");
    assert_eq!(error.help.as_deref(), Some("did you mean `image`?"));
    let text = "services:\n  web:\n    image: x\n    networks: [bcak]\nnetworks: {back: }\n";
    let error = loaded(&[("compose.yaml", text)]).err().unwrap_or_else(|| panic!("it is wrong"));
    assert!(
        error.to_string().starts_with("compose.yaml:4:16: service \"web\" refers to undefined network bcak")
    );
    assert_eq!(error.help.as_deref(), Some("did you mean `back`?"));
}

#[test]
fn a_project_from_elsewhere_has_its_own_folder_and_the_name_of_ours() {
    let far = "include: [../more/compose.yaml]\nservices: {web: {image: x, volumes: ['./d:/d']}}\n";
    let files = [
        ("oci://far/app", ""),
        ("/far/app/compose.yaml", far),
        ("/far/more/compose.yaml", "services: {b: {build: ./b}}\n"),
    ];
    let loaded = loaded(&files).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((loaded.name.as_str(), loaded.remote.as_deref()), ("p", Some("oci://far/app")));
    assert_eq!(loaded.directory.as_os_str(), "/far/app");
    assert_eq!(loaded.files, [std::path::Path::new("/far/app/compose.yaml")]);
    let yaml = loaded.yaml().unwrap_or_else(|error| panic!("{error}"));
    assert!(yaml.contains("source: /far/app/d\n") && yaml.contains("context: /far/more/b\n"), "{yaml}");
}

#[test]
fn what_comes_from_elsewhere_keeps_its_paths_wherever_it_is_named() {
    let far =
        "services: {s: {image: x, volumes: ['./d:/d']}, t: {extends: {file: other.yaml, service: o}}}\n";
    let other = "services: {o: {extends: {file: oci://far/base, service: z}, env_file: o.env}}\n";
    let files = [
        ("/far/app/compose.yaml", far),
        ("/far/app/other.yaml", other),
        ("/far/app/o.env", "O=1"),
        ("/far/base/compose.yaml", "services: {z: {image: z, volumes: ['./z:/z']}}\n"),
    ];
    let volumes = |ours: &str| {
        let all: Vec<_> = [("compose.yaml", ours)].into_iter().chain(files).collect();
        let project = loaded(&all).unwrap_or_else(|error| panic!("{error}")).project();
        let project = project.unwrap_or_else(|error| panic!("{error}"));
        let sources = project.services.values().flat_map(|service| &service.volumes);
        let sources = sources.filter_map(|mount| match &mount.kind {
            MountKind::Bind { source, .. } => Some(source.display().to_string()),
            _ => None,
        });
        sources.collect::<Vec<_>>()
    };
    let included = "include: ['oci://far/app']\nservices: {own: {image: x, volumes: ['./own:/own']}}\n";
    assert_eq!(volumes(included), ["/p/own", "/far/app/d", "/far/base/z"]);
    let extended = "services: {e: {extends: {file: 'oci://far/app', service: t}}}\n";
    assert_eq!(volumes(extended), ["/far/base/z"]);
    let missing = loaded(&[("compose.yaml", "include: ['oci://near/app']\n")]);
    let missing = missing.err().unwrap_or_else(|| panic!("it is not there"));
    assert_eq!(missing.to_string(), "compose.yaml:1:11: read oci://near/app: there is no such project");
}

#[test]
fn variables_that_are_only_named_are_noted_as_those_of_templates_are() {
    let text = "services:\n  a:\n    image: x:${TAG}\n    environment: [TOKEN, NONE]\n    env_file: a.env\n    \
                build: {context: ., args: {ARG: , OWN: x}}\n";
    let files = [
        ("compose.yaml", text),
        (".env", "TAG=1\nTOKEN=t\nARG=a\nOTHER=o\nUNUSED=u\n"),
        ("a.env", "OTHER\nX=${TOKEN}\nOWN=1\n"),
    ];
    let loaded = loaded(&files).unwrap_or_else(|error| panic!("{error}"));
    let noted: BTreeSet<_> = loaded.uses.iter().map(|used| (&*used.name, &*used.path)).collect();
    let expected = [
        ("ARG", "services.a.build.args.ARG"),
        ("OTHER", "services.a.env_file"),
        ("TAG", "services.a.image"),
        ("TOKEN", "services.a.env_file"),
        ("TOKEN", "services.a.environment.TOKEN"),
    ];
    assert_eq!(noted, expected.into());
    assert!(loaded.uses.iter().all(|used| used.at.is_some()), "{:?}", loaded.uses);
}

#[test]
fn what_others_wrote_is_known_wherever_it_comes_in() {
    let files = [
        (
            "compose.yaml",
            "include: ['oci://far/app']\nservices:\n  own: {image: x, environment: [TOKEN]}\n  \
             e: {extends: {file: 'oci://far/base', service: z}}\n",
        ),
        (".env", "TOKEN=t\n"),
        ("/far/app/compose.yaml", "include: [more.yaml]\nservices: {s: {image: x, env_file: /etc/s.env}}\n"),
        ("/far/app/more.yaml", "services: {m: {image: 'm:${TOKEN}'}}\n"),
        ("/far/app/.env", "M=1\n"),
        ("/etc/s.env", "S=1\n"),
        ("/far/base/compose.yaml", "services: {z: {image: z, environment: {TOKEN: }}}\n"),
    ];
    let loaded = loaded(&files).unwrap_or_else(|error| panic!("{error}"));
    let theirs: Vec<_> = loaded.elsewhere.files().map(|path| path.display().to_string()).collect();
    let read = ["/etc/s.env", "/far/app/.env", "/far/app/compose.yaml", "/far/app/more.yaml"];
    assert_eq!(theirs, [&read[..], &["/far/base/compose.yaml"]].concat());
    let services = ["own", "e", "m", "s"].map(|name| loaded.is_theirs("services", name));
    assert_eq!(services, [false, true, true, true]);
    let taken = loaded.uses.iter().filter(|used| loaded.elsewhere.wrote(used.at.as_ref()));
    let taken: BTreeSet<_> = taken.map(|used| &*used.path).collect();
    assert_eq!(taken, ["services.e.environment.TOKEN", "services.m.image"].into());
}

#[test]
fn a_file_that_is_missing_is_told_where_it_is_named() {
    let wrong = |text: &str| {
        let error = loaded(&[("compose.yaml", text)]).err().unwrap_or_else(|| panic!("it is wrong: {text}"));
        error.to_string()
    };
    let missing = "open /p/sub.yaml: no such file or directory";
    assert_eq!(wrong("include: [sub.yaml]\n"), format!("compose.yaml:1:11: {missing}"));
    assert_eq!(wrong("include:\n  - path: sub.yaml\n"), format!("compose.yaml:2:11: {missing}"));
    let extends = "services:\n  a:\n    extends: {file: sub.yaml, service: b}\n";
    assert_eq!(wrong(extends), format!("compose.yaml:3:21: {missing}"));
}

/// Names every key of a schema.
fn each_key(shape: &Shape, name: &mut dyn FnMut(&'static str)) {
    match shape {
        Shape::Section(section) => {
            for field in section.fields {
                name(field.name);
                each_key(&field.shape, name);
            }
        }
        Shape::List(item, _) | Shape::Named(item, _) => each_key(&item.shape, name),
        Shape::OneOf(shapes) => shapes.iter().for_each(|shape| each_key(shape, name)),
        Shape::Kinds(_) | Shape::Natural(_) | Shape::Range(..) | Shape::Words(_) | Shape::Pattern(..) => {}
    }
}

/// The names in the first cells of the rows of a table.
fn in_cells(table: &str, cells: usize) -> BTreeSet<&str> {
    let rows = table.lines().filter(|line| line.starts_with('|'));
    let cells = rows.flat_map(|row| row.split('|').skip(1).take(cells));
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn the_documents_name_every_key() {
    let text = include_str!("../../../docs/compose.md");
    let keys = text.split("\n## ").find(|part| part.starts_with("Keys\n")).expect("a part about keys");
    let (services, sections) = keys.split_once("| Section | Keys | |").expect("two tables");
    let (of_services, of_sections) = (in_cells(services, 1), in_cells(sections, 2));
    let Shape::Section(top) = &PROJECT.shape else { panic!("a project is a section") };
    let services = top.fields.iter().find(|field| field.name == "services").map(|field| &field.shape);
    let Some(Shape::Named(service, _)) = services else { panic!("services have names") };
    let Shape::Section(service) = &service.shape else { panic!("a service is a section") };
    assert_eq!(of_services, service.fields.iter().map(|field| field.name).collect());
    let mut missing = BTreeSet::new();
    let mut look = |key| {
        if !of_sections.contains(key) {
            missing.insert(key);
        }
    };
    service.fields.iter().for_each(|field| each_key(&field.shape, &mut look));
    for field in top.fields {
        look(field.name);
        if field.name != "services" {
            each_key(&field.shape, &mut look);
        }
    }
    assert_eq!(missing, [].into());
}

#[test]
fn the_place_of_a_key_is_where_it_was_written() {
    let text = "services:\n  web:\n    image: x\n    gpus: all\n    volumes:\n      - ./a:/a\n      - ./b:/b\n    \
                healthcheck: {test: x, interval: 1ns}\n";
    let loaded = loaded(&[("compose.yaml", text)]).unwrap_or_else(|error| panic!("{error}"));
    let place = |path: &[&str]| {
        let place = loaded.place(path).map(|place| place.source.position(place.span.start));
        place.map(|at| (at.line, at.column))
    };
    assert_eq!(place(&["services", "web"]), Some((2, 3)));
    assert_eq!(place(&["services", "web", "gpus"]), Some((4, 5)));
    assert_eq!(place(&["services", "web", "volumes", "1"]), Some((7, 9)));
    assert_eq!(place(&["services", "web", "healthcheck", "interval"]), Some((8, 38)));
    assert_eq!(place(&["services", "web", "nothing", "of", "it"]), Some((2, 3)));
    assert_eq!(place(&["networks", "default"]), None);
}

#[test]
fn an_error_in_an_included_file_points_there() {
    let files = [
        ("compose.yaml", "include: [sub.yaml]\nservices: {a: {image: x}}\n"),
        ("sub.yaml", "services:\n  b:\n    image: y\n    ports: [\"80:x\"]\n"),
    ];
    let error = loaded(&files).err().unwrap_or_else(|| panic!("it is wrong"));
    assert_eq!(error.to_string(), "sub.yaml:4:13: Invalid containerPort: x");
}

#[test]
fn a_variable_is_explained() {
    let files = [
        (
            "compose.yaml",
            "services: {a: {image: \"x:${TAG}\", hostname: \"${NOPE}\", secrets: [s]}}\n\
             secrets: {s: {environment: KEY}}\n",
        ),
        (".env", "A=1\nTAG=7\nKEY=k\n"),
    ];
    let loaded = loaded(&files).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        loaded.explain("TAG"),
        "TAG=7\n  from .env:2\n  used by services.a.image (compose.yaml:1): \"x:7\"\n"
    );
    assert_eq!(
        loaded.explain("NOPE"),
        "NOPE is not set\n  used without a value by services.a.hostname (compose.yaml:1): \"\"\n"
    );
    assert_eq!(loaded.explain("OTHER"), "OTHER is not set\n  used nowhere\n");
    assert_eq!(
        loaded.explain("KEY"),
        "KEY=k\n  from .env:3\n  used by secrets.s.environment (compose.yaml:2): \"KEY\"\n"
    );
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        ["compose.yaml:1:45: The \"NOPE\" variable is not set. Defaulting to a blank string."]
    );
}

#[test]
fn a_line_that_wants_a_shell_is_remarked_upon() {
    let text = "services: {a: {image: x, command: echo a && echo b}}\n";
    let loaded = loaded(&[("compose.yaml", text)]).unwrap_or_else(|error| panic!("{error}"));
    let warnings: Vec<&str> = loaded.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert!(
        warnings[0].starts_with("services.a.command: no shell reads this line, so everything from `&` on")
    );
    assert_eq!(warnings.len(), 1);
}

#[test]
fn a_project_has_types() {
    let project = project(
        "name: p
services:
  web:
    image: x
    command: a 'b c'
    ports: [\"127.0.0.1:8080:80/udp\", \"0:81\"]
    depends_on: {db: {condition: service_healthy, restart: true}}
    restart: on-failure:3
    pull_policy: daily
    volumes: [./a:/b:ro, data:/d, /anon]
    healthcheck: {test: curl x, interval: 90s}
    cpus: 0.5
    deploy: {replicas: 3}
    environment: {A: 1, B: }
    secrets: [{source: s, mode: 0440}]
  db: {image: y, network_mode: none}
volumes: {data: }
secrets: {s: {file: ./s}}
",
    );
    let web = &project.services["web"];
    assert_eq!(web.command.as_deref(), Some(&["a".to_owned(), "b c".to_owned()][..]));
    assert_eq!(web.ports[0].published.map(|range| (range.first, range.last)), Some((8080, 8080)));
    assert_eq!(web.ports[1].published, None);
    assert_eq!(web.depends_on["db"].condition, Condition::Healthy);
    assert_eq!(web.restart, Some(Restart::OnFailure(Some(3))));
    assert_eq!(web.pull_policy, Some(PullPolicy::Every(std::time::Duration::from_secs(86_400))));
    assert!(matches!(&web.volumes[0].kind, MountKind::Bind { source, options }
        if source.as_os_str() == "/p/a" && options.create_host_path));
    assert!(matches!(&web.volumes[2].kind, MountKind::Volume { source: None, .. }));
    assert_eq!(web.cpus.map(|cpus| cpus.nanos), Some(500_000_000));
    assert_eq!((web.replicas, web.environment["B"].as_deref()), (3, None));
    assert_eq!(web.secrets[0].mode, Some(0o440));
    assert_eq!(project.services["db"].network_mode, Some(NetworkMode::None));
    assert_eq!(project.networks["default"].name, "p_default");
}

#[test]
fn what_has_no_type_is_told_with_its_line() {
    let text = "services:\n  a:\n    image: x\n    restart: sometimes\n";
    let loaded = loaded(&[("compose.yaml", text)]).unwrap_or_else(|error| panic!("{error}"));
    let error = loaded.project().err().map(|error| error.to_string());
    let wanted = "compose.yaml:4:14: services.a.restart: \"sometimes\" is not one of no, always, on-failure[:N], \
                  unless-stopped";
    assert_eq!(error.as_deref(), Some(wanted));
}

#[test]
fn the_hash_sees_what_makes_containers_different() {
    let hash = |text: &str| {
        let text = format!("services:\n  a: {{image: x, {text}}}\n  b: {{image: y}}\n");
        let loaded = loaded(&[("compose.yaml", &text)]).unwrap_or_else(|error| panic!("{error}"));
        loaded.hashes().unwrap_or_default().remove("a")
    };
    let plain = hash("tty: false");
    for same in ["scale: 2", "depends_on: [b]", "pull_policy: always", "build: .", "profiles: []"] {
        assert_eq!(hash(same), plain, "{same}");
    }
    for other in ["tty: true", "labels: {a: b}", "command: x", "ports: [80]", "environment: {A: 1}"] {
        assert_ne!(hash(other), plain, "{other}");
    }
}

fn service(text: &str) -> Node {
    let text = format!("services: {{a: {text}}}\n");
    let documents = compose(&Source::new("c", text)).unwrap_or_else(|error| panic!("{error}"));
    documents.into_iter().next().unwrap_or_else(|| panic!("there is a document"))
}

fn text(node: &Node) -> String {
    emit(&Document::from(node))
}

/// Sections whose merging is the same in whatever order pairs are joined.
fn sections() -> impl Strategy<Value = String> {
    let name = "[a-c]";
    prop_oneof![
        (name, 0..9).prop_map(|(k, v)| format!("{{environment: {{{k}: {v}}}}}")),
        (name, 0..9).prop_map(|(k, v)| format!("{{environment: [{k}={v}]}}")),
        (name, 0..9).prop_map(|(k, v)| format!("{{labels: {{{k}: {v}}}}}")),
        (0..9).prop_map(|v| format!("{{ports: [{v}]}}")),
        (name, 0..9).prop_map(|(k, v)| format!("{{ulimits: {{{k}: {v}}}}}")),
        (0..9).prop_map(|v| format!("{{hostname: h{v}}}")),
        name.prop_map(|k| format!("{{depends_on: [{k}]}}")),
        name.prop_map(|k| format!("{{networks: [{k}]}}")),
        (0..9).prop_map(|v| format!("{{command: [c{v}]}}")),
        (name, 0..9).prop_map(|(k, v)| format!("{{deploy: {{{k}: {v}}}}}")),
    ]
}

proptest! {
    #[test]
    fn merging_does_not_depend_on_which_pair_is_joined_first(a in sections(), b in sections(), c in sections()) {
        let join = |a: Node, b: Node| {
            merge(a, b, &PROJECT, &Path::default(), Marks::Settle).unwrap_or_else(|error| panic!("{error}"))
        };
        let (a, b, c) = (service(&a), service(&b), service(&c));
        let left = join(join(a.clone(), b.clone()), c.clone());
        let right = join(a, join(b, c));
        prop_assert_eq!(normal(left), normal(right));
    }

    #[test]
    fn nothing_over_something_changes_nothing(a in sections()) {
        let node = service(&a);
        let empty = service("{}");
        let merged = merge(node.clone(), empty, &PROJECT, &Path::default(), Marks::Settle);
        prop_assert_eq!(merged.ok().as_ref().map(text), Some(text(&node)));
    }
}

/// Writes a model with the forms spelled out and equal items joined: merging leaves either form.
fn normal(mut node: Node) -> String {
    let mut warnings = Vec::new();
    let mut bounds = super::bounds::Bounds::default();
    let mut speller = super::long::Speller {
        strictness: super::long::Strictness::Lenient,
        warnings: &mut warnings,
        bounds: &mut bounds,
    };
    let _ = super::unique::enforce(&mut node, Some(&PROJECT), &Path::default());
    let _ = speller.spell(&mut node, &PROJECT, &Path::default());
    let listed: Vec<Node> = node
        .get("services")
        .and_then(|services| services.get("a")?.get("environment").cloned())
        .map(|environment| super::merge::pairs(environment.value, super::schema::Merge::Listed))
        .unwrap_or_default();
    let labels: Vec<Node> = node
        .get("services")
        .and_then(|services| services.get("a")?.get("labels").cloned())
        .map(|labels| super::merge::pairs(labels.value, super::schema::Merge::Listed))
        .unwrap_or_default();
    if let Some(service) = node
        .as_map_mut()
        .and_then(|top| top.get_mut("services"))
        .and_then(|services| services.as_map_mut()?.get_mut("a")?.as_map_mut())
    {
        service.remove("environment");
        service.remove("labels");
    }
    let mut sorted: Vec<String> = listed.iter().chain(&labels).filter_map(Node::scalar).collect();
    sorted.sort();
    format!("{}{sorted:?}", text(&node))
}

/// Returns why files cannot be loaded.
fn refused(files: &[(&str, &str)]) -> String {
    match loaded(files) {
        Ok(_) => panic!("it was loaded"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn variables_of_variables_do_not_grow_without_end() {
    let mut text = "A0=xxxxxxxxxx\n".to_owned();
    for level in 1..12 {
        text.push_str(&format!("A{level}={}\n", format!("${{A{}}}", level - 1).repeat(10)));
    }
    let project = "services: {a: {image: x, env_file: e}}";
    let long = "line 7: the value becomes longer than 8388608 bytes";
    assert!(refused(&[("compose.yaml", project), ("e", &text)]).contains(long));
    assert!(refused(&[("compose.yaml", project), (".env", &text)]).contains(long));
    let half =
        format!("A={}\n{}", "x".repeat(4 << 20), (0..40).map(|at| format!("B{at}=$A\n")).collect::<String>());
    assert!(
        refused(&[("compose.yaml", project), ("e", &half)])
            .contains("the values of this file come to more than 134217728 bytes")
    );
    let many = format!("x-a: [{}]\n{project}", vec!["'$A$A'"; 20].join(", "));
    let value = format!("A={}\n", "x".repeat(4 << 20));
    assert_eq!(
        refused(&[("compose.yaml", &many), (".env", &value)]),
        "compose.yaml:1:135: values come to more than 134217728 bytes once variables are filled in"
    );
}

#[test]
fn files_do_not_lead_to_one_another_without_end() {
    let chain = |text: &dyn Fn(usize) -> String| -> Vec<(String, String)> {
        (0..200).map(|at| (format!("{at}.yaml"), text(at))).collect()
    };
    let refused = |files: Vec<(String, String)>| {
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (&**name, &**text)).collect();
        refused(&files)
    };
    let includes = chain(&|at| format!("include: [{}.yaml]\n", at + 1));
    assert_eq!(refused(includes), "128.yaml:1:11: include: more than 128 lead to one another");
    let both = chain(&|at| match at {
        20 => "services: {a: {image: x}}\n".to_owned(),
        _ => format!("include: [{0}.yaml, {0}.yaml]\n", at + 1),
    });
    assert!(refused(both).contains("more than 1000 files are included"));
    let extended =
        chain(&|at| format!("services: {{a: {{extends: {{service: a, file: {}.yaml}}}}}}\n", at + 1));
    assert_eq!(refused(extended), "128.yaml:1:25: extends: more than 128 lead to one another");
}

#[test]
fn short_forms_do_not_stand_for_more_than_there_is_room_for() {
    let services: String = (0..10).map(|at| format!("  s{at}: {{image: x, ports: [*p]}}\n")).collect();
    let text = format!("x-p: &p '1-65535:1-65535'\nservices:\n{services}");
    assert!(
        refused(&[("compose.yaml", &text)])
            .ends_with("ports and extended services come to more than 2000000 nodes")
    );
    let labels: Vec<String> = (0..20_000).map(|at| format!("l{at}")).collect();
    let services: String = (0..200).map(|at| format!("  s{at}: {{extends: base}}\n")).collect();
    let text = format!("services:\n  base: {{image: x, labels: [{}]}}\n{services}", labels.join(", "));
    assert!(
        refused(&[("compose.yaml", &text)])
            .ends_with("ports and extended services come to more than 2000000 nodes")
    );
    let keys = format!("{}a\n", "? ".repeat(100_000));
    assert!(refused(&[("compose.yaml", &keys)]).ends_with("yaml: nested more than 128 deep"));
}
