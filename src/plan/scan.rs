//! Stages, and what they need from outside.

use std::collections::{BTreeMap, BTreeSet};

use crate::dockerfile::{
    ArgItem, Dockerfile, From, Instruction, InstructionKind, Mount, Word, parse_trigger,
};
use crate::ids::StageId;
use crate::oci::{ImageConfig, Platform, Reference};
use crate::text::{Diagnostic, Span, suggest};

use super::graph::{Edge, needed};
use super::model::{FileOrigin, ImageKey};
use super::scope::{Expander, Undefined, Variables, platform_arguments};

/// What the request says that scanning needs.
#[derive(Clone, Debug)]
pub(crate) struct ScanSettings {
    /// `--build-arg`
    pub(crate) build_args: BTreeMap<String, String>,
    /// `--target`
    pub(crate) target: Option<String>,
    /// Further stages to build, by name or number.
    pub(crate) also: Vec<String>,
    /// Where the build runs.
    pub(crate) build_platform: Platform,
    /// What it is for.
    pub(crate) target_platform: Platform,
    /// `--build-context` by name, and whether it is a directory (not an image).
    pub(crate) contexts: BTreeMap<String, bool>,
}

/// The stages of a file.
#[derive(Clone, Debug)]
pub(crate) struct Stages {
    /// In file order.
    pub(crate) list: Vec<StageSource>,
    /// The stage to build.
    pub(crate) target: StageId,
    /// Further stages to build.
    also: Vec<StageId>,
    /// Values that FROM lines and `ARG X` without default see.
    pub(super) globals: Variables,
    /// The same without `--build-arg`.
    defaults: Variables,
    pub(super) escape: char,
    pub(super) settings: ScanSettings,
}

/// One stage as written.
#[derive(Clone, Debug)]
pub(crate) struct StageSource {
    /// Its number.
    pub(crate) id: StageId,
    /// Its name in lower case, or `stage-N`.
    pub(crate) name: String,
    /// Whether the file gives it its name: only then other instructions can use it.
    pub(crate) named: bool,
    /// What it begins with.
    pub(crate) base: BaseName,
    /// Its platform: that of its FROM's flag for an image, that of the stage it begins with for a stage, the
    /// build's for `scratch`.
    pub(crate) platform: Platform,
    /// What its FROM names.
    pub(crate) span: Span,
    /// The FROM's line, from 1.
    pub(crate) line: usize,
    /// What it says, triggers first.
    pub(crate) instructions: Vec<Sourced>,
    triggered: bool,
}

/// An instruction and how it came into the stage.
#[derive(Clone, Debug)]
pub(crate) struct Sourced {
    /// What it says.
    pub(crate) instruction: Instruction,
    /// Whether it is an ONBUILD trigger of the base; its spans then point into another text.
    pub(crate) trigger: bool,
}

/// What a FROM names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BaseName {
    /// `scratch`
    Scratch,
    /// An earlier stage.
    Stage(StageId),
    /// An image, or a named context that stands for one.
    Image(String),
}

