//! The tar format as image layers use it: one strict reader and one deterministic writer.
//!
//! A [`Header`] is a member of an archive as a value; a [`Writer`] makes bytes of it, a [`Reader`] makes it
//! of bytes. What is written is POSIX pax: whole seconds, no names of owners, directories end with `/`, and
//! extended records only where the plain header can not say it, so the same members give the same bytes.
//! What is read is every form that images in the wild have (v7, ustar, pax, GNU long names, base-256
//! numbers), each checked: two readers that disagree about where a member ends are how archives smuggle.
//! Anything malformed is refused, never skipped.
//!
//! Names are bytes as the archive has them. Which names may be used where, and what a whiteout is, is for
//! `layer` to say; nothing here touches a disk.

mod header;
mod pax;
mod reader;
mod writer;

pub(crate) use header::{Header, MemberKind};
pub(crate) use reader::{Reader, TarError, is_tar};
pub(crate) use writer::Writer;

#[cfg(test)]
mod tests;
