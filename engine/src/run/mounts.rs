//! What a container sees besides its root: the host's files, volumes, folders in memory.

use std::path::{Path, PathBuf};

use rbuild_confined::Root;
use rbuild_model::image_config::RunConfig;
use rbuild_model::rootfs::RootPlan;
use rbuild_sandbox::{Access, Mount, MountSource, Restrictions};
use rbuild_store::{LockScope, TempTree};

use super::{Engine, io};
use crate::error::RunError;
use crate::request::{Begins, Missing, MountKind, MountRequest, RunRequest};
use crate::volumes;

/// What a container's mounts need for as long as it runs.
pub(super) struct Mounted {
    pub(super) mounts: Vec<Mount>,
    /// Volumes without a name, which go with the container.
    _own: Vec<TempTree>,
}

impl Engine {
    /// Makes ready what is to be mounted; `image` is the tree that new volumes begin with.
    pub(super) fn mounts(
        &self,
        request: &RunRequest,
        config: &RunConfig,
        image: &Root,
        scope: &LockScope,
    ) -> Result<Mounted, RunError> {
        let mut mounted = Mounted { mounts: Vec::new(), _own: Vec::new() };
        for MountRequest { target, access, kind } in wanted(request, config) {
            let mut restrictions = Restrictions::default();
            let source = match kind {
                MountKind::Bind { source, missing } => {
                    if missing == Missing::MakeFolder && !source.exists() {
                        std::fs::create_dir_all(&source).map_err(io("make", &source))?;
                    }
                    if std::fs::metadata(&source).is_err() {
                        return Err(RunError::BindMissing { path: source });
                    }
                    MountSource::Host(source)
                }
                MountKind::Volume { name, begins, subpath } => {
                    let path = match name {
                        Some(name) => volumes::open(&self.parts.store, scope, &name, image, &target, begins)?,
                        None => {
                            let own = self.parts.store.temp_tree()?;
                            if begins == Begins::WithImage {
                                volumes::fill("of the container", own.path(), image, &target)?;
                            }
                            let path = own.path().to_owned();
                            mounted._own.push(own);
                            path
                        }
                    };
                    let root = RootPlan::Directory { path, readonly: false };
                    MountSource::Within { root, path: subpath.map_or_else(|| "/".into(), PathBuf::from) }
                }
                MountKind::Tmpfs { tmpfs, restrictions: asked } => {
                    restrictions = asked;
                    MountSource::Tmpfs(tmpfs)
                }
            };
            mounted.mounts.push(Mount { target: target.into(), source, access, restrictions });
        }
        Ok(mounted)
    }
}

/// Returns what is asked for and the image's own volumes, parents before what lies below them, whatever the order on
/// the command line. A volume of the image gives way to anything that is asked for in its place.
fn wanted(request: &RunRequest, config: &RunConfig) -> Vec<MountRequest> {
    let plain = |target: &str| -> PathBuf { Path::new("/").join(target).components().collect() };
    let mut wanted = request.mounts.clone();
    for target in config.volumes.keys() {
        if !request.mounts.iter().any(|mount| plain(&mount.target) == plain(target)) {
            wanted.push(MountRequest {
                target: plain(target).to_string_lossy().into_owned(),
                access: Access::ReadWrite,
                kind: MountKind::Volume { name: None, begins: Begins::WithImage, subpath: None },
            });
        }
    }
    wanted.sort_by_key(|mount| plain(&mount.target).components().count());
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_of_the_image_give_way() {
        let mut config = RunConfig::default();
        for target in ["/data/", "cache", "/data/deep"] {
            config.volumes.insert(target.to_owned(), Default::default());
        }
        let mut request = RunRequest::new("image");
        let kind = MountKind::Bind { source: "/srv".into(), missing: Missing::Refuse };
        request.mounts.push(MountRequest { target: "/data".into(), access: Access::ReadOnly, kind });
        let targets: Vec<String> = wanted(&request, &config).into_iter().map(|mount| mount.target).collect();
        assert_eq!(targets, ["/data", "/cache", "/data/deep"]);
    }
}
