//! Devices that a container asks for by their names, or by what they do.

use std::collections::HashSet;
use std::path::PathBuf;

use rbuild_devices::{Given, Registry};
use rbuild_model::container::DeviceRequest;

use crate::error::RunError;

/// The kinds of devices that do what a request for a `gpu` asks for.
const GPUS: [&str; 2] = ["nvidia.com/gpu", "amd.com/gpu"];

/// What a graphics processor can be asked to do, in the words of its drivers.
const OF_GPUS: [&str; 9] =
    ["gpu", "nvidia", "amd", "compute", "compat32", "graphics", "utility", "video", "display"];

/// Finds what a container is given. Nothing is read if it asks for nothing.
pub(crate) fn choose(requests: &[DeviceRequest], folders: &[PathBuf]) -> Result<Given, RunError> {
    if requests.is_empty() {
        return Ok(Given::default());
    }
    choose_from(&Registry::load(folders), requests)
}

/// Finds it among the devices of a machine.
pub(crate) fn choose_from(registry: &Registry, requests: &[DeviceRequest]) -> Result<Given, RunError> {
    let (mut names, mut seen) = (Vec::<String>::new(), HashSet::new());
    for request in requests {
        let found = if request.driver == DeviceRequest::CDI {
            request.ids.clone()
        } else {
            of_kind(request, registry)?
        };
        names.extend(found.into_iter().filter(|name| seen.insert(name.clone())));
    }
    let missing: Vec<String> = names.iter().filter(|name| !registry.has(name)).cloned().collect();
    if !missing.is_empty() {
        return Err(RunError::UnknownDevices { names: missing, problems: registry.problems().to_vec() });
    }
    Ok(registry.given(&names)?)
}

/// Returns the names of devices that do what is asked for.
fn of_kind(request: &DeviceRequest, registry: &Registry) -> Result<Vec<String>, RunError> {
    let DeviceRequest { driver, count, ids, capabilities, options: _ } = request;
    let is_gpu = |all: &Vec<String>| {
        all.iter().any(|one| one == "gpu") && all.iter().all(|one| OF_GPUS.contains(&one.as_str()))
    };
    let has = |kind: &str| registry.find(&format!("{kind}=*")).unwrap_or_default();
    let kinds = GPUS.iter().filter(|kind| driver.is_empty() || kind.split('.').next() == Some(driver));
    let found = kinds.map(|kind| (kind, has(kind))).find(|(_, devices)| !devices.is_empty());
    let Some((kind, devices)) = found.filter(|_| capabilities.iter().any(is_gpu)) else {
        return Err(RunError::NoDeviceDriver { driver: driver.clone(), capabilities: capabilities.clone() });
    };
    let named = |id: &dyn std::fmt::Display| format!("{kind}={id}");
    if !ids.is_empty() {
        return Ok(ids.iter().map(|id| named(id)).collect());
    }
    match u64::try_from(*count) {
        // With one more than there are, one is missing and is named.
        Ok(count) => Ok((0..count.min(devices.len() as u64 + 1)).map(|number| named(&number)).collect()),
        // What stands for all of them may come with more than each of them does.
        Err(_) if registry.has(&named(&"all")) => Ok(vec![named(&"all")]),
        Err(_) => Ok(devices),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(driver: &str, count: i64, ids: &[&str], capabilities: &[&str]) -> DeviceRequest {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let capabilities = if capabilities.is_empty() { Vec::new() } else { vec![texts(capabilities)] };
        DeviceRequest {
            driver: driver.to_owned(),
            count,
            ids: texts(ids),
            capabilities,
            ..DeviceRequest::default()
        }
    }

    fn machine(kind: &str, devices: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let devices: Vec<String> = devices
            .iter()
            .map(|name| format!("{{name: \"{name}\", containerEdits: {{env: [GPU_{name}=1]}}}}"))
            .collect();
        let text = format!("cdiVersion: 0.6.0\nkind: {kind}\ndevices: [{}]\n", devices.join(", "));
        std::fs::write(folder.path().join("devices.yaml"), text).unwrap();
        folder
    }

    fn given(folder: &tempfile::TempDir, request: DeviceRequest) -> String {
        match choose(&[request], &[folder.path().to_owned()]) {
            Ok(given) => given.env.iter().map(|var| &*var.name).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn names_in_full_are_looked_up() {
        let folder = machine("vendor.com/thing", &["a", "b"]);
        let cdi = |ids: &[&str]| given(&folder, request(DeviceRequest::CDI, 0, ids, &[]));
        assert_eq!(cdi(&["vendor.com/thing=b", "vendor.com/thing=a", "vendor.com/thing=b"]), "GPU_b GPU_a");
        assert_eq!(
            cdi(&["vendor.com/thing=a", "vendor.com/thing=c", "no.such/thing=x"]),
            "CDI device injection failed: unresolvable CDI devices vendor.com/thing=c, no.such/thing=x"
        );
    }

    #[test]
    fn graphics_processors_are_chosen_by_number_or_name() {
        let folder = machine("nvidia.com/gpu", &["0", "1"]);
        let gpus = |count, ids: &[&str]| given(&folder, request("", count, ids, &["gpu", "compute"]));
        assert_eq!(gpus(1, &[]), "GPU_0");
        assert_eq!(gpus(-1, &[]), "GPU_0 GPU_1");
        assert_eq!(gpus(0, &["1"]), "GPU_1");
        for many in [3, i64::MAX] {
            assert!(gpus(many, &[]).ends_with("unresolvable CDI devices nvidia.com/gpu=2"));
        }
        let all = machine("amd.com/gpu", &["0", "all"]);
        assert_eq!(given(&all, request("amd", -1, &[], &["gpu"])), "GPU_all");
    }

    #[test]
    fn what_nobody_has_is_told_as_docker_tells_it() {
        let folder = machine("vendor.com/gpu", &["0"]);
        for (request, driver, capabilities) in [
            (request("", 1, &[], &["gpu"]), "", "[[gpu]]"),
            (request("nvidia", 1, &[], &["gpu", "compute"]), "nvidia", "[[gpu compute]]"),
            (request("", 1, &[], &["tpu"]), "", "[[tpu]]"),
            (request("", 1, &[], &[]), "", "[]"),
        ] {
            let expected =
                format!("could not select device driver \"{driver}\" with capabilities: {capabilities}");
            assert_eq!(given(&folder, request), expected);
        }
    }
}
