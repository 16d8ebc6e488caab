//! The `WWW-Authenticate` header.

/// What a server wants to see before it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// A user and a password.
    Basic,
    /// A token of a token service.
    Bearer {
        /// The address of the token service.
        realm: String,
        /// The name by which it knows the registry.
        service: Option<String>,
        /// What the token is to be good for.
        scope: Option<String>,
    },
}

impl Challenge {
    /// Reads one header line, which may hold several challenges; schemes unknown here are left out.
    pub fn parse(header: &str) -> Vec<Self> {
        const MOST: usize = 8;
        let mut challenges = Vec::new();
        let mut rest = header.trim();
        while let Some((scheme, after)) = take_token(rest) {
            let (parameters, after) = take_parameters(after);
            rest = after.trim_start_matches([',', ' ', '\t']);
            let find = |name: &str| {
                parameters
                    .iter()
                    .find(|(key, _)| key.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value.clone())
            };
            if scheme.eq_ignore_ascii_case("basic") {
                challenges.push(Self::Basic);
            } else if scheme.eq_ignore_ascii_case("bearer")
                && let Some(realm) = find("realm")
            {
                challenges.push(Self::Bearer { realm, service: find("service"), scope: find("scope") });
            }
            if challenges.len() >= MOST {
                break;
            }
        }
        challenges
    }
}

fn take_token(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)))
        .unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// Takes `key=value` pairs for as long as there are some.
fn take_parameters(mut text: &str) -> (Vec<(String, String)>, &str) {
    let mut parameters = Vec::new();
    loop {
        let start = text.trim_start_matches([',', ' ', '\t']);
        let Some((key, after)) = take_token(start) else { return (parameters, text) };
        let Some(value) = after.trim_start().strip_prefix('=') else { return (parameters, text) };
        let value = value.trim_start();
        let (value, after) = if let Some(quoted) = value.strip_prefix('"') {
            let mut out = String::new();
            let mut characters = quoted.char_indices();
            let mut end = quoted.len();
            while let Some((at, character)) = characters.next() {
                match character {
                    '"' => {
                        end = at + 1;
                        break;
                    }
                    '\\' => out.extend(characters.next().map(|(_, escaped)| escaped)),
                    _ => out.push(character),
                }
            }
            (out, &quoted[end..])
        } else {
            let end = value.find([',', ' ', '\t']).unwrap_or(value.len());
            (value[..end].to_owned(), &value[end..])
        };
        parameters.push((key.to_owned(), value));
        text = after;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.into(),
            service: service.map(Into::into),
            scope: scope.map(Into::into),
        }
    }

    #[test]
    fn forms_in_use_are_read() {
        for (header, wanted) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
                vec![bearer(
                    "https://auth.docker.io/token",
                    Some("registry.docker.io"),
                    Some("repository:a/b:pull,push"),
                )],
            ),
            ("Basic realm=\"x\"", vec![Challenge::Basic]),
            ("basic", vec![Challenge::Basic]),
            (
                r#"Basic realm="a, b", bearer Realm = "r\"q" , service=plain"#,
                vec![Challenge::Basic, bearer("r\"q", Some("plain"), None)],
            ),
            ("Bearer service=\"x\"", vec![]),
            ("Negotiate, Basic", vec![Challenge::Basic]),
            ("", vec![]),
            ("\"", vec![]),
            ("Bearer realm=\"unclosed", vec![bearer("unclosed", None, None)]),
        ] {
            assert_eq!(Challenge::parse(header), wanted, "{header}");
        }
        assert_eq!(Challenge::parse(&"Basic, ".repeat(1000)).len(), 8);
    }

    proptest! {
        #[test]
        fn no_header_makes_the_parser_panic(header in "\\PC{0,200}") {
            let _ = Challenge::parse(&header);
        }
    }
}
