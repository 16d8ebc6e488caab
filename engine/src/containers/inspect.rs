//! `inspect`: a container as Docker's document of it.

mod mount;

use std::collections::BTreeMap;

use rbuild_model::container::{
    Definition, DeviceRequest, HostOptions, NamespaceUse, Removal, Resources, RestartPolicy, SeccompUse,
    State,
};
use rbuild_model::network::{EndpointSettings, HostPort, NetworkDefinition, NetworkMode};
use rbuild_sandbox::capabilities::canonical;
use serde_json::{Map, Value, json};

use super::error::ContainerError;
use super::list::networks;
use super::note::EndpointNote;
use super::observe::Observed;
use crate::engine::Engine;

/// What stands for a moment that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";
/// The size of `/dev/shm` unless another is asked for.
const SHM_SIZE: u64 = 64 << 20;

/// Whether a document tells how much a container wrote and sees, which takes a walk over its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// They are counted.
    Counted,
    /// They are left out.
    Omitted,
}

impl Engine {
    /// Returns a container's document.
    pub fn inspect(&self, definition: &Definition, sizes: Sizes) -> Result<Value, ContainerError> {
        let mut observed = self.observe(definition)?;
        if observed.state.run().is_some() {
            observed.note.follow(&self.networks().of_container(&definition.id.to_string())?);
        }
        let mut document = document(self, definition, &observed);
        if sizes == Sizes::Counted {
            let (writes, all) = self.sizes(definition)?;
            document["SizeRw"] = writes.into();
            document["SizeRootFs"] = all.into();
        }
        Ok(document)
    }
}

fn document(engine: &Engine, definition: &Definition, observed: &Observed) -> Value {
    let argv = definition.program.argv();
    let id = definition.id.to_string();
    let folder = engine.folder(definition.id);
    let file = |name: &str| match observed.state.run() {
        // They are files in memory that only the container sees.
        Some(run) => format!("/proc/{}/root/etc/{name}", run.init.pid),
        None => String::new(),
    };
    json!({
        "Id": id,
        "Created": definition.created.to_string(),
        "Path": argv.first().cloned().unwrap_or_default(),
        "Args": argv.get(1..).unwrap_or_default(),
        "State": state(engine, definition, observed),
        "Image": definition.image.id.to_string(),
        "ResolvConfPath": file("resolv.conf"),
        "HostnamePath": file("hostname"),
        "HostsPath": file("hosts"),
        "LogPath": match definition.host.log.driver {
            rbuild_model::container::LogDriver::JsonFile => folder.join(format!("{id}-json.log")).display().to_string(),
            _ => String::new(),
        },
        "Name": format!("/{}", definition.name),
        "RestartCount": observed.restarts,
        "Driver": engine.parts.snapshotter.format(),
        "Platform": definition.image.platform.os,
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": null,
        "HostConfig": host_config(definition),
        "GraphDriver": { "Data": null, "Name": engine.parts.snapshotter.format() },
        "Mounts": mount::points(engine, &definition.host.mounts),
        "Config": config(definition),
        "NetworkSettings": network_settings(definition, observed),
    })
}

