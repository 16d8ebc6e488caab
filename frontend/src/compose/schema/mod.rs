//! What a compose file may say: one table a section, and in it, key by key, what is accepted, how two files' values
//! are merged, what the long form is, and how the value is written.
//!
//! Everything else in this module's parent walks a tree and these tables side by side and knows no key by name that
//! is not its own business. A new key is a line in a table; the order of a table is the order in which keys are
//! written.

mod build;
mod deploy;
mod develop;
mod files;
mod network;
mod project;
mod service;
mod volume;

use super::yaml::{Node, Value};

pub(crate) use project::{INCLUDED, PROJECT};

/// A key and all that is known of its value.
#[derive(Debug)]
pub(crate) struct Field {
    /// The key.
    pub(crate) name: &'static str,
    /// What is accepted.
    pub(crate) shape: Shape,
    /// How two files' values become one.
    pub(crate) merge: Merge,
    /// Which items of its list count as the same.
    pub(crate) unique: Unique,
    /// What a text there is turned into once its variables are filled in.
    pub(crate) cast: Cast,
    /// What its short form stands for.
    pub(crate) long: Long,
    /// What it is at the end, and how it is written.
    pub(crate) form: Form,
    /// Whether it is a path, and of which kind.
    pub(crate) path: PathRule,
}

/// A mapping with known keys.
#[derive(Debug)]
pub(crate) struct Section {
    /// The keys, in the order in which they are written.
    pub(crate) fields: &'static [Field],
    /// The keys that have to be there.
    pub(crate) required: &'static [&'static str],
    /// What else the value may be.
    pub(crate) or: &'static [Kind],
    /// Whether keys beginning with `x-` are anybody's.
    pub(crate) extensions: bool,
}

/// A kind of value, as messages call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A sequence.
    Array,
    /// A truth value.
    Boolean,
    /// A whole number.
    Integer,
    /// A mapping.
    Mapping,
    /// Nothing.
    Null,
    /// A number.
    Number,
    /// A text.
    String,
}

/// What is accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// A value of one of these kinds.
    Kinds(&'static [Kind]),
    /// A value of one of these kinds; a number is not below nothing.
    Natural(&'static [Kind]),
    /// A whole number between two others.
    Range(i64, i64),
    /// One of these texts.
    Words(&'static [&'static str]),
    /// A text that a pattern is found in: the test, and the pattern as it is told.
    Pattern(fn(&str) -> bool, &'static str),
    /// A sequence; whether equal items are refused.
    List(&'static Field, Repeats),
    /// A mapping with known keys.
    Section(&'static Section),
    /// A mapping whose keys the user chooses.
    Named(&'static Field, Keys),
    /// Exactly one of these.
    OneOf(&'static [Shape]),
}

/// Whether a list may have equal items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeats {
    /// It may.
    Allowed,
    /// It may not.
    Refused,
}

/// Which keys a user may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// Letters, digits, dots, dashes, underscores; others are refused.
    Names,
    /// The same; others are let through unseen.
    NamesOrUnseen,
    /// Any but none at all; that is refused.
    Any,
    /// Lower-case letters; others are let through unseen.
    LowerOrUnseen,
}

/// How two files' values become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merge {
    /// Mappings key by key, lists one behind the other, else the later one.
    Deep,
    /// The later one.
    Replace,
    /// Both as lists of `k=v`, one behind the other.
    Listed,
    /// The same for host names, of which one may have several addresses.
    Hosts,
    /// A text is the context of a mapping.
    Build,
    /// A list is a mapping to the default condition.
    DependsOn,
    /// A list is a mapping to nothing.
    Keyed,
    /// Options are merged for one driver only.
    Logging,
    /// The later one; items of a subnet that the earlier one has too are merged.
    Subnets,
}

/// Which items of a list count as the same, so that the later one takes the earlier one's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unique {
    /// None do.
    No,
    /// By what is before `=`.
    Key,
    /// By all of it.
    Whole,
    /// By address, both ports and protocol.
    Port,
    /// By the place it is mounted at.
    Mount,
    /// By the place in the container, else the device.
    Device,
    /// By the place it is put at, with a folder for those that do not say.
    File(&'static str),
    /// By the path.
    EnvFile,
}

/// What a text is turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cast {
    /// It stays a text.
    No,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// A truth value.
    Bool,
}

/// What the short form stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Long {
    /// There is none.
    No,
    /// A text is a list of one.
    List,
    /// A truth value is a text.
    Text,
    /// A text is a build context.
    Build,
    /// A list is a mapping to the default condition.
    DependsOn,
    /// Paths are mappings.
    EnvFiles,
    /// `all` is one request.
    Gpus,
    /// A list is a mapping to nothing.
    Keyed,
    /// A list of `k=v` is a mapping.
    KeyValue,
    /// A list of ids and keys is a mapping.
    Ssh,
    /// `SOURCE:TARGET:OPTIONS`
    Mount,
    /// `SOURCE:TARGET:PERMISSIONS`
    Device,
    /// A name is the source.
    File,
    /// `HOST:CONTAINER/PROTOCOL`, ranges spread out.
    Ports,
    /// `{name: n}` is true and a name.
    External,
}

