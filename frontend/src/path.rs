//! Paths inside a root, as texts: joined and cleaned without looking at any file.

/// Removes empty elements and `.`, and lets `..` remove the element before it. An absolute path stays below `/`.
pub(crate) fn clean(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&last) if last != ".." => {
                    parts.pop();
                }
                _ if absolute => {}
                _ => parts.push(".."),
            },
            _ => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// Joins a path to the folder it is relative to (`/` if that is empty); the result is absolute and clean.
pub(crate) fn join(folder: &str, path: &str) -> String {
    if path.starts_with('/') { clean(path) } else { clean(&format!("/{folder}/{path}")) }
}

/// Returns the last element of a clean path.
pub(crate) fn base_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_and_joined() {
        for (folder, text, joined) in [
            ("/a", "b", "/a/b"),
            ("/a", "../..", "/"),
            ("/a/b", "../c", "/a/c"),
            ("", "b", "/b"),
            ("/a", "/c//d/./e/", "/c/d/e"),
            ("/a", "", "/a"),
            ("/a", ".", "/a"),
            ("/", "..", "/"),
        ] {
            assert_eq!(join(folder, text), joined, "{folder} {text}");
        }
        for (text, cleaned) in [
            ("", "."),
            ("a/..", "."),
            ("../a", "../a"),
            ("a/../../b", "../b"),
            ("/..", "/"),
            ("a//./b/", "a/b"),
        ] {
            assert_eq!(clean(text), cleaned, "{text}");
        }
    }
}
