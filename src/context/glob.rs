//! Go's path patterns, on bytes.
//!
//! Two dialects share one matcher. [`Glob::component`] is `filepath.Match` for one component: `*`, `?`, classes
//! and `\`. [`Glob::path`] is the dialect of ignore files (`moby/patternmatcher`), which matches a whole path
//! and adds `**`. What is a valid pattern is the same in both: what `filepath.Match` accepts.
//!
//! A pattern is compiled to a small automaton and all its states are run side by side, so matching takes time
//! in the length of pattern × name whatever the pattern is; there is no backtracking to exploit.

use std::fmt;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(crate) struct Glob {
    tokens: Vec<Token>,
    shape: Shape,
}

/// A pattern that Go's `filepath.Match` refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pattern {pattern:?} is malformed: {reason}")]
pub(crate) struct PatternError {
    /// As written; bytes that are not UTF-8 are replaced.
    pub(crate) pattern: String,
    /// What is wrong with it.
    pub(crate) reason: &'static str,
}

/// Names are matched by units: a character, or a single byte that is not part of valid UTF-8. Such bytes lie
/// above all characters, so they equal only themselves.
type Unit = u32;

const RAW_BYTE: Unit = 0x0011_0000;
const SLASH: Unit = b'/' as Unit;

#[derive(Clone, Debug)]
enum Token {
    /// Exactly this.
    Unit(Unit),
    /// `?`: anything but a slash.
    Any,
    /// `*`: any run without a slash.
    Star,
    /// `[…]`.
    Class { negated: bool, ranges: Vec<(Unit, Unit)> },
    /// `**` before more: nothing, or anything that ends in a slash. The next token is its `DirectoriesBody`.
    Directories,
    /// Inside [`Token::Directories`].
    DirectoriesBody,
    /// `**` at the end (or at the start of a suffix): anything.
    Anything,
}

/// Shapes that need no automaton.
#[derive(Clone, Debug)]
enum Shape {
    /// No wildcard.
    Exact(Vec<u8>),
    /// `**/name`.
    Below(Vec<u8>),
    /// Everything else.
    Automaton,
}

impl Glob {
    /// One path component in the syntax of Go's `filepath.Match`.
    pub(crate) fn component(pattern: &[u8]) -> Result<Self, PatternError> {
        Self::compile(pattern, false)
    }

    /// A whole path in the syntax of ignore files: as above, and `**` crosses slashes.
    pub(crate) fn path(pattern: &[u8]) -> Result<Self, PatternError> {
        Self::compile(pattern, true)
    }

    /// Whether `name` matches as a whole.
    pub(crate) fn matches(&self, name: &[u8]) -> bool {
        match &self.shape {
            Shape::Exact(exact) => name == exact,
            Shape::Below(suffix) => match name.strip_suffix(suffix.as_slice()) {
                Some(rest) => rest.is_empty() || rest.ends_with(b"/"),
                None => false,
            },
            Shape::Automaton => self.run(name, |last, set| set.contains(last)),
        }
    }

    /// Whether some path below the directory `directory` could match. Never wrong when it says no.
    pub(crate) fn may_match_below(&self, directory: &[u8]) -> bool {
        if directory.is_empty() {
            return true;
        }
        let mut prefix = directory.to_vec();
        prefix.push(b'/');
        match &self.shape {
            Shape::Exact(exact) => exact.starts_with(&prefix),
            Shape::Below(_) => true,
            Shape::Automaton => self.run(&prefix, |_, set| !set.is_empty()),
        }
    }

