//! The handle that operations carry, and the one bridge from async to blocking work.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Event, EventSink};

/// Event sink, cancellation and blocking-work limit of one build.
#[derive(Clone)]
pub(crate) struct Ctx {
    shared: Arc<Shared>,
}

struct Shared {
    // The lock orders events; it is never held over an await.
    sink: Mutex<Arc<dyn EventSink>>,
    cancel: CancellationToken,
    cpu: Arc<Semaphore>,
}

/// The build was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub(crate) struct Cancelled;

impl Ctx {
    /// A context that reports to `sink`, stops when `cancel` fires and runs at most `workers` pieces of
    /// CPU or disk work at a time.
    pub(crate) fn new(sink: Arc<dyn EventSink>, cancel: CancellationToken, workers: usize) -> Self {
        let cpu = Arc::new(Semaphore::new(workers.max(1)));
        Self { shared: Arc::new(Shared { sink: Mutex::new(sink), cancel, cpu }) }
    }

    /// Report a fact.
    pub(crate) fn emit(&self, event: &Event) {
        self.shared.sink.lock().unwrap_or_else(PoisonError::into_inner).event(event);
    }

    /// Report a warning.
    pub(crate) fn warn(&self, message: impl Into<String>) {
        self.emit(&Event::Warning { message: message.into() });
    }

    /// Whether to stop. Loops over much data ask now and then.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.shared.cancel.is_cancelled()
    }

    /// Stop when the build was told to.
    pub(crate) fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    /// Resolves when the build is told to stop.
    pub(crate) async fn cancelled(&self) {
        self.shared.cancel.cancelled().await;
    }

    /// Tell all work of this build to stop.
    pub(crate) fn cancel(&self) {
        self.shared.cancel.cancel();
    }

    /// Run CPU or disk work outside the async threads. At most as many pieces as there are workers run at
    /// a time; a panic of the work is carried over to the caller.
    pub(crate) async fn blocking<T, F>(&self, work: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        // The semaphore is never closed.
        let permit = Arc::clone(&self.shared.cpu).acquire_owned().await.expect("the semaphore stays open");
        Self::join(tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        }))
        .await
    }

    /// Run blocking work that mostly waits (a RUN, a pipe) outside the async threads, without counting it
    /// as CPU work.
    pub(crate) async fn waiting<T, F>(&self, work: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        Self::join(tokio::task::spawn_blocking(work)).await
    }

    async fn join<T>(task: tokio::task::JoinHandle<T>) -> T {
        match task.await {
            Ok(value) => value,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down; nobody is left to see a value.
                Err(_) => std::future::pending().await,
            },
        }
    }
}
