use std::future::Future;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::error::{Error, Result};

/// Runs a call that may take no longer than `limit`.
pub(super) fn within<'call, T: 'call>(
    limit: Option<Duration>,
    uri: impl FnOnce() -> String + Send + 'call,
    call: impl Future<Output = Result<T>> + Send + 'call,
) -> BoxFuture<'call, Result<T>> {
    // The SDK's futures are some 20 KiB: moved once, and not with each caller.
    Box::pin(async move {
        let Some(limit) = limit else { return call.await };
        tokio::time::timeout(limit, call).await.unwrap_or_else(|_| {
            let reason = format!("it took more than the {} s that it may take", limit.as_secs());
            Err(Error::Unavailable { uri: uri(), reason })
        })
    })
}
