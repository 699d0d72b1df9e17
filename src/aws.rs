//! The AWS SDK: configuration by its standard chain, and the clients made of it.
//!
//! Region, credentials (environment, profile, web identity, container, IMDS), `AWS_ENDPOINT_URL[_S3]`, retry mode,
//! dual-stack and FIPS are read as the SDK reads them. Clients belong to a process and to what its environment says
//! of AWS: they are made on first use, again in a child of `fork`, and again when the environment has changed.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::config::retry::{RetryConfig, RetryPartition};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::tls::{TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, tls};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use tokio::runtime::{Handle, Id};
use tokio::sync::OnceCell;

use crate::error::{Error, Result};
use crate::process::Slot;

/// A connection that was idle for longer is not used again: S3 closes them after some 20 seconds, and a Lambda
/// function that was frozen does not hear of it.
const IDLE: Duration = Duration::from_secs(15);
/// Time for a connection to be made.
const CONNECT: Duration = Duration::from_secs(3);
/// Time for one attempt of a request that sends nothing, until the answer's headers are there.
const ANSWER: Duration = Duration::from_secs(10);
/// Time for one attempt of a request that sends a part, of 16 MiB at most.
const UPLOAD: Duration = Duration::from_mins(1);
/// Attempts where the environment does not say (`AWS_MAX_ATTEMPTS`).
const ATTEMPTS: u32 = 5;
/// Wait before the second attempt; it doubles, and is any part of that.
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
/// Longest wait between two attempts.
const BACKOFF: Duration = Duration::from_secs(5);

/// What a process's environment says of AWS, as a number: clients are shared by stores that see the same.
pub type Environment = u64;

/// Clients of one environment.
#[derive(Debug)]
pub struct Clients {
    /// For requests that send nothing.
    pub read: aws_sdk_s3::Client,
    /// For requests that send a part.
    pub write: aws_sdk_s3::Client,
    /// As `read`, with a new connection for each request.
    pub fresh: aws_sdk_s3::Client,
    /// Whether requests go to another server than AWS's.
    pub custom_endpoint: bool,
    pooled: ByScheme,
    config: SdkConfig,
    caller: OnceCell<Option<String>>,
}

/// The number of the present environment.
#[must_use]
pub fn environment() -> Environment {
    const ALSO: [&str; 8] = [
        "HOME",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "SSL_CERT_FILE",
    ];
    let mut seen: Vec<_> = std::env::vars_os()
        .filter(|(name, _)| {
            name.to_str().is_some_and(|name| name.starts_with("AWS_") || ALSO.contains(&name))
        })
        .collect();
    seen.sort_unstable();
    let mut hasher = DefaultHasher::new();
    seen.hash(&mut hasher);
    hasher.finish()
}

/// Connections belong to the runtime that made them.
type Made = Mutex<HashMap<(Environment, Addressing, Id), Arc<OnceCell<Arc<Clients>>>>>;
static MADE: Slot<Made> = Slot::new();

/// How a bucket stands in a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Addressing {
    /// In the path where the endpoint is not AWS's, else in the host's name.
    #[default]
    Auto,
    Path,
    Virtual,
}

impl Addressing {
    const NAMES: [(Self, &str); 3] =
        [(Self::Auto, "auto"), (Self::Path, "path"), (Self::Virtual, "virtual")];

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(found, _)| *found)
    }

    /// Its name, as settings write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(known, _)| *known == self).map_or("auto", |(_, name)| name)
    }
}

/// The clients of an environment, made on first use.
pub async fn clients(environment: Environment, addressing: Addressing) -> Result<Arc<Clients>> {
    let made = MADE.get(|| Ok(Mutex::default()))?;
    let cell = {
        let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(made.entry((environment, addressing, Handle::current().id())).or_default())
    };
    let new = || async { Box::pin(Clients::make(environment, addressing)).await.map(Arc::new) };
    cell.get_or_try_init(new).await.cloned()
}

/// Forgets all clients and their connections: what a restored snapshot must do.
pub fn forget() {
    MADE.clear();
}

impl Clients {
    async fn make(environment: Environment, addressing: Addressing) -> Result<Self> {
        let pooled = ByScheme::new(true)?;
        let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(SharedHttpClient::new(pooled.clone()))
            // Bodies are watched where they are read: a stalled one is resumed, not failed.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .load()
            .await;
        let endpoint = custom_endpoint(&config);
        if config.region().is_none() && !endpoint {
            return Err(Error::input(
                "no AWS region is set; set AWS_REGION, or region in the profile of ~/.aws/config",
            ));
        }
        let path_style = match addressing {
            Addressing::Auto => endpoint,
            Addressing::Path => true,
            Addressing::Virtual => false,
        };
        let client = |attempt: Duration, http: Option<SharedHttpClient>| {
            let mut builder = aws_sdk_s3::config::Builder::from(&config)
                .retry_config(retries(&config))
                // A quota of retries of its own: one endpoint that fails must not leave the others without.
                .retry_partition(RetryPartition::new(format!("legato-{environment:x}")))
                .timeout_config(
                    TimeoutConfig::builder()
                        .connect_timeout(CONNECT)
                        .operation_attempt_timeout(attempt)
                        .build(),
                )
                // Checksums are ours: a header that is known beforehand instead of a trailer that some stores refuse.
                .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
                .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
                .force_path_style(path_style);
            if config.region().is_none() {
                builder = builder.region(Region::from_static("us-east-1"));
            }
            builder.set_http_client(http.or_else(|| config.http_client()));
            aws_sdk_s3::Client::from_conf(builder.build())
        };
        Ok(Self {
            read: client(ANSWER, None),
            write: client(UPLOAD, None),
            fresh: client(ANSWER, Some(SharedHttpClient::new(ByScheme::new(false)?))),
            custom_endpoint: endpoint,
            pooled,
            caller: OnceCell::new(),
            config,
        })
    }

