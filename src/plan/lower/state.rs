//! What the instructions of a stage see and change.

use crate::oci::{ImageConfig, Platform};
use crate::plan::scope::Variables;

/// The default PATH, given to every image that has none (BuildKit, `util/system`).
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A stage's state between two instructions.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// The image's config as it would be if the stage ended here.
    pub(super) config: ImageConfig,
    /// ENV and ARG values, later ones winning: what words expand against and RUN sees.
    pub(super) variables: Variables,
    /// ARGs of this stage in order, with the value they have.
    pub(super) arguments: Vec<(String, Option<String>)>,
    /// A CMD stands in this stage.
    pub(super) has_cmd: bool,
}

impl State {
    /// An empty image.
    pub(super) fn scratch(platform: &Platform) -> Self {
        Self::of_image(ImageConfig::default(), platform)
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
        let mut variables = Variables::default();
        for pair in &config.config.env {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            variables.set(name, value);
        }
        if variables.get("PATH").is_none() && config.os != "windows" {
            variables.set("PATH", PATH);
            config.config.env.push(format!("PATH={PATH}"));
        }
        if config.config.working_dir.is_empty() {
            config.config.working_dir = "/".to_owned();
        }
        Self { config, variables, arguments: Vec::new(), has_cmd: false }
    }

    /// Another stage as a base: everything passes on but its triggers.
    pub(super) fn of_stage(parent: &Self) -> Self {
        let mut state = parent.clone();
        state.config.config.on_build.clear();
        state.has_cmd = false;
        state
    }

    /// Set a variable of the image.
    pub(super) fn set_env(&mut self, name: &str, value: &str) {
        self.variables.set(name, value);
        let prefix = format!("{name}=");
        let pair = format!("{name}={value}");
        match self.config.config.env.iter_mut().find(|known| known.starts_with(&prefix)) {
            Some(known) => *known = pair,
            None => self.config.config.env.push(pair),
        }
    }

    /// `path` as seen from WORKDIR, cleaned.
    pub(super) fn absolute(&self, path: &str) -> String {
        let joined = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("{}/{path}", self.config.config.working_dir)
        };
        let mut parts: Vec<&str> = Vec::new();
        for part in joined.split('/') {
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

    /// A command line for the shell: SHELL and the text.
    pub(super) fn shell(&self, text: &str) -> Vec<String> {
        let mut args = match &self.config.config.shell {
            Some(shell) => shell.clone(),
            None => vec!["/bin/sh".to_owned(), "-c".to_owned()],
        };
        args.push(text.to_owned());
        args
    }
}

/// Keys that Docker's classic builder wrote beside the config: about the container it was made in.
fn is_docker_leftover(key: &str) -> bool {
    matches!(key, "container" | "container_config" | "docker_version" | "id" | "parent" | "Size")
}
