//! Which boot of which machine this is.

use std::fmt;
use std::fs;
use std::sync::OnceLock;

use crate::error::{Context, FileError};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The kernel's random id of the current boot.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BootId([u8; 16]);

impl BootId {
    /// Returns the id of the running kernel, which no process outlives: it is read once.
    pub fn current() -> Result<Self, FileError> {
        static CURRENT: OnceLock<BootId> = OnceLock::new();
        if let Some(current) = CURRENT.get() {
            return Ok(*current);
        }
        Self::read().map(|id| *CURRENT.get_or_init(|| id))
    }

    fn read() -> Result<Self, FileError> {
        let text = fs::read_to_string(BOOT_ID).at("read", BOOT_ID)?;
        Self::parse(text.trim()).ok_or_else(|| {
            let error = std::io::Error::new(std::io::ErrorKind::InvalidData, "not a boot id");
            FileError::new("read", BOOT_ID, error)
        })
    }

    /// Reads the hexadecimal form, with or without dashes.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        let mut digits = text.bytes().filter(|&byte| byte != b'-').map(|byte| (byte as char).to_digit(16));
        for byte in &mut bytes {
            *byte = (digits.next()?? * 16 + digits.next()??) as u8;
        }
        digits.next().is_none().then_some(Self(bytes))
    }

    /// Makes an id from its bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes, as rows store them.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BootId({self})")
    }
}
