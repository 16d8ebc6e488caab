//! Services.

use super::build::BUILD_SHAPE;
use super::deploy::{DEPLOY, GPUS};
use super::develop::DEVELOP;
use super::files::{CONFIG_GRANTS, SECRET_GRANTS};
use super::volume::MOUNTS;
use super::{
    COMMAND, Cast, Field, Form, HOSTS, Keys, Kind, LABEL_FILE_ITEM, LIST_OR_DICT, Long, Merge, OPTIONS,
    PathRule, Repeats, Section, Shape, TEXT_ITEM, TEXT_OR_LIST, TEXT_OR_NUMBER_ITEM, TEXTS, Unique, flag,
    key, kinds, labels, section, text, texts,
};

/// A service.
pub(super) static SERVICE: Section = Section::new(&[
    texts("profiles").unique(Unique::Key),
    labels("annotations"),
    key("attach", kinds::BOOL, Form::OptionalFlag).cast(Cast::Bool),
    key("build", BUILD_SHAPE, Form::Tree).merge(Merge::Build).long(Long::Build),
    section("develop", &DEVELOP),
    section("blkio_config", &BLKIO),
    texts("cap_add").unique(Unique::Key),
    texts("cap_drop").unique(Unique::Key),
    text("cgroup_parent"),
    key("cgroup", Shape::Words(&["host", "private"]), Form::Text),
    key("cpu_count", Shape::OneOf(&[kinds::TEXT, Shape::Range(0, i64::MAX)]), Form::Int).cast(Cast::Int),
    key("cpu_percent", Shape::OneOf(&[kinds::TEXT, Shape::Range(0, 100)]), Form::Float).cast(Cast::Float),
    key("cpu_period", kinds::NUMBER, Form::Int).cast(Cast::Int),
    key("cpu_quota", kinds::NUMBER, Form::Int).cast(Cast::Int),
    key("cpu_rt_period", kinds::NUMBER, Form::Int).cast(Cast::Int),
    key("cpu_rt_runtime", kinds::NUMBER, Form::Int).cast(Cast::Int),
    key("cpus", kinds::NUMBER, Form::Float).cast(Cast::Float),
    text("cpuset"),
    key("cpu_shares", kinds::NUMBER, Form::Int).cast(Cast::Int),
    key("command", COMMAND, Form::Command).merge(Merge::Replace),
    key("configs", CONFIG_GRANTS, Form::Tree).unique(Unique::File("")),
    key("container_name", Shape::Pattern(is_container_name, "[a-zA-Z0-9][a-zA-Z0-9_.-]+"), Form::Text),
    section("credential_spec", &CREDENTIAL_SPEC),
    key(
        "depends_on",
        Shape::OneOf(&[
            Shape::List(&TEXT_ITEM, Repeats::Refused),
            Shape::Named(&DEPENDENCY_ITEM, Keys::Names),
        ]),
        Form::Tree,
    )
    .merge(Merge::DependsOn)
    .long(Long::DependsOn),
    section("deploy", &DEPLOY),
    texts("device_cgroup_rules"),
    key("devices", Shape::List(&DEVICE_ITEM, Repeats::Allowed), Form::Tree).unique(Unique::Device),
    key("dns", TEXT_OR_LIST, Form::TextList).merge(Merge::Listed).unique(Unique::Key).long(Long::List),
    texts("dns_opt").merge(Merge::Listed).unique(Unique::Key),
    key("dns_search", TEXT_OR_LIST, Form::TextList).merge(Merge::Listed).unique(Unique::Key),
    text("domainname"),
    key("entrypoint", COMMAND, Form::Command).merge(Merge::Replace),
    section("provider", &PROVIDER),
    key("environment", LIST_OR_DICT, Form::EnvMap).merge(Merge::Listed).unique(Unique::Key),
    key("env_file", Shape::OneOf(&[kinds::TEXT, Shape::List(&ENV_FILE_ITEM, Repeats::Allowed)]), Form::Tree)
        .merge(Merge::Listed)
        .unique(Unique::EnvFile)
        .long(Long::EnvFiles),
    key("expose", Shape::List(&TEXT_OR_NUMBER_ITEM, Repeats::Refused), Form::TextList).unique(Unique::Key),
    key("extends", Shape::OneOf(&[kinds::TEXT, Shape::Section(&EXTENDS)]), Form::Hidden),
    texts("external_links"),
    key("extra_hosts", HOSTS, Form::Hosts).merge(Merge::Hosts).unique(Unique::Whole),
    key("group_add", Shape::List(&TEXT_OR_NUMBER_ITEM, Repeats::Refused), Form::TextList),
    key("gpus", GPUS, Form::Tree).long(Long::Gpus),
    text("hostname"),
    section("healthcheck", &HEALTH_CHECK),
    text("image"),
    key("init", kinds::BOOL, Form::OptionalFlag).cast(Cast::Bool),
    text("ipc"),
    text("isolation"),
    labels("labels"),
    key(
        "label_file",
        Shape::OneOf(&[kinds::TEXT, Shape::List(&LABEL_FILE_ITEM, Repeats::Allowed)]),
        Form::Hidden,
    )
    .merge(Merge::Listed)
    .long(Long::List),
    texts("links").unique(Unique::Key),
    section("logging", &LOGGING).merge(Merge::Logging),
    key("mem_limit", kinds::NUMBER, Form::Bytes),
    key("mem_reservation", kinds::INT, Form::Bytes),
    key("memswap_limit", kinds::NUMBER, Form::Bytes),
    key("mem_swappiness", kinds::INT, Form::Bytes).cast(Cast::Int),
    text("mac_address"),
    key(
        "models",
        Shape::OneOf(&[
            Shape::List(&TEXT_ITEM, Repeats::Refused),
            Shape::Named(&MODEL_USE_ITEM, Keys::NamesOrUnseen),
        ]),
        Form::Tree,
    )
    .merge(Merge::Keyed)
    .long(Long::Keyed),
    text("network_mode"),
    key(
        "networks",
        Shape::OneOf(&[
            Shape::List(&TEXT_ITEM, Repeats::Refused),
            Shape::Named(&ATTACHMENT_ITEM, Keys::Names),
        ]),
        Form::Tree,
    )
    .merge(Merge::Keyed)
    .long(Long::Keyed),
    flag("oom_kill_disable"),
    key("oom_score_adj", Shape::OneOf(&[kinds::TEXT, Shape::Range(-1000, 1000)]), Form::Int).cast(Cast::Int),
    key("pid", Shape::Kinds(&[Kind::String, Kind::Null]), Form::Text),
    key("pids_limit", kinds::NUMBER, Form::Int).cast(Cast::Int),
    text("platform"),
    key("ports", Shape::List(&PORT_ITEM, Repeats::Refused), Form::Tree)
        .unique(Unique::Port)
        .long(Long::Ports),
    flag("privileged"),
    key("pull_policy", Shape::Pattern(is_pull_policy, PULL_POLICY), Form::Text),
    key("pull_refresh_after", kinds::TEXT, Form::Hidden),
    flag("read_only"),
    text("restart"),
    text("runtime"),
    key("scale", kinds::INT, Form::OptionalInt).cast(Cast::Int),
    key("secrets", SECRET_GRANTS, Form::Tree).unique(Unique::File("/run/secrets")),
    texts("security_opt"),
    key("shm_size", kinds::NUMBER, Form::Bytes),
    flag("stdin_open"),
    key("stop_grace_period", kinds::TEXT, Form::OptionalDuration),
    text("stop_signal"),
    key("storage_opt", Shape::Kinds(&[Kind::Mapping]), Form::TextMap),
    labels("sysctls"),
    key("tmpfs", TEXT_OR_LIST, Form::TextList).merge(Merge::Listed).unique(Unique::Key),
    flag("tty"),
    key("ulimits", ULIMITS, Form::Tree),
    key("use_api_socket", Shape::Kinds(&[Kind::Boolean]), Form::Flag),
    text("user"),
    text("userns_mode"),
    text("uts"),
    key("volumes", MOUNTS, Form::Tree).unique(Unique::Mount),
    texts("volumes_from"),
    text("working_dir"),
    key("pre_start", PRE_STARTS, Form::Tree),
    key("post_start", HOOKS, Form::Tree),
    key("pre_stop", HOOKS, Form::Tree),
]);

