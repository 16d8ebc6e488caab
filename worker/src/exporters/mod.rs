//! What becomes of a result: one file a kind, chosen by [`ExportKind`].
//!
//! A file appears under its name complete or not at all. An image in the store costs no compression: that is done, once
//! for each layer, when something leaves.

mod archive;
mod image;
mod index;
mod local;
mod registry;
mod tar;

use std::io::Write;
use std::path::{Path, PathBuf};

use rbuild_model::event::{Event, Outcome};
use rbuild_store::Stoppable;

use crate::build::Built;
use crate::cancel::Cancel;
use crate::describe::Finished;
use crate::error::{BuildError, StepError};
use crate::request::{BuildRequest, Client, ClientError, Export, ExportKind, FileDest};
use crate::tasks::Tasks;
use crate::worker::Worker;

/// Why an export could not be done.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The images of the store failed.
    #[error(transparent)]
    Images(#[from] rbuild_images::ImagesError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] rbuild_store::FileError),
    /// The result's tree could not be read.
    #[error("failed to read the result")]
    View(#[from] Box<StepError>),
    /// The result's tree could not be read or written.
    #[error("failed to copy the result")]
    Tree(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A file could not be written.
    #[error("failed to {act} `{}`", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The caller's stream could not be written.
    #[error("failed to write to the output")]
    Stream(#[source] std::io::Error),
    /// The caller could not give what it was asked for.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Several platforms do not fit.
    #[error("{what} holds one platform, and {count} were built")]
    OnePlatform {
        /// The kind of export.
        what: &'static str,
        /// How many there are.
        count: usize,
    },
    /// Something is asked for that there is not yet.
    #[error("{what} is not supported yet")]
    Unsupported {
        /// What.
        what: &'static str,
    },
    /// What is said about a result has the name of one of its files.
    #[error(
        "the result has a file `{name}`, which is the name of an attestation: choose others with `attestation-prefix=TEXT`"
    )]
    Taken {
        /// The name.
        name: String,
    },
    /// A pushed image has no name.
    #[error("an image that is pushed needs a name: give it one with `--tag`")]
    NoName,
    /// Somebody cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl ExportError {
    pub(crate) fn tree(error: rbuild_confined::Error) -> Self {
        Self::Tree(error.into())
    }
}

impl From<StepError> for ExportError {
    fn from(error: StepError) -> Self {
        Self::View(Box::new(error))
    }
}

/// Does every export of a build, in order.
pub(crate) fn run(
    worker: &Worker,
    request: &BuildRequest,
    results: Vec<Finished>,
    client: &dyn Client,
    tasks: &Tasks,
    cancel: &Cancel,
) -> Result<Built, BuildError> {
    let mut built = Built { images: Vec::new(), digest: None, cache: None };
    let default = [Export {
        kind: ExportKind::Image,
        names: Vec::new(),
        split: Default::default(),
        packing: Default::default(),
        annotations: Vec::new(),
        attached: Default::default(),
    }];
    let exports = if request.exports.is_empty() { &default[..] } else { &request.exports[..] };
    for export in exports.iter().filter(|export| export.kind != ExportKind::Nothing) {
        if cancel.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        let what = describe(&export.kind);
        let task = tasks.begin(format!("exporting to {what}"));
        let done = match &export.kind {
            ExportKind::Nothing => Ok(()),
            ExportKind::Image => {
                image::export(worker, request, export, &results, tasks, cancel).map(|images| {
                    built.images = images;
                })
            }
            ExportKind::Oci(dest) => {
                archive::export(worker, request, export, &results, dest, archive::Form::Oci, client, cancel)
                    .map(|archived| archived.tell(&mut built))
            }
            ExportKind::Docker(dest) => archive::export(
                worker,
                request,
                export,
                &results,
                dest,
                archive::Form::Docker,
                client,
                cancel,
            )
            .map(|archived| archived.tell(&mut built)),
            ExportKind::Registry { naming, kept } => {
                registry::export(worker, request, export, &results, (*naming, *kept), tasks, cancel)
                    .map(|registered| registered.tell(&mut built))
            }
            ExportKind::Tar(dest) => index::folders("type=tar", &results, export.split).and_then(|results| {
                write(dest, client, cancel, |out| tar::export(worker, export, &results, cancel, out))
            }),
            ExportKind::Local { dest, leftovers } => index::folders("type=local", &results, export.split)
                .and_then(|results| {
                    let into = |folder: Option<String>| {
                        folder.map_or_else(|| dest.clone(), |folder| dest.join(folder))
                    };
                    let export = |(folder, result)| {
                        local::export(worker, export, result, (&into(folder), *leftovers), cancel)
                    };
                    results.into_iter().map(export).sum::<Result<u64, ExportError>>()
                })
                .map(|skipped| {
                    if skipped > 0 {
                        tasks.events().event(Event::Note(format!("left out {skipped} device nodes")));
                    }
                }),
        };
        match done {
            Ok(()) => task.finish(Outcome::Done),
            Err(_) if cancel.is_cancelled() => {
                task.finish(Outcome::Cancelled);
                return Err(BuildError::Cancelled);
            }
            Err(source) => {
                task.finish(Outcome::Failed);
                return Err(BuildError::Export { what: what.to_owned(), source: source.into() });
            }
        }
    }
    Ok(built)
}

fn describe(kind: &ExportKind) -> &'static str {
    match kind {
        ExportKind::Image => "image",
        ExportKind::Nothing => "nothing",
        ExportKind::Oci(_) => "oci image format",
        ExportKind::Docker(_) => "docker image format",
        ExportKind::Registry { .. } => "registry",
        ExportKind::Tar(_) => "client tarball",
        ExportKind::Local { .. } => "client directory",
    }
}

