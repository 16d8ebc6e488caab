//! The layers of a packed image, in the provenance that was written before they were packed.
//!
//! A provenance of rbuild's says of each step on the image's way which of its layers its tree is (`"layers": [from, to]`, counted from the bottom).
//! What they are called is known when the image is packed, which may be later than the build, and another time in another
//! form: then they are named by step as BuildKit names them.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::{Map, Value, json};

use super::{PROVENANCE, PROVENANCE_02, Predicate};
use crate::manifest::Descriptor;

/// The most layers that are named: each step names all of its tree's, and what is loaded may say anything.
const MAX_NAMED: usize = 200_000;

/// Names the layers of each step's tree, in a provenance that says which they are; others stay as they are.
pub fn with_layers<'p>(predicate: &'p Predicate, layers: &[Descriptor]) -> Cow<'p, Predicate> {
    let (steps, metadata) = match predicate.kind.as_str() {
        PROVENANCE => (
            "/buildDefinition/internalParameters/buildConfig/steps",
            "/runDetails/metadata/buildkit_metadata",
        ),
        PROVENANCE_02 => ("/buildConfig/steps", "/metadata/https:~1~1mobyproject.org~1buildkit@v1#metadata"),
        _ => return Cow::Borrowed(predicate),
    };
    let Some(named) = predicate.value.pointer(steps).and_then(|steps| by_step(steps, layers)) else {
        return Cow::Borrowed(predicate);
    };
    let mut predicate = predicate.clone();
    if let Some(Value::Object(metadata)) = predicate.value.pointer_mut(metadata) {
        metadata.insert("layers".to_owned(), Value::Object(named));
    }
    Cow::Owned(predicate)
}

/// Lists the layers under the result of each step that has some: one chain, as a result has one tree.
fn by_step(steps: &Value, layers: &[Descriptor]) -> Option<Map<String, Value>> {
    let chains = steps.as_array()?.iter().filter_map(|step| {
        let chain = layers.get(range(&step["layers"])?)?;
        Some((step["id"].as_str()?, chain))
    });
    let count: usize = chains.clone().map(|(_, chain)| chain.len()).sum();
    let described = |layer: &Descriptor| json!({ "mediaType": layer.media_type, "digest": layer.digest, "size": layer.size });
    let entry = |(id, chain): (&str, &[Descriptor])| {
        (format!("{id}:0"), json!([chain.iter().map(described).collect::<Vec<_>>()]))
    };
    (1..=MAX_NAMED).contains(&count).then(|| chains.map(entry).collect())
}

fn range(written: &Value) -> Option<Range<usize>> {
    let end = |at: usize| usize::try_from(written.get(at)?.as_u64()?).ok();
    Some(end(0)?..end(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::MediaType;

    fn layers() -> [Descriptor; 3] {
        [b"a", b"b", b"c"].map(|bytes| Descriptor::of(MediaType::OCI_LAYER_GZIP, bytes))
    }

    fn steps() -> Value {
        json!([
            {"id": "step0", "layers": [0, 1]},
            {"id": "step1"},
            {"id": "step2", "layers": [2, 3]},
            {"id": "step3", "layers": [0, 3]},
            {"id": "step4", "layers": [0, 4]},
            {"id": "step5", "layers": [2, 1]},
            {"id": "step6", "layers": "all"},
        ])
    }

    #[test]
    fn layers_stand_under_the_steps_whose_trees_they_are() {
        let [a, b, c] = layers().map(|layer| {
            json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                "digest": layer.digest.to_string(),
                "size": 1,
            })
        });
        let expected = json!({
            "source": {},
            "layers": {"step0:0": [[a]], "step2:0": [[c]], "step3:0": [[a, b, c]]},
        });
        let made = Predicate {
            kind: PROVENANCE.to_owned(),
            value: json!({
                "buildDefinition": {"internalParameters": {"buildConfig": {"steps": steps()}}},
                "runDetails": {"metadata": {"buildkit_metadata": {"source": {}}}},
            }),
        };
        let named = with_layers(&made, &layers());
        assert_eq!(named.value["runDetails"]["metadata"]["buildkit_metadata"], expected);
        let key = "https://mobyproject.org/buildkit@v1#metadata";
        let former = Predicate {
            kind: PROVENANCE_02.to_owned(),
            value: json!({"buildConfig": {"steps": steps()}, "metadata": {key: {"source": {}}}}),
        };
        assert_eq!(with_layers(&former, &layers()).value["metadata"][key], expected);
    }

    #[test]
    fn what_says_nothing_of_layers_or_too_much_stays_as_it_is() {
        let said = |kind: &str, steps: Value| Predicate {
            kind: kind.to_owned(),
            value: json!({"buildConfig": {"steps": steps}, "metadata": {}}),
        };
        let many: Vec<Value> =
            (0..=MAX_NAMED / 3).map(|at| json!({"id": at.to_string(), "layers": [0, 3]})).collect();
        for predicate in [
            said("https://example.com/other", steps()),
            said(PROVENANCE_02, Value::Null),
            said(PROVENANCE_02, json!([{"id": "step0"}])),
            said(PROVENANCE_02, json!(many)),
        ] {
            assert!(matches!(with_layers(&predicate, &layers()), Cow::Borrowed(_)));
        }
    }
}