/// Group `file` into stages. Warnings are added to `diagnostics`; `None` when there are errors among them.
pub(crate) fn scan(
    file: &Dockerfile,
    settings: ScanSettings,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Stages> {
    let first_error = diagnostics.len();
    let escape = file.escape();
    let (mut globals, mut defaults) = (Variables::default(), Variables::default());
    let no_args = BTreeMap::new();
    let stage_name = settings.target.clone().unwrap_or_else(|| "default".to_owned());
    for (name, value) in platform_arguments(&settings.build_platform, &settings.target_platform, &stage_name)
    {
        defaults.set(name, value.as_str());
        globals.set(name, settings.build_args.get(name).cloned().unwrap_or(value));
    }
    let mut list: Vec<StageSource> = Vec::new();
    for instruction in &file.instructions {
        match (&instruction.kind, list.last_mut()) {
            (InstructionKind::From(from), _) => {
                let id = StageId(list.len());
                let stage =
                    open_stage(id, from, instruction, &list, &globals, escape, &settings, diagnostics);
                list.push(stage);
            }
            (InstructionKind::Arg(items), None) => {
                global_arguments(items, &mut globals, escape, &settings.build_args, diagnostics);
                // What is wrong with the defaults alone is said by the FROM that they make wrong.
                global_arguments(items, &mut defaults, escape, &no_args, &mut Vec::new());
            }
            (_, None) => {
                let message = format!("{} stands before the first FROM", instruction.kind.name());
                let finding = Diagnostic::error("no-from", message).at(instruction.keyword.span);
                diagnostics.push(finding.help("begin with FROM; only ARG may come before it"));
            }
            (_, Some(stage)) => {
                stage.instructions.push(Sourced { instruction: instruction.clone(), trigger: false });
            }
        }
    }
    if list.is_empty() {
        let span = Span::at(0);
        diagnostics
            .push(Diagnostic::error("no-from", "no FROM in the file: there is nothing to build").at(span));
        return None;
    }
    // A stage's own ONBUILDs fire in the stages of this file that begin with it.
    for index in 0..list.len() {
        if let BaseName::Stage(base) = list[index].base {
            let triggers: Vec<Sourced> = list[base.0]
                .instructions
                .iter()
                .filter_map(|sourced| match &sourced.instruction.kind {
                    InstructionKind::Onbuild(onbuild) => {
                        Some(Sourced { instruction: (*onbuild.trigger).clone(), trigger: sourced.trigger })
                    }
                    _ => None,
                })
                .collect();
            list[index].instructions.splice(0..0, triggers);
        }
    }
    let target = match settings.target.as_deref() {
        Some(name) => find_target("target stage", name, &list, diagnostics),
        None => Some(StageId(list.len() - 1)),
    };
    let also =
        settings.also.iter().filter_map(|name| find_target("stage to publish", name, &list, diagnostics));
    let also: Vec<StageId> = also.collect();
    let failed = diagnostics[first_error..].iter().any(Diagnostic::is_error);
    let target = target.filter(|_| !failed)?;
    let stages = Stages { list, target, also, globals, defaults, escape, settings };
    // Names of stages that do not exist or come later are errors even where nothing needs them.
    let mut found = Vec::new();
    for stage in &stages.list {
        for sourced in &stage.instructions {
            let _ = stages.origins(stage, sourced, &mut found);
        }
    }
    let failed = found.iter().any(Diagnostic::is_error);
    diagnostics.extend(found.into_iter().filter(Diagnostic::is_error));
    (!failed).then_some(stages)
}

/// ARGs before the first FROM.
fn global_arguments(
    items: &[ArgItem],
    globals: &mut Variables,
    escape: char,
    build_args: &BTreeMap<String, String>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    for item in items {
        let mut expander = Expander { escape, undefined: Undefined::Silent, diagnostics };
        let name = expander.text(&item.name, globals);
        globals.declare(&name);
        // A default that is not used is not expanded either: it may be `${X:?message}`.
        let value = match build_args.get(&name) {
            Some(given) => Some(given.clone()),
            None => expander.optional(item.default.as_ref(), globals),
        };
        if let Some(value) = value {
            globals.set(&name, value);
        }
    }
}

#[allow(clippy::too_many_arguments)]
fn open_stage(
    id: StageId,
    from: &From,
    instruction: &Instruction,
    before: &[StageSource],
    globals: &Variables,
    escape: char,
    settings: &ScanSettings,
    diagnostics: &mut Vec<Diagnostic>,
) -> StageSource {
    let mut expander = Expander { escape, undefined: Undefined::InFrom, diagnostics };
    let image = expander.text(&from.image, globals);
    let platform = from.platform.as_ref().map(|word| (word, expander.text(word, globals)));
    let platform = match platform {
        None => settings.target_platform.clone(),
        Some((word, text)) => text.parse().unwrap_or_else(|error: crate::oci::PlatformError| {
            diagnostics.push(Diagnostic::error("bad-platform", error.to_string()).at(word.span));
            settings.target_platform.clone()
        }),
    };
    let base = if image.is_empty() {
        let message = format!("the base image's name is empty once `{}` is expanded", from.image.text);
        let finding = Diagnostic::error("empty-base", message).at(from.image.span);
        diagnostics.push(finding.help("give the ARG a default before the first FROM, or pass --build-arg"));
        BaseName::Scratch
    } else if let Some(is_directory) = settings.contexts.get(&image) {
        if *is_directory {
            let message =
                format!("named context `{image}` is a directory and can not be the base of a stage");
            diagnostics.push(Diagnostic::error("context-as-base", message).at(from.image.span));
        }
        BaseName::Image(image)
    } else if let Some(stage) = find_named(before, &image) {
        BaseName::Stage(stage.id)
    } else if image == "scratch" {
        BaseName::Scratch
    } else {
        if let Err(error) = image.parse::<Reference>() {
            let mut finding = Diagnostic::error("bad-reference", error.to_string()).at(from.image.span);
            if let Some(near) = suggest(&image, named(before)) {
                finding = finding.help(format!("did you mean the stage `{near}`?"));
            }
            diagnostics.push(finding);
        }
        BaseName::Image(image)
    };
    let platform = match &base {
        BaseName::Stage(used) => before[used.0].platform.clone(),
        // Nothing has no platform to choose: the image is for the target.
        BaseName::Scratch => settings.target_platform.clone(),
        BaseName::Image(_) => platform,
    };
    let name = from.alias.as_ref().map_or_else(|| format!("stage-{id}"), |alias| alias.text.to_lowercase());
    StageSource {
        id,
        name,
        named: from.alias.is_some(),
        base,
        platform,
        span: from.image.span,
        line: instruction.lines.first,
        instructions: Vec::new(),
        triggered: false,
    }
}

/// The stage called `name` in any case; the last of several.
fn find_named<'a>(stages: &'a [StageSource], name: &str) -> Option<&'a StageSource> {
    let lower = name.to_lowercase();
    stages.iter().rev().find(|stage| stage.named && stage.name == lower)
}

