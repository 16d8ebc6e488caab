use proptest::prelude::*;
use rbuild_model::digest::BlobDigest;

use super::*;

fn key(byte: u8) -> CacheKey {
    CacheKey::from_bytes([byte; 32])
}

fn blob(byte: u8) -> Blob {
    let media_type = MediaType::OCI_LAYER_GZIP.to_owned();
    Blob { media_type, digest: BlobDigest::from_bytes([byte; 32]), size: u64::from(byte) }
}

pub(crate) fn layer(byte: u8) -> Layer {
    Layer {
        diff_id: DiffId::from_bytes([byte; 32]),
        blob: Some(blob(byte)),
        encoding: Some("gzip:6".to_owned()),
        standing: Standing::OnOthers,
    }
}

pub(crate) fn record(definition: u8, layers: Option<Vec<u32>>) -> Record {
    Record {
        name: format!("step {definition}"),
        definitions: vec![key(definition)],
        contents: Vec::new(),
        canonical: key(definition),
        layers,
        started_ns: 1,
        took_ns: 2,
        cpu_ns: None,
        peak_memory: None,
        bytes: None,
    }
}

fn refused(catalog: &Catalog) -> String {
    Catalog::parse(&catalog.to_bytes()).expect_err("it is not acceptable").to_string()
}

#[test]
fn what_does_not_hold_together_is_refused() {
    let sound =
        Catalog { layers: vec![layer(1)], records: vec![record(1, Some(vec![0]))], ..Catalog::default() };
    assert_eq!(Catalog::parse(&sound.to_bytes()).unwrap(), sound);

    let dangling = Catalog { records: vec![record(1, Some(vec![1]))], ..sound.clone() };
    assert!(refused(&dangling).contains("names layer 1"), "{}", refused(&dangling));
    let twice = Catalog { records: vec![record(1, None), record(1, None)], ..sound.clone() };
    assert!(refused(&twice).contains("two records claim"), "{}", refused(&twice));
    let high = Catalog { records: vec![record(1, Some(vec![0; 501]))], ..sound.clone() };
    assert!(refused(&high).contains("more than 500 layers"), "{}", refused(&high));
    let step = Step { stage: String::new(), name: String::new(), record: Some(7) };
    let build = Build { target: String::new(), started_ns: 0, steps: vec![step] };
    assert!(refused(&Catalog { builds: vec![build], ..sound.clone() }).contains("a step names a record"));
    for name in ["../../etc", "", "0123456789abcdef0123456789abcde/"] {
        let mount =
            Mount { name: name.to_owned(), id: String::new(), list: blob(1), chunks: vec![], bytes: 0 };
        assert!(
            refused(&Catalog { mounts: vec![mount], ..sound.clone() })
                .contains("not the name of a cache mount")
        );
    }
    let huge = Layer { blob: Some(Blob { size: u64::MAX, ..blob(1) }), ..layer(1) };
    assert!(refused(&Catalog { layers: vec![huge], ..sound.clone() }).contains("is said to have"));
    let odd = Layer { blob: Some(Blob { media_type: "text/plain".to_owned(), ..blob(1) }), ..layer(1) };
    assert!(refused(&Catalog { layers: vec![odd], ..sound.clone() }).contains("unknown type"));
    assert!(refused(&Catalog { version: 2, ..sound.clone() }).contains("version 2"));
    assert!(refused(&Catalog { keys: 99, ..sound }).contains("version 99"));
}

#[test]
fn what_is_no_catalog_is_refused() {
    for text in
        ["", "{}", "[]", "null", "{\"rbuild.cache\": 1}", "{\"rbuild.cache\": 1, \"keys\": 1, \"layers\": 7}"]
    {
        assert!(Catalog::parse(text.as_bytes()).is_err(), "{text}");
    }
    let build = Build { target: String::new(), started_ns: 0, steps: Vec::new() };
    let many = Catalog { builds: vec![build; MAX_ENTRIES + 1], ..Catalog::default() };
    assert!(refused(&many).contains("more than 100000 builds"), "{}", refused(&many));
    let deep = "[".repeat(100_000);
    assert!(Catalog::parse(format!("{{\"rbuild.cache\":1,\"keys\":1,\"x\":{deep}").as_bytes()).is_err());
    let long = vec![b' '; usize::try_from(MAX_BYTES).unwrap() + 1];
    assert!(matches!(Catalog::parse(&long), Err(CatalogError::TooLarge)));
}

fn catalogs() -> impl Strategy<Value = Catalog> {
    let layer = (any::<u8>(), any::<bool>(), any::<bool>()).prop_map(|(byte, has_blob, alone)| Layer {
        blob: has_blob.then(|| blob(byte)),
        encoding: has_blob.then(|| "zstd:3".to_owned()),
        standing: if alone { Standing::Alone } else { Standing::OnOthers },
        ..layer(byte)
    });
    let layers = prop::collection::vec(layer, 1..5);
    let stacks = prop::collection::vec(
        prop::option::of(prop::collection::vec(any::<prop::sample::Index>(), 0..4)),
        0..6,
    );
    (layers, stacks, any::<i64>(), "[a-z \"]{0,8}").prop_map(|(layers, stacks, started_ns, name)| {
        let records: Vec<Record> = stacks
            .into_iter()
            .enumerate()
            .map(|(at, stack)| {
                let at = at as u8;
                let layers =
                    stack.map(|stack| stack.iter().map(|on| on.index(layers.len()) as u32).collect());
                let contents = if at.is_multiple_of(2) { vec![key(at)] } else { Vec::new() };
                Record { name: name.clone(), contents, started_ns, ..record(at, layers) }
            })
            .collect();
        let steps = (0..records.len())
            .map(|at| Step { stage: name.clone(), name: name.clone(), record: Some(at as u32) })
            .collect();
        let builds = vec![Build { target: name, started_ns, steps }];
        Catalog { layers, records, builds, ..Catalog::default() }
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_the_same(catalog in catalogs()) {
        prop_assert_eq!(Catalog::parse(&catalog.to_bytes()).unwrap(), catalog);
    }

    #[test]
    fn no_bytes_are_a_reason_to_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Catalog::parse(&bytes);
    }
}
