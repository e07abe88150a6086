//! What the request, and what the engine can do, say to the lowering.

use std::collections::BTreeMap;

use crate::dockerfile::MountKind;

/// What the request says that lowering needs.
#[derive(Clone, Debug, Default)]
pub(crate) struct LowerSettings {
    /// `--build-arg` and proxies of the environment.
    pub(crate) build_args: BTreeMap<String, String>,
    /// Which kinds of `RUN --mount` the engine carries out; the others are refused by name.
    pub(crate) mounts: MountSupport,
    /// Which kinds of remote sources ADD may have; the others are refused by name.
    pub(crate) remotes: RemoteSupport,
    /// `--network=none`: no step can have the host's network. Otherwise it is what every step has.
    pub(crate) network_none: bool,
    /// Lower every stage, not only those that the target needs. An image that is not among the configs may
    /// then hold anything.
    pub(crate) check: bool,
}

/// The kinds of `RUN --mount` that can be carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MountSupport {
    /// `type=bind`
    pub(crate) bind: bool,
    /// `type=cache`
    pub(crate) cache: bool,
    /// `type=tmpfs`
    pub(crate) tmpfs: bool,
    /// `type=secret`
    pub(crate) secret: bool,
    /// `type=ssh`
    pub(crate) ssh: bool,
}

impl MountSupport {
    /// Every kind.
    pub(crate) const ALL: Self = Self { bind: true, cache: true, tmpfs: true, secret: true, ssh: true };

    /// Whether `kind` can be carried out.
    pub(crate) fn has(self, kind: MountKind) -> bool {
        match kind {
            MountKind::Bind => self.bind,
            MountKind::Cache => self.cache,
            MountKind::Tmpfs => self.tmpfs,
            MountKind::Secret => self.secret,
            MountKind::Ssh => self.ssh,
        }
    }
}

/// The kinds of remote sources that ADD can have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RemoteSupport {
    /// `http://` and `https://`
    pub(crate) url: bool,
    /// Git repositories.
    pub(crate) git: bool,
}

impl RemoteSupport {
    /// Every kind.
    pub(crate) const ALL: Self = Self { url: true, git: true };
}
