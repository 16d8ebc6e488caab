//! Rows of images that travel: `pull`, `push`, `cache`.
//!
//! All three speak with one registry on a loopback port: the one that is named, else `rbuild registry serve` over a store of
//! its own. rbuild gets a fresh store for each measurement, peers remove what they got; `buildx` is told to prune its
//! builder.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{Options, Tool, half_compressible, remove, some_rounds, time};

/// How many layers the image of row `pull` has.
const LAYERS: usize = 6;

/// The size of the small files in a layer of row `pull`.
const SMALL: usize = 64 << 10;

/// What the tools speak with.
pub(super) struct Registry {
    host: String,
    /// The one that was started for this.
    serving: Option<Child>,
}

impl Registry {
    /// Takes the one that is named, or starts one.
    pub(super) fn begin(options: &Options, work: &Path) -> Result<Self> {
        if let Some(host) = &options.registry {
            return Ok(Self { host: host.clone(), serving: None });
        }
        let tool = with_store(options.ours()?, &work.join("registry"));
        let (program, leading) = tool.prefix.split_first().context("a tool is a program")?;
        let mut child = Command::new(program)
            .args(leading)
            .args(["registry", "serve", "127.0.0.1:0", "--allow-push"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("failed to start {program}"))?;
        let out = child.stdout.take().context("its standard output is a pipe")?;
        let line = BufReader::new(out).lines().next().context("the registry ended at once")??;
        let host = line.strip_prefix("serving on http://").map(str::to_owned);
        let mut registry = Self { host: String::new(), serving: Some(child) };
        registry.host = host.with_context(|| format!("the registry said {line:?}"))?;
        Ok(registry)
    }

    fn name(&self, rest: &str) -> String {
        format!("{}/rbuild-bench/{rest}", self.host)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Some(mut child) = self.serving.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Which verbs a tool has: told by its name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rbuild,
    Docker,
    Buildx,
    Podman,
    Skopeo,
}

fn kind(tool: &Tool) -> Kind {
    match &*tool.name {
        _ if tool.ours => Kind::Rbuild,
        name if name.contains("buildx") => Kind::Buildx,
        name if name.contains("podman") => Kind::Podman,
        name if name.contains("skopeo") => Kind::Skopeo,
        _ => Kind::Docker,
    }
}

/// A tool of ours over a store of its own, whatever store it was given.
fn with_store(tool: &Tool, root: &Path) -> Tool {
    let mut prefix = Vec::new();
    let mut words = tool.prefix.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--root" => drop(words.next()),
            word if word.starts_with("--root=") => {}
            word => prefix.push(word.to_owned()),
        }
    }
    prefix.extend(["--root".to_owned(), root.display().to_string()]);
    Tool { name: tool.name.clone(), prefix, ours: true }
}

/// An empty store that is open for business; what goes with it when this is dropped.
struct Fresh {
    tool: Tool,
    root: PathBuf,
}

impl Fresh {
    fn begin(options: &Options, work: &Path) -> Result<Self> {
        let root = work.join("fresh");
        let tool = with_store(options.ours()?, &root);
        time(&tool, None, &["images"])?;
        Ok(Self { tool, root })
    }

    fn end(self) -> Result<()> {
        time(&self.tool, None, &["prune", "--all", "--force"])?;
        remove(&self.root)
    }
}

/// An image of several layers, from a registry to a tree that can be run.
pub(super) fn pull(options: &Options, work: &Path) -> Result<Vec<Vec<Duration>>> {
    let registry = Registry::begin(options, work)?;
    let name = registry.name("pull:1");
    let context = work.join("pull");
    make_layers(&context, options.image_mb << 20)?;
    let maker = with_store(options.ours()?, &work.join("maker"));
    time(&maker, Some(&context), &["build", "-q", "-t", &name, "--push", "."])?;
    some_rounds(options, |tool, _| {
        Ok(Some(match kind(tool) {
            Kind::Rbuild => {
                let fresh = Fresh::begin(options, work)?;
                let took = time(&fresh.tool, None, &["pull", "-q", &name])?;
                fresh.end()?;
                took
            }
            Kind::Docker => pulled(tool, &["pull", "-q", &name], &["rmi", "-f", &name])?,
            Kind::Podman => {
                pulled(tool, &["pull", "-q", "--tls-verify=false", &name], &["rmi", "-f", &name])?
            }
            Kind::Skopeo => {
                let (from, to) = (format!("docker://{name}"), format!("containers-storage:{name}"));
                pulled(tool, &["copy", "-q", "--src-tls-verify=false", &from, &to], &["delete", &to])?
            }
            Kind::Buildx => return Ok(None),
        }))
    })
}

fn pulled(tool: &Tool, pull: &[&str], remove: &[&str]) -> Result<Duration> {
    let took = time(tool, None, pull)?;
    time(tool, None, remove)?;
    Ok(took)
}