static BLKIO: Section = Section::new(&[
    key("weight", kinds::NATURAL, Form::Int).cast(Cast::Int),
    key("weight_device", Shape::List(&WEIGHT_ITEM, Repeats::Allowed), Form::Tree),
    key("device_read_bps", Shape::List(&RATE_ITEM, Repeats::Allowed), Form::Tree),
    key("device_read_iops", Shape::List(&RATE_ITEM, Repeats::Allowed), Form::Tree),
    key("device_write_bps", Shape::List(&RATE_ITEM, Repeats::Allowed), Form::Tree),
    key("device_write_iops", Shape::List(&RATE_ITEM, Repeats::Allowed), Form::Tree),
])
.without_extensions();

static WEIGHT_ITEM: Field = section("", &WEIGHT);
static RATE_ITEM: Field = section("", &RATE);
static WEIGHT: Section =
    Section::new(&[text("path"), key("weight", kinds::NATURAL, Form::Int).cast(Cast::Int)])
        .without_extensions();
static RATE: Section =
    Section::new(&[text("path"), key("rate", kinds::INT, Form::Bytes)]).without_extensions();

static CREDENTIAL_SPEC: Section = Section::new(&[text("config"), text("file"), text("registry")]);

static DEPENDENCY_ITEM: Field = section("", &DEPENDENCY);
static DEPENDENCY: Section = Section::new(&[
    key(
        "condition",
        Shape::Words(&["service_started", "service_healthy", "service_completed_successfully"]),
        Form::Text,
    ),
    flag("restart"),
    key("required", Shape::Kinds(&[Kind::Boolean]), Form::OptionalFlag).cast(Cast::Bool),
])
.requires(&["condition"]);

