//! Why an exchange failed.

use std::error::Error;

use super::guard::Refused;
use super::{SafeUrl, printable};

/// An exchange that brought no usable answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// No connection: name, route, port.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The peer is not who it should be.
    #[error("the TLS certificate was not accepted: {0}")]
    Certificate(String),
    /// No answer in time.
    #[error("no answer within {0} s")]
    Silent(u64),
    /// A body that stands still.
    #[error("less than 1 KiB was transferred in {0} s")]
    Stalled(u64),
    /// A connection that ended early.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// More than was agreed to read.
    #[error("the answer is longer than {0} bytes")]
    TooLong(u64),
    /// More redirects than five.
    #[error("too many redirects, the last to {0}")]
    Redirects(SafeUrl),
    /// A redirect that is not followed.
    #[error("a redirect {reason} is not followed: {to}")]
    Redirect {
        /// Where to.
        to: SafeUrl,
        /// Why not.
        reason: &'static str,
    },
    /// An address that is not asked.
    #[error("its address is link-local or a cloud's metadata service, which is not asked")]
    Refused,
    /// A redirect without a usable target.
    #[error("a redirect has no usable location")]
    Location,
    /// The body to be sent could not be read; the details are in the payload's fault.
    #[error("the content to send could not be read")]
    Source,
    /// Settings that no client can be made of.
    #[error("{0}")]
    Settings(String),
}

impl HttpError {
    /// Whether another try may succeed.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Silent(_) | Self::Stalled(_) | Self::Broken(_))
    }

    /// What a failed request or body means. The URL is left out: it may hold secrets.
    pub(crate) fn of(error: reqwest::Error) -> Self {
        let (connect, builder) = (error.is_connect(), error.is_builder());
        let error = error.without_url();
        if let Some(problem) = certificate_problem(&error) {
            return Self::Certificate(printable(&problem, 300));
        }
        let mut innermost: &dyn Error = &error;
        loop {
            if innermost.is::<Refused>() {
                return Self::Refused;
            }
            let Some(cause) = innermost.source() else { break };
            innermost = cause;
        }
        let reason = innermost.to_string();
        let reason = printable(&reason, 300);
        if builder {
            Self::Settings(reason)
        } else if connect {
            Self::Connect(reason)
        } else {
            Self::Broken(reason)
        }
    }
}

/// What is wrong with a certificate, when that is why `error` came about. The TLS layer hides its error in
/// an `io::Error`, which does not name it as its source.
fn certificate_problem(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(rustls::Error::InvalidCertificate(problem)) = error.downcast_ref() {
        return Some(problem.to_string());
    }
    let hidden = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    hidden.and_then(|hidden| certificate_problem(hidden)).or_else(|| certificate_problem(error.source()?))
}