    fn compile(pattern: &[u8], double_star: bool) -> Result<Self, PatternError> {
        let error = |reason| PatternError { pattern: String::from_utf8_lossy(pattern).into_owned(), reason };
        let mut tokens = Vec::new();
        let mut rest = pattern;
        while let Some(first) = rest.first() {
            match first {
                b'*' if double_star && rest.get(1) == Some(&b'*') => {
                    let leading = rest.len() == pattern.len();
                    rest = &rest[2..];
                    let slash = rest.first() == Some(&b'/');
                    rest = rest.get(usize::from(slash)..).unwrap_or_default();
                    // `**name` at the start, with nothing else special, is "ends in name" to docker.
                    let suffix = leading && !slash && !rest.iter().any(|b| b"*?[]\\".contains(b));
                    if rest.is_empty() || suffix {
                        tokens.push(Token::Anything);
                    } else {
                        tokens.push(Token::Directories);
                        tokens.push(Token::DirectoriesBody);
                    }
                }
                b'*' => {
                    rest = &rest[1..];
                    if !matches!(tokens.last(), Some(Token::Star)) {
                        tokens.push(Token::Star);
                    }
                }
                b'?' => {
                    rest = &rest[1..];
                    tokens.push(Token::Any);
                }
                b'[' => {
                    let (class, after) = class(&rest[1..]).map_err(error)?;
                    tokens.push(class);
                    rest = after;
                }
                b'\\' => {
                    let (unit, after) =
                        unit(&rest[1..]).ok_or_else(|| error("nothing follows the last \\"))?;
                    tokens.push(Token::Unit(unit));
                    rest = after;
                }
                _ => {
                    let (unit, after) = unit(rest).ok_or_else(|| error("it is empty"))?;
                    tokens.push(Token::Unit(unit));
                    rest = after;
                }
            }
        }
        let shape = Shape::of(&tokens);
        Ok(Self { tokens, shape })
    }

    fn run<T>(&self, name: &[u8], decide: impl FnOnce(usize, &dyn States) -> T) -> T {
        if self.tokens.len() < 64 {
            let mut set = 0_u64;
            self.feed(name, &mut set, &mut 0_u64);
            decide(self.tokens.len(), &set)
        } else {
            let words = self.tokens.len() / 64 + 1;
            let mut set = vec![0_u64; words];
            self.feed(name, &mut set, &mut vec![0_u64; words]);
            decide(self.tokens.len(), &set)
        }
    }

    fn feed<S: States>(&self, mut name: &[u8], now: &mut S, next: &mut S) {
        self.enter(0, now);
        while let Some((unit, rest)) = unit(name) {
            name = rest;
            next.clear();
            for (position, token) in self.tokens.iter().enumerate() {
                if !now.contains(position) {
                    continue;
                }
                match token {
                    Token::Unit(wanted) if *wanted == unit => self.enter(position + 1, next),
                    Token::Any if unit != SLASH => self.enter(position + 1, next),
                    Token::Star if unit != SLASH => self.enter(position, next),
                    Token::Anything => self.enter(position, next),
                    Token::Class { negated, ranges }
                        if ranges.iter().any(|(low, high)| (*low..=*high).contains(&unit)) != *negated =>
                    {
                        self.enter(position + 1, next);
                    }
                    Token::DirectoriesBody => {
                        next.insert(position);
                        if unit == SLASH {
                            self.enter(position + 1, next);
                        }
                    }
                    _ => {}
                }
            }
            std::mem::swap(now, next);
            if now.is_empty() {
                return;
            }
        }
    }

    /// Be at `position`, and wherever that leads without reading anything.
    fn enter(&self, mut position: usize, set: &mut impl States) {
        loop {
            match self.tokens.get(position) {
                Some(Token::Star | Token::Anything) => {
                    set.insert(position);
                    position += 1;
                }
                Some(Token::Directories) => {
                    set.insert(position + 1);
                    position += 2;
                }
                _ => {
                    set.insert(position);
                    return;
                }
            }
        }
    }
}

impl Shape {
    fn of(tokens: &[Token]) -> Self {
        match tokens {
            [Token::Directories, Token::DirectoriesBody, name @ ..] => {
                literal(name).map_or(Self::Automaton, Self::Below)
            }
            all => literal(all).map_or(Self::Automaton, Self::Exact),
        }
    }
}

fn literal(tokens: &[Token]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(tokens.len());
    for token in tokens {
        let Token::Unit(unit) = token else { return None };
        match char::from_u32(*unit) {
            Some(character) => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            None => bytes.push(u8::try_from(unit.checked_sub(RAW_BYTE)?).ok()?),
        }
    }
    Some(bytes)
}

