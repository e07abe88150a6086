//! Which system calls a step may make: what docker's default profile comes to for docker's default
//! capabilities.
//!
//! Said the other way round: [`profile`] names what is refused, and everything else that is in the table of
//! known calls is allowed. A refused call answers EPERM; one that is not in the table ENOSYS, so that
//! programs fall back from calls that are newer than the table, and nothing new is allowed by itself. Three
//! calls depend on an argument.
//!
//! The one profile has two forms: a BPF program for the own spawner ([`program`](filter::program)), and the
//! words of the OCI runtime specification for the runtimes ([`oci`](oci::oci)). 32-bit x86 programs are
//! covered on x86_64; other foreign programs get ENOSYS for everything.

mod filter;
mod oci;
mod profile;

pub(super) use filter::program;
pub(super) use oci::oci;
