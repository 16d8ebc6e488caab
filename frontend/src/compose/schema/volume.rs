//! Volumes, and what services mount.

use super::network::EXTERNAL;
use super::{
    Cast, Field, Form, Kind, Long, OPTIONS, PathRule, Repeats, Section, Shape, flag, key, kinds, labels,
    section, text,
};

/// A volume.
pub(super) static VOLUME: Section = Section::new(&[
    text("name"),
    text("driver"),
    key("driver_opts", OPTIONS, Form::TextMap),
    key("external", EXTERNAL, Form::Flag).cast(Cast::Bool),
    labels("labels"),
])
.or(&[Kind::Null]);

/// What a service mounts.
pub(super) const MOUNTS: Shape = Shape::List(&MOUNT_ITEM, Repeats::Refused);

static MOUNT_ITEM: Field = key("", Shape::OneOf(&[kinds::TEXT, Shape::Section(&MOUNT)]), Form::Tree)
    .long(Long::Mount)
    .path(PathRule::Mount);

static MOUNT: Section = Section::new(&[
    key("type", Shape::Words(&["bind", "volume", "tmpfs", "cluster", "npipe", "image"]), Form::Text),
    text("source"),
    text("target"),
    flag("read_only"),
    text("consistency"),
    section("bind", &BIND),
    section("volume", &MOUNTED_VOLUME),
    section("tmpfs", &TMPFS),
    section("image", &IMAGE),
])
.requires(&["type"]);

static BIND: Section = Section::new(&[
    key("selinux", Shape::Words(&["z", "Z"]), Form::Text),
    text("propagation"),
    flag("create_host_path"),
    key("recursive", Shape::Words(&["enabled", "disabled", "writable", "readonly"]), Form::Text),
]);

static MOUNTED_VOLUME: Section = Section::new(&[labels("labels"), flag("nocopy"), text("subpath")]);

static TMPFS: Section = Section::new(&[
    key("size", Shape::OneOf(&[Shape::Range(0, i64::MAX), kinds::TEXT]), Form::Bytes),
    key("mode", kinds::NUMBER, Form::Int).cast(Cast::No),
]);

static IMAGE: Section = Section::new(&[text("subpath")]);
