//! The Dockerfile language, as BuildKit's Dockerfile front end 1.26 reads it.
//!
//! ```text
//! bytes ─lines→ logical lines ─node→ shapes ─build→ typed instructions        parse(&Source) -> Parsed
//!                                                    words ─expand→ text       expand(word, escape, lookup, quotes)
//! ```
//!
//! Parsing is in three steps because the language is: a physical line may be part of a longer one; the keyword decides
//! how the rest of the line is split (blanks, quoted words, JSON, nothing); only then is there meaning to check. Each
//! step is pure and total. An error costs its instruction, never the file: all errors of a file are reported at once,
//! and every word knows where it stood, through all joining.
//!
//! Expansion is apart: the parser expands nothing, the lowering decides which word is expanded against which state.
//!
//! Invariants:
//! - `parse` ends, does not panic and takes time linear in the text, whatever the text;
//! - words are as written: quotes and escapes in them mean something to `expand` and are resolved there alone. Flags are
//!   the exception: their quotes are resolved by the parser, as the language wants it;
//! - warnings here are about reading alone. The rules that judge style and stages are the lint's.
//!
//! Not here: stages and their names' meaning, scope of ARG and ENV, images, paths.

mod ast;
mod build;
mod build_command;
mod directive;
mod duration;
mod expand;
mod flags;
mod heredoc;
mod instruction;
mod json;
mod lines;
mod mount;
mod node;
mod parse;
mod pattern;
mod words;

pub use directive::{CheckOptions, Directives};
pub use expand::{ExpandError, Expansion, Quotes, expand, expand_words};
pub use heredoc::Heredoc;
pub use instruction::{
    AddArgs, ArgItem, Command, CopyArgs, Dockerfile, FileArgs, FileSource, From, Healthcheck,
    HealthcheckTest, Instruction, InstructionKind, Network, Onbuild, Pairs, RunArgs, Script, Security, Word,
};
pub use mount::{Mount, MountError, MountField, MountKind, RunMount, Sharing};
pub use parse::{Parsed, parse, parse_trigger};
