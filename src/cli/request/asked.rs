//! Where the image goes and what it is called.

use std::collections::BTreeMap;

use ocistage::OutputRequest;
use ocistage::oci::{Compression, Reference};

use super::reference;
use crate::cli::args::BuildOptions;
use crate::cli::failure::Failure;
use crate::cli::output;

/// Where the image goes and what it is called.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) tags: Vec<Reference>,
    pub(super) outputs: Vec<OutputRequest>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) compression: Option<Compression>,
    pub(super) compression_level: Option<u32>,
    /// Whether an output says that its registry may be insecure.
    pub(super) insecure: bool,
}

impl Asked {
    pub(super) fn of(options: &BuildOptions, ephemeral: bool) -> Result<Asked, Failure> {
        let mut asked = Asked::default();
        for tag in &options.tag {
            asked.name(reference("--tag", tag)?)?;
        }
        let mut kept_in_store = false;
        for text in &options.output {
            let spec = output::parse(text)?;
            kept_in_store |= spec.place.is_none();
            asked.outputs.extend(spec.place);
            asked.annotations.extend(spec.annotations);
            asked.compression = spec.compression.or(asked.compression);
            asked.compression_level = spec.compression_level.or(asked.compression_level);
            asked.insecure |= spec.insecure;
            for name in spec.names {
                asked.name(name)?;
            }
        }
        let registry = asked.outputs.contains(&OutputRequest::Registry);
        if (options.push || ephemeral) && !registry {
            asked.outputs.push(OutputRequest::Registry);
        }
        if asked.pushes() && asked.tags.is_empty() {
            return Err(
                Failure::input("pushing needs a name: there is no tag").hint("add -t REGISTRY/NAME:TAG")
            );
        }
        if asked.outputs.is_empty() || kept_in_store {
            asked.outputs.push(OutputRequest::Store);
        }
        Ok(asked)
    }

    /// Adds a name of the image, once.
    fn name(&mut self, name: Reference) -> Result<(), Failure> {
        if name.digest.is_some() {
            return Err(Failure::input(format!(
                "--tag `{name}`: the digest is a result of the build; leave it out"
            )));
        }
        if !self.tags.iter().any(|known| known.to_string() == name.to_string()) {
            self.tags.push(name);
        }
        Ok(())
    }

    pub(super) fn pushes(&self) -> bool {
        self.outputs.contains(&OutputRequest::Registry)
    }

    /// Standard output has room for one thing.
    pub(super) fn check_streams(&self, quiet: bool, stdout_is_terminal: bool) -> Result<(), Failure> {
        let to_stdout = self.outputs.iter().filter(|output| writes_to_stdout(output)).count();
        if to_stdout > 1 {
            return Err(Failure::input("two outputs cannot both go to standard output: give dest=FILE"));
        }
        if to_stdout == 1 && quiet {
            return Err(Failure::input(
                "--quiet prints the digest to standard output, where an archive goes",
            )
            .hint("use --progress quiet with --metadata-file, or give dest=FILE"));
        }
        if to_stdout == 1 && stdout_is_terminal {
            return Err(Failure::input("an archive is not written to a terminal")
                .hint("redirect it, or give dest=FILE"));
        }
        Ok(())
    }
}

/// Whether an output goes to standard output.
fn writes_to_stdout(output: &OutputRequest) -> bool {
    matches!(
        output,
        OutputRequest::Oci { dest: None, .. }
            | OutputRequest::Docker { dest: None }
            | OutputRequest::Tar { dest: None }
    )
}
