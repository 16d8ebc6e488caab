//! `rbuild system df`: what takes space, and what of it can go.

use std::collections::HashMap;

use jiff::Timestamp;
use rbuild_engine::Engine;
use rbuild_engine::containers::{ListRequest, Listed};
use rbuild_engine::volumes::VolumeUsers as _;
use rbuild_images::Image;
use rbuild_model::digest::{DiffId, ImageId};
use rbuild_model::volume::VolumeDefinition;
use serde_json::{Value, json};

use crate::cli::system::Usage;
use crate::commands::cache::inventory::{Inventory, Piece, Share as Owner};
use crate::commands::{Context, Outcome, images, ps};
use crate::human;
use crate::report::{Findings, Status};
use crate::template::{self, Column, Template};
use crate::wiring::Home;

const COLUMNS: &[Column] = &[
    Column { field: "Type", title: "TYPE" },
    Column { field: "TotalCount", title: "TOTAL" },
    Column { field: "Active", title: "ACTIVE" },
    Column { field: "Size", title: "SIZE" },
    Column { field: "Reclaimable", title: "RECLAIMABLE" },
];
const STANDARD: &str = "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";

const IMAGES: &[Column] = &[
    Column { field: "Repository", title: "REPOSITORY" },
    Column { field: "Tag", title: "TAG" },
    Column { field: "ID", title: "IMAGE ID" },
    Column { field: "CreatedSince", title: "CREATED" },
    Column { field: "Size", title: "SIZE" },
    Column { field: "SharedSize", title: "SHARED SIZE" },
    Column { field: "UniqueSize", title: "UNIQUE SIZE" },
    Column { field: "Containers", title: "CONTAINERS" },
];
const CONTAINERS: &[Column] = &[
    Column { field: "ID", title: "CONTAINER ID" },
    Column { field: "Image", title: "IMAGE" },
    Column { field: "Command", title: "COMMAND" },
    Column { field: "LocalVolumes", title: "LOCAL VOLUMES" },
    Column { field: "Size", title: "SIZE" },
    Column { field: "RunningFor", title: "CREATED" },
    Column { field: "Status", title: "STATUS" },
    Column { field: "Names", title: "NAMES" },
];
const VOLUMES: &[Column] = &[
    Column { field: "Name", title: "VOLUME NAME" },
    Column { field: "Links", title: "LINKS" },
    Column { field: "Size", title: "SIZE" },
];
const CACHE: &[Column] = &[
    Column { field: "ID", title: "CACHE ID" },
    Column { field: "CacheType", title: "CACHE TYPE" },
    Column { field: "Size", title: "SIZE" },
    Column { field: "CreatedSince", title: "CREATED" },
    Column { field: "LastUsedSince", title: "LAST USED" },
    Column { field: "UsageCount", title: "USAGE" },
    Column { field: "Shared", title: "SHARED" },
];

/// All that takes space.
struct Found {
    images: Vec<(Image, Layers, usize)>,
    /// The bytes of all layers, each counted once.
    layers: u64,
    containers: Vec<Listed>,
    volumes: Vec<(VolumeDefinition, usize, u64)>,
    cache: Vec<Piece>,
}

/// The bytes of an image's layers.
struct Layers {
    /// Those that other images have too.
    shared: u64,
    /// Those that only this image has.
    unique: u64,
}

pub(super) fn run(arguments: &Usage, context: &Context) -> Outcome {
    let (home, engine) = crate::wiring::engine(context, "rbuild system df")?;
    let found = Found::look(&home, &engine)?;
    let format = arguments.format.as_deref();
    let text = match (arguments.verbose, format) {
        (false, _) => template::list(format, STANDARD, COLUMNS, &found.sums()),
        (true, None | Some("" | "table")) => found.tables(),
        (true, Some("json")) => Ok(format!("{}\n", found.document())),
        (true, Some(text)) => {
            Template::parse(text).and_then(|template| Ok(template.render(&found.document())? + "\n"))
        }
    };
    context.terminal.print(&text.map_err(Findings::from)?)?;
    Ok(Status::Done)
}

