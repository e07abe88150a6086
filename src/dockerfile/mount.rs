//! `RUN --mount=type=…,key=value,…`
//!
//! A mount is parsed in two steps because its values may hold variables: [`Mount`] is what is written;
//! [`Mount::resolve`] makes a [`RunMount`] of it when the values are known. What can be wrong without knowing them is
//! reported by the parser.

use crate::text::{Span, suggest};

use super::directive::parse_bool;
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

impl MountKind {
    /// The word used in Dockerfiles.
    pub fn as_str(self) -> &'static str {
        match self {
            MountKind::Bind => "bind",
            MountKind::Cache => "cache",
            MountKind::Tmpfs => "tmpfs",
            MountKind::Secret => "secret",
            MountKind::Ssh => "ssh",
        }
    }
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

/// Why a mount makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct MountError {
    /// What is wrong.
    pub message: String,
    /// Where.
    pub span: Span,
    /// What to do, when that is known.
    pub help: Option<String>,
}

impl MountError {
    fn new(message: impl Into<String>, span: Span) -> MountError {
        MountError { message: message.into(), span, help: None }
    }

    fn near(mut self, word: &str, known: &[&str]) -> MountError {
        self.help = Some(match suggest(word, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("use one of {}", known.join(", ")),
        });
        self
    }
}

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "env",
];
/// Keys that may stand without a value.
const BARE: [&str; 6] = ["readonly", "ro", "readwrite", "rw", "required", RELABEL];
/// `z` or `Z`: SELinux labels for the host's copy of the files. Steps never see the host's own files, so there is
/// nothing to label.
pub(super) const RELABEL: &str = "z";
const KINDS: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];
const SHARINGS: [&str; 3] = ["shared", "private", "locked"];

impl Mount {
    /// Splits a flag's value into fields and checks their keys.
    pub(super) fn parse(value: &Word) -> Result<Mount, MountError> {
        let exact = value.text.len() == value.span.len();
        let mut fields = Vec::new();
        for (text, at) in csv_fields(&value.text) {
            // With quotes taken out there is no exact place for a field.
            let exact = exact && value.text[at..].starts_with(&text);
            let place = |from: usize, to: usize| {
                if exact {
                    Span::new(value.span.start + at + from, value.span.start + at + to)
                } else {
                    value.span
                }
            };
            let (key, worth) = match text.split_once('=') {
                Some((key, worth)) => {
                    (key, Some(Word { text: worth.to_owned(), span: place(key.len() + 1, text.len()) }))
                }
                None => (text.as_str(), None),
            };
            let span = place(0, text.len());
            let key = key.to_lowercase();
            if !KEYS.contains(&key.as_str()) && key != RELABEL {
                return Err(
                    MountError::new(format!("unknown key `{key}` of --mount"), span).near(&key, &KEYS)
                );
            }
            if worth.is_none() && !BARE.contains(&key.as_str()) {
                return Err(MountError::new(format!("`{key}` of --mount needs a value"), span));
            }
            fields.push(MountField { key, value: worth, span });
        }
        Ok(Mount { span: value.span, fields })
    }

    /// Whether no value can change by expansion.
    pub(super) fn is_literal(&self) -> bool {
        self.fields
            .iter()
            .filter_map(|field| field.value.as_ref())
            .all(|value| !value.text.contains(is_special))
    }

    /// The typed mount; `expand` gives each value its final text.
    pub fn resolve<E: From<MountError>>(
        &self,
        mut expand: impl FnMut(&Word) -> Result<String, E>,
    ) -> Result<RunMount, E> {
        let mut mount = RunMount::default();
        let mut sharing = None;
        let mut read_only = None;
        for field in &self.fields {
            let value = field.value.as_ref().map(&mut expand).transpose()?;
            self.set(&mut mount, &mut sharing, &mut read_only, field, value)?;
        }
        mount.read_only = read_only.unwrap_or(!matches!(mount.kind, MountKind::Cache | MountKind::Tmpfs));
        if sharing.is_some() && mount.kind != MountKind::Cache {
            let message = format!("`sharing` is for cache mounts, this is a {} mount", mount.kind.as_str());
            return Err(MountError::new(message, self.span).into());
        }
        mount.sharing = sharing.unwrap_or_default();
        self.check(&mount)?;
        Ok(mount)
    }

