//! COPY and ADD.

use crate::dockerfile::{AddArgs, CopyArgs, FileArgs, FileSource as Written, Heredoc, Word};
use crate::plan::model::{FileOp, FileOrigin, FileSource, Op};
use crate::plan::scan::Sourced;
use crate::text::{Diagnostic, without_userinfo};

use super::Lowering;
use super::remote::{Remote, remote};

impl Lowering<'_> {
    pub(super) fn copy(&mut self, copy: &CopyArgs, sourced: &Sourced) -> (Op, String) {
        let origin = self.origins(sourced).remove(0);
        let mut op = self.files(&copy.files, origin);
        op.parents = copy.parents;
        for (path, word) in paths(&op, &copy.files) {
            if remote(path) != Ok(None) {
                let finding = Diagnostic::error(
                    "remote-copy",
                    format!("COPY can not fetch `{}`", without_userinfo(path)),
                );
                self.diagnostics.push(finding.at(word.span).help("ADD can"));
            }
        }
        let line = history("COPY", &op);
        (Op::Files(Box::new(op)), line)
    }

    pub(super) fn add(&mut self, add: &AddArgs) -> (Op, String) {
        let mut op = self.files(&add.files, FileOrigin::Context(None));
        op.unpack = add.unpack.unwrap_or(true);
        let checksum = self.optional(add.checksum.as_ref()).filter(|checksum| !checksum.is_empty());
        let flags = RemoteFlags { checksum, keep_git_dir: add.keep_git_dir, unpack: add.unpack };
        for index in 0..op.sources.len() {
            if let (FileSource::Path(path), Written::Path(word)) =
                (&op.sources[index], &add.files.sources[index])
                && let Some(source) = self.remote_source(path, word, &flags)
            {
                op.sources[index] = source;
            }
        }
        if let (Some(word), Some(_)) = (&add.checksum, &flags.checksum) {
            self.check_checksum(&op, word);
        }
        let line = history("ADD", &op);
        (Op::Files(Box::new(op)), line)
    }

    /// What `path` is when it is not in the context.
    fn remote_source(&mut self, path: &str, word: &Word, flags: &RemoteFlags) -> Option<FileSource> {
        let found = match remote(path) {
            Ok(found) => found?,
            Err(error) => {
                self.refuse("bad-source", &format!("`{}`: {error}", without_userinfo(path)), word);
                return None;
            }
        };
        let (kind, supported) = match found {
            Remote::Url => ("a URL", self.settings.remotes.url),
            Remote::Git(_) => ("a git repository", self.settings.remotes.git),
        };
        if !supported {
            let message = format!("ADD from {kind} is not supported yet: `{}`", without_userinfo(path));
            let finding = Diagnostic::error("unsupported-add", message).at(word.span);
            self.diagnostics.push(finding.help("download it in a RUN, or before the build"));
        }
        Some(match found {
            Remote::Url => FileSource::Url {
                url: path.to_owned(),
                checksum: flags.checksum.clone(),
                unpack: flags.unpack.unwrap_or(false),
            },
            Remote::Git(git) => {
                if let (Some(flag), Some(own)) = (&flags.checksum, &git.checksum)
                    && flag != own
                {
                    let message = format!("--checksum={flag} and the checksum {own} in the source differ");
                    self.refuse("bad-checksum", &message, word);
                }
                FileSource::Git {
                    checksum: flags.checksum.clone().or(git.checksum),
                    keep_git_dir: flags.keep_git_dir.or(git.keep_git_dir).unwrap_or(false),
                    submodules: git.submodules.unwrap_or(true),
                    remote: git.remote,
                    reference: git.reference,
                    subdir: git.subdir,
                }
            }
        })
    }

    /// A checksum is of one thing that is fetched, in the form that such a thing has.
    fn check_checksum(&mut self, op: &FileOp, word: &Word) {
        let message = match op.sources.as_slice() {
            [FileSource::Url { checksum, .. }] => {
                let valid = checksum.as_deref().is_none_or(is_sha256);
                (!valid).then_some("the checksum of a URL is written `sha256:` and 64 hexadecimal digits")
            }
            [FileSource::Git { checksum, .. }] => {
                let valid = checksum.as_deref().is_none_or(is_commit);
                (!valid).then_some("the checksum of a git source is a commit: 7 to 64 hexadecimal digits")
            }
            [_] => Some("--checksum is for URLs and git repositories"),
            _ => Some("--checksum is for one source, not for several"),
        };
        if let Some(message) = message {
            self.refuse("bad-checksum", message, word);
        }
    }

    fn files(&mut self, args: &FileArgs, origin: FileOrigin) -> FileOp {
        let sources = args.sources.iter().map(|source| match source {
            Written::Path(word) => FileSource::Path(self.text(word)),
            Written::Heredoc(heredoc) => self.inline(heredoc),
        });
        let sources = sources.collect();
        let chown = self.optional(args.chown.as_ref()).filter(|text| !text.is_empty());
        let chmod = self.optional(args.chmod.as_ref()).filter(|text| !text.is_empty());
        let exclude = args.exclude.iter().map(|word| self.text(word)).collect();
        let mut dest = self.text(&args.dest);
        if dest.is_empty() {
            // The empty path is WORKDIR.
            dest.push('.');
        }
        FileOp {
            sources,
            origin,
            dest,
            workdir: self.state.config.config.working_dir.clone(),
            chown,
            chmod,
            link: args.link,
            parents: false,
            exclude,
            unpack: false,
        }
    }

    fn inline(&mut self, heredoc: &Heredoc) -> FileSource {
        let mut content = heredoc.content();
        if heredoc.expand {
            let (mut expander, variables) = self.expander();
            content = expander.body(&content, heredoc.span, variables);
        }
        FileSource::Inline { name: heredoc.name.clone(), content: content.into_bytes().into() }
    }

    /// What an instruction reads besides its own stage. The scan has reported what is wrong with those of
    /// the file itself; triggers of base images are seen here for the first time.
    pub(super) fn origins(&mut self, sourced: &Sourced) -> Vec<FileOrigin> {
        let mut ignored = Vec::new();
        let findings = if sourced.trigger { &mut *self.diagnostics } else { &mut ignored };
        self.stages.origins(self.stage, sourced, findings)
    }
}

