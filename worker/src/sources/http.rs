//! A file from a web server.
//!
//! The tree is one file. Its time is the server's `Last-Modified`, or the beginning of Unix time. What the server said
//! of the file is kept in the index, under a hash of the URL: with it the server is asked whether the file changed.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rbuild_confined::Root;
use rbuild_frontend::lower::{percent_decode, without_credentials};
use rbuild_image::distribution::{ClientError, Receiver, Reply, Runtime, Validators, Wanted, Web};
use rbuild_image::hash::HashingWriter;
use rbuild_model::digest::BlobDigest;
use rbuild_model::event::Unit;
use rbuild_model::key::{Keyed as _, PreImage};
use rbuild_model::step::{HttpSource, Source};
use rbuild_store::{Room, RoomError};
use rustix::fs::{Mode, OFlags, Timespec, Timestamps};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::git::basic;
use super::{Fetched, Fetcher, archive};
use crate::cancel::Cancel;
use crate::error::StepError;
use crate::worker::Worker;

/// The most bytes of a file.
const MAX_FILE: u64 = 16 << 30;
/// The most bytes of what is remembered of a file.
const MAX_MEMORY: u64 = 64 << 10;

/// The way to web servers; made at first use.
#[derive(Default)]
pub(crate) struct Network(OnceLock<(Runtime, Web)>);

impl Network {
    fn get(&self, worker: &Worker) -> Result<&(Runtime, Web), ClientError> {
        if self.0.get().is_none() {
            let web = Web::new(worker.images.registries())?;
            let runtime = Runtime::new()?;
            // Another thread may have been faster; its network is then the one.
            return Ok(self.0.get_or_init(|| (runtime, web)));
        }
        Ok(self.0.get().expect("it is there"))
    }

    /// Fetches a file; `None` if the build was cancelled.
    fn fetch(
        &self,
        worker: &Worker,
        wanted: &Wanted<'_>,
        into: &mut dyn Receiver,
        cancel: &Cancel,
    ) -> Result<Option<Reply>, ClientError> {
        let (runtime, web) = self.get(worker)?;
        let stop = Arc::new(Notify::new());
        let stopper = Arc::clone(&stop);
        let _registration = cancel.on_cancel(move || stopper.notify_one());
        runtime.wait(async {
            tokio::select! {
                biased;
                () = stop.notified() => Ok(None),
                reply = web.fetch(wanted, into) => reply.map(Some),
            }
        })
    }
}

/// What is remembered of a file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Memory {
    validators: Validators,
    digest: BlobDigest,
}

/// Fetches a file, or finds that the one that is here is still the one.
pub(crate) fn fetch(fetcher: &Fetcher<'_>, source: &HttpSource) -> Result<Fetched, StepError> {
    if let Some(digest) = source.checksum
        && let Some(found) = fetcher.found(&definition(source, digest, None))?
    {
        return Ok(found);
    }
    let address = Source::Http(source.clone()).pre_image().key();
    let scope = fetcher.worker.store.locks().scope();
    let _lock = fetcher.alone(&scope, address)?;
    let memo = Memo { path: fetcher.worker.store.layout().index().join("http").join(address.hex()), fetcher };
    // What is known of the file is worth nothing without the file.
    let known = match memo.read() {
        Some(known) => {
            let last_modified = modified(source, &known.validators);
            fetcher.found(&definition(source, known.digest, last_modified))?.map(|tree| (known, tree))
        }
        None => None,
    };
    let authorization = authorization(fetcher, &source.url)?;
    let url = without_credentials(&source.url);
    let wanted = Wanted {
        url: &url,
        known: known.as_ref().map(|(known, _)| &known.validators),
        authorization: authorization.as_deref(),
        limit: MAX_FILE,
    };
    fetcher.make(|root, room| {
        let mut body = Body::create(fetcher, root, &source.file_name, room)?;
        let reply = fetcher.worker.web.fetch(fetcher.worker, &wanted, &mut body, fetcher.cancel);
        if let Some(full) = body.refused {
            return Err(StepError::Room(full));
        }
        let reply = reply.map_err(|error| fetcher.failed(error))?.ok_or(StepError::Cancelled)?;
        match (reply, &known) {
            (Reply::Unchanged, Some((known, _))) => {
                Ok(definition(source, known.digest, modified(source, &known.validators)))
            }
            (Reply::Unchanged, None) => Err(fetcher
                .failed("the server says that the file is unchanged, but it was asked without a condition")),
            (Reply::Came(validators), _) => {
                let digest = body.hash.summary().blob();
                if let Some(wanted) = source.checksum
                    && wanted != digest
                {
                    return Err(fetcher.failed(format!("digest mismatch {digest}: {wanted}")));
                }
                body.complete(source.mode, seconds(&validators)).map_err(|error| fetcher.failed(error))?;
                let last_modified = modified(source, &validators);
                if validators != Validators::default() {
                    memo.write(&Memory { validators, digest });
                }
                Ok(definition(source, digest, last_modified))
            }
        }
    })
}

/// Returns the time of a file: what its server says, or that of the newest file in it, if it is an archive.
pub(crate) fn time(fetcher: &Fetcher<'_>, source: &HttpSource) -> Result<Option<i64>, StepError> {
    let tree = fetch(fetcher, source)?;
    let view = fetcher.worker.view(&tree.chain)?;
    let file = view.resolve_nofollow(&source.file_name).map_err(|error| fetcher.failed(error))?;
    let time = file.metadata().map_err(|error| fetcher.failed(error))?.mtime.seconds;
    if time != 0 {
        return Ok(Some(time));
    }
    let open = view.open_file(&source.file_name).map_err(|error| fetcher.failed(error))?;
    let archive = archive::open(open).map_err(|error| fetcher.failed(error))?;
    archive.map_or(Ok(None), |archive| archive::newest(archive).map_err(|error| fetcher.failed(error)))
}

