//! The plan as values.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::dockerfile::{MountKind, RunMount};
use crate::ids::{StageId, StepId};
use crate::oci::{ImageConfig, Platform};

/// What is to be done, stage by stage. Only stages that the target needs are in it.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// By number; a stage comes after every stage it uses.
    pub(crate) stages: BTreeMap<StageId, StagePlan>,
    /// The stage whose image is the result.
    pub(crate) target: StageId,
}

/// One stage.
#[derive(Clone, Debug)]
pub(crate) struct StagePlan {
    /// Its number.
    pub(crate) id: StageId,
    /// Its name, or `stage-N`.
    pub(crate) name: String,
    /// What it begins with.
    pub(crate) base: Base,
    /// Its instructions in order, ONBUILD triggers of the base first.
    pub(crate) steps: Vec<Step>,
    /// Its ARGs in order of first declaration, those of the stage it begins with included, with the value that
    /// the last declaration gave.
    pub(crate) arguments: Vec<(String, Option<String>)>,
    /// The config of its image, without layers and history.
    pub(crate) config: ImageConfig,
    /// Its platform.
    pub(crate) platform: Platform,
}

/// What a stage begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    /// No file, no config.
    Scratch,
    /// An image.
    Image(ImageKey),
    /// Another stage of the file.
    Stage(StageId),
}

/// An image that the Dockerfile names, for a platform.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ImageKey {
    /// As the Dockerfile names it, variables expanded.
    pub(crate) name: String,
    /// For which platform.
    pub(crate) platform: Platform,
}

/// One instruction of a stage.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Stage and position.
    pub(crate) id: StepId,
    /// What it does.
    pub(crate) op: Op,
    /// Its line in the image's history.
    pub(crate) created_by: String,
    /// The instruction as people know it, on one line.
    pub(crate) title: String,
    /// Its first line in the Dockerfile, from 1; of a trigger, the FROM's line.
    pub(crate) line: usize,
}

/// What a step does to files.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// Nothing: its effect is in the stage's config.
    Config,
    /// Make a directory.
    Workdir(WorkdirOp),
    /// Copy files.
    Files(Box<FileOp>),
    /// Run a command.
    Run(Box<RunOp>),
}

/// WORKDIR.
#[derive(Clone, Debug)]
pub(crate) struct WorkdirOp {
    /// Absolute.
    pub(crate) path: String,
    /// USER at this point, `name[:group]`, empty for root: who owns what is created.
    pub(crate) user: String,
}

/// COPY or ADD.
#[derive(Clone, Debug)]
pub(crate) struct FileOp {
    /// What is copied, in order.
    pub(crate) sources: Vec<FileSource>,
    /// Where the paths among `sources` are.
    pub(crate) origin: FileOrigin,
    /// The destination as written, variables expanded; a slash at the end has meaning.
    pub(crate) dest: String,
    /// WORKDIR at this point.
    pub(crate) workdir: String,
    /// `--chown`, expanded.
    pub(crate) chown: Option<String>,
    /// `--chmod`, expanded.
    pub(crate) chmod: Option<String>,
    /// `--link`
    pub(crate) link: bool,
    /// `--parents`
    pub(crate) parents: bool,
    /// `--exclude`, expanded.
    pub(crate) exclude: Vec<String>,
    /// Whether local archives are unpacked (ADD).
    pub(crate) unpack: bool,
}

/// Where a COPY's paths are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileOrigin {
    /// A build context: `None` is the main one.
    Context(Option<String>),
    /// A stage of the file.
    Stage(StageId),
    /// An image.
    Image(ImageKey),
}

/// One source of a COPY or ADD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileSource {
    /// A path or pattern.
    Path(String),
    /// A file whose text is in the Dockerfile.
    Inline {
        /// Its name.
        name: String,
        /// Its bytes.
        content: Arc<[u8]>,
    },
    /// A file that is fetched (ADD).
    Url {
        /// Where: http or https.
        url: String,
        /// What its digest must be: `sha256:…`.
        checksum: Option<String>,
        /// Whether it is unpacked when it is an archive.
        unpack: bool,
    },
    /// A git repository that is fetched (ADD).
    Git {
        /// Its address.
        remote: String,
        /// Branch, tag or commit; its default branch when `None`.
        reference: Option<String>,
        /// Which of its folders; all when `None`.
        subdir: Option<String>,
        /// The commit that it must be: the beginning of its hexadecimal digits.
        checksum: Option<String>,
        /// Whether `.git` is kept.
        keep_git_dir: bool,
        /// Whether submodules are fetched too.
        submodules: bool,
    },
}

/// RUN.
#[derive(Clone, Debug)]
pub(crate) struct RunOp {
    /// Program and arguments, the shell included.
    pub(crate) args: Vec<String>,
    /// What the command sees, in order of first definition, PATH included, proxies not.
    pub(crate) env: Vec<(String, String)>,
    /// Proxy variables that the command sees too but that are in no key and no history.
    pub(crate) proxies: Vec<(String, String)>,
    /// USER.
    pub(crate) user: String,
    /// WORKDIR, absolute.
    pub(crate) workdir: String,
    /// `--network=none`; otherwise the build's network.
    pub(crate) network_none: bool,
    /// A script that is visible below /dev/pipes during the step.
    pub(crate) script: Option<RunFile>,
    /// `--mount`, values expanded and defaults filled in, with what `from` means. Targets are absolute;
    /// `None` is a secret that is in a variable alone. Without `from` the place is the context, which only a
    /// bind mount reads.
    pub(crate) mounts: Vec<(RunMount, FileOrigin)>,
}

/// A file that exists during a RUN only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunFile {
    /// Absolute path in the image.
    pub(crate) path: String,
    /// Its bytes.
    pub(crate) content: Arc<[u8]>,
}

impl Plan {
    /// The target's plan.
    pub(crate) fn target(&self) -> &StagePlan {
        // lower() puts the target in.
        &self.stages[&self.target]
    }
}

impl Op {
    /// Whether the step can make a layer.
    pub(crate) fn makes_layer(&self) -> bool {
        !matches!(self, Self::Config)
    }

    /// What the step reads besides its own stage.
    pub(crate) fn origins(&self) -> Vec<&FileOrigin> {
        match self {
            Self::Config | Self::Workdir(_) => Vec::new(),
            Self::Files(op) => vec![&op.origin],
            Self::Run(op) => {
                let reads = |mount: &RunMount| {
                    let named = mount.from.as_deref().is_some_and(|from| !from.is_empty());
                    match mount.kind {
                        MountKind::Bind => true,
                        MountKind::Cache => named,
                        MountKind::Tmpfs | MountKind::Secret | MountKind::Ssh => false,
                    }
                };
                op.mounts.iter().filter(|(mount, _)| reads(mount)).map(|(_, origin)| origin).collect()
            }
        }
    }
}
