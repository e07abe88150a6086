//! Against a server of this process, and repositories that it serves as plain files.

mod git;
mod http;
mod server;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::ctx::{Ctx, Event, EventSink};

struct Nobody;

impl EventSink for Nobody {
    fn event(&self, _event: &Event) {}
}

fn ctx() -> Ctx {
    Ctx::new(Arc::new(Nobody), CancellationToken::new(), 2)
}
