//! The tables of the Dockerfile reference: variables, quoting, patterns.

use super::*;

fn env() -> BTreeMap<String, String> {
    [
        ("A", "hello"),
        ("B", "world wide"),
        ("EMPTY", ""),
        ("NAME", "foo.bar.baz"),
        ("PATHS", "/a/b/c"),
        ("1", "one"),
        ("ümlaut", "u"),
        ("STARS", "a*b?c\\d"),
        ("MULTI", "föö"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

fn check(table: &[(&str, &str)]) {
    for (input, expected) in table {
        let actual = match expand(input, Mode::argument('\\'), &env()) {
            Ok(expanded) => expanded.text,
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(&actual, expected, "input {input:?}");
    }
}

#[test]
fn plain_references() {
    check(&[
        ("$A", "hello"),
        ("${A}", "hello"),
        ("x${A}y", "xhelloy"),
        ("$UNSET", ""),
        ("a$UNSET.b", "a.b"),
        ("$1x", "onex"),
        ("$12", ""),
        ("$", "$"),
        ("a$", "a$"),
        ("$.", "$."),
        ("$ A", "$ A"),
        ("$$", ""),
        ("$$A", "A"),
        ("$@$*$#$?$-$!$0", ""),
        ("$ümlaut", "u"),
        ("${1}", "one"),
        ("$A-x", "hello-x"),
        ("$Ax", ""),
    ]);
}

#[test]
fn quotes_and_escapes() {
    check(&[
        ("'$A'", "$A"),
        ("\"$A\"", "hello"),
        ("\"'$A'\"", "'hello'"),
        ("'\"'", "\""),
        ("\\$A", "$A"),
        ("\"\\$A\"", "$A"),
        ("\"a\\\"b\"", "a\"b"),
        ("\"a\\b\"", "a\\b"),
        ("\"a\\\\b\"", "a\\b"),
        ("a\\b", "ab"),
        ("a\\\\b", "a\\b"),
        ("a\\", "a"),
        ("a\\ b", "a b"),
        ("'a\\'", "a\\"),
        ("'a", "error: unexpected end of statement while looking for matching single-quote"),
        ("\"a", "error: unexpected end of statement while looking for matching double-quote"),
        ("\"a\\", "error: unexpected end of statement while looking for matching double-quote"),
        ("a'b'\"c\"d", "abcd"),
        ("''", ""),
    ]);
}

#[test]
fn conditionals() {
    check(&[
        ("${A:-w}", "hello"),
        ("${A-w}", "hello"),
        ("${EMPTY:-w}", "w"),
        ("${EMPTY-w}", ""),
        ("${UNSET:-w}", "w"),
        ("${UNSET-w}", "w"),
        ("${A:+w}", "w"),
        ("${A+w}", "w"),
        ("${EMPTY:+w}", ""),
        ("${EMPTY+w}", "w"),
        ("${UNSET:+w}", ""),
        ("${UNSET+w}", ""),
        ("${A:?w}", "hello"),
        ("${A?w}", "hello"),
        ("${EMPTY:?w}", "error: EMPTY: w"),
        ("${EMPTY?w}", ""),
        ("${UNSET:?w}", "error: UNSET: w"),
        ("${UNSET?w}", "error: UNSET: w"),
        ("${UNSET?}", "error: UNSET: is not allowed to be unset"),
        ("${UNSET:?}", "error: UNSET: is not allowed to be unset"),
        ("${EMPTY:?}", "error: EMPTY: is not allowed to be empty"),
        ("${UNSET:-$A}", "hello"),
        ("${UNSET:-${A}}", "hello"),
        ("${UNSET:-${UNSET2:-x y}}", "x y"),
        ("${UNSET:-'a}b'}", "a}b"),
        ("\"${UNSET:-'q'}\"", "q"),
        ("${UNSET:-a\\}b}", "a}b"),
        ("${UNSET:-a:b-c}", "a:b-c"),
    ]);
}

#[test]
fn malformed_substitutions() {
    check(&[
        ("${}", "error: syntax error: bad substitution"),
        ("${:}", "error: syntax error: bad substitution"),
        ("${{x}", "error: syntax error: bad substitution"),
        ("${", "error: syntax error: missing '}'"),
        ("${A:}", "error: syntax error: missing '}'"),
        ("${A:-x", "error: syntax error: missing '}'"),
        ("${A-x", "error: syntax error: missing '}'"),
        ("${A/x}", "error: syntax error: missing '/' in ${}"),
        ("${A/x/y", "error: syntax error: missing '}'"),
        ("${A:=x}", "error: unsupported modifier (:=) in substitution"),
        ("${A:#x}", "error: unsupported modifier (:#) in substitution"),
        ("${A:x}", "error: unsupported modifier (:x) in substitution"),
        ("${A=x}", "error: unsupported modifier (=) in substitution"),
        ("${A", "error: unsupported modifier () in substitution"),
        ("${A/\\a/x}", "error: invalid escape '\\a'"),
        ("${A#\\a}", "error: invalid escape '\\a'"),
    ]);
}

#[test]
fn prefixes_and_suffixes() {
    check(&[
        ("${NAME#*.}", "bar.baz"),
        ("${NAME##*.}", "baz"),
        ("${NAME%.*}", "foo.bar"),
        ("${NAME%%.*}", "foo"),
        ("${NAME#foo}", ".bar.baz"),
        ("${NAME#bar}", "foo.bar.baz"),
        ("${NAME#?}", "oo.bar.baz"),
        ("${NAME%?}", "foo.bar.ba"),
        ("${NAME##*}", ""),
        ("${NAME#*}", "foo.bar.baz"),
        ("${NAME%%*}", ""),
        ("${NAME%[z]}", "foo.bar.baz"),
        ("${UNSET#x}", ""),
        ("${PATHS#/a\\/}", "b/c"),
        ("${STARS#a\\*}", "b?c\\d"),
        ("${STARS#*\\?}", "c\\d"),
        ("${STARS%\\\\d}", "a*b?c"),
        ("${MULTI%?}", "fö"),
        ("${MULTI#f?}", "ö"),
        ("${A#$A}", ""),
    ]);
}

#[test]
fn replacements() {
    check(&[
        ("${A/l/L}", "heLlo"),
        ("${A//l/L}", "heLLo"),
        ("${A/x/y}", "hello"),
        ("${A/l*/X}", "heX"),
        ("${A//?/-}", "-----"),
        ("${A//l/}", "heo"),
        ("${A/h*o/}", ""),
        ("${PATHS//\\//-}", "-a-b-c"),
        ("${A/l/\\/}", "he\\/lo"),
        ("${A/l/$A}", "hehellolo"),
        ("${UNSET/a/b}", ""),
        ("${A//*/x}", "x"),
        ("${A//'l'/Q}", "heQQo"),
    ]);
}

#[test]
fn words_split_only_at_bare_blanks() {
    let words = |text: &str| split(text, Mode::argument('\\'), &env()).map(|(_, words)| words);
    assert_eq!(words("a b  c").unwrap(), ["a", "b", "c"]);
    assert_eq!(words("'a b' c").unwrap(), ["a b", "c"]);
    assert_eq!(words("a\\ b c").unwrap(), ["a b", "c"]);
    assert_eq!(words("$B").unwrap(), ["world", "wide"]);
    assert_eq!(words("\"$B\"").unwrap(), ["world wide"]);
    assert_eq!(words("x$B").unwrap(), ["xworld", "wide"]);
    assert_eq!(words("$EMPTY ''").unwrap(), Vec::<String>::new());
}

#[test]
fn heredoc_bodies_keep_quotes_and_lose_every_backslash() {
    let body = |text: &str| expand(text, Mode::heredoc(), &env()).unwrap().text;
    assert_eq!(body("'$A' \"${A}\"\n"), "'hello' \"hello\"\n");
    assert_eq!(body("\\n \\\\ \\$A \\\nx"), "n \\ $A \nx");
    assert_eq!(body("$UNSET<<X"), "<<X");
}

#[test]
fn unset_variables_are_named_once_and_displayed_as_written() {
    let expanded = expand("$X ${X:-y} ${Z} $A", Mode::argument('\\'), &env()).unwrap();
    assert_eq!(expanded.unset, ["X", "Z"]);
    let shown = expand("$X ${X:-y} \"${A}\" '$A' a\\b", Mode::display('\\'), &env()).unwrap();
    assert_eq!(shown.text, "$X ${X:-y} \"hello\" '$A' a\\b");
}

#[test]
fn the_escape_character_is_the_files() {
    let expanded = expand("a`b\\c `$A \"`$A\"", Mode::argument('`'), &env()).unwrap();
    assert_eq!(expanded.text, "ab\\c $A $A");
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    let text = "${a-".repeat(100_000);
    assert!(expand(&text, Mode::argument('\\'), &()).is_err());
}
