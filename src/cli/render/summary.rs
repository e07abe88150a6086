//! The few lines at a good end.

use std::fmt::Write as _;
use std::time::Duration;

use ocistage::oci::{Digest, Platform};

use super::tally::{Blobs, Moved};
use super::text;

/// What came of a build or a push.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    /// The manifest.
    pub(crate) digest: Digest,
    /// The image's platform, when it was built.
    pub(crate) platform: Option<Platform>,
    /// References and paths.
    pub(crate) names: Vec<String>,
    /// Names of stages, each with the stage's.
    pub(crate) stages: Vec<(String, String)>,
    /// Steps found in the cache and steps carried out, when it was built.
    pub(crate) steps: Option<(usize, usize)>,
    /// What went over the network.
    pub(crate) moved: Moved,
    /// How long it took.
    pub(crate) elapsed: Duration,
    /// Whether the image lies in the local store under its digest alone.
    pub(crate) unnamed_in_store: bool,
}

impl Summary {
    /// The lines, with line ends.
    pub(crate) fn lines(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = match &self.platform {
            Some(platform) => writeln!(out, "image  {} ({platform})", self.digest),
            None => writeln!(out, "image  {}", self.digest),
        };
        for name in &self.names {
            let _ = writeln!(out, "name   {}", text::visible(name));
        }
        for (stage, name) in &self.stages {
            let _ = writeln!(out, "stage  {} ({})", text::visible(name), text::visible(stage));
        }
        if let Some((cached, run)) = self.steps {
            let _ = writeln!(out, "steps  {cached} cached, {run} run");
        }
        let moved = moved(&self.moved);
        if !moved.is_empty() {
            let _ = writeln!(out, "blobs  {moved}");
        }
        let _ = writeln!(out, "time   {}", text::seconds(self.elapsed));
        if self.unnamed_in_store {
            let _ = writeln!(
                out,
                "The image has no name: it is in the local store under its digest. To push it:\n  \
                 ocistage push {} REGISTRY/NAME:TAG",
                self.digest
            );
        }
        out
    }
}

/// `3.1 MB pushed (2), 180.0 MB mounted (6)`; empty when nothing was looked at.
pub(super) fn moved(moved: &Moved) -> String {
    [
        (moved.uploaded, "pushed"),
        (moved.mounted, "mounted"),
        (moved.present, "already there"),
        (moved.pulled, "pulled"),
    ]
    .into_iter()
    .filter(|(blobs, _)| *blobs != Blobs::default())
    .map(|(blobs, how)| format!("{} {how} ({})", text::size(blobs.bytes), blobs.number))
    .collect::<Vec<_>>()
    .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        Summary {
            digest: Digest::of(b""),
            platform: Some(Platform::new("linux", "amd64", None)),
            names: vec!["r.io/app:1".to_owned()],
            stages: vec![("builder".to_owned(), "r.io/app:builder".to_owned())],
            steps: Some((3, 2)),
            moved: Moved {
                uploaded: Blobs { number: 2, bytes: 3_140_000 },
                mounted: Blobs { number: 6, bytes: 180_000_000 },
                ..Moved::default()
            },
            elapsed: Duration::from_millis(43_020),
            unnamed_in_store: false,
        }
    }

    #[test]
    fn a_pushed_build_is_summed_up_in_a_few_lines() {
        assert_eq!(
            summary().lines(),
            "image  sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 (linux/amd64)\n\
             name   r.io/app:1\n\
             stage  r.io/app:builder (builder)\n\
             steps  3 cached, 2 run\n\
             blobs  3.1 MB pushed (2), 180.0 MB mounted (6)\n\
             time   43.0s\n"
        );
    }

    #[test]
    fn an_image_without_a_name_comes_with_the_way_to_push_it() {
        let lines = Summary { unnamed_in_store: true, names: vec![], ..summary() }.lines();
        assert!(lines.contains("ocistage push sha256:e3b0c44298fc"), "{lines}");
    }
}
