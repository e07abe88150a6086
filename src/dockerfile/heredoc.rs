//! Heredocs: files and scripts written in the Dockerfile.
//!
//! RUN, COPY and ADD (and ONBUILD of these) may have them, not in exec form. Which words of a line are heredocs is
//! decided on the line as the shell would split it, so `"<<EOF"` is none; when the line cannot be split that way (an
//! open quote), it has none.

use crate::text::Span;

use super::expand::{ExpandError, raw_words};
use super::lines::Part;

/// One heredoc: `<<EOF`, its lines, `EOF`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter without quotes: the name of the file that a COPY makes of it.
    pub name: String,
    /// Whether variables in the body are expanded (COPY and ADD only): no part of the delimiter is quoted.
    pub expand: bool,
    /// `<<-`: leading tabs are dropped from each line, see [`content`](Heredoc::content).
    pub chomp: bool,
    /// The file descriptor: 3 for `3<<EOF`, 0 without number.
    pub fd: u32,
    /// The lines between, exactly as written, line ends included.
    pub body: String,
    /// The word `<<EOF`.
    pub span: Span,
    /// The lines of the body in the source.
    pub body_span: Span,
}

impl Heredoc {
    /// The body as it is meant: leading tabs dropped when `<<-`.
    pub fn content(&self) -> String {
        if !self.chomp {
            return self.body.clone();
        }
        self.body.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }

    /// Whether `line` (its line end included) ends the body.
    pub(super) fn ends_at(&self, line: &str) -> bool {
        let line = line.trim_end_matches(['\r', '\n']);
        let line = if self.chomp { line.trim_start_matches('\t') } else { line };
        line == self.name
    }
}

/// The heredocs that an instruction's line announces, their bodies still empty.
pub(super) fn announced(line: Part<'_>) -> Result<Vec<Heredoc>, (Span, ExpandError)> {
    let text = line.text();
    if !text.contains("<<") {
        return Ok(Vec::new());
    }
    let Ok(words) = raw_words(text, true, true) else { return Ok(Vec::new()) };
    let mut heredocs = Vec::new();
    let mut from = 0;
    for word in words {
        let Some(mut heredoc) = parse_word(&word, line.span()).map_err(|error| (line.span(), error))? else {
            continue;
        };
        // The words are the line's own text, except in rare substitutions: then the line's place must do.
        if let Some(at) = text[from..].find(&word) {
            from += at + word.len();
            heredoc.span = line.span_of(&(from - word.len()..from));
        }
        heredocs.push(heredoc);
    }
    Ok(heredocs)
}

/// Reads `<<EOF`, `<<-EOF`, `3<<'EOF'`; `None` when the word is something else.
pub(super) fn parse_word(word: &str, span: Span) -> Result<Option<Heredoc>, ExpandError> {
    let Some((digits, rest)) = word.split_once("<<") else { return Ok(None) };
    if rest.contains('<') || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    let (chomp, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    let rest = rest.trim_start_matches([' ', '\t', '\r', '\n', '\x0c']);
    if rest.is_empty() {
        return Ok(None);
    }
    let Ok([name]) = <[String; 1]>::try_from(raw_words(rest, false, false)?) else { return Ok(None) };
    // An escaped quote is in both readings; a quote that quotes only in the one that keeps quotes.
    let raw = raw_words(rest, true, false)?.concat();
    let expand = count_quotes(&name) == count_quotes(&raw);
    let fd = digits.parse().unwrap_or(0);
    Ok(Some(Heredoc { name, expand, chomp, fd, body: String::new(), span, body_span: Span::at(span.end) }))
}

fn count_quotes(text: &str) -> usize {
    text.matches(['\'', '"']).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::lines::Logical;

    /// `name`, with `!` when not expanded, `-` when chomped, and the fd before it when there is one.
    fn announced_in(text: &str) -> Vec<String> {
        let mut line = Logical::default();
        line.push(text, 0);
        let mark = |heredoc: &Heredoc| {
            let fd = if heredoc.fd == 0 { String::new() } else { heredoc.fd.to_string() };
            let expand = if heredoc.expand { "" } else { "!" };
            let chomp = if heredoc.chomp { "-" } else { "" };
            format!("{fd}{chomp}{expand}{}", heredoc.name)
        };
        announced(line.whole()).unwrap().iter().map(mark).collect()
    }

    #[test]
    fn every_form_of_delimiter_is_read() {
        assert_eq!(announced_in("RUN <<EOF"), ["EOF"]);
        assert_eq!(announced_in("RUN cat <<A 3<<-'B' <<\"C\""), ["A", "3-!B", "!C"]);
        assert_eq!(announced_in("RUN <<  EOF cat"), ["EOF"]);
        assert_eq!(announced_in("RUN <<'one two'"), ["!one two"]);
        assert_eq!(announced_in("RUN <<eo\\'f"), ["eo'f"]);
        assert_eq!(announced_in("RUN <<e'o'f"), ["!eof"]);
        assert_eq!(announced_in("RUN <<$EOF"), ["$EOF"]);
    }

    #[test]
    fn quoted_marks_and_here_strings_are_none() {
        for text in
            ["RUN \"<<EOF\"", "RUN '<<EOF'", "RUN cat <<<word", "RUN <<", "RUN a<<b", "RUN it's <<EOF"]
        {
            assert_eq!(announced_in(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn a_chomped_heredoc_ends_and_reads_without_leading_tabs() {
        let mut heredoc = parse_word("<<-EOF", Span::default()).unwrap().unwrap();
        assert!(heredoc.ends_at("\t\tEOF\r\n") && !heredoc.ends_at(" EOF\n"));
        heredoc.body = "\ta\n\t\t b\n  \tc\n".to_owned();
        assert_eq!(heredoc.content(), "a\n b\n  \tc\n");
    }

    #[test]
    fn the_place_is_that_of_the_word() {
        let mut line = Logical::default();
        line.push("RUN cat <<EOF > /f", 0);
        assert_eq!(announced(line.whole()).unwrap()[0].span, Span::new(8, 13));
    }
}
