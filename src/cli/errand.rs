//! What needs the library and is no build: looking at a cache, signing in. Prints its answer and nothing else.

use std::process::ExitCode;
use std::sync::Arc;

use ocistage::{Builder, CancellationToken, Error, Event, EventSink};

use super::records::Records;
use super::render::visible;
use super::sign_in::Login;
use super::spool::Spool;
use super::{exit, job, report};

/// One of them, ready to be done.
pub(crate) struct Errand {
    pub(crate) what: What,
    /// Files that the library reads.
    pub(crate) held: Vec<Spool>,
    /// Lines to show first.
    pub(crate) warnings: Vec<String>,
}

pub(crate) enum What {
    Records(Box<Records>),
    Login(Box<Login>),
}

/// Warnings are shown; progress is not.
struct Warnings;

impl EventSink for Warnings {
    fn event(&self, event: &Event) {
        if let Event::Warning { message } = event {
            report::say(&format!("warning: {}\n", visible(message)));
        }
    }
}

/// Do it.
pub(crate) async fn carry_out(errand: Errand, cancel: CancellationToken) -> ExitCode {
    let events: Arc<dyn EventSink> = Arc::new(Warnings);
    for message in errand.warnings {
        events.event(&Event::Warning { message });
    }
    if let Err(failure) = job::listen(&cancel, &events) {
        return job::failed(&failure);
    }
    let builder = Builder::new(cancel);
    let answer: Result<String, Error> = match errand.what {
        What::Records(records) => records.carry_out(&builder, events).await,
        What::Login(login) => login.carry_out(&builder, events).await,
    };
    drop(errand.held);
    match answer {
        Ok(text) => job::print(text.as_bytes()),
        Err(error) => {
            report::error(&error, None);
            exit::code(error.kind())
        }
    }
}
