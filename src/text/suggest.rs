//! The user's words in messages: shortened, and with the word that was meant.

/// The candidate nearest to `word`, if one is near enough to be a slip of the keyboard: at most one edit per three
/// characters and at most three. Case does not count as a difference. The first of equally near candidates wins.
pub fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().collect();
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let other: Vec<char> = candidate.to_lowercase().chars().collect();
        let limit = (word.len().max(other.len()).div_ceil(3)).min(3);
        // The difference in length is a lower bound: a word of a megabyte is never compared in full.
        if word.len().abs_diff(other.len()) > limit {
            continue;
        }
        let distance = edits(&word, &other);
        if distance <= limit && distance < other.len() && best.is_none_or(|(nearest, _)| distance < nearest) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// A word for a message: a line of base64 is not repeated in full.
pub fn shortened(word: &str) -> String {
    const SHOWN: usize = 40; // characters; longer than any name people type
    match word.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &word[..end]),
        None => word.to_owned(),
    }
}

/// Edits (insert, remove, replace, swap of neighbours) that turn `a` into `b`.
fn edits(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut least = (above[j] + usize::from(x != y)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word() {
        let words = ["COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM"];
        assert_eq!(suggest("COPPY", words), Some("COPY"));
        assert_eq!(suggest("FORM", words), Some("FROM"));
        assert_eq!(suggest("entrypont", words), Some("ENTRYPOINT"));
    }

    #[test]
    fn a_long_word_is_cut() {
        assert_eq!(shortened("COPPY"), "COPPY");
        assert_eq!(shortened(&"é".repeat(41)), format!("{}…", "é".repeat(40)));
    }

    #[test]
    fn a_stranger_finds_nothing() {
        assert_eq!(suggest("BUILD", ["COPY", "FROM"]), None);
        assert_eq!(suggest("", ["a", "b"]), None);
        assert_eq!(suggest("x", ["a"]), None);
    }
}
