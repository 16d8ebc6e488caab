use rbuild_frontend::lower::{LowerOptions, NoCache};
use rbuild_model::graph::GraphBuilder;
use rbuild_model::step::{ExtraHost, Step, StepNote, Ulimit};

use super::*;
use crate::request::NamedContext;

/// A build whose context and Dockerfile are those of a branch.
fn from_repository() -> BuildRequest {
    let commit = "b258e48b4e815d25fccfcd4f474515dbcfbe7a04";
    let mut options = LowerOptions::new(Platform::host());
    let url = "https://user:pass@host/a.git#main:sub";
    let pinned = GitSource { reference: Some(commit.to_owned()), ..git_source(url).unwrap() };
    options.context = Source::Git(pinned);
    BuildRequest {
        dockerfile: Text::new("Dockerfile", "FROM scratch\n"),
        dockerfile_place: DockerfilePlace::Context(Some("sub/Dockerfile".to_owned())),
        main: MainContext::Git(url.to_owned()),
        options,
        contexts: std::collections::BTreeMap::new(),
        pull: crate::request::PullPolicy::Missing,
        tags: Vec::new(),
        exports: Vec::new(),
        parallel: None,
        extra_ca: None,
        project: String::new(),
        caches: crate::caches::Caches::default(),
        attestations: crate::request::Attestations::default(),
        devices: crate::cdi::DeviceGrants::default(),
    }
}

/// A graph of sources alone.
fn graph_of(sources: &[Source]) -> (Graph, Vec<StepId>) {
    let mut builder = GraphBuilder::new();
    let steps = sources.iter().map(|source| {
        let operation = Operation::Source(source.clone());
        builder.add(Step { operation, inputs: Vec::new() }, StepNote::default())
    });
    let steps = steps.collect();
    (builder.finish(), steps)
}

#[test]
fn a_context_in_a_repository_is_the_source_of_the_dockerfile_and_of_the_result() {
    let mut request = from_repository();
    let place = json!({
        "uri": "https://host/a.git#main",
        "digest": {"sha1": "b258e48b4e815d25fccfcd4f474515dbcfbe7a04"},
    });
    let mut of_dockerfile = place.clone();
    of_dockerfile["path"] = json!("sub/Dockerfile");
    assert_eq!(config_source(&request), of_dockerfile);
    for sources in [&[][..], std::slice::from_ref(&request.options.context)] {
        let (graph, steps) = graph_of(sources);
        let all = dependencies(&request, &graph, &steps);
        assert_eq!(all, std::slice::from_ref(&place));
        assert!(is_complete(&request, &graph, &steps, &all));
    }
    let local = Source::Local(rbuild_model::step::LocalSource { name: "more".to_owned() });
    let (graph, steps) = graph_of(&[local]);
    assert!(!is_complete(&request, &graph, &steps, std::slice::from_ref(&place)));
    let (graph, steps) = graph_of(&[]);
    assert!(!is_complete(&request, &graph, &steps, &[json!({"uri": "https://host/file"})]));
    request.dockerfile_place = DockerfilePlace::Given;
    assert!(!is_complete(&request, &graph, &steps, &[]), "the Dockerfile is the caller's");
}

#[test]
fn what_was_asked_for_has_the_names_of_buildkit() {
    let mut request = from_repository();
    request.dockerfile_place = DockerfilePlace::Given;
    request.options = LowerOptions {
        target: Some("two".to_owned()),
        extra_hosts: vec![ExtraHost { name: "a".to_owned(), address: "1.2.3.4".to_owned() }],
        ulimits: vec![Ulimit { name: "nofile".to_owned(), soft: 10, hard: 20 }],
        shm_size: Some(64 << 20),
        network: NetworkMode::Host,
        no_cache: NoCache::Stages(vec!["one".to_owned(), "two".to_owned()]),
        build_args: [("A".to_owned(), "1".to_owned())].into(),
        labels: vec![("b".to_owned(), "2".to_owned())],
        ..request.options
    };
    request.contexts = [
        ("here", NamedContext::Local),
        ("image", NamedContext::Image("busybox".parse().unwrap())),
        ("empty", NamedContext::Scratch),
        ("web", NamedContext::Web("https://u:p@host/x?token=y".to_owned())),
        ("other", NamedContext::Target("base".to_owned())),
    ]
    .map(|(name, context)| (name.to_owned(), context))
    .into();
    let (graph, steps) = graph_of(&[]);
    let mut expected = json!({
        "frontend": "dockerfile.v0",
        "args": {
            "target": "two",
            "add-hosts": "a=1.2.3.4",
            "ulimit": "nofile=10:20",
            "shm-size": "67108864",
            "force-network-mode": "host",
            "no-cache": "one,two",
            "context:here": "local:here",
            "context:image": "docker-image://busybox",
            "context:empty": "docker-image://scratch",
            "context:web": "https://host/x?token=***",
            "context:other": "target:base",
        },
        "locals": [{"name": "dockerfile"}],
    });
    assert_eq!(parameters::asked(&request, &graph, &steps, Detail::Min), expected);
    expected["args"]["build-arg:A"] = json!("1");
    expected["args"]["label:b"] = json!("2");
    assert_eq!(parameters::asked(&request, &graph, &steps, Detail::Max), expected);
}

