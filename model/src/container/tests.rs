use super::*;

fn check_policy(text: &str, expected: &str) {
    let told = match text.parse::<RestartPolicy>() {
        Ok(policy) => policy.to_string(),
        Err(error) => error.to_string(),
    };
    assert_eq!(told, expected, "{text}");
}

#[test]
fn restart_policies_read_as_dockers() {
    check_policy("no", "no");
    check_policy("", "no");
    check_policy("always", "always");
    check_policy("unless-stopped", "unless-stopped");
    check_policy("on-failure", "on-failure");
    check_policy("on-failure:3", "on-failure:3");
    check_policy("on-failure:0", "on-failure");
    check_policy(
        "always:3",
        "invalid restart policy: maximum retry count can only be used with 'on-failure'",
    );
    check_policy("on-failure:x", "invalid restart policy format: maximum retry count must be an integer");
    check_policy("on-failure:-1", "invalid restart policy: maximum retry count cannot be negative");
    check_policy(
        "sometimes",
        "invalid restart policy: unknown policy 'sometimes'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
    );
}

fn check_signal(text: &str, number: Option<i32>) {
    assert_eq!(text.parse::<Signal>().ok().map(Signal::number), number, "{text}");
}

#[test]
fn signals_have_names_and_numbers() {
    check_signal("TERM", Some(15));
    check_signal("sigterm", Some(15));
    check_signal("9", Some(9));
    check_signal("SIGRTMIN", Some(34));
    check_signal("RTMIN+3", Some(37));
    check_signal("RTMAX-1", Some(63));
    check_signal("POLL", Some(29));
    for wrong in ["", "0", "32", "65", "-9", "SIGNOPE", "RTMIN+99", "RTMAX+1", "RTMIN-1"] {
        check_signal(wrong, None);
    }
    for number in (1..=31).chain(34..=64) {
        let signal = Signal::from_number(number).unwrap();
        assert_eq!(signal.to_string().parse(), Ok(signal));
    }
}

#[test]
fn names_are_plain() {
    for good in ["ab", "web-1", "A_b.c", "/web", &"a".repeat(4096)] {
        assert!(ContainerName::new(good).is_ok(), "{good}");
    }
    for bad in ["", "a", "-ab", "a b", "a/b", "ü1", "//ab", &"a".repeat(4097)] {
        assert!(ContainerName::new(bad).is_err(), "{bad}");
    }
    assert_eq!(ContainerName::new("/web").unwrap().as_str(), "web");
}

#[test]
fn ids_are_sixty_four_digits() {
    let id = ContainerId::from_bytes([0xab; 32]);
    assert_eq!(id.to_string().parse(), Ok(id));
    assert_eq!(id.short(), "abababababab");
    assert!("AB".repeat(32).parse::<ContainerId>().is_err());
    assert!("ab".parse::<ContainerId>().is_err());
}

#[test]
fn the_start_time_is_counted_from_the_last_bracket() {
    let fields: Vec<String> = (3..=30).map(|field| field.to_string()).collect();
    let stat = format!("17 (a) b (c)) {}", fields.join(" "));
    let identity = ProcessIdentity::from_stat(17, &stat).unwrap();
    assert_eq!(identity, ProcessIdentity { pid: 17, start_ticks: 22 });
    assert_eq!(ProcessIdentity::from_stat(17, "17 (x"), None);
}

#[test]
fn a_state_is_written_by_its_name() {
    let state = State::Created { failure: Some(StartFailure { code: 127, error: "no such file".into() }) };
    let text = serde_json::to_string(&state).unwrap();
    assert_eq!(text, r#"{"status":"created","failure":{"code":127,"error":"no such file"}}"#);
    assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
    assert_eq!(state.exit_code(), 127);
    assert!(!state.is_active());
}
