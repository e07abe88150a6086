//! Durations that people write: `90s`, `36h`, `14d`, `1h30m`.

use std::time::Duration;

use super::failure::Failure;

/// Reads a duration of whole seconds, minutes, hours, days or weeks. `option` is what messages call it.
pub(crate) fn parse(option: &str, text: &str) -> Result<Duration, Failure> {
    let malformed = || {
        Failure::input(format!("{option} `{text}` is not a duration"))
            .hint("write a number with s, m, h, d or w: 90s, 36h, 14d")
    };
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut seconds: u64 = 0;
    let mut rest = text;
    loop {
        let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(malformed)?;
        let number: u64 = rest[..end].parse().map_err(|_| malformed())?;
        let unit = match rest.as_bytes()[end] {
            b's' => 1,
            b'm' => 60,
            b'h' => 3_600,
            b'd' => 24 * 3_600,
            b'w' => 7 * 24 * 3_600,
            _ => return Err(malformed()),
        };
        seconds =
            number.checked_mul(unit).and_then(|more| seconds.checked_add(more)).ok_or_else(malformed)?;
        rest = &rest[end + 1..];
        if rest.is_empty() {
            return Ok(Duration::from_secs(seconds));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_add_up() {
        for (text, seconds) in [
            ("0", 0),
            ("0s", 0),
            ("90s", 90),
            ("36h", 129_600),
            ("14d", 1_209_600),
            ("2w", 1_209_600),
            ("1h30m", 5_400),
        ] {
            assert_eq!(parse("--x", text).unwrap(), Duration::from_secs(seconds), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_by_name() {
        for text in ["", "5", "d", "-1d", "1.5h", "1 d", "1y", "99999999999999999w", "5é"] {
            assert!(parse("--x", text).unwrap_err().message.starts_with("--x"), "{text}");
        }
    }
}
