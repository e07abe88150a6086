//! `--publish-stage` and `--publish-stages`.

use ocistage::oci::Reference;
use ocistage::{PublishRequest, StagesRequest};

use super::reference;
use crate::cli::args::{BuildOptions, PublishStages};
use crate::cli::failure::Failure;

/// Which stages are pushed under which names. `tags` are the image's.
pub(super) fn publish(options: &BuildOptions, tags: &[Reference]) -> Result<PublishRequest, Failure> {
    let keyed = match options.publish_stages {
        PublishStages::None => StagesRequest::None,
        PublishStages::Named => StagesRequest::Named,
        PublishStages::All => StagesRequest::All,
    };
    if keyed != StagesRequest::None && tags.is_empty() {
        return Err(Failure::input("--publish-stages needs a repository: there is no tag")
            .hint("add -t REGISTRY/NAME:TAG, or name each stage: --publish-stage STAGE=REF"));
    }
    let named = options.publish_stage.iter().map(|text| one(text)).collect::<Result<_, _>>()?;
    Ok(PublishRequest { named, keyed })
}

fn one(text: &str) -> Result<(String, Reference), Failure> {
    let (stage, name) = text
        .split_once('=')
        .filter(|(stage, _)| !stage.is_empty())
        .ok_or_else(|| Failure::input(format!("--publish-stage `{text}` is not of the form STAGE=REF")))?;
    let reference = reference("--publish-stage", name)?;
    if reference.digest.is_some() {
        return Err(Failure::input(format!(
            "--publish-stage `{text}`: a digest is not chosen; leave it out"
        )));
    }
    Ok((stage.to_owned(), reference))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(stages: PublishStages, named: &[&str]) -> String {
        let options = BuildOptions {
            publish_stage: named.iter().map(|text| (*text).to_owned()).collect(),
            publish_stages: stages,
            ..BuildOptions::default()
        };
        publish(&options, &[]).unwrap_err().message
    }

    #[test]
    fn a_stage_is_published_under_a_reference() {
        let (stage, name) = one("builder=r.io/app/builder:1").unwrap();
        assert_eq!((&*stage, &*name.to_string()), ("builder", "r.io/app/builder:1"));
    }

    #[test]
    fn what_names_no_stage_or_no_place_is_refused() {
        assert!(refusal(PublishStages::None, &["builder"]).contains("STAGE=REF"));
        assert!(refusal(PublishStages::None, &["=r.io/a"]).contains("STAGE=REF"));
        assert!(refusal(PublishStages::None, &["a=Bad Name"]).contains("--publish-stage"));
        let digest = "0".repeat(64);
        assert!(refusal(PublishStages::None, &[&format!("a=r.io/a@sha256:{digest}")]).contains("digest"));
        assert!(refusal(PublishStages::All, &[]).contains("no tag"));
    }
}
