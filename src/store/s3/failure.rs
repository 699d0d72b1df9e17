use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId as _;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::error::display::DisplayErrorContext;

use crate::aws::Clients;
use crate::error::Error;

/// Longest text of a server that a message repeats.
const SHOWN: usize = 300;

/// What S3 answered, as far as callers tell it apart.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    code: String,
    message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// No object, version or upload of that name.
    NotFound,
    NoBucket,
    /// A condition did not hold: `If-None-Match`, `If-Match`.
    Precondition,
    /// Another conditional write to the key is under way.
    Conflict,
    /// The range begins where the object has ended.
    Range,
    Denied,
    /// The request went to the wrong region.
    Region,
    Full,
    /// What was sent is not what arrived.
    Digest,
    /// Throttled, no answer in time, a fault of the server or of the network.
    Transient,
    /// The request is wrong.
    Refused,
}

impl Failure {
    #[allow(clippy::needless_pass_by_value)] // reads better at the end of a chain
    pub(super) fn of<E>(error: SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let status = error.raw_response().map_or(0, |answer| answer.status().as_u16());
        match &error {
            SdkError::ServiceError(answer) => {
                let meta = answer.err().meta();
                let code = meta.code().unwrap_or_default().to_owned();
                let kind = kind(&code, status);
                let code = if code.is_empty() { format!("HTTP {status}") } else { code };
                let request =
                    meta.request_id().map(|id| format!(", request {id}")).unwrap_or_default();
                let message =
                    format!("{}{}", plain(meta.message().unwrap_or_default()), plain(&request));
                Self { kind, code, message }
            }
            SdkError::TimeoutError(_) => Self::transient("no answer in time"),
            SdkError::ResponseError(_) => Self::transient("an answer that is not S3's"),
            _ => Self::unsent(&DisplayErrorContext(&error).to_string()),
        }
    }

    pub(super) fn transient(reason: &str) -> Self {
        Self { kind: Kind::Transient, code: reason.to_owned(), message: String::new() }
    }

    /// What never became a request: without credentials, or without a connection.
    fn unsent(text: &str) -> Self {
        let about = text.to_ascii_lowercase();
        let named = |words: &[&str]| words.iter().any(|word| about.contains(word));
        if named(&["credential", "identity"]) {
            let code = "no AWS credentials were found; set AWS_PROFILE or AWS_ACCESS_KEY_ID and \
                        AWS_SECRET_ACCESS_KEY, or give the function a role";
            return Self { kind: Kind::Denied, code: code.to_owned(), message: String::new() };
        }
        let reason = match () {
            () if named(&["dns", "lookup"]) => {
                "its host's name is not known; check AWS_REGION and AWS_ENDPOINT_URL"
            }
            () if named(&["refused"]) => "the connection was refused; check AWS_ENDPOINT_URL",
            () if named(&["certificate", "tls"]) => {
                "the server's certificate is not trusted; set AWS_CA_BUNDLE to the authority's"
            }
            () => "the connection broke",
        };
        Self::transient(reason)
    }

    fn reason(&self) -> String {
        match self.message.as_str() {
            "" => self.code.clone(),
            message => format!("{}: {message}", self.code),
        }
    }

    /// As an error of the core about `uri`; `action` is that of IAM, such as `s3:GetObject`.
    pub(super) async fn into_error(
        self,
        clients: &Clients,
        action: &'static str,
        uri: String,
        resource: &str,
    ) -> Error {
        let reason = self.reason();
        match self.kind {
            Kind::NotFound => Error::NotFound { uri },
            Kind::NoBucket => Error::input(format!(
                "there is no bucket for {uri}; create it, or check its name, AWS_REGION and the account"
            )),
            Kind::Denied => {
                let role = match named_role(&self.message) {
                    Some(role) => Some(role),
                    None => clients.caller().await,
                };
                let role = role.unwrap_or_else(|| "the configured credentials".to_owned());
                let reason = format!("to {role}, resource {resource}: {reason}");
                Error::Denied { action, uri, reason }
            }
            Kind::Region => Error::input(format!(
                "the bucket of {uri} is in another region; set AWS_REGION to it ({reason})"
            )),
            Kind::Full => Error::Full { uri, reason },
            Kind::Transient | Kind::Conflict | Kind::Digest => Error::Unavailable { uri, reason },
            // Callers see to these where they can come.
            Kind::Precondition | Kind::Range | Kind::Refused => {
                Error::input(format!("S3 refused {action} of {uri} ({reason})"))
            }
        }
    }
}

/// Who was denied, where the message says it: `User: arn:... is not authorized ...`.
fn named_role(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("User: ")?;
    let arn = rest.split(' ').next()?;
    arn.starts_with("arn:").then(|| arn.to_owned())
}

fn kind(code: &str, status: u16) -> Kind {
    match code {
        "NoSuchKey" | "NotFound" | "NoSuchVersion" | "NoSuchUpload" => Kind::NotFound,
        "NoSuchBucket" => Kind::NoBucket,
        "PreconditionFailed" => Kind::Precondition,
        "ConditionalRequestConflict" | "OperationAborted" => Kind::Conflict,
        "InvalidRange" => Kind::Range,
        "BadDigest" | "InvalidDigest" | "XAmzContentChecksumMismatch" | "IncompleteBody" => {
            Kind::Digest
        }
        "PermanentRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException" => Kind::Region,
        "QuotaExceeded" | "ServiceQuotaExceeded" | "InsufficientStorage" | "XMinioStorageFull" => {
            Kind::Full
        }
        "SlowDown"
        | "ServiceUnavailable"
        | "InternalError"
        | "RequestTimeout"
        | "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "BandwidthLimitExceeded" => Kind::Transient,
        "ExpiredToken"
        | "InvalidAccessKeyId"
        | "InvalidToken"
        | "SignatureDoesNotMatch"
        | "RequestTimeTooSkewed"
        | "AccountProblem"
        | "AllAccessDisabled" => Kind::Denied,
        code if code.starts_with("AccessDenied") || code.starts_with("KMS.") => Kind::Denied,
        _ => match status {
            401 | 403 => Kind::Denied,
            404 => Kind::NotFound,
            409 => Kind::Conflict,
            412 => Kind::Precondition,
            416 => Kind::Range,
            301 | 307 => Kind::Region,
            507 => Kind::Full,
            408 | 429 | 500.. => Kind::Transient,
            _ => Kind::Refused,
        },
    }
}

/// A server's text on one line, and not all of it where it is long.
fn plain(text: &str) -> String {
    let text = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    text.take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_has_a_status_only() {
        assert_eq!(kind("", 403), Kind::Denied);
        assert_eq!(kind("", 404), Kind::NotFound);
        assert_eq!(kind("", 503), Kind::Transient);
        assert_eq!(kind("", 400), Kind::Refused);
    }

    #[test]
    fn the_role_of_a_denial() {
        let text = "User: arn:aws:sts::1:assumed-role/stage/run is not authorized to perform: s3:PutObject";
        assert_eq!(named_role(text).unwrap(), "arn:aws:sts::1:assumed-role/stage/run");
        assert_eq!(named_role("User: you"), None);
        assert_eq!(named_role("Access Denied."), None);
    }

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(plain("a\r\nb"), "a  b");
        assert_eq!(plain(&"x".repeat(900)).len(), SHOWN);
    }
}
