//! One exchange: what is asked of a request before it leaves, and how it is sent.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use ports::models::Halt;
use serde::Deserialize;

use crate::broker::Broker;
use crate::config::Provider;
use crate::refusal::Refusal;
use crate::route::{self, Call, Family, NoRoute, Route};
use crate::sending;
use crate::serving::Reply;
use crate::session::Session;
use crate::tunnel;
use crate::upstream;

/// The longest name of a model, in bytes.
const MODEL_BYTES_MAX: usize = 256;

/// What of a request is understood. A name that is there twice is an error, so that nobody else can
/// read it otherwise.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    model: Option<String>,
    stream: Option<bool>,
}

/// What passed every check.
#[derive(Debug)]
pub struct Passed<'a> {
    /// How it is asked.
    pub method: Method,
    /// What is asked.
    pub route: Route,
    /// Of whom.
    pub provider: &'a Provider,
    /// Which model.
    pub model: String,
    /// The request.
    pub body: Bytes,
    /// Its headers, all of them.
    pub headers: HeaderMap,
    /// What of its query goes out.
    pub query: String,
}

/// Answers a request: by its provider, or with why not.
pub async fn answer(
    broker: Arc<Broker>,
    session: Arc<Session>,
    request: Request<Incoming>,
) -> Response<Reply> {
    if request.method() == Method::CONNECT {
        let opened = tunnel::open(&broker, &session, request).await;
        return opened.unwrap_or_else(|it| refuse(&session, Family::Compatible, &it));
    }
    if request.uri().authority().is_some() {
        let why = "what is not encrypted is not carried".to_owned();
        return refuse(&session, Family::Compatible, &Refusal::Egress(why));
    }
    if !session.asks_models {
        return refuse(&session, Family::Compatible, &Refusal::NoSuchPath);
    }
    let route = match route::find(request.method(), request.uri().path()) {
        Ok(route) => route,
        Err(NoRoute::Path(family)) => return refuse(&session, family, &Refusal::NoSuchPath),
        Err(NoRoute::Method(family)) => return refuse(&session, family, &Refusal::Method),
    };
    let family = route.language();
    let passed = match pass(&broker, &session, route, request).await {
        Ok(passed) => passed,
        Err(refusal) => return refuse(&session, family, &refusal),
    };
    // Held until the exchange is accounted for.
    let Ok(place) = Arc::clone(&session.slots).try_acquire_owned() else {
        return refuse(&session, family, &Refusal::TooFast);
    };
    match sending::send(&broker, &session, &passed, place).await {
        Ok(reply) => reply,
        Err(refusal) => refuse(&session, family, &refusal),
    }
}

/// Asks everything of a request that can be asked before it leaves.
async fn pass<'a>(
    broker: &'a Broker,
    session: &Session,
    route: Route,
    request: Request<Incoming>,
) -> Result<Passed<'a>, Refusal> {
    standing(session)?;
    let named = broker.config.providers.get(&route.provider);
    let provider = named
        .filter(|it| it.family == route.family)
        .ok_or(Refusal::NoSuchPath)?;
    if !session.is_in_pace() {
        return Err(Refusal::TooFast);
    }
    let query = upstream::query(request.uri().query());
    let (head, body) = request.into_parts();
    if head
        .headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|it| it != "identity")
    {
        let why = "it is compressed; send it as it is".to_owned();
        return Err(Refusal::Malformed(why));
    }
    let most = broker.config.limits.request_bytes;
    let body = collect(body, most).await?;
    let model = if route.call == Call::Models {
        if !body.is_empty() {
            return Err(Refusal::Malformed("it has a body".to_owned()));
        }
        String::new()
    } else {
        // First of all, so that nothing of it comes into a refusal or a record.
        look(broker, session, &body)?;
        model(&route, &body)?
    };
    if !model.is_empty() {
        let may = provider.models.is_match(&model) && session.may_ask(&provider.name, &model);
        if !may {
            return Err(Refusal::Model(model));
        }
    }
    session
        .send(u64::try_from(body.len()).unwrap_or(u64::MAX))
        .map_err(|detail| {
            let halt = Halt::OverBudget {
                detail: detail.clone(),
            };
            session.halt(halt);
            Refusal::OverBudget(detail)
        })?;
    Ok(Passed {
        method: head.method,
        route,
        provider,
        model,
        body,
        headers: head.headers,
        query,
    })
}

pub(crate) fn standing(session: &Session) -> Result<(), Refusal> {
    match session.halted() {
        None => Ok(()),
        Some(Halt::OverBudget { detail }) => Err(Refusal::OverBudget(detail)),
        Some(Halt::Leak { detail }) => Err(Refusal::Leak(detail)),
    }
}

async fn collect(body: Incoming, most: usize) -> Result<Bytes, Refusal> {
    // What says beforehand that it is too large need not be sent.
    if body.size_hint().lower() > u64::try_from(most).unwrap_or(u64::MAX) {
        return Err(Refusal::TooLarge(most));
    }
    match Limited::new(body, most).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge(most)),
        Err(_) => Err(Refusal::Malformed("it ends early".to_owned())),
    }
}

fn model(route: &Route, body: &[u8]) -> Result<String, Refusal> {
    let asked: Asked = serde_json::from_slice(body).map_err(|error| unread(&error))?;
    if asked.stream == Some(true) && !route.call.is_work() {
        return Err(Refusal::Malformed("it asks for a stream".to_owned()));
    }
    let model = route.model.clone().or(asked.model);
    model
        .filter(|it| it.bytes().all(|byte| byte.is_ascii_graphic()))
        .filter(|it| !it.is_empty() && it.len() <= MODEL_BYTES_MAX)
        .ok_or_else(|| Refusal::Malformed("it names no model".to_owned()))
}

/// Looks a request through. What must not leave halts the session: the agent has seen it.
fn look(broker: &Broker, session: &Session, body: &[u8]) -> Result<(), Refusal> {
    match session.door.look(&broker.scanner, body) {
        Ok(None) => Ok(()),
        Ok(Some(detail)) => {
            session.halt(Halt::Leak {
                detail: detail.clone(),
            });
            Err(Refusal::Leak(detail))
        }
        Err(error) => Err(unread(&error)),
    }
}

/// Says where a request cannot be read, without anything of what stands there.
fn unread(error: &serde_json::Error) -> Refusal {
    let (line, column) = (error.line(), error.column());
    Refusal::Malformed(format!(
        "it is no JSON object that is understood, at line {line}, column {column}"
    ))
}

/// Returns a refusal in the shape of its provider, and counts it.
fn refuse(session: &Session, family: Family, refusal: &Refusal) -> Response<Reply> {
    session.refused(refusal.sentence());
    let mut headers = HeaderMap::new();
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    if *refusal == Refusal::TooFast {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    // Without this, some clients try again what cannot succeed.
    if !matches!(refusal, Refusal::TooFast | Refusal::Upstream(_)) {
        headers.insert("x-should-retry", HeaderValue::from_static("false"));
    }
    let body = Reply::Whole(Some(refusal.body(family)));
    response(refusal.status(), headers, body)
}

pub(crate) fn response(status: StatusCode, headers: HeaderMap, body: Reply) -> Response<Reply> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
