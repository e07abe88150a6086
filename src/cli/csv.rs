//! `key=value,"key=a,b"`: the option values of Docker's tools.

use super::failure::Failure;

/// The fields of one line of comma-separated values (RFC 4180): a field that holds commas or quotes stands in double
/// quotes, a quote in it is doubled.
pub(crate) fn fields(text: &str) -> Result<Vec<String>, Failure> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)
                .ok_or_else(|| Failure::input(format!("`{text}`: a quoted field has no closing quote")))?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(fields),
            None => return Err(Failure::input(format!("`{text}`: a comma is missing after a quoted field"))),
        }
    }
}

/// The text of a field after its opening quote, and what follows its closing one.
fn quoted_field(text: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let quote = rest.find('"')?;
        field.push_str(&rest[..quote]);
        rest = &rest[quote + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None => return Some((field, rest)),
        }
    }
}

/// The same, each field split at its first `=`; keys in lower case, without blanks around.
pub(crate) fn pairs(option: &str, text: &str) -> Result<Vec<(String, String)>, Failure> {
    let mut pairs = Vec::new();
    for field in fields(text)? {
        let (key, value) = field.split_once('=').ok_or_else(|| {
            Failure::input(format!("{option} `{text}`: `{field}` is not of the form key=value"))
        })?;
        pairs.push((key.trim().to_lowercase(), value.to_owned()));
    }
    Ok(pairs)
}

/// A value that says yes or no, as Docker's tools read it.
pub(crate) fn boolean(option: &str, key: &str, value: &str) -> Result<bool, Failure> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "t" | "true" => Ok(true),
        "0" | "f" | "false" => Ok(false),
        _ => Err(Failure::input(format!("{option}: `{key}={value}` is neither true nor false"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_field_may_hold_commas_and_quotes() {
        assert_eq!(fields(r#"a=1,"b=2,3","c=""x""""#).unwrap(), ["a=1", "b=2,3", r#"c="x""#]);
        assert_eq!(fields("").unwrap(), [""]);
        assert_eq!(fields("a,,b").unwrap(), ["a", "", "b"]);
    }

    #[test]
    fn a_quote_that_is_not_closed_is_refused() {
        assert!(fields(r#""a"#).is_err());
        assert!(fields(r#""a"b"#).is_err());
    }

    #[test]
    fn keys_are_case_blind_and_values_may_hold_equals_signs() {
        let pairs = pairs("--output", "Type=oci,dest=a=b").unwrap();
        assert_eq!(pairs, [("type".to_owned(), "oci".to_owned()), ("dest".to_owned(), "a=b".to_owned())]);
    }
}
