//! Networks.

use super::{
    Cast, Field, Form, Keys, Kind, Merge, OPTIONS, Repeats, Section, Shape, TEXT_ITEM, flag, key, kinds,
    labels, section, text,
};

/// A network.
pub(super) static NETWORK: Section = Section::new(&[
    text("name"),
    text("driver"),
    key("driver_opts", OPTIONS, Form::TextMap),
    key("ipam", Shape::Section(&IPAM), Form::Always),
    key("external", EXTERNAL, Form::Flag).cast(Cast::Bool),
    flag("internal"),
    flag("attachable"),
    labels("labels"),
    key("enable_ipv4", kinds::BOOL, Form::OptionalFlag).cast(Cast::Bool),
    key("enable_ipv6", kinds::BOOL, Form::OptionalFlag).cast(Cast::Bool),
])
.or(&[Kind::Null]);

/// Whether something is somebody else's, and in the old spelling its name.
pub(super) const EXTERNAL: Shape = Shape::Section(&EXTERNAL_NAME);
static EXTERNAL_NAME: Section = Section::new(&[text("name")]).or(&[Kind::Boolean, Kind::String]);

static IPAM: Section = Section::new(&[
    text("driver"),
    key("config", Shape::List(&POOL_ITEM, Repeats::Allowed), Form::Tree).merge(Merge::Subnets),
    key("options", Shape::Named(&TEXT_ITEM, Keys::Any), Form::Hidden),
]);

static POOL_ITEM: Field = section("", &POOL);
static POOL: Section = Section::new(&[
    text("subnet"),
    text("gateway"),
    text("ip_range"),
    key("aux_addresses", Shape::Named(&TEXT_ITEM, Keys::Any), Form::TextMap),
]);