fn state(engine: &Engine, definition: &Definition, observed: &Observed) -> Value {
    let state = &observed.state;
    let (error, code) = match state {
        State::Created { failure: Some(failure) } => (failure.error.clone(), failure.code),
        State::Created { failure: None } | State::Running(_) | State::Paused(_) => (String::new(), 0),
        state => {
            let ended = state.ended();
            (
                ended.and_then(|ended| ended.error.clone()).unwrap_or_default(),
                ended.map_or(0, |ended| ended.code),
            )
        }
    };
    let moment =
        |moment: Option<jiff::Timestamp>| moment.map_or_else(|| NEVER.to_owned(), |at| at.to_string());
    let ended = state.ended();
    let oom_killed =
        ended.map_or_else(|| engine.was_short_of_memory(definition, observed), |ended| ended.oom_killed);
    let started = state.run().map(|run| run.started).or(ended.map(|ended| ended.started));
    let mut document = json!({
        "Status": state.status().word(),
        "Running": state.is_active(),
        "Paused": matches!(state, State::Paused(_)),
        "Restarting": matches!(state, State::Restarting { .. }),
        "OOMKilled": oom_killed,
        "Dead": matches!(state, State::Dead { .. }),
        "Pid": state.run().map_or(0, |run| run.init.pid),
        "ExitCode": code,
        "Error": error,
        "StartedAt": moment(started),
        "FinishedAt": moment(ended.map(|ended| ended.finished).or(observed.finished_before)),
    });
    let health = match state.run() {
        Some(run) => run.health.as_ref(),
        None => ended.and_then(|ended| ended.health.as_ref()),
    };
    if let Some(health) = health.filter(|_| definition.health_check().is_some()) {
        let probe = |probe: &rbuild_model::container::Probe| {
            json!({
                "Start": probe.start.to_string(),
                "End": probe.end.to_string(),
                "ExitCode": probe.exit_code,
                "Output": probe.output,
            })
        };
        document["Health"] = json!({
            "Status": health.status.word(),
            "FailingStreak": health.failing_streak,
            "Log": health.log.iter().map(probe).collect::<Vec<_>>(),
        });
    }
    document
}

fn namespace(of: &NamespaceUse) -> String {
    match of {
        NamespaceUse::Own => String::new(),
        NamespaceUse::Shareable => "shareable".to_owned(),
        NamespaceUse::Bare => "none".to_owned(),
        NamespaceUse::Host => "host".to_owned(),
        NamespaceUse::Container(name) => format!("container:{name}"),
    }
}

/// `null` for nothing, as Docker's documents have it for lists that nobody gave.
fn given<T: serde::Serialize>(list: &[T]) -> Value {
    if list.is_empty() { Value::Null } else { json!(list) }
}

/// Capabilities by their names in full. Projects of earlier versions had them written down as given.
fn capabilities(names: &[String]) -> Vec<String> {
    let whole = |name: String| if name == "ALL" { name } else { format!("CAP_{name}") };
    names.iter().map(|name| whole(canonical(name))).collect()
}

fn host_config(definition: &Definition) -> Value {
    let host = &definition.host;
    let retries = match host.restart {
        RestartPolicy::OnFailure { max } => max.unwrap_or(0),
        _ => 0,
    };
    let mut document = json!({
        "Binds": given(&mount::binds(&host.mounts)),
        "ContainerIDFile": host.cidfile.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        "LogConfig": { "Type": host.log.driver.word(), "Config": host.log.options },
        "NetworkMode": match &host.network { NetworkMode::Default => NetworkDefinition::DEFAULT.to_owned(), mode => mode.to_string() },
        "PortBindings": port_bindings(definition),
        "RestartPolicy": { "Name": host.restart.word(), "MaximumRetryCount": retries },
        "AutoRemove": host.removal == Removal::Auto,
        "VolumeDriver": "",
        "VolumesFrom": given(&host.volumes_from),
        "ConsoleSize": definition.streams.size.map_or([0, 0], |(columns, rows)| [rows, columns]),
        "CapAdd": given(&capabilities(&host.cap_add)),
        "CapDrop": given(&capabilities(&host.cap_drop)),
        "CgroupnsMode": if host.cgroup == NamespaceUse::Host { "host" } else { "private" },
        "Dns": host.dns,
        "DnsOptions": host.dns_options,
        "DnsSearch": host.dns_search,
        "ExtraHosts": given(&host.extra_hosts.iter().map(|h| format!("{}:{}", h.name, h.address)).collect::<Vec<_>>()),
        "GroupAdd": given(&host.groups),
        "IpcMode": if host.ipc == NamespaceUse::Own { "private".to_owned() } else { namespace(&host.ipc) },
        "Cgroup": "",
        "Links": null,
        "OomScoreAdj": host.oom_score_adj.unwrap_or(0),
        "PidMode": namespace(&host.pid),
        "Privileged": host.privileged,
        "PublishAllPorts": host.publish_all,
        "ReadonlyRootfs": host.read_only,
        "SecurityOpt": given(&security(definition)),
        "UTSMode": namespace(&host.uts),
        "UsernsMode": "",
        "ShmSize": host.shm_size.unwrap_or(SHM_SIZE),
        "Runtime": "rbuild",
        "Isolation": "",
        "CgroupParent": host.cgroup_parent.clone().unwrap_or_default(),
        "Devices": host.devices.iter().map(|device| json!({
            "PathOnHost": device.host, "PathInContainer": device.container, "CgroupPermissions": device.access,
        })).collect::<Vec<_>>(),
        "DeviceRequests": given(&host.device_requests.iter().map(device_request).collect::<Vec<_>>()),
        "MaskedPaths": paths(host, rbuild_sandbox::profile::masked_paths()),
        "ReadonlyPaths": paths(host, rbuild_sandbox::profile::readonly_paths()),
    });
    let Value::Object(all) = &mut document else { return document };
    all.extend(limits(&host.resources));
    if host.init {
        all.insert("Init".to_owned(), true.into());
    }
    if !host.sysctls.is_empty() {
        all.insert("Sysctls".to_owned(), json!(host.sysctls));
    }
    if !host.annotations.is_empty() {
        all.insert("Annotations".to_owned(), json!(host.annotations));
    }
    let (long, tmpfs) = (mount::long(&host.mounts), mount::tmpfs(&host.mounts));
    if !long.is_empty() {
        all.insert("Mounts".to_owned(), long.into());
    }
    if !tmpfs.is_empty() {
        all.insert("Tmpfs".to_owned(), tmpfs.into());
    }
    document
}

