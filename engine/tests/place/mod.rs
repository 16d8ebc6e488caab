//! A store with images made of busybox, an engine, and somebody who attends containers.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rbuild_engine::{Attendant, Engine, Parts, RunRequest, Streams};
use rbuild_images::{Images, ImportOptions, Options, Quiet, run_config};
use rbuild_model::platform::Platform;
use rbuild_network::link::StorePrefix;
use rbuild_network::site::{Site, SiteConfig};
use rbuild_sandbox::LauncherConfig;
use rbuild_snapshotter::{CopySnapshotter, Folders, Snapshotter};
use rbuild_store::{Schema, Store, StoreOptions};
use tempfile::TempDir;

const SCHEMAS: &[&Schema] =
    &[&rbuild_cache::blobs::SCHEMA, &rbuild_cache::records::SCHEMA, &rbuild_images::SCHEMA];

/// Where containers are run.
pub(crate) struct Place {
    engine: Engine,
    store: Store,
    site: SiteConfig,
    folder: TempDir,
}

impl Place {
    /// Makes a store with the images `busybox` and `with-volume`.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = StoreOptions::new(folder.path().join("root"), folder.path().join("run"), "engine test");
        let store = Store::open(StoreOptions { schemas: SCHEMAS, reserve: 0, ..options }).unwrap();
        let layout = store.layout();
        let work = folder.path().join("root/unfinished");
        std::fs::create_dir(&work).unwrap();
        let folders =
            Folders { snapshots: layout.root().join("snapshots"), tmp: work, trash: layout.trash() };
        let snapshotter: Arc<dyn Snapshotter> = Arc::new(CopySnapshotter::open(&folders).unwrap());
        let images = Arc::new(Images::new(&store, Arc::clone(&snapshotter), Options::default()));
        let tree = folder.path().join("tree");
        rbuild_testkit::rootfs::busybox(&tree);
        let import = |name: &str, changes: &[String]| {
            let lease = store.lease("test").unwrap();
            let options = ImportOptions {
                reference: Some(name.parse().unwrap()),
                platform: Platform::host(),
                run: run_config(changes, &Platform::host()).unwrap(),
                message: String::new(),
                created: None,
            };
            images.import_folder(&tree, options, &lease).unwrap();
        };
        import("busybox", &[]);
        std::fs::create_dir(tree.join("data")).unwrap();
        std::fs::write(tree.join("data/from image"), "").unwrap();
        import("with-volume", &["VOLUME /data".to_owned()]);
        let site = SiteConfig {
            store: StorePrefix::new(&store.id().short()).unwrap(),
            runtime: layout.run().to_owned(),
            host_lock: folder.path().join("host.lock"),
            nft: None,
            place: Default::default(),
        };
        let engine = Engine::new(Parts {
            store: store.clone(),
            images,
            snapshotter,
            launcher: LauncherConfig::default(),
            site: site.clone(),
            cgroup_prefix: format!("rbuild-{}", store.id().short()),
            resolv_conf: Some("nameserver 192.0.2.1\n".to_owned()),
            resolved_upstream: None,
            hosts: String::new(),
        });
        Self { engine, store, site, folder }
    }

    /// Makes a folder of the host.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// Returns a port that nobody listens on.
    pub(crate) fn free_port(&self) -> u16 {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
    }

    /// Runs a container whose input is at its end; returns its status, its output and its error output.
    pub(crate) fn run(&self, request: &RunRequest) -> (u8, String) {
        self.run_with(request, Watched::default())
    }

    pub(crate) fn run_with(&self, request: &RunRequest, mut watched: Watched) -> (u8, String) {
        let finished = self.engine.run(request, &Quiet, &mut watched);
        let finished = finished.unwrap_or_else(|error| panic!("{}", chain(&error)));
        (finished.exit.code(), watched.text())
    }

    /// Runs what must fail; returns why.
    pub(crate) fn fail(&self, request: &RunRequest) -> String {
        match self.engine.run(request, &Quiet, &mut Watched::default()) {
            Ok(finished) => panic!("it ran: {:?}", finished.exit),
            Err(error) => chain(&error),
        }
    }

    /// Lists what containers left behind.
    pub(crate) fn leftovers(&self) -> BTreeSet<String> {
        let list = |path: PathBuf| -> Vec<String> {
            let Ok(entries) = std::fs::read_dir(&path) else { return Vec::new() };
            entries.flatten().map(|entry| entry.path().display().to_string()).collect()
        };
        let work = list(self.store.work_folder().unwrap().to_owned());
        let groups = ["", "memory", "devices", "unified"];
        let groups = groups.iter().flat_map(|part| {
            list(
                PathBuf::from("/sys/fs/cgroup")
                    .join(part)
                    .join(format!("rbuild-{}", self.store.id().short())),
            )
        });
        let groups = groups.filter(|path| std::path::Path::new(path).is_dir());
        work.into_iter().chain(list(self.folder.path().join("root/unfinished"))).chain(groups).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let removed =
            Site::open(self.site.clone()).and_then(|site| rbuild_network::reclaim::remove_unused(&site));
        let removed = removed.expect("the test's networks can be removed");
        assert!(removed.errors.is_empty(), "{:?}", removed.errors);
    }
}

