//! The Dockerfile language.
mod directive;
mod heredoc;
mod instruction;
mod mount;

pub use directive::*;
pub use heredoc::*;
pub use instruction::*;
pub use mount::*;
