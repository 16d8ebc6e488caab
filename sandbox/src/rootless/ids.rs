//! Which ids a user may map: the files of subordinate ids, and the helpers that map them.

use std::path::{Path, PathBuf};

const SUBUID: &str = "/etc/subuid";
const SUBGID: &str = "/etc/subgid";
const HELPER_FOLDERS: [&str; 3] = ["/usr/bin", "/bin", "/usr/local/bin"];
/// The most lines that a map can have.
const MAX_LINES: usize = 340;

/// A range of ids: the first inside, the first outside, how many.
pub(super) type Range = (u32, u32, u32);

/// The ranges of a user: of users, and of groups.
pub(super) type Ranges = (Vec<Range>, Vec<Range>);

/// Reads which ranges a user has, or tells why there are none.
pub(super) fn of_user(uid: u32) -> Result<Ranges, String> {
    let name = user_name(&read("/etc/passwd"), uid);
    plan(&name, uid, &read(SUBUID), &read(SUBGID))
}

/// Decides on the ranges, or tells why there are none.
fn plan(name: &str, uid: u32, subuid: &str, subgid: &str) -> Result<Ranges, String> {
    let users = ranges(subuid, name, uid);
    // The file of groups is by user, too.
    let groups = ranges(subgid, name, uid);
    if users.is_empty() || groups.is_empty() {
        let file = if users.is_empty() { SUBUID } else { SUBGID };
        return Err(format!(
            "user {name} has no subordinate ids: add the line `{name}:100000:65536` to {SUBUID} and {SUBGID} (missing in {file})"
        ));
    }
    if helper("newuidmap").is_none() || helper("newgidmap").is_none() {
        return Err(
            "the helpers newuidmap and newgidmap are missing: install the package `uidmap` (shadow-utils)"
                .to_owned(),
        );
    }
    Ok((users, groups))
}

fn ranges(file: &str, name: &str, uid: u32) -> Vec<Range> {
    let mut inside = 1_u32;
    let mut result = Vec::new();
    for line in file.lines() {
        let mut fields = line.trim().split(':');
        let (Some(owner), Some(start), Some(count), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        if owner != name && owner != uid.to_string() {
            continue;
        }
        let (Ok(start), Ok(count)) = (start.parse::<u32>(), count.parse::<u32>()) else { continue };
        let fits = inside.checked_add(count).is_some() && start.checked_add(count).is_some();
        if count == 0 || start == 0 || !fits || result.len() + 1 >= MAX_LINES {
            continue;
        }
        result.push((inside, start, count));
        inside += count;
    }
    result
}

fn user_name(passwd: &str, uid: u32) -> String {
    let entry = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    entry.unwrap_or_else(|| uid.to_string())
}

pub(super) fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

pub(super) fn helper(name: &str) -> Option<PathBuf> {
    HELPER_FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_a_user_are_put_one_after_the_other() {
        let file = "other:1:2\nme:100000:65536\n1000:300000:10\nme:0:5\nme:x:5\nme:4294967295:2\nme:5\n";
        assert_eq!(ranges(file, "me", 1000), [(1, 100_000, 65536), (65537, 300_000, 10)]);
        assert_eq!(ranges(file, "nobody", 7), []);
    }

    #[test]
    fn a_user_without_ranges_is_told_what_to_add() {
        let reason = plan("me", 1000, "me:100000:65536\n", "").unwrap_err();
        assert!(reason.contains("me:100000:65536") && reason.contains("missing in /etc/subgid"), "{reason}");
    }

    #[test]
    fn names_come_from_passwd() {
        let passwd = "root:x:0:0::/:/bin/sh\nbad\nme:x:1000:1000::/home/me:/bin/sh\n";
        assert_eq!(user_name(passwd, 1000), "me");
        assert_eq!(user_name(passwd, 7), "7");
    }
}
