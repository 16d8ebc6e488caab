//! The copies of the cases as a web server has them.

use std::fs;
use std::path::{Component, Path};

use rbuild_testkit::web::{Reply, Web};

/// When everything that is served was last modified.
const MODIFIED: &str = "Tue, 14 Nov 2023 22:13:20 GMT";

/// Serves a folder: its files, and its bare git repositories.
pub(super) fn folder(root: &Path) -> Web {
    let root = root.to_owned();
    Web::start(move |request| {
        let path = Path::new(request.path.trim_start_matches('/'));
        if path.components().any(|part| !matches!(part, Component::Normal(_))) {
            return Reply::status(400);
        }
        let in_repository = |part: Component<'_>| part.as_os_str().to_string_lossy().ends_with(".git");
        if path.components().any(in_repository) {
            return request.git(&root);
        }
        match fs::read(root.join(path)) {
            Ok(body) => request.file(&body, &format!("\"{}\"", blake3::hash(&body)), MODIFIED),
            Err(_) => Reply::status(404),
        }
    })
}
