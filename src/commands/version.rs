//! `rbuild version`.

use rbuild_model::platform::Platform;
use serde_json::json;

use super::Outcome;
use crate::cli::prune::Formatted;
use crate::report::Status;
use crate::template;
use crate::terminal::Terminal;

pub(super) fn run(arguments: &Formatted, terminal: Terminal) -> Outcome {
    let host = Platform::host();
    let kernel = rustix::system::uname();
    let own = json!({
        "Version": env!("CARGO_PKG_VERSION"),
        "Os": host.os,
        "Arch": host.architecture,
        "KernelVersion": kernel.release().to_string_lossy(),
    });
    // What does the work is this program too: scripts ask for the server's version.
    let document = json!({ "Client": own, "Server": own });
    let text = match arguments.format.as_deref() {
        Some(format) => template::documents(Some(format), &[document])?,
        None => format!(
            "rbuild:\n Version:   {}\n OS/Arch:   {host}\n Kernel:    {}\n",
            env!("CARGO_PKG_VERSION"),
            kernel.release().to_string_lossy()
        ),
    };
    terminal.print(&text)?;
    Ok(Status::Done)
}
