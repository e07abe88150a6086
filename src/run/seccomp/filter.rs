//! The profile as a BPF program.
//!
//! For each architecture a binary search over ranges of call numbers with the same verdict: eight or so
//! comparisons, however many calls there are.

use super::profile::{ENOSYS, EPERM, FAMILIES, NAMESPACES, PERSONALITIES, Table, Verdict, verdicts};
use crate::sys::BpfInstruction;

// Offsets in the kernel's `seccomp_data`; the first argument's low half, all our machines being
// little-endian.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENT: u32 = 16;

const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;

/// How the kernel names instruction sets (`AUDIT_ARCH_*`), and their tables: the machine's own first.
fn architectures(machine: &str) -> Option<&'static [(u32, Table)]> {
    Some(match machine {
        "x86_64" => &[(0xc000_003e, Table::X86_64), (0x4000_0003, Table::I386)],
        "aarch64" => &[(0xc000_00b7, Table::Generic)],
        "riscv64" => &[(0xc000_00f3, Table::Generic)],
        _ => return None,
    })
}

/// The program for `machine` (as in [`std::env::consts::ARCH`]); `None` for one that is not known.
pub(in super::super) fn program(machine: &str) -> Option<Vec<BpfInstruction>> {
    let mut program = vec![load(ARCHITECTURE)];
    for (architecture, table) in architectures(machine)? {
        let mut block = vec![load(NUMBER)];
        block.extend(search(&ranges(*table)));
        program.push(jump(JEQ, *architecture, 1, 0));
        program.push(always(block.len()));
        program.extend(block);
    }
    program.push(answer(Verdict::Errno(ENOSYS)));
    Some(program)
}

/// The verdicts by number: each holds from its number up to the next one's.
fn ranges(table: Table) -> Vec<(u32, Verdict)> {
    let mut numbers: Vec<(u32, Verdict)> =
        verdicts(table).filter_map(|(_, number, verdict)| Some((number?, verdict))).collect();
    numbers.sort_by_key(|(number, _)| *number);
    let unknown = Verdict::Errno(ENOSYS);
    let mut ranges: Vec<(u32, Verdict)> = Vec::new();
    let mut add = |start: u32, verdict: Verdict| {
        if ranges.last().is_none_or(|(_, last)| *last != verdict) {
            ranges.push((start, verdict));
        }
    };
    let mut next = 0;
    for (number, verdict) in numbers {
        if number > next {
            add(next, unknown);
        }
        add(number, verdict);
        next = number + 1;
    }
    add(next, unknown);
    ranges
}

fn search(ranges: &[(u32, Verdict)]) -> Vec<BpfInstruction> {
    if let [(_, verdict)] = ranges {
        return leaf(*verdict);
    }
    let (below, from) = ranges.split_at(ranges.len() / 2);
    let lower = search(below);
    // A conditional jump reaches 255 instructions; an unconditional one everywhere.
    let mut code = match u8::try_from(lower.len()) {
        Ok(distance) => vec![jump(JGE, from[0].0, distance, 0)],
        Err(_) => vec![jump(JGE, from[0].0, 0, 1), always(lower.len())],
    };
    code.extend(lower);
    code.extend(search(from));
    code
}

fn leaf(verdict: Verdict) -> Vec<BpfInstruction> {
    let allow = answer(Verdict::Allow);
    let refuse = answer(Verdict::Errno(EPERM));
    match verdict {
        Verdict::Allow | Verdict::Errno(_) => vec![answer(verdict)],
        Verdict::Clone => vec![load(ARGUMENT), jump(JSET, NAMESPACES, 1, 0), allow, refuse],
        Verdict::Personality => {
            let mut code = vec![load(ARGUMENT)];
            for value in PERSONALITIES {
                code.extend([jump(JEQ, value, 0, 1), allow]);
            }
            code.push(refuse);
            code
        }
        Verdict::Socket => {
            let mut code = vec![load(ARGUMENT)];
            for (first, last) in FAMILIES {
                code.extend([jump(JGE, first, 0, 2), jump(JGT, last, 1, 0), allow]);
            }
            code.push(refuse);
            code
        }
    }
}

const JEQ: u16 = 0x15;
const JGT: u16 = 0x25;
const JGE: u16 = 0x35;
const JSET: u16 = 0x45;

fn load(offset: u32) -> BpfInstruction {
    BpfInstruction { code: 0x20, jt: 0, jf: 0, k: offset }
}

