//! Which records go when room is made. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::oci::DiffId;

use super::record::RecordName;
use super::shelf::{Entry, SHARED_PREFIX};

/// What may go. A record stays when any of these keeps it.
#[derive(Clone, Debug, Default)]
pub(crate) struct PruneRule {
    /// Younger records stay, in seconds; `None`: age keeps nothing.
    pub(crate) older_than: Option<i64>,
    /// So many of the youngest of each kind stay.
    pub(crate) keep: usize,
    /// Records whose tag is like one of these stay: `*` is any text, `?` any character.
    pub(crate) keep_tags: Vec<String>,
}

/// The tags of the records that go, `now` in seconds since 1970. A record without a time counts as the oldest.
/// A table of contents has none: it goes when no image stays that has its layer.
pub(crate) fn going(entries: &[Entry], rule: &PruneRule, now: i64) -> BTreeSet<String> {
    let is_toc = |entry: &&Entry| matches!(entry.name, RecordName::Toc(_));
    let mut kinds: BTreeMap<u8, Vec<&Entry>> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| !is_toc(entry)) {
        kinds.entry(kind(&entry.name)).or_default().push(entry);
    }
    let mut going = BTreeSet::new();
    for entries in kinds.values_mut() {
        entries.sort_by(|a, b| (b.recorded, &a.tag).cmp(&(a.recorded, &b.tag)));
        let old = entries.iter().skip(rule.keep).filter(|entry| {
            let age = entry.recorded.map_or(i64::MAX, |time| now.saturating_sub(time));
            rule.older_than.is_none_or(|limit| age > limit) && !rule.keeps_tag(&entry.tag)
        });
        going.extend(old.map(|entry| entry.tag.clone()));
    }
    let staying = entries.iter().filter(|entry| !going.contains(&entry.tag)).filter_map(Entry::image);
    let layers: BTreeSet<DiffId> = staying.flat_map(|config| config.rootfs.diff_ids).collect();
    going.extend(entries.iter().filter(is_toc).filter_map(|entry| {
        let used = matches!(entry.name, RecordName::Toc(layer) if layers.contains(&layer));
        (!used && !rule.keeps_tag(&entry.tag)).then(|| entry.tag.clone())
    }));
    going
}

impl PruneRule {
    fn keeps_tag(&self, tag: &str) -> bool {
        let bare = tag.strip_prefix(SHARED_PREFIX).unwrap_or(tag);
        self.keep_tags
            .iter()
            .any(|glob| is_like(glob.as_bytes(), tag.as_bytes()) || is_like(glob.as_bytes(), bare.as_bytes()))
    }
}

fn kind(name: &RecordName) -> u8 {
    match name {
        RecordName::Build(_) => 0,
        RecordName::Stage(_) => 1,
        RecordName::Step(_) => 2,
        RecordName::Toc(_) => 3,
    }
}

