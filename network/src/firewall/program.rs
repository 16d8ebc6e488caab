//! The program that makes tables, and which words it knows.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::{FirewallError, GUARD, LARGEST_FILE};
use crate::names;
use crate::site::Site;

const PLACES: [&str; 4] = ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft", "/usr/local/sbin/nft"];

/// How many forms of the guard there are.
const GUARDS: usize = 3;

/// The guard in the words of programs, the newest first. What they list can be read by them again, as those do who keep the
/// rules of a machine in a file.
pub(super) fn guards() -> [String; GUARDS] {
    const TARGET: &str = "icmpv6 taddr";
    // Behind type, code, sum and flags.
    const ITS_PLACE: &str = "@th,64,128";
    const TYPED: &str = "targets6 { type ifname . ether_addr . ipv6_addr; }";
    let named = GUARD.to_owned();
    // nft before 1.0.9 has no word for the target.
    let of_places = format!("targets6 {{ typeof iifname . ether saddr . {ITS_PLACE}; }}");
    let placed = GUARD.replace(TYPED, &of_places).replace(TARGET, ITS_PLACE);
    // Before 1.0.3 it knows no sets of places: what an advertisement is about is not looked at.
    let blind = GUARD.split_inclusive('\n').filter(|line| !line.contains(TARGET)).collect();
    [named, placed, blind]
}

/// What is remembered of the words that the program knows: each try of others is a process.
pub(super) struct Words {
    path: PathBuf,
    /// Another file of the program is another program.
    program: String,
}

impl Words {
    pub(super) fn of(site: &Site) -> Result<Self, FirewallError> {
        let program = program(site)?;
        let failed = |source| FirewallError::Run { program: program.clone(), source };
        let found = std::fs::metadata(&program).map_err(failed)?;
        let (device, file, changed, part) = (found.dev(), found.ino(), found.mtime(), found.mtime_nsec());
        let program = format!("{device} {file} {changed} {part}");
        Ok(Self { path: site.config().runtime.join("firewall.words"), program })
    }

    /// Which of [`guards`] was understood last; the first of them if that is not known.
    pub(super) fn understood(&self) -> usize {
        let text = names::read_bounded(&self.path, LARGEST_FILE).ok().flatten();
        let text = text.and_then(|bytes| String::from_utf8(bytes).ok());
        let known = text.as_deref().and_then(|text| text.rsplit_once(' '));
        let known = known.filter(|(program, _)| *program == self.program);
        known.and_then(|(_, understood)| understood.parse().ok()).filter(|known| *known < GUARDS).unwrap_or(0)
    }

    /// That it is not remembered costs a process. The caller holds the lock.
    pub(super) fn remember(&self, understood: usize) {
        if understood != self.understood() {
            let _ = names::replace(&self.path, format!("{} {understood}", self.program).as_bytes());
        }
    }
}

/// The program that makes tables.
fn program(site: &Site) -> Result<PathBuf, FirewallError> {
    match &site.config().nft {
        Some(program) => Ok(program.clone()),
        None => PLACES.iter().map(PathBuf::from).find(|place| place.exists()).ok_or_else(|| {
            FirewallError::ProgramMissing { places: PLACES.iter().map(|place| (*place).to_owned()).collect() }
        }),
    }
}

/// Has it carry out what a text says, as one transaction.
pub(super) fn run(site: &Site, script: &str) -> Result<(), FirewallError> {
    let program = program(site)?;
    let failed = |source| FirewallError::Run { program: program.clone(), source };
    let mut child = Command::new(&program)
        .args(["-f", "-"])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let written = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(script.as_bytes()));
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return written.map_err(failed);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let text: String =
        text.trim_end().chars().take(1024).map(|c| if c.is_control() { ' ' } else { c }).collect();
    Err(FirewallError::Refused { program, text })
}