static DEVICE_ITEM: Field =
    key("", Shape::OneOf(&[kinds::TEXT, Shape::Section(&DEVICE)]), Form::Tree).long(Long::Device);
static DEVICE: Section =
    Section::new(&[text("source"), text("target"), text("permissions")]).requires(&["source"]);

static PROVIDER: Section =
    Section::new(&[text("type"), key("options", PROVIDER_OPTIONS, Form::OptionLists)]).requires(&["type"]);
const PROVIDER_OPTIONS: Shape = Shape::Named(&PROVIDER_OPTION, Keys::Any);
const PROVIDER_VALUE: Shape = Shape::Kinds(&[Kind::String, Kind::Number, Kind::Boolean]);
static PROVIDER_OPTION: Field =
    key("", Shape::OneOf(&[PROVIDER_VALUE, Shape::List(&PROVIDER_ITEM, Repeats::Allowed)]), Form::Tree);
static PROVIDER_ITEM: Field = key("", PROVIDER_VALUE, Form::Text);

static ENV_FILE_ITEM: Field = key("", Shape::OneOf(&[kinds::TEXT, Shape::Section(&ENV_FILE)]), Form::Tree);
static ENV_FILE: Section = Section::new(&[
    text("path").path(PathRule::Local),
    key("required", kinds::BOOL, Form::OptionalFlag).cast(Cast::Bool),
    text("format"),
])
.requires(&["path"])
.without_extensions();

static EXTENDS: Section = Section::new(&[text("service"), text("file").path(PathRule::Context)])
    .requires(&["service"])
    .without_extensions();

static HEALTH_CHECK: Section = Section::new(&[
    key("test", Shape::OneOf(&[kinds::TEXT, TEXTS]), Form::Test).merge(Merge::Replace),
    key("timeout", kinds::TEXT, Form::OptionalDuration),
    key("interval", kinds::TEXT, Form::OptionalDuration),
    key("retries", kinds::NATURAL_NUMBER, Form::OptionalInt).cast(Cast::Int),
    key("start_period", kinds::TEXT, Form::OptionalDuration),
    key("start_interval", kinds::TEXT, Form::OptionalDuration),
    flag("disable"),
]);

