//! The sections of a service.

use std::collections::BTreeMap;

use rbuild_model::project::{
    AdditionalContext, Attachment, Bind, BlockIo, Build, BuildSsh, Bytes, Deploy, DeviceCount, DeviceRate,
    DeviceRequest, DeviceWeight, Dockerfile, FileGrant, GenericResource, HealthCheck, HealthTest, Hook,
    Limit, Mount, MountKind, NameError, Order, Placement, Port, PortRange, PreStart, Propagation, Protocol,
    Recursive, Reservations, ResourceLimits, RestartPolicy, SeLinux, SecretKey, ServiceName, Ulimit,
    UpdateConfig, VolumeKey, WatchAction, WatchRule,
};

use super::super::fault::Checked;
use super::read::Reader;
use crate::ports;

pub(super) fn build(reader: &Reader<'_>) -> Checked<Build> {
    let mut additional_contexts = BTreeMap::new();
    for (name, context) in reader.at("additional_contexts").entries() {
        let place = context.text().unwrap_or_default();
        let context = match place.strip_prefix("service:") {
            Some(service) => AdditionalContext::Service(context.named(service, ServiceName::new)?),
            None => AdditionalContext::Place(place),
        };
        additional_contexts.insert(name, context);
    }
    let ssh = |key: String| match key.split_once('=') {
        Some((id, path)) => BuildSsh { id: id.to_owned(), path: Some(path.to_owned()) },
        None => BuildSsh { id: key, path: None },
    };
    let dockerfile = match (reader.at("dockerfile_inline").text(), reader.at("dockerfile").text()) {
        (Some(text), _) => Dockerfile::Inline(text),
        (None, Some(path)) => Dockerfile::Path(path),
        (None, None) => Dockerfile::default(),
    };
    let args = reader.at("args").optional_text_map();
    Ok(Build {
        context: reader.at("context").text().unwrap_or_default(),
        dockerfile,
        args: args.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
        additional_contexts,
        target: reader.at("target").text(),
        cache_from: reader.at("cache_from").texts(),
        cache_to: reader.at("cache_to").texts(),
        no_cache: reader.at("no_cache").flag(),
        no_cache_filter: reader.at("no_cache_filter").texts(),
        pull: reader.at("pull").flag(),
        network: reader.at("network").text(),
        ssh: reader.at("ssh").texts().into_iter().map(ssh).collect(),
        secrets: grants(&reader.at("secrets"), SecretKey::new)?,
        labels: reader.at("labels").text_map(),
        tags: reader.at("tags").texts(),
        platforms: reader.at("platforms").texts(),
        privileged: reader.at("privileged").flag(),
        entitlements: reader.at("entitlements").texts(),
        shm_size: reader.at("shm_size").bytes(),
        ulimits: ulimits(&reader.at("ulimits"))?,
        extra_hosts: reader.at("extra_hosts").hosts(),
        isolation: reader.at("isolation").text(),
        provenance: reader.at("provenance").text(),
        sbom: reader.at("sbom").text(),
    })
}

pub(super) fn grants<K>(
    reader: &Reader<'_>,
    make: impl Fn(&str) -> Result<K, NameError>,
) -> Checked<Vec<FileGrant<K>>> {
    let read = |grant: &Reader<'_>| {
        Ok(FileGrant {
            source: grant.at("source").name(&make)?,
            target: grant.at("target").text(),
            uid: grant.at("uid").text(),
            gid: grant.at("gid").text(),
            mode: grant.at("mode").mode()?,
        })
    };
    reader.items().iter().map(read).collect()
}

pub(super) fn ulimits(reader: &Reader<'_>) -> Checked<BTreeMap<String, Ulimit>> {
    let mut limits = BTreeMap::new();
    for (name, limit) in reader.entries() {
        let one = |reader: &Reader<'_>| {
            let number = reader.int().ok_or_else(|| reader.unfit("a limit"))?;
            limit_of(reader, number)
        };
        let ulimit = match limit.int() {
            Some(_) => Ulimit { soft: one(&limit)?, hard: one(&limit)? },
            None => Ulimit { soft: one(&limit.at("soft"))?, hard: one(&limit.at("hard"))? },
        };
        limits.insert(name, ulimit);
    }
    Ok(limits)
}

