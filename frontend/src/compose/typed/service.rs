//! Services.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rbuild_model::project::{
    CgroupNamespace, Condition, ConfigKey, CredentialSpec, Dependency, Device, Limit, Link, Logging,
    ModelKey, ModelUse, NameError, Namespace, NetworkKey, NetworkMode, Provider, PullPolicy, Restart,
    SecretKey, Service, ServiceName, VolumesFrom,
};

use super::super::fault::Checked;
use super::super::values::amount;
use super::read::Reader;
use super::{keyed, parts};

/// Reads a service.
pub(super) fn service(
    reader: &Reader<'_>,
    name: Result<ServiceName, NameError>,
    config_hash: String,
) -> Checked<Service> {
    let at = |key: &str| reader.at(key);
    let text = |key: &str| reader.at(key).text();
    let deploy = reader.section("deploy", parts::deploy)?;
    let replicas = match at("scale").natural()? {
        Some(scale) => scale,
        None => deploy.as_ref().and_then(|deploy| deploy.replicas).unwrap_or(1),
    };
    Ok(Service {
        name: name.map_err(|_| reader.unfit("the name of a service"))?,
        config_hash,
        profiles: at("profiles").texts(),
        image: text("image"),
        build: reader.section("build", parts::build)?,
        provider: at("provider").is_there().then(|| provider(&at("provider"))),
        replicas,
        container_name: text("container_name"),
        command: at("command").optional_texts(),
        entrypoint: at("entrypoint").optional_texts(),
        environment: at("environment").optional_text_map(),
        labels: at("labels").text_map(),
        annotations: at("annotations").text_map(),
        attach: at("attach").optional_flag().unwrap_or(true),
        depends_on: keyed(&at("depends_on"), ServiceName::new, dependency)?,
        deploy,
        watch: at("develop").list("watch", parts::watch)?,
        healthcheck: reader.section("healthcheck", parts::health_check)?,
        pull_policy: pull_policy(&at("pull_policy"))?,
        platform: text("platform"),
        restart: restart(&at("restart"))?,
        stop_grace_period: at("stop_grace_period").duration()?,
        stop_signal: text("stop_signal"),
        pre_start: at("pre_start").items().iter().map(parts::pre_start).collect(),
        post_start: at("post_start").items().iter().map(parts::hook).collect(),
        pre_stop: at("pre_stop").items().iter().map(parts::hook).collect(),
        network_mode: network_mode(&at("network_mode"))?,
        networks: keyed(&at("networks"), NetworkKey::new, parts::attachment)?,
        ports: reader.list("ports", parts::port)?,
        expose: at("expose").texts(),
        links: reader.list("links", link)?,
        external_links: at("external_links").texts(),
        extra_hosts: at("extra_hosts").hosts(),
        dns: name_servers(&at("dns"))?,
        dns_opt: at("dns_opt").texts(),
        dns_search: at("dns_search").texts(),
        hostname: text("hostname"),
        domainname: text("domainname"),
        mac_address: text("mac_address"),
        volumes: reader.list("volumes", parts::mount)?,
        volumes_from: reader.list("volumes_from", volumes_from)?,
        tmpfs: at("tmpfs").texts(),
        configs: parts::grants(&at("configs"), ConfigKey::new)?,
        secrets: parts::grants(&at("secrets"), SecretKey::new)?,
        models: keyed(&at("models"), ModelKey::new, model)?,
        read_only: at("read_only").flag(),
        shm_size: at("shm_size").bytes(),
        storage_opt: at("storage_opt").text_map(),
        use_api_socket: at("use_api_socket").flag(),
        user: text("user"),
        group_add: at("group_add").texts(),
        working_dir: text("working_dir"),
        init: at("init").optional_flag(),
        tty: at("tty").flag(),
        stdin_open: at("stdin_open").flag(),
        privileged: at("privileged").flag(),
        cap_add: at("cap_add").texts(),
        cap_drop: at("cap_drop").texts(),
        security_opt: at("security_opt").texts(),
        sysctls: at("sysctls").text_map(),
        ulimits: parts::ulimits(&at("ulimits"))?,
        ipc: namespace(&at("ipc"))?,
        pid: namespace(&at("pid"))?,
        uts: namespace(&at("uts"))?,
        userns_mode: text("userns_mode"),
        cgroup: at("cgroup")
            .word(&[("host", CgroupNamespace::Host), ("private", CgroupNamespace::Private)])?,
        cgroup_parent: text("cgroup_parent"),
        runtime: text("runtime"),
        isolation: text("isolation"),
        credential_spec: reader.section("credential_spec", credential_spec)?,
        devices: reader.list("devices", device)?,
        device_cgroup_rules: at("device_cgroup_rules").texts(),
        gpus: parts::requests(&at("gpus"))?,
        blkio_config: reader.section("blkio_config", parts::block_io)?,
        cpus: at("cpus").cpus()?,
        cpuset: text("cpuset"),
        cpu_shares: at("cpu_shares").int(),
        cpu_period: at("cpu_period").int(),
        cpu_quota: at("cpu_quota").int(),
        cpu_rt_period: at("cpu_rt_period").int(),
        cpu_rt_runtime: at("cpu_rt_runtime").int(),
        cpu_count: at("cpu_count").int(),
        cpu_percent: at("cpu_percent").millionths(),
        mem_limit: at("mem_limit").bytes(),
        mem_reservation: at("mem_reservation").bytes(),
        memswap_limit: at("memswap_limit").bytes(),
        mem_swappiness: at("mem_swappiness").bytes().map(|share| share.0),
        oom_kill_disable: at("oom_kill_disable").flag(),
        oom_score_adj: at("oom_score_adj").int().unwrap_or_default(),
        pids_limit: reader.section("pids_limit", pids_limit)?.flatten(),
        logging: at("logging").is_there().then(|| logging(&at("logging"))),
    })
}

