use super::*;

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
            "externalParameters": {"configSource": {"path": "Dockerfile"}, "request": {"frontend": "f"}},
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
                "configSource": {"entryPoint": "Dockerfile"},
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
            },
        })
    );
}
