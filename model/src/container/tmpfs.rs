//! Folders in memory, as people write them: `PATH[:OPTIONS]`, on the command line and in compose files alike.

use super::TmpfsUse;

/// A folder in memory and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TmpfsMount {
    /// The absolute path in the container.
    pub target: String,
    /// The folder.
    pub folder: TmpfsUse,
    /// Whether nothing in it can be changed.
    pub read_only: bool,
}

/// A text that is no folder in memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseTmpfsError {
    /// The path is not absolute, or leads to the root.
    #[error("`{0}` is no path below the root of a container")]
    Target(String),
    /// There is no such option, or none that works with a container.
    #[error(
        "`{0}` is no option of a tmpfs mount: use size=, mode=, uid=, gid=, nr_inodes=, nr_blocks=, mpol=, ro, rw, [no]exec, \
         [no]suid, [no]dev, [no]atime, [no]diratime, relatime, strictatime, sync, dirsync"
    )]
    Option(String),
    /// The value of an option cannot be read.
    #[error("`{option}`: {why}")]
    Value {
        /// The option, as written.
        option: String,
        /// What it should be.
        why: &'static str,
    },
}

impl TmpfsUse {
    /// A folder of a size and mode, with the usual restrictions.
    pub fn new(size: Option<u64>, mode: Option<u32>) -> Self {
        let options = [size.map(|size| format!("size={size}")), mode.map(|mode| format!("mode={mode:o}"))];
        Self {
            size,
            mode,
            uid: 0,
            gid: 0,
            exec: false,
            suid: false,
            dev: false,
            options: options.into_iter().flatten().collect::<Vec<_>>().join(","),
            more: Vec::new(),
        }
    }
}

impl std::str::FromStr for TmpfsMount {
    type Err = ParseTmpfsError;

    fn from_str(text: &str) -> Result<Self, ParseTmpfsError> {
        let (target, options) = text.split_once(':').unwrap_or((text, ""));
        if !target.starts_with('/') || target.split('/').all(|part| matches!(part, "" | ".")) {
            return Err(ParseTmpfsError::Target(target.to_owned()));
        }
        let mut folder = TmpfsUse::new(None, None);
        options.clone_into(&mut folder.options);
        let mut read_only = false;
        for option in options.split(',').filter(|option| !option.is_empty()) {
            let wrong = |why| ParseTmpfsError::Value { option: option.to_owned(), why };
            let id = |value: &str| value.parse().map_err(|_| wrong("an id is a number"));
            match option.split_once('=').map_or((option, None), |(key, value)| (key, Some(value))) {
                ("size", Some(value)) if is_percentage(value) => {
                    folder.size = None;
                    folder.more.push(option.to_owned());
                }
                ("size", Some(value)) => {
                    folder.more.retain(|more| !more.starts_with("size="));
                    folder.size = Some(bytes(value).ok_or_else(|| wrong("a size is like `64m` or `1g`"))?);
                }
                ("mode", Some(value)) => {
                    let mode = u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o7777);
                    let mode = mode.ok_or_else(|| wrong("permissions are octal, as in `1777`"))?;
                    folder.mode = Some(mode);
                }
                ("uid", Some(value)) => folder.uid = id(value)?,
                ("gid", Some(value)) => folder.gid = id(value)?,
                ("ro", None) => read_only = true,
                ("rw", None) => read_only = false,
                ("exec", None) => folder.exec = true,
                ("noexec", None) => folder.exec = false,
                ("suid", None) => folder.suid = true,
                ("nosuid", None) => folder.suid = false,
                ("dev", None) => folder.dev = true,
                ("nodev", None) => folder.dev = false,
                ("nr_inodes" | "nr_blocks", Some(value)) => {
                    bytes(value).ok_or_else(|| wrong("a number is like `1000` or `1k`"))?;
                    folder.more.push(option.to_owned());
                }
                // The kernel says what is wrong with a policy: it depends on its nodes.
                ("mpol", Some(value)) if !value.is_empty() => folder.more.push(option.to_owned()),
                ("noatime" | "strictatime" | "relatime" | "nodiratime" | "diratime", None) => {
                    folder.more.push(option.to_owned());
                }
                ("sync" | "dirsync", None) => folder.more.push(option.to_owned()),
                ("async", None) => folder.more.retain(|more| more != "sync"),
                // What the kernel does anyway.
                ("defaults" | "atime" | "norelatime" | "nostrictatime" | "private" | "rprivate", None) => {}
                _ => return Err(ParseTmpfsError::Option(option.to_owned())),
            }
        }
        Ok(Self { target: target.to_owned(), folder, read_only })
    }
}

fn is_percentage(text: &str) -> bool {
    let number = text.strip_suffix('%').and_then(|number| number.parse::<u32>().ok());
    number.is_some_and(|number| (1..=100).contains(&number))
}

/// Reads a size as the kernel does: a number, and `k`, `m`, `g` or `t` for powers of 1024.
fn bytes(text: &str) -> Option<u64> {
    let text = text.strip_suffix(['b', 'B']).unwrap_or(text);
    let shift = match text.chars().last()?.to_ascii_lowercase() {
        'k' => 10,
        'm' => 20,
        'g' => 30,
        't' => 40,
        _ => 0,
    };
    let digits = if shift == 0 { text } else { &text[..text.len() - 1] };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_kept_as_written() {
        let mount: TmpfsMount = "/run:size=64m,mode=0755,uid=7,exec,ro".parse().unwrap();
        assert_eq!((mount.target.as_str(), mount.read_only), ("/run", true));
        let folder = mount.folder;
        assert_eq!(
            (folder.size, folder.mode, folder.uid, folder.exec),
            (Some(64 << 20), Some(0o755), 7, true)
        );
        assert_eq!(folder.options, "size=64m,mode=0755,uid=7,exec,ro");
        let plain: TmpfsMount = "/run".parse().unwrap();
        assert_eq!((plain.folder, plain.read_only), (TmpfsUse::new(None, None), false));
        assert_eq!("/x:size=1kb".parse::<TmpfsMount>().unwrap().folder.size, Some(1024));
        let more = |text: &str| text.parse::<TmpfsMount>().unwrap().folder;
        let told = more("/x:size=10%,nr_inodes=1k,nr_blocks=5,mpol=local,noatime,nodiratime,sync,defaults");
        let kept = ["size=10%", "nr_inodes=1k", "nr_blocks=5", "mpol=local", "noatime", "nodiratime", "sync"];
        assert_eq!((told.size, told.more), (None, kept.map(str::to_owned).to_vec()));
        let last = more("/x:size=10%,size=1k,sync,async");
        assert_eq!((last.size, last.more.len()), (Some(1024), 0));
        for wrong in [
            "run",
            "/",
            "/x:what",
            "/x:size=",
            "/x:size=big",
            "/x:size=0%",
            "/x:size=101%",
            "/x:nr_inodes=all",
            "/x:mpol=",
            "/x:huge=always",
            "/x:mode=9",
            "/x:uid=me",
            "/x:ro=1",
            "/x:exec=",
            "/x:sync=1",
            "/x:shared",
        ] {
            assert!(wrong.parse::<TmpfsMount>().is_err(), "{wrong}");
        }
    }
}
