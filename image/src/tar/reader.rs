//! Reads archives, strictly.

use std::io::{self, BufRead as _, BufReader, Read};

use super::error::{EntryProblem, TarError};
use super::header::{check_sum, parse, raw_name, until_nul};
use super::number::{decimal, unsigned};
use super::path::ShownName;
use super::pax::{self, Extension};
use super::sparse::SparseMap;
use super::{BLOCK, Entry, EntryKind, Limits, padding};

/// Reads the entries of an archive one after the other.
///
/// [`Reader::next_entry`] gives an entry; its contents are then read with [`Reader::chunk`] or through the
/// [`Read`] implementation; what is not read is passed over. [`Reader::finish`] reads the stream to its end, so
/// that a hash below covers all of it; what stands behind the end of the archive is never taken for entries.
///
/// Whoever does much with entries takes a `&mut Reader<dyn Read>`, which every reader is, and is compiled once.
pub struct Reader<R: ?Sized> {
    limits: Limits,
    entries: u64,
    expanded: u64,
    body: Body,
    ended: Option<End>,
    /// The last field, as a reader of whatever kind has to have it.
    source: Source<R>,
}

/// How an archive ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With its two zero blocks.
    Marked,
    /// The stream ended between two entries, without them; worth a warning.
    Unmarked,
}

/// A part of a file's contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// So many bytes were put into the buffer.
    Data(usize),
    /// So many zero bytes follow that the archive does not hold.
    Hole(u64),
    /// The contents are complete.
    End,
}

/// What is left of the current entry's contents.
#[derive(Default)]
struct Body {
    /// The rest of the map, the next region last; `None` for a plain file.
    regions: Option<Vec<(u64, u64)>>,
    /// Where in the file the next byte stands (sparse files only).
    position: u64,
    /// The size of the file (sparse files only).
    size: u64,
    /// Bytes of the archive left, in this region and in all.
    stored: u64,
    padding: u64,
}

struct Source<R: ?Sized> {
    offset: u64,
    inner: BufReader<R>,
}

impl<R: Read + ?Sized> Source<R> {
    /// Fills the buffer as far as the stream goes.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.inner.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TarError::Read(error)),
            }
        }
        self.offset += filled as u64;
        Ok(filled)
    }

    fn exactly(&mut self, buffer: &mut [u8]) -> Result<(), TarError> {
        if self.fill(buffer)? == buffer.len() { Ok(()) } else { Err(TarError::Truncated(self.offset)) }
    }

    /// Reads `size` bytes and the padding behind them; memory grows with what is there, not with what is said.
    fn block(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        let mut bytes = Vec::new();
        let count = (&mut self.inner).take(size).read_to_end(&mut bytes).map_err(TarError::Read)?;
        self.offset += count as u64;
        if count as u64 != size {
            return Err(TarError::Truncated(self.offset));
        }
        self.skip(padding(size))?;
        Ok(bytes)
    }

    fn skip(&mut self, mut count: u64) -> Result<(), TarError> {
        while count > 0 {
            let available = match self.inner.fill_buf() {
                Ok(buffer) => buffer.len() as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(TarError::Read(error)),
            };
            if available == 0 {
                return Err(TarError::Truncated(self.offset));
            }
            let passed = available.min(count);
            self.inner.consume(passed as usize);
            self.offset += passed;
            count -= passed;
        }
        Ok(())
    }
}

/// The headers that stand before an entry and extend it.
#[derive(Default)]
struct Pending {
    pax: Option<Extension>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.pax.is_none() && self.long_name.is_none() && self.long_link.is_none()
    }
}

impl<R: Read> Reader<R> {
    /// Starts to read an archive.
    pub fn new(inner: R, limits: Limits) -> Self {
        Self {
            limits,
            entries: 0,
            expanded: 0,
            body: Body::default(),
            ended: None,
            source: Source { offset: 0, inner: BufReader::with_capacity(64 << 10, inner) },
        }
    }

