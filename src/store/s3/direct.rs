//! The short way to S3: a signed request over the SDK's own connections, without what the SDK does around it.
//!
//! A request of the SDK costs three to four times what it costs to sign, send and read 1 KiB. Where requests go, and
//! in whose name, is still the SDK's word: a URL that it has presigned says so once. What is not answered with success
//! is asked again by the SDK, which is the reference: it waits, retries, corrects clocks and reads errors.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::http::HttpConnector as _;
use aws_smithy_runtime_api::client::identity::Identity;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::Mutex;

use crate::aws::Clients;

/// What S3 does not want escaped in a path.
const PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
const QUERY: &AsciiSet = &PATH.add(b'/');
/// Credentials are not used for longer than this before their end.
const MARGIN: Duration = Duration::from_mins(5);
/// Credentials without an end are asked for again after this time, as the SDK does.
const KEPT: Duration = Duration::from_mins(15);
/// After a refusal the SDK does everything for this time.
const PAUSE: Duration = Duration::from_mins(1);
/// Time until the answer's headers are there.
const ANSWER: Duration = Duration::from_secs(10);
const AGENT: &str = concat!("legato/", env!("CARGO_PKG_VERSION"));
/// Any key, to have a URL made for it.
const KEY: &str = "k";

/// Where a bucket is, and what is known for the next request.
#[derive(Debug, Default)]
pub(super) struct Direct {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    place: Option<Place>,
    signer: Option<Signer>,
    paused_until: Option<SystemTime>,
}

/// The bucket's URL and its region, as the SDK sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    url: String,
    region: String,
}

#[derive(Debug, Clone)]
struct Signer {
    identity: Identity,
    until: SystemTime,
}

/// What came of a request.
#[derive(Debug)]
pub(super) enum Reply {
    Success(Box<HttpResponse>),
    /// A condition did not hold: `If-None-Match`, `If-Match`.
    Precondition,
    /// The SDK must be asked.
    Other,
}

/// A request: the method, the key in the bucket, headers and the body.
#[derive(Debug)]
pub(super) struct Order<'a> {
    pub(super) method: &'static str,
    pub(super) key: &'a str,
    pub(super) query: Option<(&'static str, &'a str)>,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
}

impl Direct {
    /// Sends a request, if that can be done without the SDK.
    pub(super) async fn send(&self, clients: &Clients, bucket: &str, order: Order<'_>) -> Reply {
        let now = SystemTime::now();
        let Some(answer) = self.try_send(clients, bucket, order, now).await else {
            return Reply::Other;
        };
        match answer.status().as_u16() {
            200..300 => Reply::Success(Box::new(answer)),
            412 => Reply::Precondition,
            // What is not there, or not now, says nothing against the way.
            404 | 409 | 416 => Reply::Other,
            _ => {
                if let Ok(mut state) = self.state.try_lock() {
                    *state = State { paused_until: now.checked_add(PAUSE), ..State::default() };
                }
                Reply::Other
            }
        }
    }

    async fn try_send(
        &self,
        clients: &Clients,
        bucket: &str,
        order: Order<'_>,
        now: SystemTime,
    ) -> Option<HttpResponse> {
        let connector = clients.connector()?;
        let (place, identity) = self.prepare(clients, bucket, now).await?;
        let request = signed(&place, &identity, order, now)?;
        tokio::time::timeout(ANSWER, connector.call(request)).await.ok()?.ok()
    }

    async fn prepare(
        &self,
        clients: &Clients,
        bucket: &str,
        now: SystemTime,
    ) -> Option<(Place, Identity)> {
        // Who does not get it at once asks the SDK: a lock that was held during `fork` stays held in the child.
        let mut state = self.state.try_lock().ok()?;
        if state.paused_until.is_some_and(|until| now < until) {
            return None;
        }
        if state.place.is_none() {
            state.place = Some(place(clients, bucket).await?);
        }
        let place = state.place.clone()?;
        if let Some(signer) = state.signer.as_ref().filter(|signer| now < signer.until) {
            return Some((place, signer.identity.clone()));
        }
        let signer = signer(clients, now).await?;
        state.signer = Some(signer.clone());
        (now < signer.until).then_some((place, signer.identity))
    }
}

/// Reads the bucket's place from a URL that the SDK signs; nothing is sent.
async fn place(clients: &Clients, bucket: &str) -> Option<Place> {
    let signing = PresigningConfig::expires_in(Duration::from_mins(1)).ok()?;
    let request = clients.read.get_object().bucket(bucket).key(KEY);
    let signed = Box::pin(request.presigned(signing)).await.ok()?;
    parse(signed.uri())
}