static LOGGING: Section =
    Section::new(&[text("driver"), key("options", Shape::Named(&LOG_OPTION, Keys::Any), Form::TextMap)]);
static LOG_OPTION: Field = key("", Shape::Kinds(&[Kind::String, Kind::Number, Kind::Null]), Form::Text);

static MODEL_USE_ITEM: Field = section("", &MODEL_USE);
static MODEL_USE: Section = Section::new(&[text("endpoint_var"), text("model_var")]).or(&[Kind::Null]);

static ATTACHMENT_ITEM: Field =
    key("", Shape::OneOf(&[Shape::Section(&ATTACHMENT), Shape::Kinds(&[Kind::Null])]), Form::Tree);
static ATTACHMENT: Section = Section::new(&[
    texts("aliases").unique(Unique::Key),
    key("driver_opts", OPTIONS, Form::TextMap),
    key("gw_priority", Shape::Kinds(&[Kind::Number]), Form::Int),
    text("interface_name"),
    text("ipv4_address"),
    text("ipv6_address"),
    texts("link_local_ips").unique(Unique::Key),
    text("mac_address"),
    key("priority", Shape::Kinds(&[Kind::Number]), Form::Int),
]);

static PORT_ITEM: Field =
    key("", Shape::OneOf(&[Shape::Kinds(&[Kind::Number]), kinds::TEXT, Shape::Section(&PORT)]), Form::Tree);
static PORT: Section = Section::new(&[
    text("name"),
    text("mode"),
    text("host_ip"),
    key("target", kinds::INT, Form::Int).cast(Cast::Int),
    key("published", kinds::INT, Form::TextOfAny),
    text("protocol"),
    text("app_protocol"),
]);

/// Limits of processes.
pub(super) const ULIMITS: Shape = Shape::Named(&ULIMIT_ITEM, Keys::LowerOrUnseen);
static ULIMIT_ITEM: Field = key("", Shape::OneOf(&[kinds::INT, Shape::Section(&ULIMIT)]), Form::Ulimit)
    .merge(Merge::Replace)
    .cast(Cast::Int);
static ULIMIT: Section = Section::new(&[
    key("soft", kinds::INT, Form::OptionalInt).cast(Cast::Int),
    key("hard", kinds::INT, Form::OptionalInt).cast(Cast::Int),
])
.requires(&["soft", "hard"]);

/// Commands run at a turn of a container's life.
const HOOKS: Shape = Shape::List(&HOOK_ITEM, Repeats::Allowed);
static HOOK_ITEM: Field = section("", &HOOK);

/// A command run at a turn of a container's life.
pub(super) static HOOK: Section = Section::new(&[
    key("command", COMMAND, Form::HookCommand),
    text("user"),
    flag("privileged"),
    text("working_dir"),
    key("environment", LIST_OR_DICT, Form::EnvMap),
])
.requires(&["command"]);

/// Containers that run before a service starts.
const PRE_STARTS: Shape = Shape::List(&PRE_START_ITEM, Repeats::Allowed);
static PRE_START_ITEM: Field = section("", &PRE_START);
static PRE_START: Section = Section::new(&[
    text("image"),
    key("command", COMMAND, Form::HookCommand),
    text("user"),
    flag("privileged"),
    text("working_dir"),
    key("environment", LIST_OR_DICT, Form::EnvMap),
    flag("per_replica"),
]);

fn is_container_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.windows(2).any(|pair| {
        pair[0].is_ascii_alphanumeric()
            && (pair[1].is_ascii_alphanumeric() || matches!(pair[1], b'_' | b'.' | b'-'))
    })
}

const PULL_POLICY: &str =
    "always|never|build|if_not_present|missing|refresh|daily|weekly|every_([0-9]+[wdhms])+";

fn is_pull_policy(text: &str) -> bool {
    const WORDS: &[&str] =
        &["always", "never", "build", "if_not_present", "missing", "refresh", "daily", "weekly"];
    if WORDS.iter().any(|word| text.contains(word)) {
        return true;
    }
    text.split("every_").skip(1).any(|rest| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        digits > 0 && rest[digits..].starts_with(['w', 'd', 'h', 'm', 's'])
    })
}
