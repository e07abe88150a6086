//! What the instructions of a stage see and change.

use crate::oci::{ImageConfig, Platform};
use crate::plan::scope::Variables;
use crate::text::Span;

/// The default PATH, given to every image that has none (BuildKit, `util/system`).
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A stage's state between two instructions.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// The image's config as it would be if the stage ended here, but for its environment.
    pub(super) config: ImageConfig,
    /// The image's environment.
    env: Variables,
    /// ENV and ARG values, later ones winning: what words expand against and RUN sees.
    pub(super) variables: Variables,
    /// ARGs in order of first declaration, with the value that the last declaration gave.
    pub(super) arguments: Vec<(String, Option<String>)>,
    /// The last CMD of this stage.
    pub(super) cmd: Option<Span>,
    /// The last ENTRYPOINT of this stage.
    pub(super) entrypoint: Option<Span>,
    /// The last HEALTHCHECK of this stage.
    pub(super) healthcheck: Option<Span>,
    /// An absolute WORKDIR stands in this file above.
    pub(super) workdir_set: bool,
    /// Nobody has read the base's config: it may hold anything.
    pub(super) unknown_base: bool,
}

impl State {
    /// An empty image.
    pub(super) fn scratch(platform: &Platform) -> Self {
        Self::of_image(ImageConfig::default(), platform)
    }

    /// An image that nobody has read.
    pub(super) fn of_unknown(platform: &Platform) -> Self {
        Self { unknown_base: true, ..Self::scratch(platform) }
    }

    /// An image as a base: its config without layers, history and what does not pass on.
    pub(super) fn of_image(mut config: ImageConfig, platform: &Platform) -> Self {
        config.created = None;
        config.history.clear();
        config.rootfs.diff_ids.clear();
        config.config.on_build.clear();
        // BuildKit's record of how the base was built says nothing true of the new image.
        config.other.retain(|key, _| !key.starts_with("moby.buildkit.") && !is_docker_leftover(key));
        if config.os.is_empty() {
            config.os.clone_from(&platform.os);
        }
        if config.architecture.is_empty() {
            config.architecture.clone_from(&platform.architecture);
            config.variant.clone_from(&platform.variant);
        }
        let mut env = Variables::default();
        for pair in std::mem::take(&mut config.config.env) {
            let (name, value) = pair.split_once('=').unwrap_or((&pair, ""));
            env.set(name, value);
        }
        if env.get("PATH").is_none() && config.os != "windows" {
            env.set("PATH", PATH);
        }
        if config.config.working_dir.is_empty() {
            config.config.working_dir = "/".to_owned();
        }
        Self {
            config,
            variables: env.clone(),
            env,
            arguments: Vec::new(),
            cmd: None,
            entrypoint: None,
            healthcheck: None,
            workdir_set: false,
            unknown_base: false,
        }
    }

    /// Another stage as a base: everything passes on but its triggers.
    pub(super) fn of_stage(parent: &Self) -> Self {
        let mut state = parent.clone();
        state.config.config.on_build.clear();
        (state.cmd, state.entrypoint, state.healthcheck) = (None, None, None);
        state
    }

    /// Set a variable of the image.
    pub(super) fn set_env(&mut self, name: &str, value: &str) {
        self.variables.set(name, value);
        self.env.set(name, value);
    }

    /// The image's config as it is now.
    pub(super) fn config(&self) -> ImageConfig {
        let mut config = self.config.clone();
        config.config.env = self.env.to_env();
        config
    }

    /// `path` as seen from WORKDIR, cleaned. The empty path is WORKDIR itself.
    pub(super) fn absolute(&self, path: &str) -> String {
        let joined = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("{}/{path}", self.config.config.working_dir)
        };
        clean(&joined)
    }

    /// A command line for the shell: SHELL and the text.
    pub(super) fn shell(&self, text: &str) -> Vec<String> {
        let mut args = match &self.config.config.shell {
            Some(shell) if !shell.is_empty() => shell.clone(),
            _ => vec!["/bin/sh".to_owned(), "-c".to_owned()],
        };
        args.push(text.to_owned());
        args
    }
}

/// An absolute path without `.`, `..` and doubled slashes.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Keys that Docker's classic builder wrote beside the config: about the container it was made in.
fn is_docker_leftover(key: &str) -> bool {
    matches!(key, "container" | "container_config" | "docker_version" | "id" | "parent" | "Size")
}
