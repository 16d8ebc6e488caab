//! Filters of system calls.
//!
//! A profile in the form of OCI documents becomes a BPF program for the native architecture and its 32-bit sibling.
//! Calls that the tables here know get what the profile says; numbers above the newest known one get `ENOSYS`, so
//! that a libc that probes for a new call falls back instead of failing; other architectures kill.
//!
//! The default profile is Docker's, as facts in `default_profile.txt`. Families of sockets and flags of `clone` are
//! compared in their low 32 bits only, which is all that the kernel looks at.

mod bpf;
mod document;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Mutex;

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompFilterFlag, LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};

use self::bpf::{Comparison, Condition, Decision, MAX_INSTRUCTIONS, Section, Verdict};
pub use self::document::{check, read};
use self::table::Architecture;
use crate::capabilities::CapabilityMask;
use crate::sys::BpfInstruction;

/// A profile that cannot be made a filter.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// Filters are not offered on this architecture.
    #[error("no seccomp filters on this architecture: run unconfined, or elsewhere")]
    Architecture,
    /// The profile wants something that is not offered.
    #[error("{what} is not supported")]
    Unsupported {
        /// What.
        what: String,
    },
    /// It is not a profile.
    #[error("it is not in the form of a seccomp profile")]
    Document(#[source] serde_json::Error),
    /// Two keys say the same.
    #[error("only one of `{one}` and `{other}` can be given")]
    Both {
        /// The one.
        one: &'static str,
        /// The other.
        other: &'static str,
    },
    /// A rule names a kernel that cannot be.
    #[error("`{text}` is not the version of a kernel: expected the form 4.8")]
    Kernel {
        /// What it names.
        text: String,
    },
    /// An argument has no such place.
    #[error("system calls have six arguments, there is none at place {index}")]
    Argument {
        /// The place.
        index: usize,
    },
    /// The program would be longer than the kernel takes.
    #[error("the filter has {length} instructions, the kernel takes {MAX_INSTRUCTIONS}")]
    TooLong {
        /// Its length.
        length: usize,
    },
}

const EPERM: u32 = libc::EPERM as u32;
const ENOSYS: u32 = libc::ENOSYS as u32;
const RET_ERRNO: Verdict = 0x0005_0000;
const RET_KILL_PROCESS: Verdict = 0x8000_0000;
const RET_ALLOW: Verdict = 0x7fff_0000;
const RET_LOG: Verdict = 0x7ffc_0000;
/// From this bit on, numbers on x86-64 are those of x32, which is not offered.
const X32_BIT: u32 = 0x4000_0000;

/// The namespace flags of `clone`: mount, cgroup, uts, ipc, user, pid, network.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;

/// Address families that may be used, as mask and value: all but `AF_ALG` (38) and `AF_VSOCK` (40).
const SOCKET_FAMILIES: [(u64, u64); 8] = [
    (0xffff_ffe0, 0),
    (0xffff_fffc, 32),
    (0xffff_fffe, 36),
    (0xffff_ffff, 39),
    (0xffff_ffff, 41),
    (0xffff_fffe, 42),
    (0xffff_fffc, 44),
    (0xffff_fff0, 48),
];

/// Execution domains that may be asked for: Linux, Linux32, each with UNAME26, and the question itself.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Returns the default profile for a process with given capabilities.
pub fn default_profile(capabilities: CapabilityMask) -> LinuxSeccomp {
    let mut syscalls = Vec::new();
    let allow = LinuxSeccompAction::ScmpActAllow;
    for (section, names) in profile_sections() {
        let granted = match section.split_once(' ') {
            None => section == "always",
            Some(("cap", capability)) => capabilities.contains(capability),
            // A name that another architecture does not have is not in its table.
            Some(_) => true,
        };
        if granted {
            syscalls.push(rule(names, allow, None, None));
        } else if section == "new" {
            syscalls.push(rule(names, LinuxSeccompAction::ScmpActErrno, Some(ENOSYS), None));
        }
    }
    if !capabilities.contains("SYS_ADMIN") {
        let none = argument(0, LinuxSeccompOperator::ScmpCmpMaskedEq, CLONE_NAMESPACES, Some(0));
        syscalls.push(rule(vec!["clone".to_owned()], allow, None, Some(none)));
        // Its flags are behind a pointer, out of a filter's sight: as if it did not exist, libc uses clone.
        syscalls.push(rule(vec!["clone3".to_owned()], LinuxSeccompAction::ScmpActErrno, Some(ENOSYS), None));
    }
    for persona in PERSONALITIES {
        let this = argument(0, LinuxSeccompOperator::ScmpCmpEq, persona, None);
        syscalls.push(rule(vec!["personality".to_owned()], allow, None, Some(this)));
    }
    for (mask, value) in SOCKET_FAMILIES {
        let family = argument(0, LinuxSeccompOperator::ScmpCmpMaskedEq, mask, Some(value));
        syscalls.push(rule(vec!["socket".to_owned()], allow, None, Some(family)));
    }
    let architectures = match Architecture::native() {
        Some(Architecture::Aarch64) => vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm],
        _ => vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86],
    };
    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(EPERM)
        .architectures(architectures)
        .syscalls(syscalls)
        .build()
        .expect("all fields that have no default are set")
}

