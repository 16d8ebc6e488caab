//! An archive that is a context: a tar, packed in any way, from the client's stream or from behind a URL.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};

use rbuild_image::compress::{DecodeLimits, Decoder};
use rbuild_image::hash::HashingWriter;
use rbuild_image::tar::{Limits, Reader};
use rbuild_model::digest::BlobDigest;
use rbuild_model::key::{Keyed as _, PreImage};
use rbuild_model::step::{ArchiveSource, Operation, Source};
use rbuild_snapshotter::extract::{Extractor, ImpliedThroughLinks, Rules};

use super::{Fetched, Fetcher};
use crate::error::StepError;
use crate::worker::Worker;

/// The most bytes of a stream.
const MAX_STREAM: u64 = 16 << 30;

/// An archive by its content, opened.
pub(crate) type Archive = Reader<Decoder<'static>>;

/// Opens a file as an archive, if it is one by its content: a tar with at least one readable entry, packed or not.
pub(crate) fn open(mut file: File) -> io::Result<Option<Archive>> {
    let open = |file: File| -> io::Result<Archive> {
        Ok(Reader::new(Decoder::detect(file, DecodeLimits::default())?, Limits::default()))
    };
    let readable = open(file.try_clone()?).is_ok_and(|mut reader| matches!(reader.next_entry(), Ok(Some(_))));
    file.seek(SeekFrom::Start(0))?;
    if readable { open(file).map(Some) } else { Ok(None) }
}

/// Returns the time of the newest file in an archive, in Unix seconds.
pub(crate) fn newest(mut archive: Archive) -> Result<Option<i64>, rbuild_image::tar::TarError> {
    let mut newest = None;
    while let Some(entry) = archive.next_entry()? {
        if matches!(entry.kind, rbuild_image::tar::EntryKind::File { .. }) {
            newest = newest.max(Some(entry.mtime.seconds));
        }
    }
    Ok(newest)
}

/// Keeps all of a stream in a file without a name, and says what it is by.
pub(crate) fn spool(worker: &Worker, stream: impl Read) -> io::Result<(File, BlobDigest)> {
    let path = worker
        .work()
        .join(format!("context-{}", rbuild_store::UniqueId::random().map_err(io::Error::other)?));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    let mut writer = HashingWriter::new(file);
    let came = io::copy(&mut stream.take(MAX_STREAM + 1), &mut writer)?;
    if came > MAX_STREAM {
        return Err(io::Error::other(format!("it has more than {MAX_STREAM} bytes")));
    }
    let digest = writer.summary().blob();
    let mut file = writer.into_inner();
    file.seek(SeekFrom::Start(0))?;
    Ok((file, digest))
}

/// Unpacks an archive, unless its tree is here.
pub(crate) fn unpack(
    fetcher: &Fetcher<'_>,
    source: &ArchiveSource,
    archive: Archive,
) -> Result<Fetched, StepError> {
    let definition = definition(source);
    if let Some(found) = fetcher.found(&definition)? {
        return Ok(found);
    }
    fetcher.make(|root, _| {
        let tree = root.try_clone().map_err(|error| fetcher.failed(error))?;
        let rules = Rules { implied_through_links: ImpliedThroughLinks::Make, ..Rules::default() };
        Extractor::onto_tree(tree, rules)
            .and_then(|extractor| extractor.extract(archive))
            .map_err(|error| fetcher.failed(error))?;
        Ok(definition)
    })
}

/// Finds the tree of an archive that was unpacked before the graph was made.
pub(crate) fn find(fetcher: &Fetcher<'_>, source: &ArchiveSource) -> Result<Fetched, StepError> {
    fetcher
        .found(&definition(source))?
        .ok_or_else(|| fetcher.failed("what was unpacked of it is gone: build again"))
}

fn definition(source: &ArchiveSource) -> PreImage {
    Operation::Source(Source::Archive(source.clone())).pre_image()
}
