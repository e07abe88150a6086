//! Ctrl-C: once to stop cleanly, twice to stop at once.

use std::io;
use std::sync::Arc;

use ocistage::{CancellationToken, Event, EventSink};
use tokio::signal::unix::{SignalKind, signal};

use super::exit;

/// Fires `cancel` at the first signal that asks the process to end; at the second, the process ends where it stands.
/// `events` hears of the first. Must be called in the runtime.
pub(crate) fn listen(cancel: CancellationToken, events: Arc<dyn EventSink>) -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            if cancel.is_cancelled() {
                std::process::exit(exit::INTERRUPTED.into());
            }
            events.event(&Event::Warning { message: "stopping; once more to stop at once".to_owned() });
            cancel.cancel();
        }
    });
    Ok(())
}