pub(super) fn limit_of(reader: &Reader<'_>, number: i64) -> Checked<Limit> {
    match number {
        -1 => Ok(Limit::Unlimited),
        number => u64::try_from(number).map(Limit::AtMost).map_err(|_| reader.unfit("-1, 0 or more")),
    }
}

pub(super) fn health_check(reader: &Reader<'_>) -> Checked<HealthCheck> {
    let test = reader.at("test");
    let words = test.texts();
    let test = if reader.at("disable").flag() {
        Some(HealthTest::None)
    } else {
        match words.split_first() {
            None => None,
            Some((first, rest)) => Some(match first.as_str() {
                "NONE" => HealthTest::None,
                "CMD" => HealthTest::Command(rest.to_vec()),
                "CMD-SHELL" => HealthTest::Shell(rest.join(" ")),
                _ => return Err(test.unfit("CMD, CMD-SHELL or NONE, and words")),
            }),
        }
    };
    Ok(HealthCheck {
        test,
        interval: reader.at("interval").duration()?,
        timeout: reader.at("timeout").duration()?,
        retries: reader.at("retries").natural()?,
        start_period: reader.at("start_period").duration()?,
        start_interval: reader.at("start_interval").duration()?,
    })
}

pub(super) fn hook(reader: &Reader<'_>) -> Hook {
    Hook {
        command: reader.at("command").texts(),
        user: reader.at("user").text(),
        privileged: reader.at("privileged").flag(),
        working_dir: reader.at("working_dir").text(),
        environment: reader.at("environment").optional_text_map(),
    }
}

pub(super) fn pre_start(reader: &Reader<'_>) -> PreStart {
    PreStart {
        image: reader.at("image").text().filter(|image| !image.is_empty()),
        hook: hook(reader),
        per_replica: reader.at("per_replica").flag(),
    }
}

pub(super) fn watch(reader: &Reader<'_>) -> Checked<WatchRule> {
    let action = reader.at("action").word(&[
        ("rebuild", WatchAction::Rebuild),
        ("sync", WatchAction::Sync),
        ("restart", WatchAction::Restart),
        ("sync+restart", WatchAction::SyncRestart),
        ("sync+exec", WatchAction::SyncExec),
    ])?;
    Ok(WatchRule {
        path: reader.at("path").needed()?.into(),
        action: action.ok_or_else(|| reader.unfit("a watch rule with an action"))?,
        target: reader.at("target").text(),
        include: reader.at("include").texts(),
        ignore: reader.at("ignore").texts(),
        exec: reader.at("exec").is_there().then(|| hook(&reader.at("exec"))),
        initial_sync: reader.at("initial_sync").flag(),
    })
}

pub(super) fn deploy(reader: &Reader<'_>) -> Checked<Deploy> {
    let update = |key: &str| reader.section(key, update_config);
    let resources = reader.at("resources");
    let limits = resources.section("limits", |limits| {
        Ok(ResourceLimits {
            cpus: limits.at("cpus").cpus()?,
            memory: limits.at("memory").bytes(),
            pids: limits.at("pids").int(),
        })
    })?;
    let reservations = resources.section("reservations", reserved)?;
    let restart_policy = reader.section("restart_policy", |policy| {
        Ok(RestartPolicy {
            condition: policy.at("condition").text(),
            delay: policy.at("delay").duration()?,
            max_attempts: policy.at("max_attempts").natural()?,
            window: policy.at("window").duration()?,
        })
    })?;
    let placement = reader.at("placement");
    Ok(Deploy {
        mode: reader.at("mode").text(),
        replicas: reader.at("replicas").natural()?,
        labels: reader.at("labels").text_map(),
        update_config: update("update_config")?,
        rollback_config: update("rollback_config")?,
        limits,
        reservations,
        restart_policy,
        placement: Placement {
            constraints: placement.at("constraints").texts(),
            preferences: placement
                .at("preferences")
                .items()
                .iter()
                .filter_map(|p| p.at("spread").text())
                .collect(),
            max_replicas_per_node: placement.at("max_replicas_per_node").natural()?.unwrap_or_default(),
        },
        endpoint_mode: reader.at("endpoint_mode").text(),
    })
}

