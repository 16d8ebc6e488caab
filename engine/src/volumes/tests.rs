use std::fs;

use rbuild_store::StoreOptions;
use tempfile::TempDir;

use super::*;

/// A store with volumes, and an image's tree.
pub(super) struct Place {
    pub(super) volumes: Volumes,
    pub(super) store: Store,
    pub(super) folder: TempDir,
}

/// The containers that have volumes.
pub(super) struct Users(Vec<(&'static str, &'static str)>);

impl VolumeUsers for Users {
    fn users(&self, volume: &VolumeName) -> Result<Vec<String>, VolumesError> {
        Ok(self
            .0
            .iter()
            .filter(|(name, _)| *name == volume.as_str())
            .map(|(_, id)| (*id).to_owned())
            .collect())
    }
}

pub(super) const NOBODY: Users = Users(Vec::new());

impl Place {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = StoreOptions::new(folder.path().join("root"), folder.path().join("run"), "volume test");
        let store = Store::open(StoreOptions { schemas: &[&SCHEMA], reserve: 0, ..options }).unwrap();
        let image = folder.path().join("image");
        fs::create_dir_all(image.join("data/deep")).unwrap();
        fs::write(image.join("data/deep/first"), "from the image").unwrap();
        fs::write(image.join("data/second"), "too").unwrap();
        fs::write(image.join("file"), "").unwrap();
        Self { volumes: Volumes::new(&store), store, folder }
    }

    pub(super) fn image(&self) -> Root {
        Root::open(self.folder.path().join("image")).unwrap()
    }

    fn make(&self, name: &str) -> VolumeDefinition {
        let name = Some(name.to_owned());
        self.volumes.create(&VolumeRequest { name, ..VolumeRequest::default() }).unwrap()
    }

    fn data(&self, definition: &VolumeDefinition) -> PathBuf {
        self.volumes.mountpoint(definition).unwrap()
    }

    fn fill(&self, definition: &VolumeDefinition) -> Result<(), VolumesError> {
        self.volumes.fill(definition, &self.image(), "/data", Begins::WithImage)
    }
}

#[test]
fn a_volume_is_made_once_and_shown_as_docker_shows_it() {
    let place = Place::new();
    let data = place.make("data");
    assert_eq!(place.make("data"), data, "the same again");
    let other = VolumeRequest {
        name: Some("data".to_owned()),
        driver: "nfs-plugin".to_owned(),
        ..Default::default()
    };
    assert_eq!(
        place.volumes.create(&other).unwrap_err().to_string(),
        "a volume named data already exists with the local driver. Choose a different volume name"
    );
    let other = VolumeRequest { name: Some("other".to_owned()), ..other };
    assert_eq!(
        place.volumes.create(&other).unwrap_err().to_string(),
        "create other: error looking up volume plugin nfs-plugin: plugin \"nfs-plugin\" not found"
    );
    let anonymous = place.volumes.create(&VolumeRequest::default()).unwrap();
    assert!(anonymous.is_anonymous() && anonymous.name.as_str().len() == 64);
    let mut shown = place.volumes.inspect(&data).unwrap();
    assert_eq!(shown["Mountpoint"], json!(place.data(&data)));
    shown["Mountpoint"] = Value::Null;
    shown["CreatedAt"] = Value::Null;
    assert_eq!(
        shown.to_string(),
        r#"{"CreatedAt":null,"Driver":"local","Labels":null,"Mountpoint":null,"Name":"data","Options":null,"Scope":"local"}"#
    );
    assert_eq!(place.volumes.list().unwrap().len(), 2);
    for (name, said) in [("a", "too short"), ("../x", "invalid characters")] {
        let request = VolumeRequest { name: Some(name.to_owned()), ..VolumeRequest::default() };
        assert!(place.volumes.create(&request).unwrap_err().to_string().contains(said), "{name}");
    }
}

