//! The library's readers of foreign text, each as a function of any bytes: what the fuzz targets in `tests/fuzz` call.
//!
//! A function here panics when the reader does, and when what it read contradicts itself: that is a fault of the reader.
//! Some of the readers are private; this is the one way to them from outside, and no part of the library's interface.

use crate::context::{IgnoreFile, SourcePattern};
use crate::dockerfile::{self, Quotes};
use crate::oci::{Platform, Reference, RegistryHost, Repository};
use crate::text::{Diagnostic, Source};
use crate::tree::ImagePath;
use crate::{CheckRequest, check};

/// A Dockerfile, or an ONBUILD trigger: parsed, its findings drawn, printed as JSON.
pub fn parse(bytes: &[u8]) {
    let source = Source::from_bytes("Dockerfile", bytes.to_vec());
    let parsed = dockerfile::parse(&source);
    draw(&parsed.diagnostics, &source);
    assert!(!parsed.to_json().to_string().is_empty());
    for instruction in &parsed.file.instructions {
        assert!(instruction.doc_comment("stage").is_none_or(|text| text.len() <= source.text().len()));
    }
    if let Err(diagnostics) = dockerfile::parse_trigger(source.text()) {
        draw(&diagnostics, &Source::new("ONBUILD", source.text()));
    }
}

/// A Dockerfile, judged as by `check`: scanned, lowered and held against every rule.
pub fn judge(bytes: &[u8]) {
    let mut request = CheckRequest::new(Source::from_bytes("Dockerfile", bytes.to_vec()));
    request.ignore = Some(Source::new(".dockerignore", "*.log\n!keep.log\n"));
    let report = check(&request);
    draw(&report.diagnostics, report.source());
}

/// The first line is the value that variables have, the rest is a word: expanded in every way.
pub fn expand(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (value, word) = text.split_once('\n').unwrap_or(("", &text));
    // Names of one byte are unset, those of two are empty.
    let lookup = |name: &str| match name.len() {
        1 => None,
        2 => Some(String::new()),
        _ => Some(value.to_owned()),
    };
    for escape in ['\\', '`'] {
        let whole = dockerfile::expand(word, escape, &lookup, Quotes::Remove);
        let split = dockerfile::expand_words(word, escape, &lookup);
        match (whole, split) {
            (Ok(whole), Ok(split)) => {
                assert_eq!((whole.unset, whole.defaulted), (split.unset, split.defaulted));
            }
            (Err(whole), Err(split)) => assert_eq!(whole.to_string(), split.to_string()),
            _ => panic!("{word:?} is refused by one way of expansion alone"),
        }
        if let Err(error) = dockerfile::expand(word, escape, &lookup, Quotes::Keep) {
            assert!(!error.to_string().is_empty());
        }
    }
}

/// The last line is a path, those before it are an ignore file, or the patterns of `--exclude`, or sources of COPY.
pub fn ignore(bytes: &[u8]) {
    let (file, path) = match bytes.iter().rposition(|byte| *byte == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &b"a/b"[..]),
    };
    let path = ImagePath::clamped(path);
    let text = String::from_utf8_lossy(file);
    let rules =
        [IgnoreFile::parse(".dockerignore", file), IgnoreFile::from_patterns("--exclude", text.lines())];
    for rules in rules {
        match rules {
            Ok(rules) => agree(&rules, &path),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    for line in text.lines() {
        for parents in [false, true] {
            match SourcePattern::parse(line, parents) {
                Ok(pattern) => assert_eq!(pattern.text(), line),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    }
}

/// What the walk is told step by step must be what is true of the path as a whole.
fn agree(rules: &IgnoreFile, path: &ImagePath) {
    let excluded = rules.excluded(path);
    assert_eq!(rules.why_excluded(path).is_some(), excluded, "the reason for {path:?}");
    if path.is_root() {
        return;
    }
    let mut verdict = rules.root();
    for directory in path.ancestors().iter().filter(|directory| !directory.is_root()) {
        verdict = rules.child(&verdict, directory);
        let is_read = !verdict.excluded || rules.may_contain_reincluded(directory);
        assert!(excluded || is_read, "{path:?} is kept, but {directory:?} would not be read");
    }
    assert_eq!(rules.excludes(&verdict, path), excluded, "{path:?} step by step and as a whole");
}

/// A reference, a repository, a registry or a platform: what is accepted is written so that it is read again as the same.
pub fn reference(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match text.parse::<Reference>() {
        Ok(reference) => {
            let again = reference.to_string().parse::<Reference>().ok();
            let repository = again.as_ref().map(|again| &again.repository);
            assert_eq!(repository, Some(&reference.repository), "{text:?} written and read again");
            assert_eq!(again.map(|again| again.selector()), Some(reference.selector()));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Ok(repository) = text.parse::<Repository>() {
        assert_eq!(repository.to_string().parse().as_ref(), Ok(&repository));
        assert!(repository.host().is_loopback() || !repository.host().name().is_empty());
    }
    if let Ok(host) = text.parse::<RegistryHost>() {
        assert_eq!(host.as_str().parse().as_ref(), Ok(&host));
        assert!(!host.name().is_empty());
    }
    if let Ok(platform) = text.parse::<Platform>() {
        assert_eq!(platform.to_string().parse::<Platform>().ok(), Some(platform));
    }
}

fn draw(diagnostics: &[Diagnostic], source: &Source) {
    for diagnostic in diagnostics {
        let drawn = diagnostic.render_plain(source);
        assert!(drawn.ends_with('\n') && !drawn.contains('\x1b'));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Every seed, and whatever once was found, through its target.
    fn seeds(target: &str, read: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/fuzz").join(target);
        let mut seeds = 0;
        for entry in fs::read_dir(&folder).unwrap() {
            read(&fs::read(entry.unwrap().path()).unwrap());
            seeds += 1;
        }
        assert!(seeds > 0, "{} has no seeds", folder.display());
    }

    #[test]
    fn seeds_are_read_without_a_fault() {
        seeds("parse", parse);
        seeds("judge", judge);
        seeds("expand", expand);
        seeds("ignore", ignore);
        seeds("reference", reference);
    }
}
