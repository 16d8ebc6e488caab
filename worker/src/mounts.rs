//! What a RUN step sees besides its root: the mounts of the model, made ready for the sandbox.

use std::path::{Path, PathBuf};

use rbuild_cache::mounts::MountUse;
use rbuild_confined::Owner;
use rbuild_model::key::PreImage;
use rbuild_model::mount::{BindMount, CacheMount, Mount, SecretMount, Sharing, SshMount};
use rbuild_model::step::{EnvVar, Script};
use rbuild_sandbox::{Access, FileContent, Mount as SandboxMount, MountSource, Restrictions, Tmpfs};
use rbuild_snapshotter::{Active, Writes};
use rbuild_solver::{RunAsk, Tree};
use rbuild_store::{FileError, Lock, LockClass, LockName, Wait};

use crate::agent::AgentSocket;
use crate::error::StepError;
use crate::locking::StepLocks;
use crate::request::Client as _;
use crate::runner::Runner;

/// The mounts of one step, and what must live as long as the step.
#[derive(Default)]
pub(crate) struct Prepared {
    /// In the order in which they are made.
    pub(crate) mounts: Vec<SandboxMount>,
    /// Variables that mounts add to the environment.
    pub(crate) env: Vec<EnvVar>,
    /// Trees that are thrown away after the step.
    pub(crate) discards: Vec<Active>,
    /// The names of the step's cache folders.
    pub(crate) caches: Vec<String>,
    /// The lock of the step's cache folders.
    locks: Vec<Lock>,
    agents: Vec<AgentSocket>,
}

impl Prepared {
    /// Ends what lived for the step, and returns the step's result: the first error, while those after it are told.
    pub(crate) fn release<T>(
        self,
        runner: &Runner<'_>,
        mut result: Result<T, StepError>,
    ) -> Result<T, StepError> {
        drop(self.mounts);
        drop(self.agents);
        drop(self.locks);
        for active in self.discards {
            result = match result {
                Ok(done) => runner.snapshotter().discard(active).map(|()| done).map_err(StepError::Snapshot),
                Err(error) => Err(runner.give_up(active, error)),
            };
        }
        result
    }
}

/// Prepares the mounts of a step. Locked cache folders are locked last and in the order of their ids.
pub(crate) fn prepare(
    runner: &Runner<'_>,
    ask: &RunAsk,
    mounts: &[Mount],
    script: Option<&Script>,
    locks: &StepLocks<'_>,
) -> Result<Prepared, StepError> {
    let mut prepared = Prepared::default();
    match fill(&mut prepared, runner, ask, mounts, script, locks) {
        Ok(()) => Ok(prepared),
        Err(error) => prepared.release(runner, Err(error)),
    }
}

fn fill(
    prepared: &mut Prepared,
    runner: &Runner<'_>,
    ask: &RunAsk,
    mounts: &[Mount],
    script: Option<&Script>,
    locks: &StepLocks<'_>,
) -> Result<(), StepError> {
    let folders = lock_caches(prepared, runner, ask, mounts, locks)?;
    let mut folders = folders.into_iter();
    for mount in mounts {
        match mount {
            Mount::Bind(bind) => bind_mount(prepared, runner, ask, bind)?,
            Mount::Cache(cache) => {
                let (_, folder) = folders.next().expect("each cache mount has a folder");
                let access = if cache.readonly { Access::ReadOnly } else { Access::ReadWrite };
                let source = MountSource::Within {
                    root: rbuild_model::rootfs::RootPlan::Directory { path: folder, readonly: false },
                    path: if cache.from.is_some() { "/".into() } else { PathBuf::from(&cache.source) },
                };
                prepared.mount(&cache.target, source, access, Restrictions::default());
            }
            Mount::Tmpfs(tmpfs) => {
                let source = MountSource::Tmpfs(Tmpfs { size: tmpfs.size, ..Tmpfs::default() });
                let restrictions = Restrictions { nosuid: true, nodev: true, noexec: false };
                prepared.mount(&tmpfs.target, source, Access::ReadWrite, restrictions);
            }
            Mount::Secret(secret) => secret_mount(prepared, runner, ask, secret)?,
            Mount::Ssh(ssh) => ssh_mount(prepared, runner, ask, ssh)?,
        }
    }
    if let Some(script) = script {
        let bytes = script.body.clone().into_bytes();
        let source = MountSource::File(FileContent { bytes, mode: 0o755, uid: 0, gid: 0 });
        prepared.mount(
            &format!("/dev/pipes/{}", script.name),
            source,
            Access::ReadOnly,
            Restrictions::default(),
        );
    }
    Ok(())
}