fn device_request(request: &DeviceRequest) -> Value {
    let DeviceRequest { driver, count, ids, capabilities, options } = request;
    json!({
        "Driver": driver,
        "Count": count,
        "DeviceIDs": given(ids),
        "Capabilities": given(capabilities),
        "Options": Some(options).filter(|options| *driver != DeviceRequest::CDI || !options.is_empty()),
    })
}

/// What a container may use, as Docker's document has it among the other settings.
fn limits(resources: &Resources) -> Map<String, Value> {
    let Resources { memory, memory_swap, memory_reservation, memory_swappiness, .. } = resources;
    let rates = |list: &[rbuild_model::container::BlkioRate]| -> Value {
        list.iter().map(|rate| json!({ "Path": rate.path, "Rate": rate.rate })).collect()
    };
    let document = json!({
        "CpuShares": resources.cpu_shares.unwrap_or(0),
        "Memory": memory.unwrap_or(0),
        "NanoCpus": resources.nano_cpus.unwrap_or(0),
        "BlkioWeight": resources.blkio_weight.unwrap_or(0),
        "BlkioWeightDevice": resources.blkio_weight_device.iter().map(|device| json!({ "Path": device.path, "Weight": device.weight })).collect::<Vec<_>>(),
        "BlkioDeviceReadBps": rates(&resources.device_read_bps),
        "BlkioDeviceWriteBps": rates(&resources.device_write_bps),
        "BlkioDeviceReadIOps": rates(&resources.device_read_iops),
        "BlkioDeviceWriteIOps": rates(&resources.device_write_iops),
        "CpuPeriod": resources.cpu_period.unwrap_or(0),
        "CpuQuota": resources.cpu_quota.unwrap_or(0),
        "CpuRealtimePeriod": resources.cpu_rt_period.unwrap_or(0),
        "CpuRealtimeRuntime": resources.cpu_rt_runtime.unwrap_or(0),
        "CpusetCpus": resources.cpuset_cpus.clone().unwrap_or_default(),
        "CpusetMems": resources.cpuset_mems.clone().unwrap_or_default(),
        "DeviceCgroupRules": given(&resources.device_rules),
        "MemoryReservation": memory_reservation.unwrap_or(0),
        "MemorySwap": memory_swap.or_else(|| memory.and_then(|memory| i64::try_from(memory.saturating_mul(2)).ok())).unwrap_or(0),
        "MemorySwappiness": memory_swappiness,
        "OomKillDisable": resources.oom_kill_disable,
        "PidsLimit": resources.pids,
        "Ulimits": resources.ulimits.iter().map(|limit| json!({ "Name": limit.name, "Hard": limit.hard, "Soft": limit.soft })).collect::<Vec<_>>(),
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
    });
    match document {
        Value::Object(limits) => limits,
        _ => Map::new(),
    }
}