fn name_servers(reader: &Reader<'_>) -> Checked<Vec<IpAddr>> {
    let servers = reader.items();
    let servers = servers.iter().map(|item| item.parsed("the address of a name server"));
    Ok(servers.collect::<Checked<Vec<_>>>()?.into_iter().flatten().collect())
}

fn model(reader: &Reader<'_>) -> Checked<ModelUse> {
    let (endpoint_var, model_var) = (reader.at("endpoint_var").text(), reader.at("model_var").text());
    Ok(ModelUse { endpoint_var, model_var })
}

fn pids_limit(reader: &Reader<'_>) -> Checked<Option<Limit>> {
    reader.int().map(|number| parts::limit_of(reader, number)).transpose()
}

fn logging(reader: &Reader<'_>) -> Logging {
    Logging { driver: reader.at("driver").text(), options: reader.at("options").text_map() }
}

fn dependency(reader: &Reader<'_>) -> Checked<Dependency> {
    let conditions = [Condition::Started, Condition::Healthy, Condition::CompletedSuccessfully];
    let words = conditions.map(|condition| (condition.as_str(), condition));
    Ok(Dependency {
        condition: reader.at("condition").word(&words)?.unwrap_or_default(),
        restart: reader.at("restart").flag(),
        required: reader.at("required").optional_flag().unwrap_or(true),
    })
}

fn provider(reader: &Reader<'_>) -> Provider {
    let options = reader.at("options").entries().into_iter();
    Provider {
        kind: reader.at("type").text().unwrap_or_default(),
        options: options.map(|(name, values)| (name, values.texts())).collect::<BTreeMap<_, _>>(),
    }
}

