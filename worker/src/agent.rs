//! A socket in a step through which it may ask the client's ssh agent to list keys and to sign, and nothing else.
//!
//! The agent's own socket is never given to a step: each request is read whole, bounded, and passed on only if its type
//! is one of the two (draft-miller-ssh-agent, "Requests from the client to the agent"); others are answered with
//! failure here.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// `SSH_AGENTC_REQUEST_IDENTITIES`.
const REQUEST_IDENTITIES: u8 = 11;
/// `SSH_AGENTC_SIGN_REQUEST`.
const SIGN_REQUEST: u8 = 13;
/// `SSH_AGENT_FAILURE` as a whole message.
const FAILURE: [u8; 5] = [0, 0, 0, 1, 5];
/// The largest message that is passed on; OpenSSH's own bound.
const MAX_MESSAGE: u32 = 256 * 1024;

/// A listening socket that goes away with this value.
pub(crate) struct AgentSocket {
    path: PathBuf,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl AgentSocket {
    /// Listens at `path` for a step, on behalf of the agent at `agent`.
    pub(crate) fn listen(path: PathBuf, agent: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(&path)?;
        let ended = Arc::new(AtomicBool::new(false));
        let agent = agent.to_owned();
        let over = Arc::clone(&ended);
        let thread = std::thread::Builder::new().name("ssh-agent".to_owned()).spawn(move || {
            for connection in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(connection) = connection else { continue };
                let agent = agent.clone();
                // A connection ends with its step, whose processes are all dead before this value is dropped.
                let _ = std::thread::Builder::new().spawn(move || serve(connection, &agent));
            }
        })?;
        Ok(Self { path, ended, thread: Some(thread) })
    }

    /// Returns where the socket is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for AgentSocket {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the thread, which then sees that it is over.
        drop(UnixStream::connect(&self.path));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Serves one connection until either side ends it.
fn serve(mut step: UnixStream, agent: &Path) -> Option<()> {
    let mut agent = UnixStream::connect(agent).ok()?;
    loop {
        let request = read_message(&mut step)?;
        let reply = match request.get(4) {
            Some(&(REQUEST_IDENTITIES | SIGN_REQUEST)) => {
                agent.write_all(&request).ok()?;
                read_message(&mut agent)?
            }
            _ => FAILURE.to_vec(),
        };
        step.write_all(&reply).ok()?;
    }
}

/// Reads one message with its length; `None` at the end and for one that is empty or too long.
fn read_message(from: &mut impl Read) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length).ok()?;
    let size = u32::from_be_bytes(length);
    if size == 0 || size > MAX_MESSAGE {
        return None;
    }
    let mut message = vec![0; 4 + size as usize];
    message[..4].copy_from_slice(&length);
    from.read_exact(&mut message[4..]).ok()?;
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listing_and_signing_reach_the_agent() {
        let folder = tempfile::tempdir().unwrap();
        let agent = UnixListener::bind(folder.path().join("agent")).unwrap();
        let heard = std::thread::spawn(move || {
            let (mut connection, _) = agent.accept().unwrap();
            let request = read_message(&mut connection).unwrap();
            connection.write_all(&[0, 0, 0, 2, 12, 7]).unwrap();
            (request, read_message(&mut connection))
        });
        let socket = AgentSocket::listen(folder.path().join("step"), &folder.path().join("agent")).unwrap();
        let mut step = UnixStream::connect(socket.path()).unwrap();
        step.write_all(&[0, 0, 0, 1, 19]).unwrap();
        assert_eq!(read_message(&mut step).unwrap(), FAILURE, "removing all keys is refused");
        step.write_all(&[0, 0, 0, 1, REQUEST_IDENTITIES]).unwrap();
        assert_eq!(read_message(&mut step).unwrap(), [0, 0, 0, 2, 12, 7]);
        step.write_all(&[255; 5]).unwrap();
        assert_eq!(read_message(&mut step), None, "a huge message ends the conversation");
        assert_eq!(heard.join().unwrap(), (vec![0, 0, 0, 1, REQUEST_IDENTITIES], None));
    }
}
