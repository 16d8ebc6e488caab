//! Names that a running container knows, as its networks change.
//!
//! Its programs have the files open or read them at any time, and may have written to them; so they are changed in place,
//! line by line. A file that the container asked for itself is its own, and one of a root that is only read stays as it is.

use std::fs::File;
use std::io::{Read as _, Write as _};

use rbuild_confined::{Mounts, Root};
use rbuild_model::container::Definition;
use rbuild_model::network::NetworkMode;
use rbuild_monitor::Following;
use rbuild_network::hosts::LineChange;
use rustix::fs::OFlags;

use super::define::plain;
use super::error::ContainerError;
use super::lend::LONGEST;
use crate::engine::{Engine, io};
use crate::networks::KnownChange;

const HOSTS: &str = "/etc/hosts";
const RESOLV_CONF: &str = "/etc/resolv.conf";

impl Engine {
    /// Has the programs of a running container, and of those that share its network, know what its networks have of names
    /// now.
    pub(crate) fn follow_names(
        &self,
        definition: &Definition,
        change: &KnownChange,
    ) -> Result<(), ContainerError> {
        if change.hosts.is_empty() && change.serving.is_none() {
            return Ok(());
        }
        // Who answers questions is that of the container itself: it comes first.
        self.follow_own_names(definition, change.clone())?;
        let id = definition.id.to_string();
        let shares = |one: &Definition| matches!(&one.host.network, NetworkMode::Container(of) if *of == id);
        self.definitions()?
            .iter()
            .filter(|one| shares(one))
            .try_for_each(|one| self.follow_names(one, change))
    }

    fn follow_own_names(&self, definition: &Definition, change: KnownChange) -> Result<(), ContainerError> {
        let KnownChange { hosts, serving } = change;
        let is_own = |path: &str| {
            let asked = |target: &str| plain(target) == std::path::Path::new(path);
            definition.host.mounts.iter().any(|mount| asked(&mount.target))
        };
        let hosts = if is_own(HOSTS) { LineChange::default() } else { hosts };
        if hosts.is_empty() && serving.is_none() {
            return Ok(());
        }
        let (serving, former) = serving.unzip();
        // Who answers is there before anybody is told to ask.
        let Some(mut client) = self.client(definition)? else { return Ok(()) };
        let serving = match client.names(hosts.clone(), serving.clone())? {
            Following::Done => serving,
            Following::Cannot => None,
            Following::Over => return Ok(()),
        };
        let root = if definition.host.read_only { None } else { self.running_root(definition)? };
        let Some(root) = root else { return Ok(()) };
        let root = root.with_mounts(Mounts::Cross);
        rewrite(&root, HOSTS, &|text| hosts.apply(text))?;
        match (serving, former) {
            (Some(serving), Some(former)) if !is_own(RESOLV_CONF) => rewrite(&root, RESOLV_CONF, &|text| {
                // What a program wrote there is what it wants.
                if text == former { serving.resolv_conf.clone() } else { text.to_owned() }
            }),
            _ => Ok(()),
        }
    }
}

/// Changes a text file in place, if it is one.
fn rewrite(root: &Root, path: &str, change: &dyn Fn(&str) -> String) -> Result<(), ContainerError> {
    let Some(handle) =
        root.find_nofollow(path)?.filter(|handle| handle.metadata().is_ok_and(|it| it.is_file()))
    else {
        return Ok(());
    };
    let mut bytes = Vec::new();
    handle.open_file()?.take(LONGEST).read_to_end(&mut bytes).map_err(io("read", path))?;
    let Ok(text) = String::from_utf8(bytes) else { return Ok(()) };
    let changed = change(&text);
    if changed == text || text.len() as u64 == LONGEST {
        return Ok(());
    }
    let mut file = File::from(handle.reopen(OFlags::WRONLY)?);
    // Cut last: whoever reads meanwhile finds no empty file.
    file.write_all(changed.as_bytes()).map_err(io("write", path))?;
    Ok(file.set_len(changed.len() as u64).map_err(io("write", path))?)
}