impl Prepared {
    fn mount(&mut self, target: &str, source: MountSource, access: Access, restrictions: Restrictions) {
        self.mounts.push(SandboxMount { target: PathBuf::from(target), source, access, restrictions });
    }
}

fn bind_mount(
    prepared: &mut Prepared,
    runner: &Runner<'_>,
    ask: &RunAsk,
    bind: &BindMount,
) -> Result<(), StepError> {
    let tree = ask.input(bind.from).expect("the front end names inputs that are there");
    let chain = match tree {
        Tree::Chain(chain) => chain.clone(),
        // What the ignore file leaves out must not be seen, and what changes meanwhile neither: a copy is mounted.
        Tree::Local(name) => {
            let active = runner.copy_of_local(name, &bind.source, ask)?;
            let root = runner.snapshotter().root(&active, Writes::Volatile);
            prepared.discards.push(active);
            let root = root.map_err(StepError::Snapshot)?;
            let access = if bind.writable { Access::ReadWrite } else { Access::ReadOnly };
            let source = MountSource::Within { root, path: PathBuf::from(&bind.source) };
            prepared.mount(&bind.target, source, access, Restrictions::default());
            return Ok(());
        }
    };
    let path = PathBuf::from(&bind.source);
    if bind.writable {
        let active = runner.snapshotter().prepare(&chain).map_err(StepError::Snapshot)?;
        let root = runner.snapshotter().root(&active, Writes::Volatile);
        prepared.discards.push(active);
        let source = MountSource::Within { root: root.map_err(StepError::Snapshot)?, path };
        prepared.mount(&bind.target, source, Access::ReadWrite, Restrictions::default());
    } else {
        let root = runner.snapshotter().view(&chain).map_err(StepError::Snapshot)?;
        prepared.mount(
            &bind.target,
            MountSource::Within { root, path },
            Access::ReadOnly,
            Restrictions::default(),
        );
    }
    Ok(())
}

fn secret_mount(
    prepared: &mut Prepared,
    runner: &Runner<'_>,
    ask: &RunAsk,
    secret: &SecretMount,
) -> Result<(), StepError> {
    let value = runner.client(ask.step).secret(&secret.id).map_err(StepError::Client)?;
    if value.is_none() && secret.required {
        return Err(StepError::SecretMissing { id: secret.id.clone() });
    }
    if let Some(name) = &secret.env {
        let text = String::from_utf8(value.clone().unwrap_or_default())
            .map_err(|_| StepError::SecretNotText { id: secret.id.clone() })?;
        if text.contains('\0') {
            return Err(StepError::SecretNotText { id: secret.id.clone() });
        }
        prepared.env.push(EnvVar { name: name.clone(), value: text });
    }
    if let (Some(bytes), Some(target)) = (value, &secret.target) {
        let content = FileContent { bytes, mode: target.mode, uid: target.uid, gid: target.gid };
        prepared.mount(&target.path, MountSource::File(content), Access::ReadOnly, Restrictions::ALL);
    }
    Ok(())
}

