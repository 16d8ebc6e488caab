//! From verdicts to a classic BPF program.
//!
//! The program checks the architecture, then finds the number of the call in a balanced tree over ranges of equal
//! verdict, then, where arguments matter, compares them. A branch that is too far for an 8-bit jump takes an
//! unconditional one, which has 32 bits.

use crate::sys::BpfInstruction;

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCHITECTURE: u32 = 4;
const OFFSET_ARGUMENTS: u32 = 16;

/// What the kernel does with a call: a `SECCOMP_RET_*` value.
pub(super) type Verdict = u32;

/// The most instructions that a program can have.
pub(super) const MAX_INSTRUCTIONS: usize = 4096;

/// How an argument is compared, as a 64-bit unsigned number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    NotEqual(u64),
    Less(u64),
    LessOrEqual(u64),
    Equal(u64),
    GreaterOrEqual(u64),
    Greater(u64),
    /// The bits of the mask are those of the value.
    MaskedEqual {
        mask: u64,
        value: u64,
    },
}

/// A comparison of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) argument: u8,
    pub(super) comparison: Comparison,
}

/// What happens to a call: the verdict of the first rule of which all conditions hold, else `otherwise`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) rules: Vec<(Vec<Condition>, Verdict)>,
    pub(super) otherwise: Verdict,
}

impl Decision {
    /// A decision that looks at no argument.
    pub(super) fn plain(verdict: Verdict) -> Self {
        Self { rules: Vec::new(), otherwise: verdict }
    }
}

/// The decisions of one architecture.
pub(super) struct Section {
    pub(super) audit_number: u32,
    /// From which number on which decision holds, in rising order, the first being 0.
    pub(super) ranges: Vec<(u32, Decision)>,
}

/// Assembles a program; a call of an architecture without a section gets `stranger`.
pub(super) fn assemble(sections: &[Section], stranger: Verdict) -> Vec<BpfInstruction> {
    let mut program = vec![load(OFFSET_ARCHITECTURE)];
    for section in sections {
        let mut body = vec![load(OFFSET_NUMBER)];
        body.extend(tree(&section.ranges));
        program.push(jump(JUMP_EQUAL, section.audit_number, 1, 0));
        program.push(go(body.len()));
        program.extend(body);
    }
    program.push(give(stranger));
    program
}

fn load(offset: u32) -> BpfInstruction {
    BpfInstruction { code: LOAD, jump_true: 0, jump_false: 0, operand: offset }
}

fn give(verdict: Verdict) -> BpfInstruction {
    BpfInstruction { code: RETURN, jump_true: 0, jump_false: 0, operand: verdict }
}

fn go(distance: usize) -> BpfInstruction {
    BpfInstruction { code: JUMP, jump_true: 0, jump_false: 0, operand: distance as u32 }
}

fn jump(code: u16, operand: u32, jump_true: u8, jump_false: u8) -> BpfInstruction {
    BpfInstruction { code, jump_true, jump_false, operand }
}

/// Finds the range that the loaded number is in.
fn tree(ranges: &[(u32, Decision)]) -> Vec<BpfInstruction> {
    match ranges {
        [] => Vec::new(),
        [(_, decision)] => leaf(decision),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let low_code = tree(low);
            let mut code = match u8::try_from(low_code.len()) {
                Ok(distance) => vec![jump(JUMP_GREATER_EQUAL, high[0].0, distance, 0)],
                Err(_) => vec![jump(JUMP_GREATER_EQUAL, high[0].0, 0, 1), go(low_code.len())],
            };
            code.extend(low_code);
            code.extend(tree(high));
            code
        }
    }
}

fn leaf(decision: &Decision) -> Vec<BpfInstruction> {
    let mut code = Vec::new();
    for (conditions, verdict) in &decision.rules {
        let mut rule = vec![give(*verdict)];
        // From the last condition to the first: each one knows how far it is to the end of the rule.
        for condition in conditions.iter().rev() {
            let mut compared = compare(condition, rule.len());
            compared.append(&mut rule);
            rule = compared;
        }
        code.extend(rule);
    }
    code.push(give(decision.otherwise));
    code
}

/// Where a comparison goes on.
#[derive(Clone, Copy)]
enum Next {
    Holds,
    Fails,
}

/// Compares one argument; what follows is `rest` instructions long, to be skipped if it fails.
///
/// The two halves are loaded one after the other, the high one first.
fn compare(condition: &Condition, rest: usize) -> Vec<BpfInstruction> {
    use Next::{Fails, Holds};
    let low = OFFSET_ARGUMENTS + 8 * u32::from(condition.argument);
    let high = low + 4;
    let half = |value: u64| ((value >> 32) as u32, value as u32);
    let is = |code, operand| (code, operand);
    // For each comparison: how the high half decides at once, and how the low half decides if it does not.
    let (value, at_once, low_test, low_holds) = match condition.comparison {
        Comparison::Equal(value) => (value, Fails, is(JUMP_EQUAL, half(value).1), Holds),
        Comparison::NotEqual(value) => (value, Holds, is(JUMP_EQUAL, half(value).1), Fails),
        Comparison::Greater(value) => (value, Holds, is(JUMP_GREATER, half(value).1), Holds),
        Comparison::GreaterOrEqual(value) => (value, Holds, is(JUMP_GREATER_EQUAL, half(value).1), Holds),
        Comparison::LessOrEqual(value) => (value, Fails, is(JUMP_GREATER, half(value).1), Fails),
        Comparison::Less(value) => (value, Fails, is(JUMP_GREATER_EQUAL, half(value).1), Fails),
        Comparison::MaskedEqual { mask, value } => return masked(high, low, mask, value, rest),
    };
    let ordered = !matches!(condition.comparison, Comparison::Equal(_) | Comparison::NotEqual(_));
    let rest = rest as u8;
    let mut code = Vec::new();
    code.push(load(high));
    // The instructions after the tests of the high half: load and test of the low one.
    if ordered {
        // Greater in the high half: decided by `at_once`; less: the other way.
        let (greater, less) = match at_once {
            Holds => (3, 2 + rest),
            Fails => (3 + rest, 2),
        };
        code.push(jump(JUMP_GREATER, half(value).0, greater, 0));
        code.push(jump(JUMP_EQUAL, half(value).0, 0, less));
    } else {
        let different = match at_once {
            Holds => 2,
            Fails => 2 + rest,
        };
        code.push(jump(JUMP_EQUAL, half(value).0, 0, different));
    }
    code.push(load(low));
    let (on_true, on_false) = match low_holds {
        Holds => (0, rest),
        Fails => (rest, 0),
    };
    code.push(jump(low_test.0, low_test.1, on_true, on_false));
    code
}

fn masked(high: u32, low: u32, mask: u64, value: u64, rest: usize) -> Vec<BpfInstruction> {
    let rest = rest as u8;
    let and = |mask: u32| BpfInstruction { code: AND, jump_true: 0, jump_false: 0, operand: mask };
    vec![
        load(high),
        and((mask >> 32) as u32),
        jump(JUMP_EQUAL, (value >> 32) as u32, 0, 3 + rest),
        load(low),
        and(mask as u32),
        jump(JUMP_EQUAL, value as u32, 0, rest),
    ]
}
