//! Immutable trees and the active ones being written.
