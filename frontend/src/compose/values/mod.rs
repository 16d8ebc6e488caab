//! The small syntaxes of values.

pub(crate) mod amount;
pub(crate) mod mount;
pub(crate) mod port;
pub(crate) mod words;
