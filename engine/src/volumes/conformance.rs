//! What every driver of volumes keeps to, and how one behaves that is a program elsewhere: it makes volumes when it is
//! told to, says where they are only while they are mounted, counts mounts, and has volumes of others.

use std::fs;
use std::sync::{Arc, Mutex};

use super::tests::{NOBODY, Place};
use super::*;

/// A driver as a plugin of Docker's protocol is one.
#[derive(Debug)]
struct Plugin {
    folder: PathBuf,
    /// Its volumes, and whether each is mounted.
    volumes: Mutex<BTreeMap<VolumeName, bool>>,
    /// What it was told, in the words of the protocol.
    calls: Mutex<Vec<&'static str>>,
}

impl Plugin {
    fn new(folder: &Path) -> Self {
        let folder = folder.join("plugin");
        Self { folder, volumes: Mutex::default(), calls: Mutex::default() }
    }

    fn told(&self, call: &'static str) {
        self.calls.lock().unwrap().push(call);
    }

    fn place(&self, name: &VolumeName) -> PathBuf {
        self.folder.join(name.as_str())
    }
}

impl VolumeDriver for Plugin {
    fn name(&self) -> &str {
        "plugin"
    }

    fn scope(&self) -> Scope {
        Scope::Global
    }

    fn check(&self, _definition: &VolumeDefinition) -> Result<(), VolumesError> {
        Ok(())
    }

    fn create(&self, _store: &Store, definition: &VolumeDefinition) -> Result<(), VolumesError> {
        let mut volumes = self.volumes.lock().unwrap();
        if !volumes.contains_key(&definition.name) {
            self.told("Create");
            fs::create_dir_all(self.place(&definition.name)).unwrap();
            volumes.insert(definition.name.clone(), false);
        }
        Ok(())
    }

    fn path(&self, _store: &Store, definition: &VolumeDefinition) -> Result<Option<PathBuf>, VolumesError> {
        let is_mounted = self.volumes.lock().unwrap().get(&definition.name) == Some(&true);
        Ok(is_mounted.then(|| self.place(&definition.name)))
    }

    fn mount(&self, store: &Store, definition: &VolumeDefinition) -> Result<PathBuf, VolumesError> {
        self.create(store, definition)?;
        if self.volumes.lock().unwrap().insert(definition.name.clone(), true) == Some(false) {
            self.told("Mount");
        }
        Ok(self.place(&definition.name))
    }

    fn unmount(&self, _store: &Store, definition: &VolumeDefinition) -> Result<(), VolumesError> {
        if let Some(is_mounted) = self.volumes.lock().unwrap().get_mut(&definition.name)
            && std::mem::take(is_mounted)
        {
            self.told("Unmount");
        }
        Ok(())
    }

    fn remove(&self, store: &Store, definition: &VolumeDefinition) -> Result<(), VolumesError> {
        self.unmount(store, definition)?;
        if self.volumes.lock().unwrap().remove(&definition.name).is_some() {
            self.told("Remove");
            fs::remove_dir_all(self.place(&definition.name)).unwrap();
        }
        Ok(())
    }

    fn find(&self, _store: &Store, name: &VolumeName) -> Result<Option<Foreign>, VolumesError> {
        let there = self.volumes.lock().unwrap().contains_key(name);
        Ok(there.then(|| Foreign { name: name.clone(), created: None }))
    }

    fn others(&self, _store: &Store) -> Result<Vec<Foreign>, VolumesError> {
        let names: Vec<VolumeName> = self.volumes.lock().unwrap().keys().cloned().collect();
        Ok(names.into_iter().map(|name| Foreign { name, created: None }).collect())
    }

    fn holds_bytes(&self, _definition: &VolumeDefinition) -> Ownership {
        Ownership::Elsewhere
    }
}