fn update_config(reader: &Reader<'_>) -> Checked<UpdateConfig> {
    let ratio = reader.at("max_failure_ratio").millionths().unwrap_or_default();
    Ok(UpdateConfig {
        parallelism: reader.at("parallelism").natural()?,
        delay: reader.at("delay").duration()?.unwrap_or_default(),
        failure_action: reader.at("failure_action").text(),
        monitor: reader.at("monitor").duration()?.unwrap_or_default(),
        max_failure_ratio: u32::try_from(ratio).unwrap_or(u32::MAX),
        order: reader
            .at("order")
            .word(&[("start-first", Order::StartFirst), ("stop-first", Order::StopFirst)])?,
    })
}

fn reserved(reader: &Reader<'_>) -> Checked<Reservations> {
    let generic = reader.at("generic_resources").items();
    let generic = generic.iter().map(|item| item.at("discrete_resource_spec")).map(|spec| GenericResource {
        kind: spec.at("kind").text().unwrap_or_default(),
        value: spec.at("value").int().unwrap_or_default(),
    });
    Ok(Reservations {
        cpus: reader.at("cpus").cpus()?,
        memory: reader.at("memory").bytes(),
        devices: requests(&reader.at("devices"))?,
        generic_resources: generic.collect(),
    })
}

pub(super) fn requests(reader: &Reader<'_>) -> Checked<Vec<DeviceRequest>> {
    let read = |request: &Reader<'_>| {
        let count = match request.at("count").int() {
            None => None,
            Some(-1) => Some(DeviceCount::All),
            Some(_) => request.at("count").natural()?.map(DeviceCount::Exactly),
        };
        Ok(DeviceRequest {
            capabilities: request.at("capabilities").texts(),
            driver: request.at("driver").text(),
            count,
            device_ids: request.at("device_ids").texts(),
            options: request.at("options").text_map(),
        })
    };
    reader.items().iter().map(read).collect()
}

pub(super) fn port(reader: &Reader<'_>) -> Checked<Port> {
    let target = reader.at("target");
    let published = reader.at("published");
    let range = published
        .text()
        .map(|text| ports::range(&text).ok_or_else(|| published.unfit("a port or a range of ports")))
        .transpose()?;
    let protocol = reader.at("protocol").text().unwrap_or_else(|| "tcp".to_owned()).to_lowercase();
    let protocol = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
        .into_iter()
        .find(|known| known.as_str() == protocol)
        .ok_or_else(|| reader.at("protocol").unfit("tcp, udp or sctp"))?;
    Ok(Port {
        name: reader.at("name").text(),
        host_ip: reader.at("host_ip").parsed("an address")?,
        target: target
            .int()
            .and_then(|number| u16::try_from(number).ok())
            .filter(|number| *number > 0)
            .ok_or_else(|| target.unfit("a port from 1 to 65535"))?,
        // As everywhere, 0 is any port.
        published: range.map(|(first, last)| PortRange { first, last }).filter(|range| range.first > 0),
        protocol,
        app_protocol: reader.at("app_protocol").text(),
        mode: reader.at("mode").text().unwrap_or_else(|| "ingress".to_owned()),
    })
}

