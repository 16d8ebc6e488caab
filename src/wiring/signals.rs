//! Signals that ask for the end: the first lets everything clean up, the second ends the program at once.

use std::thread;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask, raise};

/// The signals that ask for the end.
const ENDING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// Calls `end` at the first signal. Must be called before any other thread is started: those inherit that the signals
/// are taken by one thread of ours.
pub(super) fn watch(end: impl Fn(Signal) + Send + 'static) -> nix::Result<()> {
    let mut set = SigSet::empty();
    for signal in ENDING {
        set.add(signal);
    }
    pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
    let watch = move || {
        if let Ok(signal) = set.wait() {
            end(signal);
        }
        if let Ok(signal) = set.wait() {
            // The kernel ends the program: the signal's default, no longer held back in this thread.
            let _ = pthread_sigmask(SigmaskHow::SIG_UNBLOCK, Some(&set), None);
            let _ = raise(signal);
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(watch).map_err(|_| nix::Error::EAGAIN)?;
    Ok(())
}
