//! How AWS is asked: a role is assumed for each lane that has secrets there, its session reads the
//! parameters of that lane by their exact names, and is let go. Nothing is read of files or variables
//! that other programs use for AWS but what `credentials` names, and the SDK logs nothing: nobody
//! listens to it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use aws_config::imds;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials as Session;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sdk_ssm::config::SharedHttpClient;
use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ssm::types::ParameterType;
use aws_smithy_http_client::tls;
use domain::formula::Lane;
use zeroize::Zeroizing;

use super::super::source::{Aws, Credentials, Parameter, Sources};
use super::super::{CREDENTIALS, credential};
use super::{Fault, Refusal, Values};
use crate::paper::{self, Readers};

/// How long a connection may take to be made.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);

/// How long one try of a question may take.
const TRY_PATIENCE: Duration = Duration::from_secs(5);

/// How often a question is put, the first time counted.
const TRIES_MAX: u32 = 2;

/// How long a question may take, with all its tries.
const QUESTION_PATIENCE: Duration = Duration::from_secs(12);

/// How long the session of a role lives, in seconds: the least that there is, and longer than all
/// questions together, so that none is ever renewed.
const SESSION_SECONDS: i32 = 900;

/// How many parameters are asked for at once: AWS takes no more.
const NAMES_MAX: usize = 10;

/// The longest token of a web identity, in bytes.
const TOKEN_BYTES_MAX: u64 = 16 << 10;

/// The longest answer's code that is told, in bytes.
const CODE_BYTES_MAX: usize = 64;

/// What the service's own access key is called where its value would get out.
const OWN_KEY: &str = "the access key of [aws]";

/// How the executor proves who it is.
enum Caller {
    Keys(Session),
    Token(Zeroizing<String>),
    Machine,
}

/// Reads every parameter that is wanted, and tells the service's own key, to be watched for as well.
pub(super) fn ask(
    sources: &Sources<'_>,
    aws: &Aws,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Values, Fault> {
    let caller = caller(aws.credentials, lookup)?;
    let mut values = Values::new();
    if let Caller::Keys(keys) = &caller {
        let own = Zeroizing::new(keys.secret_access_key().as_bytes().to_vec());
        values.push((OWN_KEY.to_owned(), own));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Fault::Runtime)?;
    let mut lanes: BTreeMap<Lane, Vec<(&str, &Parameter)>> = BTreeMap::new();
    for (name, parameter) in sources.parameters() {
        if let Some(lane) = sources.lanes.get(name) {
            lanes.entry(*lane).or_default().push((name, parameter));
        }
    }
    let asked = runtime.block_on(async {
        let settings = settings(aws);
        let caller = signed(&settings, aws, caller).await?;
        for (lane, wanted) in lanes {
            let role = aws.roles.get(&lane).map(String::as_str).unwrap_or_default();
            let session = assume(&settings, aws, &caller, role).await?;
            values.extend(read(&settings, session, role, &wanted).await?);
        }
        Ok(values)
    });
    // A connection that nobody closes holds nobody up.
    runtime.shutdown_background();
    asked
}

fn caller(
    credentials: Credentials,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Caller, Fault> {
    let missing = |it: &str| Fault::Credentials(it.to_owned());
    match credentials {
        Credentials::Environment => keys(
            |name| Ok(lookup(name).map(|it| Zeroizing::new(it.into_bytes()))),
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the executor's environment",
        ),
        Credentials::Credential => {
            let folder = lookup(CREDENTIALS)
                .ok_or_else(|| missing("the service needs `LoadCredential=`"))?;
            keys(
                |name| {
                    let path = Path::new(&folder).join(name);
                    if !path.exists() {
                        return Ok(None);
                    }
                    let read = credential(name, Path::new(&folder));
                    read.map(Some).map_err(|it| {
                        let cause = std::error::Error::source(&it).map(ToString::to_string);
                        missing(&cause.unwrap_or_else(|| it.to_string()))
                    })
                },
                "the service needs `LoadCredential=AWS_ACCESS_KEY_ID:…` and \
                 `LoadCredential=AWS_SECRET_ACCESS_KEY:…`",
            )
        }
        Credentials::WebIdentity => {
            let path = lookup("AWS_WEB_IDENTITY_TOKEN_FILE")
                .ok_or_else(|| missing("AWS_WEB_IDENTITY_TOKEN_FILE is not set"))?;
            let read = paper::read(Path::new(&path), TOKEN_BYTES_MAX, Readers::Anybody);
            let bytes = read.map_err(|it| missing(&it.to_string()))?;
            let token = std::str::from_utf8(&bytes).map(str::trim).ok();
            let token = token.filter(|it| !it.is_empty());
            let token = token.ok_or_else(|| missing(&format!("{path} holds no token")))?;
            Ok(Caller::Token(Zeroizing::new(token.to_owned())))
        }
        Credentials::Instance => Ok(Caller::Machine),
    }
}

/// Returns access keys that are read one by one by their names.
fn keys(
    read: impl Fn(&str) -> Result<Option<Zeroizing<Vec<u8>>>, Fault>,
    wanted: &str,
) -> Result<Caller, Fault> {
    let text = |name: &str| -> Result<Option<String>, Fault> {
        let value = read(name)?;
        let value =
            value.and_then(|it| std::str::from_utf8(&it).ok().map(|it| it.trim().to_owned()));
        Ok(value.filter(|it| !it.is_empty()))
    };
    let missing = || Fault::Credentials(wanted.to_owned());
    let key = text("AWS_ACCESS_KEY_ID")?.ok_or_else(missing)?;
    let secret = text("AWS_SECRET_ACCESS_KEY")?.ok_or_else(missing)?;
    let token = text("AWS_SESSION_TOKEN")?;
    Ok(Caller::Keys(Session::new(
        key, secret, token, None, "executor",
    )))
}

/// Returns what all questions share. Proxies of the environment are not used.
fn settings(aws: &Aws) -> SdkConfig {
    let client = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(
            tls::rustls_provider::CryptoMode::Ring,
        ))
        .build_https();
    let patience = TimeoutConfig::builder()
        .connect_timeout(CONNECT_PATIENCE)
        .operation_attempt_timeout(TRY_PATIENCE)
        .operation_timeout(QUESTION_PATIENCE)
        .build();
    let mut settings = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(aws.region.clone()))
        .http_client(client)
        .timeout_config(patience)
        .retry_config(RetryConfig::standard().with_max_attempts(TRIES_MAX));
    settings.set_endpoint_url(aws.endpoint.clone());
    settings.build()
}

