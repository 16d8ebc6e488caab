//! A call of the program that runs while the test does something else: waits for a line, sends a signal, kills.

use std::io::{Read, Write};
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// How long a test waits for a line or an end before it says that there will be none. Not a measure of speed.
const PATIENCE: Duration = Duration::from_secs(120);

/// What was written so far, on both streams.
#[derive(Debug, Default)]
struct Said {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    open: usize,
}

/// A call that has begun. It is killed if the test drops it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    said: Arc<(Mutex<Said>, Condvar)>,
    threads: Vec<JoinHandle<()>>,
    story: String,
}

/// How a call that was started ended.
#[derive(Debug)]
pub struct Ended {
    /// Its status.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it told the user.
    pub stderr: String,
}

impl Running {
    /// Takes over a child whose three streams are pipes.
    ///
    /// # Panics
    /// If one of them is not.
    pub fn new(mut child: Child, input: Vec<u8>, story: String) -> Self {
        let mut stdin = child.stdin.take().expect("its standard input is a pipe");
        let stdout = child.stdout.take().expect("its standard output is a pipe");
        let stderr = child.stderr.take().expect("its standard error is a pipe");
        let said = Arc::new((Mutex::new(Said { open: 2, ..Said::default() }), Condvar::new()));
        let threads = vec![
            thread::spawn(move || drop(stdin.write_all(&input))),
            listen(stdout, Arc::clone(&said), |said| &mut said.stdout),
            listen(stderr, Arc::clone(&said), |said| &mut said.stderr),
        ];
        Self { child, said, threads, story }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has written a text, on either stream.
    ///
    /// # Panics
    /// If it ends before, or does not write it for two minutes.
    #[track_caller]
    pub fn until(&self, text: &str) {
        self.until_any(&[text]);
    }

    /// Waits until it has written one of several texts, on either stream.
    ///
    /// # Panics
    /// If it ends before, or does not write any of them for two minutes.
    #[track_caller]
    pub fn until_any(&self, texts: &[&str]) {
        let (said, changed) = &*self.said;
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if texts.iter().any(|text| contains(&said.stdout, text) || contains(&said.stderr, text)) {
                return;
            }
            let (stdout, stderr) =
                (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
            assert!(said.open > 0, "{} ended before it wrote {texts:?}:\n{stdout}{stderr}", self.story);
            let (stdout, stderr) = (stdout.into_owned(), stderr.into_owned());
            let (next, waited) = changed.wait_timeout(said, PATIENCE).unwrap_or_else(PoisonError::into_inner);
            assert!(!waited.timed_out(), "{} did not write {texts:?}:\n{stdout}{stderr}", self.story);
            said = next;
        }
    }

    /// Waits until it has written a line to its standard output that begins so, and returns the rest of it.
    ///
    /// # Panics
    /// As [`Running::until`].
    #[track_caller]
    pub fn line(&self, begins: &str) -> String {
        self.until(begins);
        loop {
            let (said, changed) = &*self.said;
            let said = said.lock().unwrap_or_else(PoisonError::into_inner);
            let text = String::from_utf8_lossy(&said.stdout).into_owned();
            let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            if let Some(rest) = whole.filter_map(|line| line.strip_prefix(begins)).next() {
                return rest.trim_end().to_owned();
            }
            assert!(said.open > 0, "{} ended within the line {begins:?}:\n{text}", self.story);
            drop(changed.wait_timeout(said, PATIENCE).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Waits until it has written a text or ended, but no longer than a time; returns whether it was written.
    pub fn within(&self, text: &str, time: Duration) -> bool {
        let (said, changed) = &*self.said;
        let said = said.lock().unwrap_or_else(PoisonError::into_inner);
        let written = |said: &Said| contains(&said.stdout, text) || contains(&said.stderr, text);
        let waiting = changed.wait_timeout_while(said, time, |said| said.open > 0 && !written(said));
        let (said, _) = waiting.unwrap_or_else(PoisonError::into_inner);
        written(&said)
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If it is gone already and was waited for.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process has an id");
        kill_process(id, signal).expect("a child that was not waited for can be signalled");
    }

    /// Kills it with `SIGKILL` and waits for its end.
    pub fn kill(self) -> Ended {
        self.signal(Signal::KILL);
        self.wait()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end within two minutes.
    #[track_caller]
    pub fn wait(mut self) -> Ended {
        {
            let (said, changed) = &*self.said;
            let said = said.lock().unwrap_or_else(PoisonError::into_inner);
            let (said, _) = changed
                .wait_timeout_while(said, PATIENCE, |said| said.open > 0)
                .unwrap_or_else(PoisonError::into_inner);
            let text = String::from_utf8_lossy(&said.stderr);
            assert!(said.open == 0, "{} does not end, or something holds its streams:\n{text}", self.story);
        }
        let status = self.child.wait().expect("a child can be waited for");
        for thread in self.threads.drain(..) {
            thread.join().expect("reading and writing do not panic");
        }
        let (said, _) = &*self.said;
        let said = said.lock().unwrap_or_else(PoisonError::into_inner);
        Ended {
            status,
            stdout: String::from_utf8_lossy(&said.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&said.stderr).into_owned(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After a wait the child is known to be gone, and nothing is signalled.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn listen(
    mut stream: impl Read + Send + 'static,
    said: Arc<(Mutex<Said>, Condvar)>,
    part: fn(&mut Said) -> &mut Vec<u8>,
) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        loop {
            let count = stream.read(&mut buffer).unwrap_or(0);
            let (said, changed) = &*said;
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            part(&mut said).extend_from_slice(&buffer[..count]);
            if count == 0 {
                said.open -= 1;
            }
            changed.notify_all();
            if count == 0 {
                return;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use crate::context::TestContext;

    use super::*;

    #[test]
    fn a_line_is_awaited_and_a_signal_arrives() {
        let context = TestContext::new("/bin/sh");
        let script = "trap 'echo caught >&2; exit 7' TERM; echo ready; while :; do sleep 0.05; done";
        let running = context.rbuild(["-c", script]).start();
        running.until("ready");
        running.signal(Signal::TERM);
        let ended = running.wait();
        assert_eq!(
            (ended.status.code(), ended.stdout.as_str(), ended.stderr.as_str()),
            (Some(7), "ready\n", "caught\n")
        );
    }

    #[test]
    fn one_that_is_dropped_is_killed() {
        let context = TestContext::new("/bin/sleep");
        drop(context.rbuild(["1000"]).start());
        context.leaks().assert_none();
    }
}
