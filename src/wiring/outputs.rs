//! What a build's outputs come to for the worker.

use rbuild_image::compress::Encoding;
use rbuild_image::manifest::Family;
use rbuild_images::{Existing, Packing};
use rbuild_model::reference::Reference;
use rbuild_worker::request::{ArchiveDest, Export, ExportKind, FileDest, Split};

use crate::commands::build::BuildPlan;
use crate::flags::{Compression, Destination, Mode, Output, OutputKind};
use crate::report::{Mistake, NotYet};
use crate::settings::Settings;

/// Returns what is made of a build's result.
pub(super) fn exports(plan: &BuildPlan, settings: &Settings) -> anyhow::Result<Vec<Export>> {
    let with_epoch = settings.source_date_epoch.is_some()
        || plan.build_args.iter().any(|arg| arg.name == "SOURCE_DATE_EPOCH" && !arg.value.is_empty());
    let mut exports =
        plan.outputs.iter().map(|output| export(output, with_epoch)).collect::<anyhow::Result<Vec<_>>>()?;
    let keeps = |export: &Export| export.kind == ExportKind::Image;
    if plan.load == Mode::On && !exports.iter().any(keeps) {
        exports.push(Export {
            kind: ExportKind::Image,
            names: Vec::new(),
            split: Split::default(),
            packing: Packing::default(),
        });
    }
    Ok(exports)
}

fn export(output: &Output, with_epoch: bool) -> anyhow::Result<Export> {
    let Output { kind, compression, compression_level, force_compression, oci_mediatypes, rewrite_timestamp } =
        output;
    if *rewrite_timestamp == Some(false) && with_epoch {
        let what = "`rewrite-timestamp=false` with SOURCE_DATE_EPOCH";
        return Err(
            NotYet::supported(what, "leave it out: with an epoch, files never get later times").into()
        );
    }
    let packing = Packing {
        encoding: encoding(*compression, *compression_level),
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
        OutputKind::Oci { .. } | OutputKind::Docker { .. } | OutputKind::Image { .. } => Split::Several,
    };
    let (kind, names) = match kind {
        OutputKind::Oci { tar: Mode::Off, .. } => {
            return Err(NotYet::supported("`tar=false`", "unpack the archive").into());
        }
        OutputKind::Local { dest, platform_split: _ } => {
            (ExportKind::Local { dest: dest.clone(), mirror: false }, Vec::new())
        }
        OutputKind::Tar { dest, platform_split: _ } => (ExportKind::Tar(file(dest)), Vec::new()),
        OutputKind::Oci { dest, tar: Mode::On, names: written } => {
            (ExportKind::Oci(ArchiveDest::File(file(dest))), names(written)?)
        }
        OutputKind::Docker { dest: Some(dest), names: written } => {
            (ExportKind::Docker(ArchiveDest::File(file(dest))), names(written)?)
        }
        OutputKind::Docker { dest: None, names: written }
        | OutputKind::Image { names: written, push: Mode::Off } => {
            if packing != Packing::default() && packing != with_oci_types() {
                let what = "a choice of compression or media types of an image in the store";
                let instead = "its layers are packed when it leaves: write it with `type=oci,dest=FILE`";
                return Err(NotYet::supported(what, instead).into());
            }
            (ExportKind::Image, names(written)?)
        }
        OutputKind::Image { push: Mode::On, .. } => {
            return Err(NotYet::supported("`push=true`", "build with `-t`, then push the image").into());
        }
    };
    Ok(Export { kind, names, split, packing })
}

/// What an image in the store would be packed as anyway.
fn with_oci_types() -> Packing {
    Packing { family: Some(Family::Oci), ..Packing::default() }
}

fn encoding(compression: Option<Compression>, level: Option<u8>) -> Encoding {
    match (compression, level) {
        (None | Some(Compression::Gzip), None) => Encoding::GZIP,
        (None | Some(Compression::Gzip), Some(level)) => Encoding::Gzip { level },
        (Some(Compression::Zstd), None) => Encoding::ZSTD,
        (Some(Compression::Zstd), Some(level)) => Encoding::Zstd { level },
        // The only level that goes with it is 0, which is checked where the flag is read.
        (Some(Compression::Uncompressed), _) => Encoding::Plain,
    }
}

fn names(names: &[String]) -> anyhow::Result<Vec<Reference>> {
    let parse = |name: &String| {
        let reference: Result<Reference, _> = name.parse();
        reference.map(Reference::with_default_tag).map_err(|error| Mistake::usage(error.to_string()).into())
    };
    names.iter().map(parse).collect()
}

fn file(dest: &Destination) -> FileDest {
    match dest {
        Destination::Stdout => FileDest::Stream,
        Destination::Path(path) => FileDest::Path(path.clone()),
    }
}
