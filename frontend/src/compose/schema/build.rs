//! The `build` section of a service.

use super::files::FILE_GRANTS;
use super::service::ULIMITS;
use super::{
    Form, HOSTS, Kind, LIST_OR_DICT, Long, Merge, PathRule, Section, Shape, TEXT_OR_LIST, TEXTS, Unique,
    flag, key, kinds, labels, text,
};

/// A context or a section.
pub(super) const BUILD_SHAPE: Shape = Shape::OneOf(&[kinds::TEXT, Shape::Section(&BUILD)]);

static BUILD: Section = Section::new(&[
    text("context").path(PathRule::Context),
    text("dockerfile"),
    text("dockerfile_inline"),
    key("entitlements", TEXTS, Form::TextList),
    key("args", LIST_OR_DICT, Form::EnvMap).merge(Merge::Listed).unique(Unique::Key),
    key("provenance", Shape::Kinds(&[Kind::String, Kind::Boolean]), Form::TextOfAny).long(Long::Text),
    key("sbom", Shape::Kinds(&[Kind::String, Kind::Boolean]), Form::TextOfAny).long(Long::Text),
    key("ssh", LIST_OR_DICT, Form::Ssh).long(Long::Ssh).path(PathRule::Local),
    labels("labels"),
    key("cache_from", TEXTS, Form::TextList),
    key("cache_to", TEXTS, Form::TextList),
    flag("no_cache"),
    key("no_cache_filter", TEXT_OR_LIST, Form::TextList).long(Long::List),
    key("additional_contexts", LIST_OR_DICT, Form::TextMap)
        .merge(Merge::Listed)
        .unique(Unique::Key)
        .long(Long::KeyValue)
        .path(PathRule::Context),
    flag("pull"),
    key("extra_hosts", HOSTS, Form::Hosts).merge(Merge::Hosts).unique(Unique::Whole),
    text("isolation"),
    text("network"),
    text("target"),
    key("secrets", FILE_GRANTS, Form::Tree),
    key("shm_size", kinds::INT, Form::Bytes),
    key("tags", TEXTS, Form::TextList).unique(Unique::Key),
    key("ulimits", ULIMITS, Form::Tree),
    key("platforms", TEXTS, Form::TextList),
    flag("privileged"),
]);
