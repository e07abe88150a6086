//! Records of pax extended headers: `<length> <key>=<value>\n`.

use std::collections::BTreeMap;
use std::io;

/// Records to be written, in order.
#[derive(Default)]
pub(super) struct Records(Vec<u8>);

impl Records {
    /// Append one record. Values may be any bytes; keys have no `=`.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        if key.contains(&b'=') || key.contains(&0) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("attribute {:?} can not be written to a tar", String::from_utf8_lossy(key)),
            ));
        }
        // The length counts its own digits.
        let rest = key.len() + value.len() + 3;
        let mut length = rest + rest.to_string().len();
        length = rest + length.to_string().len();
        self.0.extend_from_slice(format!("{length} ").as_bytes());
        self.0.extend_from_slice(key);
        self.0.push(b'=');
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Parse the body of an extended header. A later record of a key replaces an earlier one. Errors say why.
pub(super) fn parse(mut body: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, &'static str> {
    let mut records = BTreeMap::new();
    while !body.is_empty() {
        let space = body.iter().take(12).position(|b| *b == b' ').ok_or("a pax record has no length")?;
        let digits = &body[..space];
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err("the length of a pax record is not a number");
        }
        let length = digits.iter().fold(0_usize, |sum, digit| sum * 10 + usize::from(digit - b'0'));
        if length <= space + 1 || length > body.len() {
            return Err("the length of a pax record does not fit");
        }
        let (record, rest) = body.split_at(length);
        let Some((b'\n', record)) = record[space + 1..].split_last() else {
            return Err("a pax record does not end with a newline");
        };
        let equals = record.iter().position(|b| *b == b'=').ok_or("a pax record has no '='")?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        if key.is_empty() || key.contains(&0) {
            return Err("a pax record has no proper key");
        }
        records.insert(key.to_vec(), value.to_vec());
        body = rest;
    }
    Ok(records)
}
