//! Row `lookups`: the name of another container, asked for again and again from within one.
//!
//! Who asks is this program, which runs in the container (`xtask bench-asker`): [`ASKERS`] threads, each with one question
//! at a time, as the resolvers of programs do it. What is told is the time between the first question and the last answer.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::{Options, Tool, some_rounds, time};

/// How many ask at once.
const ASKERS: usize = 8;

/// Where a container is told what name services it has.
const RESOLVER: &str = "/etc/resolv.conf";

/// The port of name services.
const PORT: u16 = 53;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The name of everything that the row makes.
const NAME: &str = "rbuild-bench-lookups";

/// Asks for a name on a network of its own, as often as the options say.
pub(super) fn lookups(options: &Options, work: &Path) -> Result<Vec<Vec<Duration>>> {
    let folder = work.join("lookups");
    std::fs::create_dir(&folder)?;
    std::fs::copy(std::env::current_exe()?, folder.join("asker"))?;
    some_rounds(options, |tool, _| {
        if !tool.is_engine() {
            return Ok(None);
        }
        time(tool, None, &["network", "create", NAME])?;
        let took = on_network(options, tool, &folder);
        // Both, whatever came of the rest: what is left would fail the next round as well.
        let removed = [&["rm", "-f", NAME][..], &["network", "rm", NAME]].map(|what| time(tool, None, what));
        let took = took?;
        removed.into_iter().collect::<Result<Vec<_>>>()?;
        Ok(Some(took))
    })
}

fn on_network(options: &Options, tool: &Tool, folder: &Path) -> Result<Duration> {
    time(tool, None, &["run", "-d", "--name", NAME, "--network", NAME, &options.base, "sleep", "1000"])?;
    let (program, leading) = tool.prefix.split_first().context("a tool is a program")?;
    let output = Command::new(program)
        .args(leading)
        // From within: a peer may see the folder under another path.
        .args(["run", "--rm", "--network", NAME, "-v", "./:/bench:ro", &options.base])
        .args(["/bench/asker", "bench-asker", NAME, &options.lookups.to_string()])
        .current_dir(folder)
        .output()
        .with_context(|| format!("failed to start {program}"))?;
    let told = String::from_utf8_lossy(&output.stdout);
    let micros = told.trim().parse().ok().filter(|_| output.status.success());
    let failed = || format!("{} asked in vain: {}", tool.name, String::from_utf8_lossy(&output.stderr));
    micros.map(Duration::from_micros).with_context(failed)
}

/// What runs in the container: asks for a name, and returns how many microseconds all answers took.
pub(crate) fn ask(arguments: &[String]) -> Result<String> {
    let [name, count] = arguments else { anyhow::bail!("usage: xtask bench-asker NAME COUNT") };
    let share = count.parse::<usize>()?.div_ceil(ASKERS);
    let service =
        service(&std::fs::read_to_string(RESOLVER)?).with_context(|| format!("{RESOLVER} names none"))?;
    let question = question(name);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let askers: Vec<_> =
            (0..ASKERS).map(|_| scope.spawn(|| ask_often(service, &question, share))).collect();
        askers.into_iter().try_for_each(|asker| asker.join().expect("who asks does not panic"))
    })?;
    Ok(begun.elapsed().as_micros().to_string())
}

/// The first name service of a container that is asked by IPv4.
fn service(resolver: &str) -> Option<Ipv4Addr> {
    resolver.lines().find_map(|line| line.strip_prefix("nameserver")?.trim().parse().ok())
}

fn ask_often(service: Ipv4Addr, question: &[u8], count: usize) -> Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect((service, PORT))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut question = question.to_vec();
    let mut answer = [0; 512];
    for number in 0..count {
        question[..2].copy_from_slice(&(number as u16).to_be_bytes());
        socket.send(&question)?;
        let length = socket.recv(&mut answer).context("no answer came")?;
        let is_answer = length > question.len() && answer[..2] == question[..2] && answer[3] & 15 == 0;
        ensure!(is_answer && answer[6..8] != [0, 0], "the answer holds no address");
    }
    Ok(())
}

/// The question for the IPv4 address of a name (RFC 1035).
fn question(name: &str) -> Vec<u8> {
    let mut message = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_service_is_asked() {
        let text = "# made\nsearch lan\nnameserver ::1\nnameserver 10.89.0.1\nnameserver 127.0.0.11\n";
        assert_eq!(service(text), Some(Ipv4Addr::new(10, 89, 0, 1)));
        assert_eq!(service("search lan\n"), None);
    }
}
