//! What a RUN sees besides its root: the mounts that it asks for.

use rbuild_model::mount::{BindMount, CacheMount, Mount, SecretMount, SecretTarget, SshMount, TmpfsMount};
use rbuild_model::span::{Diagnostic, Span};

use super::exec::Inputs;
use super::state::StageState;
use crate::dockerfile::expand::{self, Mode};
use crate::dockerfile::instruction::Word;
use crate::dockerfile::mount::{self, MountError, MountKind, MountRequest};
use crate::path;

/// Reads one mount of a step, and adds the trees that it needs to the inputs. `sockets` counts the agents so far that say
/// nothing of where they are seen.
pub(super) fn lower(
    stage: &mut StageState<'_, '_>,
    word: &Word,
    inputs: &mut Inputs,
    sockets: &mut u32,
) -> Result<Mount, Diagnostic> {
    let request = request(stage, &word.value, word.span)?;
    let place = Place { workdir: stage.config.config.working_dir.clone(), span: word.span };
    Ok(match request.kind {
        MountKind::Bind => Mount::Bind(bind(stage, request, inputs, &place)?),
        MountKind::Cache => Mount::Cache(cache(stage, request, inputs, &place)?),
        MountKind::Tmpfs => {
            let target = place.below_root(stage, place.absolute(request.target.as_deref()))?;
            Mount::Tmpfs(TmpfsMount { target, size: request.size })
        }
        MountKind::Secret => Mount::Secret(secret(stage, request, &place)?),
        MountKind::Ssh => Mount::Ssh(ssh(stage, request, sockets, &place)?),
    })
}

fn request(stage: &mut StageState<'_, '_>, text: &str, span: Span) -> Result<MountRequest, Diagnostic> {
    let mut failed = None;
    let request = mount::parse(text, &mut |value: &str| {
        stage.expand(&Word::new(value.to_owned(), span)).or_else(|error| {
            failed = Some(error);
            // The error itself says more than the placeholder can.
            expand::expand("${", Mode::heredoc(), &()).map(|expanded| expanded.text)
        })
    });
    request.map_err(|error| {
        failed.unwrap_or_else(|| {
            let mut finding = stage.error(span, error.to_string());
            finding.help = error.help();
            finding
        })
    })
}

/// What the targets of a mount are relative to, and where it is written.
struct Place {
    workdir: String,
    span: Span,
}

impl Place {
    fn absolute(&self, target: Option<&str>) -> String {
        path::join(&self.workdir, target.unwrap_or(""))
    }

    fn below_root(&self, stage: &StageState<'_, '_>, target: String) -> Result<String, Diagnostic> {
        if target != "/" {
            return Ok(target);
        }
        Err(stage
            .error(self.span, "invalid mount target \"/\"")
            .with_help("give a `target` below `/`; without one the mount covers WORKDIR"))
    }
}

fn source(request: &MountRequest) -> String {
    path::join("/", request.source.as_deref().unwrap_or(""))
}

fn bind(
    stage: &mut StageState<'_, '_>,
    request: MountRequest,
    inputs: &mut Inputs,
    place: &Place,
) -> Result<BindMount, Diagnostic> {
    let tree = match &request.from {
        Some(from) => stage.tree(from),
        None => stage.context(),
    };
    Ok(BindMount {
        target: place.below_root(stage, place.absolute(request.target.as_deref()))?,
        from: inputs.add(tree.step),
        source: source(&request),
        writable: request.writable.unwrap_or(false),
    })
}

fn cache(
    stage: &mut StageState<'_, '_>,
    request: MountRequest,
    inputs: &mut Inputs,
    place: &Place,
) -> Result<CacheMount, Diagnostic> {
    let target = place.below_root(stage, place.absolute(request.target.as_deref()))?;
    let source = source(&request);
    let id = request.id.filter(|id| !id.is_empty());
    let id = id.unwrap_or_else(|| path::clean(request.target.as_deref().unwrap_or("")));
    let id = match stage.options().build_args.get("BUILDKIT_CACHE_MOUNT_NS") {
        Some(namespace) if !namespace.is_empty() => path::clean(&format!("{namespace}/{id}")),
        _ => id,
    };
    let from = request.from.as_deref().map(|from| stage.tree(from));
    Ok(CacheMount {
        target,
        id,
        sharing: request.sharing.unwrap_or_default(),
        from: from.map(|tree| inputs.add(tree.step)),
        source,
        readonly: request.writable == Some(false),
        mode: request.mode.unwrap_or(0o755),
        uid: request.uid.unwrap_or(0),
        gid: request.gid.unwrap_or(0),
    })
}

fn secret(
    stage: &mut StageState<'_, '_>,
    request: MountRequest,
    place: &Place,
) -> Result<SecretMount, Diagnostic> {
    let id = request.id.or(request.source).filter(|id| !id.is_empty());
    let id = id.or_else(|| request.target.as_deref().map(|target| path::base_name(target).to_owned()));
    let Some(id) = id.filter(|id| !id.is_empty()) else {
        return Err(stage.error(place.span, MountError::NoId.to_string()));
    };
    let file = match (&request.target, &request.env) {
        (None, Some(_)) => None,
        (Some(target), _) => Some(place.absolute(Some(target))),
        (None, None) => Some(format!("/run/secrets/{}", path::base_name(&id))),
    };
    let target = match file {
        Some(file) => Some(SecretTarget {
            path: place.below_root(stage, file)?,
            mode: request.mode.unwrap_or(0o400),
            uid: request.uid.unwrap_or(0),
            gid: request.gid.unwrap_or(0),
        }),
        None => None,
    };
    stage.uses_secret(&id, request.required);
    Ok(SecretMount { id, target, env: request.env, required: request.required })
}

fn ssh(
    stage: &mut StageState<'_, '_>,
    request: MountRequest,
    sockets: &mut u32,
    place: &Place,
) -> Result<SshMount, Diagnostic> {
    let target = match request.target.as_deref() {
        Some(target) => place.below_root(stage, place.absolute(Some(target)))?,
        None => format!("/run/buildkit/ssh_agent.{sockets}"),
    };
    *sockets += 1;
    let id = request.id.filter(|id| !id.is_empty()).unwrap_or_else(|| "default".to_owned());
    stage.uses_agent(&id, request.required);
    Ok(SshMount {
        id,
        target,
        required: request.required,
        mode: request.mode.unwrap_or(0o600),
        uid: request.uid.unwrap_or(0),
        gid: request.gid.unwrap_or(0),
    })
}
