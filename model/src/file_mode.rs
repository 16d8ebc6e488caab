//! Permission bits as `--chmod` gives them: octal, or symbolic as chmod(1) (POSIX "chmod", operands) with umask 0.
//!
//! Where implementations of chmod(1) differ, BuildKit's is followed, which goes by BSD's: copying another class's bits
//! (`g=u`) leaves the special bits alone, `=` clears the sticky bit only together with `t`, `t` belongs to every class but
//! the others', and `X` asks for the bits that the file came with.

use std::str::FromStr;

/// A change of permission bits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FileMode {
    /// Exactly these bits (`0` to `07777`).
    Octal(u32),
    /// Computed from each file's own bits.
    Symbolic(Vec<Clause>),
}

/// One clause of a symbolic mode: `ug+rX`, with several actions as in `u+r-w`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Clause {
    /// Whose bits, as a mask of [`USER`], [`GROUP`], [`OTHER`]; none where no class is named.
    who: u32,
    actions: Vec<(Action, Permission)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    Add,
    Remove,
    Set,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Permission {
    /// Bits in one class (`rwx` as 0-7), `X`, and the special bits.
    Bits { rwx: u32, if_executable: bool, setid: bool, sticky: bool },
    /// What another class has: the shift of its bits.
    CopyOf(u32),
}

const USER: u32 = 0o4700;
const GROUP: u32 = 0o2070;
const OTHER: u32 = 0o0007;
const STICKY: u32 = 0o1000;

/// The text is not a mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseFileModeError {
    /// It begins with a digit and is not an octal number up to 07777.
    #[error("invalid chmod parameter: '{0}'. it should be octal string and between 0 and 07777")]
    Octal(String),
    /// It is not symbolic either.
    #[error("invalid chmod parameter: '{0}': invalid syntax")]
    Symbolic(String),
}

impl FileMode {
    /// Returns the bits that a file with `old` bits gets (permission and special bits only).
    pub fn apply(&self, old: u32, is_dir: bool) -> u32 {
        match self {
            Self::Octal(bits) => *bits,
            Self::Symbolic(clauses) => {
                let old = old & 0o7777;
                clauses.iter().fold(old, |mode, clause| clause.apply(mode, old, is_dir))
            }
        }
    }

    /// Returns the bits that folders made on the way get: an octal mode's permission bits, else 0755.
    pub fn for_new_parents(&self) -> u32 {
        match self {
            Self::Octal(bits) => bits & 0o777,
            Self::Symbolic(_) => 0o755,
        }
    }
}

impl Clause {
    fn apply(&self, mut mode: u32, original: u32, is_dir: bool) -> u32 {
        let all = USER | GROUP | OTHER;
        let named = if self.who == 0 { all } else { self.who };
        for (action, permission) in &self.actions {
            // What is set, and what `=` clears.
            let (bits, cleared) = match *permission {
                Permission::CopyOf(shift) => {
                    let class = mode >> shift & 7;
                    ((class << 6 | class << 3 | class) & named, named & 0o777)
                }
                Permission::Bits { rwx, if_executable, setid, sticky } => {
                    let execute = u32::from(if_executable && (is_dir || original & 0o111 != 0));
                    let class = rwx | execute;
                    let special = if setid { 0o6000 } else { 0 };
                    let bits = (class << 6 | class << 3 | class | special) & named;
                    match (sticky && named != OTHER, self.who == 0) {
                        (false, _) => (bits, named),
                        (true, false) => (bits | STICKY, named | STICKY),
                        // With no class named, `t` makes the sticky bit the only one that is meant.
                        (true, true) => (STICKY, STICKY),
                    }
                }
            };
            mode = match action {
                Action::Add => mode | bits,
                Action::Remove => mode & !bits,
                Action::Set => mode & !cleared | bits,
            };
        }
        mode
    }
}