impl Found {
    fn look(home: &Home, engine: &Engine) -> anyhow::Result<Self> {
        let containers = engine.list(&ListRequest { all: true, sizes: true, ..ListRequest::default() })?;
        let mut users: HashMap<ImageId, usize> = HashMap::new();
        for one in &containers {
            *users.entry(one.definition.image.id).or_default() += 1;
        }
        let images = home.images.list()?;
        let sizes = images
            .iter()
            .map(|image| Ok(home.images.layer_sizes(image)?))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let chains: Vec<&[DiffId]> = images.iter().map(|image| &image.config.rootfs.diff_ids[..]).collect();
        let (each, layers) = layers(&chains, &sizes);
        let images = images.into_iter().zip(each).map(|(image, layers)| {
            let users = users.get(&image.id).copied().unwrap_or(0);
            (image, layers, users)
        });
        let volumes = engine.volumes();
        let volumes = volumes
            .list()?
            .into_iter()
            .map(|definition| {
                let links = engine.users(&definition.name)?.len();
                let bytes = volumes.size(&definition)?.unwrap_or(0);
                Ok((definition, links, bytes))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let pieces = Inventory::take(home)?.pieces;
        let cache = pieces.into_iter().filter(|piece| piece.share == Owner::Cache).collect();
        Ok(Self { images: images.collect(), layers, containers, volumes, cache })
    }

    fn sums(&self) -> Vec<Value> {
        let row = |kind: &str, total: usize, active: usize, size: u64, free: u64, share: Share| {
            let mut text = human::precise_size(free);
            if share == Share::Told && size > 0 {
                text.push_str(&format!(" ({}%)", free.saturating_mul(100) / size));
            }
            json!({
                "Type": kind,
                "TotalCount": total.to_string(),
                "Active": active.to_string(),
                "Size": human::precise_size(size),
                "Reclaimable": text,
            })
        };
        let in_use = || self.images.iter().filter(|(.., users)| *users > 0);
        let used: u64 = in_use().map(|(_, layers, _)| layers.unique).sum();
        let written = |one: &Listed| one.size.map_or(0, |(own, _)| own);
        let active = |one: &&Listed| one.observed.state.is_active();
        let containers: u64 = self.containers.iter().map(written).sum();
        let active_bytes: u64 = self.containers.iter().filter(active).map(written).sum();
        let volumes: u64 = self.volumes.iter().map(|(.., bytes)| bytes).sum();
        let linked = || self.volumes.iter().filter(|(_, links, _)| *links > 0);
        let linked_bytes: u64 = linked().map(|(.., bytes)| bytes).sum();
        let kept = |piece: &&Piece| !piece.is_reclaimable();
        let cached_use: u64 = self.cache.iter().filter(kept).map(|piece| piece.bytes).sum();
        let cache = self.cache_bytes();
        vec![
            row("Images", self.images.len(), in_use().count(), self.layers, self.layers - used, Share::Told),
            row(
                "Containers",
                self.containers.len(),
                self.containers.iter().filter(active).count(),
                containers,
                containers - active_bytes,
                Share::Told,
            ),
            row(
                "Local Volumes",
                self.volumes.len(),
                linked().count(),
                volumes,
                volumes - linked_bytes,
                Share::Told,
            ),
            row(
                "Build Cache",
                self.cache.len(),
                self.cache.iter().filter(kept).count(),
                cache,
                cache - cached_use,
                Share::Left,
            ),
        ]
    }

    fn cache_bytes(&self) -> u64 {
        self.cache.iter().map(|piece| piece.bytes).sum()
    }

    /// Returns one object with everything, as `--format json` shows it.
    fn document(&self) -> Value {
        let now = Timestamp::now();
        let containers: Vec<Value> =
            self.containers.iter().map(|one| template::apart(ps::row(one, ps::Ids::Full, now)).0).collect();
        json!({
            "Images": self.image_rows(ps::Ids::Full, now),
            "Containers": containers,
            "Volumes": self.volume_rows(),
            "BuildCache": self.cache_rows(now),
        })
    }

    fn tables(&self) -> Result<String, Box<rbuild_model::span::Diagnostic>> {
        let now = Timestamp::now();
        let table = |columns: &[Column], rows: &[Value]| {
            let fields: Vec<String> =
                columns.iter().map(|column| format!("{{{{.{}}}}}", column.field)).collect();
            template::list(None, &fields.join("\t"), columns, rows)
        };
        let containers: Vec<Value> =
            self.containers.iter().map(|one| ps::row(one, ps::Ids::Short, now)).collect();
        Ok(format!(
            "Images space usage:\n\n{}\nContainers space usage:\n\n{}\nLocal Volumes space usage:\n\n{}\n\
             Build cache usage: {}\n\n{}",
            table(IMAGES, &self.image_rows(ps::Ids::Short, now))?,
            table(CONTAINERS, &containers)?,
            table(VOLUMES, &self.volume_rows())?,
            human::precise_size(self.cache_bytes()),
            table(CACHE, &self.cache_rows(now))?,
        ))
    }

    fn image_rows(&self, ids: ps::Ids, now: Timestamp) -> Vec<Value> {
        let mut rows = Vec::new();
        for (image, layers, users) in &self.images {
            for mut row in images::rows(image, None, ids, now) {
                row["SharedSize"] = human::precise_size(layers.shared).into();
                row["UniqueSize"] = human::precise_size(layers.unique).into();
                row["Containers"] = users.to_string().into();
                rows.push(row);
            }
        }
        rows
    }

    fn volume_rows(&self) -> Vec<Value> {
        self.volumes
            .iter()
            .map(|(definition, links, bytes)| {
                json!({
                    "Name": definition.name,
                    "Driver": definition.driver,
                    "Links": links.to_string(),
                    "Size": human::precise_size(*bytes),
                })
            })
            .collect()
    }

    fn cache_rows(&self, now: Timestamp) -> Vec<Value> {
        let since = |seconds: Option<i64>| {
            let moment = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
            moment.map(|moment| human::ago(moment, now)).unwrap_or_default()
        };
        self.cache
            .iter()
            .map(|piece| {
                let id = piece.id.strip_prefix("sha256:").unwrap_or(&piece.id);
                json!({
                    "ID": id.chars().take(12).collect::<String>(),
                    "CacheType": piece.kind,
                    "Size": human::precise_size(piece.bytes),
                    "CreatedSince": since(piece.created_at),
                    "LastUsedSince": since(piece.used_at),
                    "UsageCount": piece.uses.map(|uses| uses.to_string()).unwrap_or_default(),
                    "Shared": piece.shared.to_string(),
                    "InUse": piece.in_use.to_string(),
                    "Description": piece.description,
                })
            })
            .collect()
    }
}

/// Whether the part of the whole is told as well.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Share {
    Told,
    Left,
}

/// Returns the bytes of all layers of images, each counted once.
pub(in crate::commands) fn layer_bytes(home: &Home, images: &[&Image]) -> anyhow::Result<u64> {
    let sizes =
        images.iter().map(|image| Ok(home.images.layer_sizes(image)?)).collect::<anyhow::Result<Vec<_>>>()?;
    let chains: Vec<&[DiffId]> = images.iter().map(|image| &image.config.rootfs.diff_ids[..]).collect();
    Ok(layers(&chains, &sizes).1)
}

/// Tells what of each image's layers other images have too, and the bytes of all layers. Images share a layer only
/// together with all below it.
fn layers(chains: &[&[DiffId]], sizes: &[Vec<u64>]) -> (Vec<Layers>, u64) {
    let mut users: HashMap<&[DiffId], usize> = HashMap::new();
    let mut all = 0;
    for (chain, sizes) in chains.iter().zip(sizes) {
        for (at, size) in sizes.iter().enumerate().take(chain.len()) {
            let users = users.entry(&chain[..=at]).or_default();
            *users += 1;
            all += if *users == 1 { *size } else { 0 };
        }
    }
    let of = |(chain, sizes): (&&[DiffId], &Vec<u64>)| {
        let mut layers = Layers { shared: 0, unique: 0 };
        for (at, size) in sizes.iter().enumerate().take(chain.len()) {
            match users[&chain[..=at]] {
                1 => layers.unique += size,
                _ => layers.shared += size,
            }
        }
        layers
    };
    (chains.iter().zip(sizes).map(of).collect(), all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_share_layers_with_all_below_them() {
        let id = |byte: u8| DiffId::from_bytes([byte; 32]);
        let (one, two, other) = ([id(1), id(2)], [id(1), id(3)], [id(2)]);
        let (found, all) = layers(&[&one, &two, &other], &[vec![10, 1], vec![10, 2], vec![1]]);
        assert_eq!(all, 14);
        let told: Vec<_> = found.iter().map(|layers| (layers.shared, layers.unique)).collect();
        assert_eq!(told, [(10, 1), (10, 2), (0, 1)]);
    }
}