#[test]
fn addresses_lose_their_users_and_what_opens_doors() {
    for (address, expected) in [
        ("https://u:p@host:1/a@b?c", "https://host:1/a@b?***"),
        (
            "https://host/a?v=1&X-Amz-Signature=0f&token=a=b#x?y=z",
            "https://host/a?v=***&X-Amz-Signature=***&token=***#x?y=z",
        ),
        ("https://host?key=1", "https://host?key=***"),
        ("https://host/a", "https://host/a"),
        ("git@host:a/b", "git@host:a/b"),
        ("ssh://git@host/a", "ssh://host/a"),
    ] {
        assert_eq!(public(address), expected);
    }
}

#[test]
fn images_are_named_by_package_urls_and_digests() {
    let mut image = ImageSource {
        name: "busybox".to_owned(),
        pin: rbuild_model::step::ImagePin {
            manifest: Some(rbuild_model::digest::BlobDigest::of(b"m")),
            image: rbuild_model::digest::ImageId::of_config(rbuild_model::digest::BlobDigest::of(b"c")),
            chain: None,
        },
        platform: "linux/amd64".parse().unwrap(),
    };
    let value = image_source(&image);
    assert_eq!(value["uri"], "pkg:docker/busybox@latest?platform=linux%2Famd64");
    assert_eq!(value["digest"]["sha256"], rbuild_model::digest::BlobDigest::of(b"m").hex());
    image.pin.manifest = None;
    assert!(image_source(&image)["annotations"]["image-id"].as_str().unwrap().starts_with("sha256:"));
}

#[test]
fn the_former_version_says_the_same() {
    let made = json!({
        "buildDefinition": {
            "buildType": "t",
            "externalParameters": {
                "configSource": {"uri": "https://host/a.git#main", "digest": {"sha1": "z"}, "path": "Dockerfile"},
                "request": {"frontend": "f"},
            },
            "internalParameters": {"builderPlatform": "linux/amd64", "buildConfig": {"steps": []}},
            "resolvedDependencies": [
                {"uri": "pkg:docker/a", "digest": {"sha256": "x"}},
                {"uri": "pkg:docker/b", "annotations": {"image-id": "y"}},
            ],
        },
        "runDetails": {
            "builder": {"id": "me", "version": {"rbuild": "1"}},
            "metadata": {
                "startedOn": "s",
                "finishedOn": "f",
                "buildkit_completeness": {"request": true, "resolvedDependencies": false},
                "buildkit_metadata": {"source": {"infos": []}},
                "buildkit_hermetic": true,
                "buildkit_reproducible": true,
            },
        },
    });
    assert_eq!(
        former(&made),
        json!({
            "builder": {"id": "me"},
            "buildType": "t",
            "materials": [{"uri": "pkg:docker/a", "digest": {"sha256": "x"}}, {"uri": "pkg:docker/b"}],
            "invocation": {
                "configSource": {
                    "uri": "https://host/a.git#main",
                    "digest": {"sha1": "z"},
                    "entryPoint": "Dockerfile",
                },
                "parameters": {"frontend": "f"},
                "environment": {"platform": "linux/amd64"},
            },
            "buildConfig": {"steps": []},
            "metadata": {
                "buildStartedOn": "s",
                "buildFinishedOn": "f",
                "completeness": {"parameters": true, "environment": true, "materials": false},
                "reproducible": true,
                "https://mobyproject.org/buildkit@v1#metadata": {"source": {"infos": []}},
                "https://mobyproject.org/buildkit@v1#hermetic": true,
            },
        })
    );
}
