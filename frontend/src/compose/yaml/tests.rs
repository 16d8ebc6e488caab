//! Texts to trees and back.

use proptest::prelude::*;
use rbuild_model::span::Source;

use super::{Document, Mark, Node, Value, compose, emit};

fn read(text: &str) -> Result<Node, String> {
    let documents = compose(&Source::new("c.yaml", text)).map_err(|error| error.message)?;
    documents.into_iter().next().ok_or_else(|| "nothing".to_owned())
}

fn value(text: &str) -> Value {
    read(&format!("k: {text}\n"))
        .ok()
        .and_then(|node| node.get("k").cloned())
        .map_or(Value::Null, |node| node.value)
}

#[test]
fn plain_scalars_mean_what_compose_files_mean() {
    for (text, wanted) in [
        ("true", Value::Bool(true)),
        ("yes", Value::String("yes".to_owned())),
        ("0644", Value::Int(420)),
        ("0o17", Value::Int(15)),
        ("0x1F", Value::Int(31)),
        ("-0b11", Value::Int(-3)),
        ("1_000", Value::Int(1000)),
        ("12345678901234567890", Value::Wide(12_345_678_901_234_567_890)),
        ("0xFFFFFFFFFFFFFFFF", Value::Wide(u64::MAX)),
        ("18446744073709551616", Value::Float(18_446_744_073_709_551_616.0)),
        ("0808", Value::Float(808.0)),
        ("1e3", Value::Float(1000.0)),
        (".inf", Value::Float(f64::INFINITY)),
        ("22:22", Value::String("22:22".to_owned())),
        ("2024-01-01", Value::String("2024-01-01".to_owned())),
        ("1.2.3", Value::String("1.2.3".to_owned())),
        ("~", Value::Null),
        ("'1'", Value::String("1".to_owned())),
        ("!!str 1", Value::String("1".to_owned())),
        ("!unknown 1", Value::Int(1)),
    ] {
        assert_eq!(value(text), wanted, "{text}");
    }
}

#[test]
fn marks_are_kept_for_merging() {
    let node =
        read("a: !reset 1\nb: !override [1]\nc: &x {d: !reset null}\ne: *x\n").unwrap_or_else(|error| {
            panic!("it is read: {error}");
        });
    assert_eq!(node.get("a").map(|node| (node.mark, node.is_null())), Some((Mark::Reset, true)));
    assert_eq!(node.get("b").map(|node| node.mark), Some(Mark::Override));
    assert_eq!(node.get("e").and_then(|node| node.get("d")).map(|node| node.mark), Some(Mark::Reset));
}

#[test]
fn mistakes_are_told_with_their_lines() {
    for (text, wanted) in [
        ("a: 1\nb: 2\na: 3\n", "line 3: mapping key \"a\" already defined at line 1"),
        ("1: x\n", "non-string key at top level: 1"),
        ("a:\n  - b: {~: x}\n", "non-string key in a[0].b: <nil>"),
        ("a: &x {b: *x}\n", "cycle detected: node at path a.b references node at path a"),
        ("a: &a {}\nb:\n  <<: *a\n  <<: *a\n", "line 4: mapping key \"<<\" already defined at line 3"),
        ("<<: 3\n", "map merge requires map or sequence of maps as the value"),
        ("a:\n\tb: 1\n", "found character that cannot start any token"),
        ("a: *gone\n", "anchor"),
    ] {
        let error = read(text).map(|_| String::new()).unwrap_or_else(|error| error);
        assert!(error.contains(wanted), "{text:?}: {error}");
    }
}

#[test]
fn aliases_do_not_unfold_without_end() {
    let mut text = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n".to_owned();
    for level in 1..9 {
        let list = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{list}]\n"));
    }
    assert_eq!(read(&text).err().as_deref(), Some("yaml: document contains excessive aliasing"));
    let deep = "[".repeat(10_000);
    assert!(read(&deep).is_err());
}

#[test]
fn an_alias_may_name_an_anchor_of_an_earlier_document() {
    let documents = compose(&Source::new("c.yaml", "a: &x 1\n---\nb: *x\n")).map_err(|error| error.message);
    let second = documents.map(|documents| documents.get(1).and_then(|node| node.get("b")?.scalar()));
    assert_eq!(second, Ok(Some("1".to_owned())));
}

#[test]
fn a_block_has_the_line_break_at_its_end_that_is_written() {
    for (text, wanted) in [
        ("k: |\n  a\n  b\n", "a\nb\n"),
        ("k: |\n  a\n  b", "a\nb"),
        ("k: >\n  a\n  b", "a b"),
        ("k: |+\n  a", "a"),
        ("k: |-\n  a", "a"),
        ("k: |\n  a\n# end", "a\n"),
        ("\u{feff}k: |\n  é", "é"),
        ("k: [\"a\\n\"]", ""),
    ] {
        let node = read(text).ok().and_then(|node| node.get("k")?.scalar());
        assert_eq!(node.unwrap_or_default(), wanted, "{text:?}");
    }
}

#[test]
fn every_node_knows_its_place() {
    let source = Source::new("c.yaml", "é: {a: [x, yy]}\nb:\n  c: |\n    text\n");
    let documents = compose(&source).unwrap_or_default();
    let yy = documents[0].get("é").and_then(|node| node.get("a")?.as_list()?.get(1)?.at.clone());
    let text = yy.and_then(|at| source.text().get(at.span.range()).map(str::to_owned));
    assert_eq!(text.as_deref(), Some("yy"));
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (1 << 63..=u64::MAX).prop_map(Value::Wide),
        (-1e9..1e9_f64).prop_map(Value::Float),
        "[ a-zA-Z0-9:#'\"\\\\\\[\\]{},&*!|>%@`?=~.<\n\té\u{1}-]{0,12}".prop_map(Value::String),
        "[0-9:.eEx_+-]{0,8}".prop_map(Value::String),
    ]
}

fn tree() -> impl Strategy<Value = Document> {
    leaf().prop_map(Document::Scalar).prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Document::List),
            prop::collection::btree_map("[a-zN1:# -]{1,4}", inner, 0..4)
                .prop_map(|map| Document::Map(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_again_as_the_same(document in tree()) {
        let text = emit(&Document::Map(vec![("k".to_owned(), document.clone())]));
        let again = read(&text).map(|node| Document::from(&node));
        let wanted = Document::Map(vec![("k".to_owned(), numbers(document))]);
        prop_assert_eq!(again.map(numbers), Ok(numbers(wanted)), "{}", text);
    }

    #[test]
    fn no_text_makes_it_panic(text in "[a-c:&*!{}\\[\\]<>|?#'\" \n\t-]{0,60}") {
        let _ = read(&text);
    }
}

/// Makes whole numbers of either kind the same: a point is not written where there is nothing behind it.
fn numbers(document: Document) -> Document {
    match document {
        Document::Scalar(Value::Float(number)) if number.fract() == 0.0 => {
            Document::Scalar(Value::Int(number as i64))
        }
        Document::List(list) => Document::List(list.into_iter().map(numbers).collect()),
        Document::Map(map) => {
            Document::Map(map.into_iter().map(|(key, value)| (key, numbers(value))).collect())
        }
        other => other,
    }
}
