//! Folders in memory, as compose files write them: `PATH[:OPTIONS]`.

use rbuild_model::container::TmpfsUse;
use rbuild_sandbox::Access;

/// The permissions of the top where nothing is said: everybody may write, nobody may remove what is another's.
const MODE: u32 = 0o1777;

/// Returns a folder of a size and mode, with the usual restrictions.
pub(super) fn mount(size: Option<u64>, mode: Option<u32>) -> TmpfsUse {
    let options = [size.map(|size| format!("size={size}")), mode.map(|mode| format!("mode={mode:o}"))];
    TmpfsUse {
        size,
        mode: mode.unwrap_or(MODE),
        uid: 0,
        gid: 0,
        exec: false,
        suid: false,
        dev: false,
        options: options.into_iter().flatten().collect::<Vec<_>>().join(","),
    }
}

/// Reads `PATH[:OPTIONS]`; the error says what is wrong with it.
pub(super) fn parse(text: &str) -> Result<(String, TmpfsUse, Access), String> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    if !target.starts_with('/') || target.split('/').all(|part| matches!(part, "" | ".")) {
        return Err(format!("`{target}` is no path below the root of a container"));
    }
    let mut folder = mount(None, None);
    options.clone_into(&mut folder.options);
    let mut access = Access::ReadWrite;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let wrong = || format!("`{option}` is no option of a tmpfs mount");
        let id = |value: &str| value.parse().map_err(|_| wrong());
        match option.split_once('=').unwrap_or((option, "")) {
            ("size", value) => folder.size = Some(bytes(value).ok_or_else(wrong)?),
            ("mode", value) => {
                let mode = u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o7777);
                folder.mode = mode.ok_or_else(wrong)?;
            }
            ("uid", value) => folder.uid = id(value)?,
            ("gid", value) => folder.gid = id(value)?,
            ("ro", "") => access = Access::ReadOnly,
            ("rw", "") => access = Access::ReadWrite,
            ("exec", "") => folder.exec = true,
            ("noexec", "") => folder.exec = false,
            ("suid", "") => folder.suid = true,
            ("nosuid", "") => folder.suid = false,
            ("dev", "") => folder.dev = true,
            ("nodev", "") => folder.dev = false,
            _ => return Err(wrong()),
        }
    }
    Ok((target.to_owned(), folder, access))
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
        let (target, folder, access) = parse("/run:size=64m,mode=0755,uid=7,exec,ro").expect("right");
        assert_eq!((target.as_str(), access), ("/run", Access::ReadOnly));
        assert_eq!((folder.size, folder.mode, folder.uid, folder.exec), (Some(64 << 20), 0o755, 7, true));
        assert_eq!(folder.options, "size=64m,mode=0755,uid=7,exec,ro");
        for wrong in ["run", "/", "/x:what", "/x:size=", "/x:size=big", "/x:mode=9", "/x:uid=me", "/x:ro=1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
