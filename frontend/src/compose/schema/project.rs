//! The top level.

use super::network::NETWORK;
use super::service::SERVICE;
use super::volume::VOLUME;
use super::{
    Field, Form, Keys, Kind, Long, Repeats, Section, Shape, TEXTS, Unique, files, key, kinds, section, text,
};

/// The whole project.
pub(crate) static PROJECT: Field = key("", Shape::Section(&TOP), Form::Tree);

static TOP: Section = Section::new(&[
    key("version", kinds::TEXT, Form::Hidden),
    text("name"),
    key("include", Shape::List(&INCLUDE, Repeats::Allowed), Form::Hidden),
    key("services", Shape::Named(&SERVICE_ITEM, Keys::Names), Form::Always),
    key("networks", Shape::Named(&NETWORK_ITEM, Keys::NamesOrUnseen), Form::Tree),
    key("volumes", Shape::Named(&VOLUME_ITEM, Keys::Names), Form::Tree),
    key("secrets", Shape::Named(&files::SECRET, Keys::Names), Form::Tree),
    key("configs", Shape::Named(&files::CONFIG, Keys::Names), Form::Tree),
    key("models", Shape::Named(&MODEL_ITEM, Keys::NamesOrUnseen), Form::Tree),
]);

static SERVICE_ITEM: Field = section("", &SERVICE);
static NETWORK_ITEM: Field = section("", &NETWORK).long(Long::External);
static VOLUME_ITEM: Field = section("", &VOLUME).long(Long::External).path(super::PathRule::VolumeDevice);
static MODEL_ITEM: Field = section("", &MODEL);

static MODEL: Section = Section::new(&[
    text("name"),
    text("model"),
    key("context_size", Shape::Kinds(&[Kind::Integer]), Form::Int),
    key("runtime_flags", TEXTS, Form::TextList).unique(Unique::No),
])
.requires(&["model"]);

static INCLUDE: Field = key("", Shape::OneOf(&[kinds::TEXT, Shape::Section(&INCLUDED)]), Form::Hidden);

/// What an entry of `include` says.
pub(crate) static INCLUDED: Section = Section::new(&[
    key("path", TEXTS_OR_NOTHING, Form::TextList),
    key("env_file", TEXTS_OR_NOTHING, Form::TextList),
    key("project_directory", Shape::Kinds(&[Kind::String, Kind::Null]), Form::Text),
]);

const TEXTS_OR_NOTHING: Shape = Shape::OneOf(&[Shape::Kinds(&[Kind::String, Kind::Null]), TEXTS]);
