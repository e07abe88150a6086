//! Values that are made once per key, however many ask at the same time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// One cell per key. Whoever holds a cell may take its time to fill it; the others of that key wait.
pub(crate) struct Cells<K, V>(Mutex<BTreeMap<K, Arc<AsyncMutex<V>>>>);

impl<K, V> Default for Cells<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord, V: Default> Cells<K, V> {
    /// The cell of `key`, for as long as the guard lives.
    pub(crate) async fn hold(&self, key: K) -> OwnedMutexGuard<V> {
        let cell = {
            let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(cells.entry(key).or_default())
        };
        cell.lock_owned().await
    }
}