fn only<'r>(what: &'static str, results: &'r [Finished]) -> Result<&'r Finished, ExportError> {
    match results {
        [result] => Ok(result),
        _ => Err(ExportError::OnePlatform { what, count: results.len() }),
    }
}

/// Writes a file, or the caller's stream. A file that is there is replaced only by a complete one.
fn write<T>(
    dest: &FileDest,
    client: &dyn Client,
    cancel: &Cancel,
    work: impl FnOnce(&mut dyn Write) -> Result<T, ExportError>,
) -> Result<T, ExportError> {
    match dest {
        FileDest::Stream => into(client.output()?, cancel, ExportError::Stream, work),
        FileDest::Path(path) => {
            // A link is followed to what it names.
            let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
            let io = |source| ExportError::Io { act: "write", path: path.clone(), source };
            // A device or a pipe is written to.
            if std::fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
                let file = std::fs::File::options().write(true).open(path).map_err(io)?;
                return into(file, cancel, io, work);
            }
            let fresh = beside(path)?;
            let file = std::fs::File::options().write(true).create_new(true).open(&fresh).map_err(io)?;
            let result = into(file, cancel, io, work)
                .and_then(|value| std::fs::rename(&fresh, path).map_err(io).map(|()| value));
            if result.is_err() {
                let _ = std::fs::remove_file(&fresh);
            }
            result
        }
    }
}

/// Writes through a buffer, until somebody cancels.
fn into<T>(
    out: impl Write,
    cancel: &Cancel,
    failed: impl FnOnce(std::io::Error) -> ExportError,
    work: impl FnOnce(&mut dyn Write) -> Result<T, ExportError>,
) -> Result<T, ExportError> {
    let out = Stoppable::new(out, || cancel.is_cancelled());
    let mut out = std::io::BufWriter::with_capacity(256 << 10, out);
    let value = work(&mut out)?;
    out.flush().map_err(failed)?;
    Ok(value)
}

/// A name in the same folder, for a file that is not complete yet.
pub(crate) fn beside(path: &Path) -> Result<PathBuf, ExportError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", rbuild_store::UniqueId::random()?));
    Ok(path.with_file_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::LocalTree;

    struct Nobody;

    impl Client for Nobody {
        fn secret(&self, _: &str) -> Result<Option<Vec<u8>>, ClientError> {
            Ok(None)
        }

        fn ssh_agent(&self, _: &str) -> Result<Option<PathBuf>, ClientError> {
            Ok(None)
        }

        fn local(&self, _: &str) -> Result<LocalTree, ClientError> {
            unreachable!("nothing is read")
        }

        fn input(&self) -> Result<Box<dyn std::io::Read + Send>, ClientError> {
            unreachable!("nothing is read")
        }

        fn output(&self) -> Result<Box<dyn Write + Send>, ClientError> {
            unreachable!("a path is written")
        }
    }

    #[test]
    fn a_file_whose_writing_is_cancelled_never_appears() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.tar");
        let write = |cancel: &Cancel, stop_after: Option<usize>| {
            write(&FileDest::Path(path.clone()), &Nobody, cancel, |out| {
                for number in 0..100 {
                    if Some(number) == stop_after {
                        cancel.cancel();
                    }
                    out.write_all(&[b'x'; 64 << 10]).map_err(ExportError::Stream)?;
                }
                Ok(())
            })
        };
        let names = || {
            let entries = std::fs::read_dir(folder.path()).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
        };
        assert!(write(&Cancel::new(), Some(50)).is_err());
        assert_eq!(names(), [""; 0]);
        write(&Cancel::new(), None).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 100 * (64 << 10));
        // Also where all is written and only the last of it is still on its way.
        assert!(write(&Cancel::new(), Some(99)).is_err());
        assert_eq!(names(), ["out.tar"]);
    }
}