    /// The connections of `read` and `write`, once one of them has made a request.
    pub fn connector(&self) -> Option<SharedHttpConnector> {
        self.pooled.made.get().cloned()
    }

    /// Whose credentials `read` and `write` use.
    pub fn credentials(&self) -> Option<SharedCredentialsProvider> {
        self.config.credentials_provider()
    }

    /// ARN of who makes the requests, if STS says it: for messages.
    pub async fn caller(&self) -> Option<String> {
        // With an endpoint of its own for S3 alone, these may be no credentials of AWS.
        if self.custom_endpoint && self.config.endpoint_url().is_none() {
            return None;
        }
        let ask = async {
            let asked = aws_sdk_sts::Client::new(&self.config).get_caller_identity().send();
            let answer = tokio::time::timeout(CONNECT, asked).await.ok()?.ok()?;
            answer.arn
        };
        self.caller.get_or_init(|| Box::pin(ask)).await.clone()
    }
}

fn retries(config: &SdkConfig) -> RetryConfig {
    let given = std::env::var_os("AWS_MAX_ATTEMPTS").is_some();
    let retries = config.retry_config().cloned().unwrap_or_else(RetryConfig::standard);
    let retries = if given { retries } else { retries.with_max_attempts(ATTEMPTS) };
    retries.with_initial_backoff(FIRST_BACKOFF).with_max_backoff(BACKOFF)
}

fn custom_endpoint(config: &SdkConfig) -> bool {
    let key = aws_types::service_config::ServiceConfigKey::builder()
        .service_id("S3")
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build();
    let own = config.service_config().zip(key.ok()).and_then(|(found, key)| found.load_config(key));
    own.is_some() || config.endpoint_url().is_some()
}

/// Plain HTTP and HTTPS; of the second nothing is loaded before the first `https://` request.
#[derive(Debug, Clone)]
struct ByScheme {
    plain: SharedHttpClient,
    tls: Arc<OnceLock<SharedHttpClient>>,
    context: TlsContext,
    pooled: bool,
    /// The connector that the SDK was given last.
    made: Arc<OnceLock<SharedHttpConnector>>,
}

impl ByScheme {
    fn new(pooled: bool) -> Result<Self> {
        Ok(Self {
            plain: builder(pooled).build_http(),
            tls: Arc::default(),
            context: trusted()?,
            pooled,
            made: Arc::default(),
        })
    }
}

fn builder(pooled: bool) -> Builder {
    let most = if pooled { usize::MAX } else { 0 };
    Builder::new().pool_idle_timeout(IDLE).pool_max_idle_per_host(most)
}

/// The system's certificate authorities, and those of `AWS_CA_BUNDLE`.
fn trusted() -> Result<TlsContext> {
    let mut store = TrustStore::default();
    if let Some(path) = std::env::var_os("AWS_CA_BUNDLE").filter(|path| !path.is_empty()) {
        let pem = std::fs::read(&path).map_err(|e| {
            Error::input(format!("AWS_CA_BUNDLE {} cannot be read ({e})", path.display()))
        })?;
        store = store.with_pem_certificate(pem);
    }
    let context = TlsContext::builder().with_trust_store(store).build();
    context.map_err(|e| Error::input(format!("AWS_CA_BUNDLE has no certificates ({e})")))
}

impl HttpClient for ByScheme {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let connector = SharedHttpConnector::new(Connector {
            plain: self.plain.http_connector(settings, components),
            tls: self.tls.clone(),
            context: self.context.clone(),
            pooled: self.pooled,
            settings: settings.clone(),
            components: components.clone(),
        });
        // That of an operation, not of a provider of credentials: those have clients of their own.
        _ = self.made.set(connector.clone());
        connector
    }
}

#[derive(Debug)]
struct Connector {
    plain: SharedHttpConnector,
    tls: Arc<OnceLock<SharedHttpClient>>,
    context: TlsContext,
    pooled: bool,
    settings: HttpConnectorSettings,
    components: RuntimeComponents,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        if !request.uri().starts_with("https:") {
            return self.plain.call(request);
        }
        let client = self.tls.get_or_init(|| {
            builder(self.pooled)
                .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
                .tls_context(self.context.clone())
                .build_https()
        });
        client.http_connector(&self.settings, &self.components).call(request)
    }
}