pub(super) fn mount(reader: &Reader<'_>) -> Checked<Mount> {
    let source = reader.at("source");
    let kind = match reader.at("type").needed()?.as_str() {
        "bind" => MountKind::Bind { source: source.needed()?.into(), options: bind(&reader.at("bind"))? },
        "volume" => {
            let volume = reader.at("volume");
            MountKind::Volume {
                source: source.is_there().then(|| source.name(VolumeKey::new)).transpose()?,
                nocopy: volume.at("nocopy").flag(),
                subpath: volume.at("subpath").text(),
                labels: volume.at("labels").text_map(),
            }
        }
        "tmpfs" => {
            let mode = reader.at("tmpfs").at("mode");
            MountKind::Tmpfs {
                size: reader.at("tmpfs").at("size").bytes().filter(|size| *size != Bytes(0)),
                mode: mode
                    .int()
                    .map(|number| u32::try_from(number).map_err(|_| mode.unfit("a file mode")))
                    .transpose()?,
            }
        }
        "image" => {
            MountKind::Image { source: source.needed()?, subpath: reader.at("image").at("subpath").text() }
        }
        "npipe" => MountKind::NamedPipe { source: source.needed()? },
        _ => MountKind::Cluster { source: source.text() },
    };
    Ok(Mount {
        kind,
        target: reader.at("target").needed()?,
        read_only: reader.at("read_only").flag(),
        consistency: reader.at("consistency").text(),
    })
}

fn bind(reader: &Reader<'_>) -> Checked<Bind> {
    Ok(Bind {
        // A mount without any options of its own makes the folder, one with options only if they say so.
        create_host_path: !reader.is_there() || reader.at("create_host_path").flag(),
        propagation: reader.at("propagation").word(&[
            ("private", Propagation::Private),
            ("rprivate", Propagation::RPrivate),
            ("shared", Propagation::Shared),
            ("rshared", Propagation::RShared),
            ("slave", Propagation::Slave),
            ("rslave", Propagation::RSlave),
        ])?,
        recursive: reader.at("recursive").word(&[
            ("enabled", Recursive::Enabled),
            ("disabled", Recursive::Disabled),
            ("writable", Recursive::Writable),
            ("readonly", Recursive::ReadOnly),
        ])?,
        selinux: reader.at("selinux").word(&[("z", SeLinux::Shared), ("Z", SeLinux::Private)])?,
    })
}

pub(super) fn attachment(reader: &Reader<'_>) -> Checked<Attachment> {
    let links = reader.at("link_local_ips").items();
    let links = links.iter().map(|item| item.parsed("an address")).collect::<Checked<Vec<_>>>()?;
    Ok(Attachment {
        aliases: reader.at("aliases").texts(),
        driver_opts: reader.at("driver_opts").text_map(),
        gw_priority: reader.at("gw_priority").int().unwrap_or_default(),
        interface_name: reader.at("interface_name").text(),
        ipv4_address: reader.at("ipv4_address").parsed("an IPv4 address")?,
        ipv6_address: reader.at("ipv6_address").parsed("an IPv6 address")?,
        link_local_ips: links.into_iter().flatten().collect(),
        mac_address: reader.at("mac_address").text(),
        priority: reader.at("priority").int().unwrap_or_default(),
    })
}

pub(super) fn block_io(reader: &Reader<'_>) -> Checked<BlockIo> {
    let weight = |reader: &Reader<'_>| match reader.int() {
        None => Ok(None),
        Some(number) => u16::try_from(number).map(Some).map_err(|_| reader.unfit("a weight from 10 to 1000")),
    };
    let rates = |key: &str| -> Checked<Vec<DeviceRate>> {
        let read = |item: &Reader<'_>| {
            let rate = item.at("rate").bytes().map_or(0, |rate| rate.0);
            Ok(DeviceRate {
                path: item.at("path").text().unwrap_or_default(),
                rate: u64::try_from(rate).map_err(|_| item.at("rate").unfit("0 or more"))?,
            })
        };
        reader.list(key, read)
    };
    let weights = reader.at("weight_device").items();
    let weights = weights.iter().map(|item| {
        Ok(DeviceWeight {
            path: item.at("path").text().unwrap_or_default(),
            weight: weight(&item.at("weight"))?.unwrap_or_default(),
        })
    });
    Ok(BlockIo {
        weight: weight(&reader.at("weight"))?,
        weight_device: weights.collect::<Checked<_>>()?,
        device_read_bps: rates("device_read_bps")?,
        device_read_iops: rates("device_read_iops")?,
        device_write_bps: rates("device_write_bps")?,
        device_write_iops: rates("device_write_iops")?,
    })
}
