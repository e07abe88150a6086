//! The same cases through every backend, as root and as an unprivileged user.
//!
//! The test binary is its own init process: a function that the loader calls before `main` answers when it
//! is started under that name. For the unprivileged runs the binary starts itself again as that user and
//! enters a user namespace the same way, before the test harness makes threads.

mod cases;
mod environments;
mod overhead;
mod rig;
mod start;
