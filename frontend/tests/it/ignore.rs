//! Ignore files: the same answers as Docker's builder, which were recorded.

use rbuild_frontend::ignore::Ignore;

use crate::support::fixtures;

#[test]
fn docker_leaves_out_the_same_files() {
    let (_, text) = fixtures("ignore").into_iter().find(|(name, _)| name == "docker").unwrap();
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let paths: Vec<String> = serde_json::from_str(lines.next().unwrap()).unwrap();
    let mut checked = 0;
    for line in lines {
        let (patterns, expected) = line.split_once('\t').unwrap();
        let patterns: Vec<String> = serde_json::from_str(patterns).unwrap();
        let expected: Vec<String> = serde_json::from_str(expected).unwrap();
        let ignore = Ignore::parse(&patterns.join("\n")).unwrap();
        let ignored: Vec<&String> = paths.iter().filter(|path| ignore.ignores(path)).collect();
        assert_eq!(ignored, expected.iter().collect::<Vec<_>>(), "patterns {patterns:?}");
        for path in &paths {
            for (at, _) in path.match_indices('/') {
                if ignore.prunes(&path[..at]) {
                    assert!(ignore.ignores(path), "patterns {patterns:?} prune above {path}");
                }
            }
        }
        checked += 1;
    }
    assert!(checked > 80);
}