    fn set(
        &self,
        mount: &mut RunMount,
        sharing: &mut Option<Sharing>,
        read_only: &mut Option<bool>,
        field: &MountField,
        value: Option<String>,
    ) -> Result<(), MountError> {
        let key = field.key.as_str();
        let invalid = || {
            let shown = value.as_deref().unwrap_or_default();
            MountError::new(format!("invalid value `{shown}` of `{key}` in --mount"), field.span)
        };
        let only = |kinds: &[MountKind]| {
            let message = format!("`{key}` does not belong to a {} mount", mount.kind.as_str());
            if kinds.contains(&mount.kind) { Ok(()) } else { Err(MountError::new(message, field.span)) }
        };
        let truth = || value.as_deref().map_or(Some(true), parse_bool).ok_or_else(invalid);
        let number = |radix: u32| {
            let text = value.as_deref().unwrap_or_default();
            // Rust reads `+5` as a number; Go's ParseUint does not.
            let digits = Some(text).filter(|text| !text.starts_with('+'));
            digits.and_then(|text| u32::from_str_radix(text, radix).ok()).map(Some).ok_or_else(invalid)
        };
        match key {
            "type" => {
                let text = value.as_deref().unwrap_or_default().to_lowercase();
                mount.kind = match text.as_str() {
                    "bind" => MountKind::Bind,
                    "cache" => MountKind::Cache,
                    "tmpfs" => MountKind::Tmpfs,
                    "secret" => MountKind::Secret,
                    "ssh" => MountKind::Ssh,
                    _ => {
                        let message = format!("unsupported mount type `{text}`");
                        return Err(MountError::new(message, field.span).near(&text, &KINDS));
                    }
                };
            }
            "from" => mount.from = value,
            "source" | "src" => mount.source = value,
            "target" | "dst" | "destination" => mount.target = value,
            "readonly" | "ro" => *read_only = Some(truth()?),
            "readwrite" | "rw" => *read_only = Some(!truth()?),
            "id" => mount.id = value,
            "required" => {
                only(&[MountKind::Secret, MountKind::Ssh])?;
                mount.required = truth()?;
            }
            "size" => {
                only(&[MountKind::Tmpfs])?;
                mount.size = Some(value.as_deref().and_then(parse_size).ok_or_else(invalid)?);
            }
            "env" => {
                only(&[MountKind::Secret])?;
                mount.env = value;
            }
            "sharing" => {
                let text = value.as_deref().unwrap_or_default().to_lowercase();
                *sharing = Some(match text.as_str() {
                    "shared" => Sharing::Shared,
                    "private" => Sharing::Private,
                    "locked" => Sharing::Locked,
                    _ => {
                        let message = format!("unsupported sharing value `{text}`");
                        return Err(MountError::new(message, field.span).near(&text, &SHARINGS));
                    }
                });
            }
            "mode" => mount.mode = number(8)?,
            "uid" => mount.uid = number(10)?,
            "gid" => mount.gid = number(10)?,
            _ => {}
        }
        Ok(())
    }

    /// What only the whole mount shows.
    fn check(&self, mount: &RunMount) -> Result<(), MountError> {
        let owned = matches!(mount.kind, MountKind::Cache | MountKind::Secret | MountKind::Ssh);
        for (key, given) in [("mode", mount.mode), ("uid", mount.uid), ("gid", mount.gid)] {
            if given.is_some() && !owned {
                let message = format!("`{key}` does not belong to a {} mount", mount.kind.as_str());
                return Err(MountError::new(message, self.span));
            }
        }
        if mount.kind == MountKind::Secret {
            let named = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
            if named(&mount.from) {
                return Err(MountError::new("a secret mount has no `from`", self.span));
            }
            if !named(&mount.source) && !named(&mount.target) && !named(&mount.id) {
                let mut error =
                    MountError::new("a secret mount needs an `id`, a `source` or a `target`", self.span);
                error.help = Some("write `--mount=type=secret,id=NAME`".to_owned());
                return Err(error);
            }
            if named(&mount.source) && named(&mount.id) {
                return Err(MountError::new("a secret mount has `id` or `source`, not both", self.span));
            }
        }
        Ok(())
    }
}

