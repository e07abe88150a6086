//! Patterns of `${v#p}`, `${v%p}` and `${v/p/r}`.
//!
//! `*` stands for any characters and `?` for one, neither for a line end; brackets mean themselves. `\*`, `\?` and `\\`
//! are literal; `\}` and `\/` lose the backslash, which only kept the `${…}` together; any other escape is an error.

/// A compiled pattern.
#[derive(Debug)]
pub(super) struct Pattern(Vec<Token>);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token {
    Char(char),
    One,
    Many,
}

impl Pattern {
    /// Compiles `text`; the error is the escape that means nothing (a lone `\` at the end: empty).
    pub(super) fn new(text: &str) -> Result<Pattern, String> {
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' => Token::Many,
                '?' => Token::One,
                '\\' => match chars.next() {
                    Some(c @ ('*' | '?' | '\\' | '}' | '/')) => Token::Char(c),
                    Some(c) => return Err(c.to_string()),
                    None => return Err(String::new()),
                },
                c => Token::Char(c),
            });
        }
        // Neighbouring stars say no more than one and cost a state each.
        tokens.dedup_by(|a, b| *a == Token::Many && *b == Token::Many);
        Ok(Pattern(tokens))
    }

    /// `value` without its shortest or longest beginning that matches.
    pub(super) fn trim_start(&self, value: &str, longest: bool) -> String {
        let chars: Vec<char> = value.chars().collect();
        let end = matched(&self.0, &chars, longest).unwrap_or(0);
        chars[end..].iter().collect()
    }

    /// `value` without its shortest or longest end that matches.
    pub(super) fn trim_end(&self, value: &str, longest: bool) -> String {
        let tokens: Vec<Token> = self.0.iter().rev().copied().collect();
        let chars: Vec<char> = value.chars().rev().collect();
        let end = matched(&tokens, &chars, longest).unwrap_or(0);
        chars[end..].iter().rev().collect()
    }

    /// `value` with the first match, or all, replaced; matches are the leftmost and longest. `None` when the result is
    /// longer than `room` bytes.
    pub(super) fn replace(&self, value: &str, replacement: &str, all: bool, room: usize) -> Option<String> {
        let chars: Vec<char> = value.chars().collect();
        let mut out = String::new();
        let mut at = 0;
        let mut last_end = None;
        while let Some((start, end)) = find(&self.0, &chars, at) {
            // An empty match directly behind a match is no match of its own.
            if start < end || last_end != Some(start) {
                out.extend(&chars[at..start]);
                out.push_str(replacement);
                if out.len() > room {
                    return None;
                }
                at = end;
                last_end = Some(end);
            }
            if start == end && all {
                out.extend(chars.get(at));
                at += 1;
            }
            if !all || at > chars.len() {
                break;
            }
        }
        out.extend(chars.get(at..).unwrap_or_default());
        Some(out).filter(|out| out.len() <= room)
    }
}

/// The leftmost match in `value` that begins at `from` or later, the longest of those: its begin and end. Each place in
/// the pattern remembers the leftmost beginning that leads there, so that all beginnings are tried in one pass.
fn find(tokens: &[Token], value: &[char], from: usize) -> Option<(usize, usize)> {
    let mut states: Vec<Option<usize>> = vec![None; tokens.len() + 1];
    let mut next = states.clone();
    let mut best: Option<(usize, usize)> = None;
    for at in from..=value.len() {
        if best.is_none() {
            states[0] = states[0].or(Some(at));
        }
        for (index, token) in tokens.iter().enumerate() {
            if *token == Token::Many {
                states[index + 1] = leftmost(states[index + 1], states[index]);
            }
        }
        // Beginnings only ever get more: what is found first is the leftmost, or is replaced by one further left.
        if let Some(start) = states[tokens.len()]
            && best.is_none_or(|(found, _)| start <= found)
        {
            best = Some((start, at));
        }
        let Some(c) = value.get(at) else { break };
        next.fill(None);
        let mut alive = false;
        for (index, token) in tokens.iter().enumerate() {
            let Some(start) = states[index].filter(|start| best.is_none_or(|(found, _)| *start <= found))
            else {
                continue;
            };
            let target = match token {
                Token::Char(wanted) if wanted == c => index + 1,
                Token::One if *c != '\n' => index + 1,
                Token::Many if *c != '\n' => index,
                _ => continue,
            };
            next[target] = leftmost(next[target], Some(start));
            alive = true;
        }
        if !alive && best.is_some() {
            break;
        }
        std::mem::swap(&mut states, &mut next);
    }
    best
}

fn leftmost(a: Option<usize>, b: Option<usize>) -> Option<usize> {
    a.into_iter().chain(b).min()
}

