//! Numbers, for people: `cargo test -p rbuild-sandbox --test isolation --release -- time`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use rbuild_sandbox::cgroup::Limits;
use rbuild_sandbox::profile::{self, Options};
use rbuild_sandbox::{Launcher, LauncherConfig, Lifetime, Order, Stdio, Stubs};

use super::house::House;

/// Measures the parts of running `true`, and a row of steps with and without slots made ahead.
pub(crate) fn run() -> ExitCode {
    let start = Instant::now();
    drop(Launcher::new(&LauncherConfig::default()).unwrap());
    println!("launcher made and gone: {:?}", start.elapsed());
    let house = House::new();
    let mut parts = [const { Vec::new() }; 4];
    for _ in 0..50 {
        let start = Instant::now();
        let mut slot = house.slot(Limits { pids: Some(4096), ..Limits::default() }, Lifetime::Bound);
        parts[0].push(start.elapsed());
        slot.wait_parked().unwrap();
        parts[1].push(start.elapsed());
        let start = Instant::now();
        let running = slot.launch(order(&house), Stdio::default()).unwrap();
        parts[2].push(start.elapsed());
        running.wait().unwrap();
        parts[3].push(start.elapsed());
    }
    for (name, times) in ["slot asked", "slot parked", "launched", "ended"].iter().zip(&mut parts) {
        println!("{name}: median {:?}, worst {:?}", median(times), times.iter().max().unwrap());
    }
    let start = Instant::now();
    let mut ahead: std::collections::VecDeque<_> = (0..3)
        .map(|_| house.slot(Limits { pids: Some(4096), ..Limits::default() }, Lifetime::Bound))
        .collect();
    for _ in 0..50 {
        ahead.push_back(house.slot(Limits { pids: Some(4096), ..Limits::default() }, Lifetime::Bound));
        let slot = ahead.pop_front().unwrap();
        slot.launch(order(&house), Stdio::default()).unwrap().wait().unwrap();
    }
    println!("a step with three slots ahead: {:?}", start.elapsed() / 50);
    ExitCode::SUCCESS
}

fn order(house: &House) -> Order {
    let spec = profile::step(Options::new(vec!["/bin/true".to_owned()])).unwrap();
    Order { spec, root: house.root().0, mounts: Vec::new(), stubs: Stubs::Remove }
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}
