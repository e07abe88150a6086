//! Finding out whether a backend works by having it carry out a step.
//!
//! The step's root has one file, a program of a few instructions that exits with status 0. So a probe needs
//! no image and no shell, and still everything is done: overlay, namespaces, mounts, filter, exec.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Network, RunBackend, RunSpec, RunStatus, RunSupport};
use crate::ctx::{Ctx, Event, EventSink};
use crate::rootfs::Rootfs;

/// Where the program is in the probe's root.
const PROGRAM: &str = "/probe";

/// Carry out the smallest step with `backend`, in a new directory in `scratch`.
pub(super) fn probe(backend: &dyn RunBackend, scratch: &Path) -> RunSupport {
    let Some(program) = smallest_program(std::env::consts::ARCH) else {
        return RunSupport::Refused(format!("no probe is known for {} machines", std::env::consts::ARCH));
    };
    match tried(backend, scratch, &program) {
        Ok(()) => RunSupport::Works("a step was carried out in an overlay".to_owned()),
        Err(reason) => RunSupport::Refused(reason),
    }
}

fn tried(backend: &dyn RunBackend, scratch: &Path, program: &[u8]) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("prepare a probe in {}: {error}", scratch.display());
    let directory = tempfile::Builder::new().prefix("probe-").tempdir_in(scratch).map_err(failed)?;
    let path = |name: &str| directory.path().join(name);
    for name in ["layer", "upper", "work"] {
        std::fs::create_dir(path(name)).map_err(failed)?;
    }
    let file = path("layer").join(PROGRAM.trim_start_matches('/'));
    std::fs::write(&file, program).map_err(failed)?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).map_err(failed)?;
    let spec = RunSpec {
        rootfs: Rootfs { lowers: vec![path("layer")], upper: path("upper"), work: path("work") },
        args: vec![PROGRAM.to_owned()],
        env: Vec::new(),
        workdir: "/".to_owned(),
        user: String::new(),
        network: Network::Host,
        extra_hosts: Vec::new(),
        mounts: Vec::new(),
    };
    let ctx = Ctx::new(std::sync::Arc::new(Silent), tokio_util::sync::CancellationToken::new(), 1);
    let mut said = Vec::new();
    let outcome = backend.run(&ctx, &spec, &mut |_, bytes| said.extend_from_slice(bytes));
    match outcome {
        Ok(outcome) if outcome.status == RunStatus::Exited(0) => Ok(()),
        Ok(outcome) => {
            let said = String::from_utf8_lossy(&said);
            Err(format!("the probe ended with {:?}: {}", outcome.status, said.trim()))
        }
        // The directory of one probe says nothing to anybody.
        Err(error) => {
            Err(error.to_string().replace(&*directory.path().to_string_lossy(), &scratch.to_string_lossy()))
        }
    }
}

/// A probe has nothing to report.
struct Silent;

impl EventSink for Silent {
    fn event(&self, _: &Event) {}
}

/// A static ELF program that does `exit(0)`: the file header, one program header, the instructions.
fn smallest_program(arch: &str) -> Option<Vec<u8>> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let (machine, code): (u16, &[u8]) = match arch {
        // xor edi,edi; mov eax,60; syscall
        "x86_64" => (62, &[0x31, 0xff, 0xb8, 0x3c, 0, 0, 0, 0x0f, 0x05]),
        // mov x0,#0; mov x8,#93; svc #0
        "aarch64" => (183, &[0, 0, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 0x01, 0, 0, 0xd4]),
        // li a0,0; li a7,93; ecall
        "riscv64" => (243, &[0x13, 0x05, 0, 0, 0x93, 0x08, 0xd0, 0x05, 0x73, 0, 0, 0]),
        _ => return None,
    };
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let (half, word, long) = (u16::to_le_bytes, u32::to_le_bytes, u64::to_le_bytes);
    elf.extend(half(2)); // executable
    elf.extend(half(machine));
    elf.extend(word(1));
    elf.extend(long(BASE + HEADERS)); // entry
    elf.extend(long(64)); // program headers
    elf.extend(long(0)); // no section headers
    elf.extend(word(0));
    for value in [64, 56, 1, 0, 0, 0] {
        elf.extend(half(value));
    }
    let size = HEADERS + code.len() as u64;
    elf.extend(word(1)); // load
    elf.extend(word(5)); // read, execute
    for value in [0, BASE, BASE, size, size, 0x1000] {
        elf.extend(long(value));
    }
    elf.extend(code);
    Some(elf)
}
