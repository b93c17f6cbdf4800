//! The relay: a reply goes from its provider to the agent piece by piece, is counted as it passes,
//! and is cut when it must not go on.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::Incoming;
use ports::models::Halt;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::bill::Bill;
use crate::broker::Broker;
use crate::exchange;
use crate::meter::Meter;
use crate::refusal::Refusal;
use crate::route::{Call, Family};
use crate::serving::{Cut, Reply};
use crate::session::{Session, Stage};
use crate::tape::{Played, Recording};

/// Pieces that wait for the agent to take them; then the provider waits, too.
const PIECES_WAITING: usize = 4;

/// Everything a reply needs on its way.
#[derive(Debug)]
pub struct Relay {
    /// The broker.
    pub broker: Arc<Broker>,
    /// The session.
    pub session: Arc<Session>,
    /// The language of its end.
    pub family: Family,
    /// What was asked.
    pub call: Call,
    /// Whether it is a stream of events.
    pub is_stream: bool,
    /// Its bill.
    pub bill: Bill,
    /// What is kept of it.
    pub take: Recording,
    /// What counts it.
    pub meter: Meter,
    /// Its place among the session's exchanges. Given back last, when the bill is closed.
    pub _place: OwnedSemaphorePermit,
}

/// How a reply came to its end.
enum End {
    Whole,
    /// The provider broke off, or the agent went away.
    Broken,
    /// It must not go on.
    Stopped(Refusal),
}

impl Relay {
    /// Starts it, and returns the agent's end.
    #[must_use]
    pub fn start(self, body: Incoming) -> Reply {
        let (pieces, taken) = mpsc::channel(PIECES_WAITING);
        drop(tokio::spawn(self.run(body, pieces)));
        Reply::Pieces(taken)
    }

    async fn run(mut self, mut body: Incoming, pieces: mpsc::Sender<Result<Bytes, Cut>>) {
        let end = self.pump(&mut body, &pieces).await;
        self.meter.finish();
        let (tokens, is_exact) = self.meter.tokens();
        drop(self.bill.so_far(tokens, is_exact));
        let Self {
            bill,
            session,
            take,
            is_stream,
            family,
            call,
            _place,
            ..
        } = self;
        drop(bill);
        match end {
            End::Whole => take.finish(),
            End::Broken => {
                take.cut();
                // Nobody may be there any more to take it.
                drop(pieces.send(Err(Cut)).await);
            }
            End::Stopped(refusal) => {
                take.cut();
                session.refused(refusal.sentence());
                let last = if is_stream {
                    Ok(refusal.event(family, call))
                } else {
                    Err(Cut)
                };
                drop(pieces.send(last).await);
            }
        }
    }

    async fn pump(
        &mut self,
        body: &mut Incoming,
        pieces: &mpsc::Sender<Result<Bytes, Cut>>,
    ) -> End {
        let mut stage = self.session.stage();
        let mut keys = secrets::Stream::default();
        let (mut bytes, mut is_between) = (0_u64, true);
        let limits = self.broker.config.limits;
        loop {
            let frame = tokio::select! {
                biased;
                _stopped = stage.wait_for(|it| *it > Stage::Open), if is_between => {
                    return End::Stopped(self.reason());
                }
                () = pieces.closed() => return End::Broken,
                frame = tokio::time::timeout(limits.idle, body.frame()) => frame,
            };
            let piece = match frame {
                Ok(None) => return End::Whole,
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(piece) => piece,
                    Err(_trailers) => continue,
                },
                Ok(Some(Err(_))) | Err(_) => return End::Broken,
            };
            bytes = bytes.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            if bytes > limits.reply_bytes {
                let why = format!("its reply has more than {} bytes", limits.reply_bytes);
                return End::Stopped(Refusal::Upstream(why));
            }
            if keys.feed(&self.broker.own_keys, &piece).is_some() {
                let why = "its reply holds the key, which is kept from you".to_owned();
                return End::Stopped(Refusal::Upstream(why));
            }
            self.meter.feed(&piece);
            let (tokens, is_exact) = self.meter.tokens();
            if let Some(over) = self.bill.so_far(tokens, is_exact) {
                self.session.halt(Halt::OverBudget { detail: over });
            }
            is_between =
                !self.is_stream || piece.ends_with(b"\n\n") || piece.ends_with(b"\r\n\r\n");
            let (piece, is_last) =
                self.until_the_end_of_an_event(piece, *stage.borrow() > Stage::Open);
            is_between |= is_last;
            self.take.piece(&piece);
            if !piece.is_empty() && pieces.send(Ok(piece)).await.is_err() {
                return End::Broken;
            }
        }
    }

    /// Cuts a piece of a stream that must stop behind its last whole event, if it holds the end of
    /// one: clients read the events before it, and then why there are no more.
    fn until_the_end_of_an_event(&self, piece: Bytes, must_stop: bool) -> (Bytes, bool) {
        if !must_stop || !self.is_stream {
            return (piece, false);
        }
        let end = piece
            .windows(2)
            .rposition(|it| it == b"\n\n")
            .map(|it| it + 2)
            .or_else(|| {
                piece
                    .windows(4)
                    .rposition(|it| it == b"\r\n\r\n")
                    .map(|it| it + 4)
            });
        match end {
            Some(end) => (piece.slice(..end), true),
            None => (piece, false),
        }
    }

    fn reason(&self) -> Refusal {
        match self.session.halted() {
            Some(Halt::OverBudget { detail }) => Refusal::OverBudget(detail),
            Some(Halt::Leak { detail }) => Refusal::Leak(detail),
            None => Refusal::Upstream("the session was closed".to_owned()),
        }
    }
}

/// Answers from the tape, piece by piece.
#[must_use]
pub fn play(
    session: &Arc<Session>,
    played: Played,
    place: OwnedSemaphorePermit,
) -> Response<Reply> {
    let (pieces, taken) = mpsc::channel(PIECES_WAITING);
    let mut stage = session.stage();
    let Played {
        status,
        headers,
        pieces: recorded,
        is_cut,
        pause,
    } = played;
    drop(tokio::spawn(async move {
        for piece in recorded {
            if let Some(pause) = pause {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    _closed = stage.wait_for(|it| *it == Stage::Closed) => return,
                }
            }
            if pieces.send(Ok(piece)).await.is_err() {
                return;
            }
        }
        if is_cut {
            drop(pieces.send(Err(Cut)).await);
        }
        drop(place);
    }));
    exchange::response(status, headers, Reply::Pieces(taken))
}
