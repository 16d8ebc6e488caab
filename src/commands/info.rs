//! `rbuild info`.

use std::fmt::Write as _;

use rbuild_engine::containers::ListRequest;
use rbuild_model::container::State;
use rbuild_model::platform::Platform;
use serde_json::{Value, json};

use super::{Context, Outcome};
use crate::cli::prune::Formatted;
use crate::report::{self, Status};
use crate::template;

pub(super) fn run(arguments: &Formatted, context: &Context) -> Outcome {
    let document = document(context);
    let text = match arguments.format.as_deref() {
        Some(format) => template::documents(Some(format), &[document])?,
        None => plain(&document),
    };
    context.terminal.print(&text)?;
    Ok(Status::Done)
}

/// Returns what is known, under Docker's names where there are some.
fn document(context: &Context) -> Value {
    let host = Platform::host();
    let settings = &context.settings;
    let system = rustix::system::uname();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .and_then(|kib| kib.parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024);
    let registries: serde_json::Map<String, Value> = settings
        .registries
        .iter()
        .map(|(name, registry)| {
            (name.clone(), json!({ "Mirrors": registry.mirrors, "Insecure": registry.insecure }))
        })
        .collect();
    let mut document = json!({
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "Name": system.nodename().to_string_lossy(),
        "KernelVersion": system.release().to_string_lossy(),
        "OperatingSystem": operating_system(),
        "OSType": host.os,
        "Architecture": system.machine().to_string_lossy(),
        "NCPU": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "MemTotal": memory,
        "CgroupVersion": cgroup_version(),
        "CgroupControllers": rbuild_sandbox::cgroup::Layout::shared().controllers().join(" "),
        "RootDir": settings.root.display().to_string(),
        "Registries": registries,
        "Rootless": settings.rootless.is_some(),
        "CgroupDriver": "cgroupfs",
        "DefaultRuntime": "rbuild",
        "DockerRootDir": settings.root.display().to_string(),
        "LoggingDriver": "json-file",
        "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"],
    });
    match inventory(context) {
        Ok(Value::Object(counts)) => document.as_object_mut().expect("an object was made").extend(counts),
        Ok(_) => {}
        // A store that cannot be opened is worth knowing too.
        Err(error) => document["ServerErrors"] = json!([report::chain(&error)]),
    }
    document
}

/// Counts what is in the store.
fn inventory(context: &Context) -> anyhow::Result<Value> {
    let (home, engine) = crate::wiring::engine(context, "rbuild info")?;
    let listed = engine.list(&ListRequest { all: true, ..ListRequest::default() })?;
    let count = |wanted: fn(&State) -> bool| listed.iter().filter(|one| wanted(&one.observed.state)).count();
    let running = count(State::is_active);
    let paused = count(|state| matches!(state, State::Paused(_)));
    Ok(json!({
        "Containers": listed.len(),
        "ContainersRunning": running - paused,
        "ContainersPaused": paused,
        "ContainersStopped": listed.len() - running,
        "Images": home.images.list()?.len(),
        "Driver": home.storage(),
        "RunDir": home.store.layout().run().display().to_string(),
    }))
}

fn operating_system() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or_else(|| "unknown".to_owned(), |name| name.trim_matches('"').to_owned())
}

/// Returns which version of control groups limits are set with.
fn cgroup_version() -> &'static str {
    use rbuild_sandbox::cgroup::{Layout, Mode};
    match Layout::shared().mode() {
        Mode::Unified => "2",
        Mode::Hybrid | Mode::Legacy => "1",
        Mode::None => "none",
    }
}

fn plain(document: &Value) -> String {
    let mut text = String::new();
    let rows = [
        ("Containers", "Containers"),
        (" Running", "ContainersRunning"),
        (" Paused", "ContainersPaused"),
        (" Stopped", "ContainersStopped"),
        ("Images", "Images"),
        ("Version", "ServerVersion"),
        ("Storage Driver", "Driver"),
        ("Name", "Name"),
        ("Kernel Version", "KernelVersion"),
        ("Operating System", "OperatingSystem"),
        ("OSType", "OSType"),
        ("Architecture", "Architecture"),
        ("CPUs", "NCPU"),
        ("Total Memory", "MemTotal"),
        ("Cgroup Version", "CgroupVersion"),
        ("Cgroup Controllers", "CgroupControllers"),
        ("Root Dir", "RootDir"),
        ("Run Dir", "RunDir"),
        ("Rootless", "Rootless"),
    ];
    for (title, field) in rows {
        let value = match &document[field] {
            // Of a store that cannot be opened.
            Value::Null => continue,
            Value::String(text) => crate::text::one_line(text),
            Value::Number(bytes) if field == "MemTotal" => {
                crate::human::precise_size(bytes.as_u64().unwrap_or_default())
            }
            other => other.to_string(),
        };
        let _ = writeln!(text, "{title}: {value}");
    }
    for (name, registry) in document["Registries"].as_object().into_iter().flatten() {
        let _ = writeln!(text, "Registry {}: {registry}", crate::text::one_line(name));
    }
    for error in document["ServerErrors"].as_array().into_iter().flatten() {
        let _ = writeln!(text, "Error: {}", crate::text::one_line(error.as_str().unwrap_or_default()));
    }
    text
}
