//! Row `port`: bytes through a published port.

use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::{Options, Tool, some_rounds, time};

/// The port within the container.
const PORT: u16 = 9000;

/// How long nothing may come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Zeros from a container through a published port of the loopback, to this process.
pub(super) fn port(options: &Options) -> Result<Vec<Vec<Duration>>> {
    let bytes = options.port_mb << 20;
    some_rounds(options, |tool, _| {
        if !tool.is_engine() {
            return Ok(None);
        }
        let name = "rbuild-bench-port";
        let publish = format!("127.0.0.1::{PORT}");
        let send = format!("nc -ll -p {PORT} -e dd if=/dev/zero bs=65536 count={}", bytes >> 16);
        time(tool, None, &["run", "-d", "--name", name, "-p", &publish, &options.base, "sh", "-c", &send])?;
        let took = listens(tool, name).and_then(|()| receive(address(tool, name)?, bytes));
        time(tool, None, &["rm", "-f", name])?;
        Ok(Some(took?))
    })
}

fn address(tool: &Tool, name: &str) -> Result<SocketAddr> {
    let (program, leading) = tool.prefix.split_first().context("a tool is a program")?;
    let output = Command::new(program).args(leading).args(["port", name]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let address = text.lines().find_map(|line| line.rsplit(' ').next()?.parse().ok());
    address.with_context(|| format!("{} told no port: {text}", tool.name))
}

/// Waits until the container listens: what forwards to it may be there before.
fn listens(tool: &Tool, name: &str) -> Result<()> {
    let look = format!("until grep -q ':{PORT:04X} ' /proc/net/tcp /proc/net/tcp6; do sleep 0.02; done");
    time(tool, None, &["exec", name, "sh", "-c", &look]).map(drop)
}

fn receive(address: SocketAddr, bytes: usize) -> Result<Duration> {
    let mut buffer = vec![0; 256 << 10];
    let begun = Instant::now();
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut received = 0;
    while let count @ 1.. = stream.read(&mut buffer)? {
        received += count;
    }
    let took = begun.elapsed();
    ensure!(received == bytes, "{received} of {bytes} bytes came from {address}");
    Ok(took)
}
