//! What a build's outputs come to for the worker.

use std::path::Path;

use rbuild_image::attest::Form;
use rbuild_image::manifest::Family;
use rbuild_images::{Annotation, Existing, Level, Naming, Packing};
use rbuild_model::reference::Reference;
use rbuild_worker::request::{ArchiveDest, Attached, Export, ExportKind, FileDest, Kept, Leftovers, Split};

use crate::commands::build::BuildPlan;
use crate::flags::{self, Destination, Mode, Output, OutputKind, encoding};
use crate::report::{Mistake, NotYet};

/// Returns what is made of a build's result.
pub(super) fn exports(plan: &BuildPlan) -> anyhow::Result<Vec<Export>> {
    let mut outputs = plan.outputs.clone();
    if plan.push == Mode::On {
        push(&mut outputs);
    }
    let mut exports = outputs.iter().map(export).collect::<anyhow::Result<Vec<_>>>()?;
    let listed = is_listed(plan)?;
    for export in &mut exports {
        if listed && export.split == Split::Several {
            export.split = Split::Always;
        }
        let files =
            matches!(export.kind, ExportKind::Local { .. } | ExportKind::Tar(_) | ExportKind::Nothing);
        if !files {
            export.annotations.extend(plan.annotations.iter().cloned());
            check_annotations(export, listed || plan.platforms.len() > 1)?;
            if listed && matches!(export.kind, ExportKind::Docker(_)) {
                let what = "an index in an archive of `type=docker`";
                let instead = "use `type=oci`, which `docker load` reads as well, or leave \
                               `BUILDKIT_MULTI_PLATFORM` out";
                return Err(NotYet::supported(what, instead).into());
            }
        }
    }
    check_attestations(plan, &exports)?;
    let pushes = exports.iter().any(|export| matches!(export.kind, ExportKind::Registry { .. }));
    let named = |export: &Export| !plan.tags.is_empty() || !export.names.is_empty();
    if pushes && !exports.iter().any(named) {
        return Err(Mistake::usage("an image that is pushed needs a name")
            .hint("give it one: `-t REGISTRY/NAME:TAG`")
            .into());
    }
    let keeps = |export: &Export| {
        matches!(export.kind, ExportKind::Image | ExportKind::Registry { kept: Kept::InStore, .. })
    };
    if plan.load == Mode::On && !exports.iter().any(keeps) {
        exports.push(Export {
            kind: ExportKind::Image,
            names: Vec::new(),
            split: Split::default(),
            packing: Packing::default(),
            annotations: Vec::new(),
            attached: Attached::default(),
        });
    }
    Ok(exports)
}

/// Whether what leaves is put together by platforms also if there is one.
fn is_listed(plan: &BuildPlan) -> anyhow::Result<bool> {
    const NAME: &str = "BUILDKIT_MULTI_PLATFORM";
    let given = plan.build_args.iter().rfind(|arg| arg.name == NAME && !arg.value.is_empty());
    let Some(given) = given else { return Ok(false) };
    let Ok(listed) = flags::boolean(&given.value) else {
        let why = format!("invalid boolean value for multi-platform: {}", given.value);
        return Err(Mistake::usage(why).hint(format!("write `--build-arg {NAME}=1`")).into());
    };
    if !listed && plan.platforms.len() > 1 {
        let why = "conflicting config: returning multiple target platforms is not allowed";
        return Err(Mistake::usage(why).hint(format!("name one platform, or leave `{NAME}` out")).into());
    }
    Ok(listed)
}

/// Whether files in layers keep times that are later than the epoch. The images of a build share their layers, so all of them
/// have to say it.
pub(super) fn keeps_times(plan: &BuildPlan) -> anyhow::Result<bool> {
    let images = plan.outputs.iter().filter(|output| {
        !matches!(output.kind, OutputKind::Local { .. } | OutputKind::Tar { .. } | OutputKind::Nothing)
    });
    let (keep, clamp): (Vec<&Output>, Vec<&Output>) =
        images.partition(|output| output.rewrite_timestamp == Some(false));
    if !keep.is_empty() && !clamp.is_empty() {
        return Err(Mistake::usage("`rewrite-timestamp=false` is said of one output and not of another")
            .hint("the images of a build share their layers: say it of all outputs, or build twice")
            .into());
    }
    Ok(!keep.is_empty())
}

/// The epoch of the result where outputs say one. They are made of one result, so all of them have to say it.
pub(super) fn epoch(plan: &BuildPlan) -> anyhow::Result<Option<i64>> {
    let mut said = plan.outputs.iter().filter(|output| output.kind != OutputKind::Nothing);
    let Some(first) = said.next() else { return Ok(None) };
    if said.any(|output| output.epoch != first.epoch) {
        return Err(Mistake::usage("`source-date-epoch` is not the same for all outputs")
            .hint("the outputs of a build are made of one result: say it of all of them, or build twice")
            .into());
    }
    Ok(first.epoch)
}

/// Has the image pushed that is made anyway, or one more.
fn push(outputs: &mut Vec<Output>) {
    let mut found = false;
    for output in outputs.iter_mut() {
        if let OutputKind::Image { push, .. } = &mut output.kind {
            *push = Mode::On;
            found = true;
        }
    }
    if !found {
        outputs.extend(crate::flags::output("type=registry"));
    }
}

