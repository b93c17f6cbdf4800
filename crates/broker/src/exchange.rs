//! One exchange: what is asked of a request before it leaves, and how it is sent.

use std::sync::Arc;

use bytes::Bytes;
use domain::usage::{Amount, Tokens};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use ports::models::Halt;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;

use crate::bill::{Bill, Tariff};
use crate::broker::Broker;
use crate::config::Provider;
use crate::meter;
use crate::prices::{Known, Price};
use crate::refusal::Refusal;
use crate::relay::{self, Relay};
use crate::route::{self, Call, Family, NoRoute, Route};
use crate::serving::Reply;
use crate::session::Session;
use crate::tape::Take;
use crate::upstream;

/// The longest name of a model, in bytes.
const MODEL_BYTES_MAX: usize = 256;

/// The longest error of a provider that is passed on, in bytes.
const ERROR_BYTES_MAX: usize = 256 << 10;

/// What of a request is understood. A name that is there twice is an error, so that nobody else can
/// read it otherwise.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    model: Option<String>,
    stream: Option<bool>,
}

/// What passed every check.
struct Passed<'a> {
    route: Route,
    provider: &'a Provider,
    model: String,
    body: Bytes,
    headers: HeaderMap,
    query: String,
}

/// Answers a request: by its provider, or with why not.
pub async fn answer(
    broker: Arc<Broker>,
    session: Arc<Session>,
    request: Request<Incoming>,
) -> Response<Reply> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let route = match route::find(&method, &path) {
        Ok(route) => route,
        Err(NoRoute::Path(family)) => return refuse(&session, family, &Refusal::NoSuchPath),
        Err(NoRoute::Method(family)) => return refuse(&session, family, &Refusal::Method),
    };
    let family = route.family;
    let passed = match pass(&broker, &session, route, request).await {
        Ok(passed) => passed,
        Err(refusal) => return refuse(&session, family, &refusal),
    };
    // Held until the exchange is accounted for.
    let Ok(place) = Arc::clone(&session.slots).try_acquire_owned() else {
        return refuse(&session, family, &Refusal::TooFast);
    };
    match send(&broker, &session, &method, &passed, place).await {
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
        route,
        provider,
        model,
        body,
        headers: head.headers,
        query,
    })
}

fn standing(session: &Session) -> Result<(), Refusal> {
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

/// Sends what passed, and returns the reply as it comes.
async fn send(
    broker: &Arc<Broker>,
    session: &Arc<Session>,
    method: &Method,
    passed: &Passed<'_>,
    place: OwnedSemaphorePermit,
) -> Result<Response<Reply>, Refusal> {
    let Passed {
        route,
        provider,
        model,
        body,
        ..
    } = passed;
    let tariff = tariff(broker, session, provider, model, route.call)?;
    let bill = Bill::new(broker, session, provider, model, route.call, tariff);
    let input = Tokens {
        input: meter::input_estimate(body.len()),
        ..Tokens::default()
    };
    if route.call.is_work() {
        let amount = Amount {
            tokens: input.total(),
            money: tariff.money(&input),
        };
        if let Some(over) = broker.pending(session, bill.call(), amount) {
            bill.cancel();
            return Err(Refusal::OverBudget(over));
        }
    }
    let take = session.reel.begin(route, model, body);
    if let Some(played) = session.reel.play(route, model, body) {
        bill.cancel();
        return played
            .map(|it| relay::play(session, it, place))
            .map_err(Refusal::NoMatch);
    }
    let request = upstream::outgoing(
        method,
        &provider.upstream,
        &route.path,
        &passed.query,
        &passed.headers,
        broker.key(provider).map(|it| (it, provider.family)),
        body.clone(),
    )
    .map_err(|it| Refusal::Upstream(it.to_string()))?;
    let mut stage = session.stage();
    let patience = broker.config.limits.first_byte;
    let sent = tokio::select! {
        sent = tokio::time::timeout(patience, broker.upstream.send(request)) => sent,
        _halted = stage.wait_for(|it| *it > crate::session::Stage::Open) => {
            bill.estimate(body.len());
            standing(session)?;
            return Err(Refusal::Upstream("the session was closed".to_owned()));
        }
    };
    let reply = match sent {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) => {
            bill.cancel();
            return Err(Refusal::Upstream(error.to_string()));
        }
        Err(_) => {
            bill.estimate(body.len());
            return Err(Refusal::Upstream("it did not answer in time".to_owned()));
        }
    };
    received(broker, session, route, reply, bill, take, body.len(), place).await
}