#[test]
fn an_empty_volume_begins_with_what_the_image_has() {
    let place = Place::new();
    let data = place.make("data");
    place.volumes.fill(&data, &place.image(), "/data", Begins::Empty).unwrap();
    assert!(!place.data(&data).exists());
    let flags = rustix::fs::XattrFlags::empty();
    for path in ["data", "data/deep", "data/second"] {
        let path = place.folder.path().join("image").join(path);
        rustix::fs::setxattr(path, "user.own", b"kept", flags).unwrap();
    }
    place.fill(&data).unwrap();
    let first = place.data(&data).join("deep/first");
    assert_eq!(fs::read_to_string(&first).unwrap(), "from the image");
    for path in ["", "deep", "second"] {
        let mut value = [0_u8; 16];
        let length = rustix::fs::getxattr(place.data(&data).join(path), "user.own", &mut value[..]);
        assert_eq!(&value[..length.unwrap()], b"kept", "{path}");
    }
    fs::write(&first, "mine").unwrap();
    place.fill(&data).unwrap();
    assert_eq!(fs::read_to_string(&first).unwrap(), "mine", "what is there stays");
    assert!(!place.data(&data).with_file_name("filling").exists());

    // Of a folder of the host that is a volume for the first time, nothing is covered up or changed.
    if rbuild_testkit::privilege::is_root("volumes that are folders of the host") {
        let own = place.folder.path().join("own");
        fs::create_dir(&own).unwrap();
        fs::write(own.join("second"), "mine").unwrap();
        let options = [("type", "none"), ("o", "bind"), ("device", own.to_str().unwrap())];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let request =
            VolumeRequest { name: Some("own".to_owned()), options: options.into(), ..Default::default() };
        let volume = place.volumes.create(&request).unwrap();
        place.fill(&volume).unwrap();
        place.volumes.release(&volume).unwrap();
        assert_eq!(fs::read_to_string(own.join("second")).unwrap(), "mine");
        assert_eq!(fs::read_dir(&own).unwrap().count(), 1);
    }

    let empty = place.make("empty");
    place.volumes.fill(&empty, &place.image(), "/not-there", Begins::WithImage).unwrap();
    assert!(place.data(&empty).is_dir());
    let error = place.volumes.fill(&empty, &place.image(), "/file", Begins::WithImage).unwrap_err();
    assert!(error.to_string().contains("it is not a folder"), "{error}");
}

#[test]
fn links_of_the_image_lead_a_first_fill_nowhere_else() {
    use std::os::unix::fs::symlink;

    let place = Place::new();
    let outside = place.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("canary"), "of the host").unwrap();
    let image = place.folder.path().join("image");
    let climbing = PathBuf::from(format!("{}{}", "../".repeat(30), outside.display()));
    let magic = Path::new("/proc/self/root").join(outside.strip_prefix("/").unwrap());
    for (name, target) in [("absolute", &outside), ("climbing", &climbing), ("magic", &magic)] {
        symlink(target, image.join(name)).unwrap();
        let volume = place.make(name);
        for below in ["", "/../outside", "/canary"] {
            let path = format!("/{name}{below}");
            // Nothing of that name is in the image; a volume that cannot be filled is no worse.
            let _ = place.volumes.fill(&volume, &place.image(), &path, Begins::WithImage);
            assert_eq!(fs::read_dir(place.data(&volume)).unwrap().count(), 0, "{path}");
        }
    }
    // A link that leads back is the image's own folder, and those below come as they are.
    symlink(&outside, image.join("data/link")).unwrap();
    symlink("../../../data", image.join("back")).unwrap();
    let back = place.make("back");
    place.volumes.fill(&back, &place.image(), "/back", Begins::WithImage).unwrap();
    assert_eq!(fs::read_to_string(place.data(&back).join("second")).unwrap(), "too");
    assert_eq!(fs::read_link(place.data(&back).join("link")).unwrap(), outside);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn a_fill_that_was_killed_is_seen_and_repeated_until_somebody_uses_the_volume() {
    let place = Place::new();
    let data = place.make("data");
    place.fill(&data).unwrap();
    // What a process leaves that was killed on the way: one of two files, and the mark.
    let (folder, mark) = (place.data(&data), place.data(&data).with_file_name("filling"));
    let killed = || {
        fs::write(folder.join("deep/first"), "from").unwrap();
        let _ = fs::remove_file(folder.join("second"));
        fs::write(&mark, "").unwrap();
    };
    killed();
    place.fill(&data).unwrap();
    assert_eq!(fs::read_to_string(folder.join("deep/first")).unwrap(), "from the image");
    assert!(folder.join("second").exists() && !mark.exists());

    killed();
    place.volumes.source(&data, None).unwrap();
    fs::write(folder.join("deep/first"), "a program's").unwrap();
    place.fill(&data).unwrap();
    assert_eq!(fs::read_to_string(folder.join("deep/first")).unwrap(), "a program's");
}