/// What holds of every driver.
fn conforms(driver: &dyn VolumeDriver, store: &Store) {
    let definition = VolumeDefinition {
        name: "conforming".parse().unwrap(),
        driver: driver.name().to_owned(),
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
        created: String::new(),
    };
    driver.check(&definition).unwrap();
    for round in ["first", "again"] {
        // Every act may be repeated.
        driver.create(store, &definition).unwrap();
        driver.create(store, &definition).unwrap();
        let place = driver.mount(store, &definition).unwrap();
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0, "{round}: a new volume is empty");
        assert_eq!(driver.mount(store, &definition).unwrap(), place, "{round}");
        assert_eq!(driver.path(store, &definition).unwrap(), Some(place.clone()), "{round}");
        fs::write(place.join("kept"), round).unwrap();
        driver.unmount(store, &definition).unwrap();
        driver.unmount(store, &definition).unwrap();
        // What was not made is made by its first use, and nothing is lost between two of them.
        driver.create(store, &definition).unwrap();
        let place = driver.mount(store, &definition).unwrap();
        assert_eq!(fs::read_to_string(place.join("kept")).unwrap(), round);
        // Removed while it is mounted, as after a crash.
        driver.remove(store, &definition).unwrap();
        driver.remove(store, &definition).unwrap();
        driver.unmount(store, &definition).unwrap();
        assert!(!place.exists(), "{round}");
        assert_eq!(driver.find(store, &definition.name).unwrap(), None, "{round}");
        assert!(driver.others(store).unwrap().iter().all(|other| other.name != definition.name), "{round}");
    }
    driver.mount(store, &definition).unwrap();
    driver.remove(store, &definition).unwrap();
}

#[test]
fn drivers_keep_to_what_the_trait_says() {
    let place = Place::new();
    for driver in built_in().iter() {
        conforms(driver.as_ref(), &place.store);
    }
    conforms(&Plugin::new(place.folder.path()), &place.store);
}

#[test]
fn a_driver_elsewhere_is_told_of_each_act_once() {
    let place = Place::new();
    let plugin = Arc::new(Plugin::new(place.folder.path()));
    let mut drivers: Vec<Arc<dyn VolumeDriver>> = built_in().to_vec();
    drivers.push(plugin.clone());
    let volumes = Volumes::kept_by(&place.store, drivers.into());
    let wanted = |name: &str, driver: &str| VolumeRequest {
        name: Some(name.to_owned()),
        driver: driver.to_owned(),
        ..VolumeRequest::default()
    };
    let far = volumes.create(&wanted("far", "plugin")).unwrap();
    volumes.create(&wanted("near", "")).unwrap();
    let shown = volumes.inspect(&far).unwrap();
    assert_eq!((&shown["Scope"], &shown["Mountpoint"]), (&json!("global"), &json!("")));
    // It begins with what the image has, as any; what says that it is being filled lies in the store.
    volumes.fill(&far, &place.image(), "/data", Begins::WithImage).unwrap();
    volumes.fill(&far, &place.image(), "/data", Begins::WithImage).unwrap();
    let MountSource::Within { root: RootPlan::Directory { path, .. }, .. } =
        volumes.source(&far, None).unwrap()
    else {
        panic!("a volume is a folder");
    };
    assert_eq!(fs::read_to_string(path.join("second")).unwrap(), "too");
    assert!(!path.with_file_name("filling").exists());
    assert_eq!(volumes.inspect(&far).unwrap()["Mountpoint"], json!(path));
    volumes.release(&far).unwrap();
    // One that others made there is seen, and is no row of ours.
    fs::create_dir(plugin.folder.join("others")).unwrap();
    plugin.volumes.lock().unwrap().insert("others".parse().unwrap(), false);
    let names = |volumes: &Volumes| -> Vec<String> {
        volumes.list().unwrap().iter().map(|volume| format!("{} {}", volume.driver, volume.name)).collect()
    };
    assert_eq!(names(&volumes), ["plugin far", "local near", "plugin others"]);
    assert_eq!(volumes.find("others").unwrap().driver, "plugin");
    assert_eq!(volumes.size(&far).unwrap(), None);
    assert_eq!(volumes.prune(&NOBODY, |_| true).unwrap().volumes.len(), 1, "only what lies in the store");
    volumes.remove("far", &NOBODY, Absence::Refused).unwrap();
    volumes.remove("others", &NOBODY, Absence::Refused).unwrap();
    assert_eq!(names(&volumes), [""; 0]);
    let calls = plugin.calls.lock().unwrap().join(" ");
    assert_eq!(calls, "Create Mount Unmount Remove Remove");
    // Without its driver a volume stays as it is.
    volumes.create(&wanted("far", "plugin")).unwrap();
    let error = place.volumes.remove("far", &NOBODY, Absence::Refused).unwrap_err();
    assert_eq!(
        error.to_string(),
        "create far: error looking up volume plugin plugin: plugin \"plugin\" not found"
    );
}
