//! `rbuild info`.

use std::fmt::Write as _;

use rbuild_model::platform::Platform;
use serde_json::{Value, json};

use super::{Context, Outcome};
use crate::cli::prune::Formatted;
use crate::report::{Findings, Status};
use crate::template;

pub(super) fn run(arguments: &Formatted, context: &Context) -> Outcome {
    let document = document(context);
    let text = match arguments.format.as_deref() {
        Some(format) => template::documents(Some(format), &[document]).map_err(Findings::from)?,
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
    json!({
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
        "RunDir": settings.runtime.display().to_string(),
        "Registries": registries,
        "Rootless": settings.rootless.is_some(),
    })
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
        ("Version", "ServerVersion"),
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
    text
}
