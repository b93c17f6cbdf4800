//! The door: what each path takes and answers. Everything that leaves goes past the guard.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;
use wire::execution::request::REQUEST_BYTES_MAX;
use wire::execution::{Code, Kind, Problem, Receipt, problem};

use crate::executor::{Executor, Progress};
use crate::openapi;
use crate::peer::Peer;

/// How long the body of a request may take.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// How long a request waits for room, or a duplicate for the end of the first; then it is to be
/// sent again.
const WAITING_PATIENCE: Duration = Duration::from_secs(60);

/// After how many seconds it is worth asking again.
const RETRY_AFTER_SECONDS: u64 = 5;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; version=0.0.4";

/// What is answered, before it has passed the guard.
struct Answer {
    status: u16,
    media_type: &'static str,
    is_to_be_repeated: bool,
    body: String,
}

impl Answer {
    fn json(value: &Value) -> Self {
        Self {
            status: 200,
            media_type: JSON,
            is_to_be_repeated: false,
            body: value.to_string(),
        }
    }
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        Self {
            status: problem.status,
            media_type: problem::MEDIA_TYPE,
            is_to_be_repeated: matches!(problem.code, Code::InProgress | Code::Busy),
            body: json!(problem).to_string(),
        }
    }
}

/// Answers one request.
pub(crate) async fn answer(
    executor: Arc<Executor>,
    peer: Peer,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let answer = match route(&executor, &peer, request).await {
        Ok(answer) => answer,
        Err(problem) => problem.into(),
    };
    guarded(&executor, answer)
}

/// Lets an answer out, if it holds no secret.
fn guarded(executor: &Executor, mut answer: Answer) -> Response<Full<Bytes>> {
    if let Some(seen) = executor.guard.look(answer.body.as_bytes()) {
        executor.incident(None, &seen, "reply");
        answer = Problem::of(Code::Unavailable).into();
    }
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let media_type = HeaderValue::from_static(answer.media_type);
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    if answer.is_to_be_repeated {
        let after = HeaderValue::from(RETRY_AFTER_SECONDS);
        response.headers_mut().insert(RETRY_AFTER, after);
    }
    response
}

async fn route(
    executor: &Arc<Executor>,
    peer: &Peer,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let path = request.uri().path().to_owned();
    let wanted = match path.as_str() {
        "/execute" => Method::POST,
        "/healthz" | "/readyz" | "/actions" | "/metrics" | "/openapi.json" => Method::GET,
        _ if path.starts_with("/receipts/") => Method::GET,
        _ => return Err(refused(executor, peer, Code::NotFound).await),
    };
    if *request.method() != wanted {
        return Err(refused(executor, peer, Code::Method).await);
    }
    match path.as_str() {
        "/execute" => execute(executor, peer, request).await,
        "/healthz" => Ok(Answer::json(&json!({"ok": true}))),
        "/readyz" => Ok(ready(executor)),
        "/actions" => Ok(Answer::json(&actions(executor, peer))),
        "/openapi.json" => Ok(Answer::json(&openapi::document())),
        "/metrics" => Ok(Answer {
            status: 200,
            media_type: TEXT,
            is_to_be_repeated: false,
            body: executor.metrics.text(),
        }),
        _ => {
            let id = path.trim_start_matches("/receipts/").to_owned();
            let (executor, peer) = (Arc::clone(executor), peer.clone());
            let receipt = blocking(move || executor.receipt(&peer, &id)).await?;
            Ok(Answer::json(&json!(receipt)))
        }
    }
}

