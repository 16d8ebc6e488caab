//! Settled documents to the types of `rbuild_model::project`.

mod parts;
mod read;
mod service;

use std::collections::BTreeMap;

use rbuild_model::project::{
    ConfigKey, FileObject, FileSource, Ipam, IpamPool, Model, Network, NetworkKey, Project, SecretKey,
    Service, ServiceName, Volume, VolumeKey,
};

use super::Loaded;
use super::fault::Checked;
use super::path::Path;
use super::print::service_hash;
use super::schema::PROJECT;
use super::settle::{Format, settle};
use super::yaml::{Document, Map, Node};
use read::Reader;

/// Returns a loaded project in types.
pub(super) fn project(loaded: &Loaded) -> Checked<Project> {
    let top = &loaded.top;
    let (networks, volumes) = (section(top, "networks")?, section(top, "volumes")?);
    let (configs, secrets) = (section(top, "configs")?, section(top, "secrets")?);
    let models = section(top, "models")?;
    let mut disabled_top = Map::default();
    disabled_top.put("services", Node::new(super::yaml::Value::Map(loaded.disabled.clone()), None));
    Ok(Project {
        name: loaded.name.clone(),
        separator: Project::SEPARATOR,
        directory: loaded.directory.clone(),
        files: loaded.files.clone(),
        env_files: loaded.env_files.clone(),
        services: services(top)?,
        disabled: services(&disabled_top)?,
        networks: keyed(&Reader::new(top, &networks, &["networks"]), NetworkKey::new, network)?,
        volumes: keyed(&Reader::new(top, &volumes, &["volumes"]), VolumeKey::new, |reader| {
            Ok(volume(reader))
        })?,
        configs: keyed(&Reader::new(top, &configs, &["configs"]), ConfigKey::new, |reader| Ok(file(reader)))?,
        secrets: keyed(&Reader::new(top, &secrets, &["secrets"]), SecretKey::new, |reader| Ok(file(reader)))?,
        models: keyed(&Reader::new(top, &models, &["models"]), rbuild_model::project::ModelKey::new, model)?,
        environment: loaded
            .environment
            .iter()
            .map(|(name, variable)| (name.to_owned(), variable.value.clone()))
            .collect(),
    })
}

/// Brings a top-level section into its final form.
fn section(top: &Map, name: &str) -> Checked<Document> {
    let parent = Node::new(super::yaml::Value::Map(Map::default()), None);
    let settled = match (top.get(name), PROJECT.shape.child(&parent, name)) {
        (Some(node), Some(field)) => settle(node, field, &Path::default().key(name), Format::Yaml)?,
        _ => None,
    };
    Ok(settled.unwrap_or_else(|| Document::Map(Vec::new())))
}

fn services(top: &Map) -> Checked<BTreeMap<ServiceName, Service>> {
    let document = section(top, "services")?;
    keyed(&Reader::new(top, &document, &["services"]), ServiceName::new, |reader| {
        let name = reader.key();
        let map = top.get("services").and_then(|services| services.get(&name)).and_then(Node::as_map);
        let hash = map.map(|map| service_hash(&name, map)).transpose()?.unwrap_or_default();
        service::service(reader, ServiceName::new(&name), hash)
    })
}

/// Reads each entry of a mapping under its key.
fn keyed<K: Ord, V>(
    reader: &Reader<'_>,
    make: impl Fn(&str) -> Result<K, rbuild_model::project::NameError>,
    read: impl Fn(&Reader<'_>) -> Checked<V>,
) -> Checked<BTreeMap<K, V>> {
    let entries = reader.entries().into_iter();
    entries.map(|(key, value)| Ok((value.named(&key, &make)?, read(&value)?))).collect()
}

fn network(reader: &Reader<'_>) -> Checked<Network> {
    let ipam = reader.at("ipam");
    let mut pools = Vec::new();
    for pool in ipam.at("config").items() {
        let mut aux_addresses = BTreeMap::new();
        for (name, address) in pool.at("aux_addresses").entries() {
            if let Some(address) = address.parsed("an address")? {
                aux_addresses.insert(name, address);
            }
        }
        pools.push(IpamPool {
            subnet: pool.at("subnet").text(),
            ip_range: pool.at("ip_range").text(),
            gateway: pool.at("gateway").parsed("an address")?,
            aux_addresses,
        });
    }
    Ok(Network {
        name: reader.at("name").text().unwrap_or_default(),
        driver: reader.at("driver").text(),
        driver_opts: reader.at("driver_opts").text_map(),
        ipam: Ipam { driver: ipam.at("driver").text(), pools },
        external: reader.at("external").flag(),
        internal: reader.at("internal").flag(),
        attachable: reader.at("attachable").flag(),
        labels: reader.at("labels").text_map(),
        enable_ipv4: reader.at("enable_ipv4").optional_flag(),
        enable_ipv6: reader.at("enable_ipv6").optional_flag(),
    })
}

fn volume(reader: &Reader<'_>) -> Volume {
    Volume {
        name: reader.at("name").text().unwrap_or_default(),
        driver: reader.at("driver").text(),
        driver_opts: reader.at("driver_opts").text_map(),
        external: reader.at("external").flag(),
        labels: reader.at("labels").text_map(),
    }
}

fn file(reader: &Reader<'_>) -> FileObject {
    let source = if reader.at("external").flag() {
        FileSource::External
    } else if let Some(path) = reader.at("file").text() {
        FileSource::File(path.into())
    } else if let Some(variable) = reader.at("environment").text() {
        FileSource::Environment(variable)
    } else if reader.at("driver").is_there() {
        FileSource::Driver
    } else {
        FileSource::Content(reader.at("content").text().unwrap_or_default())
    };
    FileObject {
        name: reader.at("name").text().unwrap_or_default(),
        source,
        labels: reader.at("labels").text_map(),
        driver: reader.at("driver").text(),
        driver_opts: reader.at("driver_opts").text_map(),
        template_driver: reader.at("template_driver").text(),
    }
}

fn model(reader: &Reader<'_>) -> Checked<Model> {
    Ok(Model {
        name: reader.at("name").text(),
        model: reader.at("model").text().unwrap_or_default(),
        context_size: reader.at("context_size").natural()?,
        runtime_flags: reader.at("runtime_flags").texts(),
    })
}
