//! How long the other side is waited for: for nothing at all only so long, and for drips no longer than a least rate allows.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::serve::Bounds;

/// The least that has to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So many bytes.
    pub bytes: u64,
    /// In so much time that the other side is waited for; what this side takes is not counted.
    pub span: Duration,
}

/// Watches over a rate, span by span.
#[derive(Debug)]
struct Pace {
    rate: Rate,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    fn new(rate: Rate) -> Self {
        Self { rate, waited: Duration::ZERO, bytes: 0 }
    }

    /// Counts what came after a wait; tells whether that is fast enough.
    fn keeps_up(&mut self, waited: Duration, bytes: u64) -> bool {
        self.waited += waited;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.waited < self.rate.span {
            return true;
        }
        let enough = self.bytes >= self.rate.bytes;
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        enough
    }
}

/// A body that comes in time, or not.
pub(super) struct Arriving {
    body: Incoming,
    idle: Duration,
    pace: Pace,
}

/// A body did not come to its end: it stopped, was cut off, or came in drips.
#[derive(Debug)]
pub(super) struct BrokenOff;

impl Arriving {
    pub(super) fn new(body: Incoming, bounds: &Bounds) -> Self {
        Self { body, idle: bounds.idle, pace: Pace::new(bounds.rate) }
    }

    /// Returns the next bytes; nothing at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, BrokenOff> {
        loop {
            let since = Instant::now();
            let frame = tokio::time::timeout(self.idle, self.body.frame()).await.map_err(|_| BrokenOff)?;
            let Some(frame) = frame else { return Ok(None) };
            let Ok(data) = frame.map_err(|_| BrokenOff)?.into_data() else { continue };
            if !self.pace.keeps_up(since.elapsed(), data.len() as u64) {
                return Err(BrokenOff);
            }
            return Ok(Some(data));
        }
    }
}

/// A connection that ends when what is written to it is not taken, or in drips.
pub(super) struct Patient<T> {
    inner: T,
    idle: Duration,
    pace: Pace,
    /// Since when a write waits, and for how long at most.
    waits: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<T> Patient<T> {
    pub(super) fn new(inner: T, bounds: &Bounds) -> Self {
        Self { inner, idle: bounds.idle, pace: Pace::new(bounds.rate), waits: None }
    }

    fn watch<V>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<V>>,
        bytes: u64,
    ) -> Poll<io::Result<V>> {
        let too_slow = || Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        if polled.is_ready() {
            let waited = self.waits.take().map_or(Duration::ZERO, |(since, _)| since.elapsed());
            return if self.pace.keeps_up(waited, bytes) { polled } else { too_slow() };
        }
        let idle = self.idle;
        let (_, sleep) = self.waits.get_or_insert_with(|| {
            let now = Instant::now();
            (now, Box::pin(tokio::time::sleep_until(now + idle)))
        });
        if sleep.as_mut().poll(context).is_ready() { too_slow() } else { Poll::Pending }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Patient<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Patient<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        let taken = if let Poll::Ready(Ok(count)) = &polled { *count as u64 } else { 0 };
        self.watch(context, polled, taken)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(context);
        self.watch(context, polled, 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_shutdown(context);
        self.watch(context, polled, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drips_are_too_slow_and_pauses_are_not() {
        let second = Duration::from_secs(1);
        let pace = || Pace::new(Rate { bytes: 100, span: 60 * second });
        let mut drips = pace();
        assert!(drips.keeps_up(59 * second, 1));
        assert!(!drips.keeps_up(59 * second, 1), "two bytes in two minutes");
        let mut pauses = pace();
        assert!((0..10).all(|_| pauses.keeps_up(59 * second, 100)));
        let mut steady = pace();
        assert!((0..1000).all(|_| steady.keeps_up(second, 2)));
        let mut fast = pace();
        assert!(fast.keeps_up(Duration::ZERO, u64::MAX) && fast.keeps_up(60 * second, u64::MAX));
        assert!(!fast.keeps_up(60 * second, 99), "what came before does not count for ever");
    }
}
