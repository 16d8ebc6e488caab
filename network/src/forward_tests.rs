use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::Duration;

use super::*;
use crate::ports::Published;

fn reserve(protocol: Protocol) -> Reservation {
    Reservation::bind(Published { protocol, host: Ipv4Addr::LOCALHOST.into(), port: 0, target: 1 }).unwrap()
}

fn port(reservation: &Reservation) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, reservation.published().port))
}

/// A service that sends back all that it got, when nothing more comes.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                (&stream).read_to_end(&mut bytes).unwrap();
                (&stream).write_all(&bytes).unwrap();
            });
        }
    });
    address
}

#[test]
fn connections_are_carried_whole_both_ways_at_once() {
    let reservation = reserve(Protocol::Tcp);
    let address = port(&reservation);
    let forwarder = Forwarder::start(reservation, echo()).unwrap();
    let bytes: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(&bytes).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                let mut back = Vec::new();
                stream.read_to_end(&mut back).unwrap();
                assert!(back == bytes, "{} of {} bytes came back", back.len(), bytes.len());
            });
        }
    });
    drop(forwarder);
    assert!(TcpStream::connect(address).is_err(), "the port is free again");
}

#[test]
fn a_service_that_is_not_there_ends_the_connection() {
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let gone = nobody.local_addr().unwrap();
    drop(nobody);
    let reservation = reserve(Protocol::Tcp);
    let address = port(&reservation);
    let _forwarder = Forwarder::start(reservation, gone).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let mut rest = Vec::new();
    // An end or a reset, whichever the kernel makes of it.
    assert_eq!(stream.read_to_end(&mut rest).unwrap_or(0), 0);
}

#[test]
fn dropping_it_ends_what_it_carries() {
    let reservation = reserve(Protocol::Tcp);
    let address = port(&reservation);
    let forwarder = Forwarder::start(reservation, echo()).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"never answered, as the end never comes").unwrap();
    drop(forwarder);
    assert_eq!(stream.read(&mut [0; 8]).unwrap_or(0), 0);
}

#[test]
fn datagrams_find_their_way_back() {
    let service = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let reservation = reserve(Protocol::Udp);
    let address = port(&reservation);
    let forwarder = Forwarder::start(reservation, service.local_addr().unwrap()).unwrap();
    let clients: Vec<UdpSocket> =
        (0..3).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
    service.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    for (number, client) in clients.iter().enumerate() {
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client.send_to(&[number as u8], address).unwrap();
    }
    let mut buffer = [0; 8];
    for _ in 0..6 {
        let (_, from) = service.recv_from(&mut buffer).unwrap();
        let number = buffer[0];
        service.send_to(&[number + 100], from).unwrap();
        let client = &clients[usize::from(number)];
        assert_eq!(client.recv_from(&mut buffer).unwrap(), (1, address));
        assert_eq!(buffer[0], number + 100);
        client.send_to(&[number], address).unwrap();
    }
    drop(forwarder);
}

/// More than a thousand of one kind, each with two open files here.
const MANY: usize = 1200;

