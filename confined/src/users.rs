//! Users and groups as the tree's own `etc/passwd` and `etc/group` know them.
//!
//! The files belong to the tree and may be anything: links (resolved inside the tree), devices and pipes (refused
//! without being opened), far too large. At most 10 MiB with lines of at most 64 KiB are read; a malformed line is
//! skipped. A file that cannot be read fails only look-ups that need it. The host's files and its name service are
//! never asked.
//!
//! A user is looked up by one of two rules, see [`Users::lookup`] (who a process runs as) and [`Users::owner`] (who a
//! file is given to). In both, digits are an id, even if a user is *named* so.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::Error;
use crate::metadata::Owner;
use crate::root::Root;

/// The most of a user database that is read.
const FILE_LIMIT: u64 = 10 * 1024 * 1024;
/// The longest line in a user database.
const LINE_LIMIT: usize = 64 * 1024;
/// The largest id that a process may be given.
const MAX_RUN_ID: u32 = i32::MAX as u32;
/// The most supplementary groups that the kernel takes.
const MAX_GROUPS: usize = 65_536;

/// A user or a group, as somebody wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Id {
    /// A number: it needs no entry.
    Number(u32),
    /// A name: it needs an entry.
    Name(String),
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// `user[:group]`, as in `USER` or `--chown`. The empty text is the default user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct UserSpec {
    /// The user, if the text is not empty.
    pub user: Option<Id>,
    /// The group, if one is given.
    pub group: Option<Id>,
}

/// Why a user cannot be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UserError {
    /// The text is no `user[:group]`.
    #[error("invalid user `{}`: {reason}", text.escape_debug())]
    Invalid {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The number is too large for an id.
    #[error("id {text} is out of range: the largest is {max}")]
    OutOfRange {
        /// The text.
        text: String,
        /// The largest that is accepted.
        max: u32,
    },
    /// No entry has the name of the user.
    #[error("no matching entries in passwd file")]
    NoUser {
        /// The name.
        name: String,
    },
    /// No entry has the name of the group.
    #[error("no matching entries in group file")]
    NoGroup {
        /// The name.
        name: String,
    },
    /// A file is given to a user by name, but there is no tree to look the name up in.
    #[error("invalid user index: -1")]
    NoTree,
    /// A database is there but cannot be used.
    #[error("cannot use `/{file}`: {reason}")]
    Database {
        /// The path, relative to the root.
        file: &'static str,
        /// Why it cannot be used.
        reason: String,
    },
}

impl FromStr for UserSpec {
    type Err = UserError;

    fn from_str(text: &str) -> Result<Self, UserError> {
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        // An empty part is one that is not there.
        let part = |part: &str| if part.is_empty() { Ok(None) } else { parse_id(part, text).map(Some) };
        Ok(Self { user: part(user)?, group: part(group)? })
    }
}

impl UserSpec {
    /// Reads `user[:group]` as `--chown` does, which knows no wrong form: what is no 32-bit number is a name, and if nobody
    /// has that name, see [`Users::owner`]. A group that is left empty behind its colon is 0.
    pub fn of_file(text: &str) -> Self {
        let id = |part: &str| match part.parse::<i32>() {
            // To the kernel -1 means "leave it", and a new file is root's.
            Ok(-1) => Id::Number(0),
            Ok(number) => Id::Number(number.cast_unsigned()),
            Err(_) => Id::Name(part.to_owned()),
        };
        let (user, group) = match text.split_once(':') {
            Some((user, "")) => (user, Some(Id::Number(0))),
            Some((user, group)) => (user, Some(id(group))),
            None => (text, None),
        };
        Self { user: (!user.is_empty()).then(|| id(user)), group }
    }
}

impl fmt::Display for UserSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}")?;
        }
        if let Some(group) = &self.group {
            write!(f, ":{group}")?;
        }
        Ok(())
    }
}

