//! Ctrl-C: once to stop cleanly, twice to stop at once.

use std::io;
use std::sync::Arc;

use ocistage::{CancellationToken, Event, EventSink};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit;

/// Fires `cancel` at the first signal that asks the process to end; at the second, the process ends where it stands.
/// `events` hears of the first. Must be called in the runtime.
pub(crate) fn listen(cancel: CancellationToken, events: Arc<dyn EventSink>) -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // `nohup` starts programs that are to outlive their terminal.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut hangup = if ignores_hangup(&status) { None } else { Some(signal(SignalKind::hangup())?) };
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = heard(&mut hangup) => {}
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

/// Waits for a signal; for ever when none is listened to.
async fn heard(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether a process ignores SIGHUP, by its `/proc/PID/status`: signal 1 is the lowest bit of `SigIgn`.
fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::ignores_hangup;

    #[test]
    fn a_program_under_nohup_is_known_by_its_mask() {
        assert!(ignores_hangup("Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0\n"));
        assert!(!ignores_hangup("Name:\tx\nSigIgn:\t0000000000001000\n"));
        assert!(!ignores_hangup(""));
    }
}