#[test]
fn what_is_in_use_stays_and_what_was_removed_does_not_come_back() {
    let place = Place::new();
    let data = place.make("data");
    place.fill(&data).unwrap();
    let users = Users(vec![("data", "abc")]);
    let error = place.volumes.remove("data", &users, Absence::Refused).unwrap_err();
    assert_eq!(error.to_string(), "remove data: volume is in use - [abc]");
    place.volumes.remove("data", &NOBODY, Absence::Refused).unwrap();
    assert!(!place.data(&data).exists());
    let again = place.make("data");
    place.volumes.source(&again, None).unwrap();
    assert_eq!(fs::read_dir(place.data(&again)).unwrap().count(), 0);
    let error = place.volumes.remove("nobody", &NOBODY, Absence::Refused).unwrap_err();
    assert_eq!(error.to_string(), "get nobody: no such volume");
    place.volumes.remove("nobody", &NOBODY, Absence::Fine).unwrap();
}

#[test]
fn pruning_takes_what_fits_and_nobody_has() {
    let place = Place::new();
    let (kept, gone) = (place.make("kept"), place.make("gone"));
    place.fill(&kept).unwrap();
    place.fill(&gone).unwrap();
    let options =
        [("type", "tmpfs"), ("device", "tmpfs")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let request = VolumeRequest {
        name: Some("memory".to_owned()),
        options: options.into(),
        ..VolumeRequest::default()
    };
    place.volumes.create(&request).unwrap();
    let users = Users(vec![("kept", "abc")]);
    let pruned = place.volumes.prune(&users, |definition| definition.name.as_str() != "other").unwrap();
    assert_eq!(pruned.volumes, [gone.name]);
    assert!(pruned.bytes > 0 && pruned.failures.is_empty());
    let left: Vec<String> =
        place.volumes.list().unwrap().into_iter().map(|definition| definition.name.to_string()).collect();
    assert_eq!(left, ["kept", "memory"]);
}

#[test]
fn a_volume_with_options_is_mounted_while_it_is_used() {
    if !rbuild_testkit::privilege::is_root("volumes that are mounts") {
        return;
    }
    let place = Place::new();
    let options = [("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=64k")];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let request = VolumeRequest {
        name: Some("memory".to_owned()),
        options: options.into(),
        ..VolumeRequest::default()
    };
    let memory = place.volumes.create(&request).unwrap();
    let data = place.data(&memory);
    let is_mounted = || rbuild_sandbox::volume::is_mounted(&data).unwrap();
    place.fill(&memory).unwrap();
    place.volumes.source(&memory, None).unwrap();
    assert!(is_mounted() && data.join("second").exists(), "two containers see the same");
    assert!(fs::write(data.join("large"), vec![0; 1 << 20]).is_err());
    place.volumes.release(&memory).unwrap();
    assert!(!is_mounted() && !data.join("second").exists());
    place.volumes.source(&memory, None).unwrap();
    place.volumes.remove("memory", &NOBODY, Absence::Refused).unwrap();
    assert!(!is_mounted() && !data.exists());
}

#[test]
fn nobody_removes_what_a_container_in_the_making_wants() {
    let place = Place::new();
    place.make("data");
    let hold = place.volumes.hold().unwrap();
    let (volumes, store) = (place.volumes.clone(), place.store.clone());
    let remover = std::thread::spawn(move || {
        // The container's row is there before the hold is let go, so the remover sees it.
        let users = Users(vec![("data", "abc")]);
        let removed = volumes.remove("data", &users, Absence::Refused);
        drop(store);
        removed.unwrap_err().to_string()
    });
    place.make("other");
    drop(hold);
    assert!(remover.join().unwrap().contains("in use"));
}
