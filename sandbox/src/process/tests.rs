use super::*;

#[test]
fn a_name_of_any_form_hides_nothing() {
    let tail = (5..=51).map(|number| format!("{number} ")).collect::<String>();
    let text = format!("42 (a) Z (b)) S 4 {tail}9\n");
    assert_eq!(
        Stat::parse(&text),
        Some(Stat { state: b'S', flags: 9, start_ticks: 22, exit_status: Some(9) })
    );
    assert_eq!(Stat::parse("42 (a) Z"), None);
    assert_eq!(Stat::parse(""), None);
}

#[test]
fn a_process_is_found_again_and_another_of_its_number_is_not() {
    let own = identify(std::process::id() as i32).unwrap();
    assert!(is_alive(own));
    assert_eq!(Process::find(own).unwrap().identity(), own);
    let other = ProcessIdentity { start_ticks: own.start_ticks + 1, ..own };
    assert!(!is_alive(other));
    assert!(Process::find(other).is_none());
}

#[test]
fn the_end_of_a_process_is_learnt_without_being_its_parent() {
    let mut shell = std::process::Command::new("/bin/sh");
    let mut child =
        shell.args(["-c", "read line; exit 7"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
    let identity = identify(child.id() as i32).unwrap();
    let process = Process::find(identity).unwrap();
    assert_eq!(process.kinship, Kinship::Stranger);
    drop(child.stdin.take());
    assert_eq!(process.reap().unwrap().status.and_then(|status| status.code()), Some(7), "a zombie");
    assert!(!is_alive(identity));
    assert_eq!(child.wait().unwrap().code(), Some(7));
    let kept = process.reap().unwrap().status;
    // Kernels before 6.15 do not keep it.
    assert!(kept.is_none_or(|status| status.code() == Some(7)), "{kept:?}");
    assert!(Process::find(identity).is_none());
}
