//! The keys of one step, from what its inputs matched.

use rbuild_model::graph::Graph;
use rbuild_model::graph::StepId;
use rbuild_model::key::{CacheKey, ContentHash, Keyed as _, PreImage};
use rbuild_model::mount::InputIndex;
use rbuild_model::step::{Operation, Selection, Source};

/// The pre-images of a step's keys, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepKeys {
    /// Of the definition key.
    pub definition: Option<PreImage>,
    /// Of the content key.
    pub content: Option<PreImage>,
}

impl StepKeys {
    /// Returns the key that dependents build on: the content key if there is one.
    pub fn canonical(&self) -> Option<CacheKey> {
        self.content.as_ref().or(self.definition.as_ref()).map(PreImage::key)
    }

    /// Returns the keys of the same step on other content: for a runner that found that what it copied is no longer
    /// what was hashed.
    #[must_use]
    pub fn with_hashes(&self, hashes: &[ContentHash]) -> Self {
        let content = self.content.clone().map(|content| match content {
            PreImage::Fields(mut fields) => {
                if let Some((_, selected)) = fields.iter_mut().find(|(name, _)| name == SELECTED) {
                    *selected = selected_pre_image(hashes);
                }
                PreImage::Fields(fields)
            }
            other => other,
        });
        Self { definition: self.definition.clone(), content }
    }
}

/// How the key of an image, of an archive or of the empty root is known without a look-up.
pub(crate) fn source_key(operation: &Operation) -> Option<CacheKey> {
    match operation {
        Operation::Source(Source::Image(_) | Source::Archive(_) | Source::Scratch) => {
            Some(operation.pre_image().key())
        }
        _ => None,
    }
}

/// Returns everything that a step selects of its inputs; empty for a step without a content key.
pub(crate) fn selections(graph: &Graph, id: StepId) -> Vec<Selection> {
    let step = graph.step(id);
    (0..step.inputs.len())
        .filter_map(|at| step.operation.selections(InputIndex(at as u32)))
        .flatten()
        .collect()
}

/// Describes the definition: the operation and the canonical key of each input. `None` if an input has no key.
///
/// An input that nothing is selected of only fills new cache folders, and what caches hold is in no key.
pub(crate) fn definition(operation: &Operation, inputs: &[Option<CacheKey>]) -> Option<PreImage> {
    let describe = |(at, key): (usize, &Option<CacheKey>)| {
        let fills_caches =
            operation.selections(InputIndex(at as u32)).is_some_and(|selected| selected.is_empty());
        if fills_caches { Some(PreImage::Absent) } else { key.map(PreImage::Key) }
    };
    let inputs: Option<Vec<PreImage>> = inputs.iter().enumerate().map(describe).collect();
    Some(PreImage::fields([
        ("kind", PreImage::text("definition")),
        ("operation", operation.pre_image()),
        ("inputs", PreImage::List(inputs?)),
        ("paths", definition_paths(operation)),
    ]))
}

/// The paths that an operation selects: in the definition key only, as content stands for them elsewhere.
fn definition_paths(operation: &Operation) -> PreImage {
    use rbuild_model::mount::Mount;
    use rbuild_model::step::{CopySource, FileAction};
    let mut paths = Vec::new();
    match operation {
        Operation::Source(_) | Operation::Merge => {}
        Operation::Exec(exec) => {
            for mount in &exec.mounts {
                if let Mount::Bind(bind) = mount {
                    paths.push(PreImage::text(&bind.source));
                }
            }
        }
        Operation::File(actions) => {
            for action in actions {
                let FileAction::Copy(copy) = action else { continue };
                for source in &copy.sources {
                    if let CopySource::Tree { path, .. } = source {
                        paths.push(PreImage::List(vec![
                            PreImage::text(&path.path),
                            PreImage::Flag(path.wildcard),
                            PreImage::Flag(path.optional),
                        ]));
                    }
                }
                if let Some(owner) = &copy.owner {
                    paths.push(PreImage::optional(owner.lookup, |input| PreImage::Number(input.0.into())));
                }
            }
        }
    }
    PreImage::List(paths)
}

/// Describes the content: the operation, the hash of each selection, and the canonical key of each other input.
/// `None` if such an input has no key.
pub(crate) fn content(
    operation: &Operation,
    inputs: &[Option<CacheKey>],
    hashes: &[ContentHash],
) -> Option<PreImage> {
    let whole: Option<Vec<PreImage>> = inputs
        .iter()
        .enumerate()
        .filter(|(at, _)| operation.selections(InputIndex(*at as u32)).is_none())
        .map(|(_, key)| key.map(PreImage::Key))
        .collect();
    Some(PreImage::fields([
        ("kind", PreImage::text("content")),
        ("operation", operation.pre_image()),
        ("inputs", PreImage::List(whole?)),
        (SELECTED, selected_pre_image(hashes)),
    ]))
}

/// The field of a content key that holds the hashes.
const SELECTED: &str = "selected";

fn selected_pre_image(hashes: &[ContentHash]) -> PreImage {
    PreImage::List(hashes.iter().copied().map(PreImage::Content).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rbuild_model::step::{FileAction, MakeDir};

    #[test]
    fn keys_on_other_content_are_those_that_it_would_have_had() {
        let make = MakeDir { path: "/w".into(), owner: String::new(), epoch: None };
        let operation = Operation::File(vec![FileAction::MakeDir(make)]);
        let inputs = [Some(PreImage::text("base").key())];
        let (old, new) = ([ContentHash::from_bytes([1; 32])], [ContentHash::from_bytes([2; 32])]);
        let keys = StepKeys { definition: None, content: content(&operation, &inputs, &old) };
        assert_eq!(keys.with_hashes(&new).content, content(&operation, &inputs, &new));
        assert_ne!(keys.canonical(), keys.with_hashes(&new).canonical());
    }
}
