//! The client and the schedule together: requests that are simply sent again when that may help.

use std::time::{Duration, SystemTime};

use reqwest::header::RETRY_AFTER;

use crate::http::{Attempts, Client, Exchange, HttpError, Next, Reply, Schedule, is_transient, retry_after};

/// Sends requests, once or until they are answered.
pub(crate) struct Wire {
    client: Client,
    schedule: Schedule,
}

/// What came of a request.
pub(crate) struct Delivery {
    /// The answer, or why there is none.
    pub(crate) outcome: Result<Reply, HttpError>,
    /// How often it was sent.
    pub(crate) tries: usize,
}

impl Wire {
    pub(crate) fn new(client: Client, schedule: Schedule) -> Self {
        Self { client, schedule }
    }

    /// The tries of one operation.
    pub(crate) fn attempts(&self) -> Attempts {
        Attempts::new(&self.schedule)
    }

    /// Send once.
    pub(crate) async fn once(&self, exchange: &Exchange) -> Delivery {
        Delivery { outcome: self.client.exchange(exchange).await, tries: 1 }
    }

    /// Send until something other than a passing failure comes back, or the schedule ends.
    pub(crate) async fn deliver(&self, exchange: &Exchange) -> Delivery {
        let mut attempts = self.attempts();
        loop {
            let tries = attempts.tries();
            let outcome = self.client.exchange(exchange).await;
            let next = match &outcome {
                Ok(reply) if is_transient(reply.status) => attempts.failed(asked_wait(reply)),
                Err(error) if error.is_transient() => attempts.failed(None),
                _ => Next::Stop,
            };
            match next {
                Next::Wait(wait) => tokio::time::sleep(wait).await,
                Next::Stop => return Delivery { outcome, tries },
            }
        }
    }
}

/// How long an answer asks to wait.
pub(crate) fn asked_wait(reply: &Reply) -> Option<Duration> {
    retry_after(reply.header(RETRY_AFTER)?, SystemTime::now())
}
