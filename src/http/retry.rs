//! When to try again, and how long to wait before.

use std::time::{Duration, Instant, SystemTime};

use reqwest::StatusCode;

/// How long to wait between tries, and when to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// The wait after the first, second, … failed try; one try more than waits.
    pub(crate) waits: Vec<Duration>,
    /// Each wait is off by at most this share of itself, in per cent, so that clients do not return in step.
    pub(crate) jitter: u32,
    /// The longest wait that a server may ask for; above, the answer is final.
    pub(crate) longest_wait: Duration,
    /// Time without progress, tries and waits together, after which no new try begins.
    pub(crate) budget: Duration,
}

impl Default for Schedule {
    /// Five tries: 0.5, 1, 2, 4 s between them, ± 20 %.
    fn default() -> Self {
        Self {
            waits: [500, 1000, 2000, 4000].map(Duration::from_millis).to_vec(),
            jitter: 20,
            longest_wait: Duration::from_secs(60),
            // A server that is silent for the whole of a try is given three of them.
            budget: Duration::from_secs(180),
        }
    }
}

impl Schedule {
    /// Five tries with no wait between them.
    #[cfg(test)]
    pub(crate) fn immediate() -> Self {
        Self { waits: vec![Duration::ZERO; 4], jitter: 0, ..Self::default() }
    }
}

/// What to do after a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Try again after this.
    Wait(Duration),
    /// The failure is final.
    Stop,
}

/// The tries of one operation.
#[derive(Debug)]
pub(crate) struct Attempts {
    schedule: Schedule,
    failed: usize,
    idle: Duration,
    began: Instant,
}

impl Attempts {
    /// The first try begins now.
    pub(crate) fn new(schedule: &Schedule) -> Self {
        Self { schedule: schedule.clone(), failed: 0, idle: Duration::ZERO, began: Instant::now() }
    }

    /// Tries so far, the present one included.
    pub(crate) fn tries(&self) -> usize {
        self.failed + 1
    }

    /// Bytes were moved that need not be moved again: the count begins anew.
    pub(crate) fn progressed(&mut self) {
        self.failed = 0;
        self.idle = Duration::ZERO;
        self.began = Instant::now();
    }

    /// The present try failed; `told` is what the server's `Retry-After` asks for.
    pub(crate) fn failed(&mut self, told: Option<Duration>) -> Next {
        self.idle += self.began.elapsed();
        let next = decide(&self.schedule, self.failed, self.idle, told, random());
        self.failed += 1;
        if let Next::Wait(wait) = next {
            self.idle += wait;
            self.began = Instant::now() + wait;
        }
        next
    }
}

/// The rule, with all that it depends on. `random` is in 0..=200.
fn decide(schedule: &Schedule, failed: usize, idle: Duration, told: Option<Duration>, random: u32) -> Next {
    let Some(wait) = schedule.waits.get(failed) else { return Next::Stop };
    let percent = 100 + schedule.jitter * random / 100 - schedule.jitter;
    let own = *wait * percent / 100;
    let wait = match told {
        Some(told) if told > schedule.longest_wait => return Next::Stop,
        // A server that says 0 still gets our own pace: it knows when it is ready, not how many we are.
        Some(told) => told.max(own),
        None => own,
    };
    if idle + wait > schedule.budget { Next::Stop } else { Next::Wait(wait) }
}

/// 0..=200, good enough to spread clients.
fn random() -> u32 {
    use std::hash::{BuildHasher, Hasher};
    // Every RandomState is seeded anew.
    let hash = std::collections::hash_map::RandomState::new().build_hasher().finish();
    u32::try_from(hash % 201).unwrap_or(100)
}

/// Whether a status says that the same request may succeed later.
pub(crate) fn is_transient(status: StatusCode) -> bool {
    // 499 and 522 come from proxies whose own peer hung up.
    matches!(status.as_u16(), 408 | 425 | 429 | 499 | 500 | 502 | 503 | 504 | 522)
}

/// The wait that a `Retry-After` value asks for (RFC 9110, 10.2.3): seconds or a date. A date that has
/// passed is no wait; what is neither is no answer.
pub(crate) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than u64 has is still "for ever".
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDDLE: u32 = 100;

    fn millis(schedule: &Schedule, random: u32) -> Vec<Option<u128>> {
        (0..6)
            .map(|failed| match decide(schedule, failed, Duration::ZERO, None, random) {
                Next::Wait(wait) => Some(wait.as_millis()),
                Next::Stop => None,
            })
            .collect()
    }

    #[test]
    fn five_tries_with_doubling_waits_give_or_take_a_fifth() {
        let schedule = Schedule::default();
        let waits = |waits: [u128; 4]| [waits.map(Some).to_vec(), vec![None, None]].concat();
        assert_eq!(millis(&schedule, MIDDLE), waits([500, 1000, 2000, 4000]));
        assert_eq!(millis(&schedule, 0), waits([400, 800, 1600, 3200]));
        assert_eq!(millis(&schedule, 200), waits([600, 1200, 2400, 4800]));
    }

    #[test]
    fn what_the_server_asks_for_is_kept_up_to_a_minute() {
        let schedule = Schedule::default();
        let told = |seconds| decide(&schedule, 0, Duration::ZERO, Some(Duration::from_secs(seconds)), MIDDLE);
        assert_eq!(told(0), Next::Wait(Duration::from_millis(500)));
        assert_eq!(told(2), Next::Wait(Duration::from_secs(2)));
        assert_eq!(told(60), Next::Wait(Duration::from_secs(60)));
        assert_eq!(told(61), Next::Stop);
        assert_eq!(told(u64::MAX), Next::Stop);
    }

    #[test]
    fn the_budget_ends_the_tries_before_their_number_does() {
        let schedule = Schedule::default();
        let after = |seconds| decide(&schedule, 2, Duration::from_secs(seconds), None, MIDDLE);
        assert_eq!(after(178), Next::Wait(Duration::from_secs(2)));
        assert_eq!(after(179), Next::Stop);
    }

    #[test]
    fn progress_begins_the_count_anew() {
        let mut attempts = Attempts::new(&Schedule::immediate());
        for _ in 0..4 {
            assert_eq!(attempts.failed(None), Next::Wait(Duration::ZERO));
        }
        attempts.progressed();
        assert_eq!(attempts.tries(), 1);
        assert_eq!(attempts.failed(None), Next::Wait(Duration::ZERO));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_nothing_else() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (value, seconds) in [
            ("2", Some(2)),
            (" 120 ", Some(120)),
            ("0", Some(0)),
            ("1000000000", Some(1_000_000_000)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("-1", None),
            ("1.5", None),
            ("", None),
            ("soon", None),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:57 GMT", Some(20)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("Sunday, 06-Nov-94 08:49:57 GMT", Some(20)),
        ] {
            assert_eq!(retry_after(value, now), seconds.map(Duration::from_secs), "{value:?}");
        }
    }

    #[test]
    fn refusals_are_final_and_overload_is_not() {
        for status in [408, 425, 429, 499, 500, 502, 503, 504, 522] {
            assert!(is_transient(StatusCode::from_u16(status).unwrap()), "{status}");
        }
        for status in [200, 400, 401, 403, 404, 405, 409, 413, 416, 501, 505] {
            assert!(!is_transient(StatusCode::from_u16(status).unwrap()), "{status}");
        }
    }
}
