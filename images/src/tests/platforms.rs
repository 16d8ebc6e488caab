//! Names that mean an image on each of several platforms.

use super::*;

fn arm64() -> Platform {
    "linux/arm64".parse().unwrap()
}

impl Place {
    fn import_for(&self, platform: &Platform, text: &str) -> Member {
        let options = ImportOptions { platform: platform.clone(), ..import_options(None) };
        let image = self.images.import(&tar(&[("f", text)])[..], options, &self.lease).unwrap();
        Member { platform: platform.clone(), image }
    }

    fn resolved(&self, name: &str, platform: &Platform) -> ImageId {
        let (name, never) = (reference(name), PullPolicy::Never);
        self.images.resolve(&name, platform, never, &self.lease, &Quiet).unwrap().image
    }

    fn ids(&self) -> Vec<ImageId> {
        self.images.list().unwrap().into_iter().map(|image| image.id).collect()
    }
}

#[test]
fn a_name_means_an_image_on_each_platform() {
    let place = place();
    let (arm, amd) = (place.import_for(&arm64(), "arm"), place.import_for(&amd64(), "amd"));
    let host = place.images.tag_index(&[arm.clone(), amd.clone()], &reference("app")).unwrap();
    assert_eq!(host, if Platform::host() == arm64() { arm.image } else { amd.image });
    assert_eq!(place.resolved("app", &amd64()), amd.image);
    assert_eq!(place.resolved("app", &arm64()), arm.image);
    assert_eq!(place.images.find_id("app").unwrap(), host);
    assert_eq!(place.images.find_for("app", Some(&arm64())).unwrap(), arm.image);
    let other = place.images.find_for("app", Some(&"linux/s390x".parse().unwrap())).unwrap_err().to_string();
    assert_eq!(
        other,
        "app: no match for platform in manifest: linux/s390x is not among [linux/arm64, linux/amd64]"
    );

    // One row, known by the id of the index, with the size of all.
    assert_eq!(place.ids(), [host]);
    let index = place.images.index("app").unwrap().unwrap();
    assert_eq!(index.members, [arm.clone(), amd.clone()]);
    assert_eq!(index.id(), IndexId::of(&[arm.clone(), amd.clone()]));
    let size = |id| place.images.get(id).unwrap().unwrap().size;
    assert_eq!(index.size, size(arm.image) + size(amd.image));
    for text in [index.id().to_string(), index.id().hex()[..12].to_owned()] {
        assert_eq!(place.images.index(&text).unwrap().unwrap().name, reference("app:latest"), "{text}");
        assert_eq!(place.images.find_id(&text).unwrap(), host, "{text}");
    }
    let shown = place.images.inspect(host).unwrap();
    assert_eq!(shown["Manifests"][0]["ImageData"]["Platform"]["architecture"], "arm64");
    assert_eq!(shown["Manifests"][1]["ID"], amd.image.to_string());

    // Another name for the same; the first one then means something else.
    place.images.tag_as("app", &reference("again:1")).unwrap();
    place.images.tag(arm.image, &reference("app")).unwrap();
    assert_eq!(place.images.index("app").unwrap(), None);
    assert_eq!(place.images.index("again:1").unwrap().unwrap().members, [arm.clone(), amd.clone()]);
    assert_eq!(place.resolved("again:1", &arm64()), arm.image);

    // What only the index meant goes with its last name.
    let removed = place.images.remove("again:1", &NoUsers).unwrap();
    assert!(removed.contains(&Removed::Untagged(reference("again:1"))), "{removed:?}");
    assert_eq!(place.ids(), [arm.image]);
    place.images.remove("app", &NoUsers).unwrap();
    assert!(place.images.list().unwrap().is_empty());
}

#[test]
fn an_index_leaves_with_all_its_images() {
    let place = place();
    let members = [place.import_for(&amd64(), "amd"), place.import_for(&arm64(), "arm")];
    place.images.tag_index(&members, &reference("app")).unwrap();
    let archive = place.images.save(&["app"], Vec::new(), &place.lease).unwrap();
    for (member, text) in members.iter().zip(["amd", "arm"]) {
        let there = super::place();
        let loaded = there.images.load(&archive[..], &member.platform, &there.lease, &Quiet).unwrap();
        assert!(loaded.iter().any(|loaded| loaded.image == member.image), "{loaded:?}");
        assert_eq!(there.read(member.image, "f"), text);
        // All of them come, and are known together as they were.
        let index = there.images.index("app").unwrap().unwrap();
        assert_eq!(index.id(), IndexId::of(&members));
        assert_eq!(there.ids().len(), 1);
    }
    // One of its platforms leaves as a plain image.
    let archive = place.images.save_for(&["app"], Some(&arm64()), Vec::new(), &place.lease).unwrap();
    let there = super::place();
    let loaded = there.images.load(&archive[..], &amd64(), &there.lease, &Quiet).unwrap();
    assert_eq!(loaded.len(), 1);
    assert_eq!((loaded[0].image, &loaded[0].names[0].0), (members[1].image, &reference("app:latest")));
}

#[test]
fn a_second_platform_joins_the_first_of_the_same_index() {
    let (mut content, amd) = super::content(|_| {});
    let config = {
        let mut config = ImageConfig::default();
        config.set_platform(&arm64());
        serde_json::to_vec(&config).unwrap()
    };
    let arm = ImageId::of_config(BlobDigest::of(&config));
    let manifest = Manifest::new(Descriptor::of(MediaType::OCI_CONFIG, &config), Vec::new()).to_bytes();
    let old = content["/v2/a/b/manifests/1"].1.clone();
    let Document::Index(mut index) = Document::parse(&old, None).unwrap() else { panic!("an index") };
    let entry = Descriptor::of(MediaType::OCI_MANIFEST, &manifest).for_platform(&arm64());
    index.manifests.retain(|entry| entry.platform().is_none_or(|platform| platform != arm64()));
    index.manifests.push(entry.clone());
    let bytes = index.to_bytes();
    content.insert(format!("/v2/a/b/blobs/{}", BlobDigest::of(&config)), (String::new(), config));
    content.insert(format!("/v2/a/b/manifests/{}", entry.digest), (MediaType::OCI_MANIFEST.into(), manifest));
    for name in ["1".to_owned(), BlobDigest::of(&bytes).to_string()] {
        content.insert(format!("/v2/a/b/manifests/{name}"), (MediaType::OCI_INDEX.into(), bytes.clone()));
    }
    let registry = Registry::start(content);
    let place = place_with(quick());
    let name = registry.reference("a/b:1");
    let pull = |platform: &Platform| place.images.pull(&name, platform, &place.lease, &Quiet).unwrap();
    assert!(!pull(&amd64()).up_to_date);
    assert_eq!(place.images.index(&name.to_string()).unwrap(), None, "one platform is no index");
    assert!(!pull(&arm64()).up_to_date);
    assert!(pull(&arm64()).up_to_date);
    assert!(pull(&amd64()).up_to_date);
    assert_eq!(place.resolved(&name.to_string(), &amd64()), amd);
    assert_eq!(place.resolved(&name.to_string(), &arm64()), arm);
    assert_eq!(place.ids().len(), 1);
}
