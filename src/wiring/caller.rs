//! What the caller of a build holds: folders, secrets, agents, standard output.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use rbuild_confined::Root;
use rbuild_frontend::ignore::text_of;
use rbuild_model::span::Source;
use rbuild_worker::{Client, ClientError, LocalTree, MAX_DOCKERFILE};

use super::keys::Keys;
use crate::commands::build::{ClientSecret, SecretValue};
use crate::flags::Ssh;
use crate::report::Mistake;

/// The most that an ignore file may hold.
const MAX_IGNORE: u64 = 1 << 20;
/// What the Dockerfile of a folder is called, the first that is there.
const DOCKERFILES: [&str; 2] = ["Dockerfile", "dockerfile"];

/// The caller of one build.
pub(super) struct Caller {
    /// Folders by the names that the build knows them by.
    folders: BTreeMap<String, Folder>,
    secrets: Vec<ClientSecret>,
    agents: Vec<Agent>,
}

/// An agent that the caller offers.
pub(super) struct Agent {
    id: String,
    reached: Reached,
}

/// How an agent is reached.
enum Reached {
    /// At a socket of its own.
    Socket(PathBuf),
    /// It is ours, for keys in files.
    Keys(Keys),
}

struct Folder {
    path: PathBuf,
    ignore: Option<Arc<Source>>,
}

impl Caller {
    pub(super) fn new(secrets: Vec<ClientSecret>, agents: Vec<Agent>) -> Self {
        Self { folders: BTreeMap::new(), secrets, agents }
    }

    /// Offers a folder under a name, with the ignore file that counts for it.
    pub(super) fn offer(
        &mut self,
        name: &str,
        path: &Path,
        ignore: Option<Arc<Source>>,
    ) -> anyhow::Result<()> {
        let shown = path.display();
        let path = std::path::absolute(path).with_context(|| format!("failed to find `{shown}`"))?;
        let is_folder = std::fs::metadata(&path).map(|meta| meta.is_dir());
        match is_folder {
            Ok(true) => {}
            Ok(false) => return Err(Mistake::new(format!("the context `{shown}` is not a folder")).into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Mistake::new(format!("path `{shown}` not found"))
                    .hint("name the folder that holds what the Dockerfile copies; `.` is this one")
                    .into());
            }
            Err(error) => return Err(error).with_context(|| format!("failed to open the context `{shown}`")),
        }
        self.folders.insert(name.to_owned(), Folder { path, ignore });
        Ok(())
    }
}

impl Client for Caller {
    fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, ClientError> {
        let Some(secret) = self.secrets.iter().rev().find(|secret| secret.id == id) else { return Ok(None) };
        match &secret.value {
            SecretValue::Bytes(bytes) => Ok(Some(bytes.clone())),
            SecretValue::File(path) => std::fs::read(path).map(Some).map_err(|error| {
                ClientError::new(format!("failed to read secret {id} from `{}`", path.display()), error)
            }),
        }
    }

    fn ssh_agent(&self, id: &str) -> Result<Option<PathBuf>, ClientError> {
        let agent = self.agents.iter().find(|agent| agent.id == id);
        Ok(agent.map(|agent| match &agent.reached {
            Reached::Socket(socket) => socket.clone(),
            Reached::Keys(keys) => keys.socket().to_owned(),
        }))
    }

    fn local(&self, name: &str) -> Result<LocalTree, ClientError> {
        let folder = self.folders.get(name).ok_or_else(|| {
            ClientError::new(format!("there is no context {name}"), io::Error::from(io::ErrorKind::NotFound))
        })?;
        let root = Root::open(&folder.path)
            .map_err(|error| ClientError::new(format!("failed to open the context {name}"), error))?;
        Ok(LocalTree { root, path: folder.path.clone(), ignore: folder.ignore.clone() })
    }

    fn input(&self) -> Result<Box<dyn io::Read + Send>, ClientError> {
        Ok(Box::new(io::stdin()))
    }

    fn output(&self) -> Result<Box<dyn Write + Send>, ClientError> {
        Ok(Box::new(io::stdout()))
    }
}

/// Finds the Dockerfile of a folder: the one that was named, else `Dockerfile`, else `dockerfile`.
pub(crate) fn dockerfile(named: Option<&Path>, folder: &Path) -> anyhow::Result<(PathBuf, Arc<Source>)> {
    if let Some(path) = named {
        // As docker's client has it: relative to the working folder.
        return match read(path, MAX_DOCKERFILE)? {
            Some(bytes) => Ok((path.to_owned(), Source::from_bytes(path.display().to_string(), bytes))),
            None => Err(not_there(path)),
        };
    }
    let usual = folder.join(DOCKERFILES[0]);
    let path = find_dockerfile(folder).ok_or_else(|| not_there(&usual))?;
    stays_within(&path, folder)?;
    let bytes = read(&path, MAX_DOCKERFILE)?.ok_or_else(|| not_there(&usual))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let source = Source::from_bytes(&*name, bytes);
    Ok((path, source))
}

