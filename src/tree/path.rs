//! Paths inside an image.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A normal path relative to the root of an image: bytes without a leading slash, without empty, `.` or `..`
/// components. The root itself is empty.
///
/// Ordered by bytes: a directory comes before what is in it.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ImagePath(Vec<u8>);

impl ImagePath {
    /// The image's root.
    pub(crate) const fn root() -> Self {
        Self(Vec::new())
    }

    /// `text` as seen from the root; `..` stops at the root, as in a chroot.
    pub(crate) fn clamped(text: impl AsRef<[u8]>) -> Self {
        Self::root().join_clamped(text)
    }

    /// `text` as seen from here: absolute text starts at the root, `..` goes up and stops at the root.
    pub(crate) fn join_clamped(&self, text: impl AsRef<[u8]>) -> Self {
        let text = text.as_ref();
        let mut path = if text.first() == Some(&b'/') { Self::root() } else { self.clone() };
        for component in text.split(|b| *b == b'/') {
            match component {
                b"" | b"." => {}
                b".." => path = path.parent().unwrap_or_default(),
                name => path = path.child(name),
            }
        }
        path
    }

    /// `text` as seen from the root, or `None` when a `..` would leave it.
    pub(crate) fn strict(text: impl AsRef<[u8]>) -> Option<Self> {
        let mut path = Self::root();
        for component in text.as_ref().split(|b| *b == b'/') {
            match component {
                b"" | b"." => {}
                b".." => path = path.parent()?,
                name => path = path.child(name),
            }
        }
        Some(path)
    }

    /// The entry `name` of this directory. `name` is one component.
    pub(crate) fn child(&self, name: impl AsRef<[u8]>) -> Self {
        let name = name.as_ref();
        debug_assert!(!name.is_empty() && name != b"." && name != b".." && !name.contains(&b'/'));
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        Self(bytes)
    }

    /// `other` below this path.
    pub(crate) fn join(&self, other: &Self) -> Self {
        if other.is_root() {
            return self.clone();
        }
        if self.is_root() {
            return other.clone();
        }
        let mut bytes = self.0.clone();
        bytes.push(b'/');
        bytes.extend_from_slice(&other.0);
        Self(bytes)
    }

    /// The directory that holds this path; `None` for the root.
    pub(crate) fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|b| *b == b'/').unwrap_or(0);
        Some(Self(self.0[..end].to_vec()))
    }

    /// The last component; empty for the root.
    pub(crate) fn name(&self) -> &[u8] {
        self.0.rsplit(|b| *b == b'/').next().unwrap_or_default()
    }

    /// All components from the root.
    pub(crate) fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|b| *b == b'/').filter(|component| !component.is_empty())
    }

    /// The directories above this path, root first, without the path itself.
    pub(crate) fn ancestors(&self) -> Vec<Self> {
        let mut list: Vec<Self> = std::iter::successors(self.parent(), Self::parent).collect();
        list.reverse();
        list
    }

    /// Whether this is the root.
    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left of this path below `directory`; `None` when it is not in it. A path is below itself.
    pub(crate) fn below(&self, directory: &Self) -> Option<Self> {
        if directory.is_root() {
            return Some(self.clone());
        }
        match self.0.strip_prefix(directory.0.as_slice())? {
            [] => Some(Self::root()),
            [b'/', rest @ ..] => Some(Self(rest.to_vec())),
            _ => None,
        }
    }

    /// The bytes, without a leading slash.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As a relative host path, to be joined to where the image's root lies.
    pub(crate) fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }
}

/// With a leading slash; bytes that are not UTF-8 are replaced.
impl fmt::Display for ImagePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for ImagePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_and_slashes_have_one_normal_form_and_never_leave_the_root() {
        for (text, normal) in
            [("/a//b/./c", "/a/b/c"), ("a/../../b", "/b"), ("/", "/"), ("../..", "/"), ("a/b/..", "/a")]
        {
            assert_eq!(ImagePath::clamped(text).to_string(), normal);
        }
        assert_eq!(ImagePath::strict("a/../../b"), None);
        assert_eq!(ImagePath::strict("./a/../b").unwrap().to_string(), "/b");
    }

    #[test]
    fn a_directory_sorts_before_what_is_in_it() {
        let mut paths: Vec<_> = ["a/b", "a-b", "a", "a.b/c", "a.b"].map(ImagePath::clamped).into();
        paths.sort();
        let position = |text| paths.iter().position(|p| *p == ImagePath::clamped(text)).unwrap();
        assert!(position("a") < position("a/b") && position("a.b") < position("a.b/c"));
    }

    #[test]
    fn below_is_by_component() {
        let path = ImagePath::clamped("usr/lib/x");
        assert_eq!(path.below(&ImagePath::clamped("usr/lib")), Some(ImagePath::clamped("x")));
        assert_eq!(path.below(&ImagePath::clamped("usr/li")), None);
        assert_eq!(path.below(&ImagePath::root()), Some(path.clone()));
    }
}
