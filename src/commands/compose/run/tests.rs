use super::*;

#[test]
fn the_first_word_is_the_service() {
    let all = ["web", "sh", "-c", "exit 3"].map(OsString::from);
    let (name, argv) = super::words(&all).expect("words");
    assert_eq!((name.as_str(), argv.join("|")), ("web", "sh|-c|exit 3".to_owned()));
    assert!(super::words(&[]).is_err());
}

#[test]
fn programs_are_divided_as_a_shell_does() {
    assert_eq!(split("sh -c 'exit 3'").expect("words"), ["sh", "-c", "exit 3"]);
    assert!(split("sh 'open").is_err());
}
