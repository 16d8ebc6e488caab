//! What to try: the way out of errors of libraries that people meet most.

use std::error::Error;

use rbuild_cache::content;
use rbuild_engine::containers::ContainerError;
use rbuild_engine::networks::NetworksError;
use rbuild_image::distribution::ClientError;
use rbuild_snapshotter::copier::CopyError;
use rbuild_store::RoomError;

use super::Kind;

const LOGIN: &str = "check the name; if the repository is not for everybody, `rbuild login REGISTRY`";
const ABSENT_IMAGE: &str = "check the name and the tag";
const MIRRORED: &str = "the registry itself could not be reached";
const MIRROR: &str = "a mirror can be set in config.toml: [registry.\"docker.io\"] mirrors = [\"HOST:PORT\"]; images are \
                      also taken from a file with `rbuild load` and `rbuild import`";
const REACH: &str = "check the address, and the network; an image can also be taken from a file, with `rbuild load` and \
                     `rbuild import`";
const BROKEN: &str = "the connection came about and broke off: try again; an address of this machine that speaks TLS needs \
                      its authority in config.toml: [registry.\"HOST\"] ca = \"FILE\"";
const TRUST: &str = "check the clock, and the certificate; an authority of your own is named in config.toml: \
                     [registry.\"HOST\"] ca = \"FILE\"";
const TLS: &str = "it is asked without TLS, as registries of this machine are; if it speaks TLS, name its authority in \
                   config.toml: [registry.\"HOST\"] ca = \"FILE\"";
const IGNORED: &str = "the ignore file leaves it out: `rbuild context why PATH` says which rule does";
const ABSENT: &str =
    "paths begin at the root of the context, or of the stage, image or context that `from` names";
const FOREIGN: &str = "whose files these are cannot be told from here: import a tar, as in `tar -C FOLDER -c . | rbuild import - \
                       NAME`";
const ROOM: &str = "free one with `rbuild network prune` or `docker network prune`, name more ranges in config.toml: [networks] \
                    address_pools = [{ base = \"10.200.0.0/16\", size = 24 }], or use the host's with `--network host`";

const ABSENT_NETWORK: &str =
    "`rbuild network create NAME` makes one, and `rbuild network ls` shows those that are there";

const UNREACHABLE: &str =
    "its program still runs; `rbuild rm -f CONTAINER` ends it and removes the container";

const FULL: &str = "remove images with `rbuild rmi`, or all that no container uses with `rbuild prune --all`, or set a larger \
                    `cache.max`";

const FULL_OF_PUSHED: &str = "remove what was pushed here with `rbuild registry rm`, images with `rbuild rmi`, or all that no \
                              container uses with `rbuild prune --all`, or set a larger `cache.max`";

/// Returns whose an error is and what to try, where that is known.
pub(super) fn of(cause: &(dyn Error + 'static)) -> Option<(Kind, &'static str)> {
    if let Some(error) = looked_at::<ClientError>(cause) {
        return of_registry(error);
    }
    if let Some(rbuild_network::error::Error::PoolsExhausted) = looked_at(cause) {
        return Some((Kind::Machine, ROOM));
    }
    if let Some(ContainerError::Networks(why)) = looked_at(cause)
        && let NetworksError::NotFound(_) = **why
    {
        return Some((Kind::Yours, ABSENT_NETWORK));
    }
    if let Some(ContainerError::Monitor(why)) = looked_at(cause)
        && let rbuild_monitor::ClientError::Unreachable(_) = **why
    {
        return Some((Kind::Machine, UNREACHABLE));
    }
    if let Some(CopyError::Unmapped { .. } | CopyError::Foreign { .. }) = looked_at(cause) {
        return Some((Kind::Machine, FOREIGN));
    }
    if let Some(RoomError::Full { holders, .. }) = looked_at(cause) {
        let is_pushed = holders.iter().any(|holder| holder.name == rbuild_images::PUSHED);
        return Some((Kind::Machine, if is_pushed { FULL_OF_PUSHED } else { FULL }));
    }
    match looked_at(cause)? {
        content::Error::NotFound { ignored: true, .. } => Some((Kind::Yours, IGNORED)),
        content::Error::NotFound { ignored: false, .. } => Some((Kind::Yours, ABSENT)),
        _ => None,
    }
}

/// Returns an error of a type, also out of its box.
pub(super) fn looked_at<'a, E: Error + 'static>(cause: &'a (dyn Error + 'static)) -> Option<&'a E> {
    cause.downcast_ref::<E>().or_else(|| cause.downcast_ref::<Box<E>>().map(Box::as_ref))
}

fn of_registry(error: &ClientError) -> Option<(Kind, &'static str)> {
    match error {
        ClientError::Exhausted { source, .. } if source.is_not_found() => Some((Kind::Yours, MIRRORED)),
        // The source has a hint of its own.
        ClientError::Exhausted { .. } => None,
        error if error.is_denied() => Some((Kind::Yours, LOGIN)),
        error if error.is_not_found() => Some((Kind::Yours, ABSENT_IMAGE)),
        error if error.is_distrusted() => Some((Kind::Machine, TRUST)),
        ClientError::Transport { origin, .. } if error.is_unreachable() => {
            Some((Kind::Machine, if origin.ends_with("docker.io") { MIRROR } else { REACH }))
        }
        error if error.is_cut_off() => Some((Kind::Machine, BROKEN)),
        ClientError::Transport { origin, source } if origin.starts_with("http://") && source.is_request() => {
            Some((Kind::Machine, TLS))
        }
        _ => None,
    }
}