fn is_special(c: char) -> bool {
    matches!(c, '$' | '\'' | '"' | '\\' | '`')
}

/// The comma-separated fields and their offsets. A field may be quoted as in CSV.
fn csv_fields(text: &str) -> Vec<(String, usize)> {
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let mut length = rest.find(',').unwrap_or(rest.len());
        let mut field = rest[..length].to_owned();
        if rest.starts_with('"') {
            let mut quoted = String::new();
            let mut chars = rest.char_indices().skip(1).peekable();
            while let Some((index, c)) = chars.next() {
                if c != '"' {
                    quoted.push(c);
                } else if chars.next_if(|(_, c)| *c == '"').is_some() {
                    quoted.push('"');
                } else {
                    let after = &rest[index + 1..];
                    length = index + 1 + after.find(',').unwrap_or(after.len());
                    field = quoted;
                    break;
                }
            }
        }
        fields.push((field, at));
        at += length;
        if at >= text.len() {
            return fields;
        }
        at += 1;
    }
}

/// Bytes of `10`, `64k`, `1.5GiB`: units are powers of 1024, case does not count.
fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start();
    let power = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(unit) {
        "" if !unit.starts_with('i') => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    let bytes = number * 1024f64.powi(power);
    // Above 2^53 a float no longer counts bytes; no memory is that large.
    (bytes.is_finite() && bytes < 9e15).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str) -> Result<RunMount, MountError> {
        let word = Word { text: text.to_owned(), span: Span::new(0, text.len()) };
        Mount::parse(&word)?.resolve(|word| Ok(word.text.clone()))
    }

    #[test]
    fn every_key_has_its_place() {
        let cache =
            resolved("type=cache,id=x,target=/c,sharing=Locked,mode=0755,uid=1,gid=2,from=base,src=/s")
                .unwrap();
        assert_eq!((cache.kind, cache.sharing, cache.read_only), (MountKind::Cache, Sharing::Locked, false));
        assert_eq!((cache.mode, cache.uid, cache.gid), (Some(0o755), Some(1), Some(2)));
        assert_eq!(cache.source.as_deref(), Some("/s"));
        let secret = resolved("type=secret,id=t,env=TOKEN,required").unwrap();
        assert_eq!((secret.env.as_deref(), secret.required, secret.read_only), (Some("TOKEN"), true, true));
        assert_eq!(resolved("type=tmpfs,dst=/t,size=64m").unwrap().size, Some(64 << 20));
        assert!(!resolved("target=/x,rw").unwrap().read_only);
        assert!(!resolved("target=/x,readonly=false").unwrap().read_only);
        assert_eq!(resolved("\"target=/a,b\",rw").unwrap().target.as_deref(), Some("/a,b"));
    }

    #[test]
    fn what_does_not_belong_is_refused() {
        for text in [
            "type=bnd",
            "tpye=bind",
            "target",
            "type=cache,sharing=all",
            "type=bind,sharing=shared",
            "type=bind,uid=0",
            "type=cache,required",
            "type=secret",
            "type=secret,id=a,from=b",
            "type=secret,id=a,source=b",
            "type=cache,mode=9",
            "type=cache,size=1m",
            "type=cache,uid=+1",
            "type=tmpfs,size=x",
            "ro=maybe",
            "name=x",
            "",
        ] {
            assert!(resolved(text).is_err(), "{text}");
        }
        assert_eq!(resolved("type=cahce").unwrap_err().help.as_deref(), Some("did you mean `cache`?"));
    }

    #[test]
    fn a_field_knows_its_place() {
        let word = Word { text: "type=cache,target=/x".to_owned(), span: Span::new(10, 30) };
        let mount = Mount::parse(&word).unwrap();
        assert_eq!(mount.fields[1].span, Span::new(21, 30));
        assert_eq!(mount.fields[1].value.as_ref().unwrap().span, Span::new(28, 30));
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(parse_size("10"), Some(10));
        assert_eq!(parse_size("1.5GiB"), Some(3 << 29));
        assert_eq!(parse_size("2 kb"), Some(2048));
        assert_eq!(parse_size("1ib"), None);
        assert_eq!(parse_size("-1"), None);
    }
}