/// Has this process open as many files as it may.
fn allow_many_files() {
    use rustix::process::{Rlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    assert!(maximum.is_none_or(|most| most >= 8 * MANY as u64), "the limit of open files is {maximum:?}");
}

#[test]
fn many_clients_of_datagrams_have_their_answers() {
    allow_many_files();
    let service = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let reservation = reserve(Protocol::Udp);
    let address = port(&reservation);
    let forwarder = Forwarder::start(reservation, service.local_addr().unwrap()).unwrap();
    service.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // All have asked before the first one is answered. What the service itself cannot hold is no matter of this.
    let mut asked = Vec::new();
    for number in 0..MANY as u32 {
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client.send_to(&number.to_le_bytes(), address).unwrap();
        let (mut buffer, mut from) = ([0; 4], None);
        while u32::from_le_bytes(buffer) != number || from.is_none() {
            from = Some(service.recv_from(&mut buffer).unwrap().1);
        }
        asked.push((client, from.unwrap()));
    }
    for (number, (client, from)) in asked.iter().enumerate() {
        service.send_to(&(number as u32).to_le_bytes(), from).unwrap();
        let mut buffer = [0; 4];
        assert_eq!(client.recv_from(&mut buffer).unwrap(), (4, address));
        assert_eq!(u32::from_le_bytes(buffer), number as u32);
    }
    drop(forwarder);
}

#[test]
fn what_comes_at_once_waits_for_its_turn() {
    let service = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    sockopt::set_socket_recv_buffer_size_force(&service, WAITING_BYTES).unwrap();
    let reservation = reserve(Protocol::Udp);
    let address = port(&reservation);
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    // The forwarder does not read before the last one is there: it waits for where they go to.
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let target = Later { may_go, target: service.local_addr().unwrap() };
    let forwarder = Forwarder::start(reservation, target).unwrap();
    for number in 0..MANY as u32 {
        client.send_to(&number.to_le_bytes(), address).unwrap();
    }
    drop(go);
    service.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    for number in 0..MANY as u32 {
        let mut buffer = [0; 4];
        service.recv_from(&mut buffer).unwrap();
        assert_eq!(u32::from_le_bytes(buffer), number);
    }
    drop(forwarder);
}

#[test]
fn many_connections_are_carried_at_once() {
    allow_many_files();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let reservation = reserve(Protocol::Tcp);
    let address = port(&reservation);
    let forwarder = Forwarder::start(reservation, listener.local_addr().unwrap()).unwrap();
    // None ends before the last one is there.
    let ends: Vec<(TcpStream, TcpStream)> =
        (0..MANY).map(|_| (TcpStream::connect(address).unwrap(), listener.accept().unwrap().0)).collect();
    for (number, (client, _)) in ends.iter().enumerate() {
        (&mut &*client).write_all(&(number as u32).to_le_bytes()).unwrap();
    }
    let mut numbers = Vec::new();
    for (_, server) in &ends {
        let mut bytes = [0; 4];
        (&mut &*server).read_exact(&mut bytes).unwrap();
        numbers.push(u32::from_le_bytes(bytes));
    }
    assert!(numbers.into_iter().eq(0..MANY as u32));
    drop(forwarder);
}

#[test]
fn who_breaks_off_takes_its_other_end_along() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let reservation = reserve(Protocol::Tcp);
    let address = port(&reservation);
    let forwarder = Forwarder::start(reservation, listener.local_addr().unwrap()).unwrap();
    let connect = || (TcpStream::connect(address).unwrap(), listener.accept().unwrap().0);
    let break_off = |stream: TcpStream| {
        sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        drop(stream);
    };
    let is_told = |mut stream: TcpStream| {
        // An end or a reset; what is said behind it is refused, which tells that nobody carries it any more.
        while !matches!(stream.read(&mut [0; 8]), Ok(0) | Err(_)) {}
        while stream.write_all(b"more").is_ok() {}
    };
    let (client, server) = connect();
    break_off(client);
    is_told(server);
    let (client, server) = connect();
    break_off(server);
    is_told(client);
    // One that said all it had to say breaks off before it is answered.
    let (client, mut server) = connect();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(server.read(&mut [0; 8]).unwrap(), 0);
    break_off(client);
    is_told(server);
    // What was said before comes all the same.
    let (mut client, mut server) = connect();
    server.write_all(b"last words").unwrap();
    let mut words = [0; 10];
    client.read_exact(&mut words).unwrap();
    assert_eq!(&words, b"last words");
    break_off(server);
    is_told(client);
    drop(forwarder);
}

/// Says where it leads when it may.
struct Later {
    may_go: std::sync::mpsc::Receiver<()>,
    target: SocketAddr,
}

impl Destination for Later {
    fn now(&mut self) -> Option<SocketAddr> {
        // Once it may, it always may.
        let _ = self.may_go.recv();
        Some(self.target)
    }
}

#[test]
fn an_answer_comes_from_the_address_that_was_asked() {
    let service = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target = service.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((length, client)) = service.recv_from(&mut buffer) {
            let _ = service.send_to(&buffer[..length], client);
        }
    });
    let everywhere = |host: &str| {
        let host = host.parse().unwrap();
        Reservation::bind(Published { protocol: Protocol::Udp, host, port: 0, target: 1 }).unwrap()
    };
    let (four, six) = (everywhere("0.0.0.0"), everywhere("::"));
    // The kernel has more addresses of itself of IPv4 than one, and but one of IPv6.
    let asked = [("127.0.0.2", &four), ("127.0.0.1", &four), ("127.7.7.7", &four), ("::1", &six)];
    let asked = asked.map(|(host, at)| SocketAddr::new(host.parse().unwrap(), at.published().port));
    let forwarders = [four, six].map(|one| Forwarder::start(one, target).unwrap());
    for host in asked {
        let any = if host.is_ipv4() { "127.0.0.9:0" } else { "[::1]:0" };
        let client = UdpSocket::bind(any).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client.send_to(b"word", host).unwrap();
        let mut buffer = [0; 64];
        let (length, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (&b"word"[..], host));
    }
    drop(forwarders);
}