fn parse(uri: &str) -> Option<Place> {
    let (url, query) = uri.split_once('?')?;
    let url = url.strip_suffix(KEY)?.strip_suffix('/')?.to_owned();
    let value =
        |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    // Sessions of directory buckets and signatures for many regions are the SDK's.
    if value("X-Amz-Algorithm") != Some("AWS4-HMAC-SHA256")
        || value("X-Amz-S3session-Token").is_some()
    {
        return None;
    }
    // <key id>/<date>/<region>/<service>/aws4_request
    let mut scope = value("X-Amz-Credential")?.rsplit("%2F");
    let (_, service, region) = (scope.next()?, scope.next()?, scope.next()?);
    (service == "s3").then(|| Place { url, region: region.to_owned() })
}

async fn signer(clients: &Clients, now: SystemTime) -> Option<Signer> {
    let found: Credentials = clients.credentials()?.provide_credentials().await.ok()?;
    let until = match found.expiry() {
        Some(end) => end.checked_sub(MARGIN)?,
        None => now.checked_add(KEPT)?,
    };
    Some(Signer { identity: found.into(), until })
}

fn signed(
    place: &Place,
    identity: &Identity,
    order: Order<'_>,
    now: SystemTime,
) -> Option<HttpRequest> {
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    let params = v4::SigningParams::builder()
        .identity(identity)
        .region(&place.region)
        .name("s3")
        .time(now)
        .settings(settings)
        .build()
        .ok()?
        .into();
    let Order { method, key, query, headers, body } = order;
    let mut uri = format!("{}/{}", place.url, utf8_percent_encode(key, PATH));
    if let Some((name, value)) = query {
        _ = write!(uri, "?{name}={}", utf8_percent_encode(value, QUERY));
    }
    let given = headers.iter().map(|(name, value)| (*name, value.as_str()));
    let signable = SignableRequest::new(method, &uri, given, SignableBody::Bytes(&body)).ok()?;
    let (made, _) = sign(signable, &params).ok()?.into_parts();
    let mut request = HttpRequest::new(SdkBody::from(body));
    request.set_method(method).ok()?;
    request.set_uri(uri).ok()?;
    let all = request.headers_mut();
    for (name, value) in headers {
        all.try_insert(name, value).ok()?;
    }
    for header in made.into_parts().0 {
        all.try_insert(header.name(), header.value().to_owned()).ok()?;
    }
    all.try_insert("user-agent", AGENT).ok()?;
    Some(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_signed_urls() {
        let query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A%2F20260101%2Feu-west-1%2Fs3%2Faws4_request";
        let place = |url: &str| Some(Place { url: url.to_owned(), region: "eu-west-1".to_owned() });
        for url in ["https://b.s3.eu-west-1.amazonaws.com", "http://127.0.0.1:9/b"] {
            assert_eq!(parse(&format!("{url}/k?{query}")), place(url));
        }
        let express = query.replace("%2Fs3%2F", "%2Fs3express%2F");
        assert_eq!(parse(&format!("https://b/k?{express}")), None);
        assert_eq!(parse(&format!("https://b/k?{query}&X-Amz-S3session-Token=t")), None);
        assert_eq!(parse("https://b/k"), None);
    }

    #[test]
    fn a_signature_that_aws_documents() {
        // GET Object of the S3 documentation, "Signature calculations: examples".
        let (id, secret) = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        let identity = Credentials::new(id, secret, None, None, "documentation").into();
        let place = Place {
            url: "https://examplebucket.s3.amazonaws.com".to_owned(),
            region: "us-east-1".to_owned(),
        };
        let order = |key: &'static str| Order {
            method: "GET",
            key,
            query: None,
            headers: vec![("range", "bytes=0-9".to_owned())],
            body: Bytes::new(),
        };
        let at = SystemTime::UNIX_EPOCH + Duration::from_hours(380_376);
        let request = signed(&place, &identity, order("test.txt"), at).unwrap();
        assert_eq!(request.uri(), "https://examplebucket.s3.amazonaws.com/test.txt");
        let authorization = request.headers().get("authorization").unwrap();
        assert!(authorization.ends_with(
            "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, \
             Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        ));
        let spaced = signed(&place, &identity, order("a b/ü+%.txt"), at).unwrap();
        assert_eq!(spaced.uri(), "https://examplebucket.s3.amazonaws.com/a%20b/%C3%BC%2B%25.txt");
    }
}