/// Skip `jt` instructions if the comparison with `k` holds, else `jf`.
fn jump(code: u16, k: u32, jt: u8, jf: u8) -> BpfInstruction {
    BpfInstruction { code, jt, jf, k }
}

/// Skip `distance` instructions. (The kernel's own limit on programs is 4,096.)
fn always(distance: usize) -> BpfInstruction {
    BpfInstruction { code: 0x05, jt: 0, jf: 0, k: u32::try_from(distance).unwrap_or(u32::MAX) }
}

fn answer(verdict: Verdict) -> BpfInstruction {
    let k = match verdict {
        Verdict::Allow => ALLOW,
        Verdict::Errno(errno) => ERRNO | u32::from(errno),
        // Not an answer by themselves; to refuse is the safe reading.
        Verdict::Clone | Verdict::Socket | Verdict::Personality => ERRNO | u32::from(EPERM),
    };
    BpfInstruction { code: 0x06, jt: 0, jf: 0, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would do: `Ok` or an errno.
    fn ask(machine: &str, architecture: u32, number: u32, argument: u32) -> Result<(), u32> {
        let program = program(machine).unwrap();
        let (mut at, mut value) = (0, 0);
        loop {
            let BpfInstruction { code, jt, jf, k } = program[at];
            at += 1;
            let holds = match code {
                0x20 => {
                    value = match k {
                        NUMBER => number,
                        ARCHITECTURE => architecture,
                        _ => argument,
                    };
                    continue;
                }
                0x05 => {
                    at += k as usize;
                    continue;
                }
                0x06 => return if k == ALLOW { Ok(()) } else { Err(k & 0xffff) },
                JEQ => value == k,
                JGT => value > k,
                JGE => value >= k,
                JSET => value & k != 0,
                other => panic!("instruction {other:#x}"),
            };
            at += usize::from(if holds { jt } else { jf });
        }
    }

    #[test]
    fn calls_are_allowed_refused_or_unknown_as_docker_has_them() {
        let x86_64 = |number, argument| ask("x86_64", 0xc000_003e, number, argument);
        for (name, number) in
            [("read", 0), ("execve", 59), ("ptrace", 101), ("chroot", 161), ("openat2", 437)]
        {
            assert_eq!(x86_64(number, 0), Ok(()), "{name}");
        }
        for (name, number) in
            [("mount", 165), ("unshare", 272), ("setns", 308), ("bpf", 321), ("keyctl", 250)]
        {
            assert_eq!(x86_64(number, 0), Err(1), "{name}");
        }
        assert_eq!(x86_64(435, 0), Err(38), "clone3");
        assert_eq!(x86_64(100_000, 0), Err(38), "a call of the future");
        assert_eq!(x86_64(0x4000_0000, 0), Err(38), "x32");
        assert_eq!(ask("x86_64", 0x4000_0003, 3, 0), Ok(()), "read, i386");
        assert_eq!(ask("x86_64", 0x4000_0003, 21, 0), Err(1), "mount, i386");
        assert_eq!(ask("x86_64", 0xc000_00b7, 63, 0), Err(38), "a foreign program");
        assert_eq!(ask("aarch64", 0xc000_00b7, 63, 0), Ok(()), "read, arm64");
        assert_eq!(ask("aarch64", 0xc000_00b7, 97, 0), Err(1), "unshare, arm64");
        assert!(program("m68k").is_none());
    }

    #[test]
    fn three_calls_depend_on_their_argument() {
        let ask = |number, argument| ask("x86_64", 0xc000_003e, number, argument);
        let (clone, socket, personality) = (56, 41, 135);
        assert_eq!(ask(clone, 0x0120_0011), Ok(()), "fork");
        assert_eq!(ask(clone, 0x003d_0f00), Ok(()), "a thread");
        for namespace in [0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000]
        {
            assert_eq!(ask(clone, namespace | 17), Err(1), "{namespace:#x}");
        }
        for (family, answer) in
            [(1, Ok(())), (2, Ok(())), (10, Ok(())), (16, Ok(())), (17, Ok(())), (45, Ok(()))]
        {
            assert_eq!(ask(socket, family), answer, "{family}");
        }
        for family in [12, 38, 40, 46, 4_000_000_000] {
            assert_eq!(ask(socket, family), Err(1), "{family}");
        }
        assert_eq!(ask(personality, 0), Ok(()));
        assert_eq!(ask(personality, 0x2_0000), Ok(()));
        assert_eq!(ask(personality, 0xffff_ffff), Ok(()));
        assert_eq!(ask(personality, 0x40_0000), Err(1), "READ_IMPLIES_EXEC");
    }
}
