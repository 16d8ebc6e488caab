//! What the configuration forbids, what headers registries get, and logging in.

use super::*;

#[tokio::test]
async fn nobody_is_asked_offline_nor_what_is_blocked() {
    let fake = Fake::start(|_, _| response("200 OK", &[], &manifest())).await;
    let offline = Client::new(Registries { offline: true, ..quick() }).unwrap();
    let refused = offline.manifest(&fake.reference("a/b:1")).await.unwrap_err();
    assert_eq!(refused.to_string(), format!("http://{} is not asked: this is offline", fake.address));
    let descriptor = Descriptor::of("x", b"right");
    let upload = Upload { descriptor: &descriptor, sender: &RIGHT, mount_from: None };
    assert!(matches!(
        offline.push_blob(&fake.reference("a/b:1"), upload).await,
        Err(ClientError::Offline(_))
    ));
    for (blocked, name) in [("", "a/b:1"), ("/a", "a/b:1"), ("/a/b", "a/b:1")] {
        let blocked = vec![format!("{}{blocked}", fake.address)];
        let client = Client::new(Registries { blocked, ..quick() }).unwrap();
        let refused = client.manifest(&fake.reference(name)).await.unwrap_err();
        assert!(matches!(refused, ClientError::Blocked(_)), "{refused}");
    }
    let wild = Client::new(Registries { blocked: vec!["*.evil.example".into()], ..quick() }).unwrap();
    let refused = wild.manifest(&"r.evil.example/a:1".parse().unwrap()).await.unwrap_err();
    assert!(matches!(refused, ClientError::Blocked(_)), "{refused}");
    assert_eq!(fake.seen().len(), 0);
    let other = vec![format!("{}/ab", fake.address)];
    let client = Client::new(Registries { blocked: other, ..quick() }).unwrap();
    client.manifest(&fake.reference("a/b:1")).await.unwrap();
}

#[tokio::test]
async fn no_other_way_of_writing_a_name_leads_around_a_block() {
    let registries = |entry: &str| Registries { blocked: vec![entry.to_owned()], offline: true, ..quick() };
    let hex = "a".repeat(64);
    for (entry, name, blocked) in [
        ("evil.example", "evil.example/a:1", true),
        ("evil.example", "EVIL.example/a:1", true),
        ("Evil.Example", "evil.example/a:1", true),
        ("evil.example", "evil.example:443/a:1", true),
        ("evil.example:443", "evil.example/a", true),
        ("evil.example", "evil.example:5000/a", true),
        ("evil.example:5000", "evil.example/a", false),
        ("evil.example", "notevil.example/a", false),
        ("evil.example", "evil.example.org/a", false),
        ("EVIL.example/team", "Evil.example:443/team/a", true),
        ("evil.example/team", "evil.example/teams/a", false),
        ("*.example", "A.B.EXAMPLE:5000/a", true),
        ("docker.io", "a", true),
        ("docker.io", "index.docker.io/library/a", true),
        ("docker.io", "registry-1.docker.io/library/a", true),
        ("index.docker.io", "a", true),
        ("docker.io/library/a", "registry-1.docker.io:443/library/a:1", true),
        ("docker.io/library/a", &format!("a@sha256:{hex}"), true),
        ("docker.io/library/a", "b", false),
    ] {
        let client = Client::new(registries(entry)).unwrap();
        let refused = client.manifest(&name.parse().unwrap()).await.unwrap_err();
        match blocked {
            true => assert!(matches!(refused, ClientError::Blocked(_)), "{entry} {name}: {refused}"),
            false => assert!(matches!(refused, ClientError::Offline(_)), "{entry} {name}: {refused}"),
        }
    }
}

#[tokio::test]
async fn what_lies_at_another_server_is_asked_for_there_alone() {
    let itself = Fake::start(|_, _| response("200 OK", &[], &manifest())).await;
    let place = Fake::start(|_, _| response("404 Not Found", &[], b"")).await;
    let mut registries = quick();
    registries.relocate(&itself.address, place.address.parse().unwrap());
    registries.elsewhere = vec!["r.test/some".to_owned()];
    let client = Client::new(registries).unwrap();
    assert!(client.manifest(&itself.reference("a/b:1")).await.unwrap_err().is_not_found());
    let descriptor = Descriptor::of("x", b"right");
    let upload = Upload { descriptor: &descriptor, sender: &RIGHT, mount_from: None };
    client.push_blob(&itself.reference("a/b:1"), upload).await.unwrap_err();
    assert_eq!(itself.seen().len(), 0, "by its own name others may answer");
    assert!(place.seen().iter().any(|seen| seen.line.starts_with("POST ")));
    for name in ["r.test/some:1", "R.test/some/a"] {
        let refused = client.manifest(&name.parse().unwrap()).await.unwrap_err();
        assert!(matches!(refused, ClientError::Elsewhere(_)), "{refused}");
    }
}

