//! `.dockerignore` files, and the patterns of `--exclude`.
//!
//! These are not `.gitignore` rules: patterns are anchored at the context's root, the last rule that matches
//! decides, and a rule that matches a directory matches all below it. The details are those of
//! `moby/patternmatcher` as BuildKit drives it while walking: whether a rule matched a directory is handed
//! down, and a `!` rule that had nothing to re-include at a directory is tried again at each path below it by
//! that path alone. (So `**/*.log` and `!keep` still exclude `keep/a.log`.)

use crate::tree::ImagePath;

use super::glob::{Glob, PatternError};

/// Rules that say which paths are left out. The default leaves out nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct IgnoreFile {
    name: String,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    glob: Glob,
    /// `!`: what matches is kept after all.
    keep: bool,
    /// From 1.
    line: usize,
    /// As written.
    text: String,
}

/// What the rules say of a directory; needed to judge what is in it.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    /// Whether the directory is left out.
    pub(crate) excluded: bool,
    /// Which rules matched it or a directory above it.
    matched: Vec<bool>,
}

/// An ignore file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}:{line}: {problem}")]
pub(crate) struct IgnoreError {
    /// The file, or the flag.
    pub(crate) name: String,
    /// From 1.
    pub(crate) line: usize,
    /// What is wrong.
    pub(crate) problem: IgnoreProblem,
}

/// What is wrong with a line of an ignore file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IgnoreProblem {
    /// A malformed pattern.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// A `!` with nothing after it.
    #[error("a pattern must follow the \"!\"")]
    LoneExclamation,
}

impl IgnoreFile {
    /// Parse a file. `name` is for messages.
    pub(crate) fn parse(name: &str, text: &[u8]) -> Result<Self, IgnoreError> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let mut rules = Vec::new();
        for (index, line) in text.split(|b| *b == b'\n').enumerate() {
            // A comment is known by its first column, before anything is trimmed.
            if line.first() != Some(&b'#') {
                rules.extend(Rule::parse(name, index + 1, line)?);
            }
        }
        Ok(Self { name: name.to_owned(), rules })
    }

    /// The patterns of a flag, in order. `name` is the flag. A `#` is not special here.
    pub(crate) fn from_patterns<'a>(
        name: &str,
        patterns: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, IgnoreError> {
        let mut rules = Vec::new();
        for (index, pattern) in patterns.into_iter().enumerate() {
            rules.extend(Rule::parse(name, index + 1, pattern.as_bytes())?);
        }
        Ok(Self { name: name.to_owned(), rules })
    }

    /// Whether nothing is left out.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether `path` is left out.
    pub(crate) fn excluded(&self, path: &ImagePath) -> bool {
        self.verdict(path).excluded
    }

    /// The rule that decides over `path`, as `file:line: pattern`; `None` when `path` is not left out.
    pub(crate) fn why_excluded(&self, path: &ImagePath) -> Option<String> {
        let verdict = self.verdict(path);
        let decided =
            self.rules.iter().zip(&verdict.matched).rev().find(|(rule, matched)| **matched && !rule.keep);
        let (rule, _) = decided.filter(|_| verdict.excluded)?;
        Some(format!("{}:{}: {}", self.name, rule.line, rule.text))
    }

    /// Whether something below the left-out directory `directory` could be kept by a `!` rule. When not, the
    /// directory need not be read.
    pub(crate) fn may_contain_reincluded(&self, directory: &ImagePath) -> bool {
        self.rules.iter().any(|rule| rule.keep && rule.glob.may_match_below(directory.as_bytes()))
    }

    /// The verdict over the root, which is never left out.
    pub(crate) fn root(&self) -> Verdict {
        Verdict { excluded: false, matched: vec![false; self.rules.len()] }
    }

    /// The verdict over `path`, which is directly in the directory that `parent` is about.
    pub(crate) fn child(&self, parent: &Verdict, path: &ImagePath) -> Verdict {
        let mut verdict = self.root();
        verdict.excluded = self.judge(parent, path, |index| verdict.matched[index] = true);
        verdict
    }

    /// Whether `path`, which is directly in the directory that `parent` is about, is left out. As
    /// [`Self::child`], for what is no directory.
    pub(crate) fn excludes(&self, parent: &Verdict, path: &ImagePath) -> bool {
        self.judge(parent, path, |_| {})
    }

    fn judge(&self, parent: &Verdict, path: &ImagePath, mut matched: impl FnMut(usize)) -> bool {
        let mut excluded = false;
        for (index, rule) in self.rules.iter().enumerate() {
            // Above the rule matched already; else it is asked only when it could change the verdict.
            if parent.matched[index] || (rule.keep == excluded && rule.glob.matches(path.as_bytes())) {
                matched(index);
                excluded = !rule.keep;
            }
        }
        excluded
    }

    fn verdict(&self, path: &ImagePath) -> Verdict {
        path.ancestors()
            .iter()
            .skip(1)
            .chain((!path.is_root()).then_some(path))
            .fold(self.root(), |parent, path| self.child(&parent, path))
    }
}

