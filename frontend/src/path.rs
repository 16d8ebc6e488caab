//! Paths inside a root, as texts: joined and cleaned without looking at any file.

/// Removes empty elements and `.`, and lets `..` remove the element before it. An absolute path stays below `/`.
pub(crate) fn clean(path: &str) -> String {
    let absolute = path.starts_with('/');
    let root = usize::from(absolute);
    let mut clean = String::with_capacity(path.len().max(1));
    clean.push_str(&path[..root]);
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if clean.len() > root && !(clean == ".." || clean.ends_with("/..")) => {
                clean.truncate(clean.rfind('/').unwrap_or_default().max(root));
            }
            ".." if absolute => {}
            _ => {
                if clean.len() > root {
                    clean.push('/');
                }
                clean.push_str(part);
            }
        }
    }
    if clean.is_empty() {
        clean.push('.');
    }
    clean
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