    /// Reads the stream to its end and says how the archive ended; entries not asked for are read all the same,
    /// as the archive is good only if all of it is.
    pub fn finish(mut self) -> Result<(R, End), TarError> {
        let end = (&mut self as &mut Reader<dyn Read + '_>).read_to_end()?;
        Ok((self.source.inner.into_inner(), end))
    }

    /// Returns the reader below.
    pub fn get_ref(&self) -> &R {
        self.source.inner.get_ref()
    }
}

impl<R: Read + ?Sized> Reader<R> {
    /// Returns the next entry, or `None` at the end of the archive and after an error.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        if self.ended.is_some() {
            return Ok(None);
        }
        let next = self.advance();
        if next.is_err() {
            // What follows a bad entry is not known to be a header.
            self.ended = Some(End::Unmarked);
        }
        next
    }

    fn advance(&mut self) -> Result<Option<Entry>, TarError> {
        self.source.skip(self.body.stored + self.body.padding)?;
        self.body = Body::default();
        let mut pending = Pending::default();
        loop {
            let offset = self.source.offset;
            let mut block = [0; BLOCK];
            let Some(header) = self.header(&mut block, &pending)? else { return Ok(None) };
            self.entries += 1;
            if self.entries > self.limits.entries {
                return Err(TarError::TooManyEntries(self.limits.entries));
            }
            let fail = |problem| TarError::Entry {
                offset,
                name: ShownName(match &pending.long_name {
                    Some(name) => name.clone(),
                    None => raw_name(header),
                }),
                problem,
            };
            let size = unsigned(&header.as_old().size).ok_or_else(|| fail(EntryProblem::Number("size")))?;
            match header.as_old().linkflag[0] {
                flag @ (b'x' | b'g') => {
                    if size > self.limits.pax_bytes {
                        return Err(fail(EntryProblem::ExtensionTooLarge(self.limits.pax_bytes)));
                    }
                    if pending.pax.is_some() {
                        return Err(fail(EntryProblem::ExtensionOrder));
                    }
                    let records = self.source.block(size)?;
                    if flag == b'x' {
                        pending.pax = Some(Extension::parse(&records, &self.limits).map_err(fail)?);
                    } else {
                        // Global records apply to all that follows: nothing that decides on an entry may come
                        // from there, so they are only read for their form.
                        pax::records(&records).try_for_each(|record| record.map(drop)).map_err(fail)?;
                    }
                }
                flag @ (b'L' | b'K') => {
                    if size > self.limits.long_name_bytes {
                        return Err(fail(EntryProblem::ExtensionTooLarge(self.limits.long_name_bytes)));
                    }
                    let place = if flag == b'L' { &pending.long_name } else { &pending.long_link };
                    if place.is_some() {
                        return Err(fail(EntryProblem::ExtensionOrder));
                    }
                    let mut name = self.source.block(size)?;
                    while name.last() == Some(&0) {
                        name.pop();
                    }
                    if flag == b'L' {
                        pending.long_name = Some(name);
                    } else {
                        pending.long_link = Some(name);
                    }
                }
                _ => return self.entry(header, size, pending, offset).map(Some),
            }
        }
    }

    /// Returns whether the archive leaves parts of the current entry's contents out, as holes.
    pub const fn is_sparse(&self) -> bool {
        self.body.regions.is_some()
    }

    /// Reads the next part of the current entry's contents.
    pub fn chunk(&mut self, buffer: &mut [u8]) -> Result<Chunk, TarError> {
        let body = &mut self.body;
        let mut wanted = buffer.len();
        if let Some(regions) = &mut body.regions {
            match regions.last() {
                None if body.position < body.size => {
                    let hole = body.size - body.position;
                    body.position = body.size;
                    return Ok(Chunk::Hole(hole));
                }
                None => return Ok(Chunk::End),
                Some(&(offset, _)) if offset > body.position => {
                    let hole = offset - body.position;
                    body.position = offset;
                    return Ok(Chunk::Hole(hole));
                }
                Some(&(offset, length)) => {
                    let left = offset + length - body.position;
                    wanted = wanted.min(usize::try_from(left).unwrap_or(usize::MAX));
                }
            }
        }
        wanted = wanted.min(usize::try_from(body.stored).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(if body.stored == 0 { Chunk::End } else { Chunk::Data(0) });
        }
        let count = loop {
            match self.source.inner.read(&mut buffer[..wanted]) {
                Ok(0) => return Err(TarError::Truncated(self.source.offset)),
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TarError::Read(error)),
            }
        };
        self.source.offset += count as u64;
        body.stored -= count as u64;
        if let Some(regions) = &mut body.regions {
            body.position += count as u64;
            if regions.last().is_some_and(|&(offset, length)| offset + length == body.position) {
                regions.pop();
            }
        }
        Ok(Chunk::Data(count))
    }

    /// Reads the whole contents of the current entry, if they are not more than `limit` bytes.
    pub fn contents(&mut self, limit: u64) -> Result<Vec<u8>, TarError> {
        let mut bytes = Vec::new();
        let mut buffer = [0; 16 << 10];
        loop {
            match self.chunk(&mut buffer)? {
                Chunk::Data(count) => bytes.extend_from_slice(&buffer[..count]),
                Chunk::Hole(count) if bytes.len() as u64 + count <= limit => {
                    bytes.resize(bytes.len() + count as usize, 0);
                }
                Chunk::Hole(_) => return Err(TarError::TooLarge(limit)),
                Chunk::End => return Ok(bytes),
            }
            if bytes.len() as u64 > limit {
                return Err(TarError::TooLarge(limit));
            }
        }
    }

    fn read_to_end(&mut self) -> Result<End, TarError> {
        while self.next_entry()?.is_some() {}
        io::copy(&mut self.source.inner, &mut io::sink()).map_err(TarError::Read)?;
        Ok(self.ended.unwrap_or(End::Unmarked))
    }

    /// Reads a header block; `None` at the end of the archive.
    fn header<'b>(
        &mut self,
        block: &'b mut [u8; BLOCK],
        pending: &Pending,
    ) -> Result<Option<&'b tar::Header>, TarError> {
        let offset = self.source.offset;
        let filled = self.source.fill(block)?;
        let bad = |problem| TarError::Entry { offset, name: ShownName(Vec::new()), problem };
        if filled == 0 || block.iter().all(|&byte| byte == 0) {
            if filled != 0 && filled != BLOCK {
                return Err(TarError::Truncated(self.source.offset));
            }
            if !pending.is_empty() {
                return Err(bad(EntryProblem::ExtensionOrder));
            }
            let mut second = [0; BLOCK];
            let after = if filled == 0 { 0 } else { self.source.fill(&mut second)? };
            if second.iter().any(|&byte| byte != 0) {
                return Err(bad(EntryProblem::LoneZeroBlock));
            }
            self.ended = Some(if after == BLOCK { End::Marked } else { End::Unmarked });
            return Ok(None);
        }
        if filled != BLOCK {
            return Err(TarError::Truncated(self.source.offset));
        }
        let header = tar::Header::from_byte_slice(block);
        check_sum(header).map_err(bad)?;
        // The first six bytes tell ustar (NUL) from GNU (space); V7 has none. Other text is another format.
        match &header.as_bytes()[257..263] {
            b"ustar\0" | b"ustar " | b"\0\0\0\0\0\0" => Ok(Some(header)),
            _ => Err(bad(EntryProblem::Magic)),
        }
    }

    fn entry(
        &mut self,
        header: &tar::Header,
        size: u64,
        pending: Pending,
        offset: u64,
    ) -> Result<Entry, TarError> {
        let Pending { pax, long_name, long_link } = pending;
        let mut pax = pax.unwrap_or_default();
        let name =
            (pax.sparse.name.take().or(pax.path.take()).or(long_name)).unwrap_or_else(|| raw_name(header));
        let link = pax.linkpath.take().or(long_link).unwrap_or_else(|| until_nul(&header.as_old().linkname));
        let made = parse(header, &name, link, &mut pax, &self.limits).and_then(|entry| {
            let stored = pax.size.unwrap_or(size);
            if i64::try_from(stored).is_err() {
                return Err(EntryProblem::Number("size"));
            }
            if stored != 0 && !matches!(entry.kind, EntryKind::File { .. }) {
                return Err(EntryProblem::UnexpectedSize);
            }
            Ok((entry, stored))
        });
        let fail = |problem| TarError::Entry { offset, name: ShownName(name.clone()), problem };
        let (mut entry, mut stored) = made.map_err(fail)?;
        if let EntryKind::File { size } = &mut entry.kind {
            *size = stored;
            let padding = padding(stored);
            self.body = Body { stored, padding, ..Body::default() };
            let map = self.sparse_map(header, &pax, &mut stored)?;
            self.body.stored = stored;
            if let Some((regions, real_size)) = map {
                let map = SparseMap::new(regions, real_size, stored).map_err(fail)?;
                *size = map.size;
                self.body.size = map.size;
                self.body.regions = Some(map.regions.into_iter().rev().collect());
            }
            self.expanded = self.expanded.saturating_add(*size);
            if self.expanded > self.limits.expanded_bytes {
                return Err(TarError::TooLarge(self.limits.expanded_bytes));
            }
        }
        Ok(entry)
    }

    /// Reads the map of a sparse file in whichever form it is, and takes its bytes off the stored ones.
    #[expect(clippy::type_complexity, reason = "the pair is a map before it is checked")]
    fn sparse_map(
        &mut self,
        header: &tar::Header,
        pax: &Extension,
        stored: &mut u64,
    ) -> Result<Option<(Vec<(u64, u64)>, u64)>, TarError> {
        let offset = self.source.offset;
        let bad = || TarError::Entry {
            offset,
            name: ShownName(raw_name(header)),
            problem: EntryProblem::SparseMap,
        };
        if header.as_old().linkflag[0] == b'S' {
            let gnu = header.as_gnu().ok_or_else(bad)?;
            if pax.sparse.is_sparse() {
                return Err(bad());
            }
            let real_size = unsigned(&gnu.realsize).ok_or_else(bad)?;
            let mut regions = Vec::new();
            let mut more = gnu_regions(header.as_bytes(), 386, 4, &mut regions).ok_or_else(bad)?;
            while more {
                let mut block = [0; BLOCK];
                self.source.exactly(&mut block)?;
                more = gnu_regions(&block, 0, 21, &mut regions).ok_or_else(bad)?;
                if regions.len() > self.limits.sparse_regions {
                    return Err(bad());
                }
            }
            return Ok(Some((regions, real_size)));
        }
        let records = &pax.sparse;
        if !records.is_sparse() {
            return Ok(None);
        }
        match (records.major, records.minor) {
            (Some(1), Some(0)) => {
                let real_size = records.realsize.ok_or_else(bad)?;
                let regions = self.sparse_map_in_contents(stored)?.ok_or_else(bad)?;
                Ok(Some((regions, real_size)))
            }
            (None | Some(0), None | Some(0 | 1)) => {
                let real_size = records.size.ok_or_else(bad)?;
                match &records.map {
                    Some(_) if !records.pairs.is_empty() => Err(bad()),
                    Some(map) => Ok(Some((map.clone(), real_size))),
                    None => Ok(Some((records.pairs.clone(), real_size))),
                }
            }
            _ => Err(bad()),
        }
    }

    /// Reads a map of form 1.0: lines of decimal numbers at the beginning of the contents, in whole blocks.
    fn sparse_map_in_contents(&mut self, stored: &mut u64) -> Result<Option<Vec<(u64, u64)>>, TarError> {
        let mut line = Vec::new();
        let mut numbers = Vec::new();
        let mut expected = None;
        loop {
            if *stored < BLOCK as u64 {
                return Ok(None);
            }
            let mut block = [0; BLOCK];
            self.source.exactly(&mut block)?;
            *stored -= BLOCK as u64;
            for &byte in &block {
                if byte != b'\n' {
                    line.push(byte);
                    if line.len() > 20 {
                        return Ok(None);
                    }
                    continue;
                }
                let Some(number) = decimal(&line) else { return Ok(None) };
                line.clear();
                match expected {
                    None if number > self.limits.sparse_regions as u64 => return Ok(None),
                    None => expected = Some(number as usize * 2),
                    Some(_) => numbers.push(number),
                }
                if expected == Some(numbers.len()) {
                    let regions = numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
                    return Ok(Some(regions));
                }
            }
        }
    }
}