/// Returns what the model costs; where money is bounded, a model without a price is not asked.
fn tariff(
    broker: &Broker,
    session: &Session,
    provider: &Provider,
    model: &str,
    call: Call,
) -> Result<Tariff, Refusal> {
    if provider.free || !call.is_work() {
        return Ok(Tariff::Known(Price::FREE));
    }
    match broker.config.prices.of(&provider.name, model) {
        Known::Listed(price) => Ok(Tariff::Known(price)),
        Known::Ceiling(price) => {
            session.note(format!(
                "the price of {}/{model} is unknown; the ceiling `unknown_price` is counted",
                provider.name
            ));
            Ok(Tariff::Known(price))
        }
        Known::Unknown if broker.counts_money(session.id) => Err(Refusal::OverBudget(format!(
            "the price of {}/{model} is unknown, and money is bounded; add it to the price table, or \
             set `unknown_price` in broker.toml",
            provider.name
        ))),
        Known::Unknown => Ok(Tariff::Unknown),
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "all of it is handed over to the relay, once"
)]
async fn received(
    broker: &Arc<Broker>,
    session: &Arc<Session>,
    route: &Route,
    reply: Response<Incoming>,
    bill: Bill,
    take: Take,
    request_bytes: usize,
    place: OwnedSemaphorePermit,
) -> Result<Response<Reply>, Refusal> {
    let (head, body) = reply.into_parts();
    let coded = head.headers.get(header::CONTENT_ENCODING);
    if coded.is_some_and(|it| it != "identity") || head.status.is_redirection() {
        bill.estimate(request_bytes);
        let why = "it was compressed, or pointed elsewhere".to_owned();
        return Err(Refusal::Upstream(why));
    }
    let mut headers = upstream::incoming(&head.headers);
    let told = headers
        .values()
        .any(|it| broker.own_keys.look(it.as_bytes()).is_some());
    if told {
        headers.clear();
    }
    if !head.status.is_success() {
        // A provider that could not do it has counted nothing.
        bill.cancel();
        let body = error_body(broker, body).await?;
        take.fail(head.status, &headers, &body);
        return Ok(response(head.status, headers, Reply::Whole(Some(body))));
    }
    let is_stream = headers
        .get(header::CONTENT_TYPE)
        .and_then(|it| it.to_str().ok())
        .is_some_and(|it| it.starts_with("text/event-stream"));
    let relay = Relay {
        broker: Arc::clone(broker),
        session: Arc::clone(session),
        family: route.family,
        call: route.call,
        is_stream,
        bill,
        take: take.begun(head.status, &headers),
        meter: meter::Meter::new(route.call, is_stream, request_bytes),
        _place: place,
    };
    Ok(response(head.status, headers, relay.start(body)))
}

/// Reads the error of a provider, which must not tell the key.
async fn error_body(broker: &Broker, body: Incoming) -> Result<Bytes, Refusal> {
    let body = Limited::new(body, ERROR_BYTES_MAX).collect();
    let body = tokio::time::timeout(broker.config.limits.idle, body).await;
    let Ok(Ok(body)) = body else {
        return Err(Refusal::Upstream("its error could not be read".to_owned()));
    };
    let body = body.to_bytes();
    if broker.own_keys.look(&body).is_some() {
        let why = "it answered with an error that holds the key, which is kept from you".to_owned();
        return Err(Refusal::Upstream(why));
    }
    Ok(body)
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
