//! What an image is called in files.

use crate::oci::Reference;

/// A name in the forms that readers of layouts and archives look for.
pub(super) struct Name {
    /// What `oci:DIR:TAG` selects.
    pub(super) tag: String,
    /// The whole reference with its tag, when it is one.
    pub(super) reference: Option<String>,
    /// As docker shows it: without its default host and namespace.
    pub(super) familiar: Option<String>,
}

impl Name {
    /// `text` is a whole reference (`example.com/app:1.0`, `app:1.0`) or a plain tag (`1.0`).
    pub(super) fn new(text: &str) -> Self {
        let parsed = text.parse::<Reference>().ok().filter(|_| text.contains(['/', ':']));
        let Some(reference) = parsed else {
            return Self { tag: text.to_owned(), reference: None, familiar: None };
        };
        let tag = reference.tag_or_latest().to_owned();
        let whole = format!("{}:{tag}", reference.repository);
        let familiar = whole.strip_prefix("docker.io/library/").or_else(|| whole.strip_prefix("docker.io/"));
        let familiar = familiar.unwrap_or(&whole).to_owned();
        Self { tag, reference: Some(whole), familiar: Some(familiar) }
    }
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn references_have_three_forms_and_tags_one() {
        for (text, tag, reference, familiar) in [
            ("localhost:5000/app:2", "2", Some("localhost:5000/app:2"), Some("localhost:5000/app:2")),
            ("app:2", "2", Some("docker.io/library/app:2"), Some("app:2")),
            ("me/app", "latest", Some("docker.io/me/app:latest"), Some("me/app:latest")),
            ("v1.0", "v1.0", None, None),
        ] {
            let name = Name::new(text);
            assert_eq!(
                (name.tag.as_str(), name.reference.as_deref(), name.familiar.as_deref()),
                (tag, reference, familiar)
            );
        }
    }
}
