//! The shape of netlink messages: building and reading, on bytes alone.
//!
//! A message is a 16-byte header, a fixed part that depends on its kind, and attributes, each a length, a kind
//! and a value padded to four bytes. Nothing here talks to the kernel, so all of it is tested on bytes.

/// Ask the kernel to do something (`NLM_F_REQUEST`).
pub const REQUEST: u16 = 0x1;
/// Ask for an acknowledgement (`NLM_F_ACK`).
pub const ACK: u16 = 0x4;
/// Tell the sender what came of it (`NLM_F_ECHO`).
pub const ECHO: u16 = 0x8;
/// Ask for all objects of a kind (`NLM_F_DUMP`).
pub const DUMP: u16 = 0x300;
/// Put the object in the place of one that exists (`NLM_F_REPLACE`).
pub const REPLACE: u16 = 0x100;
/// Put the object behind those that exist (`NLM_F_APPEND`).
pub const APPEND: u16 = 0x800;
/// Fail if the object exists (`NLM_F_EXCL`).
pub const EXCLUSIVE: u16 = 0x200;
/// Create the object (`NLM_F_CREATE`).
pub const CREATE: u16 = 0x400;

/// The kind of a message that carries an error or an acknowledgement.
pub const KIND_ERROR: u16 = 2;
/// The kind of the message that ends a dump.
pub const KIND_DONE: u16 = 3;
/// Set on a dump whose objects changed while it was made (`NLM_F_DUMP_INTR`).
pub const DUMP_INTERRUPTED: u16 = 0x10;
/// Set on an acknowledgement that carries attributes (`NLM_F_ACK_TLVS`).
pub const ACK_ATTRIBUTES: u16 = 0x200;
/// Set on an acknowledgement that quotes only the header of the request (`NLM_F_CAPPED`).
pub const CAPPED: u16 = 0x100;

const HEADER: usize = 16;
const NESTED: u16 = 0x8000;
const KIND_MASK: u16 = 0x3fff;

const fn aligned(length: usize) -> usize {
    (length + 3) & !3
}

/// A message under construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// Starts a message of a kind with the part that every message of that kind begins with.
    pub fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(fixed);
        bytes.resize(aligned(bytes.len()), 0);
        Self { bytes }
    }

    /// Adds an attribute.
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len() + 4).expect("attribute values here are far below 64 KiB");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(aligned(self.bytes.len()), 0);
        self
    }

    /// Adds an attribute holding a NUL-terminated string.
    pub fn string(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    /// Adds an attribute whose value is more attributes.
    pub fn nested(self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        self.nested_after(kind, &[], fill)
    }

    /// Adds an attribute whose value is a fixed part followed by more attributes.
    pub fn nested_after(mut self, kind: u16, fixed: &[u8], fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        self.bytes.extend_from_slice(fixed);
        self.bytes.resize(aligned(self.bytes.len()), 0);
        let mut message = fill(self);
        let length = u16::try_from(message.bytes.len() - start).expect("a nest here is far below 64 KiB");
        message.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        message
    }

    /// The finished bytes, numbered so that its answer can be told apart.
    pub fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).expect("a message is far below 4 GiB");
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }

    /// Whether the kernel will answer it with an acknowledgement.
    pub fn wants_acknowledgement(&self) -> bool {
        u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) & ACK != 0
    }
}

/// A message that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What kind of message it is.
    pub kind: u16,
    /// Its flags.
    pub flags: u16,
    /// The number of the request that it answers.
    pub sequence: u32,
    /// Everything after the header.
    pub body: &'a [u8],
}

/// The messages of one datagram. Ends at the first that does not fit.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    /// Reads the messages of a datagram.
    pub fn new(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        let length = usize::try_from(read_u32(self.rest, 0)?).ok()?;
        if length < HEADER || length > self.rest.len() {
            return None;
        }
        let frame = Frame {
            kind: read_u16(self.rest, 4)?,
            flags: read_u16(self.rest, 6)?,
            sequence: read_u32(self.rest, 8)?,
            body: &self.rest[HEADER..length],
        };
        self.rest = self.rest.get(aligned(length)..).unwrap_or_default();
        Some(frame)
    }
}

/// The attributes of a message or of a nest. Ends at the first that does not fit.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// Reads attributes that begin right at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Reads the attributes behind a fixed part of that many bytes.
    pub fn after(body: &'a [u8], fixed: usize) -> Self {
        Self { rest: body.get(aligned(fixed)..).unwrap_or_default() }
    }

    /// The value of the first attribute of a kind.
    pub fn find(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find_map(|(found, value)| (found == kind).then_some(value))
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let length = usize::from(read_u16(self.rest, 0)?);
        let kind = read_u16(self.rest, 2)? & KIND_MASK;
        if length < 4 || length > self.rest.len() {
            return None;
        }
        let value = &self.rest[4..length];
        self.rest = self.rest.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// A number of 16 bits in the machine's order.
pub fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// A number of 32 bits in the machine's order.
pub fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// A number of 32 bits in the order of the network, as netfilter writes them.
pub fn read_be32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?))
}

/// The text of a string attribute, without its terminator.
pub fn read_string(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
