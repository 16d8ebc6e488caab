//! Mounts in a container's document: those that it has, and what was asked for, in each of the forms that ask.

use rbuild_model::container::{Begins, BindRecursion, MountAsked, MountUse, MountWhat, Propagation};
use serde_json::{Map, Value, json};

use crate::engine::Engine;

/// Returns what a container has mounted. Memory that was asked for in the short form is told of there alone.
pub(super) fn points(engine: &Engine, mounts: &[MountUse]) -> Vec<Value> {
    let told = |mount: &&MountUse| {
        !matches!((&mount.what, &mount.asked), (MountWhat::Tmpfs(_), MountAsked::Short { .. }))
    };
    mounts.iter().filter(told).map(|mount| point(engine, mount)).collect()
}

fn point(engine: &Engine, mount: &MountUse) -> Value {
    let mut driver = None;
    let (kind, name, source, propagation) = match &mount.what {
        MountWhat::Bind { source, propagation, .. } => {
            ("bind", None, source.display().to_string(), propagation.word())
        }
        MountWhat::Volume { name, .. } => {
            let (folder, keeper) = engine.volume_place(name);
            driver = Some(keeper);
            ("volume", Some(name.to_string()), folder.display().to_string(), "")
        }
        MountWhat::Tmpfs(_) => ("tmpfs", None, String::new(), ""),
        // It is mounted where only the container sees it.
        MountWhat::Image { reference, .. } => {
            ("image", Some(reference.clone()), String::new(), Propagation::RPrivate.word())
        }
    };
    let read_only = mount.read_only || matches!(mount.what, MountWhat::Image { .. });
    let mut point = Map::new();
    point.insert("Type".to_owned(), kind.into());
    point.extend(name.map(|name| ("Name".to_owned(), name.into())));
    point.insert("Source".to_owned(), source.into());
    point.insert("Destination".to_owned(), mount.target.clone().into());
    point.extend(driver.map(|driver| ("Driver".to_owned(), driver.into())));
    point.insert("Mode".to_owned(), mode(mount).into());
    point.insert("RW".to_owned(), (!read_only).into());
    point.insert("Propagation".to_owned(), propagation.into());
    point.into()
}

/// The options of the short form, as they were written. For a volume nobody said more of, Docker has `z`.
fn mode(mount: &MountUse) -> &str {
    let is_volume = matches!(mount.what, MountWhat::Volume { .. });
    match &mount.asked {
        MountAsked::Short { options } if !options.is_empty() => options,
        // Definitions of earlier versions do not say how they were asked for.
        MountAsked::Short { .. } if mount.read_only => "ro",
        MountAsked::Short { .. } | MountAsked::Long { .. } if is_volume => "z",
        _ => "",
    }
}

/// Returns what was asked for in the short form: folders of the host, and volumes with a name.
pub(super) fn binds(mounts: &[MountUse]) -> Vec<String> {
    let short = |mount: &MountUse| {
        let MountAsked::Short { options } = &mount.asked else { return None };
        let source = match &mount.what {
            MountWhat::Bind { source, .. } => source.display().to_string(),
            MountWhat::Volume { name, anonymous: false, .. } => name.to_string(),
            _ => return None,
        };
        let options = if options.is_empty() && mount.read_only { "ro" } else { options };
        let colon = if options.is_empty() { "" } else { ":" };
        Some(format!("{source}:{}{colon}{options}", mount.target))
    };
    mounts.iter().filter_map(short).collect()
}

/// Returns the folders in memory of the short form, with their options.
pub(super) fn tmpfs(mounts: &[MountUse]) -> Map<String, Value> {
    let short = |mount: &MountUse| match (&mount.what, &mount.asked) {
        (MountWhat::Tmpfs(tmpfs), MountAsked::Short { .. }) => {
            Some((mount.target.clone(), tmpfs.options.clone().into()))
        }
        _ => None,
    };
    mounts.iter().filter_map(short).collect()
}

/// Returns what was asked for key by key.
pub(super) fn long(mounts: &[MountUse]) -> Vec<Value> {
    mounts.iter().filter(|mount| matches!(mount.asked, MountAsked::Long { .. })).map(asked).collect()
}

fn asked(mount: &MountUse) -> Value {
    let mut document = Map::new();
    let (kind, source, options) = match &mount.what {
        MountWhat::Bind { source, recursion, propagation, .. } => {
            let mut options = Map::new();
            if *propagation != Propagation::default() {
                options.insert("Propagation".to_owned(), propagation.word().into());
            }
            let restriction = match recursion {
                BindRecursion::All => None,
                BindRecursion::One => Some("NonRecursive"),
                BindRecursion::Writable => Some("ReadOnlyNonRecursive"),
                BindRecursion::ReadOnly => Some("ReadOnlyForceRecursive"),
            };
            options.extend(restriction.map(|name| (name.to_owned(), true.into())));
            ("bind", Some(source.display().to_string()), ("BindOptions", options))
        }
        MountWhat::Volume { name, anonymous, begins, subpath } => {
            let options = volume(&mount.asked, *begins, subpath.as_deref());
            ("volume", Some(name.to_string()).filter(|_| !anonymous), ("VolumeOptions", options))
        }
        MountWhat::Tmpfs(tmpfs) => {
            let mut options = Map::new();
            options.extend(tmpfs.size.map(|size| ("SizeBytes".to_owned(), size.into())));
            options.extend(tmpfs.mode.map(|mode| ("Mode".to_owned(), mode.into())));
            ("tmpfs", None, ("TmpfsOptions", options))
        }
        MountWhat::Image { reference, subpath, .. } => {
            let options = subpath.iter().map(|path| ("Subpath".to_owned(), path.clone().into()));
            ("image", Some(reference.clone()), ("ImageOptions", options.collect()))
        }
    };
    document.insert("Type".to_owned(), kind.into());
    document.extend(source.map(|source| ("Source".to_owned(), source.into())));
    document.insert("Target".to_owned(), mount.target.clone().into());
    if mount.read_only {
        document.insert("ReadOnly".to_owned(), true.into());
    }
    let (name, options) = options;
    if !options.is_empty() {
        document.insert(name.to_owned(), options.into());
    }
    document.into()
}

fn volume(asked: &MountAsked, begins: Begins, subpath: Option<&str>) -> Map<String, Value> {
    let mut document = Map::new();
    let MountAsked::Long { driver, options, labels } = asked else { return document };
    // What begins with nothing only because a part of it is seen was not asked to.
    if begins == Begins::Empty && subpath.is_none() {
        document.insert("NoCopy".to_owned(), true.into());
    }
    if !labels.is_empty() {
        document.insert("Labels".to_owned(), json!(labels));
    }
    document.extend(subpath.map(|path| ("Subpath".to_owned(), path.into())));
    let mut keeper = Map::new();
    keeper.extend(driver.iter().map(|name| ("Name".to_owned(), name.clone().into())));
    if !options.is_empty() {
        keeper.insert("Options".to_owned(), json!(options));
    }
    if !document.is_empty() || !keeper.is_empty() {
        document.insert("DriverConfig".to_owned(), keeper.into());
    }
    document
}