/// A text, and what is done when it was written.
type Awaited = (&'static str, Box<dyn FnOnce() + Send>);

/// Collects what a container writes.
#[derive(Default)]
pub(crate) struct Watched {
    input: String,
    /// Done when this was written, before the input ends.
    act: Option<Awaited>,
    stdin: Option<OwnedFd>,
    threads: Vec<JoinHandle<String>>,
    texts: Arc<Mutex<Vec<String>>>,
}

impl Watched {
    pub(crate) fn feeding(input: &str) -> Self {
        Self { input: input.to_owned(), ..Self::default() }
    }

    /// Does something when the container has written a text; its input ends after that.
    pub(crate) fn when(text: &'static str, act: impl FnOnce() + Send + 'static) -> Self {
        Self { input: "\n".to_owned(), act: Some((text, Box::new(act))), ..Self::default() }
    }

    fn text(&self) -> String {
        self.texts.lock().unwrap().join("--\n")
    }
}

impl Attendant for Watched {
    fn started(&mut self, _: BorrowedFd<'_>, streams: Streams) -> std::io::Result<()> {
        let Streams::Pipes { stdin, stdout, stderr } = streams else { panic!("no terminal was asked for") };
        let feed = |stdin: Option<OwnedFd>, input: &str| {
            if let Some(stdin) = stdin {
                let _ = File::from(stdin).write_all(input.as_bytes());
            }
        };
        let act = self.act.take();
        let input = self.input.clone();
        if act.is_none() {
            feed(stdin, &input);
            self.stdin = None;
            self.threads.push(std::thread::spawn(move || read(stdout, None)));
        } else {
            self.threads.push(std::thread::spawn(move || {
                let act = act.map(|(text, act)| {
                    let then: Box<dyn FnOnce() + Send> = Box::new(move || {
                        act();
                        feed(stdin, &input);
                    });
                    (text, then)
                });
                read(stdout, act)
            }));
        }
        self.threads.push(std::thread::spawn(move || read(stderr, None)));
        Ok(())
    }

    fn ended(&mut self) {
        let texts = self.threads.drain(..).map(|thread| thread.join().unwrap()).collect();
        *self.texts.lock().unwrap() = texts;
    }

    fn note(&mut self, _: &str) {}
}

fn read(from: OwnedFd, mut act: Option<Awaited>) -> String {
    let mut from = File::from(from);
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    loop {
        let count = from.read(&mut buffer).unwrap();
        if count == 0 {
            return text;
        }
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        if act.as_ref().is_some_and(|(awaited, _)| text.contains(awaited))
            && let Some((_, act)) = act.take()
        {
            act();
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