/// What the tree of a file is known by. A checksum that the Dockerfile states makes it known without asking, so the time is
/// then no part of it.
fn definition(source: &HttpSource, digest: BlobDigest, last_modified: Option<i64>) -> PreImage {
    let HttpSource { url: _, checksum: _, file_name, mode } = source;
    PreImage::fields([
        ("op", PreImage::text("http")),
        ("digest", PreImage::text(digest.to_string())),
        ("file-name", PreImage::text(file_name)),
        ("mode", PreImage::Number((*mode).into())),
        ("last-modified", PreImage::optional(last_modified, PreImage::Number)),
    ])
}

fn modified(source: &HttpSource, validators: &Validators) -> Option<i64> {
    if source.checksum.is_some() { None } else { Some(seconds(validators)) }
}

/// The time of a file in Unix seconds: what the server says, or nothing.
fn seconds(validators: &Validators) -> i64 {
    let text = validators.last_modified.as_deref().unwrap_or_default();
    jiff::fmt::rfc2822::parse(text).map_or(0, |time| time.timestamp().as_second())
}

/// Finds what is to be sent as `Authorization`: what the URL itself says, or a secret of the host.
fn authorization(fetcher: &Fetcher<'_>, url: &str) -> Result<Option<String>, StepError> {
    let authority =
        url.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or(rest));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Some((user, _)) = authority.rsplit_once('@') {
        let pair = percent_decode(user);
        return Ok(Some(basic(&if pair.contains(':') { pair } else { format!("{pair}:") })));
    }
    let bare = host.rsplit_once(':').map_or(host, |(name, _)| name);
    for host in [host, bare] {
        if let Some(token) = secret(fetcher, &format!("HTTP_AUTH_TOKEN_{host}"))? {
            return Ok(Some(format!("Bearer {token}")));
        }
        if let Some(header) = secret(fetcher, &format!("HTTP_AUTH_HEADER_{host}"))? {
            return Ok(Some(header));
        }
    }
    Ok(None)
}

/// Returns a secret that is a line of text.
pub(super) fn secret(fetcher: &Fetcher<'_>, id: &str) -> Result<Option<String>, StepError> {
    let Some(bytes) = fetcher.client.secret(id).map_err(StepError::Client)? else { return Ok(None) };
    match String::from_utf8(bytes) {
        Ok(text) if !text.trim().contains(['\n', '\r', '\0']) => Ok(Some(text.trim().to_owned())),
        _ => Err(fetcher.failed(format!("the secret {id} is not one line of text"))),
    }
}

/// A file on its way into its tree.
struct Body<'a> {
    fetcher: &'a Fetcher<'a>,
    file: File,
    hash: HashingWriter<io::Sink>,
    came: u64,
    /// Counts for what came; nothing before anything does.
    room: &'a mut Option<Room>,
    /// Why no more was taken, if that was for want of room.
    refused: Option<RoomError>,
}

impl<'a> Body<'a> {
    fn create(
        fetcher: &'a Fetcher<'a>,
        root: &Root,
        name: &str,
        room: &'a mut Option<Room>,
    ) -> Result<Self, StepError> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(root, name, flags, Mode::RUSR | Mode::WUSR).map_err(|error| {
            fetcher.failed(format!("no file can be called {name:?}: {}", io::Error::from(error)))
        })?;
        let hash = HashingWriter::new(io::sink());
        Ok(Self { fetcher, file: file.into(), hash, came: 0, room, refused: None })
    }

    /// Reserves room for so many bytes altogether.
    fn reserve(&mut self, bytes: u64) -> Result<(), RoomError> {
        let room = match &mut *self.room {
            Some(room) => room,
            none => none.insert(self.fetcher.worker.store.reserve_room(0)?),
        };
        room.grow_with(bytes)
    }

    fn complete(self, mode: u32, seconds: i64) -> io::Result<()> {
        rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode))?;
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        Ok(rustix::fs::futimens(&self.file, &Timestamps { last_access: time, last_modification: time })?)
    }
}

impl Receiver for Body<'_> {
    fn receive(&mut self, bytes: &[u8]) -> io::Result<()> {
        let came = self.came + bytes.len() as u64;
        if let Err(error) = self.reserve(came) {
            let told = io::Error::other(error.to_string());
            self.refused = Some(error);
            return Err(told);
        }
        self.file.write_all(bytes)?;
        self.hash.write_all(bytes)?;
        self.came = came;
        self.fetcher.task.progress("bytes", self.came, None, Unit::Bytes);
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.hash = HashingWriter::new(io::sink());
        self.came = 0;
        Ok(())
    }
}

/// Where it is remembered what a server said.
struct Memo<'a> {
    path: PathBuf,
    fetcher: &'a Fetcher<'a>,
}

impl Memo<'_> {
    fn read(&self) -> Option<Memory> {
        let meta = std::fs::metadata(&self.path).ok().filter(|meta| meta.len() <= MAX_MEMORY)?;
        debug_assert!(meta.is_file(), "only this program writes there");
        serde_json::from_slice(&std::fs::read(&self.path).ok()?).ok()
    }

    /// Writes it down; that this fails only costs a transfer.
    fn write(&self, memory: &Memory) {
        let fresh = self.fetcher.worker.work().join(self.path.file_name().unwrap_or_default());
        let _ = serde_json::to_vec(memory).map_err(io::Error::from).and_then(|bytes| {
            if let Some(folder) = self.path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            std::fs::write(&fresh, bytes)?;
            std::fs::rename(&fresh, &self.path)
        });
    }
}
