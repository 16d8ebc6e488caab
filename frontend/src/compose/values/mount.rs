//! Mounts in one line: `[SOURCE:]TARGET[:OPTIONS]`.

/// A mount, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShortMount {
    /// The path or the volume, if there is one.
    pub(crate) source: Option<String>,
    /// Where it is mounted.
    pub(crate) target: String,
    /// Whether it can only be read.
    pub(crate) read_only: bool,
    /// Whether the image's content is left out.
    pub(crate) nocopy: bool,
    /// How later mounts travel.
    pub(crate) propagation: Option<String>,
    /// The SELinux label.
    pub(crate) selinux: Option<String>,
}

impl ShortMount {
    /// Tells whether the source is a path.
    pub(crate) fn is_bind(&self) -> bool {
        self.source.as_deref().is_some_and(is_path)
    }
}

/// Takes a mount apart.
pub(crate) fn parse(spec: &str) -> Result<ShortMount, String> {
    let mut mount = ShortMount::default();
    if spec.is_empty() {
        return Err("invalid empty volume spec".to_owned());
    }
    let fields = split(spec);
    let wrong = |why: &str| Err(format!("invalid spec: {spec}: {why}"));
    if fields.iter().any(|field| field.is_empty()) && spec.len() > 2 {
        return wrong("empty section between colons");
    }
    match fields.as_slice() {
        _ if spec.len() <= 2 => mount.target = spec.to_owned(),
        [target] => mount.target = (*target).to_owned(),
        [source, target, options @ ..] => {
            if options.len() > 1 {
                return wrong("too many colons");
            }
            mount.source = Some((*source).to_owned());
            mount.target = (*target).to_owned();
            for option in options.iter().flat_map(|options| options.split(',')) {
                match option {
                    "ro" => mount.read_only = true,
                    "rw" => mount.read_only = false,
                    "nocopy" => mount.nocopy = true,
                    "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" => {
                        mount.propagation = Some(option.to_owned());
                    }
                    "z" | "Z" => mount.selinux = Some(option.to_owned()),
                    _ => {}
                }
            }
        }
        [] => {}
    }
    Ok(mount)
}

/// Splits at colons that are neither in a variable nor behind a drive letter.
fn split(spec: &str) -> Vec<&str> {
    let mut fields = Vec::new();
    let (mut start, mut open) = (0, 0_usize);
    let bytes = spec.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'{' if at > 0 && bytes[at - 1] == b'$' => open += 1,
            b'}' => open = open.saturating_sub(1),
            b':' if open == 0 && !is_drive(&spec[start..]) => {
                fields.push(&spec[start..at]);
                start = at + 1;
            }
            b':' if open == 0 && at > start + 1 => {
                fields.push(&spec[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    fields.push(&spec[start..]);
    fields
}

/// Tells whether a text begins with a drive of Windows: `C:\`, or `C:/` where another path follows, so that the letter is no
/// volume.
fn is_drive(text: &str) -> bool {
    match text.as_bytes() {
        [letter, b':', b'\\', ..] => letter.is_ascii_alphabetic(),
        [letter, b':', b'/', ..] => letter.is_ascii_alphabetic() && text[2..].contains(":/"),
        _ => false,
    }
}

fn is_path(source: &str) -> bool {
    source.starts_with(['.', '/', '~'])
        || source.starts_with("\\\\")
        || source.get(1..3).is_some_and(|sign| matches!(sign, ":\\" | ":/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_has_up_to_three_fields() {
        let mount = parse("./a:/b:ro,z,rshared").unwrap_or_default();
        assert!(mount.is_bind() && mount.read_only);
        assert_eq!((mount.source.as_deref(), mount.target.as_str()), (Some("./a"), "/b"));
        assert_eq!((mount.selinux.as_deref(), mount.propagation.as_deref()), (Some("z"), Some("rshared")));
        let mount = parse("d:/data").unwrap_or_default();
        assert_eq!((mount.source.as_deref(), mount.target.as_str()), (Some("d"), "/data"));
        let mount = parse("C:\\x:/y").unwrap_or_default();
        assert_eq!((mount.source.as_deref(), mount.target.as_str()), (Some("C:\\x"), "/y"));
        let mount = parse("C:/x:/y:ro").unwrap_or_default();
        assert_eq!((mount.source.as_deref(), mount.target.as_str()), (Some("C:/x"), "/y"));
        assert!(mount.is_bind() && mount.read_only);
        assert_eq!(parse("/x").unwrap_or_default().target, "/x");
        assert_eq!(parse("${A:-x:y}:/b").unwrap_or_default().source.as_deref(), Some("${A:-x:y}"));
        assert_eq!(parse("").err().as_deref(), Some("invalid empty volume spec"));
        assert_eq!(parse("a::b").err().as_deref(), Some("invalid spec: a::b: empty section between colons"));
        assert_eq!(parse("a:b:c:d").err().as_deref(), Some("invalid spec: a:b:c:d: too many colons"));
    }
}
