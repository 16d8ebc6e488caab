//! The filter against an interpreter, an evaluation of the rules one by one, and the kernel's own words.

use std::collections::HashSet;

use proptest::prelude::*;

use super::bpf::{Section, assemble};
use super::*;

/// What a filter sees of a call.
#[derive(Clone, Copy, Debug)]
struct Call {
    number: u32,
    architecture: u32,
    arguments: [u64; 6],
}

/// Runs a program as the kernel does.
fn run(program: &[BpfInstruction], call: &Call) -> Verdict {
    let mut data = [0_u8; 64];
    data[0..4].copy_from_slice(&call.number.to_le_bytes());
    data[4..8].copy_from_slice(&call.architecture.to_le_bytes());
    for (place, argument) in call.arguments.iter().enumerate() {
        data[16 + 8 * place..24 + 8 * place].copy_from_slice(&argument.to_le_bytes());
    }
    let mut accumulator = 0_u32;
    let mut next = 0;
    loop {
        let instruction = program[next];
        next += 1;
        let operand = instruction.operand;
        let mut branch = |holds: bool| {
            next += usize::from(if holds { instruction.jump_true } else { instruction.jump_false });
        };
        match instruction.code {
            0x20 => {
                let offset = operand as usize;
                accumulator = u32::from_le_bytes(data[offset..offset + 4].try_into().unwrap());
            }
            0x54 => accumulator &= operand,
            0x05 => next += operand as usize,
            0x15 => branch(accumulator == operand),
            0x25 => branch(accumulator > operand),
            0x35 => branch(accumulator >= operand),
            0x06 => return operand,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

const EPERM_VERDICT: Verdict = RET_ERRNO | EPERM;
const ENOSYS_VERDICT: Verdict = RET_ERRNO | ENOSYS;

fn call(architecture: Architecture, name: &str, first: u64) -> Call {
    let number = table::number(name, architecture).unwrap_or_else(|| panic!("no {name} on {architecture:?}"));
    Call { number, architecture: architecture.audit_number(), arguments: [first, 0, 0, 0, 0, 0] }
}

fn default_program(capabilities: CapabilityMask) -> Vec<BpfInstruction> {
    compile(&default_profile(capabilities)).unwrap()
}

#[test]
fn the_default_profile_decides_as_documented() {
    use Architecture::{I386, X86_64};
    let plain = default_program(CapabilityMask::DEFAULT);
    let admin = default_program(CapabilityMask(CapabilityMask::DEFAULT.0 | 1 << 21));
    for (architecture, name, first, expected, expected_admin) in [
        (X86_64, "read", 0, RET_ALLOW, RET_ALLOW),
        (X86_64, "chroot", 0, RET_ALLOW, RET_ALLOW),
        (X86_64, "mount", 0, EPERM_VERDICT, RET_ALLOW),
        (X86_64, "unshare", 0, EPERM_VERDICT, RET_ALLOW),
        (X86_64, "clone", 0x1200_0011, EPERM_VERDICT, RET_ALLOW),
        (X86_64, "clone", 0x0120_0011, RET_ALLOW, RET_ALLOW),
        (X86_64, "clone3", 0, ENOSYS_VERDICT, RET_ALLOW),
        (X86_64, "keyctl", 0, EPERM_VERDICT, EPERM_VERDICT),
        (X86_64, "io_uring_setup", 0, EPERM_VERDICT, EPERM_VERDICT),
        (X86_64, "reboot", 0, EPERM_VERDICT, EPERM_VERDICT),
        (X86_64, "ptrace", 0, RET_ALLOW, RET_ALLOW),
        (X86_64, "personality", 0x2_0008, RET_ALLOW, RET_ALLOW),
        (X86_64, "personality", 0x004_0000, EPERM_VERDICT, EPERM_VERDICT),
        (X86_64, "open_tree_attr", 0, ENOSYS_VERDICT, ENOSYS_VERDICT),
        (X86_64, "arch_prctl", 0, RET_ALLOW, RET_ALLOW),
        (I386, "arch_prctl", 0, RET_ALLOW, RET_ALLOW),
        (I386, "socketcall", 1, RET_ALLOW, RET_ALLOW),
        (I386, "mount", 0, EPERM_VERDICT, RET_ALLOW),
        (I386, "vm86", 0, EPERM_VERDICT, EPERM_VERDICT),
    ] {
        let call = call(architecture, name, first);
        assert_eq!(run(&plain, &call), expected, "{architecture:?} {name} {first:#x}");
        assert_eq!(run(&admin, &call), expected_admin, "{architecture:?} {name} {first:#x} with SYS_ADMIN");
    }
}

#[test]
fn forbidden_socket_families_stay_so_with_garbage_above() {
    let program = default_program(CapabilityMask::DEFAULT);
    for architecture in [Architecture::X86_64, Architecture::I386] {
        for family in 0..64_u64 {
            let expected = if matches!(family, 38 | 40) { EPERM_VERDICT } else { RET_ALLOW };
            // The kernel drops the high half of the argument: what is in it must not open a way around.
            for garbage in [0, 1 << 32, 0xffff_ffff << 32] {
                let verdict = run(&program, &call(architecture, "socket", family | garbage));
                assert_eq!(verdict, expected, "family {family} with {garbage:#x}");
            }
        }
    }
}

#[test]
fn numbers_that_nobody_knows_are_unknown() {
    let program = default_program(CapabilityMask::DEFAULT);
    for architecture in [Architecture::X86_64, Architecture::I386] {
        let newest = table::newest(architecture);
        let audit = architecture.audit_number();
        for number in [newest + 1, newest + 1000, 0x3fff_ffff, 0x4000_0000, 0x4000_0005, u32::MAX] {
            let call = Call { number, architecture: audit, arguments: [0; 6] };
            assert_eq!(run(&program, &call), ENOSYS_VERDICT, "{architecture:?} {number:#x}");
        }
    }
    let stranger = Call { number: 0, architecture: 0x8000_0016, arguments: [0; 6] };
    assert_eq!(run(&program, &stranger), RET_KILL_PROCESS);
}

#[test]
fn every_call_of_every_architecture_is_decided_like_the_rules_say() {
    let capabilities = CapabilityMask(CapabilityMask::DEFAULT.0 | 1 << 39);
    let profile = default_profile(capabilities);
    let program = compile(&profile).unwrap();
    for architecture in [Architecture::X86_64, Architecture::I386] {
        let decided = decisions(&profile, architecture, EPERM_VERDICT).unwrap();
        for name in table::names() {
            let Some(number) = table::number(name, architecture) else { continue };
            if ["clone", "personality", "socket"].contains(&name) {
                continue;
            }
            let expected = decided
                .iter()
                .find(|(known, _)| *known == number)
                .map_or(EPERM_VERDICT, |(_, decision)| decision.otherwise);
            let call = Call { number, architecture: architecture.audit_number(), arguments: [0; 6] };
            assert_eq!(run(&program, &call), expected, "{architecture:?} {name}");
        }
    }
}

#[test]
fn every_known_call_is_in_the_profile_and_the_other_way_round() {
    let arguments_matter = ["clone", "clone3", "personality", "socket"];
    let listed: HashSet<String> = profile_sections().into_iter().flat_map(|(_, names)| names).collect();
    let known: HashSet<String> = table::names().map(str::to_owned).collect();
    let forgotten: Vec<_> = known
        .iter()
        .filter(|name| !listed.contains(*name) && !arguments_matter.contains(&name.as_str()))
        .collect();
    assert!(forgotten.is_empty(), "in syscalls.txt but not in default_profile.txt: {forgotten:?}");
    let unknown: Vec<_> = listed.iter().filter(|name| !known.contains(*name)).collect();
    // Names of architectures without a table, and of calls that only other libcs have.
    let elsewhere = ["getsid", "fstatat64", "epoll_ctl_old", "epoll_wait_old"];
    assert!(unknown.iter().all(|name| elsewhere.contains(&name.as_str())), "without a number: {unknown:?}");
}

#[test]
fn programs_survive_the_way_as_bytes() {
    let program = default_program(CapabilityMask::ALL);
    assert_eq!(decode(&encode(&program)).unwrap(), program);
    assert!(decode(&[0; 9]).is_none());
}

#[test]
fn what_is_not_offered_is_refused() {
    let notify =
        LinuxSeccompBuilder::default().default_action(LinuxSeccompAction::ScmpActNotify).build().unwrap();
    assert!(matches!(compile(&notify), Err(SeccompError::Unsupported { .. })));
    let rules = vec![rule(
        vec!["read".to_owned()],
        LinuxSeccompAction::ScmpActAllow,
        None,
        Some(argument(6, LinuxSeccompOperator::ScmpCmpEq, 0, None)),
    )];
    let sixth = LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .syscalls(rules)
        .build()
        .unwrap();
    assert!(matches!(compile(&sixth), Err(SeccompError::Argument { index: 6 })));
}

fn holds(condition: &Condition, arguments: &[u64; 6]) -> bool {
    let argument = arguments[usize::from(condition.argument)];
    match condition.comparison {
        Comparison::NotEqual(value) => argument != value,
        Comparison::Less(value) => argument < value,
        Comparison::LessOrEqual(value) => argument <= value,
        Comparison::Equal(value) => argument == value,
        Comparison::GreaterOrEqual(value) => argument >= value,
        Comparison::Greater(value) => argument > value,
        Comparison::MaskedEqual { mask, value } => argument & mask == value,
    }
}

/// Numbers near the borders of the halves.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..4_u64,
        (0..4_u64).prop_map(|n| n << 32),
        (0..4_u64).prop_map(|n| n << 32 | 0xffff_ffff),
        any::<u64>()
    ]
}

fn comparison() -> impl Strategy<Value = Comparison> {
    prop_oneof![
        number().prop_map(Comparison::NotEqual),
        number().prop_map(Comparison::Less),
        number().prop_map(Comparison::LessOrEqual),
        number().prop_map(Comparison::Equal),
        number().prop_map(Comparison::GreaterOrEqual),
        number().prop_map(Comparison::Greater),
        (number(), number()).prop_map(|(mask, value)| Comparison::MaskedEqual { mask, value: value & mask }),
    ]
}

fn decision() -> impl Strategy<Value = Decision> {
    let condition =
        (0..6_u8, comparison()).prop_map(|(argument, comparison)| Condition { argument, comparison });
    let rule = (prop::collection::vec(condition, 1..3), 1..1000_u32);
    (prop::collection::vec(rule, 0..4), 1..1000_u32)
        .prop_map(|(rules, otherwise)| Decision { rules, otherwise })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn programs_decide_like_their_rules(
        decisions in prop::collection::btree_map(1..2000_u32, decision(), 0..200),
        first in decision(),
        calls in prop::collection::vec((0..2100_u32, prop::array::uniform6(number())), 1..40),
    ) {
        let mut ranges = vec![(0, first)];
        ranges.extend(decisions);
        let section = Section { audit_number: 7, ranges: ranges.clone() };
        let program = assemble(&[Section { audit_number: 6, ranges: ranges.clone() }, section], 1234);
        for (number, arguments) in calls {
            let decision = &ranges.iter().rev().find(|(from, _)| *from <= number).unwrap().1;
            let expected = decision
                .rules
                .iter()
                .find(|(conditions, _)| conditions.iter().all(|condition| holds(condition, &arguments)))
                .map_or(decision.otherwise, |(_, verdict)| *verdict);
            let call = Call { number, architecture: 7, arguments };
            prop_assert_eq!(run(&program, &call), expected);
            prop_assert_eq!(run(&program, &Call { architecture: 8, ..call }), 1234);
        }
    }
}
