//! `RUN --mount=…`

use crate::text::Span;

use super::instruction::Word;

/// A mount as written: its fields in order, values not expanded. [`resolve`](Mount::resolve) makes it typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The flag's value.
    pub span: Span,
    /// `key=value` or `key`, in order.
    pub fields: Vec<MountField>,
}

/// One field of a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountField {
    /// The key in lower case, aliases kept (`src`, `dst`, `ro`).
    pub key: String,
    /// The value, not expanded; `None` for a bare key.
    pub value: Option<Word>,
    /// Where.
    pub span: Span,
}

/// A mount with its values known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunMount {
    /// `type`, `bind` when not given.
    pub kind: MountKind,
    /// `from`: stage, stage index, named context or image.
    pub from: Option<String>,
    /// `source`
    pub source: Option<String>,
    /// `target`
    pub target: Option<String>,
    /// Whether the step may not write to it. Default: yes for bind, secret and ssh; no for cache and tmpfs.
    pub read_only: bool,
    /// `id`
    pub id: Option<String>,
    /// `sharing` (cache)
    pub sharing: Sharing,
    /// `required` (secret, ssh)
    pub required: bool,
    /// `size` in bytes (tmpfs)
    pub size: Option<u64>,
    /// `mode` (cache, secret, ssh)
    pub mode: Option<u32>,
    /// `uid` (cache, secret, ssh)
    pub uid: Option<u32>,
    /// `gid` (cache, secret, ssh)
    pub gid: Option<u32>,
    /// `env` (secret): the variable that holds the secret.
    pub env: Option<String>,
}

/// The kinds of mounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MountKind {
    /// Files of the context, a stage or an image.
    #[default]
    Bind,
    /// A folder that outlives the build.
    Cache,
    /// Empty memory.
    Tmpfs,
    /// A secret of the request.
    Secret,
    /// The request's ssh agent.
    Ssh,
}

/// Who else may use a cache mount at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Everyone.
    #[default]
    Shared,
    /// No one: another user gets a folder of its own.
    Private,
    /// No one: another user waits.
    Locked,
}
