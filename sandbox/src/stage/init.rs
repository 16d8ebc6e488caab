//! An init from its order to the user's program.
//!
//! The order of acts: mounts, root, masks, names and settings of the kernel; then what can only be given up once:
//! descriptors, bounding set, user, capabilities; the filter either before (without no_new_privs, it needs rights to
//! be loaded) or as the last act.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::process::Signal;

use super::mounts::Cargo;
use super::park::{Parked, swap_root};
use super::targets::Tree;
use super::{Act, Doing, attributes, console, devices, masks, mounts, no_program, reaper, refuse};
use crate::mounts::attach;
use crate::profile::FirstProcess;
use crate::script::{InitMessage, Script, ScriptProgram, Stub};
use crate::sys::{self, BpfInstruction};
use crate::wire::{self, Received, WireError};

/// Where programs are looked for without a `PATH`.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The number that the order channel has when the program is executed; it closes by that.
const LAST_FD: i32 = 3;

/// Carries an order out; returns only if that fails.
pub(super) fn run(mut parked: Parked, order: Received<Script>) -> Act<Infallible> {
    let Received { message: script, blob, fds } = order;
    let cargo = Cargo { blob: &blob, fds: &fds };
    let notes = std::mem::take(&mut parked.notes);
    rustix::process::umask(Mode::empty());
    set_oom_score(&script, &parked)?;
    let root = attach_root(&script, &cargo, &parked)?;
    let mut tree = Tree::new(&root)?;
    let attached = mounts::attach_all(&script.mounts, &cargo, &parked, &mut tree)?;
    // Into a folder of others nothing is put: it has what they want in it.
    let own_dev = attached.has_own_dev(&tree);
    let devices = script.devices.iter().filter(|device| own_dev || !device.path.starts_with("/dev/"));
    devices::make(devices, &cargo, &parked.proc, &mut tree)?;
    if own_dev && !script.devices.is_empty() {
        devices::link(&tree)?;
    }
    let program = &script.program;
    let terminal = match (program.terminal, &attached.devpts) {
        (Some(size), Some(devpts)) => Some(console::open(devpts, size, program.uid, &mut tree)?),
        (Some(_), None) => return refuse("open a terminal", "the order has no `/dev/pts`"),
        (None, _) => None,
    };
    tree.provide_folder(&program.cwd, (program.uid, program.gid))?;
    swap_root(&root, &parked.staging)?;
    set_names(&script)?;
    write_sysctls(&script.sysctls, &parked)?;
    masks::make_readonly(&script.readonly, &tree)?;
    masks::mask(&script.masked, &tree)?;
    seal_mounts(&script, &root)?;
    let null = devices::null(&tree);
    let setgroups_denied = setgroups_denied(&parked);
    let stubs = tree.into_stubs();
    let Parked { channel, bound, .. } = parked;
    become_program(Prepared {
        program,
        cargo: &cargo,
        terminal,
        null,
        setgroups_denied,
        channel,
        bound,
        hold: script.hold,
        stubs,
        notes,
    })
}

/// What is left to be done in the place where the program is to run: to become it.
pub(super) struct Prepared<'order> {
    pub(super) program: &'order ScriptProgram,
    pub(super) cargo: &'order Cargo<'order>,
    pub(super) terminal: Option<console::Terminal>,
    /// The null device of the root.
    pub(super) null: Option<OwnedFd>,
    /// Whether the user namespace forbids changes of supplementary groups.
    pub(super) setgroups_denied: bool,
    pub(super) channel: OwnedFd,
    /// Whether it is to die with its maker.
    pub(super) bound: bool,
    /// Whether to wait for a word before the program.
    pub(super) hold: bool,
    pub(super) stubs: Vec<Stub>,
    pub(super) notes: Vec<String>,
}

/// Gives up what the program is not to have, and executes it; returns only if that fails.
pub(super) fn become_program(prepared: Prepared<'_>) -> Act<Infallible> {
    let Prepared { program, cargo, terminal, null, setgroups_denied, channel, bound, hold, stubs, mut notes } =
        prepared;
    if setgroups_denied && !program.groups.is_empty() {
        notes.push("no supplementary groups: this user namespace has a single user".to_owned());
    }
    rustix::process::umask(Mode::from_raw_mode(program.umask));
    if let Some(persona) = program.personality {
        sys::personality(persona).doing(|| "set the personality".to_owned())?;
    }
    if program.no_new_privileges {
        rustix::thread::set_no_new_privs(true).doing(|| "set no_new_privs".to_owned())?;
    }
    attributes::limit(&program.rlimits)?;
    let filter = program.seccomp.map(|(range, flags)| filter(range.of(cargo.blob), flags)).transpose()?;
    if !program.no_new_privileges {
        load(filter.as_ref())?;
    }
    place_stdio(program, cargo, terminal.as_ref(), null)?;
    let entered = enter_folder(&program.cwd);
    attributes::bound(program.capabilities.bounding)?;
    attributes::become_user(program, setgroups_denied)?;
    let entered = match entered {
        // Folders of a network file system may be open to the user only.
        Err(Errno::ACCESS | Errno::PERM) => enter_folder(&program.cwd),
        entered => entered,
    };
    entered.map_err(|errno| no_program(format!("enter the working folder `{}`", program.cwd), errno))?;
    verify_folder(&program.cwd)?;
    notes.extend(attributes::grant(&program.capabilities)?);
    if bound {
        // A change of user took it away.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .doing(|| "set the parent-death signal again".to_owned())?;
    }
    let executable = find_program(program)?;

    let ready = InitMessage::Ready { stubs, notes };
    let master: Vec<_> = terminal.iter().map(|terminal| terminal.master.as_fd()).collect();
    wire::send(&channel, &ready, b"", &master).or_else(|error| refuse("report", error.to_string()))?;
    drop(terminal);
    if hold {
        match wire::receive::<()>(&channel) {
            Ok(_) => {}
            Err(WireError::Closed) => sys::exit_now(125),
            Err(error) => return refuse("wait for the start", error.to_string()),
        }
    }
    if program.no_new_privileges {
        load(filter.as_ref())?;
    }
    let channel = match program.first {
        FirstProcess::Program => channel,
        FirstProcess::Reaper => reaper::split(channel, program)?,
    };
    execute(program, &executable, channel)
}

