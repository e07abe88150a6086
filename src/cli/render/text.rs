//! Words for sizes, times and bytes that others wrote.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ocistage::MissReason;
use ocistage::oci::Digest;

/// A number of bytes in SI units with one decimal: `3.1 MB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "";
    for next in UNITS {
        value /= 1000.0;
        unit = next;
        // 999 950 would be written 1000.0 kB.
        if value < 999.95 {
            break;
        }
    }
    format!("{value:.1} {unit}")
}

/// A time as BuildKit writes it: `0.2s`.
pub(crate) fn seconds(elapsed: Duration) -> String {
    format!("{:.1}s", elapsed.as_secs_f64())
}

/// The first twelve digits: enough to recognise, short enough for a line.
pub(crate) fn short(digest: &Digest) -> String {
    let mut text = digest.to_string();
    text.truncate("sha256:".len() + 12);
    text
}

/// Why a step was not in the cache, in a few words.
pub(crate) fn miss(reason: &MissReason) -> &'static str {
    match reason {
        MissReason::NotRecorded => "miss: no record has this step with these inputs",
        MissReason::CacheDisabled => "miss: looking up was switched off for this step",
        MissReason::Expired => "miss: the record is older than --cache-ttl allows",
        MissReason::OtherParent => "miss: the record was made on top of other layers",
        _ => "miss",
    }
}

/// One thing or several: `1 step`, `2 steps`.
pub(crate) fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// The title of a context: `[context]` for the build's own, `[context NAME]` for a named one.
pub(crate) fn context(name: &str) -> String {
    if name == "context" { "[context]".to_owned() } else { format!("[context {name}]") }
}

/// What was read of a context: `3 files, 1.2 kB`.
pub(crate) fn scanned(files: u64, bytes: u64) -> String {
    format!("{}, {}", count(usize::try_from(files).unwrap_or(usize::MAX), "file"), size(bytes))
}

/// What was fetched: `sha256:… 1.2 kB`, or a commit.
pub(crate) fn fetched(identity: &str, bytes: Option<u64>) -> String {
    match bytes {
        Some(bytes) => format!("{identity}, {}", size(bytes)),
        None => format!("commit {identity}"),
    }
}

/// `text` with every control character shown instead of sent; tabs stay. Line ends are shown too.
pub(crate) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        show(&mut out, c);
    }
    out
}

fn show(out: &mut String, c: char) {
    match c {
        '\t' => out.push(c),
        // Beside controls: marks that reorder or hide text on a screen.
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        }
        c if c.is_control() => {
            let _ = write!(out, "\\x{:02x}", u32::from(c));
        }
        c => out.push(c),
    }
}

/// A line of output for a terminal: as [`visible`], but colours (`ESC [ … m`) are let through, and end with the line.
pub(crate) fn coloured(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut styled = false;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(length) = sgr(rest) {
            out.push_str(&rest[..length]);
            rest = &rest[length..];
            styled = true;
        } else {
            show(&mut out, c);
            rest = &rest[c.len_utf8()..];
        }
    }
    if styled {
        out.push_str("\x1b[0m");
    }
    out
}

/// `text` without its colours, the rest shown as by [`visible`].
pub(crate) fn uncoloured(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        match sgr(rest) {
            Some(length) => rest = &rest[length..],
            None => {
                show(&mut out, c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    out
}

/// The length of the colour sequence that `text` begins with.
fn sgr(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\x1b[")?;
    let end = parameters.find(|c: char| !(c.is_ascii_digit() || c == ';' || c == ':'))?;
    // Real sequences have a few numbers; anything long is not one.
    (end <= 32 && parameters[end..].starts_with('m')).then_some("\x1b[".len() + end + 1)
}

/// What a terminal would show of a line in which the cursor went back to its beginning: the last rewriting.
pub(crate) fn last_rewrite(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line.iter().rposition(|byte| *byte == b'\r') {
        Some(at) => &line[at + 1..],
        None => line,
    }
}

/// Now, as RFC 3339 with milliseconds.
pub(crate) fn now() -> String {
    rfc3339(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn rfc3339(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let (days, in_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        in_day / 3600,
        in_day / 60 % 60,
        in_day % 60,
        since_epoch.subsec_millis()
    )
}

/// Year, month and day of a number of days since 1970. Counts in 400-year cycles of years that begin in March, so that
/// the leap day is a year's last.
fn civil(days: u64) -> (u64, u64, u64) {
    const CYCLE: u64 = 146_097;
    let shifted = days + 719_468; // since 0000-03-01
    let (cycle, in_cycle) = (shifted / CYCLE, shifted % CYCLE);
    let year = (in_cycle - in_cycle / 1460 + in_cycle / 36_524 - in_cycle / (CYCLE - 1)) / 365;
    let in_year = in_cycle - (365 * year + year / 4 - year / 100);
    let march_month = (5 * in_year + 2) / 153;
    let day = in_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (cycle * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_decimal_and_never_four_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (3_140_000, "3.1 MB"),
            (999_949, "999.9 kB"),
            (999_999, "1.0 MB"),
            (2_000_000_000, "2.0 GB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn a_terminal_gets_colours_but_no_other_control() {
        assert_eq!(coloured("\x1b[1;31mred\tx\x1b[2Jy\x07"), "\x1b[1;31mred\tx\\x1b[2Jy\\x07\x1b[0m");
        assert_eq!(coloured("\x1b]0;title\x07"), "\\x1b]0;title\\x07");
        assert_eq!(coloured("plain é"), "plain é");
        assert_eq!(uncoloured("\x1b[31mred\x1b[m \x1b[K"), "red \\x1b[K");
        assert_eq!(visible("a\nb\u{202e}"), "a\\x0ab\\u{202e}");
    }

    #[test]
    fn a_progress_bar_shows_its_last_state() {
        assert_eq!(last_rewrite(b"10%\r50%\r100%"), b"100%");
        assert_eq!(last_rewrite(b"line\r"), b"line");
        assert_eq!(last_rewrite(b""), b"");
    }

    #[test]
    fn times_are_written_as_rfc_3339_says() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_700_000_000, "2023-11-14T22:13:20.000Z"),
            (4_102_444_799, "2099-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(rfc3339(Duration::from_secs(seconds)), text);
        }
    }
}