/// A class after its `[`: the token and what follows the `]`.
fn class(mut rest: &[u8]) -> Result<(Token, &[u8]), &'static str> {
    const OPEN: &str = "a [ has no ]";
    let negated = rest.first() == Some(&b'^');
    rest = &rest[usize::from(negated)..];
    let mut ranges = Vec::new();
    loop {
        if rest.first() == Some(&b']') && !ranges.is_empty() {
            return Ok((Token::Class { negated, ranges }, &rest[1..]));
        }
        let (low, after) = class_unit(rest)?;
        let (high, after) = match after.first() {
            Some(b'-') => class_unit(&after[1..])?,
            Some(_) => (low, after),
            None => return Err(OPEN),
        };
        if after.is_empty() {
            return Err(OPEN);
        }
        ranges.push((low, high));
        rest = after;
    }
}

fn class_unit(rest: &[u8]) -> Result<(Unit, &[u8]), &'static str> {
    let rest = match rest.first() {
        None => return Err("a [ has no ]"),
        Some(b'-') => return Err("a - in a class has no character before it"),
        Some(b']') => return Err("a class or a range in it is empty"),
        Some(b'\\') => &rest[1..],
        Some(_) => rest,
    };
    match unit(rest) {
        Some((unit, _)) if unit >= RAW_BYTE => Err("a class has bytes that are not UTF-8"),
        Some(found) => Ok(found),
        None => Err("a [ has no ]"),
    }
}

