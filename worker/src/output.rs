//! What a step prints: kept in full in a log file, told to listeners, and its end kept for the error message.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rbuild_model::event::Stream;
use rustix::event::{PollFd, PollFlags, poll};

use crate::tasks::Task;

/// How much of a step's output its log keeps.
const MAX_LOG_BYTES: u64 = 64 << 20;

/// How many lines a failed step's message shows.
const TAIL_LINES: usize = 40;

/// How much of one line the message shows.
const TAIL_LINE_BYTES: usize = 2000;

/// The ends that a step writes to.
pub(crate) struct StepEnds {
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// The ends that are read here.
pub(crate) struct Output {
    pipes: [(Stream, OwnedFd); 2],
}

/// What is known of an output that has ended.
#[derive(Debug, Default)]
pub(crate) struct Printed {
    /// How many bytes were printed.
    pub(crate) bytes: u64,
    /// The last lines.
    pub(crate) tail: Vec<String>,
}

impl Printed {
    /// Whether the log holds only the beginning of what was printed.
    pub(crate) fn is_cut(&self) -> bool {
        self.bytes > MAX_LOG_BYTES
    }
}

impl Output {
    /// Makes the pipes of one step.
    pub(crate) fn open() -> io::Result<(Self, StepEnds)> {
        let (out_read, stdout) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let (err_read, stderr) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        Ok((
            Self { pipes: [(Stream::Stdout, out_read), (Stream::Stderr, err_read)] },
            StepEnds { stdout, stderr },
        ))
    }

    /// Reads until the last process that could write is gone.
    pub(crate) fn drain(self, task: &Task, log: &mut Log) -> io::Result<Printed> {
        let mut open: Vec<(Stream, OwnedFd)> = self.pipes.into();
        let mut printed = Printed::default();
        let mut tail = Tail::default();
        let mut buffer = vec![0; 64 << 10];
        while !open.is_empty() {
            let mut waits: Vec<PollFd<'_>> =
                open.iter().map(|(_, pipe)| PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)).collect();
            match poll(&mut waits, None) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            }
            let ready: Vec<bool> = waits.iter().map(|wait| !wait.revents().is_empty()).collect();
            let mut at = 0;
            for ready in ready {
                if !ready {
                    at += 1;
                    continue;
                }
                let (stream, pipe) = &open[at];
                let read = match rustix::io::read(pipe, &mut buffer[..]) {
                    Ok(read) => read,
                    Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {
                        at += 1;
                        continue;
                    }
                    Err(errno) => return Err(errno.into()),
                };
                if read == 0 {
                    open.remove(at);
                    continue;
                }
                let bytes = &buffer[..read];
                log.keep(printed.bytes, bytes)?;
                printed.bytes += read as u64;
                tail.push(bytes);
                task.log(*stream, bytes.to_vec());
                at += 1;
            }
        }
        printed.tail = tail.finish();
        Ok(printed)
    }
}

/// The log of one step. Most steps print nothing, and have none.
pub(crate) struct Log {
    path: PathBuf,
    file: Option<File>,
}

impl Log {
    /// Names a file that is made when there is something to keep.
    pub(crate) fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), file: None }
    }

    /// Writes what fits, and a mark where it was cut; `before` is how much was printed before.
    fn keep(&mut self, before: u64, bytes: &[u8]) -> io::Result<()> {
        if before > MAX_LOG_BYTES {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::create_new(&self.path)?),
        };
        let room = usize::try_from(MAX_LOG_BYTES - before).unwrap_or(usize::MAX);
        if bytes.len() <= room {
            return file.write_all(bytes);
        }
        file.write_all(&bytes[..room])?;
        file.write_all(b"\n[output cut here: the log of a step keeps 64 MiB]\n")
    }
}

/// The last lines of a stream of bytes, in bounded memory.
#[derive(Default)]
struct Tail {
    lines: VecDeque<Vec<u8>>,
    current: Vec<u8>,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match part.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (part, false),
            };
            let room = TAIL_LINE_BYTES.saturating_sub(self.current.len());
            self.current.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        if self.lines.len() == TAIL_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(std::mem::take(&mut self.current));
    }

    fn finish(mut self) -> Vec<String> {
        if !self.current.is_empty() {
            self.end_line();
        }
        self.lines
            .iter()
            .map(|line| String::from_utf8_lossy(line).trim_end_matches('\r').to_owned())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::Tasks;
    use rbuild_model::event::Silent;
    use std::sync::Arc;

    #[test]
    fn the_tail_is_the_last_lines_however_they_come() {
        let mut tail = Tail::default();
        for chunk in ["a", "b\nc\r\n", "", "\nlast"] {
            tail.push(chunk.as_bytes());
        }
        assert_eq!(tail.finish(), ["ab", "c", "", "last"]);
        let mut tail = Tail::default();
        for line in 0..100 {
            tail.push(format!("{line}\n").as_bytes());
        }
        tail.push(&[b'x'; 10_000]);
        let lines = tail.finish();
        assert_eq!(lines.len(), TAIL_LINES);
        assert_eq!(lines[0], "61");
        assert_eq!(lines[TAIL_LINES - 1].len(), TAIL_LINE_BYTES);
    }

    #[test]
    fn a_log_is_cut_where_it_says_so() {
        let folder = tempfile::tempdir().unwrap();
        // One is full in the middle of what is printed at once, the other at its end.
        for piece in [3 << 20, 4 << 20] {
            let path = folder.path().join(piece.to_string());
            let mut log = Log::at(&path);
            let bytes = vec![b'x'; piece];
            let mut printed = Printed::default();
            while printed.bytes <= MAX_LOG_BYTES {
                log.keep(printed.bytes, &bytes).unwrap();
                printed.bytes += bytes.len() as u64;
            }
            log.keep(printed.bytes, &bytes).unwrap();
            let mark = b"\n[output cut here: the log of a step keeps 64 MiB]\n".len() as u64;
            assert_eq!(std::fs::metadata(path).unwrap().len(), MAX_LOG_BYTES + mark);
            assert!(printed.is_cut());
        }
        assert!(!Printed { bytes: MAX_LOG_BYTES, ..Printed::default() }.is_cut());
    }

    #[test]
    fn everything_is_read_until_both_ends_are_closed() {
        let (output, ends) = Output::open().unwrap();
        let writer = std::thread::spawn(move || {
            File::from(ends.stdout).write_all(b"out\n").unwrap();
            File::from(ends.stderr).write_all(&vec![b'e'; 200_000]).unwrap();
        });
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let task = Tasks::new(Arc::new(Silent)).begin("test");
        let printed = output.drain(&task, &mut Log::at(&log)).unwrap();
        writer.join().unwrap();
        assert_eq!(printed.bytes, 200_004);
        assert_eq!(std::fs::metadata(log).unwrap().len(), 200_004);
        assert_eq!(printed.tail[0].len(), if printed.tail[0] == "out" { 3 } else { TAIL_LINE_BYTES });
    }

    #[test]
    fn who_prints_nothing_has_no_log() {
        let (output, ends) = Output::open().unwrap();
        drop(ends);
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let task = Tasks::new(Arc::new(Silent)).begin("test");
        assert_eq!(output.drain(&task, &mut Log::at(&log)).unwrap().bytes, 0);
        assert!(!log.exists());
    }
}
