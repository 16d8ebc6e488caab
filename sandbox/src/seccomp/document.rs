//! Profiles as people write them: Docker's form of JSON, of which that of OCI documents is a part.
//!
//! What Docker's form has besides are architectures with their siblings (`archMap`) and rules that hold for some
//! architectures, capabilities and kernels only (`includes`, `excludes`): they are decided on here, for one process on
//! this machine. Keys that are not known say nothing, as for Docker.

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompBuilder, LinuxSeccompFilterFlag,
    LinuxSyscall, LinuxSyscallBuilder,
};
use serde::Deserialize;

use super::table::Architecture;
use super::{SeccompError, compile, flags};
use crate::capabilities::CapabilityMask;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    architectures: Option<Vec<Arch>>,
    arch_map: Option<Vec<Siblings>>,
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    listener_path: Option<String>,
    syscalls: Option<Vec<Rule>>,
}

/// An architecture, and those whose programs it runs too.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Siblings {
    architecture: Arch,
    sub_architectures: Option<Vec<Arch>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    name: Option<String>,
    names: Option<Vec<String>>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    args: Option<Vec<LinuxSeccompArg>>,
    includes: Option<Filter>,
    excludes: Option<Filter>,
}

/// Where a rule holds, or does not.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// What rules are decided by.
struct Machine {
    architecture: Option<Architecture>,
    capabilities: CapabilityMask,
    kernel: (u32, u32),
}

/// Reads a profile for a process with given capabilities.
pub fn read(text: &str, capabilities: CapabilityMask) -> Result<LinuxSeccomp, SeccompError> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let kernel = version(&release).unwrap_or_default();
    read_for(text, &Machine { architecture: Architecture::native(), capabilities, kernel })
}

/// Checks a profile before anything is made that it is for: as a process without capabilities has it, and one with all.
pub fn check(text: &str) -> Result<(), SeccompError> {
    for capabilities in [CapabilityMask(0), CapabilityMask(u64::MAX)] {
        let profile = read(text, capabilities)?;
        compile(&profile)?;
        flags(&profile)?;
    }
    Ok(())
}

fn read_for(text: &str, machine: &Machine) -> Result<LinuxSeccomp, SeccompError> {
    let document: Document = serde_json::from_str(text).map_err(SeccompError::Document)?;
    let Document {
        default_action,
        default_errno_ret,
        architectures,
        arch_map,
        flags,
        listener_path,
        syscalls,
    } = document;
    let listed = |list: &Option<Vec<Arch>>| list.as_ref().is_some_and(|list| !list.is_empty());
    if listed(&architectures) && arch_map.as_ref().is_some_and(|map| !map.is_empty()) {
        return Err(SeccompError::Both { one: "architectures", other: "archMap" });
    }
    let siblings = arch_map
        .into_iter()
        .flatten()
        .find(|entry| machine.architecture.is_some_and(|native| oci_name(native) == entry.architecture));
    let mapped = siblings.map(|entry| {
        [entry.architecture].into_iter().chain(entry.sub_architectures.into_iter().flatten()).collect()
    });
    let rules = syscalls.unwrap_or_default();
    let rules = rules.into_iter().filter_map(|rule| rule.resolve(machine).transpose());
    let mut builder = LinuxSeccompBuilder::default()
        .default_action(default_action)
        .architectures(architectures.or(mapped).unwrap_or_default())
        .flags(flags.unwrap_or_default())
        .syscalls(rules.collect::<Result<Vec<_>, _>>()?);
    if let Some(errno) = default_errno_ret {
        builder = builder.default_errno_ret(errno);
    }
    if let Some(path) = listener_path.filter(|path| !path.is_empty()) {
        builder = builder.listener_path(path);
    }
    Ok(builder.build().expect("all fields that have no default are set"))
}

impl Rule {
    /// The rule as it stands on a machine; none where it does not hold.
    fn resolve(self, machine: &Machine) -> Result<Option<LinuxSyscall>, SeccompError> {
        let names = match (self.name.filter(|name| !name.is_empty()), self.names.unwrap_or_default()) {
            (Some(_), names) if !names.is_empty() => {
                return Err(SeccompError::Both { one: "name", other: "names" });
            }
            (Some(name), _) => vec![name],
            (None, names) => names,
        };
        if !self.includes.unwrap_or_default().includes(machine)?
            || self.excludes.unwrap_or_default().excludes(machine)?
        {
            return Ok(None);
        }
        let mut builder = LinuxSyscallBuilder::default().names(names).action(self.action);
        if let Some(errno) = self.errno_ret {
            builder = builder.errno_ret(errno);
        }
        if let Some(args) = self.args.filter(|args| !args.is_empty()) {
            builder = builder.args(args);
        }
        Ok(Some(builder.build().expect("all fields that have no default are set")))
    }
}

impl Filter {
    /// All that it names has to be so.
    fn includes(&self, machine: &Machine) -> Result<bool, SeccompError> {
        let arches = self.arches.as_deref().unwrap_or_default();
        let is_new_enough = self.is_new_enough(machine)?.unwrap_or(true);
        Ok(is_new_enough
            && (arches.is_empty() || arches.iter().any(|arch| machine.is(arch)))
            && self.caps.iter().flatten().all(|name| machine.may(name)))
    }

