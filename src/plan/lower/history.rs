//! Values in history lines, written as Go's `%q` writes them: tools that read images' histories look for
//! the lines of `docker build`.

use std::fmt::Write as _;

use crate::oci::Healthcheck;

/// Arguments as `docker history` shows them: `["nginx" "-g"]`.
pub(super) fn quoted(args: &[String]) -> String {
    format!("[{}]", args.iter().map(|arg| quote(arg)).collect::<Vec<_>>().join(" "))
}

/// `&{["CMD" "true"] "30s" "0s" "0s" "0s" '\x03'}`
pub(super) fn history_of(check: &Healthcheck) -> String {
    let times = [check.interval, check.timeout, check.start_period, check.start_interval];
    let times: Vec<String> = times.iter().map(|time| format!("\"{}\"", duration(*time))).collect();
    format!("&{{{} {} {}}}", quoted(&check.test), times.join(" "), character(check.retries))
}

fn quote(text: &str) -> String {
    let mut out = "\"".to_owned();
    for c in text.chars() {
        escape(&mut out, c, '"');
    }
    out.push('"');
    out
}

/// A number as the character that it is the code of.
fn character(number: i64) -> String {
    let c = u32::try_from(number).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
    let mut out = "'".to_owned();
    escape(&mut out, c, '\'');
    out.push('\'');
    out
}

fn escape(out: &mut String, c: char, quote: char) {
    match c {
        '\x07' => out.push_str("\\a"),
        '\x08' => out.push_str("\\b"),
        '\x0b' => out.push_str("\\v"),
        '\x0c' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\\' => out.push_str("\\\\"),
        c if c == quote => {
            out.push('\\');
            out.push(c);
        }
        c if c.is_ascii_control() => _ = write!(out, "\\x{:02x}", u32::from(c)),
        c if c.is_control() => _ = write!(out, "\\u{:04x}", u32::from(c)),
        c => out.push(c),
    }
}

/// Nanoseconds as Go writes a duration: `1h30m0s`, `1.5s`, `100ms`, `0s`.
fn duration(nanoseconds: i64) -> String {
    let total = nanoseconds.unsigned_abs();
    let fraction = |value: u64, unit: u64, name: &str| {
        let digits = unit.ilog10() as usize;
        let rest = format!("{:0digits$}", value % unit);
        match rest.trim_end_matches('0') {
            "" => format!("{}{name}", value / unit),
            rest => format!("{}.{rest}{name}", value / unit),
        }
    };
    match total {
        0 => "0s".to_owned(),
        1..1_000 => format!("{total}ns"),
        1_000..1_000_000 => fraction(total, 1_000, "µs"),
        1_000_000..1_000_000_000 => fraction(total, 1_000_000, "ms"),
        _ => {
            let minutes = total / 60_000_000_000;
            let seconds = fraction(total % 60_000_000_000, 1_000_000_000, "s");
            match (minutes / 60, minutes % 60) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_writes_them() {
        let cases = [
            (0, "0s"),
            (1_500_000, "1.5ms"),
            (100_000_000, "100ms"),
            (30_000_000_000, "30s"),
            (1_500_000_000, "1.5s"),
            (300_000_000_000, "5m0s"),
            (5_400_000_000_000, "1h30m0s"),
        ];
        for (nanoseconds, want) in cases {
            assert_eq!(duration(nanoseconds), want);
        }
    }

    #[test]
    fn text_is_quoted_as_go_quotes_it() {
        assert_eq!(quoted(&["a b".into(), "\"\\\n\u{1}é".into()]), r#"["a b" "\"\\\n\x01é"]"#);
        assert_eq!(character(3), r"'\x03'");
        assert_eq!(character(10), r"'\n'");
        assert_eq!(character(65), "'A'");
    }
}