/// The names that the file gives to stages.
fn named(stages: &[StageSource]) -> impl Iterator<Item = &str> {
    stages.iter().filter(|stage| stage.named).map(|stage| stage.name.as_str())
}

/// The stage that is asked for by name or number. `what` is what messages call it.
fn find_target(
    what: &str,
    name: &str,
    list: &[StageSource],
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<StageId> {
    if let Some(stage) = find_named(list, name) {
        return Some(stage.id);
    }
    if let Ok(index) = name.parse::<usize>()
        && index < list.len()
    {
        return Some(StageId(index));
    }
    let names: Vec<&str> = named(list).collect();
    let mut finding = Diagnostic::error("unknown-target", format!("{what} `{name}` does not exist"));
    finding = match (suggest(name, names.iter().copied()), names.is_empty()) {
        (Some(near), _) => finding.help(format!("did you mean `{near}`?")),
        (None, false) => finding.help(format!("the stages are: {}", names.join(", "))),
        (None, true) => finding.help("no stage has a name; use its number, from 0"),
    };
    diagnostics.push(finding);
    None
}

impl Stages {
    /// The stage `id`.
    pub(crate) fn get(&self, id: StageId) -> &StageSource {
        &self.list[id.0]
    }

    /// The stages that are asked for, and those that they need.
    pub(crate) fn needed(&self) -> BTreeSet<StageId> {
        needed(std::iter::once(self.target).chain(self.also.iter().copied()), &self.edges())
    }

    /// Names of the stages that nothing needs.
    pub(crate) fn skipped(&self) -> Vec<String> {
        let needed = self.needed();
        self.list.iter().filter(|stage| !needed.contains(&stage.id)).map(|stage| stage.name.clone()).collect()
    }

    /// The images that needed stages name.
    pub(crate) fn images(&self) -> BTreeSet<ImageKey> {
        let mut images = BTreeSet::new();
        for id in self.needed() {
            let stage = self.get(id);
            images.extend(self.base_image(stage));
            for sourced in &stage.instructions {
                for origin in self.origins(stage, sourced, &mut Vec::new()) {
                    if let FileOrigin::Image(key) = origin {
                        images.insert(key);
                    }
                }
            }
        }
        images
    }

    /// The first line that names an image; `None` when only triggers of a base do.
    pub(crate) fn line_naming(&self, key: &ImageKey) -> Option<usize> {
        self.needed().into_iter().map(|id| self.get(id)).find_map(|stage| {
            if self.base_image(stage).as_ref() == Some(key) {
                return Some(stage.line);
            }
            let named = |origin: &FileOrigin| matches!(origin, FileOrigin::Image(image) if image == key);
            let written = stage.instructions.iter().filter(|sourced| !sourced.trigger);
            written
                .filter(|sourced| self.origins(stage, sourced, &mut Vec::new()).iter().any(named))
                .map(|sourced| sourced.instruction.lines.first)
                .next()
        })
    }

    /// The image that a stage begins with.
    pub(crate) fn base_image(&self, stage: &StageSource) -> Option<ImageKey> {
        match &stage.base {
            BaseName::Image(name) => Some(ImageKey { name: name.clone(), platform: stage.platform.clone() }),
            BaseName::Scratch | BaseName::Stage(_) => None,
        }
    }

    /// Put the ONBUILD triggers of base images into the stages that begin with them. Each stage is done
    /// once; returns whether any stage changed, which may make more stages or images needed.
    pub(crate) fn apply_triggers(
        &mut self,
        configs: &BTreeMap<ImageKey, ImageConfig>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> bool {
        let mut changed = false;
        for id in self.needed() {
            let stage = self.get(id);
            let Some(config) = self.base_image(stage).and_then(|key| configs.get(&key)) else { continue };
            if stage.triggered {
                continue;
            }
            let span = stage.span;
            let mut triggers = Vec::new();
            for text in &config.config.on_build {
                match parse_trigger(text) {
                    Ok(instruction) => triggers.push(Sourced { instruction, trigger: true }),
                    Err(findings) => diagnostics.extend(findings.iter().filter(|f| f.is_error()).map(|f| {
                        let message = format!("ONBUILD trigger `{text}` of the base image: {}", f.message);
                        Diagnostic::error("bad-trigger", message).at(span)
                    })),
                }
            }
            changed |= !triggers.is_empty();
            let stage = &mut self.list[id.0];
            stage.triggered = true;
            stage.instructions.splice(0..0, triggers);
        }
        changed
    }

    fn edges(&self) -> Vec<Edge> {
        let mut edges = Vec::new();
        for stage in &self.list {
            if let BaseName::Stage(used) = stage.base {
                edges.push(Edge { user: stage.id, used });
            }
            for sourced in &stage.instructions {
                for origin in self.origins(stage, sourced, &mut Vec::new()) {
                    if let FileOrigin::Stage(used) = origin {
                        edges.push(Edge { user: stage.id, used });
                    }
                }
            }
        }
        edges
    }

    /// What an instruction reads besides its own stage, in the order of its flags.
    pub(super) fn origins(
        &self,
        stage: &StageSource,
        sourced: &Sourced,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Vec<FileOrigin> {
        match &sourced.instruction.kind {
            InstructionKind::Copy(copy) => vec![match &copy.from {
                Some(from) => self.origin(stage, from, diagnostics),
                None => FileOrigin::Context(None),
            }],
            InstructionKind::Add(_) => vec![FileOrigin::Context(None)],
            InstructionKind::Run(run) => {
                run.mounts.iter().map(|mount| self.mount_origin(stage, mount, diagnostics)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn mount_origin(
        &self,
        stage: &StageSource,
        mount: &Mount,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> FileOrigin {
        let from = mount
            .fields
            .iter()
            .rev()
            .find(|field| field.key == "from")
            .and_then(|field| field.value.as_ref());
        match from {
            Some(from) if !from.text.is_empty() => self.origin(stage, from, diagnostics),
            _ => FileOrigin::Context(None),
        }
    }

    /// What `--from=word` means in `stage`: a named context, an earlier stage by name or number, an image.
    fn origin(&self, stage: &StageSource, word: &Word, diagnostics: &mut Vec<Diagnostic>) -> FileOrigin {
        let mut findings = Vec::new();
        let mut expander = Expander {
            escape: self.escape,
            undefined: Undefined::InStage(&self.globals),
            diagnostics: &mut findings,
        };
        let name = expander.text(word, &self.globals);
        let mut unset = false;
        for finding in findings {
            // An unset variable would silently name another image.
            if finding.code == "UndefinedVar" {
                unset = true;
                let error = Diagnostic::error("variable-in-from", format!("--from: {}", finding.message))
                    .at(word.span);
                diagnostics.push(error.help("only ARGs before the first FROM can be used in --from"));
            } else {
                diagnostics.push(finding);
            }
        }
        if unset {
            return FileOrigin::Context(None);
        }
        if let Some(is_directory) = self.settings.contexts.get(&name) {
            return if *is_directory {
                FileOrigin::Context(Some(name))
            } else {
                FileOrigin::Image(self.image_key(name))
            };
        }
        let earlier = &self.list[..stage.id.0];
        if let Some(found) = find_named(earlier, &name) {
            return FileOrigin::Stage(found.id);
        }
        if let Ok(index) = name.parse::<usize>() {
            if index < stage.id.0 {
                return FileOrigin::Stage(StageId(index));
            }
            let message = format!("stage {index} does not come before stage {}", stage.id);
            diagnostics.push(Diagnostic::error("unknown-stage", message).at(word.span));
            return FileOrigin::Context(None);
        }
        let lower = name.to_lowercase();
        let mut rest = self.list[stage.id.0..].iter();
        if let Some(later) = rest.find(|other| other.named && other.name == lower) {
            let message = if later.id == stage.id {
                format!("stage `{name}` copies from itself: stages can not depend on each other in a circle")
            } else {
                format!(
                    "stage `{name}` comes later in the file: a stage can only use stages above it, never in a circle"
                )
            };
            let finding = Diagnostic::error("stage-order", message).at(word.span);
            diagnostics.push(finding.help(format!("move stage `{name}` above this one")));
            return FileOrigin::Context(None);
        }
        if let Err(error) = name.parse::<Reference>() {
            let mut finding =
                Diagnostic::error("unknown-stage", format!("`{name}` is no stage and no image: {error}"))
                    .at(word.span);
            if let Some(near) = suggest(&lower, named(earlier)) {
                finding = finding.help(format!("did you mean the stage `{near}`?"));
            }
            diagnostics.push(finding);
        }
        FileOrigin::Image(self.image_key(name))
    }

    /// A stage with a name close to `name`: for the message when no image has that name.
    pub(crate) fn near_stage(&self, name: &str) -> Option<&str> {
        suggest(name, named(&self.list))
    }

    /// What `from` names when no build argument is given; `None` when it can not be expanded.
    pub(super) fn default_image(&self, from: &From) -> Option<String> {
        let mut findings = Vec::new();
        let image =
            Expander { escape: self.escape, undefined: Undefined::Silent, diagnostics: &mut findings }
                .text(&from.image, &self.defaults);
        findings.is_empty().then_some(image)
    }

    fn image_key(&self, name: String) -> ImageKey {
        ImageKey { name, platform: self.settings.target_platform.clone() }
    }

    /// The value of a global ARG or platform argument.
    pub(crate) fn global(&self, name: &str) -> Option<&str> {
        self.globals.get(name)
    }
}