/// Finds the Dockerfile of a folder that nobody named.
pub(crate) fn find_dockerfile(folder: &Path) -> Option<PathBuf> {
    // What cannot be looked at is there: whoever reads it tells why it cannot.
    DOCKERFILES.iter().map(|name| folder.join(name)).find(|path| path.try_exists().unwrap_or(true))
}

/// Refuses a file that nobody named and that is a link out of the folder: the folder may be somebody else's project.
fn stays_within(path: &Path, folder: &Path) -> anyhow::Result<()> {
    if let (Ok(file), Ok(folder)) = (path.canonicalize(), folder.canonicalize())
        && !file.starts_with(folder)
    {
        return Err(Mistake::new(format!("`{}` is a link that leads out of the context", path.display()))
            .hint(format!("name it with `-f {}` if it is meant", path.display()))
            .into());
    }
    Ok(())
}

/// Says that a Dockerfile is not there.
pub(crate) fn missing_dockerfile(path: &Path) -> Mistake {
    Mistake::new(format!("failed to read dockerfile: open {}: no such file or directory", path.display()))
}

fn not_there(path: &Path) -> anyhow::Error {
    missing_dockerfile(path).hint("name it with `-f FILE`, or build the folder that holds it").into()
}

/// Finds the ignore file of the main context: the Dockerfile's own, even an empty one, else the folder's.
pub(crate) fn ignore(dockerfile: Option<&Path>, folder: &Path) -> anyhow::Result<Option<Arc<Source>>> {
    if let Some(dockerfile) = dockerfile {
        let mut own = dockerfile.as_os_str().to_owned();
        own.push(".dockerignore");
        let own = PathBuf::from(own);
        if let Some(bytes) = read(&own, MAX_IGNORE)? {
            let shown = own.display().to_string();
            return Ok(Some(Source::new(&*shown, text_of(&bytes))));
        }
    }
    let path = folder.join(".dockerignore");
    let Some(bytes) = read(&path, MAX_IGNORE)? else { return Ok(None) };
    Ok(Some(Source::new(".dockerignore", text_of(&bytes))))
}

/// Reads a whole file, bounded; `None` if there is none. Pipes and devices are refused before they are opened.
fn read(path: &Path, limit: u64) -> anyhow::Result<Option<Vec<u8>>> {
    let shown = path.display();
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        // What is no folder holds none; whoever reads it as a folder says so.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error).with_context(|| format!("failed to open `{shown}`")),
    };
    if !meta.is_file() {
        return Err(Mistake::new(format!("`{shown}` is not a regular file")).into());
    }
    let file = std::fs::File::open(path).with_context(|| format!("failed to open `{shown}`"))?;
    read_bounded(file, &shown.to_string(), limit).map(Some)
}

/// Reads a stream, bounded.
fn read_bounded(from: impl io::Read, shown: &str, limit: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(limit + 1).read_to_end(&mut bytes).with_context(|| format!("failed to read `{shown}`"))?;
    if bytes.len() as u64 > limit {
        return Err(Mistake::new(format!("`{shown}` has more than {limit} bytes")).into());
    }
    Ok(bytes)
}

/// Reads a Dockerfile from standard input.
pub(super) fn dockerfile_from_stdin() -> anyhow::Result<Arc<Source>> {
    let bytes = read_bounded(io::stdin().lock(), "standard input", MAX_DOCKERFILE)?;
    Ok(Source::from_bytes("Dockerfile", bytes))
}

/// Finds the socket of each agent that is offered; files that are none hold keys, which get an agent.
pub(super) fn agents(offered: &[Ssh], own: Option<PathBuf>) -> anyhow::Result<Vec<Agent>> {
    use std::os::unix::fs::FileTypeExt as _;
    let mut agents = Vec::new();
    for Ssh { id, paths } in offered {
        let reached = match &paths[..] {
            [] => Reached::Socket(own.clone().ok_or_else(|| {
                Mistake::new(format!("`--ssh {id}`: the variable SSH_AUTH_SOCK is not set"))
                    .hint("start an agent (`eval $(ssh-agent)`), or name its socket: `--ssh ID=SOCKET`")
            })?),
            [path] if std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) => {
                Reached::Socket(path.clone())
            }
            files => Reached::Keys(Keys::load(files)?),
        };
        agents.push(Agent { id: id.clone(), reached });
    }
    Ok(agents)
}