/// How many characters at the beginning of `value` match: the fewest or the most. Keeps the set of places in the
/// pattern that are reachable, so the time is bounded by pattern × value whatever the stars.
fn matched(tokens: &[Token], value: &[char], longest: bool) -> Option<usize> {
    let mut states = vec![false; tokens.len() + 1];
    let mut next = states.clone();
    states[0] = true;
    skip_stars(tokens, &mut states);
    let mut best = None;
    for at in 0..=value.len() {
        if states[tokens.len()] {
            best = Some(at);
            if !longest {
                return best;
            }
        }
        let Some(c) = value.get(at) else { break };
        next.fill(false);
        let mut alive = false;
        for (index, token) in tokens.iter().enumerate() {
            if !states[index] {
                continue;
            }
            let target = match token {
                Token::Char(wanted) if wanted == c => index + 1,
                Token::One if *c != '\n' => index + 1,
                Token::Many if *c != '\n' => index,
                _ => continue,
            };
            next[target] = true;
            alive = true;
        }
        if !alive {
            break;
        }
        skip_stars(tokens, &mut next);
        std::mem::swap(&mut states, &mut next);
    }
    best
}

/// A star may stand for nothing.
fn skip_stars(tokens: &[Token], states: &mut [bool]) {
    for (index, token) in tokens.iter().enumerate() {
        if states[index] && *token == Token::Many {
            states[index + 1] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text).unwrap()
    }

    fn replaced(text: &str, value: &str, replacement: &str, all: bool) -> String {
        pattern(text).replace(value, replacement, all, 1_000).unwrap()
    }

    #[test]
    fn the_beginning_goes_shortest_or_longest() {
        assert_eq!(pattern("*/").trim_start("a/b/c", false), "b/c");
        assert_eq!(pattern("*/").trim_start("a/b/c", true), "c");
        assert_eq!(pattern("x").trim_start("a/b/c", true), "a/b/c");
        assert_eq!(pattern("*x*y").trim_start("xxyy", false), "y");
        assert_eq!(pattern("*").trim_start("xxyy", false), "xxyy");
    }

    #[test]
    fn the_end_goes_shortest_or_longest() {
        assert_eq!(pattern(".*").trim_end("a.tar.gz", false), "a.tar");
        assert_eq!(pattern(".*").trim_end("a.tar.gz", true), "a");
        assert_eq!(pattern("\\**").trim_end("xx**", true), "xx");
        assert_eq!(pattern("\\**\\*").trim_end("a***yy*", true), "a");
    }

    #[test]
    fn matches_are_replaced_leftmost_and_longest() {
        assert_eq!(replaced("o", "foo", "0", false), "f0o");
        assert_eq!(replaced("o", "foo", "0", true), "f00");
        assert_eq!(replaced("/?/", "/a/foo/b/c", "/", true), "/foo/c");
        assert_eq!(replaced("o*", "foo", "-", false), "f-");
        assert_eq!(replaced("", "ab", "-", true), "-a-b-");
        assert_eq!(replaced("", "ab", "-", false), "-ab");
        assert_eq!(replaced("b", "abc", "", false), "ac");
        assert_eq!(replaced("a*b", "xabab\nab", "-", true), "x-\n-");
        assert_eq!(replaced("*b", "xab", "-", true), "-");
        assert_eq!(replaced("ab?", "aabc", "-", true), "a-");
        assert_eq!(replaced("aab", "aaab", "-", true), "a-");
        assert_eq!(replaced("*", "ab\ncd", "-", true), "-\n-");
        assert_eq!(replaced("\n", "a\nb", "", true), "ab");
        assert_eq!(replaced("?", "", "-", true), "");
    }

    #[test]
    fn brackets_are_literal_and_only_some_escapes_exist() {
        assert_eq!(pattern("[a]").trim_start("[a]b", false), "b");
        assert_eq!(pattern("\\?\\}\\/\\\\").trim_start("?}/\\x", false), "x");
        assert_eq!(Pattern::new("\\x").unwrap_err(), "x");
        assert_eq!(Pattern::new("a\\").unwrap_err(), "");
    }

    #[test]
    fn many_stars_stay_cheap() {
        let stars = "*a".repeat(200);
        assert_eq!(pattern(&stars).trim_start(&"b".repeat(20_000), true).len(), 20_000);
        let long = format!("{}b", "a".repeat(1_000));
        let value = "a".repeat(10_000);
        assert_eq!(pattern(&long).replace(&value, "-", true, value.len()), Some(value));
    }

    #[test]
    fn a_result_that_is_too_long_is_none() {
        assert_eq!(pattern("?").replace("abc", "1234", true, 12).as_deref(), Some("123412341234"));
        assert_eq!(pattern("?").replace("abc", "1234", true, 11), None);
        assert_eq!(pattern("x").replace("abc", "1234", true, 2), None);
    }
}
