//! What every step is denied or limited to, whichever backend carries it out: the defaults of the OCI
//! runtimes and of docker.

/// Parts of /proc and /sys that tell of the machine or reach into it: hidden.
pub(super) const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Parts of /proc that can be read and not written.
pub(super) const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What shared memory may take.
pub(super) const SHM_SIZE: &str = "64m";
