//! Which backend carries out RUN: chosen when the first command must run, and not before.

use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::ctx::{Ctx, Event};
use crate::run::RunBackend;

use super::error::BuildError;

/// Chooses a backend; why it was chosen, or what is missing.
pub(crate) type Choose = dyn Fn() -> Result<(Arc<dyn RunBackend>, String), String> + Send + Sync;

/// A backend that is chosen on first need.
pub(crate) struct Runner {
    choose: Arc<Choose>,
    chosen: OnceCell<Arc<dyn RunBackend>>,
}

impl Runner {
    /// A runner that asks `choose` once.
    pub(crate) fn new(choose: Arc<Choose>) -> Self {
        Self { choose, chosen: OnceCell::new() }
    }

    /// The backend.
    pub(crate) async fn backend(&self, ctx: &Ctx) -> Result<Arc<dyn RunBackend>, BuildError> {
        let choose = || async {
            let choose = Arc::clone(&self.choose);
            let (backend, reason) = ctx.waiting(move || choose()).await.map_err(BuildError::Environment)?;
            ctx.emit(&Event::IsolationChosen { backend: backend.name().to_owned(), reason });
            Ok(backend)
        };
        self.chosen.get_or_try_init(choose).await.cloned()
    }
}