/// Has the machine say who it is, if it is the machine that vouches for us.
async fn signed(settings: &SdkConfig, aws: &Aws, caller: Caller) -> Result<Caller, Fault> {
    let Caller::Machine = caller else {
        return Ok(caller);
    };
    let none = || {
        let told = "the machine's metadata (IMDSv2) gives none; give the machine a role of its own, \
                    and a hop limit that lets this program ask";
        Fault::Credentials(told.to_owned())
    };
    let client: Option<SharedHttpClient> = settings.http_client();
    let shared = ProviderConfig::empty()
        .with_region(settings.region().cloned())
        .with_http_client(client.ok_or_else(none)?);
    let mut metadata = imds::Client::builder()
        .configure(&shared)
        .connect_timeout(CONNECT_PATIENCE)
        .read_timeout(TRY_PATIENCE)
        .max_attempts(TRIES_MAX);
    if let Some(endpoint) = &aws.endpoint {
        metadata = metadata.endpoint(endpoint).map_err(|_| none())?;
    }
    let provider = imds::credentials::ImdsCredentialsProvider::builder()
        .imds_client(metadata.build())
        .build();
    let given = tokio::time::timeout(QUESTION_PATIENCE, provider.provide_credentials());
    match given.await {
        Ok(Ok(keys)) => Ok(Caller::Keys(keys)),
        Ok(Err(_)) | Err(_) => Err(none()),
    }
}

/// Returns a session of a role, that ends by itself after a quarter of an hour.
async fn assume(
    settings: &SdkConfig,
    aws: &Aws,
    caller: &Caller,
    role: &str,
) -> Result<Session, Fault> {
    let refused = |refusal| Fault::Role {
        role: role.to_owned(),
        refusal,
    };
    let mut settings = aws_sdk_sts::config::Builder::from(settings);
    if let Caller::Keys(keys) = caller {
        settings.set_credentials_provider(Some(SharedCredentialsProvider::new(keys.clone())));
    }
    let client = aws_sdk_sts::Client::from_conf(settings.build());
    let given = if let Caller::Token(token) = caller {
        let asked = client
            .assume_role_with_web_identity()
            .role_arn(role)
            .role_session_name(&aws.role_session_name)
            .web_identity_token(token.as_str())
            .duration_seconds(SESSION_SECONDS);
        let given = asked.send().await;
        given.map_err(|it| refused(refusal(&it)))?.credentials
    } else {
        let asked = client
            .assume_role()
            .role_arn(role)
            .role_session_name(&aws.role_session_name)
            .set_external_id(aws.external_id.clone())
            .duration_seconds(SESSION_SECONDS);
        let given = asked.send().await;
        given.map_err(|it| refused(refusal(&it)))?.credentials
    };
    let given = given.ok_or_else(|| refused(Refusal::Malformed))?;
    Ok(Session::new(
        given.access_key_id,
        given.secret_access_key,
        Some(given.session_token),
        None,
        "role",
    ))
}

