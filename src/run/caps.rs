//! The capabilities of a step: those that docker gives.

use rustix::thread::CapabilitySet;

/// Docker's default set, by name as in the OCI runtime specification.
pub(super) const DEFAULT: [(&str, CapabilitySet); 14] = [
    ("CAP_CHOWN", CapabilitySet::CHOWN),
    ("CAP_DAC_OVERRIDE", CapabilitySet::DAC_OVERRIDE),
    ("CAP_FSETID", CapabilitySet::FSETID),
    ("CAP_FOWNER", CapabilitySet::FOWNER),
    ("CAP_MKNOD", CapabilitySet::MKNOD),
    ("CAP_NET_RAW", CapabilitySet::NET_RAW),
    ("CAP_SETGID", CapabilitySet::SETGID),
    ("CAP_SETUID", CapabilitySet::SETUID),
    ("CAP_SETFCAP", CapabilitySet::SETFCAP),
    ("CAP_SETPCAP", CapabilitySet::SETPCAP),
    ("CAP_NET_BIND_SERVICE", CapabilitySet::NET_BIND_SERVICE),
    ("CAP_SYS_CHROOT", CapabilitySet::SYS_CHROOT),
    ("CAP_KILL", CapabilitySet::KILL),
    ("CAP_AUDIT_WRITE", CapabilitySet::AUDIT_WRITE),
];

/// The set as bits.
pub(super) fn default_set() -> CapabilitySet {
    DEFAULT.iter().fold(CapabilitySet::empty(), |set, (_, capability)| set | *capability)
}