#[tokio::test]
async fn who_stands_in_a_registrys_place_gets_none_of_its_credentials() {
    struct Of(String);
    impl Credentials for Of {
        fn for_registry(&self, registry: &str) -> Result<Option<Credential>, CredentialError> {
            let password = Credential::Password { username: "user".into(), password: "hunter2".into() };
            Ok((registry == self.0).then_some(password))
        }
    }
    let place =
        Fake::start(|_, _| response("401 Unauthorized", &[("WWW-Authenticate", "Basic realm=x")], b"{}"))
            .await;
    let mut registries = Registries { credentials: Arc::new(Of("r.test".to_owned())), ..quick() };
    registries.relocate("r.test", place.address.parse().unwrap());
    let client = Client::new(registries).unwrap();
    assert!(client.manifest(&"r.test/a:1".parse().unwrap()).await.unwrap_err().is_denied());
    assert!(place.seen().iter().all(|seen| seen.header("authorization").is_none()));
    // Its own are for it.
    let mut registries = Registries { credentials: Arc::new(Of(place.address.clone())), ..quick() };
    registries.relocate("r.test", place.address.parse().unwrap());
    let client = Client::new(registries).unwrap();
    client.manifest(&"r.test/a:1".parse().unwrap()).await.unwrap_err();
    assert!(place.seen().last().unwrap().header("authorization").is_some());
}

#[tokio::test]
async fn a_blocked_registry_is_not_spoken_to_for_any_end() {
    let fake = Fake::start(|_, _| response("200 OK", &[], b"{}")).await;
    let address = &fake.address;
    let blocking = |entry: &str| Registries { blocked: vec![entry.to_owned()], ..quick() };
    let client = Client::new(blocking(address)).unwrap();
    assert!(matches!(client.ping(address).await, Err(ClientError::Blocked(_))));
    assert!(matches!(client.catalog(address).await, Err(ClientError::Blocked(_))));
    assert!(matches!(client.search(address, "x", 1).await, Err(ClientError::Blocked(_))));
    let password = Credential::Password { username: "user".into(), password: "hunter2".into() };
    let refused = Client::log_in(&blocking(address), address, password).await.unwrap_err();
    assert!(matches!(refused, ClientError::Blocked(_)), "{refused}");
    assert_eq!(fake.seen().len(), 0);
    // Were it asked all the same, there would be nobody.
    let hub = Client::new(Registries { offline: true, ..blocking("docker.io") }).unwrap();
    let refused = hub.search("index.docker.io", "x", 1).await.unwrap_err();
    assert!(matches!(refused, ClientError::Blocked(_)), "{refused}");
    // Who blocks one repository goes on with the others.
    let client = Client::new(blocking(&format!("{address}/a"))).unwrap();
    client.ping(address).await.unwrap();
}

#[tokio::test]
async fn a_redirect_elsewhere_is_told_what_is_wanted_and_not_by_whom() {
    let elsewhere = Fake::start(|_, _| response("200 OK", &[], b"right")).await;
    let target = format!("http://{}/x", elsewhere.address);
    let fake = Fake::start(move |request, _| match request.line.contains("/here") {
        true => response("307 Temporary Redirect", &[("Location", &target)], b""),
        false => response("307 Temporary Redirect", &[("Location", "/here")], b""),
    })
    .await;
    let call = Call {
        method: "GET",
        url: format!("http://{}/a", fake.address),
        headers: vec![
            ("authorization", "A".to_owned()),
            ("x-amz-security-token", "S".to_owned()),
            ("x-ms-version", "V".to_owned()),
            ("range", "bytes=0-4".to_owned()),
            ("if-none-match", "E".to_owned()),
        ],
        body: None,
    };
    Web::new(&quick()).unwrap().call(&call, 100).await.unwrap();
    let (near, far) = (&fake.seen()[1], &elsewhere.seen()[0]);
    for (name, value) in &call.headers {
        assert_eq!(near.header(name), Some(value.as_str()), "{name}");
    }
    for name in ["authorization", "x-amz-security-token", "x-ms-version"] {
        assert_eq!(far.header(name), None, "{name}");
    }
    assert_eq!((far.header("range"), far.header("if-none-match")), (Some("bytes=0-4"), Some("E")));
    assert_eq!(far.header("accept-encoding"), Some("identity"));
    assert!(far.header("user-agent").unwrap().starts_with("rbuild/"));
}

