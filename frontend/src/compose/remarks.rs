//! What is not wrong and still not what people mean.

use rbuild_model::span::Diagnostic;

use super::fault::remark;
use super::values::words;
use super::yaml::Map;

/// Tells of command lines that end at an operator of a shell: no shell reads them.
pub(crate) fn commands(services: &Map, warnings: &mut Vec<Diagnostic>) {
    for (name, service) in services.iter() {
        for key in ["command", "entrypoint"] {
            let Some(node) = service.get(key) else { continue };
            let split = node.as_str().and_then(|line| words::split(line).ok());
            let Some(operator) = split.and_then(|split| split.stopped_at) else { continue };
            let message = format!(
                "services.{name}.{key}: no shell reads this line, so everything from `{operator}` on is left out; \
                 to have one read it, write [\"sh\", \"-c\", \"...\"]"
            );
            warnings.push(remark(node.at.as_ref(), message));
        }
    }
}
