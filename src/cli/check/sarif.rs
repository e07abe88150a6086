//! Findings as SARIF 2.1.0, which code hosts show beside the changed lines.

use std::collections::BTreeMap;

use ocistage::text::Diagnostic;
use ocistage::{CheckReport, check_rules};
use serde_json::{Value, json};

/// One run with the findings of all files.
pub(super) fn reports(reports: &[CheckReport]) -> String {
    let mut rules: BTreeMap<&str, Value> = BTreeMap::new();
    for rule in check_rules() {
        let described = json!({"id": rule.name, "shortDescription": {"text": rule.description}});
        rules.insert(rule.name, described);
    }
    let mut results = Vec::new();
    for report in reports {
        for finding in &report.diagnostics {
            // Errors of the language are no rules; a viewer wants an entry for each id all the same.
            rules.entry(finding.code).or_insert_with(|| json!({"id": finding.code}));
            results.push(result(report, finding));
        }
    }
    super::json::pretty(&json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "ocistage",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.into_values().collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    }))
}

fn result(report: &CheckReport, finding: &Diagnostic) -> Value {
    let mut text = finding.message.clone();
    for help in &finding.help {
        text.push_str("; ");
        text.push_str(help);
    }
    let mut place = json!({"artifactLocation": {"uri": uri(report.source().name())}});
    if let Some(span) = finding.span() {
        let (start, end) = (report.source().position(span.start), report.source().position(span.end));
        place["region"] = json!({
            "startLine": start.line,
            "startColumn": start.column,
            "endLine": end.line,
            "endColumn": end.column,
        });
    }
    json!({
        "ruleId": finding.code,
        "level": finding.severity.as_str(),
        "message": {"text": text},
        "locations": [{"physicalLocation": place}],
    })
}

/// A path as a relative reference (RFC 3986): what a path may have and a URI not is written in percent signs.
fn uri(path: &str) -> String {
    let mut out = String::new();
    for byte in path.trim_start_matches("./").bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use ocistage::text::Source;
    use ocistage::{CheckRequest, check};

    use super::*;

    #[test]
    fn results_have_rule_level_and_region() {
        let text = "FROM scratch\nWORKDIR app\nEXPOSE x";
        let report = check(&CheckRequest::new(Source::new("./my dir/Dockerfile", text)));
        let value: Value = serde_json::from_str(&reports(&[report])).unwrap();
        let run = &value["runs"][0];
        let ids: Vec<_> = run["results"].as_array().unwrap().iter().map(|r| r["ruleId"].clone()).collect();
        assert_eq!(ids, ["WorkdirRelativePath", "bad-port"]);
        let place = &run["results"][0]["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "my%20dir/Dockerfile");
        let region = json!({"startLine": 2, "startColumn": 9, "endLine": 2, "endColumn": 12});
        assert_eq!(place["region"], region);
        assert_eq!(run["results"][1]["level"], "error");
        let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
        assert!(rules.iter().any(|rule| rule["id"] == "bad-port"));
        assert_eq!(rules.len(), 23);
    }
}
