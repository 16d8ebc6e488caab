//! What the program writes: into the log, and to all who are attached.

use super::connection::Role;
use super::monitor::{Monitor, Phase};
use super::streams::{Streams, read_some};
use crate::log::Source;
use crate::output::HIGH;
use crate::protocol::frame::{self, MAX_PIECE, encode};

/// The most that is read of a stream after the end of the program.
pub(super) const MOST_LEFT: usize = 4 << 20;

impl Monitor {
    /// Reads output of the program once.
    pub(super) fn read_output(&mut self, source: Source) {
        let Phase::Running(live) = &mut self.phase else { return };
        let slot = match source {
            Source::Stdout => &mut live.streams.stdout,
            Source::Stderr => &mut live.streams.stderr,
        };
        let Some(fd) = slot else { return };
        let mut buffer = [0; 32 << 10];
        match read_some(&*fd, &mut buffer) {
            Some(0) => {}
            Some(count) => self.output(source, &buffer[..count]),
            None => *slot = None,
        }
    }

    /// Reads all output that is there, after the end of the program.
    pub(super) fn drain(&mut self, streams: &Streams) {
        let mut buffer = [0; 32 << 10];
        for (source, fd) in [(Source::Stdout, &streams.stdout), (Source::Stderr, &streams.stderr)] {
            let Some(fd) = fd else { continue };
            // No pipe holds more than this: whoever still writes is no part of the container any more.
            for _ in 0..MOST_LEFT / buffer.len() {
                let Some(count @ 1..) = read_some(fd, &mut buffer) else { break };
                self.output(source, &buffer[..count]);
            }
        }
    }

    /// Takes output of the program: into the log, and to all who are attached.
    pub(super) fn output(&mut self, source: Source, bytes: &[u8]) {
        let time = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
        let Self { lines, log, .. } = self;
        lines[source as usize].feed(bytes, time, |record| {
            if let Some(log) = log {
                // A full disk takes nothing, and the program goes on.
                let _ = log.add(&record);
            }
        });
        if let Some(log) = log {
            let _ = log.flush();
        }
        let kind = match source {
            Source::Stdout => frame::Kind::Stdout,
            Source::Stderr => frame::Kind::Stderr,
        };
        let (mut lagging, end) = (false, self.spool.end());
        for connection in &mut self.connections {
            let Role::Attached(attached) = &mut connection.role else { continue };
            if attached.complete || !attached.wants(kind) {
                lagging |= attached.lags.is_some();
                continue;
            }
            if attached.lags.is_none() && connection.outbox.len() < HIGH {
                encode(kind, bytes, &mut connection.outbox);
            } else {
                attached.lags.get_or_insert(end);
                lagging = true;
            }
        }
        debug_assert!(bytes.len() <= MAX_PIECE, "one read is one piece");
        if lagging && (self.spool.append(self.place.folder(), kind, bytes).is_err() || self.spool.is_full()) {
            self.let_laggards_go();
        }
    }
}