/// Whether `text` is like `glob`. Tags have no separators, so a `*` stops at nothing.
fn is_like(glob: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    // Where the last `*` is, and what it took so far.
    let mut star = None;
    while from < text.len() {
        match glob.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(symbol) if *symbol == b'?' || *symbol == text[from] => {
                at += 1;
                from += 1;
            }
            _ => match star {
                Some((position, taken)) => {
                    star = Some((position, taken + 1));
                    at = position + 1;
                    from = taken + 1;
                }
                None => return false,
            },
        }
    }
    glob[at..].iter().all(|symbol| *symbol == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Record, StepRecord};
    use crate::oci::{Digest, Document, ImageConfig, Manifest, media_type};

    const DAY: i64 = 24 * 3600;
    const NOW: i64 = 100 * DAY;

    fn tag(kind: &str, number: u8) -> String {
        format!("{kind}-{}", format!("{number:02x}").repeat(32))
    }

    /// The record of a step that was carried out so many days ago.
    fn step(number: u8, days: i64) -> Entry {
        let step = StepRecord {
            parent: None,
            diff_id: None,
            created: 0,
            recorded: NOW - days * DAY,
            duration_ms: 0,
            instruction: String::new(),
            inputs: BTreeMap::new(),
        };
        let config = serde_json::to_vec(&step).unwrap().into();
        entry(&tag("step", number), Record::of_step(&step, None).manifest, config, Some(step.recorded))
    }

    /// The record of an image with one layer.
    fn image(tag: &str, layer: DiffId, recorded: Option<i64>) -> Entry {
        let mut config = ImageConfig::default();
        config.rootfs.diff_ids = vec![layer];
        let config = Document::write(media_type::OCI_CONFIG, config);
        let manifest = Manifest {
            schema_version: 2,
            media_type: None,
            artifact_type: None,
            config: config.descriptor().clone(),
            layers: Vec::new(),
            annotations: BTreeMap::new(),
            other: BTreeMap::new(),
        };
        let manifest = Document::write(media_type::OCI_MANIFEST, manifest);
        entry(tag, manifest, config.bytes().clone(), recorded)
    }

    fn entry(
        tag: &str,
        manifest: Document<Manifest>,
        config: std::sync::Arc<[u8]>,
        recorded: Option<i64>,
    ) -> Entry {
        let bare = tag.strip_prefix(SHARED_PREFIX).unwrap_or(tag);
        Entry { tag: tag.to_owned(), name: RecordName::parse(bare).unwrap(), manifest, config, recorded }
    }

    fn gone(entries: &[Entry], rule: &PruneRule) -> Vec<String> {
        going(entries, rule, NOW).into_iter().collect()
    }

    #[test]
    fn age_and_number_each_keep_what_they_keep() {
        let entries =
            [step(1, 1), step(2, 20), step(3, 30), image(&tag("build", 4), DiffId(Digest::of(b"")), None)];
        let rule = |older_than: Option<i64>, keep| PruneRule { older_than, keep, keep_tags: Vec::new() };
        let (one, two, three, build) = (tag("step", 1), tag("step", 2), tag("step", 3), tag("build", 4));
        assert_eq!(gone(&entries, &rule(Some(14 * DAY), 0)), [&build, &two, &three].map(String::clone));
        assert_eq!(gone(&entries, &rule(None, 1)), [&two, &three].map(String::clone));
        assert_eq!(gone(&entries, &rule(Some(14 * DAY), 2)), std::slice::from_ref(&three));
        assert_eq!(gone(&entries, &rule(None, 0)), [build, one, two, three]);
        assert!(gone(&entries, &rule(Some(30 * DAY), 1)).is_empty());
    }

    #[test]
    fn tags_are_kept_by_what_they_are_like_with_and_without_the_prefix() {
        let shared = |number| {
            let mut entry = step(number, 50);
            entry.tag.insert_str(0, SHARED_PREFIX);
            entry
        };
        let entries = [step(0xaa, 50), step(0xbb, 50), shared(0xaa), shared(0xcc)];
        let rule = PruneRule {
            keep_tags: vec!["step-aa*".into(), "cache-step-c?c*".into()],
            ..PruneRule::default()
        };
        assert_eq!(gone(&entries, &rule), [tag("step", 0xbb)]);
    }

    #[test]
    fn a_table_of_contents_goes_with_the_last_image_that_has_its_layer() {
        let digest =
            |number: u8| format!("sha256:{}", format!("{number:02x}").repeat(32)).parse::<Digest>().unwrap();
        let toc = |number| {
            let record = Record::of_toc(b"x".as_slice().into());
            entry(&tag("toc", number), record.manifest, b"{}".as_slice().into(), None)
        };
        let image_of = |number| {
            image(&tag("stage", number), DiffId(digest(number)), Some(NOW - i64::from(number) * DAY))
        };
        let entries = [toc(1), toc(2), toc(3), image_of(1), image_of(2)];
        let rule = PruneRule { keep: 1, ..PruneRule::default() };
        assert_eq!(gone(&entries, &rule), [tag("stage", 2), tag("toc", 2), tag("toc", 3)]);
    }

    #[test]
    fn a_star_is_any_text_and_a_question_mark_any_character() {
        for (glob, text, expected) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abbcd", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*b*", "abc", true),
            ("a*bc*d", "abcbcxd", true),
            ("", "a", false),
        ] {
            assert_eq!(is_like(glob.as_bytes(), text.as_bytes()), expected, "{glob} {text}");
        }
    }
}
