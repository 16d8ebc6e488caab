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
