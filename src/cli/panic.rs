//! A panic is our own bug: it is said so, the build is stopped, and the exit status is 100.

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use ocistage::CancellationToken;

use super::{exit, report};

static HAPPENED: AtomicBool = AtomicBool::new(false);

/// Whether any thread panicked.
pub(crate) fn happened() -> bool {
    HAPPENED.load(Ordering::Relaxed)
}

/// From now on a panic in any thread is shown as what it is, and fires `cancel`: others may wait for that thread.
pub(crate) fn watch(cancel: &CancellationToken) {
    let cancel = cancel.clone();
    panic::set_hook(Box::new(move |info| {
        HAPPENED.store(true, Ordering::Relaxed);
        cancel.cancel();
        let payload = info.payload();
        let message = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        let place =
            info.location().map(|place| format!(" at {}:{}", place.file(), place.line())).unwrap_or_default();
        report::say(&format!(
            "error: this is a bug in ocistage {}: {message}{place}\n\
             hint: please report it with this message, the command line and the Dockerfile\n",
            env!("CARGO_PKG_VERSION"),
        ));
        let trace = std::backtrace::Backtrace::capture();
        if trace.status() == std::backtrace::BacktraceStatus::Captured {
            report::say(&format!("{trace}\n"));
        }
    }));
}

/// Carries out `work`; a panic in it becomes the exit status of a bug.
pub(crate) fn guard(work: impl FnOnce() -> ExitCode) -> ExitCode {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or(ExitCode::from(exit::BUG))
}
