//! Sending: what passed goes to its provider, or to the next of its class when that cannot be had,
//! until one answers. What is passed on has begun; from then on nobody else is asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use domain::model::{Model, Outage};
use domain::usage::{Amount, Tokens};
use http_body_util::{BodyExt as _, Limited};
use hyper::Response;
use hyper::body::Incoming;
use hyper::header;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;

use crate::bill::{Bill, Tariff};
use crate::broker::Broker;
use crate::config::Provider;
use crate::exchange::{self, Passed};
use crate::fallback::{self, Step, Told};
use crate::meter;
use crate::prices::{Known, Price};
use crate::refusal::Refusal;
use crate::relay::{self, Reception};
use crate::route::Call;
use crate::serving::Reply;
use crate::session::{Session, Stage, lock};
use crate::tape::Take;
use crate::upstream;

/// The longest error of a provider that is passed on, in bytes.
const ERROR_BYTES_MAX: usize = 256 << 10;

/// Who is asked what.
struct Target<'a> {
    provider: &'a Provider,
    /// What it is called in a class; `None` for what no class knows, such as a list of models.
    model: Option<Model>,
    path: String,
    body: Bytes,
}

/// What of a request's body says which model is asked.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    model: &'a RawValue,
}

/// An exchange on its way.
struct Sending<'a> {
    broker: &'a Arc<Broker>,
    session: &'a Arc<Session>,
    passed: &'a Passed<'a>,
}

/// A reply that has begun, and what it is counted by.
struct Begun {
    reply: Response<Incoming>,
    bill: Bill,
}

/// What became of one target.
enum Asked {
    /// It answered, maybe with an error that is passed on.
    Begun(Box<Begun>),
    /// It cannot be had.
    Out(Outage),
}

/// Sends what passed, and returns the reply as it comes.
///
/// # Errors
/// Why nobody could be asked.
pub async fn send(
    broker: &Arc<Broker>,
    session: &Arc<Session>,
    passed: &Passed<'_>,
    place: OwnedSemaphorePermit,
) -> Result<Response<Reply>, Refusal> {
    let Passed {
        route, model, body, ..
    } = passed;
    let sending = Sending {
        broker,
        session,
        passed,
    };
    if let Some(played) = session.reel.play(route, model, body) {
        let played = played.map_err(Refusal::NoMatch)?;
        return Ok(relay::play(session, played, place));
    }
    let mut take = session.reel.begin(route, model, body);
    let targets = sending.targets();
    for (at, target) in targets.iter().enumerate() {
        let next = targets.get(at + 1);
        match sending.ask(target, next.is_some()).await? {
            Asked::Begun(begun) => {
                if at > 0
                    && let Some(model) = &target.model
                {
                    take.served_by(model);
                }
                return sending.received(*begun, take, place).await;
            }
            Asked::Out(why) => sending.leave(target, next, why),
        }
    }
    Err(Refusal::Upstream("nobody could be asked".to_owned()))
}

