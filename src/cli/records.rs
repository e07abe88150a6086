//! `cache ls`, `cache inspect`, `cache prune`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ocistage::{
    Builder, CachePlace, CacheRecord, Error, EventSink, PruneReport, PruneRequest, RecordDetails,
    RecordsRequest,
};
use serde_json::{Value, json};

use super::args::{CacheCommand, CachePlaceOptions, PruneArgs};
use super::environment::Environment;
use super::errand::{Errand, What};
use super::failure::Failure;
use super::render::{size, visible};
use super::spool::Spool;
use super::{cache, duration, request};

/// What is wanted of a cache.
pub(crate) struct Records {
    place: RecordsRequest,
    wanted: Wanted,
}

enum Wanted {
    List { json: bool },
    Inspect { key: String, json: bool },
    Prune(PruneRequest),
}

/// Reads what is wanted of a cache.
pub(crate) fn records(command: CacheCommand, environment: &Environment) -> Result<Errand, Failure> {
    let (place, wanted) = match command {
        CacheCommand::Ls { place, json } => (place, Wanted::List { json }),
        CacheCommand::Inspect { key, place, json } => {
            if key.len() < 4 {
                return Err(Failure::input(format!(
                    "`{key}` is too short for a key: give at least four digits"
                )));
            }
            (place, Wanted::Inspect { key, json })
        }
        CacheCommand::Prune(args) => {
            let rule = rule(&args)?;
            (args.place, Wanted::Prune(rule))
        }
    };
    let (mut held, mut warnings) = (Vec::new(), Vec::new());
    let place = place_of(&place, environment, &mut held, &mut warnings)?;
    Ok(Errand { what: What::Records(Box::new(Records { place, wanted })), held, warnings })
}

fn rule(args: &PruneArgs) -> Result<PruneRequest, Failure> {
    if args.older_than.is_none() && args.keep.is_none() {
        return Err(Failure::input("nothing says what may go")
            .hint("--older-than 14d, --keep 100, or both; --older-than 0 is everything"));
    }
    Ok(PruneRequest {
        older_than: args
            .older_than
            .as_deref()
            .map(|text| duration::parse("--older-than", text))
            .transpose()?,
        keep: args.keep.unwrap_or(0),
        keep_tags: args.keep_tag.clone(),
        dry_run: args.dry_run,
    })
}

fn place_of(
    options: &CachePlaceOptions,
    environment: &Environment,
    held: &mut Vec<Spool>,
    warnings: &mut Vec<String>,
) -> Result<RecordsRequest, Failure> {
    let mut targets = BTreeSet::new();
    let place = match (&options.cache_repo, &options.cache_dir) {
        (Some(text), _) => {
            let (repository, warning) = cache::parse_repository(text)?;
            warnings.extend(warning);
            targets.insert(repository.host().clone());
            Some(CachePlace::Repository(repository))
        }
        (None, Some(path)) => Some(CachePlace::Folder(path.clone())),
        (None, None) => None,
    };
    let registries = request::access(&options.access, &targets, environment, held, warnings)?;
    let state = request::state(options.state_dir.as_deref(), false, environment)?;
    Ok(RecordsRequest { place, registries, state })
}

