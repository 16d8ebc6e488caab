//! The program itself: what it is, whose, and what it may.

use oci_spec::runtime::Spec;

use super::{Compiler, OrderError, text};
use crate::capabilities::CapabilityMask;
use crate::order::Stdio;
use crate::profile::FirstProcess;
use crate::script::{CapabilityMasks, ScriptProgram};
use crate::{limits, seccomp};

/// The longest argument or variable that the kernel takes.
const MAX_STRING: usize = 128 << 10;

impl Compiler {
    pub(super) fn program(&mut self, spec: &Spec, stdio: Stdio) -> Result<ScriptProgram, OrderError> {
        let Some(process) = spec.process() else {
            return Err(OrderError::Invalid { field: "process", why: "missing".to_owned() });
        };
        let args = process.args().clone().unwrap_or_default();
        if args.is_empty() {
            return Err(OrderError::Invalid { field: "process.args", why: "names no program".to_owned() });
        }
        let env = process.env().clone().unwrap_or_default();
        for text in args.iter().chain(&env) {
            if text.len() >= MAX_STRING || text.contains('\0') {
                let why = "an argument or variable is longer than 128 KiB or has a zero byte".to_owned();
                return Err(OrderError::Invalid { field: "process", why });
            }
        }
        if let Some(entry) = env.iter().find(|entry| entry.find('=').is_none_or(|place| place == 0)) {
            let why = format!("`{entry}` is not of the form name=value");
            return Err(OrderError::Invalid { field: "process.env", why });
        }
        let user = process.user();
        if user.uid() == u32::MAX || user.gid() == u32::MAX {
            return Err(OrderError::Invalid { field: "process.user", why: "4294967295 is no id".to_owned() });
        }
        let terminal = process.terminal().unwrap_or(false).then(|| {
            process.console_size().map_or((0, 0), |size| (clamp(size.width()), clamp(size.height())))
        });
        let Stdio { stdin, stdout, stderr } = stdio;
        let mut streams = [None; 3];
        for (place, stream) in [stdin, stdout, stderr].into_iter().enumerate() {
            if let Some(stream) = stream.filter(|_| terminal.is_none()) {
                streams[place] = Some(self.fd(stream)?);
            }
        }
        let capabilities = capabilities(process)?;
        let seccomp = match spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) {
            Some(profile) => {
                let (program, flags) = seccomp::from_oci(profile)?;
                Some((self.bytes(&seccomp::encode(&program)), flags))
            }
            None => None,
        };
        let mut rlimits = Vec::new();
        for limit in process.rlimits().iter().flatten() {
            let name = limit.typ().to_string();
            let Some(number) = limits::number(&name) else {
                return Err(OrderError::Unsupported { field: "process.rlimits", value: name });
            };
            if limit.soft() > limit.hard() {
                let why = format!("the soft limit of {name} is above the hard one");
                return Err(OrderError::Invalid { field: "process.rlimits", why });
            }
            rlimits.push((number, limit.soft(), limit.hard()));
        }
        let cwd = text(process.cwd())?;
        if !cwd.starts_with('/') {
            return Err(OrderError::Invalid {
                field: "process.cwd",
                why: format!("`{cwd}` is not absolute"),
            });
        }
        Ok(ScriptProgram {
            args,
            env,
            cwd,
            uid: user.uid(),
            gid: user.gid(),
            groups: user.additional_gids().clone().unwrap_or_default(),
            umask: user.umask().unwrap_or(0o022),
            capabilities,
            rlimits,
            no_new_privileges: process.no_new_privileges().unwrap_or(false),
            oom_score_adj: process.oom_score_adj(),
            personality: personality(spec)?,
            seccomp,
            stdio: streams,
            terminal,
            first: FirstProcess::of_spec(spec),
        })
    }
}

fn clamp(value: u64) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

fn personality(spec: &Spec) -> Result<Option<u64>, OrderError> {
    use oci_spec::runtime::LinuxPersonalityDomain;
    const PER_LINUX32: u64 = 8;
    let Some(personality) = spec.linux().as_ref().and_then(|linux| linux.personality().as_ref()) else {
        return Ok(None);
    };
    Ok(Some(match personality.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => PER_LINUX32,
    }))
}

fn capabilities(process: &oci_spec::runtime::Process) -> Result<CapabilityMasks, OrderError> {
    let Some(sets) = process.capabilities() else { return Ok(CapabilityMasks::default()) };
    let mask = |set: &Option<oci_spec::runtime::Capabilities>| {
        set.as_ref().map_or(0, |set| CapabilityMask::from_oci(set).0)
    };
    let masks = CapabilityMasks {
        bounding: mask(sets.bounding()),
        effective: mask(sets.effective()),
        permitted: mask(sets.permitted()),
        inheritable: mask(sets.inheritable()),
        ambient: mask(sets.ambient()),
    };
    let within = |inner: u64, outer: u64| inner & !outer == 0;
    let consistent = within(masks.effective, masks.permitted)
        && within(masks.permitted, masks.bounding)
        && within(masks.ambient, masks.inheritable & masks.permitted);
    if consistent {
        Ok(masks)
    } else {
        let why =
            "effective must be within permitted within bounding, ambient within inheritable and permitted";
        Err(OrderError::Invalid { field: "process.capabilities", why: why.to_owned() })
    }
}