/// Paths of the kernel that are closed to a container: none where it was asked for, and nothing is said of one with all
/// rights.
fn paths(host: &HostOptions, usual: Vec<String>) -> Value {
    match (host.privileged, host.unmasked) {
        (true, _) => Value::Null,
        (false, true) => json!([]),
        (false, false) => json!(usual),
    }
}

fn security(definition: &Definition) -> Vec<String> {
    let host = &definition.host;
    let mut options = Vec::new();
    if host.no_new_privileges {
        options.push("no-new-privileges".to_owned());
    }
    match &host.seccomp {
        SeccompUse::Default => {}
        SeccompUse::Unconfined => options.push("seccomp=unconfined".to_owned()),
        SeccompUse::Profile(profile) => options.push(format!("seccomp={profile}")),
    }
    if host.unmasked {
        options.push("systempaths=unconfined".to_owned());
    }
    options
}

fn port_bindings(definition: &Definition) -> Value {
    let mut bindings: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for binding in &definition.host.ports {
        let port = match binding.host_port {
            HostPort::Any => String::new(),
            HostPort::One(port) => port.to_string(),
            HostPort::Range(first, last) => format!("{first}-{last}"),
        };
        let host = binding.host.map(|address| address.to_string()).unwrap_or_default();
        bindings
            .entry(format!("{}/{}", binding.port, binding.protocol))
            .or_default()
            .push(json!({ "HostIp": host, "HostPort": port }));
    }
    json!(bindings)
}

fn config(definition: &Definition) -> Value {
    let Definition { program, streams, .. } = definition;
    let set = |names: &std::collections::BTreeSet<String>| -> Value {
        if names.is_empty() {
            return Value::Null;
        }
        names.iter().map(|name| (name.clone(), json!({}))).collect::<Map<_, _>>().into()
    };
    let mut document = json!({
        "Hostname": definition.hostname(),
        "Domainname": definition.domainname.clone().unwrap_or_default(),
        "User": program.user,
        "AttachStdin": streams.attached[0],
        "AttachStdout": streams.attached[1],
        "AttachStderr": streams.attached[2],
        "Tty": streams.tty,
        "OpenStdin": streams.open_stdin,
        "StdinOnce": streams.stdin_once,
        "Env": program.env,
        "Cmd": program.command,
        "Image": definition.image.reference,
        "Volumes": set(&definition.volumes),
        "WorkingDir": program.workdir,
        "Entrypoint": program.entrypoint,
        "OnBuild": null,
        "Labels": definition.labels,
    });
    if let Value::Object(all) = &mut document {
        if !definition.exposed.is_empty() {
            all.insert("ExposedPorts".to_owned(), set(&definition.exposed));
        }
        if let Some(health) = &definition.health {
            all.insert("Healthcheck".to_owned(), json!(health));
        }
        if let Some(signal) = program.stop_signal {
            all.insert("StopSignal".to_owned(), signal.to_string().into());
        }
        if let Some(timeout) = program.stop_timeout {
            all.insert("StopTimeout".to_owned(), timeout.into());
        }
        if let Some(shell) = &program.shell {
            all.insert("Shell".to_owned(), json!(shell));
        }
    }
    document
}

/// Returns the ports of a running container as documents tell them.
fn ports(definition: &Definition, observed: &Observed) -> Value {
    let mut ports: BTreeMap<String, Value> = BTreeMap::new();
    if observed.state.run().is_some() {
        for exposed in definition.exposed.iter().filter(|_| observed.note.leads_out()) {
            let key = if exposed.contains('/') { exposed.clone() } else { format!("{exposed}/tcp") };
            ports.insert(key, Value::Null);
        }
        for port in observed.note.published() {
            let entry = ports.entry(format!("{}/{}", port.port, port.protocol)).or_insert(Value::Null);
            let binding = json!({ "HostIp": port.host.to_string(), "HostPort": port.host_port_text() });
            match entry {
                Value::Array(list) => list.push(binding),
                other => *other = json!([binding]),
            }
        }
    }
    json!(ports)
}

