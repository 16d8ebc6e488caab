//! Datagrams: a socket towards the endpoint for each client and address that it sends to, so that answers find their way
//! back, from that address.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;

use super::ready::{FIRST, LISTENING, Ready};
use super::sys::{self, Ends};
use super::{Destination, within_limits};

/// Clients beyond this push out those that were silent longest.
const MOST_CLIENTS: usize = 4096;
/// Of so many of them one is pushed out at once: they are not looked through for each new one.
const PUSHED_OUT: usize = 16;
/// Who is silent so long, both ways, begins anew: the kernel forgets what it redirects sooner.
const SILENCE: Duration = Duration::from_secs(180);
/// What leads elsewhere meanwhile is seen after this: it is not looked up for each datagram.
const LOOK_UP: Duration = Duration::from_millis(100);
const LARGEST: usize = 64 * 1024;
/// Datagrams of one socket before the others have their turn.
const TURN: usize = 64;

/// Carries datagrams until told to stop.
pub(super) fn run(socket: &UdpSocket, target: &mut dyn Destination, ready: &Ready) {
    let mut clients = Clients::new(ready, within_limits(MOST_CLIENTS));
    let mut buffer = vec![0; LARGEST];
    let mut looked_up: Option<(Instant, Option<SocketAddr>)> = None;
    loop {
        let Some(events) = ready.wait((!clients.flows.is_empty()).then_some(SILENCE)) else { return };
        let now = Instant::now();
        for number in events.iter().map(|event| event.data.u64()) {
            if number != LISTENING {
                clients.answer(number, socket, &mut buffer, now);
                continue;
            }
            for _ in 0..TURN {
                let Ok((length, client)) = sys::receive(socket, &mut buffer) else { break };
                if looked_up.is_none_or(|(when, _)| now.duration_since(when) >= LOOK_UP) {
                    looked_up = Some((now, target.now()));
                }
                let Some(to) = looked_up.and_then(|(_, to)| to) else { continue };
                clients.pass_on(&buffer[..length], client, to, now);
            }
        }
        clients.forget_silent(now);
    }
}

/// A client, and the socket for what it has sent.
struct Flow {
    client: Ends,
    answers: UdpSocket,
    target: SocketAddr,
    /// When it was last heard, or spoken to.
    last: Instant,
}

/// All clients, by the numbers of their sockets.
struct Clients<'r> {
    ready: &'r Ready,
    most: usize,
    flows: HashMap<u64, Flow>,
    numbers: HashMap<Ends, u64>,
    next: u64,
    /// When the silent were last looked for.
    looked: Instant,
}

impl<'r> Clients<'r> {
    fn new(ready: &'r Ready, most: usize) -> Self {
        let (flows, numbers) = (HashMap::new(), HashMap::new());
        Self { ready, most: most.max(1), flows, numbers, next: FIRST, looked: Instant::now() }
    }

    /// Passes a datagram on. What cannot be delivered is lost, as datagrams are.
    fn pass_on(&mut self, bytes: &[u8], client: Ends, target: SocketAddr, now: Instant) {
        let known = self.numbers.get(&client).and_then(|number| self.flows.get_mut(number));
        if let Some(flow) = known.filter(|flow| flow.target == target) {
            flow.last = now;
            let _ = flow.answers.send(bytes);
            return;
        }
        self.forget(client);
        if self.flows.len() >= self.most {
            self.push_out();
        }
        let opened = open(target).or_else(|| {
            // Others have all open files: some of these go.
            self.push_out();
            open(target)
        });
        let Some(answers) = opened else { return };
        let number = self.next;
        if self.ready.add(&answers, number, EventFlags::IN).is_err() {
            return;
        }
        let _ = answers.send(bytes);
        self.next += 1;
        self.numbers.insert(client, number);
        self.flows.insert(number, Flow { client, answers, target, last: now });
    }

    /// Brings what the endpoint said back to a client.
    fn answer(&mut self, number: u64, socket: &UdpSocket, buffer: &mut [u8], now: Instant) {
        // One that was pushed out in this turn is not there any more.
        let Some(flow) = self.flows.get_mut(&number) else { return };
        flow.last = now;
        for _ in 0..TURN {
            let Ok(length) = flow.answers.recv(buffer) else { break };
            let _ = sys::answer(socket, &buffer[..length], &flow.client);
        }
    }

    fn forget(&mut self, client: Ends) {
        if let Some(number) = self.numbers.remove(&client) {
            self.flows.remove(&number);
        }
    }

    /// Forgets those that were silent longest.
    fn push_out(&mut self) {
        let mut all: Vec<(Instant, Ends)> =
            self.flows.values().map(|flow| (flow.last, flow.client)).collect();
        let surplus = all.len().div_ceil(PUSHED_OUT);
        all.sort_unstable_by_key(|(last, _)| *last);
        all.iter().take(surplus).for_each(|(_, client)| self.forget(*client));
    }

    /// Forgets those that have been silent for long, now and then.
    fn forget_silent(&mut self, now: Instant) {
        if now.duration_since(self.looked) < SILENCE / 4 {
            return;
        }
        self.looked = now;
        self.flows.retain(|_, flow| now.duration_since(flow.last) < SILENCE);
        let flows = &self.flows;
        self.numbers.retain(|_, number| flows.contains_key(number));
    }
}

fn open(target: SocketAddr) -> Option<UdpSocket> {
    let any = if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    socket.set_nonblocking(true).ok()?;
    socket.connect(target).ok()?;
    Some(socket)
}