async fn execute(
    executor: &Arc<Executor>,
    peer: &Peer,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let media_type = request.headers().get(CONTENT_TYPE);
    let media_type = media_type
        .and_then(|it| it.to_str().ok())
        .unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case(JSON) {
        return Err(refused(executor, peer, Code::MediaType).await);
    }
    let most = u64::try_from(REQUEST_BYTES_MAX).unwrap_or(u64::MAX);
    if request.body().size_hint().lower() > most {
        return Err(refused(executor, peer, Code::TooLarge).await);
    }
    let body = Limited::new(request.into_body(), REQUEST_BYTES_MAX).collect();
    let body = match tokio::time::timeout(BODY_PATIENCE, body).await {
        Err(_) => return Err(refused(executor, peer, Code::TooSlow).await),
        // Too long, or its sender is gone: then nobody reads what it is told.
        Ok(Err(_)) => return Err(refused(executor, peer, Code::TooLarge).await),
        Ok(Ok(body)) => body.to_bytes(),
    };
    let receipt = settled(executor, peer, body).await?;
    Ok(Answer::json(&json!(receipt)))
}

/// Has a request executed and returns its receipt. Who sends a duplicate waits here, holding no
/// thread, and not for ever.
async fn settled(executor: &Arc<Executor>, peer: &Peer, body: Bytes) -> Result<Receipt, Problem> {
    let until = Instant::now() + WAITING_PATIENCE;
    let (begun, who) = (Arc::clone(executor), peer.clone());
    // The effect goes on when whoever asked for it is gone: a request sent again gets its receipt.
    let begin = move || begun.execute(&who, &body);
    let mut progress = working(executor, peer, until, begin).await?;
    let mut waiting = None;
    loop {
        let received = match progress {
            Progress::Settled(receipt) => return Ok(*receipt),
            Progress::UnderWay(received) => received,
        };
        waiting = waiting.or_else(|| executor.duplicates.try_acquire().ok());
        let ended = tokio::time::timeout_at(until, executor.ended(received.id()));
        let (next, who) = (Arc::clone(executor), peer.clone());
        if waiting.is_none() || ended.await.is_err() {
            let id = received.id();
            return blocking(move || Err(next.refuse(&who, Some(id), Code::InProgress))).await;
        }
        let resume = move || next.resume(&who, *received);
        progress = working(executor, peer, until, resume).await?;
    }
}

/// Works on a request once there is room for it; waits for that without a thread.
async fn working(
    executor: &Arc<Executor>,
    peer: &Peer,
    until: Instant,
    work: impl FnOnce() -> Result<Progress, Problem> + Send + 'static,
) -> Result<Progress, Problem> {
    let place = Arc::clone(&executor.places).acquire_owned();
    let Ok(Ok(place)) = tokio::time::timeout_at(until, place).await else {
        return Err(refused(executor, peer, Code::Busy).await);
    };
    blocking(move || {
        let done = work();
        drop(place);
        done
    })
    .await
}

fn ready(executor: &Executor) -> Answer {
    if executor.is_ready() {
        Answer::json(&json!({"ok": true}))
    } else {
        Problem::of(Code::ConfigurationChanged).into()
    }
}

/// Returns what can be asked for here, under which policy, and as whom the peer asks: approvals name
/// all of it.
fn actions(executor: &Executor, peer: &Peer) -> Value {
    let config = &executor.config;
    let configured = Kind::ALL
        .into_iter()
        .filter(|it| config.file.actions.has(*it));
    let actions: Vec<_> = configured
        .map(|kind| {
            json!({
                "name": kind.name(),
                "lane": kind.lane(),
                "needs": if kind.needs_permit() { "permit" } else { "grant" },
                "arguments": openapi::arguments(kind),
                "summary": openapi::summary(kind),
            })
        })
        .collect();
    json!({
        "policy": config.policy,
        "target": config.file.target,
        "requester": config.principal(peer),
        "actions": actions,
    })
}

async fn refused(executor: &Arc<Executor>, peer: &Peer, code: Code) -> Problem {
    let (executor, peer) = (Arc::clone(executor), peer.clone());
    let refused = blocking(move || match executor.admit(&peer) {
        Ok(_) => Ok(executor.refuse(&peer, None, code)),
        Err(problem) => Ok(problem),
    });
    refused.await.unwrap_or_else(|problem| problem)
}

/// Does what waits for disks and programs where it holds up nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Problem::of(Code::Unavailable)))
}
