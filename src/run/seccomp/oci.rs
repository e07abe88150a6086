//! The profile in the words of the OCI runtime specification.

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};

use super::profile::{ENOSYS, FAMILIES, NAMESPACES, PERSONALITIES, Table, Verdict, verdicts};

/// The profile for the machine of this program.
pub(in super::super) fn oci() -> Result<LinuxSeccomp, OciSpecError> {
    let mut allowed = Vec::new();
    let mut refused = Vec::new();
    let mut missing = Vec::new();
    for (name, _, verdict) in verdicts(Table::Generic) {
        match verdict {
            Verdict::Allow => allowed.push(name.to_owned()),
            Verdict::Errno(ENOSYS) => missing.push(name.to_owned()),
            Verdict::Errno(_) => refused.push(name.to_owned()),
            Verdict::Clone | Verdict::Socket | Verdict::Personality => {}
        }
    }
    let errno = |names, errno: u32| {
        LinuxSyscallBuilder::default()
            .names(names)
            .action(LinuxSeccompAction::ScmpActErrno)
            .errno_ret(errno)
            .build()
    };
    let mut syscalls = vec![allow(allowed, None)?, errno(refused, 1)?, errno(missing, ENOSYS.into())?];
    let none_of = LinuxSeccompArgBuilder::default()
        .index(0_usize)
        .value(NAMESPACES)
        .value_two(0_u64)
        .op(LinuxSeccompOperator::ScmpCmpMaskedEq)
        .build()?;
    syscalls.push(allow(vec!["clone".into()], Some(none_of))?);
    for value in PERSONALITIES {
        syscalls.push(allow(vec!["personality".into()], Some(equal(value)?))?);
    }
    // One condition a rule: libseccomp does not join several on one argument.
    for family in FAMILIES.into_iter().flat_map(|(first, last)| first..=last) {
        syscalls.push(allow(vec!["socket".into()], Some(equal(family)?))?);
    }
    let architectures = match std::env::consts::ARCH {
        "x86_64" => vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86],
        "aarch64" => vec![Arch::ScmpArchAarch64],
        "riscv64" => vec![Arch::ScmpArchRiscv64],
        _ => Vec::new(),
    };
    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(u32::from(ENOSYS))
        .architectures(architectures)
        .syscalls(syscalls)
        .build()
}

fn allow(names: Vec<String>, argument: Option<LinuxSeccompArg>) -> Result<LinuxSyscall, OciSpecError> {
    let rule = LinuxSyscallBuilder::default().names(names).action(LinuxSeccompAction::ScmpActAllow);
    match argument {
        Some(argument) => rule.args(vec![argument]).build(),
        None => rule.build(),
    }
}

fn equal(value: u32) -> Result<LinuxSeccompArg, OciSpecError> {
    LinuxSeccompArgBuilder::default().index(0_usize).value(value).op(LinuxSeccompOperator::ScmpCmpEq).build()
}