fn ssh_mount(
    prepared: &mut Prepared,
    runner: &Runner<'_>,
    ask: &RunAsk,
    ssh: &SshMount,
) -> Result<(), StepError> {
    let first = !prepared.env.iter().any(|var| var.name == "SSH_AUTH_SOCK");
    if first {
        prepared.env.push(EnvVar { name: "SSH_AUTH_SOCK".to_owned(), value: ssh.target.clone() });
    }
    let Some(agent) = runner.client(ask.step).ssh_agent(&ssh.id).map_err(StepError::Client)? else {
        return if ssh.required { Err(StepError::SshMissing { id: ssh.id.clone() }) } else { Ok(()) };
    };
    let path = runner.socket_path();
    let failed = |error: std::io::Error| FileError::new("offer the ssh agent at", &path, error);
    let socket = AgentSocket::listen(path.clone(), &agent).map_err(failed)?;
    let mode = rustix::fs::Mode::from_raw_mode(ssh.mode & 0o777);
    rustix::fs::chmod(socket.path(), mode).map_err(|errno| failed(errno.into()))?;
    std::os::unix::fs::chown(socket.path(), Some(ssh.uid), Some(ssh.gid)).map_err(failed)?;
    prepared.mount(&ssh.target, MountSource::Host(path.clone()), Access::ReadWrite, Restrictions::ALL);
    prepared.agents.push(socket);
    Ok(())
}

/// Finds, or makes, the folder of each cache mount in order, and takes the locks that their sharing asks for.
fn lock_caches(
    prepared: &mut Prepared,
    runner: &Runner<'_>,
    ask: &RunAsk,
    mounts: &[Mount],
    locks: &StepLocks<'_>,
) -> Result<Vec<(String, PathBuf)>, StepError> {
    let caches: Vec<&CacheMount> = mounts
        .iter()
        .filter_map(|mount| match mount {
            Mount::Cache(cache) => Some(cache),
            _ => None,
        })
        .collect();
    let names: Vec<String> = caches.iter().map(|cache| folder_name(runner, ask, cache)).collect();
    let mut order: Vec<usize> = (0..caches.len()).collect();
    order.sort_by_key(|at| &names[*at]);
    let mut chosen: Vec<Option<MountUse>> = vec![None; caches.len()];
    for at in order {
        let (cache, name) = (caches[at], &names[at]);
        let name = match cache.sharing {
            Sharing::Shared => name.clone(),
            Sharing::Locked => {
                let lock_name = LockName::new(LockClass::CacheMount, name);
                if !prepared.locks.iter().any(|lock| *lock.name() == lock_name) {
                    let cancel = runner.lock_cancel();
                    let lock = locks.acquire(&lock_name, &Wait::until(&cancel.wish))?;
                    prepared.locks.push(lock);
                }
                name.clone()
            }
            Sharing::Private => private_folder(prepared, locks, name)?,
        };
        chosen[at] = Some(MountUse { name, id: cache.id.clone(), target: cache.target.clone() });
    }
    let chosen: Vec<MountUse> =
        chosen.into_iter().map(|chosen| chosen.expect("each cache was visited")).collect();
    // Only what is leased may be looked for: a sweep takes the others.
    runner.open_caches(&chosen)?;
    prepared.caches = chosen.iter().map(|chosen| chosen.name.clone()).collect();
    caches
        .into_iter()
        .zip(chosen)
        .map(|(cache, MountUse { name, .. })| {
            let folder = runner.cache_folder(&name);
            make_folder(runner, ask, cache, &folder)?;
            Ok((name, folder))
        })
        .collect()
}

/// Takes the first of a cache's folders that nobody uses.
fn private_folder(prepared: &mut Prepared, locks: &StepLocks<'_>, name: &str) -> Result<String, StepError> {
    for number in 0_u32.. {
        // Numbered with fixed width: several locks of one task must be taken in the order of their names.
        let candidate = if number == 0 { name.to_owned() } else { format!("{name}-{number:010}") };
        let lock_name = LockName::new(LockClass::CacheMount, &candidate);
        if prepared.locks.iter().any(|lock| *lock.name() == lock_name) {
            continue;
        }
        if let Some(lock) = locks.try_acquire(&lock_name)? {
            prepared.locks.push(lock);
            return Ok(candidate);
        }
    }
    unreachable!("numbers do not run out before folders do")
}

