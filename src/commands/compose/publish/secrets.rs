//! What looks like a secret in what is about to be published: tokens by their known forms, keys, passwords in addresses,
//! and values behind names that say what they are.

use serde_json::Value;

/// Forms of tokens: what they begin with, how many letters and digits follow at least, and what they are.
const TOKENS: &[(&str, usize, &str)] = &[
    ("AKIA", 16, "AWS access key"),
    ("ASIA", 16, "AWS access key"),
    ("ghp_", 30, "GitHub token"),
    ("gho_", 30, "GitHub token"),
    ("ghu_", 30, "GitHub token"),
    ("ghs_", 30, "GitHub token"),
    ("ghr_", 30, "GitHub token"),
    ("github_pat_", 22, "GitHub token"),
    ("glpat-", 20, "GitLab token"),
    ("npm_", 36, "npm token"),
    ("AIza", 35, "Google API key"),
    ("sk_live_", 16, "Stripe key"),
    ("xoxb-", 20, "Slack token"),
    ("xoxp-", 20, "Slack token"),
];

/// Parts of names whose values are secrets.
const NAMES: &[&str] = &[
    "password",
    "passwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "access_key",
    "private_key",
    "credential",
];

/// Finds what looks like a secret in a document, each with where it stands.
pub(super) fn of_document(document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(document, &mut String::new(), &mut found);
    found
}

/// Finds what looks like a secret in an env file.
pub(super) fn of_env_file(name: &str, text: &str) -> Vec<String> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with('#'));
    lines.filter_map(|(at, line)| Some(format!("{name}:{}: {}", at + 1, kind(line)?))).collect()
}

fn walk(node: &Value, path: &mut String, found: &mut Vec<String>) {
    let length = path.len();
    match node {
        Value::Object(map) => {
            for (key, below) in map {
                path.push_str(if length == 0 { "" } else { "." });
                path.push_str(key);
                let what = below.as_str().and_then(|text| {
                    // Keys of the format name things; those of people stand in mappings of variables and labels.
                    let is_own = ["environment.", "labels.", "args."].iter().any(|map| path.contains(map));
                    kind(text).or_else(|| (is_own && is_told(key, text)).then_some("secret by its name"))
                });
                match what {
                    Some(what) => found.push(format!("{path}: {what}")),
                    None if below.is_string() => {}
                    None => walk(below, path, found),
                }
                path.truncate(length);
            }
        }
        Value::Array(list) => {
            for (number, below) in list.iter().enumerate() {
                path.push_str(&format!("[{number}]"));
                walk(below, path, found);
                path.truncate(length);
            }
        }
        Value::String(text) => found.extend(kind(text).map(|what| format!("{path}: {what}"))),
        _ => {}
    }
}

/// Says what a text looks like, if it looks like a secret.
fn kind(text: &str) -> Option<&'static str> {
    if text.contains("-----BEGIN ") && text.contains("PRIVATE KEY-----") {
        return Some("private key");
    }
    let is_of_word = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    for word in text.split(|letter| !is_of_word(letter)) {
        let is_token = |(start, least, _): &&(&str, usize, &str)| {
            word.strip_prefix(start).is_some_and(|rest| rest.len() >= *least)
        };
        if let Some((_, _, what)) = TOKENS.iter().find(is_token) {
            return Some(what);
        }
    }
    if is_signed(text) {
        return Some("signed token");
    }
    if has_password(text) {
        return Some("password in an address");
    }
    let assignments = text.split_whitespace().filter_map(|word| word.split_once('='));
    assignments.into_iter().any(|(name, value)| is_told(name, value)).then_some("secret by its name")
}

/// Whether a JSON web token stands somewhere in a text.
fn is_signed(text: &str) -> bool {
    let is_of_token = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
    text.split(|letter| !is_of_token(letter)).any(|word| {
        let parts: Vec<&str> = word.split('.').collect();
        parts.len() == 3 && parts[0].starts_with("eyJ") && parts[1].starts_with("eyJ")
    })
}

/// Whether a password stands in an address (`scheme://user:password@host`), and is not a variable.
fn has_password(text: &str) -> bool {
    text.match_indices("://").any(|(at, _)| {
        let rest = &text[at + 3..];
        let authority = rest.split(|letter: char| letter == '/' || letter.is_whitespace()).next();
        let user = authority.and_then(|authority| authority.rsplit_once('@'));
        let password = user.and_then(|(user, _)| user.split_once(':'));
        password.is_some_and(|(_, password)| !password.is_empty() && !password.starts_with('$'))
    })
}

/// Whether a name says that its value is a secret, and the value is one: no variable, no path, no switch.
fn is_told(name: &str, value: &str) -> bool {
    let name = name.to_lowercase().replace('-', "_");
    let is_value = value.len() >= 4 && !value.starts_with(['$', '/', '.']);
    is_value
        && !matches!(value, "true" | "false" | "null" | "none")
        && NAMES.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_found_where_they_stand_and_nothing_else_is() {
        let found = of_document(&json!({
            "name": "x",
            "secrets": { "password": { "file": "./password.txt" } },
            "services": { "web": {
                "command": ["serve", "AKIAIOSFODNN7EXAMPLE"],
                "image": "busybox",
                "secrets": [{ "source": "password" }],
                "environment": {
                    "DB": "postgres://me:hunter2@db/x",
                    "DB_PASSWORD": "hunter2",
                    "DB_PASSWORD_FILE": "/run/secrets/password",
                    "OTHER_PASSWORD": "${OTHER}",
                    "URL": "postgres://me:${PASSWORD}@db/x",
                },
                "labels": { "key": "-----BEGIN RSA PRIVATE KEY-----\nx" },
            } },
        }));
        let expected = [
            "services.web.command[1]: AWS access key",
            "services.web.environment.DB: password in an address",
            "services.web.environment.DB_PASSWORD: secret by its name",
            "services.web.labels.key: private key",
        ];
        assert_eq!(found, expected);
        let token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl";
        let lines = format!("# TOKEN=old-one\nA=1\nTOKEN={token}\nGH=ghp_{}\n", "a".repeat(36));
        assert_eq!(of_env_file("x.env", &lines), ["x.env:3: signed token", "x.env:4: GitHub token"]);
    }
}