fn pull_policy(reader: &Reader<'_>) -> Checked<Option<PullPolicy>> {
    const DAY: u64 = 24 * 60 * 60;
    let Some(text) = reader.text() else { return Ok(None) };
    let every = |seconds| PullPolicy::Every(std::time::Duration::from_secs(seconds));
    Ok(Some(match text.as_str() {
        "always" => PullPolicy::Always,
        "never" => PullPolicy::Never,
        "missing" | "if_not_present" => PullPolicy::Missing,
        "build" => PullPolicy::Build,
        "refresh" => PullPolicy::Refresh,
        "daily" => every(DAY),
        "weekly" => every(7 * DAY),
        other => {
            let nanos = other.strip_prefix("every_").and_then(|text| amount::duration(text).ok());
            match nanos.and_then(|nanos| u64::try_from(nanos).ok()) {
                Some(nanos) => PullPolicy::Every(std::time::Duration::from_nanos(nanos)),
                None => return Err(reader.unfit("a pull policy")),
            }
        }
    }))
}

fn restart(reader: &Reader<'_>) -> Checked<Option<Restart>> {
    let Some(text) = reader.text() else { return Ok(None) };
    let (word, count) = match text.split_once(':') {
        Some((word, count)) => (word, Some(count)),
        None => (text.as_str(), None),
    };
    Ok(Some(match (word, count) {
        ("no", None) => Restart::No,
        ("always", None) => Restart::Always,
        ("unless-stopped", None) => Restart::UnlessStopped,
        ("on-failure", count) => {
            let unfit = |_| reader.unfit("on-failure with a number");
            Restart::OnFailure(count.map(str::parse).transpose().map_err(unfit)?)
        }
        _ => return Err(reader.unfit("one of no, always, on-failure[:N], unless-stopped")),
    }))
}

fn network_mode(reader: &Reader<'_>) -> Checked<Option<NetworkMode>> {
    let Some(text) = reader.text() else { return Ok(None) };
    Ok(Some(match (text.as_str(), text.split_once(':')) {
        ("none", _) => NetworkMode::None,
        ("host", _) => NetworkMode::Host,
        (_, Some(("service", service))) => NetworkMode::Service(reader.named(service, ServiceName::new)?),
        (_, Some(("container", container))) => NetworkMode::Container(container.to_owned()),
        _ => NetworkMode::Network(text),
    }))
}

fn namespace(reader: &Reader<'_>) -> Checked<Option<Namespace>> {
    let Some(text) = reader.text() else { return Ok(None) };
    Ok(Some(match (text.as_str(), text.split_once(':')) {
        ("host", _) => Namespace::Host,
        (_, Some(("service", service))) => Namespace::Service(reader.named(service, ServiceName::new)?),
        (_, Some(("container", container))) => Namespace::Container(container.to_owned()),
        _ => Namespace::Other(text),
    }))
}

fn link(reader: &Reader<'_>) -> Checked<Link> {
    let text = reader.needed()?;
    let (service, alias) = match text.split_once(':') {
        Some((service, alias)) => (service, Some(alias.to_owned())),
        None => (text.as_str(), None),
    };
    Ok(Link { service: reader.named(service, ServiceName::new)?, alias })
}

fn volumes_from(reader: &Reader<'_>) -> Checked<VolumesFrom> {
    let text = reader.needed()?;
    let (name, is_container) = match text.strip_prefix("container:") {
        Some(name) => (name, true),
        None => (text.as_str(), false),
    };
    let (name, mode) = name.split_once(':').unwrap_or((name, "rw"));
    let read_only = match mode {
        "ro" => true,
        "rw" => false,
        _ => return Err(reader.unfit("a service or container with `ro` or `rw`")),
    };
    Ok(if is_container {
        VolumesFrom::Container { container: name.to_owned(), read_only }
    } else {
        VolumesFrom::Service { service: reader.named(name, ServiceName::new)?, read_only }
    })
}

fn device(reader: &Reader<'_>) -> Checked<Device> {
    let source = reader.at("source").needed()?;
    Ok(Device {
        target: reader.at("target").text().unwrap_or_else(|| source.clone()),
        source,
        permissions: reader.at("permissions").text(),
    })
}

fn credential_spec(reader: &Reader<'_>) -> Checked<CredentialSpec> {
    let config = reader.at("config");
    Ok(CredentialSpec {
        config: config.is_there().then(|| config.name(ConfigKey::new)).transpose()?,
        file: reader.at("file").text().map(Into::into),
        registry: reader.at("registry").text(),
    })
}
