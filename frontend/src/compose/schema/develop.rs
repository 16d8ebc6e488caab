//! The `develop` section of a service.

use super::service::HOOK;
use super::{
    Field, Form, Kind, Long, PathRule, Repeats, Section, Shape, TEXT_OR_LIST, flag, key, section, text,
};

/// Watch rules.
pub(super) static DEVELOP: Section =
    Section::new(&[key("watch", Shape::List(&RULE_ITEM, Repeats::Allowed), Form::Tree)]).or(&[Kind::Null]);

static RULE_ITEM: Field = section("", &RULE);
static RULE: Section = Section::new(&[
    text("path").path(PathRule::Followed),
    key("action", Shape::Words(&["rebuild", "sync", "restart", "sync+restart", "sync+exec"]), Form::Text),
    text("target"),
    section("exec", &HOOK),
    key("include", TEXT_OR_LIST, Form::TextList).long(Long::List),
    key("ignore", TEXT_OR_LIST, Form::TextList).long(Long::List),
    flag("initial_sync"),
])
.requires(&["path", "action"]);