fn set_oom_score(script: &Script, parked: &Parked) -> Act {
    let Some(value) = script.program.oom_score_adj else { return Ok(()) };
    let act = || format!("set oom_score_adj to {value}");
    let read = proc_file(parked, "self/oom_score_adj", OFlags::RDONLY).doing(act)?;
    let mut present = [0; 16];
    let count = rustix::io::read(&read, &mut present).doing(act)?;
    if std::str::from_utf8(&present[..count]).is_ok_and(|text| text.trim() == value.to_string()) {
        return Ok(());
    }
    let file = proc_file(parked, "self/oom_score_adj", OFlags::WRONLY).doing(act)?;
    rustix::io::write(&file, value.to_string().as_bytes()).doing(act)?;
    Ok(())
}

/// Tells whether the user namespace forbids changes of supplementary groups.
fn setgroups_denied(parked: &Parked) -> bool {
    let mut text = [0; 8];
    let read = proc_file(parked, "self/setgroups", OFlags::RDONLY)
        .and_then(|file| rustix::io::read(&file, &mut text));
    read.is_ok_and(|count| text[..count].starts_with(b"deny"))
}

/// Opens a file of our own procfs; nothing mounted over it, no link in it is followed.
fn proc_file(parked: &Parked, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    // `self` is a link of procfs itself, made safe by the file system that it is in.
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(&parked.proc, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Attaches the root in the staging tmpfs; returns its top.
fn attach_root(script: &Script, cargo: &Cargo<'_>, parked: &Parked) -> Act<OwnedFd> {
    let act = || "attach the root".to_owned();
    rustix::fs::mkdirat(&parked.staging, "root", Mode::from_raw_mode(0o700)).doing(act)?;
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let place = rustix::fs::openat(&parked.staging, "root", flags, Mode::empty()).doing(act)?;
    attach(cargo.fd(script.root)?, place.as_fd()).doing(act)?;
    rustix::fs::openat(&parked.staging, "root", flags, Mode::empty()).doing(act)
}

fn set_names(script: &Script) -> Act {
    if let Some(name) = &script.hostname {
        rustix::system::sethostname(name.as_bytes()).doing(|| format!("set the host name `{name}`"))?;
    }
    if let Some(name) = &script.domainname {
        rustix::system::setdomainname(name.as_bytes()).doing(|| format!("set the domain name `{name}`"))?;
    }
    Ok(())
}

fn write_sysctls(sysctls: &[(String, String)], parked: &Parked) -> Act {
    for (name, value) in sysctls {
        let act = || format!("set the kernel parameter `{name}` to `{value}`");
        let file = proc_file(parked, &format!("sys/{name}"), OFlags::WRONLY).doing(act)?;
        rustix::io::write(&file, value.as_bytes()).doing(act)?;
    }
    Ok(())
}

/// Makes the root read-only and sets its propagation, if asked.
fn seal_mounts(script: &Script, root: &OwnedFd) -> Act {
    if script.root_readonly || script.root_propagation != 0 {
        let set = if script.root_readonly { libc::MOUNT_ATTR_RDONLY } else { 0 };
        let propagation = script.root_propagation;
        let attr = sys::MountAttr { set, propagation, ..sys::MountAttr::default() };
        sys::mount_setattr(root.as_fd(), false, &attr).doing(|| "seal the root".to_owned())?;
    }
    Ok(())
}

fn filter(bytes: Option<&[u8]>, flags: u64) -> Act<(Vec<BpfInstruction>, u64)> {
    match bytes.and_then(crate::seccomp::decode) {
        Some(program) => Ok((program, flags)),
        None => refuse("read the order", "the seccomp filter is damaged"),
    }
}

fn load(filter: Option<&(Vec<BpfInstruction>, u64)>) -> Act {
    match filter {
        Some((program, flags)) => {
            sys::seccomp_filter(program, *flags).doing(|| "load the seccomp filter".to_owned())
        }
        None => Ok(()),
    }
}

/// Puts the standard descriptors in their places. Standard input without a source is at its end.
fn place_stdio(
    program: &ScriptProgram,
    cargo: &Cargo<'_>,
    terminal: Option<&console::Terminal>,
    null: Option<OwnedFd>,
) -> Act {
    let act = || "set standard input and output".to_owned();
    // The null device of the root, if it has a real one; else the host's, which is what is there now.
    let null = null.and_then(|null| {
        let path = format!("/proc/self/fd/{}", null.as_raw_fd());
        rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty()).ok()
    });
    for place in 0..3 {
        let source = match (terminal, program.stdio[place]) {
            (Some(terminal), _) => Some(terminal.slave.as_fd()),
            (None, Some(index)) => Some(cargo.fd(index)?),
            (None, None) => null.as_ref().map(AsFd::as_fd),
        };
        let Some(source) = source else { continue };
        match place {
            0 => rustix::stdio::dup2_stdin(source),
            1 => rustix::stdio::dup2_stdout(source),
            _ => rustix::stdio::dup2_stderr(source),
        }
        .doing(act)?;
        let here = match place {
            0 => rustix::stdio::stdin(),
            1 => rustix::stdio::stdout(),
            _ => rustix::stdio::stderr(),
        };
        let owner = rustix::fs::Uid::from_raw(program.uid);
        let is_tty = terminal.is_none() && program.stdio[place].is_some() && rustix::termios::isatty(here);
        if is_tty {
            // The group stays: it is the terminal group's. A refusal is no failure: not every terminal is ours.
            let _ = rustix::fs::fchown(here, Some(owner), None);
        }
    }
    if terminal.is_some() {
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin()).doing(|| "take the terminal".to_owned())?;
    }
    Ok(())
}