fn export(output: &Output) -> anyhow::Result<Export> {
    let Output {
        kind,
        compression,
        compression_level,
        force_compression,
        oci_mediatypes,
        rewrite_timestamp: _,
        epoch: _,
        annotations,
        attached,
    } = output;
    let packing = Packing {
        encoding: encoding(*compression, *compression_level)
            .map_err(|error| Mistake::usage(error.to_string()))?,
        existing: if *force_compression == Mode::On { Existing::Recompress } else { Existing::Keep },
        family: oci_mediatypes.map(|oci| if oci { Family::Oci } else { Family::Docker }),
    };
    let split = match kind {
        OutputKind::Local { platform_split, .. } | OutputKind::Tar { platform_split, .. } => {
            match platform_split {
                None => Split::Several,
                Some(true) => Split::Always,
                Some(false) => Split::Never,
            }
        }
        OutputKind::Oci { .. }
        | OutputKind::Docker { .. }
        | OutputKind::Nothing
        | OutputKind::Image { .. } => Split::Several,
    };
    let (kind, names) = match kind {
        OutputKind::Local { dest, platform_split: _, leftovers } => {
            if *leftovers == Leftovers::Remove {
                refuse_surroundings(dest)?;
            }
            (ExportKind::Local { dest: dest.clone(), leftovers: *leftovers }, Vec::new())
        }
        OutputKind::Tar { dest, platform_split: _ } => (ExportKind::Tar(file(dest)), Vec::new()),
        OutputKind::Nothing => (ExportKind::Nothing, Vec::new()),
        OutputKind::Oci { dest, tar, names: written } => {
            (ExportKind::Oci(archive(dest, *tar)), names(written)?)
        }
        OutputKind::Docker { dest: Some(dest), tar, names: written } => {
            (ExportKind::Docker(archive(dest, *tar)), names(written)?)
        }
        OutputKind::Docker { dest: None, names: written, .. }
        | OutputKind::Image { names: written, push: Mode::Off, .. } => {
            if packing != Packing::default() && packing != with_oci_types() {
                let what = "a choice of compression or media types of an image in the store";
                let instead = "its layers are packed when it leaves: write it with `type=oci,dest=FILE`";
                return Err(NotYet::supported(what, instead).into());
            }
            if attached.form != Form::default() {
                let what = "`oci-artifact` of an image in the store";
                let instead = "use `--push`, or `--output type=oci,dest=FILE`";
                return Err(NotYet::supported(what, instead).into());
            }
            (ExportKind::Image, names(written)?)
        }
        OutputKind::Image { names: written, push: Mode::On, by_digest, store } => {
            let naming = if *by_digest == Mode::On { Naming::Digest } else { Naming::Tag };
            let kept = if *store == Mode::On { Kept::InStore } else { Kept::Nowhere };
            (ExportKind::Registry { naming, kept }, names(written)?)
        }
    };
    Ok(Export { kind, names, split, packing, annotations: annotations.clone(), attached: attached.clone() })
}

/// Refuses attestations that would be lost.
fn check_attestations(plan: &BuildPlan, exports: &[Export]) -> anyhow::Result<()> {
    if plan.attestations.is_empty() {
        return Ok(());
    }
    if exports.iter().any(|export| matches!(export.kind, ExportKind::Docker(_))) {
        let what = "an archive of `type=docker` with attestations";
        return Err(NotYet::supported(what, "use `type=oci`, which `docker load` reads as well").into());
    }
    if !exports.is_empty() && exports.iter().all(|export| export.kind == ExportKind::Nothing) {
        return Err(Mistake::usage("attestations go with a result, and none is kept").into());
    }
    Ok(())
}

/// Refuses annotations that would be lost.
fn check_annotations(export: &Export, listed: bool) -> anyhow::Result<()> {
    let Some(one) = export.annotations.first() else { return Ok(()) };
    if export.kind == ExportKind::Image {
        let what = format!("the annotation `{}` of an image in the store", one.key);
        let instead = "annotations are part of what leaves: use `--push`, or `--output type=oci,dest=FILE`";
        return Err(NotYet::supported(what, instead).into());
    }
    let of_index = |one: &&Annotation| matches!(one.level, Level::Index | Level::IndexDescriptor);
    match export.annotations.iter().find(of_index) {
        Some(one) if !listed => {
            let why = format!("the annotation `{}` is for an index, and one platform makes none", one.key);
            Err(Mistake::usage(why).hint("name several platforms, or annotate the manifest").into())
        }
        _ => Ok(()),
    }
}

/// What an image in the store would be packed as anyway.
fn with_oci_types() -> Packing {
    Packing { family: Some(Family::Oci), ..Packing::default() }
}

fn names(names: &[String]) -> anyhow::Result<Vec<Reference>> {
    let parse = |name: &String| {
        let reference: Result<Reference, _> = name.parse();
        reference.map(Reference::with_default_tag).map_err(|error| Mistake::usage(error.to_string()).into())
    };
    names.iter().map(parse).collect()
}

fn archive(dest: &Destination, tar: Mode) -> ArchiveDest {
    match (dest, tar) {
        (Destination::Path(path), Mode::Off) => ArchiveDest::Folder(path.clone()),
        _ => ArchiveDest::File(file(dest)),
    }
}

fn file(dest: &Destination) -> FileDest {
    match dest {
        Destination::Stdout => FileDest::Stream,
        Destination::Path(path) => FileDest::Path(path.clone()),
    }
}

/// Refuses to empty a folder that the caller is in: what is built from may be in it.
fn refuse_surroundings(dest: &Path) -> anyhow::Result<()> {
    let here = std::env::current_dir()?.canonicalize()?;
    match dest.canonicalize() {
        Ok(dest) if here.starts_with(&dest) => {
            let message =
                format!("`mode=delete` would empty `{}`, and the current folder with it", dest.display());
            Err(Mistake::new(message).hint("name another folder with `dest=`").into())
        }
        _ => Ok(()),
    }
}
