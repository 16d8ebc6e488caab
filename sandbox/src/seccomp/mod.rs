//! Filters of system calls.

use crate::sys::BpfInstruction;

/// x
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct SeccompError;

/// Writes a program as bytes, eight an instruction.
pub(crate) fn encode(program: &[BpfInstruction]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(program.len() * 8);
    for &BpfInstruction { code, jump_true, jump_false, operand } in program {
        bytes.extend(code.to_le_bytes());
        bytes.extend([jump_true, jump_false]);
        bytes.extend(operand.to_le_bytes());
    }
    bytes
}

/// Reads a program back.
pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<BpfInstruction>> {
    let (chunks, rest) = bytes.as_chunks::<8>();
    let read = |chunk: &[u8; 8]| BpfInstruction {
        code: u16::from_le_bytes([chunk[0], chunk[1]]),
        jump_true: chunk[2],
        jump_false: chunk[3],
        operand: u32::from_le_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]),
    };
    rest.is_empty().then(|| chunks.iter().map(read).collect())
}

/// x
pub(crate) fn from_oci(_profile: &oci_spec::runtime::LinuxSeccomp) -> Result<(Vec<BpfInstruction>, u64), SeccompError> {
    Err(SeccompError)
}
/// x
pub fn default_profile(_mask: crate::capabilities::CapabilityMask) -> oci_spec::runtime::LinuxSeccomp { Default::default() }