pub(super) const RIGHT: &[u8] = b"right";

struct WithHeaders;

impl Credentials for WithHeaders {
    fn for_registry(&self, _registry: &str) -> Result<Option<Credential>, CredentialError> {
        Ok(None)
    }

    fn headers(&self) -> Vec<(String, String)> {
        [("X-Meta-Team", "a"), ("User-Agent", "evil"), ("bad name", "x")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }
}

#[tokio::test]
async fn headers_of_the_users_file_go_to_registries_alone() {
    let elsewhere = Fake::start(|_, _| response("200 OK", &[], b"right")).await;
    let target = format!("http://{}/x", elsewhere.address);
    let fake =
        Fake::start(move |_, _| response("307 Temporary Redirect", &[("Location", &target)], b"")).await;
    let client = Client::new(Registries { credentials: Arc::new(WithHeaders), ..quick() }).unwrap();
    let mut memory = Memory::default();
    let descriptor = Descriptor::of("x", b"right");
    client.blob(&fake.reference("a/b:1"), &descriptor, &mut memory).await.unwrap();
    assert_eq!(fake.seen()[0].header("x-meta-team"), Some("a"));
    assert!(fake.seen()[0].header("user-agent").unwrap().starts_with("rbuild/"));
    assert_eq!(elsewhere.seen()[0].header("x-meta-team"), None);
}

#[tokio::test]
async fn logging_in_shows_the_password_once_and_keeps_a_token_for_it() {
    for (body, kept) in [(r#"{"token":"T","refresh_token":"R"}"#, Some("R")), (r#"{"token":"T"}"#, None)] {
        let fake = Fake::start(move |request, _| {
            let challenge =
                format!("Bearer realm=\"http://{}/token\",service=\"s\"", request.header("host").unwrap());
            if request.line.contains("/token?") {
                return response("200 OK", &[], body.as_bytes());
            }
            match request.header("authorization") {
                Some("Bearer T") => response("200 OK", &[], b"{}"),
                _ => response("401 Unauthorized", &[("WWW-Authenticate", &challenge)], b""),
            }
        })
        .await;
        let password = Credential::Password { username: "user".into(), password: "hunter2".into() };
        let found = Client::log_in(&quick(), &fake.address, password.clone()).await.unwrap();
        assert_eq!(found, kept.map_or(password, |token| Credential::IdentityToken(token.into())));
        let token = &fake.seen()[1];
        assert!(
            token.line.contains("offline_token=true") && !token.line.contains("scope="),
            "{}",
            token.line
        );
        assert!(token.header("authorization").unwrap().starts_with("Basic "));
        assert!(fake.seen().iter().all(|seen| !seen.line.contains("hunter2")));
    }
    let fake =
        Fake::start(|_, _| response("401 Unauthorized", &[("WWW-Authenticate", "Basic realm=x")], b"{}"))
            .await;
    let wrong = Credential::Password { username: "user".into(), password: "wrong".into() };
    let refused = Client::log_in(&quick(), &fake.address, wrong).await.unwrap_err();
    assert!(refused.is_denied(), "{refused}");
}

#[test]
fn hosts_are_insecure_by_name_port_range_or_domain() {
    let registries = Registries {
        insecure: vec!["10.0.0.0/8".into(), "plain.test:5000".into(), "*.lab.test".into()],
        ..Registries::default()
    };
    for (url, insecure) in [
        ("https://10.1.2.3:5000", true),
        ("https://11.1.2.3", false),
        ("https://plain.test:5000", true),
        ("https://plain.test", false),
        ("https://r.lab.test", true),
        ("https://lab.test", false),
        ("https://evillab.test", false),
        ("https://127.9.9.9", true),
    ] {
        assert_eq!(registries.is_insecure(&url.parse().unwrap()), insecure, "{url}");
    }
}
