//! Findings for people.

use std::fmt::Write as _;

use ocistage::CheckReport;

use crate::cli::render::visible;

/// All findings, each with its place, and a last line that counts them.
pub(super) fn reports(reports: &[CheckReport]) -> String {
    let mut out = String::new();
    let (mut errors, mut warnings) = (0, 0);
    for report in reports {
        for finding in &report.diagnostics {
            *(if finding.is_error() { &mut errors } else { &mut warnings }) += 1;
            let drawn = finding.render_plain(report.source());
            out.extend(drawn.lines().map(|line| visible(line) + "\n"));
            if finding.labels.is_empty() {
                let _ = writeln!(out, " --> {}", visible(report.source().name()));
            }
            out.push('\n');
        }
    }
    let of = match reports {
        [only] => visible(only.source().name()),
        reports => format!("{} files", reports.len()),
    };
    let found = match (errors, warnings) {
        (0, 0) => "no findings".to_owned(),
        (errors, 0) => counted(errors, "error"),
        (0, warnings) => counted(warnings, "warning"),
        (errors, warnings) => format!("{}, {}", counted(errors, "error"), counted(warnings, "warning")),
    };
    let _ = writeln!(out, "{of}: {found}");
    out
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use ocistage::text::Source;
    use ocistage::{CheckRequest, check};

    use super::*;

    #[test]
    fn findings_have_a_place_and_are_counted() {
        let text = "# check=skip=JSONArgsRecommended\nFROM scratch\nWORKDIR app\nEXPOSE x\x1b[2J\n";
        let report = check(&CheckRequest::new(Source::new("Dockerfile", text)));
        let shown = reports(&[report]);
        assert!(shown.starts_with("warning[WorkdirRelativePath]: "), "{shown}");
        assert!(shown.contains("\n --> Dockerfile:3:9\n"), "{shown}");
        assert!(shown.ends_with("\n\nDockerfile: 1 error, 1 warning\n"), "{shown}");
        assert!(!shown.contains('\x1b'), "{shown}");
        let clean = check(&CheckRequest::new(Source::new("f", "FROM scratch")));
        assert_eq!(reports(std::slice::from_ref(&clean)), "f: no findings\n");
        assert_eq!(reports(&[clean.clone(), clean]), "2 files: no findings\n");
    }
}
