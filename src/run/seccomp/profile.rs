//! The profile as data.

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is made.
    Allow,
    /// It answers this errno.
    Errno(u16),
    /// `clone`: not into new namespaces.
    Clone,
    /// `socket`: not of every family.
    Socket,
    /// `personality`: only harmless ones.
    Personality,
}

/// "Operation not permitted".
pub(super) const EPERM: u16 = 1;
/// "Function not implemented".
pub(super) const ENOSYS: u16 = 38;

/// The namespace flags of `clone(2)` that sit in its first argument.
pub(super) const NAMESPACES: u32 = 0x7e02_0000;

/// Linux, 32-bit Linux, each also without address randomisation, and "which is it?".
pub(super) const PERSONALITIES: [u32; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Socket families that are allowed, as ranges with both ends. Left out are AF_VSOCK (to the hypervisor),
/// AF_ALG (the kernel's ciphers) and families that have no users or no number yet.
pub(super) const FAMILIES: [(u32, u32); 8] =
    [(0, 11), (13, 18), (21, 22), (24, 24), (26, 33), (35, 36), (39, 39), (41, 45)];

/// Calls that are refused, by what they would reach.
const REFUSED: [&[&str]; 9] = [
    // mounts, namespaces, names of the machine
    &[
        "fsconfig",
        "fsmount",
        "fsopen",
        "fspick",
        "mount",
        "mount_setattr",
        "move_mount",
        "open_tree",
        "open_tree_attr",
        "pivot_root",
        "setdomainname",
        "sethostname",
        "setns",
        "umount",
        "umount2",
        "unshare",
    ],
    // kernel code and its replacement
    &[
        "bpf",
        "create_module",
        "delete_module",
        "finit_module",
        "get_kernel_syms",
        "init_module",
        "kexec_file_load",
        "kexec_load",
        "query_module",
        "reboot",
    ],
    // kernel log, tracing, other processes' insides
    &["acct", "kcmp", "lookup_dcookie", "perf_event_open", "pidfd_getfd", "process_madvise", "syslog"],
    // keys and security modules
    &[
        "add_key",
        "keyctl",
        "lsm_get_self_attr",
        "lsm_list_modules",
        "lsm_set_self_attr",
        "request_key",
        "security",
    ],
    // files by number, whole-disk affairs
    &["fanotify_init", "open_by_handle_at", "quotactl", "quotactl_fd", "swapoff", "swapon", "sysfs", "ustat"],
    // hardware, terminals of the machine
    &["ioperm", "iopl", "vhangup", "vm86", "vm86old"],
    // clocks
    &["clock_settime", "clock_settime64", "settimeofday", "stime"],
    // memory placement, and two doors that have led into the kernel too often
    &[
        "get_mempolicy",
        "io_uring_enter",
        "io_uring_register",
        "io_uring_setup",
        "mbind",
        "migrate_pages",
        "move_pages",
        "set_mempolicy",
        "set_mempolicy_home_node",
        "userfaultfd",
    ],
    // long gone, never there, or for programs of another century
    &[
        "_sysctl",
        "afs_syscall",
        "bdflush",
        "break",
        "ftime",
        "getpmsg",
        "gtty",
        "idle",
        "lock",
        "mpx",
        "nfsservctl",
        "oldfstat",
        "oldlstat",
        "oldolduname",
        "oldstat",
        "olduname",
        "prof",
        "profil",
        "putpmsg",
        "sgetmask",
        "ssetmask",
        "stty",
        "tuxcall",
        "ulimit",
        "uselib",
        "vserver",
    ],
];

/// The verdict on every known call: its name and its number in `table`, `None` where it does not exist.
pub(super) fn verdicts(table: Table) -> impl Iterator<Item = (&'static str, Option<u32>, Verdict)> {
    let mut refused = REFUSED.concat();
    refused.sort_unstable();
    calls(table).map(move |(name, number)| (name, number, verdict(name, &refused)))
}

/// What happens to the call called `name`; `refused` is sorted.
fn verdict(name: &str, refused: &[&str]) -> Verdict {
    match name {
        "clone" => Verdict::Clone,
        // Its flags are in memory, where a filter can not look; callers then use `clone`.
        "clone3" => Verdict::Errno(ENOSYS),
        "socket" => Verdict::Socket,
        "personality" => Verdict::Personality,
        _ if refused.binary_search(&name).is_ok() => Verdict::Errno(EPERM),
        _ => Verdict::Allow,
    }
}

/// A column of the table of system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    /// x86_64.
    X86_64,
    /// i386.
    I386,
    /// arm64, riscv64.
    Generic,
}

fn calls(table: Table) -> impl Iterator<Item = (&'static str, Option<u32>)> {
    include_str!("syscalls.txt").lines().filter(|line| !line.starts_with('#')).filter_map(move |line| {
        let mut fields = line.split(' ');
        let name = fields.next()?;
        let number = fields.nth(table as usize)?;
        Some((name, number.parse().ok()))
    })
}
