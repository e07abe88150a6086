//! Cache keys: hashes over named, length-prefixed fields.

use std::fmt;

/// The hash of everything that can change a result.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CacheKey([u8; 32]);

/// Builds a key field by field.
///
/// Each field is its name's length (8 bytes, little endian), its name, its value's length, its value. A
/// list is a field of its count, then its items as fields with an empty name. So no joining of two inputs
/// reads like another input.
pub(crate) struct KeyWriter {
    hasher: blake3::Hasher,
}

impl CacheKey {
    /// The raw 32 bytes.
    #[cfg(test)]
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key of 64 lower-case hexadecimal digits; `None` of anything else.
    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
        lower.then(|| blake3::Hash::from_hex(text).ok().map(|hash| Self(*hash.as_bytes()))).flatten()
    }

    /// 64 hexadecimal digits.
    pub(crate) fn hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }
}

impl KeyWriter {
    /// A key of this kind. The kind carries the version of what is hashed: changing the fields of a kind
    /// means changing its version.
    pub(crate) fn new(kind: &str) -> Self {
        let mut writer = Self { hasher: blake3::Hasher::new() };
        writer.field("kind", kind);
        writer
    }

    /// One value.
    pub(crate) fn field(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        let value = value.as_ref();
        self.hasher.update(&(name.len() as u64).to_le_bytes());
        self.hasher.update(name.as_bytes());
        self.hasher.update(&(value.len() as u64).to_le_bytes());
        self.hasher.update(value);
        self
    }

    /// A number.
    pub(crate) fn number(&mut self, name: &str, value: u64) -> &mut Self {
        self.field(name, value.to_le_bytes())
    }

    /// Another key.
    pub(crate) fn key(&mut self, name: &str, value: &CacheKey) -> &mut Self {
        self.field(name, value.0)
    }

    /// Values in order.
    pub(crate) fn list<T: AsRef<[u8]>>(
        &mut self,
        name: &str,
        values: impl IntoIterator<Item = T>,
    ) -> &mut Self {
        let values: Vec<T> = values.into_iter().collect();
        self.number(name, values.len() as u64);
        for value in values {
            self.field("", value);
        }
        self
    }

    /// The key of all fields.
    pub(crate) fn finish(&self) -> CacheKey {
        CacheKey(*self.hasher.finalize().as_bytes())
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key:{}", &self.hex()[..12])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(write: impl Fn(&mut KeyWriter)) -> CacheKey {
        let mut writer = KeyWriter::new("test");
        write(&mut writer);
        writer.finish()
    }

    #[test]
    fn moving_bytes_between_fields_changes_the_key() {
        let keys = [
            of(|w| _ = w.field("a", "bc")),
            of(|w| _ = w.field("ab", "c")),
            of(|w| _ = w.field("a", "b").field("", "c")),
            of(|w| _ = w.list("a", ["b", "c"])),
            of(|w| _ = w.list("a", ["bc"])),
            of(|w| _ = w.list("a", ["b"]).field("", "c")),
            of(|w| _ = w.list("a", [""; 2])),
            of(|w| _ = w.list::<&str>("a", [])),
        ];
        for (i, a) in keys.iter().enumerate() {
            assert!(keys[..i].iter().all(|b| a != b), "key {i} is not its own");
        }
    }

    #[test]
    fn the_encoding_is_the_documented_one() {
        let mut bytes = Vec::new();
        for part in ["kind", "test", "name", "value"] {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        assert_eq!(of(|w| _ = w.field("name", "value")).as_bytes(), blake3::hash(&bytes).as_bytes());
    }
}