/// Reads the sections of the default profile's data.
fn profile_sections() -> Vec<(&'static str, Vec<String>)> {
    let mut sections: Vec<(&str, Vec<String>)> = Vec::new();
    for line in include_str!("default_profile.txt").lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            sections.push((name, Vec::new()));
        } else if let Some((_, names)) = sections.last_mut() {
            names.extend(line.split_whitespace().map(str::to_owned));
        }
    }
    sections
}

fn rule(
    names: Vec<String>,
    action: LinuxSeccompAction,
    errno: Option<u32>,
    argument: Option<LinuxSeccompArg>,
) -> LinuxSyscall {
    let mut builder = LinuxSyscallBuilder::default().names(names).action(action);
    if let Some(errno) = errno {
        builder = builder.errno_ret(errno);
    }
    if let Some(argument) = argument {
        builder = builder.args(vec![argument]);
    }
    builder.build().expect("all fields that have no default are set")
}

fn argument(
    index: usize,
    operator: LinuxSeccompOperator,
    value: u64,
    second: Option<u64>,
) -> LinuxSeccompArg {
    let mut builder = LinuxSeccompArgBuilder::default().index(index).op(operator).value(value);
    if let Some(second) = second {
        builder = builder.value_two(second);
    }
    builder.build().expect("all fields that have no default are set")
}

type Compiled = (Vec<BpfInstruction>, u64);

/// The last profiles compiled: the steps of a build mostly have the same one.
static CACHE: Mutex<Vec<(LinuxSeccomp, Compiled)>> = Mutex::new(Vec::new());
const CACHED: usize = 4;

/// Compiles a profile; returns the program and the flags to load it with.
pub(crate) fn from_oci(profile: &LinuxSeccomp) -> Result<Compiled, SeccompError> {
    let mut cache = CACHE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some((_, compiled)) = cache.iter().find(|(known, _)| known == profile) {
        return Ok(compiled.clone());
    }
    let compiled = (compile(profile)?, flags(profile)?);
    if cache.len() == CACHED {
        cache.remove(0);
    }
    cache.push((profile.clone(), compiled.clone()));
    Ok(compiled)
}

fn compile(profile: &LinuxSeccomp) -> Result<Vec<BpfInstruction>, SeccompError> {
    if profile.listener_path().is_some() {
        return Err(SeccompError::Unsupported { what: "a seccomp agent (listenerPath)".to_owned() });
    }
    let native = Architecture::native().ok_or(SeccompError::Architecture)?;
    let mut architectures = vec![native];
    for listed in profile.architectures().iter().flatten() {
        let known = match listed {
            Arch::ScmpArchX86_64 => Architecture::X86_64,
            Arch::ScmpArchX86 => Architecture::I386,
            Arch::ScmpArchAarch64 => Architecture::Aarch64,
            Arch::ScmpArchArm => Architecture::Arm,
            // x32 answers as unknown; others cannot run here.
            _ => continue,
        };
        if !architectures.contains(&known) {
            architectures.push(known);
        }
    }
    let default = verdict(profile.default_action(), profile.default_errno_ret())?;
    let mut sections = Vec::new();
    for architecture in architectures {
        let decisions = decisions(profile, architecture, default)?;
        sections.push(Section {
            audit_number: architecture.audit_number(),
            ranges: ranges(decisions, architecture, default),
        });
    }
    let program = bpf::assemble(&sections, RET_KILL_PROCESS);
    if program.len() > MAX_INSTRUCTIONS {
        return Err(SeccompError::TooLong { length: program.len() });
    }
    Ok(program)
}

/// Collects what a profile says about each number of an architecture; the first rule that matches counts.
fn decisions(
    profile: &LinuxSeccomp,
    architecture: Architecture,
    default: Verdict,
) -> Result<Vec<(u32, Decision)>, SeccompError> {
    let mut decisions: std::collections::BTreeMap<u32, (Decision, bool)> = std::collections::BTreeMap::new();
    for syscall in profile.syscalls().iter().flatten() {
        let verdict = verdict(syscall.action(), syscall.errno_ret())?;
        let conditions = syscall
            .args()
            .iter()
            .flatten()
            .map(condition)
            .collect::<Result<Vec<Condition>, SeccompError>>()?;
        for name in syscall.names() {
            let Some(number) = table::number(name, architecture) else { continue };
            let (decision, complete) =
                decisions.entry(number).or_insert_with(|| (Decision::plain(default), false));
            if *complete {
                continue;
            }
            if conditions.is_empty() {
                decision.otherwise = verdict;
                *complete = true;
            } else {
                decision.rules.push((conditions.clone(), verdict));
            }
        }
    }
    Ok(decisions.into_iter().map(|(number, (decision, _))| (number, decision)).collect())
}