/// What a value is at the end, and how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As its shape says; nothing is written for nothing.
    Tree,
    /// The same; in JSON it is always there.
    Always,
    /// A text, left out if empty.
    Text,
    /// A truth value, left out if false.
    Flag,
    /// A truth value.
    OptionalFlag,
    /// A whole number, left out if 0.
    Int,
    /// A whole number.
    OptionalInt,
    /// A number, left out if 0.
    Float,
    /// Bytes, left out if 0.
    Bytes,
    /// A duration, left out if 0.
    Duration,
    /// A duration.
    OptionalDuration,
    /// A file mode in octal.
    Mode,
    /// Words, also given as one line; in JSON always there.
    Command,
    /// The same, left out if not given.
    HookCommand,
    /// A health check's command.
    Test,
    /// Texts, also given as one.
    TextList,
    /// A mapping to texts, also given as `k=v`.
    TextMap,
    /// The same, with keys that have no value.
    EnvMap,
    /// Names and addresses, as a list of `name=address`.
    Hosts,
    /// A limit: one number or two.
    Ulimit,
    /// A number, or `all`.
    Count,
    /// A text, also given as a truth value.
    TextOfAny,
    /// A mapping to texts or lists of texts.
    OptionLists,
    /// SSH ids and keys.
    Ssh,
    /// Not written.
    Hidden,
}

/// Whether a value is a path, and of which kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathRule {
    /// It is none.
    No,
    /// A file or folder.
    Local,
    /// A build context, or the file of another project: perhaps an address.
    Context,
    /// A file or folder, with its links followed.
    Followed,
    /// A mount: its source, if it is a path.
    Mount,
    /// A volume: the device of its options.
    VolumeDevice,
}

impl Kind {
    /// Returns the word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Array => "array",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Mapping => "mapping",
            Self::Null => "null",
            Self::Number => "number",
            Self::String => "string",
        }
    }

    /// Tells whether a value is of the kind.
    pub(crate) fn is(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Array, Value::List(_))
            | (Self::Boolean, Value::Bool(_))
            | (Self::Integer | Self::Number, Value::Int(_) | Value::Wide(_))
            | (Self::Mapping, Value::Map(_))
            | (Self::Null, Value::Null)
            | (Self::Number, Value::Float(_))
            | (Self::String, Value::String(_)) => true,
            (Self::Integer, Value::Float(number)) => number.fract() == 0.0,
            _ => false,
        }
    }
}

impl Shape {
    /// Returns the field of a key of a mapping, or of the items of a list.
    pub(crate) fn child(&self, parent: &Node, key: &str) -> Option<&'static Field> {
        match (self, &parent.value) {
            (Self::Section(section), Value::Map(_)) => section.field(key),
            (Self::Named(item, _), Value::Map(_)) | (Self::List(item, _), Value::List(_)) => Some(item),
            (Self::OneOf(shapes), _) => shapes.iter().find_map(|shape| shape.child(parent, key)),
            _ => None,
        }
    }

    /// Returns the section, if a mapping there is one.
    pub(crate) fn section(&self) -> Option<&'static Section> {
        match self {
            Self::Section(section) => Some(section),
            Self::OneOf(shapes) => shapes.iter().find_map(Self::section),
            _ => None,
        }
    }
}

impl Section {
    /// Returns the field of a key.
    pub(crate) fn field(&self, key: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == key)
    }
}

/// The kinds that most keys accept.
pub(super) mod kinds {
    use super::{Kind, Shape};