impl Rule {
    fn parse(name: &str, line: usize, written: &[u8]) -> Result<Option<Self>, IgnoreError> {
        let error = |problem| IgnoreError { name: name.to_owned(), line, problem };
        let text = trim(written);
        let (keep, pattern) = match text.strip_prefix(b"!") {
            Some(rest) => (true, trim(rest)),
            None => (false, text),
        };
        if pattern.is_empty() {
            return if keep { Err(error(IgnoreProblem::LoneExclamation)) } else { Ok(None) };
        }
        let pattern = clean(pattern);
        // A leading slash says what is so anyway.
        let pattern = match pattern.as_slice() {
            [b'/', rest @ ..] if !rest.is_empty() => rest,
            all => all,
        };
        let glob = Glob::path(pattern).map_err(|problem| error(problem.into()))?;
        Ok(Some(Self { glob, keep, line, text: String::from_utf8_lossy(text).into_owned() }))
    }
}

fn trim(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.trim().as_bytes(),
        Err(_) => bytes.trim_ascii(),
    }
}

/// Go's `filepath.Clean`: no empty or `.` components, `..` takes back what is before it.
pub(super) fn clean(path: &[u8]) -> Vec<u8> {
    let rooted = path.first() == Some(&b'/');
    let mut kept: Vec<&[u8]> = Vec::new();
    for component in path.split(|b| *b == b'/') {
        match component {
            b"" | b"." => {}
            b".." => match kept.last() {
                Some(last) if *last != b".." => _ = kept.pop(),
                _ if rooted => {}
                _ => kept.push(component),
            },
            name => kept.push(name),
        }
    }
    let mut cleaned = if rooted { b"/".to_vec() } else { Vec::new() };
    cleaned.extend(kept.join(&b'/'));
    if cleaned.is_empty() { b".".to_vec() } else { cleaned }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn excluded(text: &str, path: &str) -> bool {
        IgnoreFile::parse(".dockerignore", text.as_bytes()).unwrap().excluded(&ImagePath::clamped(path))
    }

    #[test]
    fn patterns_are_anchored_at_the_root_and_cleaned() {
        for (text, path, expected) in [
            ("build", "build", true),
            ("build", "sub/build", false),
            ("**/build", "sub/build", true),
            ("/build", "build", true),
            ("./build/", "build", true),
            ("a//b/../c", "a/c", true),
            ("../build", "build", false),
            ("/", "build", false),
            (".", "build", false),
            ("..", "build", false),
            ("*", "build", true),
            ("*", ".git", true),
            ("*/*.o", "src/a.o", true),
            ("*/*.o", "a.o", false),
            ("**/*.o", "a.o", true),
            ("**", "any/thing", true),
            ("src/**/test", "src/test", true),
            ("src/**/test", "src/a/b/test", true),
        ] {
            assert_eq!(excluded(text, path), expected, "{text} on {path}");
        }
    }

    #[test]
    fn what_matches_a_directory_matches_all_below_it() {
        assert!(excluded("node_modules", "node_modules/a/b.js"));
        assert!(excluded("a/*", "a/b/c/d"));
        assert!(!excluded("a/*.c", "a/b/x.c"));
    }

    #[test]
    fn the_last_rule_that_matches_decides() {
        let text = "docs\n!docs/keep\ndocs/keep/*.tmp\n";
        assert!(excluded(text, "docs/other"));
        assert!(!excluded(text, "docs/keep"));
        assert!(!excluded(text, "docs/keep/a.md"));
        assert!(excluded(text, "docs/keep/a.tmp"));
        assert!(!excluded("*\n!src\n", "src/main.c"));
        assert!(excluded("!src\n*\n", "src/main.c"));
        assert!(!excluded("**\n!a/b\n", "a/b/c"));
    }

    #[test]
    fn a_rule_that_kept_nothing_at_a_directory_keeps_nothing_below_it() {
        assert!(excluded("**/*.log\n!keep\n", "keep/a.log"));
        assert!(!excluded("**/*.log\n!keep/*.log\n", "keep/a.log"));
    }

    #[test]
    fn comments_blanks_spaces_and_byte_order_marks() {
        let text = "\u{feff}first\r\n# first comment\n\n   \n  second  \n #third\n! kept \nk*\n! kept\n";
        assert!(excluded(text, "first"));
        assert!(excluded(text, "second"));
        assert!(!excluded(text, "# first comment"));
        assert!(excluded(text, "#third"));
        assert!(excluded(text, "k"));
        assert!(!excluded(text, "kept"));
    }

    #[test]
    fn escapes_and_classes_as_in_go() {
        assert!(excluded("\\#name", "#name"));
        assert!(excluded("\\!name", "!name"));
        assert!(excluded("a\\*", "a*"));
        assert!(!excluded("a\\*", "ab"));
        assert!(excluded("v[0-9]", "v3"));
        assert!(excluded("v[^0-9]", "vx"));
    }

    #[test]
    fn malformed_lines_are_refused_with_their_place() {
        let error = |text: &str| IgnoreFile::parse(".dockerignore", text.as_bytes()).unwrap_err().to_string();
        assert_eq!(error("ok\n\nsrc/[a\n"), ".dockerignore:3: pattern \"src/[a\" is malformed: a [ has no ]");
        assert_eq!(error("! \n"), ".dockerignore:1: a pattern must follow the \"!\"");
    }

    #[test]
    fn the_deciding_rule_is_named() {
        let ignore = IgnoreFile::parse("app.dockerignore", b"# c\n*.log\n!a.log\nsub\n").unwrap();
        let why = |path: &str| ignore.why_excluded(&ImagePath::clamped(path));
        assert_eq!(why("b.log").unwrap(), "app.dockerignore:2: *.log");
        assert_eq!(why("sub/x").unwrap(), "app.dockerignore:4: sub");
        assert_eq!(why("a.log"), None);
        assert_eq!(why("other"), None);
    }

    #[test]
    fn left_out_directories_are_read_only_for_exceptions() {
        let ignore = IgnoreFile::parse("", b"*\n!src/lib\n!**/x.h\n").unwrap();
        let plain = IgnoreFile::parse("", b"*\n!src/lib/*.c\n").unwrap();
        let may = |ignore: &IgnoreFile, path: &str| ignore.may_contain_reincluded(&ImagePath::clamped(path));
        assert!(may(&ignore, "any/where"));
        assert!(may(&plain, "src"));
        assert!(may(&plain, "src/lib"));
        assert!(!may(&plain, "src/bin"));
        assert!(!may(&plain, "target"));
    }

    #[test]
    fn flag_patterns_have_no_comments() {
        let exclude = IgnoreFile::from_patterns("--exclude", ["#a", "*.md", "!README.md"]).unwrap();
        assert!(exclude.excluded(&ImagePath::clamped("#a")));
        assert!(exclude.excluded(&ImagePath::clamped("x.md")));
        assert!(!exclude.excluded(&ImagePath::clamped("README.md")));
        assert!(IgnoreFile::from_patterns("--exclude", ["["]).is_err());
    }

    proptest! {
        #[test]
        fn no_file_or_path_panics(text: Vec<u8>, path: Vec<u8>) {
            if let Ok(ignore) = IgnoreFile::parse("", &text) {
                let path = ImagePath::clamped(&path);
                prop_assert_eq!(ignore.why_excluded(&path).is_some(), ignore.excluded(&path));
                ignore.may_contain_reincluded(&path);
            }
        }

        #[test]
        fn a_pruned_directory_holds_nothing_that_is_kept(
            text in "([!]?[ab*/]{1,5}\n){0,4}", directory in "[ab]{1,2}", below in "[ab]{1,2}(/[ab])?",
        ) {
            if let Ok(ignore) = IgnoreFile::parse("", text.as_bytes()) {
                let directory = ImagePath::clamped(&directory);
                if ignore.excluded(&directory) && !ignore.may_contain_reincluded(&directory) {
                    prop_assert!(ignore.excluded(&directory.join_clamped(&below)));
                }
            }
        }
    }
}
