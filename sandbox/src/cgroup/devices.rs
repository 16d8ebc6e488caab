//! Which devices the processes of a group may open or make.
//!
//! Everything that is not listed is denied. On version 2 a BPF program decides, on version 1 the `devices` controller.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::sys::{self, EbpfInstruction};

/// The devices that a group may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Devices {
    /// All: for privileged containers.
    All,
    /// The usual harmless ones and these.
    DefaultAnd(Vec<DeviceRule>),
}

/// A kind of device nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKind {
    /// Character devices.
    Character,
    /// Block devices.
    Block,
}

/// What may be done with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceAccess {
    /// Opened for reading.
    pub read: bool,
    /// Opened for writing.
    pub write: bool,
    /// A node made for it.
    pub make: bool,
}

impl DeviceAccess {
    /// Everything.
    pub const ALL: Self = Self { read: true, write: true, make: true };
    /// Only a node made.
    pub const MAKE: Self = Self { read: false, write: false, make: true };

    /// Reads letters of `rwm`.
    pub fn parse(letters: &str) -> Option<Self> {
        let known = !letters.is_empty() && letters.bytes().all(|letter| b"rwm".contains(&letter));
        let has = |letter| letters.contains(letter);
        known.then(|| Self { read: has('r'), write: has('w'), make: has('m') })
    }

    fn letters(self) -> String {
        [(self.read, 'r'), (self.write, 'w'), (self.make, 'm')]
            .iter()
            .filter(|(has, _)| *has)
            .map(|(_, l)| l)
            .collect()
    }

    /// The kernel's bits (`BPF_DEVCG_ACC_*`).
    fn bits(self) -> i32 {
        i32::from(self.make) | i32::from(self.read) << 1 | i32::from(self.write) << 2
    }
}

/// An allowed device; `None` is any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// Its kind.
    pub kind: DeviceKind,
    /// Its major number.
    pub major: Option<u32>,
    /// Its minor number.
    pub minor: Option<u32>,
    /// What is allowed.
    pub access: DeviceAccess,
}

impl DeviceRule {
    /// Writes the rule as version 1 wants it.
    pub(super) fn line(&self) -> String {
        let kind = match self.kind {
            DeviceKind::Character => 'c',
            DeviceKind::Block => 'b',
        };
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        format!("{kind} {}:{} {}", number(self.major), number(self.minor), self.access.letters())
    }
}

/// null, zero, full, random, urandom, tty, console, ptmx, and all of pts. Nodes may be made of anything: package tools
/// do it, and a node that cannot be opened is harmless.
pub(super) fn default_rules() -> Vec<DeviceRule> {
    let character = |major, minor| DeviceRule {
        kind: DeviceKind::Character,
        major: Some(major),
        minor,
        access: DeviceAccess::ALL,
    };
    let make = |kind| DeviceRule { kind, major: None, minor: None, access: DeviceAccess::MAKE };
    let mut rules = vec![make(DeviceKind::Character), make(DeviceKind::Block)];
    rules.extend([3, 5, 7, 8, 9].map(|minor| character(1, Some(minor))));
    rules.extend([0, 1, 2].map(|minor| character(5, Some(minor))));
    rules.push(character(136, None));
    rules
}

/// Writes the program: it allows a request whose bits are all within those of one matching rule.
pub(super) fn program(rules: &[DeviceRule]) -> Vec<EbpfInstruction> {
    const LOAD_WORD: u8 = 0x61;
    const COPY: u8 = 0xbf;
    const SET: u8 = 0xb7;
    const AND: u8 = 0x57;
    const SHIFT_RIGHT: u8 = 0x77;
    const JUMP_NOT_EQUAL: u8 = 0x55;
    const EXIT: u8 = 0x95;
    let op = |code, destination: u8, source: u8, offset, operand| EbpfInstruction {
        code,
        registers: destination | source << 4,
        offset,
        operand,
    };
    // r2: access, r3: kind, r4: major, r5: minor.
    let mut code = vec![
        op(LOAD_WORD, 2, 1, 0, 0),
        op(COPY, 3, 2, 0, 0),
        op(AND, 3, 0, 0, 0xffff),
        op(SHIFT_RIGHT, 2, 0, 0, 16),
        op(LOAD_WORD, 4, 1, 4, 0),
        op(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rules {
        let kind = match rule.kind {
            DeviceKind::Block => 1,
            DeviceKind::Character => 2,
        };
        let mut tests: Vec<(u8, i32)> = vec![(3, kind)];
        tests.extend(rule.major.map(|major| (4, major as i32)));
        tests.extend(rule.minor.map(|minor| (5, minor as i32)));
        // After the tests: copy, mask, test of the mask, result, exit.
        let length = tests.len() + 5;
        for (place, (register, number)) in tests.into_iter().enumerate() {
            code.push(op(JUMP_NOT_EQUAL, register, 0, (length - place - 1) as i16, number));
        }
        code.push(op(COPY, 6, 2, 0, 0));
        code.push(op(AND, 6, 0, 0, !rule.access.bits() & 7));
        code.push(op(JUMP_NOT_EQUAL, 6, 0, 2, 0));
        code.push(op(SET, 0, 0, 0, 1));
        code.push(op(EXIT, 0, 0, 0, 0));
    }
    code.push(op(SET, 0, 0, 0, 0));
    code.push(op(EXIT, 0, 0, 0, 0));
    code
}

/// Puts the program for the rules on a version 2 group.
pub(super) fn attach(group: BorrowedFd<'_>, rules: &[DeviceRule]) -> std::io::Result<()> {
    /// The last program loaded: mostly, all groups have the same rules.
    static LAST: Mutex<Option<(Vec<DeviceRule>, OwnedFd)>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if last.as_ref().is_none_or(|(known, _)| known != rules) {
        *last = Some((rules.to_vec(), sys::load_device_program(&program(rules))?));
    }
    let (_, program) = last.as_ref().expect("set above");
    sys::attach_device_program(group, program)
}
