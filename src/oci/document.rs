//! A JSON document with the exact bytes that its digest is of.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Descriptor;

/// A parsed document and the bytes it was parsed from (or that were written for it once).
#[derive(Clone, Debug)]
pub struct Document<T> {
    bytes: Arc<[u8]>,
    descriptor: Descriptor,
    value: T,
}

/// A document could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{what} {digest} is not valid JSON of its kind: {source}", digest = .descriptor.digest)]
pub struct DocumentError {
    what: String,
    descriptor: Box<Descriptor>,
    source: serde_json::Error,
}

impl<T: DeserializeOwned> Document<T> {
    /// Parse `bytes` as received. The media type is what the sender said it is.
    pub fn parse(media_type: &str, bytes: impl Into<Arc<[u8]>>) -> Result<Self, DocumentError> {
        let bytes = bytes.into();
        let descriptor = Descriptor::of(media_type, &bytes);
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Self { bytes, descriptor, value }),
            Err(source) => {
                Err(DocumentError { what: media_type.to_owned(), descriptor: Box::new(descriptor), source })
            }
        }
    }
}

impl<T: Serialize> Document<T> {
    /// Write `value` once; from here on its bytes are fixed.
    pub fn write(media_type: &str, value: T) -> Self {
        // The document types hold string-keyed maps only, for which JSON encoding cannot fail.
        let bytes: Arc<[u8]> = serde_json::to_vec(&value).expect("documents encode as JSON").into();
        Self { descriptor: Descriptor::of(media_type, &bytes), bytes, value }
    }
}

impl<T> Document<T> {
    /// The exact bytes.
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// Media type, digest and size.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The parsed value.
    pub fn value(&self) -> &T {
        &self.value
    }
}
