//! What rules say that are checked where the thing happens.

use crate::oci::{ImageConfig, Platform};
use crate::text::{Diagnostic, Span};

/// WORKDIR with a relative path where only the base says what it is relative to.
pub(crate) fn relative_workdir(path: &str, span: Span) -> Diagnostic {
    let message = format!("relative WORKDIR `{path}` depends on the base image's working directory");
    Diagnostic::warning("WorkdirRelativePath", message).at(span).help("begin it with `/`")
}

/// CMD or ENTRYPOINT in shell form.
pub(crate) fn json_recommended(instruction: &str, span: Span) -> Diagnostic {
    let message = format!("{instruction} should be a JSON array: its shell does not pass signals on");
    let help = format!("write `{instruction} [\"program\", \"argument\"]`");
    Diagnostic::warning("JSONArgsRecommended", message).at(span).help(help)
}

/// An instruction that a later one of its kind makes void. `span` is the void one.
pub(crate) fn multiple_instructions(instruction: &str, span: Span) -> Diagnostic {
    let message = format!("{instruction} has no effect: the stage has another one below");
    Diagnostic::warning("MultipleInstructionsDisallowed", message).at(span)
}

/// A port of EXPOSE, expanded.
pub(crate) fn expose(port: &str, span: Span) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    let (numbers, protocol) = port.split_once('/').unwrap_or((port, ""));
    if numbers.contains(':') {
        let message = format!("EXPOSE should not name an address or port of the host: `{port}`");
        findings.push(Diagnostic::warning("ExposeInvalidFormat", message).at(span));
    }
    if protocol != protocol.to_lowercase() {
        let message = format!("protocol `{protocol}` in EXPOSE should be in lower case");
        findings.push(Diagnostic::warning("ExposeProtoCasing", message).at(span));
    }
    findings
}

/// A base whose config says that it is for another platform.
pub(crate) fn base_platform(
    name: &str,
    config: &ImageConfig,
    wanted: &Platform,
    span: Span,
) -> Option<Diagnostic> {
    let known = |text: &str| !text.is_empty();
    let actual = Platform::new(&config.os, &config.architecture, config.variant.as_deref());
    let differs = known(&config.os) && actual.os != wanted.os
        || known(&config.architecture) && actual.architecture != wanted.normalised().architecture;
    differs.then(|| {
        let message = format!("base image `{name}` is for {actual}, this build is for {wanted}");
        Diagnostic::warning("InvalidBaseImagePlatform", message).at(span)
    })
}
