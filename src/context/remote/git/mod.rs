//! Git repositories, by the `git` program.
//!
//! Git's protocols and its ways to prove who one is (agents, helpers, tokens) are git's own affair, and people
//! have set theirs up; so the program does the talking. What it may do is narrow: every command is an argument
//! list after which addresses come behind `--`; hooks, `ext::` and `file:` transports, templates, filters and
//! prompts are off; of the environment it sees what the caller gives, and a user and password in an address
//! reach it through a credential helper, so that they are in no argument and no message.
//!
//! Two steps. [`resolve`](Git::resolve) asks the other side which commit a name means: that is all a cache key
//! needs. [`check_out`](Git::check_out) fetches that commit alone, where the other side lets it, and lays its
//! files out in a directory of the build; from there they are read like any other context.
//!
//! A commit's files are the same on every machine: modes are 0644 and 0755 whatever the umask, line ends are
//! those of the commit, and every time is the commit's own.

mod checkout;
mod program;
mod resolve;
mod source;

pub(crate) use checkout::Checkout;
pub(crate) use program::Git;
pub(crate) use resolve::Commit;
pub(crate) use source::{Asked as GitAsked, GitSource};