/// Flags of ADD that concern what is fetched.
struct RemoteFlags {
    checksum: Option<String>,
    keep_git_dir: Option<bool>,
    unpack: Option<bool>,
}

/// The paths among the sources, and the words that they were.
fn paths<'a>(op: &'a FileOp, args: &'a FileArgs) -> impl Iterator<Item = (&'a str, &'a Word)> {
    op.sources.iter().zip(&args.sources).filter_map(|pair| match pair {
        (FileSource::Path(path), Written::Path(word)) => Some((path.as_str(), word)),
        _ => None,
    })
}

fn is_sha256(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && is_hex(hex))
}

fn is_commit(text: &str) -> bool {
    (7..=64).contains(&text.len()) && is_hex(text)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'))
}

/// `COPY --chown=1:1 a b /dest/`. Where the files come from is no part of it.
fn history(keyword: &str, op: &FileOp) -> String {
    let mut words = vec![keyword.to_owned()];
    words.extend(op.chown.as_ref().map(|owner| format!("--chown={owner}")));
    words.extend(op.chmod.as_ref().map(|mode| format!("--chmod={mode}")));
    words.extend(op.link.then(|| "--link".to_owned()));
    words.extend(op.parents.then(|| "--parents".to_owned()));
    words.extend(op.exclude.iter().map(|pattern| format!("--exclude={pattern}")));
    for source in &op.sources {
        words.push(match source {
            FileSource::Path(path) => path.clone(),
            FileSource::Inline { name, .. } => format!("<<{name}"),
            FileSource::Url { url, .. } => without_userinfo(url).into_owned(),
            FileSource::Git { remote, reference, subdir, .. } => {
                let remote = without_userinfo(remote);
                let reference = reference.as_deref().unwrap_or_default();
                match subdir {
                    Some(subdir) => format!("{remote}#{reference}:{subdir}"),
                    None if reference.is_empty() => remote.into_owned(),
                    None => format!("{remote}#{reference}"),
                }
            }
        });
    }
    words.push(op.dest.clone());
    words.join(" ")
}
