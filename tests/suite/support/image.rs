//! Reads an image out of an OCI layout, without a line of the code under test, and merges its layers into one tree.

use super::{Scratch, copy_image, sha256};
use flate2::read::GzDecoder;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::Read;
use std::path::Path;

/// What stands at a path. Hard links are files with the bytes of their target.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) kind: tar::EntryType,
    pub(crate) mode: u32,
    pub(crate) owner: (u64, u64),
    pub(crate) link: String,
    pub(crate) bytes: Vec<u8>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (user, group) = self.owner;
        let digest = &sha256(&self.bytes)[..15];
        write!(f, "{:?} {:o} {user}:{group} {} {digest}", self.kind, self.mode, self.link)
    }
}

pub(crate) struct Image {
    /// Of the manifest.
    pub(crate) digest: String,
    pub(crate) manifest: Value,
    pub(crate) config: Value,
    /// Paths of each layer as they stand in it, lowest layer first.
    pub(crate) layers: Vec<BTreeSet<String>>,
    pub(crate) tree: BTreeMap<String, Node>,
    /// When each path was last changed, in seconds since 1970.
    times: BTreeMap<String, u64>,
}

impl Image {
    /// The only image of a layout, or the one with this name.
    pub(crate) fn open(layout: &Path, name: Option<&str>) -> Self {
        let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
        let manifests = index["manifests"].as_array().unwrap();
        let chosen = manifests.iter().find(|found| {
            name.is_none_or(|name| found["annotations"]["org.opencontainers.image.ref.name"] == name)
        });
        let digest = text(&chosen.unwrap_or_else(|| panic!("no image {name:?} in {index}"))["digest"]);
        Self::read(&blob(layout, &digest), |digest| blob(layout, digest))
    }

    /// An image in a folder of the `dir:` transport, as buildah writes it: `manifest.json`, and blobs by their digits.
    pub(crate) fn open_folder(folder: &Path) -> Self {
        Self::read(&fs::read(folder.join("manifest.json")).unwrap(), |digest| {
            fs::read(folder.join(digest.trim_start_matches("sha256:"))).unwrap()
        })
    }

    fn read(manifest: &[u8], blob: impl Fn(&str) -> Vec<u8>) -> Self {
        let digest = sha256(manifest);
        let manifest: Value = serde_json::from_slice(manifest).unwrap();
        let config: Value = serde_json::from_slice(&blob(&text(&manifest["config"]["digest"]))).unwrap();
        let (mut layers, mut tree) = (Vec::new(), BTreeMap::new());
        let mut times = BTreeMap::new();
        let descriptors = manifest["layers"].as_array().unwrap();
        let diff_ids = config["rootfs"]["diff_ids"].as_array().unwrap();
        assert_eq!(descriptors.len(), diff_ids.len(), "layers and diff ids");
        let made =
            config["history"].as_array().unwrap().iter().filter(|entry| entry["empty_layer"] != true).count();
        assert_eq!(made, diff_ids.len(), "history entries with a layer, and diff ids");
        for (descriptor, diff_id) in descriptors.iter().zip(diff_ids) {
            let packed = blob(&text(&descriptor["digest"]));
            assert_eq!(descriptor["size"], packed.len(), "size of a layer");
            let mut tar = Vec::new();
            GzDecoder::new(&*packed).read_to_end(&mut tar).expect("a layer is one gzip member");
            assert_eq!(sha256(&tar), text(diff_id), "diff id of a layer");
            times.extend(changed(&tar));
            layers.push(apply(&tar, &mut tree));
        }
        Self { digest, manifest, config, layers, tree, times }
    }

    /// Pulls the image with skopeo and reads it.
    pub(crate) fn pull(reference: &str) -> Self {
        let scratch = Scratch::new();
        let layout = scratch.path().join("layout");
        copy_image(&format!("docker://{reference}"), &format!("oci:{}:pulled", layout.display()));
        Self::open(&layout, None)
    }

    pub(crate) fn node(&self, path: &str) -> &Node {
        self.tree.get(path).unwrap_or_else(|| panic!("{path} is not in {:#?}", self.tree.keys()))
    }

    /// When a path was last changed, in seconds since 1970.
    pub(crate) fn time(&self, path: &str) -> u64 {
        self.times[path]
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.tree.contains_key(path)
    }

    /// The content of a text file.
    pub(crate) fn text(&self, path: &str) -> String {
        String::from_utf8(self.node(path).bytes.clone()).unwrap()
    }

    /// A field of the `config` object of the configuration.
    pub(crate) fn setting(&self, name: &str) -> &Value {
        &self.config["config"][name]
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a string: {value}")).to_owned()
}

fn blob(layout: &Path, digest: &str) -> Vec<u8> {
    let path = layout.join("blobs").join(digest.replace(':', "/"));
    let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(sha256(&bytes), digest, "content of {}", path.display());
    bytes
}

/// The times of a layer's paths.
fn changed(tar: &[u8]) -> BTreeMap<String, u64> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().unwrap().map(Result::unwrap);
    let time = |entry: tar::Entry<'_, &[u8]>| {
        let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        (path.trim_start_matches("./").trim_end_matches('/').to_owned(), entry.header().mtime().unwrap())
    };
    entries.map(time).collect()
}

/// Puts one layer over the tree, by the rules of the image specification, and returns its paths.
fn apply(tar: &[u8], tree: &mut BTreeMap<String, Node>) -> BTreeSet<String> {
    let (mut seen, mut added) = (BTreeSet::new(), BTreeMap::new());
    let mut hidden = Vec::new();
    for entry in tar::Archive::new(tar).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        // Layers that debootstrap's tar made begin with "./"; ours do not.
        let path = name.trim_start_matches("./").trim_end_matches('/').to_owned();
        assert!(
            !name.starts_with('/') && !path.split('/').any(|part| part == ".."),
            "a path leaves the root: {name}"
        );
        if path.is_empty() || path == "." {
            continue;
        }
        assert!(seen.insert(path.clone()), "{path} stands twice in a layer");
        let (folder, last) = path.rsplit_once('/').unwrap_or(("", &path));
        if last == ".wh..wh..opq" {
            hidden.push((folder.to_owned(), false));
            continue;
        }
        if let Some(gone) = last.strip_prefix(".wh.") {
            hidden.push((if folder.is_empty() { gone.to_owned() } else { format!("{folder}/{gone}") }, true));
            continue;
        }
        let header = entry.header().clone();
        let link = entry
            .link_name_bytes()
            .map(|link| String::from_utf8(link.into_owned()).unwrap())
            .unwrap_or_default();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let owner = (header.uid().unwrap(), header.gid().unwrap());
        let node =
            Node { kind: header.entry_type(), mode: header.mode().unwrap() & 0o7777, owner, link, bytes };
        added.insert(path, node);
    }
    let below = |path: &str, folder: &str| {
        folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
    };
    for (path, itself) in &hidden {
        tree.retain(|name, _| !(below(name, path) || *itself && name == path));
    }
    for (path, node) in &added {
        if node.kind != tar::EntryType::Directory {
            tree.retain(|name, _| !below(name, path));
        }
    }
    let targets = added.clone();
    for (path, mut node) in added {
        if node.kind == tar::EntryType::Link {
            let to = node.link.trim_start_matches("./");
            node = targets
                .get(to)
                .or(tree.get(to))
                .unwrap_or_else(|| panic!("{path} links to nothing: {to}"))
                .clone();
        }
        tree.insert(path, node);
    }
    seen
}
