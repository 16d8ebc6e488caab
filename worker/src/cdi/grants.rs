//! Which devices a caller lets steps have (`--allow device...`).

use std::collections::BTreeMap;

use rbuild_devices::{DeviceError, Registry};

use super::StepDeviceError;

/// Which devices steps may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceGrants {
    /// Whether they may have any.
    pub all: bool,
    /// Requests that are granted.
    pub named: Vec<String>,
    /// Names that steps may use, and the requests that they stand for.
    pub aliases: BTreeMap<String, String>,
}

impl DeviceGrants {
    /// Returns the full names of the devices that a step gets for its requests, as [`Exec`](rbuild_model::step::Exec) has them.
    ///
    /// What is not there and not required is left out, with a note, and needs no leave.
    pub(super) fn resolve(
        &self,
        registry: &Registry,
        requests: &[String],
        notes: &mut Vec<String>,
    ) -> Result<Vec<String>, StepDeviceError> {
        let mut names: Vec<String> = Vec::new();
        let mut forbidden: Vec<String> = Vec::new();
        let mut granted: Option<Vec<String>> = None;
        for request in requests {
            let (request, required) = match request.strip_suffix(",required") {
                Some(request) => (request, true),
                None => (request.as_str(), false),
            };
            let alias = self.aliases.get(request);
            let found = registry.find(alias.map_or(request, String::as_str))?;
            if found.is_empty() {
                if required {
                    let problems = registry.problems().to_vec();
                    return Err(StepDeviceError::Missing { name: request.to_owned(), problems });
                }
                notes.push(format!("device {request} is not registered: the step does without"));
            }
            for name in found {
                let free = self.all || alias.is_some() || registry.is_free(&name);
                if !free {
                    if granted.is_none() {
                        granted = Some(self.granted(registry)?);
                    }
                    if granted.as_ref().is_some_and(|granted| !granted.contains(&name)) {
                        forbidden.push(name);
                        continue;
                    }
                }
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        if forbidden.is_empty() { Ok(names) } else { Err(StepDeviceError::Forbidden { names: forbidden }) }
    }

    fn granted(&self, registry: &Registry) -> Result<Vec<String>, DeviceError> {
        let mut granted = Vec::new();
        for name in &self.named {
            granted.extend(registry.find(name)?);
        }
        Ok(granted)
    }
}
