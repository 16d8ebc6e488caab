//! The monitor itself: how it comes to be, and its one loop.
//!
//! ```text
//! copied (zygote) -> told who it is (Begin) -> lock -> takes up what a dead one left -> socket -> loop -> leaves
//! ```
//!
//! It leaves when nothing runs or will run, and nobody is connected. Its socket's file stays: who connects to it then is
//! refused and starts another monitor. The lock falls free before the socket does.

mod adopt;
mod beside;
mod clients;
mod connection;
mod execs;
mod life;
mod monitor;
mod names;
mod output;
mod requests;
mod shares;
mod streams;
mod zygote;

use std::ffi::OsString;
use std::os::fd::OwnedFd;

use rbuild_model::container::State;
use rbuild_sandbox::cgroup::Residence;
use rbuild_sandbox::{Launcher, process};
use rbuild_store::BootId;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};

use self::monitor::{Monitor, Parts};
use self::zygote::Born;
use crate::chain;
use crate::document::{self, Promise};
use crate::place::{CONTROL, Place, SETTINGS};
use crate::plan::Settings;
use crate::protocol::frame::{self, Decoder, Frame};
use crate::protocol::{Begin, Begun, OLDEST, VERSION};
use crate::record::Record;

/// Connections that wait to be taken.
const BACKLOG: i32 = 128;

/// Runs the process that monitors are copies of, and each of them to its end; returns the exit status.
pub(crate) fn run(arguments: impl Iterator<Item = OsString>) -> u8 {
    match zygote::serve(arguments) {
        Ok(born) => live(born),
        Err(status) => status,
    }
}

/// Runs a monitor.
fn live(born: Born) -> u8 {
    let Born { channel, residence, program } = born;
    let _ = rustix::thread::set_name(c"rbuild-monitor");
    // Whoever made this process goes on making the container meanwhile. Where this fails, the start tells why.
    let launcher = program.and_then(|program| Launcher::of(&program).ok());
    let mut fds = Vec::new();
    // Whoever made this process may have no use for it after all.
    let Ok(frame) = frame::receive(&channel, &mut Decoder::default(), &mut fds) else {
        leave(residence, launcher);
        return 0;
    };
    let answer = |begun: Begun| {
        let sent = Frame::message(&begun).and_then(|frame| frame::send(&channel, &frame, &[]));
        u8::from(sent.is_err())
    };
    let begun = frame.read::<Begin>().map_err(|error| chain(&error)).and_then(|begin| begin_with(begin, fds));
    let answered = match begun {
        Ok(Start::Monitor(parts)) => {
            let (place, monitor) = (parts.place.clone(), Monitor::new(*parts, residence, launcher));
            let told = if monitor.is_interrupted() {
                Begun::Nothing
            } else {
                show_listener(&place)
                    .map_or_else(|why| Begun::Failed(format!("cannot listen: {why}")), |()| Begun::Listening)
            };
            if !matches!(told, Begun::Listening) {
                // Before the answer: whoever gets it may start the container anew.
                monitor.leave();
                return answer(told);
            }
            // Who is not there to hear it has still given us what is ours to do.
            answer(told);
            process::trim_heap();
            monitor.serve(channel);
            return 0;
        }
        Ok(Start::Busy) => answer(Begun::Busy),
        Ok(Start::Nothing) => answer(Begun::Nothing),
        Err(why) => answer(Begun::Failed(why)),
    };
    leave(residence, launcher);
    answered
}

/// Leaves the control group, which goes when nobody is in it: the launching stage was born there as well.
fn leave(residence: Option<Residence>, launcher: Option<Launcher>) {
    drop(launcher);
    if let Some(residence) = residence {
        residence.leave();
    }
}

/// What a beginning comes to.
enum Start {
    Monitor(Box<Parts>),
    Busy,
    Nothing,
}

fn begin_with(begin: Begin, mut fds: Vec<OwnedFd>) -> Result<Start, String> {
    let Begin { version, folder, run, id, settings, holds, place } = begin;
    if !(OLDEST..=VERSION).contains(&version) || holds + usize::from(place) != fds.len() {
        return Err(format!("the command speaks version {version} of the protocol, the monitor {VERSION}"));
    }
    let networks = if place { fds.pop() } else { None };
    let place = Place::of_folders(id, folder, run);
    let told = |error: &dyn std::error::Error| chain(error);
    let Some(lock) = place.try_lock().map_err(|error| told(&error))? else { return Ok(Start::Busy) };
    let boot = BootId::current().map_err(|error| told(&error))?.to_string();
    let mut record =
        place.read_record().map_err(|error| told(&error))?.unwrap_or_else(|| Record::new(boot.clone()));
    let adopts = settings.is_none();
    let settings: Settings = match settings {
        Some(settings) => {
            document::write(&place.settings(), SETTINGS, &settings, Promise::Volatile)
                .map_err(|error| told(&error))?;
            *settings
        }
        None => match document::read(&place.settings(), SETTINGS).map_err(|error| told(&error))? {
            Some(settings) => settings,
            None => return Ok(Start::Nothing),
        },
    };
    let resumes = matches!(record.state, State::Restarting { .. }) && record.boot == boot;
    if record.state.is_active() && (!adopts || record.boot != boot) {
        // Nobody was there when it ended.
        record.lose(if record.boot == boot { "monitor lost" } else { crate::MACHINE_RESTARTED });
        place.write_last(&record, Promise::Written).map_err(|error| told(&error))?;
    }
    let is_interrupted = || matches!(&record.state, State::Restarting { .. }) && place.has_duties();
    if adopts && (!record.state.is_active() || is_interrupted()) {
        return Ok(Start::Nothing);
    }
    record.boot = boot;
    record.monitor = process::identify(std::process::id() as i32);
    place.write_state(&record).map_err(|error| told(&error))?;
    let listener = make_listener(&place).map_err(|error| format!("cannot listen: {error}"))?;
    Ok(Start::Monitor(Box::new(Parts {
        place,
        lock,
        settings,
        record,
        listener,
        holds: fds,
        networks,
        adopts,
        resumes,
    })))
}

/// What the socket is called until it is shown.
const FRESH: &str = "control.new";

/// Gives the socket the name that it is found by.
fn show_listener(place: &Place) -> Result<(), String> {
    let run = place.open_run().map_err(|error| chain(&error))?;
    rustix::fs::renameat(&run, FRESH, &run, CONTROL).map_err(|errno| errno.to_string())
}

/// Makes the socket, which appears under its name only when there is somebody to serve it.
fn make_listener(place: &Place) -> Result<OwnedFd, String> {
    let run = place.open_run().map_err(|error| chain(&error))?;
    let make = || -> Result<OwnedFd, rustix::io::Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // The file has these permissions from its first moment, whatever mask a caller has.
        rustix::fs::fchmod(&socket, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
        let _ = rustix::fs::unlinkat(&run, FRESH, rustix::fs::AtFlags::empty());
        bind(&socket, &SocketAddrUnix::new(Place::short(&run, FRESH))?)?;
        listen(&socket, BACKLOG)?;
        Ok(socket)
    };
    make().map_err(|errno| errno.to_string())
}
