//! The client against a scripted server (for faults) and against docker-registry (for the truth).

mod auth;
mod faults;
mod real;
mod server;
mod uploads;

use std::io::Read;
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use super::{BlobSource, CredentialSource, Registries, RegistryError, RegistrySettings};
use crate::ctx::{Ctx, Event, EventSink, Transfer};
use crate::http::Schedule;
use crate::oci::{Descriptor, Repository};

/// Keeps what was reported.
#[derive(Default)]
struct Recorder(Mutex<Vec<Event>>);

impl EventSink for Recorder {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Recorder {
    /// How blobs came to be where they are, in order.
    fn pushed(&self) -> Vec<Transfer> {
        let events = self.0.lock().unwrap();
        events
            .iter()
            .filter_map(|event| match event {
                Event::BlobPushed { how, .. } => Some(*how),
                _ => None,
            })
            .collect()
    }

    /// How many blobs were pulled.
    fn pulled(&self) -> usize {
        self.0.lock().unwrap().iter().filter(|event| matches!(event, Event::BlobPulled { .. })).count()
    }
}

/// A context, what it reports, and the way to cancel it.
fn context() -> (Ctx, Arc<Recorder>, CancellationToken) {
    let (recorder, cancel) = (Arc::new(Recorder::default()), CancellationToken::new());
    (Ctx::new(Arc::clone(&recorder) as _, cancel.clone(), 2), recorder, cancel)
}

fn ctx() -> Ctx {
    context().0
}

/// A client that does not wait between tries.
fn settings() -> RegistrySettings {
    RegistrySettings { schedule: Schedule::immediate(), ..RegistrySettings::default() }
}

fn registries() -> Registries {
    Registries::new(settings()).unwrap()
}

fn registries_with(credentials: impl CredentialSource + 'static) -> Registries {
    Registries::new(RegistrySettings { credentials: Arc::new(credentials), ..settings() }).unwrap()
}

fn repository(text: &str) -> Repository {
    text.parse().unwrap()
}

fn layer(bytes: &[u8]) -> Descriptor {
    Descriptor::of("application/vnd.oci.image.layer.v1.tar", bytes)
}

fn content(bytes: &[u8]) -> Option<BlobSource> {
    let bytes = bytes.to_vec();
    Some(Arc::new(move || Ok(Box::new(std::io::Cursor::new(bytes.clone())) as _)))
}

/// Bytes that look like nothing and are always the same.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[0]
        })
        .collect()
}

/// A blob through its reader; errors as the registry's.
async fn pull(
    registries: &Registries,
    ctx: &Ctx,
    repository: &Repository,
    descriptor: &Descriptor,
) -> Result<Vec<u8>, RegistryError> {
    let mut reader = registries.open_blob(ctx, repository, descriptor).await?;
    tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        match reader.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) => Err(error.downcast::<RegistryError>().unwrap()),
        }
    })
    .await
    .unwrap()
}
