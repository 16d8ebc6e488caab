//! A place of its own for the program: store, runtime folder, home and project in one temporary folder, and an
//! environment of which nothing comes from the developer's.
//!
//! The program's path is only known to the root package's own tests, so [`context!`](crate::context!) is a macro:
//!
//! ```text
//! let context = rbuild_testkit::context!();
//! context.write("Dockerfile", "FROM scratch\n");
//! let output = context.rbuild(["build", "."]).run();
//! output.assert_success();
//! context.leaks().assert_none();
//! ```

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use tempfile::TempDir;

use crate::leaks::{self, Leaks};
use crate::running::Running;
use crate::text;

/// Makes a context for the program that belongs to the calling tests.
#[macro_export]
macro_rules! context {
    () => {
        $crate::context::TestContext::new(env!("CARGO_BIN_EXE_rbuild"))
    };
}

/// Where root's runtime folders are, one for each store.
const ROOTS_RUNTIME: &str = "/run/rbuild";

/// A place of its own for the program. Its folder goes with it, and so does what the store keeps in the kernel
/// between two commands (a test that wants nothing to be kept asks [`TestContext::leaks`]).
#[derive(Debug)]
pub struct TestContext {
    program: PathBuf,
    folder: TempDir,
    environment: Vec<(OsString, OsString)>,
}

impl TestContext {
    /// Makes a place for a program.
    ///
    /// # Panics
    /// If no temporary folder can be made.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let folder = tempfile::Builder::new().prefix("rbuild-test-").tempdir().expect("a temporary folder");
        let mut context = Self { program: program.into(), folder, environment: Vec::new() };
        for path in [context.root(), context.runtime(), context.home(), context.project()] {
            fs::create_dir_all(&path).expect("a folder in a temporary folder");
        }
        for (name, value) in [
            ("RBUILD_ROOT", context.root().into_os_string()),
            ("XDG_RUNTIME_DIR", context.runtime().into_os_string()),
            ("HOME", context.home().into_os_string()),
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()),
            ("LC_ALL", "C.UTF-8".into()),
            ("TZ", "UTC".into()),
            ("RUST_BACKTRACE", "1".into()),
        ] {
            context.environment.push((name.into(), value));
        }
        context
    }

    /// The folder that holds everything.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The store.
    pub fn root(&self) -> PathBuf {
        self.folder().join("store")
    }

    /// What must not survive a reboot, unless root calls the program: then it is in `/run/rbuild`, by the store's id.
    pub fn runtime(&self) -> PathBuf {
        self.folder().join("run")
    }

    /// The home of the one who calls.
    pub fn home(&self) -> PathBuf {
        self.folder().join("home")
    }

    /// The project, which the program is called in.
    pub fn project(&self) -> PathBuf {
        self.folder().join("project")
    }

    /// Writes a file of the project, with the folders above it.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, path: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.project().join(path);
        let parent = path.parent().expect("a file has a folder");
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&path, contents))
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        path
    }

    /// Sets a variable for every command to come.
    pub fn set(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        self.environment.push((name.into(), value.into()));
    }

    /// A call of the program, in the project's folder.
    pub fn rbuild(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Call<'_> {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env_clear()
            .envs(self.environment.iter().cloned())
            .current_dir(self.project());
        Call { context: self, command, input: Vec::new() }
    }

    /// The eight characters that the store's names in the kernel begin with, once there is a store.
    pub fn store8(&self) -> Option<String> {
        let text = fs::read(self.root().join("meta.json")).ok()?;
        let meta: serde_json::Value = serde_json::from_slice(&text).ok()?;
        meta.get("id")?.as_str()?.get(..8).map(str::to_owned)
    }

    /// What is left of it in the kernel.
    pub fn leaks(&self) -> Leaks {
        Leaks::find(self.folder(), self.store8().as_deref())
    }

    /// Text with the folders of this place, times, digests and ids replaced by words.
    pub fn steady(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (path, word) in [
            (self.root(), "[STORE]"),
            (self.runtime(), "[RUN]"),
            (self.home(), "[HOME]"),
            (self.project(), "[PROJECT]"),
            (self.folder().to_owned(), "[TEST]"),
        ] {
            text = text.replace(path.to_string_lossy().as_ref(), word);
        }
        text::steady(&text)
    }
}

impl TestContext {
    /// What a scenario that failed has left running would otherwise outlive its store.
    fn remove_containers(&self) {
        let called = |arguments: &[&str]| self.rbuild(arguments).command.output();
        let Ok(listed) = called(&["ps", "--all", "--quiet", "--no-trunc"]) else { return };
        let ids = String::from_utf8_lossy(&listed.stdout).into_owned();
        let _ = called(&[&["rm", "--force", "--volumes"], &*ids.lines().collect::<Vec<_>>()].concat());
    }
}