    pub(in super::super) const TEXT: Shape = Shape::Kinds(&[Kind::String]);
    pub(in super::super) const BOOL: Shape = Shape::Kinds(&[Kind::Boolean, Kind::String]);
    pub(in super::super) const INT: Shape = Shape::Kinds(&[Kind::Integer, Kind::String]);
    pub(in super::super) const NUMBER: Shape = Shape::Kinds(&[Kind::Number, Kind::String]);
    pub(in super::super) const NATURAL: Shape = Shape::Natural(&[Kind::Integer, Kind::String]);
    pub(in super::super) const NATURAL_NUMBER: Shape = Shape::Natural(&[Kind::Number, Kind::String]);
}

/// A field that is accepted, merged and written in the ordinary way.
const fn key(name: &'static str, shape: Shape, form: Form) -> Field {
    Field {
        name,
        shape,
        merge: Merge::Deep,
        unique: Unique::No,
        cast: Cast::No,
        long: Long::No,
        form,
        path: PathRule::No,
    }
}

/// A text.
const fn text(name: &'static str) -> Field {
    key(name, kinds::TEXT, Form::Text)
}

/// A truth value that is false if it is not there.
const fn flag(name: &'static str) -> Field {
    key(name, kinds::BOOL, Form::Flag).cast(Cast::Bool)
}

/// A list of texts of which none may be there twice.
const fn texts(name: &'static str) -> Field {
    key(name, UNIQUE_TEXTS, Form::TextList)
}

/// A mapping of texts, or a list of `k=v`.
const fn labels(name: &'static str) -> Field {
    key(name, LIST_OR_DICT, Form::TextMap).merge(Merge::Listed).unique(Unique::Key)
}

/// A mapping with known keys.
const fn section(name: &'static str, section: &'static Section) -> Field {
    key(name, Shape::Section(section), Form::Tree)
}

impl Field {
    const fn merge(mut self, merge: Merge) -> Self {
        self.merge = merge;
        self
    }

    const fn unique(mut self, unique: Unique) -> Self {
        self.unique = unique;
        self
    }

    const fn cast(mut self, cast: Cast) -> Self {
        self.cast = cast;
        self
    }

    const fn long(mut self, long: Long) -> Self {
        self.long = long;
        self
    }

    const fn path(mut self, path: PathRule) -> Self {
        self.path = path;
        self
    }
}

impl Section {
    const fn new(fields: &'static [Field]) -> Self {
        Self { fields, required: &[], or: &[], extensions: true }
    }

    const fn requires(mut self, required: &'static [&'static str]) -> Self {
        self.required = required;
        self
    }

    const fn or(mut self, kinds: &'static [Kind]) -> Self {
        self.or = kinds;
        self
    }

    const fn without_extensions(mut self) -> Self {
        self.extensions = false;
        self
    }
}

static TEXT_ITEM: Field = text("");
static LABEL_FILE_ITEM: Field = text("").path(PathRule::Local);
static TEXT_OR_NUMBER_ITEM: Field = key("", Shape::Kinds(&[Kind::Number, Kind::String]), Form::Text);
static SCALAR_ITEM: Field =
    key("", Shape::Kinds(&[Kind::Boolean, Kind::Null, Kind::Number, Kind::String]), Form::Text);
static OPTION_ITEM: Field = key("", Shape::Kinds(&[Kind::Number, Kind::String]), Form::Text);
static ADDRESSES: Field =
    key("", Shape::OneOf(&[kinds::TEXT, Shape::List(&TEXT_ITEM, Repeats::Allowed)]), Form::Tree);

/// A list of texts of which none may be there twice.
const UNIQUE_TEXTS: Shape = Shape::List(&TEXT_ITEM, Repeats::Refused);
/// A list of texts.
const TEXTS: Shape = Shape::List(&TEXT_ITEM, Repeats::Allowed);
/// One text or a list.
const TEXT_OR_LIST: Shape = Shape::OneOf(&[kinds::TEXT, UNIQUE_TEXTS]);
/// A mapping to scalars, or a list of `k=v`.
const LIST_OR_DICT: Shape = Shape::OneOf(&[Shape::Named(&SCALAR_ITEM, Keys::Any), UNIQUE_TEXTS]);
/// A mapping to texts and numbers.
const OPTIONS: Shape = Shape::Named(&OPTION_ITEM, Keys::Any);
/// Names and addresses.
const HOSTS: Shape = Shape::OneOf(&[Shape::Named(&ADDRESSES, Keys::Any), UNIQUE_TEXTS]);
/// A line or a list of words, or nothing.
const COMMAND: Shape = Shape::OneOf(&[Shape::Kinds(&[Kind::Null]), kinds::TEXT, TEXTS]);
