//! `cargo xtask peers`: the projects in `examples/`, built and run by rbuild and by another engine, and each other's images run.
//!
//! For each example four things have to hold: rbuild builds it and the image does what it is for; the other engine loads that
//! image and it does the same there; the other engine builds the example; rbuild loads that image and runs it.
//! The bases come from docker.io, or from the mirror that is named. It needs an engine and bases, so it is no part
//! of `cargo xtask ci`; what it printed last is in docs/testing.md.
//!
//! ```text
//! cargo xtask peers --peer 'docker' [--rbuild PATH] [--mirror HOST:PORT] [EXAMPLE...]
//! ```

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

/// How an example shows that it works.
enum Shows {
    /// Its program prints something that contains a text.
    Prints { arguments: &'static [&'static str], text: &'static str },
    /// Its service says that it listens, and answers a request with something that contains a text.
    Answers { port: u16, says: &'static str, request: &'static str, text: &'static str },
}

const EXAMPLES: &[(&str, Shows)] = &[
    ("hello", Shows::Prints { arguments: &["there"], text: "there" }),
    ("c", Shows::Prints { arguments: &["/etc/passwd"], text: "/etc/passwd" }),
    (
        "python",
        Shows::Answers {
            port: 8000,
            says: "serving on port 8000",
            request: "GET / HTTP/1.0\r\n\r\n",
            text: "[]",
        },
    ),
    (
        "node",
        Shows::Answers {
            port: 3000,
            says: "listening on 3000",
            request: "GET /apples HTTP/1.0\r\n\r\n",
            text: "{\"apples\":1}",
        },
    ),
];

/// How long a service may take to answer before something is wrong with it.
const PATIENCE: Duration = Duration::from_secs(60);

/// An engine: a program with its leading arguments.
struct Engine(Vec<String>);

impl Engine {
    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let (program, before) = self.0.split_first().context("an engine is a program")?;
        let mut command = Command::new(program);
        command.args(before).args(arguments).stdin(Stdio::null());
        Ok(command)
    }

    /// Runs a verb and returns what it printed.
    fn ask(&self, arguments: &[&str]) -> Result<String> {
        self.ask_in(Path::new("."), arguments)
    }

    fn ask_in(&self, folder: &Path, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(arguments)?;
        let output = command.current_dir(folder).output().context("failed to start an engine")?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
        Ok(out.trim().to_owned())
    }

    fn save(&self, image: &str, to: &Path) -> Result<()> {
        let mut command = self.command(&["save", image])?;
        let status = command.stdout(File::create(to)?).status().context("failed to start an engine")?;
        ensure!(status.success(), "{command:?}: {status}");
        Ok(())
    }

    fn load(&self, from: &Path) -> Result<()> {
        let mut command = self.command(&["load"])?;
        let output = command.stdin(File::open(from)?).output().context("failed to start an engine")?;
        ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Runs an image and checks that it does what it is for.
    fn shows(&self, image: &str, shows: &Shows) -> Result<()> {
        match shows {
            Shows::Prints { arguments, text } => {
                let said = self.ask(&[&["run", "--rm", image][..], arguments].concat())?;
                ensure!(said.contains(text), "`{image}` said {said:?}");
                Ok(())
            }
            Shows::Answers { port, says, request, text } => {
                let port = format!("127.0.0.1::{port}");
                let id = self.ask(&["run", "-d", "-p", &port, image])?;
                let answered = self.answers(&id, says, request, text);
                self.ask(&["rm", "-f", &id])?;
                answered.with_context(|| format!("the service of `{image}`"))
            }
        }
    }

    fn answers(&self, id: &str, says: &str, request: &str, text: &str) -> Result<()> {
        // Its log tells when it listens.
        let mut logs =
            self.command(&["logs", "-f", id])?.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(logs.stdout.take().context("a pipe")?).lines();
        let ready = lines.any(|line| line.is_ok_and(|line| line.contains(says)));
        logs.kill()?;
        logs.wait()?;
        ensure!(ready, "it ended before it said `{says}`");
        let address = self.ask(&["port", id])?;
        let address = address.lines().find_map(|line| Some(line.split_once("-> ")?.1)).context("no port")?;
        let until = Instant::now() + PATIENCE;
        let mut stream = TcpStream::connect_timeout(&address.parse()?, PATIENCE)?;
        stream.set_read_timeout(Some(until.saturating_duration_since(Instant::now())))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.contains(text), "it answered {answer:?}");
        Ok(())
    }
}

