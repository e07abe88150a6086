//! From text to plan.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::dockerfile::parse;
use crate::ids::StageId;
use crate::oci::{ImageConfig, Platform};
use crate::plan::model::{FileOp, Op, Plan, RunOp, StagePlan};
use crate::plan::{ImageKey, LowerSettings, MountSupport, RemoteSupport, ScanSettings, Stages, lower, scan};
use crate::text::{Diagnostic, Source};

/// A Dockerfile to be lowered.
pub(super) struct Rig {
    text: String,
    pub(super) scan: ScanSettings,
    pub(super) lower: LowerSettings,
    bases: BTreeMap<String, ImageConfig>,
}

/// What came of it.
pub(super) struct Lowered {
    pub(super) plan: Option<Plan>,
    pub(super) stages: Option<Stages>,
    pub(super) findings: Vec<Diagnostic>,
}

pub(super) fn rig(text: &str) -> Rig {
    Rig {
        text: text.to_owned(),
        scan: ScanSettings {
            build_args: BTreeMap::new(),
            target: None,
            also: Vec::new(),
            build_platform: Platform::new("linux", "amd64", None),
            target_platform: Platform::new("linux", "arm64", None),
            contexts: BTreeMap::new(),
        },
        lower: LowerSettings {
            mounts: MountSupport::ALL,
            remotes: RemoteSupport::ALL,
            ..LowerSettings::default()
        },
        bases: BTreeMap::new(),
    }
}

/// The text lowered without anything else.
pub(super) fn lowered(text: &str) -> Lowered {
    rig(text).run()
}

/// The target of the text.
pub(super) fn target(text: &str) -> StagePlan {
    lowered(text).target()
}

impl Rig {
    /// `--build-arg name=value`
    pub(super) fn arg(mut self, name: &str, value: &str) -> Self {
        self.scan.build_args.insert(name.to_owned(), value.to_owned());
        self.lower.build_args.insert(name.to_owned(), value.to_owned());
        self
    }

    /// An image of that name with that `config` object.
    pub(super) fn base(mut self, name: &str, config: impl Into<Value>) -> Self {
        let image = json!({"os": "linux", "architecture": "arm64", "config": config.into()});
        self.bases.insert(name.to_owned(), serde_json::from_value(image).unwrap());
        self
    }

    pub(super) fn run(self) -> Lowered {
        let parsed = parse(&Source::new("Dockerfile", self.text));
        let mut findings = parsed.diagnostics;
        assert!(!findings.iter().any(Diagnostic::is_error), "{findings:?}");
        let Some(mut stages) = scan(&parsed.file, self.scan, &mut findings) else {
            return Lowered { plan: None, stages: None, findings };
        };
        let bases = self.bases;
        let configs = |stages: &Stages| -> BTreeMap<ImageKey, ImageConfig> {
            let images = stages.images().into_iter();
            images.map(|key| (key.clone(), bases.get(&key.name).cloned().unwrap_or_default())).collect()
        };
        while stages.apply_triggers(&configs(&stages), &mut findings) {}
        let plan = lower(&stages, &configs(&stages), &self.lower, &mut findings);
        Lowered { plan, stages: Some(stages), findings }
    }

    /// Codes and messages of the errors.
    pub(super) fn errors(self) -> Vec<String> {
        let lowered = self.run();
        let errors = lowered.findings.iter().filter(|finding| finding.is_error());
        errors.map(|finding| format!("{}: {}", finding.code, finding.message)).collect()
    }
}

impl Lowered {
    pub(super) fn plan(&self) -> &Plan {
        self.plan.as_ref().unwrap_or_else(|| panic!("{:?}", self.findings))
    }

    pub(super) fn target(&self) -> StagePlan {
        self.plan().target().clone()
    }

    pub(super) fn stage(&self, index: usize) -> &StagePlan {
        &self.plan().stages[&StageId(index)]
    }

    /// The history lines of the target.
    pub(super) fn history(&self) -> Vec<String> {
        self.target().steps.iter().map(|step| step.created_by.clone()).collect()
    }

    /// Codes of all findings.
    pub(super) fn codes(&self) -> Vec<&'static str> {
        self.findings.iter().map(|finding| finding.code).collect()
    }
}

/// The `config` object of an image as JSON, without the environment's PATH and the default directory.
pub(super) fn config_of(stage: &StagePlan) -> Value {
    let mut value = serde_json::to_value(&stage.config.config).unwrap();
    if value["WorkingDir"] == "/" {
        value.as_object_mut().unwrap().remove("WorkingDir");
    }
    if let Some(env) = value["Env"].as_array_mut() {
        env.retain(|pair| !pair.as_str().unwrap().starts_with("PATH="));
        if env.is_empty() {
            value.as_object_mut().unwrap().remove("Env");
        }
    }
    value
}

/// The config of the text's target.
pub(super) fn config(text: &str) -> Value {
    config_of(&target(text))
}

/// The RUNs of a stage.
pub(super) fn runs(stage: &StagePlan) -> Vec<RunOp> {
    let runs = stage.steps.iter().filter_map(|step| match &step.op {
        Op::Run(op) => Some((**op).clone()),
        _ => None,
    });
    runs.collect()
}

/// The COPYs and ADDs of a stage.
pub(super) fn copies(stage: &StagePlan) -> Vec<FileOp> {
    let files = stage.steps.iter().filter_map(|step| match &step.op {
        Op::Files(op) => Some((**op).clone()),
        _ => None,
    });
    files.collect()
}

/// The value of a variable in a RUN.
pub(super) fn env<'a>(run: &'a RunOp, name: &str) -> Option<&'a str> {
    run.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}