impl<'a> Sending<'a> {
    /// Returns who may be asked, in order: what the agent wanted, and what stands in for it as far as
    /// it speaks the same language and may be asked here.
    fn targets(&self) -> Vec<Target<'a>> {
        let Passed {
            route,
            provider,
            model,
            body,
            ..
        } = self.passed;
        let wanted = Model::parse(&format!("{}/{model}", provider.name));
        let mut targets = vec![Target {
            provider,
            model: wanted.clone(),
            path: route.path.clone(),
            body: body.clone(),
        }];
        let order = match &wanted {
            Some(wanted) if route.call.is_work() => fallback::order(&self.session.classes, wanted),
            Some(_) | None => Vec::new(),
        };
        for model in order.into_iter().skip(1) {
            let provider = self.broker.config.providers.get(&model.provider);
            let may = |it: &&Provider| {
                it.family.takes(route.call)
                    && it.models.is_match(&model.model)
                    && self.session.may_ask(&model.provider, &model.model)
                    && (known(self.broker, it, &model.model, route.call) != Known::Unknown
                        || !self.broker.counts_money(self.session.id))
            };
            let Some(provider) = provider.filter(may) else {
                continue;
            };
            let Some(body) = renamed(body, &model.model, route.model.is_some()) else {
                continue;
            };
            targets.push(Target {
                provider,
                path: route.path_for(&model.model),
                model: Some(model),
                body,
            });
        }
        targets
    }

    /// Asks one target, and once more if it fails and another could stand in for it.
    async fn ask(&self, target: &Target<'a>, has_next: bool) -> Result<Asked, Refusal> {
        if has_next && let Some(model) = &target.model {
            let rests = lock(&self.session.health).rests(model, Instant::now());
            if let Some(why) = rests {
                return Ok(Asked::Out(why));
            }
        }
        let mut tried = 0;
        loop {
            tried += 1;
            let (told, begun) = self.once(target, has_next).await?;
            let step = match &target.model {
                None => Step::PassOn,
                Some(model) => {
                    let throttled = lock(&self.session.health).told(model, told);
                    if has_next {
                        fallback::step(told, tried, throttled)
                    } else {
                        Step::PassOn
                    }
                }
            };
            match (step, begun) {
                (Step::PassOn, Some(begun)) => return Ok(Asked::Begun(Box::new(begun))),
                (Step::PassOn, None) => {
                    return Err(Refusal::Upstream("it cannot be reached".to_owned()));
                }
                // A provider that could not do it has counted nothing.
                (Step::Next(why), begun) => {
                    if let Some(begun) = begun {
                        begun.bill.cancel();
                    }
                    return Ok(Asked::Out(why));
                }
                (Step::Again, begun) => {
                    if let Some(begun) = begun {
                        begun.bill.cancel();
                    }
                    self.wait(fallback::AGAIN_AFTER).await?;
                }
            }
        }
    }

    /// Sends the request once. Without a reply nobody could be connected to, which is an error when
    /// there is nobody else to ask.
    async fn once(
        &self,
        target: &Target<'a>,
        has_next: bool,
    ) -> Result<(Told, Option<Begun>), Refusal> {
        let (session, passed) = (self.session, self.passed);
        let call = passed.route.call;
        let name = target.model.as_ref().map_or("", |it| it.model.as_str());
        let tariff = tariff(self.broker, session, target.provider, name, call)?;
        let bill = Bill::new(self.broker, session, target.provider, name, call, tariff);
        let length = target.body.len();
        if call.is_work() {
            let input = Tokens {
                input: meter::input_estimate(length),
                ..Tokens::default()
            };
            let amount = Amount {
                tokens: input.total(),
                money: tariff.money(&input),
            };
            if let Some(over) = self.broker.pending(session, bill.call(), amount) {
                bill.cancel();
                return Err(Refusal::OverBudget(over));
            }
        }
        let provider = target.provider;
        let request = upstream::outgoing(
            &passed.method,
            &provider.upstream,
            &target.path,
            &passed.query,
            &passed.headers,
            self.broker.key(provider).map(|it| (it, provider.family)),
            target.body.clone(),
        )
        .map_err(|it| Refusal::Upstream(it.to_string()))?;
        let mut stage = session.stage();
        let patience = self.broker.config.limits.first_byte;
        let sent = tokio::select! {
            sent = tokio::time::timeout(patience, self.broker.upstream.send(request)) => sent,
            _halted = stage.wait_for(|it| *it > Stage::Open) => {
                bill.estimate(length);
                exchange::standing(session)?;
                return Err(Refusal::Upstream("the session was closed".to_owned()));
            }
        };
        match sent {
            Ok(Ok(reply)) => {
                let told = Told::Status(reply.status().as_u16(), wait_of(&reply));
                Ok((told, Some(Begun { reply, bill })))
            }
            Ok(Err(upstream::Fault::Unreachable(error))) if error.is_connect() && has_next => {
                bill.cancel();
                Ok((Told::Unreachable, None))
            }
            Ok(Err(error)) => {
                bill.cancel();
                Err(Refusal::Upstream(error.to_string()))
            }
            Err(_) => {
                bill.estimate(length);
                Err(Refusal::Upstream("it did not answer in time".to_owned()))
            }
        }
    }

    /// Leaves a target for the next one, on record.
    fn leave(&self, target: &Target<'a>, next: Option<&Target<'a>>, why: Outage) {
        let next = next.and_then(|it| it.model.as_ref());
        if let (Some(from), Some(to)) = (&target.model, next) {
            let mut health = lock(&self.session.health);
            if health.rests(from, Instant::now()).is_none() {
                health.rest(from, why, Instant::now());
            }
            drop(health);
            self.session.fell_back(from, to, why);
        }
    }

    async fn wait(&self, patience: Duration) -> Result<(), Refusal> {
        let mut stage = self.session.stage();
        let halted = stage.wait_for(|it| *it > Stage::Open);
        if tokio::time::timeout(patience, halted).await.is_ok() {
            exchange::standing(self.session)?;
            return Err(Refusal::Upstream("the session was closed".to_owned()));
        }
        Ok(())
    }

    async fn received(
        &self,
        Begun { reply, bill }: Begun,
        take: Take,
        place: OwnedSemaphorePermit,
    ) -> Result<Response<Reply>, Refusal> {
        let (broker, route) = (self.broker, &self.passed.route);
        let request_bytes = self.passed.body.len();
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
            let reply = Reply::Whole(Some(body));
            return Ok(exchange::response(head.status, headers, reply));
        }
        let is_stream = headers
            .get(header::CONTENT_TYPE)
            .and_then(|it| it.to_str().ok())
            .is_some_and(|it| it.starts_with("text/event-stream"));
        let reception = Reception {
            broker: Arc::clone(broker),
            session: Arc::clone(self.session),
            family: route.language(),
            call: route.call,
            is_stream,
            bill,
            take: take.begun(head.status, &headers),
            meter: meter::Meter::new(route.call, is_stream, request_bytes),
            place,
        };
        let reply = reception.relayed(body);
        Ok(exchange::response(head.status, headers, reply))
    }
}

