//! A socket in a step through which it may ask the client's ssh agent to list keys and to sign, and nothing else.
//!
//! The agent's own socket is never given to a step: each request is read whole, bounded, and passed on only if its type
//! is one of the two (draft-miller-ssh-agent, "Requests from the client to the agent"); others are answered with
//! failure here. A step has so many connections at once; further ones wait in the socket's queue, as they do before an
//! agent that is busy. All end with the socket.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// `SSH_AGENTC_REQUEST_IDENTITIES`.
const REQUEST_IDENTITIES: u8 = 11;
/// `SSH_AGENTC_SIGN_REQUEST`.
const SIGN_REQUEST: u8 = 13;
/// `SSH_AGENT_FAILURE` as a whole message.
const FAILURE: [u8; 5] = [0, 0, 0, 1, 5];
/// The largest message that is passed on; OpenSSH's own bound.
const MAX_MESSAGE: u32 = 256 * 1024;
/// How many connections a step has at once.
const MAX_CONNECTIONS: usize = 16;

/// A listening socket that goes away with this value.
pub(crate) struct AgentSocket {
    path: PathBuf,
    served: Arc<Served>,
    thread: Option<JoinHandle<()>>,
}

/// The connections that are served.
#[derive(Default)]
struct Served {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ended: bool,
    next: u64,
    /// Both ends of each, by its number.
    open: HashMap<u64, [UnixStream; 2]>,
}

impl AgentSocket {
    /// Listens at `path` for a step, on behalf of the agent at `agent`.
    pub(crate) fn listen(path: PathBuf, agent: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(&path)?;
        let served = Arc::new(Served::default());
        let (agent, shared) = (agent.to_owned(), Arc::clone(&served));
        let thread = std::thread::Builder::new().name("ssh-agent".to_owned()).spawn(move || {
            std::thread::scope(|scope| {
                while shared.has_room() {
                    let Ok((step, _)) = listener.accept() else { continue };
                    let Ok(agent) = UnixStream::connect(&agent) else { continue };
                    let Some(number) = shared.begin(&step, &agent) else { continue };
                    let shared = &*shared;
                    let serving = std::thread::Builder::new().spawn_scoped(scope, move || {
                        serve(step, agent);
                        shared.end(number);
                    });
                    if serving.is_err() {
                        shared.end(number);
                    }
                }
            });
        })?;
        Ok(Self { path, served, thread: Some(thread) })
    }

    /// Returns where the socket is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Served {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until one more can be served; `false` once nothing more is to be.
    fn has_room(&self) -> bool {
        let state = self.state();
        let full = |state: &mut State| !state.ended && state.open.len() >= MAX_CONNECTIONS;
        let state = self.changed.wait_while(state, full).unwrap_or_else(PoisonError::into_inner);
        !state.ended
    }

    fn begin(&self, step: &UnixStream, agent: &UnixStream) -> Option<u64> {
        let ends = [step.try_clone().ok()?, agent.try_clone().ok()?];
        let mut state = self.state();
        if state.ended {
            return None;
        }
        let number = state.next;
        state.next += 1;
        state.open.insert(number, ends);
        Some(number)
    }

    fn end(&self, number: u64) {
        self.state().open.remove(&number);
        self.changed.notify_all();
    }

    /// Ends all connections, also one whose agent does not answer.
    fn close(&self) {
        let mut state = self.state();
        state.ended = true;
        for end in state.open.values().flatten() {
            let _ = end.shutdown(Shutdown::Both);
        }
        self.changed.notify_all();
    }
}

impl Drop for AgentSocket {
    fn drop(&mut self) {
        self.served.close();
        // Wakes the thread, which then sees that it is over.
        drop(UnixStream::connect(&self.path));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Serves one connection until either side ends it.
fn serve(mut step: UnixStream, mut agent: UnixStream) -> Option<()> {
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
    let mut message = length.to_vec();
    // Grows as bytes come: a length alone takes no room.
    from.take(u64::from(size)).read_to_end(&mut message).ok()?;
    (message.len() == 4 + size as usize).then_some(message)
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

    #[test]
    fn so_many_connections_are_served_and_all_end_with_the_socket() {
        let folder = tempfile::tempdir().unwrap();
        let agent = UnixListener::bind(folder.path().join("agent")).unwrap();
        let socket = AgentSocket::listen(folder.path().join("step"), &folder.path().join("agent")).unwrap();
        let refused = |step: &mut UnixStream| {
            step.write_all(&[0, 0, 0, 1, 19]).unwrap();
            assert_eq!(read_message(step).unwrap(), FAILURE);
        };
        let connect = || UnixStream::connect(socket.path()).unwrap();
        let mut served: Vec<UnixStream> = (0..MAX_CONNECTIONS).map(|_| connect()).collect();
        served.iter_mut().for_each(refused);
        let mut late = connect();
        late.write_all(&[0, 0, 0, 1, 19]).unwrap();
        assert_eq!(socket.served.state().open.len(), MAX_CONNECTIONS, "one more waits");
        drop(served.pop());
        assert_eq!(read_message(&mut late).unwrap(), FAILURE, "until there is room");
        // An agent that never answers keeps nobody: the end of the socket is the end of all connections.
        late.write_all(&[0, 0, 0, 1, REQUEST_IDENTITIES]).unwrap();
        drop(socket);
        assert_eq!(read_message(&mut late), None);
        drop(agent);
    }
}
