use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, poll};

use super::*;
use crate::driver::{PortIsolation, Reach};
use crate::link::LinkName;
use crate::names::{NamesError, NetworkFile, NetworkId, NetworkState};

/// A service on a thread of its own, as a monitor drives it.
struct Running {
    address: SocketAddr,
    stream: SocketAddr,
    runtime: tempfile::TempDir,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

const ASKER: &str = "asker";

impl Running {
    /// Starts a service for an endpoint in one network, which knows the name `web`.
    fn start(reach: Reach, upstreams: Vec<SocketAddr>) -> Self {
        let runtime = tempfile::tempdir().unwrap();
        let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (address, stream) = (datagrams.local_addr().unwrap(), listener.local_addr().unwrap());
        let sources = Sources {
            runtime: runtime.path().to_owned(),
            endpoint: EndpointId::new(ASKER).unwrap(),
            upstreams: Upstreams::At(upstreams),
        };
        let mut service = NameService::new(Sockets::of(datagrams, listener), sources).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut running = Self { address, stream, runtime, stop, thread: None };
        running.know(reach, &[(ASKER, &["asker"]), ("one", &["web", "one"]), ("two", &["web"])]);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let wait = service.deadline().map(|at| at.saturating_duration_since(Instant::now()));
                let wait = wait.map(|wait| Timespec::try_from(wait).unwrap());
                let mut fds = [PollFd::from_borrowed_fd(service.poll_fd(), PollFlags::IN)];
                poll(&mut fds, wait.as_ref()).unwrap();
                service.turn();
            }
        });
        running.thread = Some(thread);
        running
    }

    /// Replaces the network's file.
    fn know(&self, reach: Reach, endpoints: &[(&str, &[&str])]) {
        let id = NetworkId::new("net").unwrap();
        let file = NetworkFile::new(self.runtime.path(), id.clone());
        let subnet: crate::address::Subnet = "10.1.0.0/16".parse().unwrap();
        let bridge = LinkName::new("rbdeadbeefbtest").unwrap();
        let four = crate::names::FourState::new(subnet, subnet.first());
        let families = crate::families::Families::Four(four);
        let mut state = NetworkState::new(id, bridge, families, reach, PortIsolation::Shared, 1500);
        for (id, names) in endpoints {
            let record = super::view::tests_record(&state, id, names);
            state.families.four_mut().unwrap().cursor = *record.families.four().unwrap();
            state.endpoints.push(record);
        }
        let replace = |slot: &mut Option<NetworkState>| -> Result<(), NamesError> {
            *slot = Some(state);
            Ok(())
        };
        file.update(replace).unwrap();
    }

    /// A client's socket.
    fn client(&self) -> UdpSocket {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket
    }

    fn ask(&self, name: &str) -> Vec<u8> {
        let socket = self.client();
        socket.send(&question(77, name)).unwrap();
        let mut buffer = [0; 2048];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..2], [0, 77]);
        buffer[..length].to_vec()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // What deserves no answer still wakes it.
        let _ = self.client().send(&[]);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn question(id: u16, name: &str) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

/// The code and the addresses of an answer that was made here.
fn told(answer: &[u8]) -> (u8, Vec<u8>) {
    let count = usize::from(answer[7]);
    let records = answer.len() - count * 16;
    (answer[3] & 15, answer[records..].chunks(16).map(|record| record[15]).collect())
}

/// Another server: answers each question with what `say` makes of it.
fn server(say: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            for answer in say(&buffer[..length]) {
                socket.send_to(&answer, client).unwrap();
            }
        }
    });
    address
}

/// What a server says: a question with the marks of an answer.
fn answered(question: &[u8], code: u8) -> Vec<u8> {
    let mut answer = question.to_vec();
    answer[2] |= 0x80;
    answer[3] = 0x80 | code;
    answer
}

#[test]
fn names_are_answered_and_changes_are_seen_at_once() {
    let running = Running::start(Reach::Internal, Vec::new());
    assert_eq!(told(&running.ask("one")), (0, vec![3]));
    assert_eq!(told(&running.ask("nobody")), (3, vec![]));
    for round in 0_u8..20 {
        let names: &[&str] = if round % 2 == 0 { &["even"] } else { &["odd"] };
        running.know(Reach::Internal, &[(ASKER, &["asker"]), ("x", names)]);
        assert_eq!(told(&running.ask("even")), if round % 2 == 0 { (0, vec![3]) } else { (3, vec![]) });
        assert_eq!(told(&running.ask("odd")), if round % 2 == 0 { (3, vec![]) } else { (0, vec![3]) });
    }
}

