//! The `deploy` section of a service, and requests for devices.

use super::{
    Cast, Field, Form, Kind, LIST_OR_DICT, Repeats, Section, Shape, TEXTS, UNIQUE_TEXTS, key, kinds, labels,
    section, text,
};

/// How a service is deployed.
pub(super) static DEPLOY: Section = Section::new(&[
    text("mode"),
    key("replicas", kinds::NATURAL, Form::OptionalInt).cast(Cast::Int),
    labels("labels"),
    section("update_config", &UPDATE),
    section("rollback_config", &UPDATE),
    key("resources", Shape::Section(&RESOURCES), Form::Always),
    section("restart_policy", &RESTART_POLICY),
    key("placement", Shape::Section(&PLACEMENT), Form::Always),
    text("endpoint_mode"),
])
.or(&[Kind::Null]);

static UPDATE: Section = Section::new(&[
    key("parallelism", kinds::NATURAL, Form::OptionalInt).cast(Cast::Int),
    key("delay", kinds::TEXT, Form::Duration),
    text("failure_action"),
    key("monitor", kinds::TEXT, Form::Duration),
    key("max_failure_ratio", kinds::NUMBER, Form::Float).cast(Cast::Float),
    key("order", Shape::Words(&["start-first", "stop-first"]), Form::Text),
]);

static RESOURCES: Section =
    Section::new(&[section("limits", &LIMITS), section("reservations", &RESERVATIONS)]);

static LIMITS: Section = Section::new(&[
    key("cpus", kinds::NUMBER, Form::Float),
    key("memory", kinds::TEXT, Form::Bytes),
    key("pids", kinds::INT, Form::Int).cast(Cast::Int),
]);

static RESERVATIONS: Section = Section::new(&[
    key("cpus", kinds::NUMBER, Form::Float),
    key("memory", kinds::TEXT, Form::Bytes),
    key("devices", Shape::List(&DEVICE_ITEM, Repeats::Allowed), Form::Tree),
    key("generic_resources", Shape::List(&GENERIC_ITEM, Repeats::Allowed), Form::Tree),
]);

static GENERIC_ITEM: Field = section("", &GENERIC);
static GENERIC: Section = Section::new(&[section("discrete_resource_spec", &DISCRETE)]);
static DISCRETE: Section =
    Section::new(&[text("kind"), key("value", kinds::NUMBER, Form::OptionalInt).cast(Cast::Int)]);

static RESTART_POLICY: Section = Section::new(&[
    text("condition"),
    key("delay", kinds::TEXT, Form::OptionalDuration),
    key("max_attempts", kinds::NATURAL, Form::OptionalInt).cast(Cast::Int),
    key("window", kinds::TEXT, Form::OptionalDuration),
]);

static PLACEMENT: Section = Section::new(&[
    key("constraints", TEXTS, Form::TextList),
    key("preferences", Shape::List(&PREFERENCE_ITEM, Repeats::Allowed), Form::Tree),
    key("max_replicas_per_node", kinds::NATURAL, Form::Int).cast(Cast::Int),
]);

static PREFERENCE_ITEM: Field = section("", &PREFERENCE);
static PREFERENCE: Section = Section::new(&[text("spread")]);

static REQUEST_FIELDS: [Field; 5] = [
    key("capabilities", UNIQUE_TEXTS, Form::TextList),
    text("driver"),
    key("count", kinds::INT, Form::Count),
    key("device_ids", UNIQUE_TEXTS, Form::TextList),
    key("options", LIST_OR_DICT, Form::TextMap),
];

static DEVICE_ITEM: Field = section("", &DEVICE);
static DEVICE: Section = Section::new(&REQUEST_FIELDS).requires(&["capabilities"]);

/// Graphics processors: all, or requests.
pub(super) const GPUS: Shape =
    Shape::OneOf(&[Shape::Words(&["all"]), Shape::List(&GPU_ITEM, Repeats::Allowed)]);
static GPU_ITEM: Field = section("", &GPU);
static GPU: Section = Section::new(&REQUEST_FIELDS);
