//! `--call outline` and `--call targets`.

use std::fmt::Write as _;

use ocistage::{Outline, OutlineMount, Target};
use serde_json::{Value, json};

use crate::cli::render::visible;

use super::json::pretty;

/// The stages that can be built.
pub(super) fn targets(targets: &[Target], as_json: bool) -> String {
    if as_json {
        let list: Vec<Value> = targets
            .iter()
            .map(|target| {
                json!({
                    "name": target.name,
                    "default": target.is_default,
                    "description": target.description,
                    "base": target.base,
                    "line": target.line,
                })
            })
            .collect();
        return pretty(&json!({ "targets": list }));
    }
    let rows = targets.iter().map(|target| {
        let name = match target.is_default {
            true => format!("{} (default)", target.name),
            false => target.name.clone(),
        };
        vec![name, target.description.clone().unwrap_or_default()]
    });
    table(&["TARGET", "DESCRIPTION"], rows.collect())
}

/// What a target can be given.
pub(super) fn outline(outline: &Outline, as_json: bool) -> String {
    if as_json {
        let mounts = |list: &[OutlineMount]| -> Value {
            list.iter().map(|m| json!({"id": m.id, "required": m.required, "line": m.line})).collect()
        };
        let arguments: Vec<Value> = outline
            .arguments
            .iter()
            .map(|a| json!({"name": a.name, "value": a.value, "description": a.description, "line": a.line}))
            .collect();
        return pretty(&json!({
            "name": outline.name,
            "description": outline.description,
            "args": arguments,
            "secrets": mounts(&outline.secrets),
            "ssh": mounts(&outline.agents),
            "cacheMounts": mounts(&outline.caches),
        }));
    }
    let mut out = format!("TARGET:       {}\n", visible(&outline.name));
    if let Some(description) = &outline.description {
        let _ = writeln!(out, "DESCRIPTION:  {}", visible(description));
    }
    let arguments = outline.arguments.iter().map(|argument| {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        vec![argument.name.clone(), text(&argument.value), text(&argument.description)]
    });
    section(&mut out, &["BUILD ARG", "VALUE", "DESCRIPTION"], arguments.collect());
    let required = |list: &[OutlineMount]| {
        list.iter().map(|mount| vec![mount.id.clone(), mount.required.to_string()]).collect()
    };
    section(&mut out, &["SECRET", "REQUIRED"], required(&outline.secrets));
    section(&mut out, &["SSH", "REQUIRED"], required(&outline.agents));
    section(&mut out, &["CACHE"], outline.caches.iter().map(|mount| vec![mount.id.clone()]).collect());
    out
}

/// A table after an empty line, when it has rows.
fn section(out: &mut String, heads: &[&str], rows: Vec<Vec<String>>) {
    if !rows.is_empty() {
        out.push('\n');
        out.push_str(&table(heads, rows));
    }
}

/// Columns three blanks apart.
fn table(heads: &[&str], mut rows: Vec<Vec<String>>) -> String {
    rows.insert(0, heads.iter().map(|head| (*head).to_owned()).collect());
    for cell in rows.iter_mut().flatten() {
        *cell = visible(cell);
    }
    let mut widths = vec![0; heads.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}   ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use ocistage::text::Source;
    use ocistage::{CheckRequest, check};

    use super::*;

    const TEXT: &str =
        "ARG V=1\n# a compiles\nFROM scratch AS a\nARG V\nRUN --mount=type=secret,id=s x\nFROM a";

    #[test]
    fn targets_are_a_table_or_json() {
        let report = check(&CheckRequest::new(Source::new("f", TEXT)));
        assert_eq!(
            targets(&report.targets, false),
            "TARGET        DESCRIPTION\na             compiles\n1 (default)\n"
        );
        let value: Value = serde_json::from_str(&targets(&report.targets, true)).unwrap();
        assert_eq!(value["targets"][1]["default"], true);
    }

    #[test]
    fn an_outline_is_tables_or_json() {
        let mut request = CheckRequest::new(Source::new("f", TEXT));
        request.target = Some("a".to_owned());
        let report = check(&request).outline.unwrap();
        assert_eq!(
            outline(&report, false),
            "TARGET:       a\nDESCRIPTION:  compiles\n\nBUILD ARG   VALUE   DESCRIPTION\nV           1\n\n\
             SECRET   REQUIRED\ns        false\n"
        );
        let value: Value = serde_json::from_str(&outline(&report, true)).unwrap();
        assert_eq!(value["args"][0]["value"], "1");
        assert_eq!(value["secrets"][0]["required"], false);
    }
}
