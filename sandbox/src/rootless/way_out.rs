//! The network namespace that the containers of a user share, and the program that connects it with the outside.
//!
//! An ordinary user may change nothing in the host's network, but all in a namespace of their own: bridges, packet
//! filter, routes are the same there as they are for root. What such a namespace lacks is a way out. A program that
//! stays outside gives it one: it makes a link inside, and speaks for it with the host's own sockets. **pasta** is the
//! faster one; versions before December 2023 are not used. **slirp4netns** is the other. Neither lets the inside
//! reach services on the host's loopback addresses.
//!
//! Both answer questions for names at [`NAME_SERVER`], by asking the host's own resolver.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::fs::{Access, MemfdFlags};
use rustix::io::FdFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::thread::UnshareFlags;

/// Where containers of ordinary users ask for names. Link-local, so that it is nobody's address outside.
pub const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 3);
/// The network of slirp4netns: its name server has the third address.
const SLIRP_NETWORK: &str = "169.254.1.0/24";
/// What links to a program outside are made with.
const TUN: &str = "/dev/net/tun";
const FOLDERS: [&str; 4] = ["/usr/bin", "/usr/local/bin", "/bin", "/usr/sbin"];
/// pasta before this day lost connections and could not be closed off well enough.
const PASTA_SINCE: u32 = 20_231_200;

/// A program that connects a network namespace with the outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WayOut {
    /// `pasta`.
    Pasta(PathBuf),
    /// `slirp4netns`.
    Slirp(PathBuf),
}

impl WayOut {
    /// Finds the programs that are there, the best first; or tells what to install.
    pub fn find() -> Result<Vec<Self>, String> {
        if let Err(errno) = rustix::fs::access(TUN, Access::READ_OK | Access::WRITE_OK) {
            return Err(format!(
                "{TUN} cannot be used ({errno}); as root, `modprobe tun; chmod 666 {TUN}` would help"
            ));
        }
        let place =
            |name: &str| FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists());
        let slirp = place("slirp4netns").map(Self::Slirp);
        let pasta = place("pasta").filter(|path| is_new_enough(&version_of(path)));
        let found: Vec<Self> = pasta.map(Self::Pasta).into_iter().chain(slirp).collect();
        if found.is_empty() {
            return Err(
                "install `pasta` of December 2023 or newer (package `passt`), or `slirp4netns`".to_owned()
            );
        }
        Ok(found)
    }

    /// Its name.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pasta(_) => "pasta",
            Self::Slirp(_) => "slirp4netns",
        }
    }
}

