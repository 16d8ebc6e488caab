//! The only door to untrusted trees: path work that cannot leave its root.
