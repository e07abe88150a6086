//! COPY and ADD.

use crate::dockerfile::{AddArgs, CopyArgs, FileArgs, FileSource as Written, Heredoc};
use crate::plan::model::{FileOp, FileOrigin, FileSource, Op};
use crate::plan::scan::Sourced;
use crate::text::Diagnostic;

use super::Lowering;

impl Lowering<'_> {
    pub(super) fn copy(&mut self, copy: &CopyArgs, sourced: &Sourced) -> (Op, String) {
        let origin = self.stages.origins(self.stage, sourced, &mut Vec::new()).remove(0);
        let from = copy.from.as_ref().map(|word| format!("--from={}", word.text));
        let mut op = self.files(&copy.files, origin);
        op.parents = copy.parents;
        let line = history("COPY", from, &copy.files, &op);
        (Op::Files(Box::new(op)), line)
    }

    pub(super) fn add(&mut self, add: &AddArgs, _sourced: &Sourced) -> (Op, String) {
        let mut op = self.files(&add.files, FileOrigin::Context(None));
        op.unpack = add.unpack.unwrap_or(true);
        for (source, written) in op.sources.iter().zip(&add.files.sources) {
            if let (FileSource::Path(path), Written::Path(word)) = (source, written)
                && let Some(kind) = remote_kind(path)
            {
                let finding = Diagnostic::error(
                    "unsupported-add",
                    format!("ADD from {kind} is not supported yet: `{path}`"),
                );
                self.diagnostics
                    .push(finding.at(word.span).help("download it in a RUN, or before the build"));
            }
        }
        let flags = [
            add.checksum.as_ref().map(|word| ("--checksum", word.span)),
            add.keep_git_dir.map(|_| ("--keep-git-dir", sourced_span(add))),
        ];
        for (flag, span) in flags.into_iter().flatten() {
            let finding = Diagnostic::error(
                "unsupported-flag",
                format!("ADD {flag} is for URLs and git, which are not supported yet"),
            );
            self.diagnostics.push(finding.at(span));
        }
        let line = history("ADD", None, &add.files, &op);
        (Op::Files(Box::new(op)), line)
    }

    fn files(&mut self, args: &FileArgs, origin: FileOrigin) -> FileOp {
        let variables = self.state.variables.clone();
        let sources = args
            .sources
            .iter()
            .map(|source| match source {
                Written::Path(word) => FileSource::Path(self.expander().text(word, &variables)),
                Written::Heredoc(heredoc) => self.inline(heredoc),
            })
            .collect();
        let mut expander = self.expander();
        let mut flag = |word: &Option<crate::dockerfile::Word>| {
            word.as_ref().map(|word| expander.text(word, &variables))
        };
        let (chown, chmod) = (flag(&args.chown), flag(&args.chmod));
        let exclude = args.exclude.iter().map(|word| self.expander().text(word, &variables)).collect();
        let dest = self.expander().text(&args.dest, &variables);
        if dest.is_empty() {
            self.refuse("empty-destination", "the destination is empty once it is expanded", &args.dest);
        }
        FileOp {
            sources,
            origin,
            dest,
            workdir: self.state.config.config.working_dir.clone(),
            chown: chown.filter(|text| !text.is_empty()),
            chmod: chmod.filter(|text| !text.is_empty()),
            link: args.link,
            parents: false,
            exclude,
            unpack: false,
        }
    }

    fn inline(&mut self, heredoc: &Heredoc) -> FileSource {
        let content = heredoc.content();
        let content = if heredoc.expand {
            let variables = self.state.variables.clone();
            self.expander().body(&content, heredoc.span, &variables)
        } else {
            content
        };
        FileSource::Inline { name: heredoc.name.clone(), content: content.into_bytes().into() }
    }
}

fn sourced_span(add: &AddArgs) -> crate::text::Span {
    add.files.dest.span
}

/// What a source of ADD is when it is not a path of the context.
fn remote_kind(source: &str) -> Option<&'static str> {
    let git = source.starts_with("git@")
        || source.starts_with("git://")
        || source.starts_with("ssh://")
        || source.split(['#', '?']).next().is_some_and(|url| url.ends_with(".git") && url.contains("://"));
    match source {
        _ if git => Some("a git repository"),
        _ if source.starts_with("http://") || source.starts_with("https://") => Some("a URL"),
        _ => None,
    }
}

fn history(keyword: &str, from: Option<String>, args: &FileArgs, op: &FileOp) -> String {
    let mut words = vec![keyword.to_owned()];
    words.extend(from);
    words.extend(op.chown.as_ref().map(|owner| format!("--chown={owner}")));
    words.extend(op.chmod.as_ref().map(|mode| format!("--chmod={mode}")));
    words.extend(op.link.then(|| "--link".to_owned()));
    words.extend(op.parents.then(|| "--parents".to_owned()));
    words.extend(op.exclude.iter().map(|pattern| format!("--exclude={pattern}")));
    for source in &op.sources {
        words.push(match source {
            FileSource::Path(path) => path.clone(),
            FileSource::Inline { name, .. } => format!("<<{name}"),
        });
    }
    debug_assert_eq!(args.sources.len(), op.sources.len());
    words.push(op.dest.clone());
    words.join(" ")
}