impl Records {
    /// Does it; what is said of it.
    pub(crate) async fn carry_out(
        self,
        builder: &Builder,
        events: Arc<dyn EventSink>,
    ) -> Result<String, Error> {
        let Self { place, wanted } = self;
        let repository = matches!(place.place, Some(CachePlace::Repository(_)));
        Ok(match wanted {
            Wanted::List { json: false } => table(&builder.records(place, events).await?, now()),
            Wanted::List { json: true } => {
                let records = builder.records(place, events).await?;
                records.iter().map(|record| format!("{}\n", Value::Object(object(record)))).collect()
            }
            Wanted::Inspect { key, json } => {
                let details = builder.record(place, &key, events).await?;
                if json { as_json(&details) } else { as_text(&details, now()) }
            }
            Wanted::Prune(rule) => {
                let dry_run = rule.dry_run;
                pruned(&builder.prune(place, rule, events).await?, dry_run, repository)
            }
        })
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The first twelve digits: enough to tell records apart.
fn short(key: &str) -> &str {
    key.get(..12).unwrap_or(key)
}

/// `3d`, in the largest unit that fits; `-` when it is not known.
fn age(recorded: Option<i64>, now: i64) -> String {
    let Some(recorded) = recorded else { return "-".to_owned() };
    let seconds = now.saturating_sub(recorded).max(0);
    for (unit, name) in [(86_400, "d"), (3_600, "h"), (60, "m")] {
        if seconds >= unit {
            return format!("{}{name}", seconds / unit);
        }
    }
    format!("{seconds}s")
}

fn table(records: &[CacheRecord], now: i64) -> String {
    let mut out = format!("{:<6} {:<13} {:>9} {:>5}  OF\n", "KIND", "KEY", "SIZE", "AGE");
    for record in records {
        let _ = writeln!(out, "{}", line(record, now));
    }
    out
}

fn line(record: &CacheRecord, now: i64) -> String {
    let (kind, key) = (record.kind.as_str(), short(&record.key));
    let line = format!(
        "{kind:<6} {key:<13} {:>9} {:>5}  {}",
        size(record.size),
        age(record.recorded, now),
        visible(&record.about)
    );
    line.trim_end().to_owned()
}

fn object(record: &CacheRecord) -> serde_json::Map<String, Value> {
    let object = json!({
        "kind": record.kind.as_str(),
        "key": record.key,
        "tag": record.tag,
        "digest": record.digest.to_string(),
        "size": record.size,
        "recorded": record.recorded,
        "about": record.about,
    });
    match object {
        Value::Object(object) => object,
        _ => serde_json::Map::new(),
    }
}

/// A stored document; text when it is no JSON.
fn document(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

fn as_json(details: &RecordDetails) -> String {
    let mut object = object(&details.record);
    object.insert("manifest".to_owned(), document(&details.manifest));
    object.insert("config".to_owned(), document(&details.config));
    let missing: Vec<String> = details.missing.iter().map(ToString::to_string).collect();
    object.insert("missing".to_owned(), json!(missing));
    format!("{:#}\n", Value::Object(object))
}

fn as_text(details: &RecordDetails, now: i64) -> String {
    let record = &details.record;
    let mut out = String::new();
    let mut field = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<10} {}", visible(value));
    };
    field("kind", record.kind.as_str());
    field("key", &record.key);
    field("tag", &record.tag);
    field("manifest", &record.digest.to_string());
    field("size", &size(record.size));
    field("age", &age(record.recorded, now));
    if !record.about.is_empty() {
        field("of", &record.about);
    }
    let (manifest, config) = (document(&details.manifest), document(&details.config));
    for layer in manifest["layers"].as_array().into_iter().flatten() {
        let bytes = layer["size"].as_u64().unwrap_or(0);
        let digest = layer["digest"].as_str().unwrap_or_default();
        let here = !details.missing.iter().any(|missing| missing.to_string() == digest);
        field("layer", &format!("{digest} {}{}", size(bytes), if here { "" } else { ", not here" }));
    }
    for (name, value) in config["inputs"].as_object().into_iter().flatten() {
        field("input", &format!("{name} {}", value.as_str().unwrap_or_default()));
    }
    out
}

fn pruned(report: &PruneReport, dry_run: bool, repository: bool) -> String {
    let mut out = String::new();
    let verb = if dry_run { "would remove" } else { "removed" };
    for record in &report.removed {
        let of =
            format!("{verb} {} {}  {}", record.kind.as_str(), short(&record.key), visible(&record.about));
        let _ = writeln!(out, "{}", of.trim_end());
    }
    for (record, other) in &report.stayed {
        let _ = writeln!(
            out,
            "kept {} {}: it is the image of the tag {other}, and the registry deletes no tag alone",
            record.kind.as_str(),
            short(&record.key)
        );
    }
    let (removed, kept) = (report.removed.len(), report.kept + report.stayed.len());
    let freed = match (report.freed, dry_run || removed == 0) {
        (Some(bytes), false) => format!(", {} freed", size(bytes)),
        (None, false) if repository => "; the registry frees their blobs when it collects garbage".to_owned(),
        (None, false) => "; a build uses the cache now, so their blobs stay until the next time".to_owned(),
        (_, true) => String::new(),
    };
    let _ = writeln!(
        out,
        "{removed} {verb}, {kept} kept{freed}",
        verb = if dry_run { "to remove" } else { "removed" }
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocistage::RecordKind;

    fn record(kind: RecordKind, recorded: Option<i64>, about: &str) -> CacheRecord {
        CacheRecord {
            kind,
            key: "0123456789abcdef".repeat(4),
            tag: "step-0123".to_owned(),
            digest: ocistage::oci::Digest::of(b""),
            size: 1_234_567,
            recorded,
            about: about.to_owned(),
        }
    }

    #[test]
    fn the_table_has_a_line_for_each_record_and_steers_no_terminal() {
        let records =
            [record(RecordKind::Step, Some(0), "RUN a\x1b[2J"), record(RecordKind::Contents, None, "")];
        assert_eq!(
            table(&records, 3 * 86_400 + 5),
            "KIND   KEY                SIZE   AGE  OF\n\
             step   0123456789ab     1.2 MB    3d  RUN a\\x1b[2J\n\
             toc    0123456789ab     1.2 MB     -\n"
        );
    }

    #[test]
    fn ages_are_told_in_the_largest_unit() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (60, "1m"), (7_199, "1h"), (172_800, "2d"), (-5, "0s")]
        {
            assert_eq!(age(Some(100 - seconds), 100), text);
        }
    }

    #[test]
    fn pruning_tells_what_went_and_what_became_of_the_bytes() {
        let step = record(RecordKind::Step, None, "RUN a");
        let report =
            PruneReport { removed: vec![step.clone()], kept: 2, freed: Some(5), ..PruneReport::default() };
        assert_eq!(
            pruned(&report, false, false),
            "removed step 0123456789ab  RUN a\n1 removed, 2 kept, 5 B freed\n"
        );
        let report = PruneReport { freed: None, ..report };
        assert!(pruned(&report, false, true).contains("the registry frees"));
        assert!(pruned(&report, false, false).contains("a build uses the cache"));
        assert_eq!(
            pruned(&report, true, true),
            "would remove step 0123456789ab  RUN a\n1 to remove, 2 kept\n"
        );
        let report = PruneReport { stayed: vec![(step, "v1".to_owned())], ..PruneReport::default() };
        assert!(pruned(&report, false, true).contains("the tag v1"));
    }
}