fn enter_folder(path: &str) -> Result<(), Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
    let root = rustix::fs::open("/", flags, Mode::empty())?;
    let relative = path.trim_start_matches('/');
    let relative = if relative.is_empty() { "." } else { relative };
    let folder = rustix::fs::openat2(&root, relative, flags, Mode::empty(), resolve)?;
    rustix::process::fchdir(&folder)
}

/// Checks that the working folder is within the root.
fn verify_folder(path: &str) -> Act {
    let act = || format!("enter the working folder `{path}`");
    let here = rustix::process::getcwd(Vec::new()).doing(act)?;
    if here.as_bytes().first() == Some(&b'/') { Ok(()) } else { refuse(act(), "it is outside of the root") }
}

/// Finds the program's file: as it is if its name has a slash, else along the container's `PATH`.
fn find_program(program: &ScriptProgram) -> Act<CString> {
    let Some(name) = program.args.first() else {
        return refuse("execute the program", "the order names none");
    };
    let act = || format!("execute `{name}`");
    if name.is_empty() {
        // Each folder would be found by it.
        return Err(no_program(act(), Errno::NOENT));
    }
    if name.contains('/') {
        check_executable(name).map_err(|errno| no_program(act(), errno))?;
        return c_string(name);
    }
    let path = program.env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    let mut found = Errno::NOENT;
    for folder in path.split(':') {
        let candidate = if folder.is_empty() { format!("./{name}") } else { format!("{folder}/{name}") };
        match check_executable(&candidate) {
            Ok(()) => return c_string(&candidate),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(errno) => found = errno,
        }
    }
    Err(no_program(act(), found))
}

fn check_executable(path: &str) -> Result<(), Errno> {
    let stat = rustix::fs::stat(path)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    rustix::fs::accessat(CWD, path, rustix::fs::Access::EXEC_OK, AtFlags::EACCESS)
}

fn c_string(text: &str) -> Act<CString> {
    CString::new(text).or_else(|_| refuse("read the order", "an argument has a zero byte"))
}

/// Executes the program; the channel closes by that, which is how the maker learns of the success.
fn execute(program: &ScriptProgram, executable: &CStr, channel: OwnedFd) -> Act<Infallible> {
    let args = program.args.iter().map(|text| c_string(text)).collect::<Act<Vec<_>>>()?;
    let env = program.env.iter().map(|text| c_string(text)).collect::<Act<Vec<_>>>()?;
    // From here on, descriptors of this process are gone under their owners: it executes or ends.
    let failure = match sys::keep_as_last(channel, LAST_FD) {
        Ok(()) => {
            let errno = match nix::unistd::execve(executable, &args, &env) {
                Ok(never) => match never {},
                Err(errno) => Errno::from_raw_os_error(errno as i32),
            };
            no_program(format!("execute `{}`", program.args[0]), errno)
        }
        Err(error) => match Err::<(), _>(error).doing(|| "close descriptors".to_owned()) {
            Err(failure) => failure,
            Ok(()) => sys::exit_now(125),
        },
    };
    if let Ok(channel) = sys::inherited(LAST_FD) {
        let _ = wire::send(&channel, &InitMessage::Failed(failure), b"", &[]);
    }
    sys::exit_now(125)
}