fn parse_id(part: &str, text: &str) -> Result<Id, UserError> {
    let invalid = |reason| Err(UserError::Invalid { text: text.to_owned(), reason });
    let digits = part.strip_prefix('+').unwrap_or(part);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        // The largest 32-bit number means "leave it" to the kernel and is never an id.
        return match digits.parse::<u32>() {
            Ok(number) if number < u32::MAX => Ok(Id::Number(number)),
            _ => Err(UserError::OutOfRange { text: part.to_owned(), max: MAX_RUN_ID }),
        };
    }
    if part.starts_with(['+', '-']) {
        return invalid("a name does not begin with a sign");
    }
    if part.starts_with("0x") || part.starts_with("0X") {
        return invalid("an id is written in decimal digits");
    }
    if part.chars().any(|c| c.is_whitespace() || c.is_control() || c == ':') {
        return invalid("a name holds no blank, colon or control character");
    }
    if part.chars().all(char::is_numeric) {
        return invalid("an id is written in the digits 0 to 9");
    }
    Ok(Id::Name(part.to_owned()))
}

/// Who a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user id.
    pub uid: u32,
    /// The primary group id.
    pub gid: u32,
    /// The supplementary groups, ascending; the primary group is always among them.
    pub groups: Vec<u32>,
    /// The home folder of the user's entry, or `/`.
    pub home: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Passwd {
    name: String,
    uid: u32,
    gid: u32,
    home: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// One file: missing is an empty one, unusable is told to those who need it.
type Database<T> = Result<Vec<T>, String>;

/// The users and groups of one tree.
#[derive(Debug, Clone)]
pub struct Users {
    passwd: Database<Passwd>,
    group: Database<Group>,
}

const PASSWD: &str = "etc/passwd";
const GROUP: &str = "etc/group";

impl Users {
    /// Reads the databases of a tree. What is wrong with them is told by the look-ups that need them.
    pub fn load(root: &Root) -> Self {
        Self {
            passwd: read(root, PASSWD).and_then(|text| parse(&text, parse_passwd)),
            group: read(root, GROUP).and_then(|text| parse(&text, parse_group)),
        }
    }

    /// Returns the databases of the empty tree, in which only numbers can be found.
    pub fn none() -> Self {
        Self { passwd: Ok(Vec::new()), group: Ok(Vec::new()) }
    }

    /// Tells who a process with `USER spec` runs as.
    ///
    /// | spec | uid and gid | supplementary groups |
    /// |---|---|---|
    /// | empty | 0:0 | root's |
    /// | `name` | of its entry; none is an error | the user's |
    /// | `uid` | gid of its entry, else 0 | those of the entry's name |
    /// | `user:group` | the group as given | none |
    ///
    /// The primary group is added to the supplementary ones in all cases. Ids over 2³¹-1 are refused.
    pub fn lookup(&self, spec: &UserSpec) -> Result<Identity, UserError> {
        let number = |id: u32| match id {
            0..=MAX_RUN_ID => Ok(id),
            _ => Err(UserError::OutOfRange { text: id.to_string(), max: MAX_RUN_ID }),
        };
        let exact = spec.group.is_some();
        let (uid, entry) = match &spec.user {
            // A broken database fails a name, and whatever needs groups; it does not fail `uid:gid`.
            Some(Id::Number(uid)) if exact => (*uid, self.by_uid(*uid).unwrap_or_default()),
            Some(Id::Number(uid)) => (*uid, self.by_uid(*uid)?),
            None => (0, self.by_uid(0)?),
            Some(Id::Name(name)) => {
                let entry = self.by_name(name)?.ok_or_else(|| UserError::NoUser { name: name.clone() })?;
                (entry.uid, Some(entry))
            }
        };
        let gid = match (&spec.group, entry) {
            (Some(Id::Number(gid)), _) => *gid,
            (Some(Id::Name(name)), _) => {
                self.gid_of(name)?.ok_or_else(|| UserError::NoGroup { name: name.clone() })?
            }
            (None, _) if spec.user.is_none() => 0,
            (None, Some(entry)) => entry.gid,
            (None, None) => 0,
        };
        let mut groups = vec![number(gid)?];
        if !exact && let Some(entry) = entry {
            let member = |group: &&Group| group.members.contains(&entry.name);
            groups.extend(
                self.groups()?.iter().filter(member).map(|group| group.gid).filter(|gid| *gid <= MAX_RUN_ID),
            );
        }
        groups.sort_unstable();
        groups.dedup();
        if groups.len() > MAX_GROUPS {
            let reason = format!("a user is in {} groups", groups.len());
            return Err(UserError::Database { file: GROUP, reason });
        }
        let home = entry.map(|entry| entry.home.clone()).filter(|home| home.has_root());
        Ok(Identity { uid: number(uid)?, gid, groups, home: home.unwrap_or_else(|| PathBuf::from("/")) })
    }

    /// Tells who a file with `--chown=spec` belongs to, or the folder of a `WORKDIR` under `USER spec`.
    ///
    /// `uid` alone has the same gid; `name` alone has the gid of its entry; `root` is 0 without a look-up. As other
    /// builders have it, an unknown user is silently 0, and an unknown group as if there were none.
    pub fn owner(&self, spec: &UserSpec) -> Result<Owner, UserError> {
        let (uid, own_gid) = match &spec.user {
            None => (0, 0),
            Some(Id::Number(uid)) => (*uid, *uid),
            Some(Id::Name(name)) if name == "root" => (0, 0),
            Some(Id::Name(name)) => self.by_name(name)?.map_or((0, 0), |entry| (entry.uid, entry.gid)),
        };
        let gid = match &spec.group {
            None => own_gid,
            Some(Id::Number(gid)) => *gid,
            Some(Id::Name(name)) if name == "root" => 0,
            Some(Id::Name(name)) => self.gid_of(name)?.unwrap_or(own_gid),
        };
        Ok(Owner { uid, gid })
    }

    /// Like [`Users::owner`] where there is no tree yet (an empty stage, `--link`): a name other than `root` fails.
    pub fn owner_without_tree(spec: &UserSpec) -> Result<Owner, UserError> {
        let needs_tree = |id: &Option<Id>| matches!(id, Some(Id::Name(name)) if name != "root");
        if needs_tree(&spec.user) || needs_tree(&spec.group) {
            return Err(UserError::NoTree);
        }
        Self::none().owner(spec)
    }

    fn entries(&self) -> Result<&[Passwd], UserError> {
        self.passwd.as_deref().map_err(|reason| UserError::Database { file: PASSWD, reason: reason.clone() })
    }

    fn groups(&self) -> Result<&[Group], UserError> {
        self.group.as_deref().map_err(|reason| UserError::Database { file: GROUP, reason: reason.clone() })
    }

    fn by_uid(&self, uid: u32) -> Result<Option<&Passwd>, UserError> {
        Ok(self.entries()?.iter().find(|entry| entry.uid == uid))
    }

    fn by_name(&self, name: &str) -> Result<Option<&Passwd>, UserError> {
        Ok(self.entries()?.iter().find(|entry| entry.name == name))
    }

    fn gid_of(&self, name: &str) -> Result<Option<u32>, UserError> {
        Ok(self.groups()?.iter().find(|group| group.name == name).map(|group| group.gid))
    }
}

/// Reads a database; a missing one is empty.
fn read(root: &Root, file: &str) -> Result<Vec<u8>, String> {
    match root.read(file, FILE_LIMIT) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.is_not_found() || error.is_not_a_directory() => Ok(Vec::new()),
        Err(Error::Io { source, .. }) => Err(source.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// Parses the lines of a database; those that are malformed are skipped.
fn parse<T>(text: &[u8], entry: fn(&[&str]) -> Option<T>) -> Database<T> {
    let mut entries = Vec::new();
    for line in text.split(|&byte| byte == b'\n') {
        if line.len() > LINE_LIMIT {
            return Err(format!("a line is longer than {LINE_LIMIT} bytes"));
        }
        let Ok(line) = std::str::from_utf8(line) else { continue };
        let fields: Vec<&str> = line.trim_end_matches('\r').split(':').collect();
        if fields[0].is_empty() || fields[0].starts_with('#') {
            continue;
        }
        entries.extend(entry(&fields));
    }
    Ok(entries)
}

fn parse_passwd(fields: &[&str]) -> Option<Passwd> {
    let [name, _password, uid, gid, _comment, home, ..] = fields else { return None };
    Some(Passwd {
        name: (*name).to_owned(),
        uid: plain_number(uid)?,
        gid: plain_number(gid)?,
        home: PathBuf::from(home),
    })
}

fn parse_group(fields: &[&str]) -> Option<Group> {
    let [name, _password, gid, rest @ ..] = fields else { return None };
    let members = rest.first().copied().unwrap_or_default().split(',');
    Some(Group {
        name: (*name).to_owned(),
        gid: plain_number(gid)?,
        members: members.filter(|name| !name.is_empty()).map(str::to_owned).collect(),
    })
}

fn plain_number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|&number| number < u32::MAX)
}
