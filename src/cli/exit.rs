//! Exit statuses: what a script can decide from.

use std::process::ExitCode;

use ocistage::ErrorKind;

/// The status that tells a script whose fault it was and whether trying again can help.
///
/// A RUN's own status is in the message and never here: a step that exits 69 must not look like a registry that is
/// away.
pub(crate) fn status(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Step => 1,
        ErrorKind::Input => 2,
        ErrorKind::Unavailable => 69,  // EX_UNAVAILABLE
        ErrorKind::Unauthorised => 77, // EX_NOPERM
        ErrorKind::Environment => 78,  // EX_CONFIG
        ErrorKind::Resources => 102,
        ErrorKind::Interrupted => INTERRUPTED,
        // Kinds that this program does not know yet are faults that it did not expect.
        _ => BUG,
    }
}

/// Stopped by a signal.
pub(crate) const INTERRUPTED: u8 = 130;
/// Our own bug.
pub(crate) const BUG: u8 = 100;

/// The same as a process's result.
pub(crate) fn code(kind: ErrorKind) -> ExitCode {
    ExitCode::from(status(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_published_status() {
        for (kind, expected) in [
            (ErrorKind::Step, 1),
            (ErrorKind::Input, 2),
            (ErrorKind::Unavailable, 69),
            (ErrorKind::Unauthorised, 77),
            (ErrorKind::Environment, 78),
            (ErrorKind::Internal, 100),
            (ErrorKind::Resources, 102),
            (ErrorKind::Interrupted, 130),
        ] {
            assert_eq!(status(kind), expected, "{kind:?}");
        }
    }
}