impl Drop for TestContext {
    fn drop(&mut self) {
        let Some(store8) = self.store8() else { return };
        if std::thread::panicking() {
            self.remove_containers();
        }
        // All of it may be gone already, or never have been there.
        for link in leaks::links(&store8) {
            quietly("ip", &["link", "delete", &link]);
        }
        for family in leaks::rules(&store8).iter().filter_map(|table| table.split(' ').nth(1)) {
            quietly("nft", &["delete", "table", family, &format!("rbuild_{store8}")]);
        }
        for (family, handle) in leaks::passages(&store8) {
            quietly("nft", &["delete", "rule", family, "filter", "FORWARD", "handle", &handle]);
        }
        let _ = fs::remove_dir_all(Path::new(ROOTS_RUNTIME).join(store8));
    }
}

fn quietly(program: &str, arguments: &[&str]) {
    let _ = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// A call of the program that has not begun.
#[derive(Debug)]
pub struct Call<'a> {
    context: &'a TestContext,
    command: Command,
    input: Vec<u8>,
}

impl Call<'_> {
    /// Sets a variable for this call.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Calls it in another folder of the project.
    #[must_use]
    pub fn in_folder(mut self, path: &str) -> Self {
        self.command.current_dir(self.context.project().join(path));
        self
    }

    /// Calls it through another program, which is given ours and its arguments behind its own.
    #[must_use]
    pub fn through<const N: usize>(mut self, wrapper: [&str; N]) -> Self {
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(self.command.get_program()).args(self.command.get_args()).env_clear();
        command.envs(self.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(self.command.get_current_dir().unwrap_or(Path::new("/")));
        self.command = command;
        self
    }

    /// Gives it something to read; without this it reads the end of file.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Begins it, for a test that does something while it runs.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(mut self) -> Running {
        let story = format!("{:?}", self.command);
        let spawned =
            self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child = spawned.unwrap_or_else(|error| panic!("cannot run {story}: {error}"));
        Running::new(child, self.input, story)
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn run(mut self) -> Output {
        let story = format!("{:?}", self.command);
        let spawned =
            self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("cannot run {story}: {error}"));
        let mut stdin = child.stdin.take().expect("its standard input is a pipe");
        let input = self.input;
        // Written beside the reading, or both would wait for each other. One that ends early does not read all.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output =
            child.wait_with_output().unwrap_or_else(|error| panic!("cannot wait for {story}: {error}"));
        writer.join().expect("writing to a pipe does not panic");
        Output {
            status: output.status,
            stdout: self.context.steady(&String::from_utf8_lossy(&output.stdout)),
            stderr: self.context.steady(&String::from_utf8_lossy(&output.stderr)),
            raw_stdout: output.stdout,
            story,
        }
    }
}

/// What a call came to.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed, made steady.
    pub stdout: String,
    /// What it told the user, made steady.
    pub stderr: String,
    /// What it printed, byte by byte.
    pub raw_stdout: Vec<u8>,
    story: String,
}

impl Output {
    /// Fails the test unless it succeeded.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    pub fn assert_success(&self) -> &Self {
        assert!(self.status.success(), "{self}");
        self
    }

    /// Fails the test unless it ended with a certain status.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    pub fn assert_code(&self, code: i32) -> &Self {
        assert_eq!(self.status.code(), Some(code), "{self}");
        self
    }
}

/// The whole story, also for comparing as one text.
impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}", self.story, self.status)?;
        write!(f, "-- stdout\n{}-- stderr\n{}", self.stdout, self.stderr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_from_the_developers_environment() {
        let mut context = TestContext::new("/usr/bin/env");
        context.set("EXTRA", "1");
        let output = context.rbuild([""; 0]).env("ONE", "2").run();
        let mut names: Vec<&str> = output.stdout.lines().filter_map(|line| line.split('=').next()).collect();
        names.sort_unstable();
        let expected = [
            "EXTRA",
            "HOME",
            "LC_ALL",
            "ONE",
            "PATH",
            "RBUILD_ROOT",
            "RUST_BACKTRACE",
            "TZ",
            "XDG_RUNTIME_DIR",
        ];
        assert_eq!(names, expected);
        assert!(output.stdout.contains("RBUILD_ROOT=[STORE]\n"));
    }

    #[test]
    fn a_call_goes_through_another_program() {
        let context = TestContext::new("/bin/echo");
        let script = "pwd; echo $A; exec \"$@\"";
        let output =
            context.rbuild(["a b", "c"]).env("A", "x").through(["/bin/sh", "-c", script, "sh"]).run();
        output.assert_success();
        assert_eq!(output.stdout, "[PROJECT]\nx\na b c\n");
    }

    #[test]
    fn a_call_is_told_whole() {
        let context = TestContext::new("/bin/sh");
        context.write("a/b.txt", "two\n");
        let script = "cat; cat b.txt; pwd; echo oops 12 ms >&2; exit 3";
        let output = context.rbuild(["-c", script]).in_folder("a").input("one\n").run();
        output.assert_code(3);
        assert_eq!(
            (output.stdout.as_str(), output.stderr.as_str()),
            ("one\ntwo\n[PROJECT]/a\n", "oops [TIME]\n")
        );
        assert!(output.to_string().contains("exit status: 3"));
        let large = vec![b'x'; 1 << 20];
        let echoed = context.rbuild(["-c", "cat"]).input(large.clone()).run();
        assert_eq!(echoed.raw_stdout, large);
    }
}
