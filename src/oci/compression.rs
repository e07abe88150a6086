//! How a layer's tar is compressed.

use super::media_type;

/// The compression of a layer blob.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// A plain tar.
    None,
    /// gzip, understood by every registry and runtime.
    #[default]
    Gzip,
    /// zstd (OCI image-spec 1.1).
    Zstd,
}

impl Compression {
    /// The compression that a layer's media type states; `None` when it is not a layer's media type.
    pub fn of_media_type(media_type: &str) -> Option<Self> {
        match media_type {
            media_type::OCI_LAYER_GZIP | media_type::DOCKER_LAYER_GZIP => Some(Self::Gzip),
            media_type::OCI_LAYER_ZSTD | media_type::DOCKER_LAYER_ZSTD => Some(Self::Zstd),
            media_type::OCI_LAYER | media_type::DOCKER_LAYER => Some(Self::None),
            // Layers that a registry may refuse to distribute are layers all the same.
            other => match other
                .replace("nondistributable.v1.", "v1.")
                .replace("rootfs.foreign.diff", "rootfs.diff")
            {
                plain if plain != other => Self::of_media_type(&plain),
                _ => None,
            },
        }
    }

    /// The OCI media type of a layer with this compression.
    pub fn layer_media_type(self) -> &'static str {
        match self {
            Self::None => media_type::OCI_LAYER,
            Self::Gzip => media_type::OCI_LAYER_GZIP,
            Self::Zstd => media_type::OCI_LAYER_ZSTD,
        }
    }

    /// What the first bytes of a stream say that it is compressed with.
    pub fn sniff(first: &[u8]) -> Self {
        match first {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}