/// Names the folder of a cache: never by the raw id, which may be any text. A cache that begins with a tree, or has an
/// owner or mode of its own, is another one than the plain one of that id.
fn folder_name(runner: &Runner<'_>, ask: &RunAsk, cache: &CacheMount) -> String {
    let base = cache.from.and_then(|input| ask.input(input)).map(|tree| match tree {
        Tree::Chain(chain) => PreImage::texts(chain.layers().iter().map(ToString::to_string)),
        Tree::Local(name) => PreImage::text(runner.folder_name(name)),
    });
    let source = cache.from.map(|_| PreImage::text(&cache.source));
    name_with(cache, base.unwrap_or(PreImage::Absent), source.unwrap_or(PreImage::Absent))
}

/// Names the folder of a cache that begins empty: the same in every store.
pub(crate) fn plain_folder_name(cache: &CacheMount) -> String {
    name_with(cache, PreImage::Absent, PreImage::Absent)
}

fn name_with(cache: &CacheMount, base: PreImage, source: PreImage) -> String {
    PreImage::fields([
        ("id", PreImage::text(&cache.id)),
        ("base", base),
        ("source", source),
        ("mode", PreImage::Number(cache.mode.into())),
        ("uid", PreImage::Number(cache.uid.into())),
        ("gid", PreImage::Number(cache.gid.into())),
    ])
    .key()
    .hex()[..32]
        .to_owned()
}

/// Makes the folder of a cache mount unless it is there; it appears under its name complete.
fn make_folder(
    runner: &Runner<'_>,
    ask: &RunAsk,
    cache: &CacheMount,
    folder: &Path,
) -> Result<(), StepError> {
    if folder.is_dir() {
        return Ok(());
    }
    let failed = |act| move |error: std::io::Error| FileError::new(act, folder, error);
    let fresh = runner.temp_path();
    std::fs::create_dir_all(&fresh).map_err(failed("make the cache folder"))?;
    let mut room = None;
    let (mut owner, mut mode) = (Owner { uid: cache.uid, gid: cache.gid }, cache.mode);
    if let Some(tree) = cache.from.and_then(|input| ask.input(input)) {
        runner.copy_tree_into(tree, &cache.source, &fresh)?;
        // A folder that a cache begins with stays what it is: owner and mode are said of those that begin empty.
        if cache.source != "/" {
            let scan = runner.scan(tree)?;
            let top =
                scan.root().metadata(&cache.source).map_err(|error| StepError::Snapshot(error.into()))?;
            mode = top.mode;
            owner = if matches!(tree, Tree::Local(_)) { Owner::ROOT } else { top.owner };
        }
    } else {
        room = runner.restore_mount(folder, &fresh)?;
    }
    std::os::unix::fs::chown(&fresh, Some(owner.uid), Some(owner.gid))
        .map_err(failed("give away the cache folder"))?;
    let mode = rustix::fs::Mode::from_raw_mode(mode & 0o7777);
    rustix::fs::chmod(&fresh, mode)
        .map_err(|errno| failed("set the mode of the cache folder")(errno.into()))?;
    let renamed = rustix::fs::renameat_with(
        rustix::fs::CWD,
        &fresh,
        rustix::fs::CWD,
        folder,
        rustix::fs::RenameFlags::NOREPLACE,
    );
    match renamed {
        // The room is given back when the folder counts for itself.
        Ok(()) => room.map_or(Ok(()), |_room| runner.count_mount(folder)),
        // Another step made it meanwhile: theirs is used, ours goes with the temporary folder.
        Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(errno) => Err(failed("publish the cache folder")(errno.into()).into()),
    }
}