/// Reads parameters in a role's session: each must be there, be a secret, and be the one that was
/// asked for.
async fn read(
    settings: &SdkConfig,
    session: Session,
    role: &str,
    wanted: &[(&str, &Parameter)],
) -> Result<Values, Fault> {
    let settings = aws_sdk_ssm::config::Builder::from(settings)
        .credentials_provider(SharedCredentialsProvider::new(session))
        .build();
    let client = aws_sdk_ssm::Client::from_conf(settings);
    // Two secrets may be one parameter; asked for twice it would be refused.
    let names: BTreeSet<String> = wanted.iter().map(|it| selector(it.1)).collect();
    let names: Vec<String> = names.into_iter().collect();
    let mut found: BTreeMap<(String, Option<u32>), (Zeroizing<Vec<u8>>, bool)> = BTreeMap::new();
    for some in names.chunks(NAMES_MAX) {
        let asked = client
            .get_parameters()
            .set_names(Some(some.to_vec()))
            .with_decryption(true);
        let given = asked.send().await.map_err(|it| Fault::Parameters {
            names: some.join(", "),
            role: role.to_owned(),
            refusal: refusal(&it),
        })?;
        for parameter in given.parameters.unwrap_or_default() {
            let is_secret = parameter.r#type == Some(ParameterType::SecureString);
            let (Some(name), Some(value)) = (parameter.name, parameter.value) else {
                continue;
            };
            let value = Zeroizing::new(value.into_bytes());
            let version = u32::try_from(parameter.version).ok();
            found.insert((name.clone(), version), (value.clone(), is_secret));
            if parameter.selector.is_none() {
                found.insert((name, None), (value, is_secret));
            }
        }
    }
    let mut values = Values::new();
    for (name, parameter) in wanted {
        let key = (parameter.ssm.clone(), parameter.version);
        let (name, parameter) = ((*name).to_owned(), selector(parameter));
        match found.get(&key) {
            None => return Err(Fault::Missing { name, parameter }),
            Some((_, false)) => return Err(Fault::NotSecure { name, parameter }),
            Some((value, true)) => values.push((name, value.clone())),
        }
    }
    Ok(values)
}

/// Returns how a parameter is asked for.
fn selector(parameter: &Parameter) -> String {
    match parameter.version {
        Some(version) => format!("{}:{version}", parameter.ssm),
        None => parameter.ssm.clone(),
    }
}

/// Returns what may be told of an error: never what the other side wrote.
fn refusal<E: ProvideErrorMetadata>(
    error: &SdkError<E, aws_sdk_ssm::config::http::HttpResponse>,
) -> Refusal {
    match error {
        SdkError::TimeoutError(_) => Refusal::TimedOut,
        SdkError::DispatchFailure(it) if it.is_timeout() => Refusal::TimedOut,
        SdkError::DispatchFailure(_) => Refusal::Unreachable,
        SdkError::ServiceError(it) => {
            let plain = |it: &&str| {
                (1..=CODE_BYTES_MAX).contains(&it.len())
                    && it.bytes().all(|it| it.is_ascii_alphanumeric())
            };
            match it.err().code().filter(plain) {
                Some(code) => Refusal::Code(code.to_owned()),
                None => unspoken(it.raw().status().as_u16()),
            }
        }
        SdkError::ResponseError(it) => unspoken(it.raw().status().as_u16()),
        SdkError::ConstructionFailure(_) => Refusal::Malformed,
        _ => Refusal::Malformed,
    }
}

/// Returns what an answer is that has nothing in it but its status.
const fn unspoken(status: u16) -> Refusal {
    match status {
        400..=599 => Refusal::Status(status),
        _ => Refusal::Malformed,
    }
}
