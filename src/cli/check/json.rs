//! Findings and parsed files as JSON.

use ocistage::text::Diagnostic;
use ocistage::{CheckReport, CheckVerdict};
use serde_json::{Value, json};

/// `{"files": [{"file", "verdict", "findings": [{"code", "severity", "message", "help", "start", "end"}]}]}`. Places are
/// `{"line", "column"}`, both from 1; the end is after the last character.
pub(super) fn reports(reports: &[CheckReport]) -> String {
    let files: Vec<Value> = reports
        .iter()
        .map(|report| {
            json!({
                "file": report.source().name(),
                "verdict": match report.verdict() {
                    CheckVerdict::Clean => "clean",
                    CheckVerdict::Failed => "failed",
                    CheckVerdict::NotADockerfile => "not-a-dockerfile",
                },
                "findings": findings(report),
            })
        })
        .collect();
    pretty(&json!({ "files": files }))
}

/// The parsed file, one object a line when there are several. Errors are in it under `findings`.
pub(super) fn trees(reports: &[CheckReport]) -> String {
    let tree = |report: &CheckReport| {
        let mut tree = report.ast();
        if report.verdict() != CheckVerdict::Clean {
            tree["findings"] = findings(report);
        }
        tree
    };
    match reports {
        [only] => pretty(&tree(only)),
        reports => reports.iter().map(|report| format!("{}\n", tree(report))).collect(),
    }
}

pub(super) fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn findings(report: &CheckReport) -> Value {
    report.diagnostics.iter().map(|finding| of_finding(report, finding)).collect()
}

fn of_finding(report: &CheckReport, finding: &Diagnostic) -> Value {
    let mut value = json!({
        "code": finding.code,
        "severity": finding.severity.as_str(),
        "message": finding.message,
        "help": finding.help,
    });
    if let Some(span) = finding.span() {
        for (name, offset) in [("start", span.start), ("end", span.end)] {
            let place = report.source().position(offset);
            value[name] = json!({"line": place.line, "column": place.column});
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use ocistage::text::Source;
    use ocistage::{CheckRequest, check};

    use super::*;

    fn report(text: &str) -> CheckReport {
        check(&CheckRequest::new(Source::new("Dockerfile", text)))
    }

    #[test]
    fn findings_are_objects_with_places() {
        let value: Value = serde_json::from_str(&reports(&[report("FROM scratch\nWORKDIR app")])).unwrap();
        let file = &value["files"][0];
        assert_eq!((&file["file"], &file["verdict"]), (&json!("Dockerfile"), &json!("clean")));
        let finding = &file["findings"][0];
        assert_eq!(finding["code"], "WorkdirRelativePath");
        assert_eq!(finding["start"], json!({"line": 2, "column": 9}));
        assert_eq!(finding["end"], json!({"line": 2, "column": 12}));
    }

    #[test]
    fn a_tree_has_nodes_and_what_is_wrong() {
        let one: Value = serde_json::from_str(&trees(&[report("FROM scratch\nRUN x")])).unwrap();
        assert_eq!(one["nodes"][1]["args"], json!(["x"]));
        assert!(one.get("findings").is_none());
        let several = trees(&[report("FROM scratch"), report("RUN x")]);
        let second: Value = serde_json::from_str(several.lines().nth(1).unwrap()).unwrap();
        assert_eq!(second["findings"][0]["code"], "no-stage");
    }
}