/// Layers of which one half is a large file, the other many small ones.
fn make_layers(context: &Path, bytes: usize) -> Result<()> {
    let mut text = "FROM scratch\n".to_owned();
    let contents = half_compressible(bytes.max(LAYERS * 2 * SMALL));
    for (number, layer) in contents.chunks(contents.len().div_ceil(LAYERS)).enumerate() {
        let folder = context.join(format!("layer{number}"));
        std::fs::create_dir_all(&folder)?;
        let (large, small) = layer.split_at(layer.len() / 2);
        std::fs::write(folder.join("large"), large)?;
        for (file, bytes) in small.chunks(SMALL).enumerate() {
            std::fs::write(folder.join(format!("small{file}")), bytes)?;
        }
        writeln!(text, "COPY layer{number} /layer{number}")?;
    }
    std::fs::write(context.join("Dockerfile"), text)?;
    Ok(())
}

/// One large layer that nobody has seen, built, packed and sent: some pack it when they build, others when they send it.
pub(super) fn push(options: &Options, work: &Path) -> Result<Vec<Vec<Duration>>> {
    let registry = Registry::begin(options, work)?;
    let context = work.join("push");
    std::fs::create_dir_all(&context)?;
    std::fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY large /large\n")?;
    let large = context.join("large");
    std::fs::write(&large, half_compressible(options.layer_mb << 20))?;
    some_rounds(options, |tool, round| {
        let file = std::fs::OpenOptions::new().write(true).open(&large)?;
        std::os::unix::fs::FileExt::write_all_at(&file, format!("{} {round}\n", tool.name).as_bytes(), 0)?;
        drop(file);
        let name = registry.name(&format!("push:{}-{round}", tool.name));
        let build = ["build", "-q", "-t", &name, "."];
        Ok(Some(match kind(tool) {
            Kind::Rbuild => {
                let fresh = Fresh::begin(options, work)?;
                let built = time(&fresh.tool, Some(&context), &build)?;
                let took = built + time(&fresh.tool, None, &["push", "-q", &name])?;
                fresh.end()?;
                took
            }
            Kind::Docker => {
                let built = time(tool, Some(&context), &build)?;
                built + pulled(tool, &["push", "-q", &name], &["rmi", "-f", &name])?
            }
            Kind::Podman => {
                let built = time(tool, Some(&context), &build)?;
                built + pulled(tool, &["push", "-q", "--tls-verify=false", &name], &["rmi", "-f", &name])?
            }
            // The one copies what others packed, the other keeps no image to push.
            Kind::Skopeo | Kind::Buildx => return Ok(None),
        }))
    })
}

/// What a CI job does: an empty store, the cache of yesterday from a registry, and a build after an edit of one line.
pub(super) fn cache(options: &Options, work: &Path) -> Result<Vec<Vec<Duration>>> {
    let registry = Registry::begin(options, work)?;
    let base = registry.name("base:1");
    let ours = options.ours()?;
    time(ours, None, &["tag", &options.base, &base])?;
    time(ours, None, &["push", "-q", &base])?;
    time(ours, None, &["rmi", &base])?;
    let context = work.join("cache");
    std::fs::create_dir_all(context.join("src"))?;
    let megabytes = options.cache_mb;
    let text = format!(
        "FROM {base} AS deps\n\
         COPY deps.lock /\n\
         RUN dd if=/dev/urandom of=/deps bs=1M count={megabytes}\n\
         FROM {base} AS build\n\
         COPY --from=deps /deps /deps\n\
         COPY src /src\n\
         RUN cat /src/* > /out\n\
         FROM {base}\n\
         COPY --from=build /out /out\n\
         CMD [\"cat\", \"/out\"]\n"
    );
    std::fs::write(context.join("Dockerfile"), text)?;
    std::fs::write(context.join("deps.lock"), "1\n")?;
    for file in 0..100 {
        std::fs::write(context.join(format!("src/f{file}")), format!("line of {file}\n"))?;
    }
    let edit = |text: &str| std::fs::write(context.join("src/f50"), format!("{text}\n"));
    some_rounds(options, |tool, round| {
        let cache = registry.name(&format!("cache:{}", tool.name));
        let (to, from) =
            (format!("type=registry,ref={cache},mode=max"), format!("type=registry,ref={cache}"));
        edit(&format!("before {round}"))?;
        let fill = ["build", "-q", "-t", "rbuild-bench", "--cache-to", &to, "."];
        let again = ["build", "-q", "-t", "rbuild-bench", "--cache-from", &from, "."];
        Ok(Some(match kind(tool) {
            Kind::Rbuild => {
                let first = Fresh::begin(options, work)?;
                time(&first.tool, Some(&context), &fill)?;
                first.end()?;
                let second = Fresh::begin(options, work)?;
                edit(&format!("after {round}"))?;
                let took = time(&second.tool, Some(&context), &again)?;
                second.end()?;
                took
            }
            Kind::Buildx => {
                time(tool, Some(&context), &fill)?;
                time(tool, None, &["prune", "-a", "-f"])?;
                edit(&format!("after {round}"))?;
                time(tool, Some(&context), &again)?
            }
            // Their stores hold what is not ours to remove, or know no such cache.
            Kind::Docker | Kind::Podman | Kind::Skopeo => return Ok(None),
        }))
    })
}
