use std::time::Duration;

pub use crate::aws::Addressing;
use crate::error::{Error, Result};

/// What a store on S3 is told besides its URL.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// Account that must own the bucket, 12 digits: a bucket of that name in another account is refused.
    pub bucket_owner: Option<String>,
    /// Key that S3 encrypts new objects with (SSE-KMS): its id or ARN.
    pub kms_key: Option<String>,
    /// Whether the requester pays.
    pub request_payer: bool,
    /// How the bucket stands in URLs.
    pub addressing: Addressing,
    /// Time that a call may take, besides what its bytes take at [`S3Options::LEAST_RATE`].
    pub timeout: Duration,
}

impl Default for S3Options {
    fn default() -> Self {
        Self {
            bucket_owner: None,
            kms_key: None,
            request_payer: false,
            addressing: Addressing::Auto,
            timeout: Duration::from_mins(1),
        }
    }
}

impl S3Options {
    /// Bytes a second that a transfer is given time for.
    const LEAST_RATE: u64 = 1 << 20;

    /// Checks the values.
    pub fn check(&self) -> Result<()> {
        let account = |text: &String| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
        if !self.bucket_owner.as_ref().is_none_or(account) {
            return Err(Error::input("a bucket's owner must be an account's id, 12 digits"));
        }
        let key = |text: &String| {
            (1..=2048).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
        };
        if !self.kms_key.as_ref().is_none_or(key) {
            return Err(Error::input("a KMS key must be its id, alias or ARN"));
        }
        if self.timeout.is_zero() {
            return Err(Error::input("the timeout of a store must be more than 0 seconds"));
        }
        Ok(())
    }

    /// Time for a call that moves `bytes`.
    pub(super) fn deadline(&self, bytes: u64) -> Duration {
        self.timeout + Duration::from_secs(bytes / Self::LEAST_RATE)
    }
}