/// Returns how long a provider asks to wait.
fn wait_of(reply: &Response<Incoming>) -> Option<Duration> {
    let text = reply.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

/// Returns a request for another model, the same to the byte but for its name; the path may name it
/// instead. None when the request has no such name.
fn renamed(body: &Bytes, model: &str, is_in_path: bool) -> Option<Bytes> {
    if is_in_path {
        return Some(body.clone());
    }
    let named: Named<'_> = serde_json::from_slice(body).ok()?;
    let old = named.model.get();
    let from = (old.as_ptr() as usize).checked_sub(body.as_ptr() as usize)?;
    let name = serde_json::to_vec(model).ok()?;
    let mut new = Vec::with_capacity(body.len() + name.len());
    new.extend_from_slice(body.get(..from)?);
    new.extend_from_slice(&name);
    new.extend_from_slice(body.get(from + old.len()..)?);
    Some(Bytes::from(new))
}

/// Returns what the model costs, and notes it if that is a guess; where money is bounded, a model
/// without a price is not asked.
fn tariff(
    broker: &Broker,
    session: &Session,
    provider: &Provider,
    model: &str,
    call: Call,
) -> Result<Tariff, Refusal> {
    let known = known(broker, provider, model, call);
    let name = format!("{}/{model}", provider.name);
    match known {
        Known::Listed(price) => Ok(Tariff::Known(price)),
        Known::Ceiling(price) => {
            session.note(format!(
                "the price of {name} is unknown; the ceiling `unknown_price` is counted"
            ));
            Ok(Tariff::Known(price))
        }
        Known::Unknown if broker.counts_money(session.id) => Err(Refusal::OverBudget(format!(
            "the price of {name} is unknown, and money is bounded; add it to the price table, or set \
             `unknown_price` in broker.toml"
        ))),
        Known::Unknown => Ok(Tariff::Unknown),
    }
}

/// Returns what is known of the price; what is free or asks for no work costs nothing.
fn known(broker: &Broker, provider: &Provider, model: &str, call: Call) -> Known {
    if provider.free || !call.is_work() {
        Known::Listed(Price::FREE)
    } else {
        broker.config.prices.of(&provider.name, model)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_of_the_model_changes() {
        let body = br#"{ "n": 1.50, "model" : "old\u0041", "messages":[{"model":"inner"}] }"#;
        let body = Bytes::from_static(body);
        let new = renamed(&body, "new", false).unwrap();
        let wanted = r#"{ "n": 1.50, "model" : "new", "messages":[{"model":"inner"}] }"#;
        assert_eq!(new, wanted);
        assert_eq!(renamed(&body, "new", true).unwrap(), body);
        let nameless = Bytes::from_static(b"{\"n\": 1}");
        assert_eq!(renamed(&nameless, "new", false), None);
    }
}
