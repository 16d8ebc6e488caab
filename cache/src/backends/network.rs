//! How the backends of this process speak to servers: one runtime, one client, made at first use; what waits in memory to
//! be sent is bounded over all of them.

use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rbuild_image::distribution::{Client, Pending, Registries, Runtime, Web};

use super::BackendError;

/// The most bytes of bodies in memory at a time, whatever the number of blobs and parts that are on their way.
pub(super) const IN_MEMORY: u64 = 48 << 20;
/// How long taking something back may take when there is no time left.
const TO_TAKE_BACK: Duration = Duration::from_secs(15);

/// The network of all backends.
#[derive(Clone)]
pub struct Network {
    shared: Arc<Shared>,
    /// When whatever is under way is stopped.
    deadline: Option<Instant>,
}

struct Shared {
    registries: Registries,
    made: OnceLock<Made>,
    memory: Places,
}

struct Made {
    runtime: Runtime,
    client: Client,
    web: Web,
}

impl Network {
    /// Says how servers are spoken to; costs nothing.
    pub fn new(registries: Registries) -> Self {
        Self::with_memory(registries, IN_MEMORY)
    }

    pub(super) fn with_memory(registries: Registries, bytes: u64) -> Self {
        let shared = Shared { registries, made: OnceLock::new(), memory: Places::new(bytes) };
        Self { shared: Arc::new(shared), deadline: None }
    }

    /// The same network, which does nothing any more at a time.
    pub(super) fn until(&self, deadline: Instant) -> Self {
        let deadline = self.deadline.map_or(deadline, |earlier| earlier.min(deadline));
        Self { shared: Arc::clone(&self.shared), deadline: Some(deadline) }
    }

    /// The same network for taking something back, also when its time is over.
    pub(super) fn for_taking_back(&self) -> Self {
        let deadline = Instant::now().checked_add(TO_TAKE_BACK);
        Self { shared: Arc::clone(&self.shared), deadline }
    }

    fn made(&self) -> Result<&Made, BackendError> {
        if let Some(made) = self.shared.made.get() {
            return Ok(made);
        }
        let runtime = Runtime::new()?;
        let client = Client::new(self.shared.registries.clone())?;
        let web = Web::new(&self.shared.registries)?;
        // Another thread may have been faster; its network is then the one.
        Ok(self.shared.made.get_or_init(|| Made { runtime, client, web }))
    }

    /// Waits for a call, and leaves off in the middle of it when its time is over.
    fn within<T>(&self, runtime: &Runtime, call: Pending<'_, T>) -> Result<T, BackendError> {
        let Some(deadline) = self.deadline else { return Ok(runtime.wait(call)?) };
        // The timer tells milliseconds: what is fast enough would still be done.
        if Instant::now() >= deadline {
            return Err(BackendError::OutOfTime);
        }
        match runtime.wait(async { tokio::time::timeout_at(deadline.into(), call).await }) {
            Ok(done) => Ok(done?),
            Err(_) => Err(BackendError::OutOfTime),
        }
    }

    /// Speaks to a registry.
    pub(super) fn registry<'a, T>(
        &'a self,
        call: impl FnOnce(&'a Client) -> Pending<'a, T>,
    ) -> Result<T, BackendError> {
        let Made { runtime, client, .. } = self.made()?;
        self.within(runtime, call(client))
    }

    /// Speaks to another server.
    pub(super) fn web<'a, T>(
        &'a self,
        call: impl FnOnce(&'a Web) -> Pending<'a, T>,
    ) -> Result<T, BackendError> {
        let Made { runtime, web, .. } = self.made()?;
        self.within(runtime, call(web))
    }

    /// Waits until so many bytes of a body may be in memory: until others have gone.
    pub(super) fn memory(&self, bytes: u64) -> Result<Place<'_>, BackendError> {
        self.shared.memory.take(bytes, self.deadline)
    }

    /// The most bytes that a body can have.
    pub(super) fn largest_body(&self) -> u64 {
        self.shared.memory.all
    }
}

/// Bytes of memory that are given out and come back.
struct Places {
    all: u64,
    free: Mutex<u64>,
    freed: Condvar,
}

/// Bytes of memory, until this is dropped.
pub(super) struct Place<'a> {
    of: &'a Places,
    bytes: u64,
}

impl Places {
    fn new(bytes: u64) -> Self {
        Self { all: bytes, free: Mutex::new(bytes), freed: Condvar::new() }
    }

    fn take(&self, bytes: u64, deadline: Option<Instant>) -> Result<Place<'_>, BackendError> {
        if bytes > self.all {
            let why =
                format!("a body of {bytes} bytes is more than the {} that are kept in memory", self.all);
            return Err(BackendError::Unusable(why));
        }
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free < bytes {
            free = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => self.freed.wait(free).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return Err(BackendError::OutOfTime),
                Some(left) => self.freed.wait_timeout(free, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        *free -= bytes;
        Ok(Place { of: self, bytes })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.of.free.lock().unwrap_or_else(PoisonError::into_inner) += self.bytes;
        self.of.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn memory_is_given_out_once() {
        let places = Places::new(10);
        let (first, second) = (places.take(6, None).unwrap(), places.take(4, None).unwrap());
        assert!(matches!(places.take(1, Some(Instant::now())), Err(BackendError::OutOfTime)));
        assert!(matches!(places.take(11, None), Err(BackendError::Unusable(_))), "it would never be there");
        std::thread::scope(|scope| {
            let (begun, waits) = mpsc::channel();
            let places = &places;
            let waiter = scope.spawn(move || {
                begun.send(()).unwrap();
                drop(places.take(10, None).unwrap());
            });
            waits.recv().unwrap();
            drop((first, second));
            waiter.join().unwrap();
        });
        assert_eq!(*places.free.lock().unwrap(), 10);
    }
}