impl<R: Read + ?Sized> Read for Reader<R> {
    /// Reads the current entry's contents, with zeros for holes.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let body = &mut self.body;
        if let (Some(regions), false) = (&body.regions, buffer.is_empty()) {
            let next = regions.last().map_or(body.size, |&(offset, _)| offset);
            if next > body.position {
                let hole = usize::try_from(next - body.position).unwrap_or(usize::MAX).min(buffer.len());
                buffer[..hole].fill(0);
                body.position += hole as u64;
                return Ok(hole);
            }
        }
        match self.chunk(buffer).map_err(io::Error::other)? {
            Chunk::Data(count) => Ok(count),
            Chunk::Hole(_) | Chunk::End => Ok(0),
        }
    }
}

/// Reads the regions of an old GNU header; says whether another block of them follows.
fn gnu_regions(
    block: &[u8; BLOCK],
    start: usize,
    count: usize,
    regions: &mut Vec<(u64, u64)>,
) -> Option<bool> {
    for slot in block[start..start + count * 24].chunks_exact(24) {
        // An unused slot ends the list.
        if slot.iter().all(|&byte| byte == 0) {
            break;
        }
        regions.push((unsigned(&slot[..12])?, unsigned(&slot[12..])?));
    }
    Some(block[start + count * 24] != 0)
}