#[test]
fn a_connection_has_its_questions_answered_in_order() {
    let upstream = server(|question| vec![answered(question, 0)]);
    let running = Running::start(Reach::Internal, vec![upstream]);
    let mut stream = TcpStream::connect(running.stream).unwrap();
    let mut both = framed(&question(1, "one"));
    both.extend(framed(&question(2, "nobody")));
    let (first, rest) = both.split_at(5);
    stream.write_all(first).unwrap();
    stream.write_all(rest).unwrap();
    let mut answer = || {
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut message).unwrap();
        message
    };
    let (one, two) = (answer(), answer());
    assert_eq!((one[1], told(&one)), (1, (0, vec![3])));
    assert_eq!((two[1], told(&two)), (2, (3, vec![])));
}

#[test]
fn a_connections_question_goes_on_over_a_connection() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let upstream = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut read = Vec::new();
        let mut buffer = [0; 512];
        let message = loop {
            let length = stream.read(&mut buffer).unwrap();
            read.extend_from_slice(&buffer[..length]);
            if let Some(message) = unframed(&mut read) {
                break message;
            }
        };
        let mut answer = answered(&message, 0);
        // Larger than any datagram may be.
        answer.extend(std::iter::repeat_n(7, 60_000));
        stream.write_all(&framed(&answer)).unwrap();
    });
    let running = Running::start(Reach::Outside, vec![upstream]);
    let mut stream = TcpStream::connect(running.stream).unwrap();
    stream.write_all(&framed(&question(5, "large.example"))).unwrap();
    let mut head = [0; 4];
    stream.read_exact(&mut head).unwrap();
    let mut rest = vec![0; usize::from(u16::from_be_bytes([head[0], head[1]])) - 2];
    stream.read_exact(&mut rest).unwrap();
    assert_eq!((head[2..].to_vec(), rest.len() > 60_000), (vec![0, 5], true));
    server.join().unwrap();
}

#[test]
fn a_server_that_fails_gives_way_to_the_next() {
    // Nobody listens at the first, the second does not know.
    let nobody = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let failing = server(|question| vec![answered(question, 2)]);
    let knowing = server(|question| vec![answered(question, 3)]);
    let running = Running::start(Reach::Outside, vec![nobody, failing, knowing]);
    assert_eq!(running.ask("example.org")[3] & 15, 3, "the third says that there is no such name");
    let running = Running::start(Reach::Outside, vec![nobody, failing]);
    assert_eq!(running.ask("example.org")[3] & 15, 2);
    let running = Running::start(Reach::Outside, Vec::new());
    assert_eq!(running.ask("example.org")[3] & 15, 2, "nobody is asked in the place of nobody");
}

#[test]
fn an_answer_with_a_wrong_number_or_question_is_not_believed() {
    let upstream = server(|question| {
        let mut wrong_id = answered(question, 3);
        wrong_id[0] ^= 0x55;
        let mut wrong_name = answered(question, 3);
        wrong_name[13] ^= 1;
        vec![wrong_id, wrong_name, question.to_vec(), vec![], answered(question, 0)]
    });
    let running = Running::start(Reach::Outside, vec![upstream]);
    let answer = running.ask("example.org");
    assert_eq!((answer[3] & 15, answer.len()), (0, question(0, "example.org").len()));
}

#[test]
fn questions_beyond_the_bound_are_told_that_nobody_knows_now() {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let running = Running::start(Reach::Outside, vec![silent.local_addr().unwrap()]);
    let socket = running.client();
    let mut answered = 0;
    let mut buffer = [0; 512];
    // Each answer shows that all before it were seen; until the bound is reached a known name is asked for in between.
    for number in 0..MOST_EXCHANGES as u16 + 8 {
        socket.send(&question(number, "example.org")).unwrap();
        socket.send(&question(u16::MAX, "one")).unwrap();
        loop {
            let length = socket.recv(&mut buffer).unwrap();
            if buffer[..2] == u16::MAX.to_be_bytes() {
                assert_eq!(told(&buffer[..length]), (0, vec![3]));
                break;
            }
            assert_eq!(buffer[3] & 15, 2);
            answered += 1;
        }
    }
    assert_eq!(answered, 8);
}