fn version_of(pasta: &Path) -> String {
    let output = Command::new(pasta).arg("--version").env_clear().stdin(Stdio::null()).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

/// Reads the day out of a version (`pasta 2024_05_10.7288448`, `pasta 0.0~git20240220.1e6f92b`).
fn is_new_enough(version: &str) -> bool {
    let first = version.lines().next().unwrap_or_default().replace('_', "");
    let days = first.split(|letter: char| !letter.is_ascii_digit()).filter(|digits| digits.len() == 8);
    days.filter_map(|digits| digits.parse::<u32>().ok()).any(|day| day >= PASTA_SINCE)
}

/// A network namespace with its way out.
#[derive(Debug)]
pub(super) struct Network {
    namespace: OwnedFd,
    way_out: Option<Running>,
}

/// The program, as long as it runs.
#[derive(Debug)]
enum Running {
    Child(Child),
    Daemon(Pid, OwnedFd),
}

impl Network {
    /// Makes a namespace without a way out.
    pub(super) fn make() -> Result<Self, String> {
        // A thread, because whoever enters the new one cannot come back: the host's is not ours to enter.
        let made = std::thread::Builder::new().spawn(|| -> io::Result<OwnedFd> {
            super::user::enter_new(UnshareFlags::NEWNET)?;
            Ok(File::open("/proc/thread-self/ns/net")?.into())
        });
        match made.map(std::thread::JoinHandle::join) {
            Ok(Ok(Ok(namespace))) => Ok(Self { namespace, way_out: None }),
            Err(error) | Ok(Ok(Err(error))) => Err(format!("cannot make a network namespace: {error}")),
            Ok(Err(_)) => Err("cannot make a network namespace".to_owned()),
        }
    }

    /// Returns the namespace, after its way out was started if it does not run.
    pub(super) fn with_way_out(&mut self) -> Result<BorrowedFd<'_>, String> {
        if !self.way_out.as_mut().is_some_and(Running::is_alive) {
            self.way_out = Some(self.start()?);
        }
        Ok(self.namespace.as_fd())
    }

    /// The process of its way out.
    pub(super) fn way_out(&self) -> Option<i32> {
        match self.way_out.as_ref()? {
            Running::Child(child) => i32::try_from(child.id()).ok(),
            Running::Daemon(pid, _) => Some(pid.as_raw_nonzero().get()),
        }
    }

    fn start(&self) -> Result<Running, String> {
        let mut failures = Vec::new();
        for way_out in WayOut::find()? {
            let started = match &way_out {
                WayOut::Pasta(program) => self.pasta(program),
                WayOut::Slirp(program) => self.slirp(program),
            };
            match started {
                Ok(running) => return Ok(running),
                Err(error) => failures.push(format!("{} failed: {error}", way_out.word())),
            }
        }
        Err(failures.join("; "))
    }

    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.namespace.as_raw_fd())
    }

    /// Starts pasta, which goes into the background when it is ready.
    fn pasta(&self, program: &Path) -> io::Result<Running> {
        let told = File::from(rustix::fs::memfd_create("pid", MemfdFlags::CLOEXEC)?);
        let output = Command::new(program)
            .args(["--config-net", "--quiet", "--no-map-gw", "--dns-forward", &NAME_SERVER.to_string()])
            .args(["-t", "none", "-u", "none", "-T", "none", "-U", "none"])
            .arg("--pid")
            .arg(format!("/proc/{}/fd/{}", std::process::id(), told.as_raw_fd()))
            .args(["--netns", &self.path()])
            .env_clear()
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() {
            return Err(io::Error::other(last_words(&String::from_utf8_lossy(&output.stderr))));
        }
        let pid = read_again(told)?.trim().parse().ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("it did not say its process id"))?;
        Ok(Running::Daemon(pid, pidfd_open(pid, PidfdFlags::empty())?))
    }

    /// Starts slirp4netns as a child. It ends by itself when this process does: its standard input breaks then.
    fn slirp(&self, program: &Path) -> io::Result<Running> {
        let words = File::from(rustix::fs::memfd_create("words", MemfdFlags::CLOEXEC)?);
        let (ready, ready_writer) = pipe_with(PipeFlags::CLOEXEC)?;
        let mut command = Command::new(program);
        command
            .args(["--configure", "--mtu=65520", "--disable-host-loopback"])
            .args(["--enable-sandbox", "--enable-seccomp"])
            .arg(format!("--cidr={SLIRP_NETWORK}"))
            .arg(format!("--ready-fd={}", ready_writer.as_raw_fd()))
            .arg("--exit-fd=0")
            .args(["--netns-type=path", &self.path(), "tap0"])
            .env_clear()
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(words.try_clone()?);
        // For this one child; the keeper has no other thread that could start one.
        rustix::io::fcntl_setfd(&ready_writer, FdFlags::empty())?;
        let child = command.spawn();
        drop(ready_writer);
        let mut child = child?;
        let mut byte = [0];
        let is_ready = rustix::io::read(&ready, &mut byte).unwrap_or(0) == 1;
        if is_ready {
            return Ok(Running::Child(child));
        }
        let _ = child.kill();
        let _ = child.wait();
        Err(io::Error::other(last_words(&read_again(words)?)))
    }
}

impl Running {
    fn is_alive(&mut self) -> bool {
        match self {
            Self::Child(child) => matches!(child.try_wait(), Ok(None)),
            Self::Daemon(_, pidfd) => pidfd_send_signal(pidfd, Signal::CONT).is_ok(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        match self {
            Self::Child(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Self::Daemon(_, pidfd) => {
                let _ = pidfd_send_signal(pidfd, Signal::KILL);
            }
        }
    }
}

fn read_again(mut file: File) -> io::Result<String> {
    let mut text = String::new();
    file.rewind()?;
    file.take(64 << 10).read_to_string(&mut text)?;
    Ok(text)
}

/// Returns the end of what a program said, as one line.
fn last_words(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(2)..].join(", ");
    if last.is_empty() { "it said nothing".to_owned() } else { last }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_pasta_is_read_from_its_version() {
        for (version, new) in [
            ("pasta 2024_05_10.7288448\nCopyright Red Hat\n", true),
            ("pasta 0.0~git20240220.1e6f92b\n", true),
            ("pasta 2023_12_30.f091893", true),
            ("pasta 2023_11_19.4f1709d", false),
            ("pasta 0.0~git20230309.7c7625d", false),
            ("pasta unknown version\n", false),
            ("", false),
        ] {
            assert_eq!(is_new_enough(version), new, "{version}");
        }
    }

    #[test]
    fn a_program_that_says_nothing_is_told_so() {
        assert_eq!(last_words(" \n"), "it said nothing");
        assert_eq!(last_words("a\nb\n\nc\n"), "b, c");
    }
}