/// The first unit of `bytes` and the rest.
fn unit(bytes: &[u8]) -> Option<(Unit, &[u8])> {
    let first = *bytes.first()?;
    let length = match first {
        0..=0x7f => return Some((Unit::from(first), &bytes[1..])),
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    let character = bytes.get(..length).and_then(|head| std::str::from_utf8(head).ok()?.chars().next());
    Some(match character {
        Some(character) => (Unit::from(character), &bytes[length..]),
        None => (RAW_BYTE + Unit::from(first), &bytes[1..]),
    })
}

/// A set of positions.
trait States {
    fn insert(&mut self, position: usize);
    fn contains(&self, position: usize) -> bool;
    fn is_empty(&self) -> bool;
    fn clear(&mut self);
}

impl States for u64 {
    fn insert(&mut self, position: usize) {
        *self |= 1 << position;
    }

    fn contains(&self, position: usize) -> bool {
        self >> position & 1 == 1
    }

    fn is_empty(&self) -> bool {
        *self == 0
    }

    fn clear(&mut self) {
        *self = 0;
    }
}

impl States for Vec<u64> {
    fn insert(&mut self, position: usize) {
        self[position / 64] |= 1 << (position % 64);
    }

    fn contains(&self, position: usize) -> bool {
        self[position / 64] >> (position % 64) & 1 == 1
    }

    fn is_empty(&self) -> bool {
        self.iter().all(|word| *word == 0)
    }

    fn clear(&mut self) {
        self.fill(0);
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for token in &self.tokens {
            match token {
                Token::Unit(unit) => write!(f, "{}", char::from_u32(*unit).unwrap_or('\u{fffd}'))?,
                Token::Any => f.write_str("?")?,
                Token::Star => f.write_str("*")?,
                Token::Class { .. } => f.write_str("[…]")?,
                Token::Directories => f.write_str("**/")?,
                Token::DirectoriesBody => {}
                Token::Anything => f.write_str("**")?,
            }
        }
        Ok(())
    }
}

/// Whether `text` has a wildcard that is not escaped.
pub(crate) fn has_wildcard(text: &[u8]) -> bool {
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => _ = bytes.next(),
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn components_match_as_gos_filepath_match_does() {
        for (pattern, name, expected) in [
            ("main.go", "main.go", true),
            ("main.go", "mainxgo", false),
            ("*", "", true),
            ("*", ".hidden", true),
            ("*.txt", "notes.txt", true),
            ("*.txt", "notes.txt.bak", false),
            ("n*s.t?t", "notes.txt", true),
            ("?", "é", true),
            ("??", "é", false),
            ("v[0-9]", "v7", true),
            ("v[0-9]", "vx", false),
            ("v[^0-9]", "vx", true),
            ("[a-cx-z]", "y", true),
            ("[a-cx-z]", "m", false),
            ("[z-a]", "m", false),
            ("[^z-a]", "m", true),
            ("[[]x]", "[x]", true),
            ("[\\]]", "]", true),
            ("[\\-x]", "-", true),
            ("a]", "a]", true),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("a*b*c*d", "a1b2c3b4c5d", true),
            ("**", "anything", true),
            ("", "", true),
            ("", "x", false),
        ] {
            let glob = Glob::component(pattern.as_bytes()).unwrap();
            assert_eq!(glob.matches(name.as_bytes()), expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_match_themselves_and_one_wildcard() {
        let matches = |pattern: &[u8], name: &[u8]| Glob::component(pattern).unwrap().matches(name);
        assert!(matches(b"a\xffb", b"a\xffb"));
        assert!(matches(b"a?b", b"a\xffb"));
        assert!(matches(b"a*\xfe", b"a\xff\xfe"));
        assert!(!matches(b"a\xfeb", b"a\xffb"));
        assert!(matches(b"a[^x]b", b"a\xffb"));
    }

    #[test]
    fn malformed_patterns_are_refused() {
        for pattern in
            ["[", "a[", "[]", "[]a]", "[^", "[^]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[a", "x\\", "[\\"]
        {
            assert!(Glob::component(pattern.as_bytes()).is_err(), "{pattern}");
            assert!(Glob::path(pattern.as_bytes()).is_err(), "{pattern}");
        }
        assert_eq!(
            Glob::path(b"src/[a").unwrap_err().to_string(),
            "pattern \"src/[a\" is malformed: a [ has no ]"
        );
    }

    #[test]
    fn double_stars_cross_slashes_in_paths() {
        for (pattern, path, expected) in [
            ("**", "a/b", true),
            ("**/x", "x", true),
            ("**/x", "a/b/x", true),
            ("**/x", "a/bx", false),
            ("**x", "a/bx", true),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("a**", "ab/c", true),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a/**/b", "a/xb", false),
            ("a/**/*.c", "a/x/y.c", true),
            ("**/*.c", "y.c", true),
            ("**/v[0-9]/*", "a/b/v1/x", true),
            ("*.c", "a/y.c", false),
            ("a/*/c", "a/b/c", true),
            ("a/*/c", "a/b/b/c", false),
        ] {
            let glob = Glob::path(pattern.as_bytes()).unwrap();
            assert_eq!(glob.matches(path.as_bytes()), expected, "{pattern} on {path}");
        }
    }

    #[test]
    fn directories_that_cannot_hold_a_match_are_known() {
        for (pattern, directory, expected) in [
            ("a/b", "", true),
            ("a/b", "a", true),
            ("a/b", "a/b", false),
            ("a/b", "c", false),
            ("a*/b", "abc", true),
            ("a*/b", "abc/d", false),
            ("**/b", "x/y", true),
            ("a/**/b", "x", false),
            ("a/**/b", "a/y/z", true),
        ] {
            let glob = Glob::path(pattern.as_bytes()).unwrap();
            assert_eq!(glob.may_match_below(directory.as_bytes()), expected, "{pattern} below {directory}");
        }
    }

    #[test]
    fn a_pattern_made_to_be_slow_is_not() {
        let pattern = "a*".repeat(2_000);
        let glob = Glob::path(pattern.as_bytes()).unwrap();
        assert!(!glob.matches("a".repeat(1_900).as_bytes()));
    }

    proptest! {
        #[test]
        fn no_pattern_or_name_panics(pattern: Vec<u8>, name: Vec<u8>) {
            for glob in [Glob::component(&pattern), Glob::path(&pattern)].into_iter().flatten() {
                glob.matches(&name);
                glob.may_match_below(&name);
            }
        }

        #[test]
        fn wildcard_soup_does_not_panic(pattern in "[a*?\\[\\]\\\\^/!-]{0,12}", name in "[a/^-]{0,8}") {
            if let Ok(glob) = Glob::path(pattern.as_bytes()) {
                let matched = glob.matches(name.as_bytes());
                if let Some((directory, _)) = name.rsplit_once('/') {
                    prop_assert!(!matched || glob.may_match_below(directory.as_bytes()));
                }
            }
        }

        #[test]
        fn an_escaped_name_matches_exactly_itself(
            name in "[a-c*?\\[\\\\]{1,6}", other in "[a-c*?\\[\\\\]{1,6}",
        ) {
            let escaped: String = name.chars().flat_map(|c| ['\\', c]).collect();
            let glob = Glob::path(escaped.as_bytes()).unwrap();
            prop_assert!(glob.matches(name.as_bytes()));
            prop_assert_eq!(glob.matches(other.as_bytes()), name == other);
        }
    }
}
