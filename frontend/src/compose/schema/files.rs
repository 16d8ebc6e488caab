//! Configs and secrets, and what services are given of them.

use super::network::EXTERNAL;
use super::{
    Cast, Field, Form, Long, OPTIONS, PathRule, Repeats, Section, Shape, key, kinds, labels, section, text,
};

/// A secret.
pub(super) static SECRET: Field = section("", &SECRET_SECTION).long(Long::External);
static SECRET_SECTION: Section = Section::new(&[
    text("name"),
    text("file").path(PathRule::Local),
    text("environment"),
    key("external", EXTERNAL, Form::Flag).cast(Cast::Bool),
    labels("labels"),
    text("driver"),
    key("driver_opts", OPTIONS, Form::TextMap),
    text("template_driver"),
]);

/// A config.
pub(super) static CONFIG: Field = section("", &CONFIG_SECTION).long(Long::External);
static CONFIG_SECTION: Section = Section::new(&[
    text("name"),
    text("file").path(PathRule::Local),
    text("environment"),
    text("content"),
    key("external", EXTERNAL, Form::Flag).cast(Cast::Bool),
    labels("labels"),
    text("template_driver"),
]);

/// What a service's build is given.
pub(super) const FILE_GRANTS: Shape = Shape::List(&GRANT_ITEM, Repeats::Allowed);
/// The secrets a service is given.
pub(super) const SECRET_GRANTS: Shape = FILE_GRANTS;
/// The configs a service is given.
pub(super) const CONFIG_GRANTS: Shape = FILE_GRANTS;

static GRANT_ITEM: Field =
    key("", Shape::OneOf(&[kinds::TEXT, Shape::Section(&GRANT)]), Form::Tree).long(Long::File);
static GRANT: Section = Section::new(&[
    text("source"),
    text("target"),
    text("uid"),
    text("gid"),
    key("mode", kinds::NUMBER, Form::Mode),
]);
