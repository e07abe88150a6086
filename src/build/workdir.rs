//! WORKDIR as a change of files: the directory has to be there.

use super::copy::CopyError;
use super::owner::Owner;
use super::target::Target;
use crate::tree::{ChangeSet, ImagePath, Tree};

/// What has to be made so that `path` (absolute, variables expanded) is a directory of `image`: every missing
/// level, mode 0755, owned by `owner`, who is the stage's current user. Links are followed, the last one too.
/// Nothing when it is there already.
pub(crate) fn workdir(image: &Tree, path: &str, owner: Owner) -> Result<ChangeSet, CopyError> {
    let mut target = Target::new(image);
    let path = target.resolve(&ImagePath::root(), &ImagePath::clamped(path), true)?;
    target.make_directories(&path, 0o755, owner)?;
    Ok(target.finish())
}