/// Does all of it, and prints a table.
pub(crate) fn peers(root: &Path, arguments: &[String]) -> Result<()> {
    let words = |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
    let (mut peer, mut mirror, mut only) = (None, None, Vec::new());
    let mut rbuild = crate::program("debug")?;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--peer" => peer = Some(words(value()?)),
            "--rbuild" => rbuild = PathBuf::from(value()?),
            "--mirror" => mirror = Some(value()?.clone()),
            name if EXAMPLES.iter().any(|(known, _)| *known == name) => only.push(name.to_owned()),
            other => bail!("unknown argument `{other}`"),
        }
    }
    let peer = Engine(peer.context("--peer names the other engine, as in --peer docker")?);
    let rbuild = fs::canonicalize(&rbuild).with_context(|| format!("no program {}", rbuild.display()))?;
    let work = std::env::temp_dir().join(format!("rbuild-peers-{}", std::process::id()));
    fs::create_dir(&work).with_context(|| format!("failed to make {}", work.display()))?;
    let outcome = all(root, &work, &rbuild, &peer, mirror.as_deref(), &only);
    fs::remove_dir_all(&work).with_context(|| format!("failed to remove {}", work.display()))?;
    outcome
}

fn all(
    root: &Path,
    work: &Path,
    rbuild: &Path,
    peer: &Engine,
    mirror: Option<&str>,
    only: &[String],
) -> Result<()> {
    let config = work.join("config.toml");
    let mirrors = mirror.map(|mirror| format!("[registry.\"docker.io\"]\nmirrors = [\"{mirror}\"]\n"));
    fs::write(&config, mirrors.unwrap_or_default())?;
    let store = work.join("store");
    let text = |path: &Path| path.display().to_string();
    let ours =
        Engine(vec![text(rbuild), "--config".to_owned(), text(&config), "--root".to_owned(), text(&store)]);
    let wanted = EXAMPLES.iter().filter(|(name, _)| only.is_empty() || only.iter().any(|one| one == name));
    println!("| Example | Built here | Runs here | There | Built there, runs here |");
    println!("|---|---|---|---|---|");
    let mut failed = Vec::new();
    for (name, shows) in wanted {
        let cells = one(&root.join("examples").join(name), name, shows, work, &ours, peer);
        let of = |cell: &Result<String>| cell.as_ref().map_or("no".to_owned(), Clone::clone);
        println!("| {name} | {} |", cells.iter().map(of).collect::<Vec<_>>().join(" | "));
        failed.extend(cells.into_iter().filter_map(Result::err).map(|error| format!("{name}: {error:#}")));
    }
    // The store goes with its folder; its bridges and rules do not.
    ours.ask(&["network", "prune", "--force"])?;
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

/// Works through one example: what each column of the table says, or why not.
fn one(
    folder: &Path,
    name: &str,
    shows: &Shows,
    work: &Path,
    ours: &Engine,
    peer: &Engine,
) -> [Result<String>; 4] {
    let (mine, theirs) = (format!("rbuild-peers/{name}:ours"), format!("rbuild-peers/{name}:theirs"));
    let archive = work.join(format!("{name}.tar"));
    let yes = |outcome: Result<()>| outcome.map(|()| "yes".to_owned());
    let short = |id: String| id.trim_start_matches("sha256:").chars().take(12).collect::<String>();
    let built = ours.ask_in(folder, &["build", "-q", "-t", &mine, "."]).map(short);
    let here = ours.shows(&mine, shows);
    let there = || -> Result<()> {
        ours.save(&mine, &archive)?;
        peer.load(&archive)?;
        let shown = peer.shows(&mine, shows);
        peer.ask(&["rmi", "-f", &mine])?;
        shown
    };
    let back = || -> Result<()> {
        peer.ask_in(folder, &["build", "-q", "-t", &theirs, "."])?;
        peer.save(&theirs, &archive)?;
        peer.ask(&["rmi", "-f", &theirs])?;
        ours.load(&archive)?;
        ours.shows(&theirs, shows)
    };
    [built, yes(here), yes(there()), yes(back())]
}