fn network_settings(definition: &Definition, observed: &Observed) -> Value {
    let none = EndpointNote::default();
    let is_main = |endpoint: &&EndpointNote| endpoint.network == NetworkDefinition::DEFAULT;
    let main = observed.note.endpoints.iter().find(is_main).unwrap_or(&none);
    let mut document = json!({
        "Bridge": "",
        "SandboxID": "",
        "SandboxKey": observed.state.run().map(|run| format!("/proc/{}/ns/net", run.init.pid)).unwrap_or_default(),
        "Ports": ports(definition, observed),
        "HairpinMode": false,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": null,
        "SecondaryIPv6Addresses": null,
    });
    let Value::Object(all) = &mut document else { return document };
    if let Value::Object(own) = addresses(main) {
        all.extend(own);
    }
    let endpoints: Map<String, Value> = networks(definition)
        .iter()
        .map(|name| {
            let wish = definition.host.endpoints.iter().find(|wish| wish.network == *name);
            let own =
                observed.note.endpoints.iter().find(|endpoint| endpoint.network == *name).unwrap_or(&none);
            (name.clone(), endpoint(wish.map(|wish| &wish.settings), own))
        })
        .collect();
    all.insert("Networks".to_owned(), endpoints.into());
    document
}

/// What an endpoint has, under Docker's names.
fn addresses(endpoint: &EndpointNote) -> Value {
    let text = |value: Option<String>| value.unwrap_or_default();
    json!({
        "EndpointID": endpoint.id,
        "Gateway": text(endpoint.gateway.map(|address| address.to_string())),
        "GlobalIPv6Address": text(endpoint.ipv6.map(|(address, _)| address.to_string())),
        "GlobalIPv6PrefixLen": endpoint.ipv6.map_or(0, |(_, prefix)| prefix),
        "IPAddress": text(endpoint.ipv4.map(|(address, _)| address.to_string())),
        "IPPrefixLen": endpoint.ipv4.map_or(0, |(_, prefix)| prefix),
        "IPv6Gateway": text(endpoint.gateway6.map(|address| address.to_string())),
        "MacAddress": text(endpoint.mac.clone()),
    })
}

fn endpoint(wish: Option<&EndpointSettings>, own: &EndpointNote) -> Value {
    let default = EndpointSettings::default();
    let wish = wish.unwrap_or(&default);
    let mut ipam = Map::new();
    ipam.extend(wish.ipv4.map(|address| ("IPv4Address".to_owned(), json!(address))));
    ipam.extend(wish.ipv6.map(|address| ("IPv6Address".to_owned(), json!(address))));
    if !wish.link_local.is_empty() {
        ipam.insert("LinkLocalIPs".to_owned(), json!(wish.link_local));
    }
    let ipam = if ipam.is_empty() { Value::Null } else { ipam.into() };
    let mut document = json!({
        "IPAMConfig": ipam,
        "Links": given(&wish.links),
        "Aliases": given(&wish.aliases),
        "DriverOpts": if wish.driver_options.is_empty() { Value::Null } else { json!(wish.driver_options) },
        "GwPriority": wish.gateway_priority,
        "NetworkID": own.network_id,
        "DNSNames": given(&own.dns_names),
    });
    if let (Value::Object(all), Value::Object(addresses)) = (&mut document, addresses(own)) {
        all.extend(addresses);
        if let (None, Some(mac)) = (&own.mac, wish.mac) {
            all.insert("MacAddress".to_owned(), mac.to_string().into());
        }
    }
    document
}

#[cfg(test)]
mod tests {
    use super::capabilities;

    #[test]
    fn capabilities_are_told_in_full_however_they_were_given() {
        let told = capabilities(&["NET_ADMIN", "CAP_NET_RAW", "chown", "all"].map(str::to_owned));
        assert_eq!(told, ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_CHOWN", "ALL"]);
    }
}