impl FromStr for FileMode {
    type Err = ParseFileModeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            return u32::from_str_radix(text, 8)
                .ok()
                .filter(|mode| *mode <= 0o7777)
                .map(Self::Octal)
                .ok_or_else(|| ParseFileModeError::Octal(text.to_owned()));
        }
        let clauses: Option<Vec<Clause>> = text.split(',').map(parse_clause).collect();
        clauses.map(Self::Symbolic).ok_or_else(|| ParseFileModeError::Symbolic(text.to_owned()))
    }
}

fn parse_clause(text: &str) -> Option<Clause> {
    let actions_at = text.find(['+', '-', '='])?;
    let who = text[..actions_at].chars().try_fold(0, |who, class| {
        Some(
            who | match class {
                'u' => USER,
                'g' => GROUP,
                'o' => OTHER,
                'a' => USER | GROUP | OTHER,
                _ => return None,
            },
        )
    })?;
    let mut rest = &text[actions_at..];
    let mut actions = Vec::new();
    while let Some(sign) = rest.chars().next() {
        let action = match sign {
            '+' => Action::Add,
            '-' => Action::Remove,
            '=' => Action::Set,
            _ => return None,
        };
        let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |at| at + 1);
        actions.push((action, parse_permission(&rest[1..end])?));
        rest = &rest[end..];
    }
    Some(Clause { who, actions })
}

fn parse_permission(text: &str) -> Option<Permission> {
    match text {
        "u" => return Some(Permission::CopyOf(6)),
        "g" => return Some(Permission::CopyOf(3)),
        "o" => return Some(Permission::CopyOf(0)),
        _ => {}
    }
    let (mut rwx, mut if_executable, mut setid, mut sticky) = (0, false, false, false);
    for letter in text.chars() {
        match letter {
            'r' => rwx |= 4,
            'w' => rwx |= 2,
            'x' => rwx |= 1,
            'X' => if_executable = true,
            's' => setid = true,
            't' => sticky = true,
            _ => return None,
        }
    }
    Some(Permission::Bits { rwx, if_executable, setid, sticky })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_change_bits_as_chmod_does() {
        for (mode, old, is_dir, new) in [
            ("755", 0o600, false, 0o755),
            ("04755", 0o600, false, 0o4755),
            ("0", 0o777, false, 0),
            ("u+x", 0o644, false, 0o744),
            ("+x", 0o644, false, 0o755),
            ("a+X", 0o644, false, 0o644),
            ("a+X", 0o744, false, 0o755),
            ("a+X", 0o644, true, 0o755),
            ("go-rwx", 0o755, false, 0o700),
            ("g=u", 0o640, false, 0o660),
            ("u=rwx,g=rx,o=", 0o777, false, 0o750),
            ("u+s", 0o755, false, 0o4755),
            ("g+s", 0o755, true, 0o2755),
            ("+t", 0o777, true, 0o1777),
            ("u+r-w", 0o200, false, 0o400),
            ("o=g", 0o750, false, 0o755),
            ("u=", 0o4755, false, 0o055),
            ("g=u", 0o2750, true, 0o2770),
            ("u=g", 0o4750, false, 0o4550),
            ("a=rX", 0o7777, false, 0o1555),
            ("o=", 0o1777, true, 0o1770),
            ("u+t", 0o750, true, 0o1750),
            ("o+t", 0o750, true, 0o750),
            ("=t", 0o640, false, 0o1640),
            ("-x+X", 0o750, false, 0o751),
        ] {
            assert_eq!(mode.parse::<FileMode>().unwrap().apply(old, is_dir), new, "{mode} on {old:o}");
        }
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for (text, octal) in [
            ("99", true),
            ("10000", true),
            ("7a", true),
            ("", false),
            ("u", false),
            ("z+x", false),
            ("u+q", false),
            ("u+x,", false),
        ] {
            let error = text.parse::<FileMode>().unwrap_err();
            assert_eq!(matches!(error, ParseFileModeError::Octal(_)), octal, "{text}: {error}");
        }
    }
}