    /// Any of what it names is enough.
    fn excludes(&self, machine: &Machine) -> Result<bool, SeccompError> {
        let is_new_enough = self.is_new_enough(machine)?.unwrap_or(false);
        Ok(is_new_enough
            || self.arches.iter().flatten().any(|arch| machine.is(arch))
            || self.caps.iter().flatten().any(|name| machine.may(name)))
    }

    /// Whether the kernel is one that it names, if it names any. Asked first: a mistake there is one on every machine.
    fn is_new_enough(&self, machine: &Machine) -> Result<Option<bool>, SeccompError> {
        let Some(text) = self.min_kernel.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
        let least = version(text).ok_or_else(|| SeccompError::Kernel { text: text.to_owned() })?;
        Ok(Some(machine.kernel >= least))
    }
}

impl Machine {
    /// Whether it is of an architecture, in Go's words.
    fn is(&self, name: &str) -> bool {
        let own = match self.architecture {
            Some(Architecture::X86_64) => "amd64",
            Some(Architecture::I386) => "x86",
            Some(Architecture::Aarch64) => "arm64",
            Some(Architecture::Arm) => "arm",
            None => return false,
        };
        own == name
    }

    fn may(&self, name: &str) -> bool {
        self.capabilities.contains(name)
    }
}

fn oci_name(architecture: Architecture) -> Arch {
    match architecture {
        Architecture::X86_64 => Arch::ScmpArchX86_64,
        Architecture::I386 => Arch::ScmpArchX86,
        Architecture::Aarch64 => Arch::ScmpArchAarch64,
        Architecture::Arm => Arch::ScmpArchArm,
    }
}

/// The first two numbers of a version: `4.8`, `6.1.0-13-amd64`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(capabilities: u64) -> Machine {
        let architecture = Some(Architecture::X86_64);
        Machine { architecture, capabilities: CapabilityMask(capabilities), kernel: (5, 10) }
    }

    fn names(profile: &LinuxSeccomp) -> Vec<String> {
        profile.syscalls().iter().flatten().flat_map(|rule| rule.names().clone()).collect()
    }

    #[test]
    fn rules_hold_where_they_say() {
        let rule = |name: &str, more: &str| {
            format!(r#"{{"names": ["{name}"], "action": "SCMP_ACT_ALLOW", {more}}}"#)
        };
        let rules = [
            rule("always", r#""comment": "x""#),
            rule("here", r#""includes": {"arches": ["amd64", "x32"]}"#),
            rule("elsewhere", r#""includes": {"arches": ["s390x"]}"#),
            rule("admin", r#""includes": {"caps": ["CAP_SYS_ADMIN"]}"#),
            rule("ordinary", r#""excludes": {"caps": ["CAP_SYS_ADMIN"]}"#),
            rule("new", r#""includes": {"minKernel": "4.8"}"#),
            rule("newest", r#""includes": {"minKernel": "5.11"}"#),
            rule("old", r#""excludes": {"minKernel": "4.8"}"#),
        ];
        let text = format!(
            r#"{{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "syscalls": [{}], "archMap": [
                {{"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]}},
                {{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}}]}}"#,
            rules.join(",")
        );
        let profile = read_for(&text, &machine(0)).unwrap();
        assert_eq!(names(&profile), ["always", "here", "ordinary", "new"]);
        assert_eq!(profile.architectures(), &Some(vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86]));
        assert_eq!(profile.default_errno_ret(), Some(38));
        let admin = read_for(&text, &machine(u64::MAX)).unwrap();
        assert_eq!(names(&admin), ["always", "here", "admin", "new"]);
    }

    #[test]
    fn mistakes_are_named() {
        let said = |text: &str| {
            let error = check(text).unwrap_err();
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            format!("{error}{}", cause.unwrap_or_default())
        };
        assert!(said("{").starts_with("it is not in the form of a seccomp profile: EOF"));
        assert!(said(r#"{"syscalls": []}"#).contains("missing field `defaultAction`"));
        assert!(said(r#"{"defaultAction": "SCMP_ACT_FOO"}"#).contains("SCMP_ACT_FOO"));
        let both = r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"],
            "archMap": [{"architecture": "SCMP_ARCH_X86_64"}]}"#;
        assert_eq!(said(both), "only one of `architectures` and `archMap` can be given");
        let names = r#"{"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"name": "a", "names": ["b"], "action": "SCMP_ACT_ALLOW"}]}"#;
        assert_eq!(said(names), "only one of `name` and `names` can be given");
        for filter in [
            r#""includes": {"minKernel": "new"}"#,
            r#""includes": {"minKernel": "new", "arches": ["s390x"]}"#,
            r#""excludes": {"minKernel": "new", "caps": ["CAP_CHOWN"]}"#,
        ] {
            let kernel = format!(
                r#"{{"defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{{"name": "a", "action": "SCMP_ACT_ALLOW", {filter}}}]}}"#
            );
            assert_eq!(
                said(&kernel),
                "`new` is not the version of a kernel: expected the form 4.8",
                "{filter}"
            );
        }
        let notify = r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#;
        assert_eq!(said(notify), "the action SCMP_ACT_NOTIFY is not supported");
    }
}