/// Turns single numbers into ranges that cover all numbers.
fn ranges(
    decisions: Vec<(u32, Decision)>,
    architecture: Architecture,
    default: Verdict,
) -> Vec<(u32, Decision)> {
    let newest = table::newest(architecture);
    // A profile that allows by default means to allow what is not known yet, too.
    let unknown = if matches!(default, RET_ALLOW | RET_LOG) { default } else { RET_ERRNO | ENOSYS };
    let fallback = |number: u32| Decision::plain(if number > newest { unknown } else { default });
    let mut ranges: Vec<(u32, Decision)> = Vec::new();
    let mut push = |from: u32, decision: Decision| match ranges.last() {
        Some((_, last)) if *last == decision => {}
        _ => ranges.push((from, decision)),
    };
    let mut next = 0;
    for (number, decision) in decisions {
        if number > next {
            push(next, fallback(next));
            if next <= newest && number > newest + 1 {
                push(newest + 1, fallback(newest + 1));
            }
        }
        push(number, decision);
        next = number + 1;
    }
    if next <= newest {
        push(next, fallback(next));
    }
    push(next.max(newest + 1), fallback(newest + 1));
    if architecture == Architecture::X86_64 {
        push(X32_BIT, Decision::plain(RET_ERRNO | ENOSYS));
    }
    ranges
}

fn condition(argument: &LinuxSeccompArg) -> Result<Condition, SeccompError> {
    let index = argument.index();
    if index > 5 {
        return Err(SeccompError::Argument { index });
    }
    let value = argument.value();
    let comparison = match argument.op() {
        LinuxSeccompOperator::ScmpCmpNe => Comparison::NotEqual(value),
        LinuxSeccompOperator::ScmpCmpLt => Comparison::Less(value),
        LinuxSeccompOperator::ScmpCmpLe => Comparison::LessOrEqual(value),
        LinuxSeccompOperator::ScmpCmpEq => Comparison::Equal(value),
        LinuxSeccompOperator::ScmpCmpGe => Comparison::GreaterOrEqual(value),
        LinuxSeccompOperator::ScmpCmpGt => Comparison::Greater(value),
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            Comparison::MaskedEqual { mask: value, value: argument.value_two().unwrap_or(0) }
        }
    };
    Ok(Condition { argument: index as u8, comparison })
}

fn verdict(action: LinuxSeccompAction, errno: Option<u32>) -> Result<Verdict, SeccompError> {
    const MAX_ERRNO: u32 = 4095;
    Ok(match action {
        LinuxSeccompAction::ScmpActAllow => RET_ALLOW,
        LinuxSeccompAction::ScmpActErrno => RET_ERRNO | errno.unwrap_or(EPERM).min(MAX_ERRNO),
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => 0,
        LinuxSeccompAction::ScmpActKillProcess => RET_KILL_PROCESS,
        LinuxSeccompAction::ScmpActTrap => 0x0003_0000,
        LinuxSeccompAction::ScmpActTrace => 0x7ff0_0000 | errno.unwrap_or(EPERM) & 0xffff,
        LinuxSeccompAction::ScmpActLog => RET_LOG,
        LinuxSeccompAction::ScmpActNotify => {
            return Err(SeccompError::Unsupported { what: "the action SCMP_ACT_NOTIFY".to_owned() });
        }
    })
}

fn flags(profile: &LinuxSeccomp) -> Result<u64, SeccompError> {
    let mut flags = 0;
    for flag in profile.flags().iter().flatten() {
        flags |= match flag {
            // The filter is loaded by a process with a single thread.
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 0,
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            other => return Err(SeccompError::Unsupported { what: format!("the seccomp flag {other}") }),
        };
    }
    Ok(flags)
}

/// Writes a program as bytes, eight an instruction.
pub(crate) fn encode(program: &[BpfInstruction]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(program.len() * 8);
    for &BpfInstruction { code, jump_true, jump_false, operand } in program {
        bytes.extend(code.to_le_bytes());
        bytes.extend([jump_true, jump_false]);
        bytes.extend(operand.to_le_bytes());
    }
    bytes
}

/// Reads a program back.
pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<BpfInstruction>> {
    let (chunks, rest) = bytes.as_chunks::<8>();
    let read = |chunk: &[u8; 8]| BpfInstruction {
        code: u16::from_le_bytes([chunk[0], chunk[1]]),
        jump_true: chunk[2],
        jump_false: chunk[3],
        operand: u32::from_le_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]),
    };
    rest.is_empty().then(|| chunks.iter().map(read).collect())
}
