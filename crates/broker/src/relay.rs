//! The relay: a reply goes from its provider to the agent piece by piece, is counted as it passes,
//! and is cut when it must not go on. It runs where the agent's connection does: nothing is handed
//! from task to task, and what is there at once is written at once.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use hyper::Response;
use hyper::body::{Body as _, Incoming};
use ports::models::Halt;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::Sleep;

use crate::bill::Bill;
use crate::broker::Broker;
use crate::exchange;
use crate::meter::Meter;
use crate::refusal::Refusal;
use crate::route::{Call, Family};
use crate::serving::{Cut, Reply};
use crate::session::{Session, Stage};
use crate::tape::{Played, Recording};

/// Pieces of a tape that wait for the agent to take them.
const PIECES_WAITING: usize = 4;

/// Small pieces that are there at once are put together up to so many bytes.
const TOGETHER_BYTES: usize = 16 << 10;

/// Everything a reply needs on its way.
#[derive(Debug)]
pub struct Reception {
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
    pub place: OwnedSemaphorePermit,
}

/// A reply on its way.
pub struct Relay {
    /// None once it is accounted for.
    reception: Option<Reception>,
    body: Incoming,
    stage: watch::Receiver<Stage>,
    /// Ready once the session is halted or closed.
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
    idle: Pin<Box<Sleep>>,
    last: Instant,
    keys: secrets::Passing,
    bytes: u64,
    is_between: bool,
    /// What ends the reply, once that is known.
    end: Option<Result<Bytes, Cut>>,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Relay").finish_non_exhaustive()
    }
}

/// How a reply came to its end.
enum End {
    Whole,
    /// The provider broke off, or the agent went away.
    Broken,
    /// It must not go on.
    Stopped(Refusal),
}

impl Reception {
    /// Returns the agent's end.
    #[must_use]
    pub fn relayed(self, body: Incoming) -> Reply {
        let stage = self.session.stage();
        let mut watched = stage.clone();
        let stopped = async move {
            // Without a session there is nothing that goes on.
            drop(watched.wait_for(|it| *it > Stage::Open).await);
        };
        let idle = self.broker.config.limits.idle;
        Reply::Relayed(Box::new(Relay {
            reception: Some(self),
            body,
            stage,
            stopped: Box::pin(stopped),
            idle: Box::pin(tokio::time::sleep(idle)),
            last: Instant::now(),
            keys: secrets::Passing::default(),
            bytes: 0,
            is_between: true,
            end: None,
        }))
    }

    fn reason(&self) -> Refusal {
        match self.session.halted() {
            Some(Halt::OverBudget { detail }) => Refusal::OverBudget(detail),
            Some(Halt::Leak { detail }) => Refusal::Leak(detail),
            None => Refusal::Upstream("the session was closed".to_owned()),
        }
    }
}

impl Relay {
    /// Returns what comes next of the reply, if anything.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        if let Some(end) = self.end.take() {
            return Poll::Ready(Some(end));
        }
        let mut together = BytesMut::new();
        loop {
            let piece = match self.poll_piece(context) {
                Poll::Ready(Some(Ok(piece))) => piece,
                // First what has come before.
                Poll::Ready(Some(end)) if !together.is_empty() => {
                    self.end = Some(end);
                    return Poll::Ready(Some(Ok(together.freeze())));
                }
                Poll::Ready(None) | Poll::Pending if !together.is_empty() => {
                    return Poll::Ready(Some(Ok(together.freeze())));
                }
                other @ (Poll::Ready(_) | Poll::Pending) => return other,
            };
            if together.is_empty() && piece.len() >= TOGETHER_BYTES / 2 {
                return Poll::Ready(Some(Ok(piece)));
            }
            if together.is_empty() {
                together.reserve(TOGETHER_BYTES);
            }
            together.extend_from_slice(&piece);
            if together.len() >= TOGETHER_BYTES {
                return Poll::Ready(Some(Ok(together.freeze())));
            }
        }
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        loop {
            let Some(reception) = &mut self.reception else {
                return Poll::Ready(None);
            };
            if self.is_between && *self.stage.borrow() > Stage::Open {
                let end = End::Stopped(reception.reason());
                return Poll::Ready(self.finish(end));
            }
            let frame = match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(frame) => frame,
                Poll::Pending
                    if self.is_between && self.stopped.as_mut().poll(context).is_ready() =>
                {
                    continue;
                }
                Poll::Pending => match self.poll_idle(context) {
                    Poll::Ready(()) => return Poll::Ready(self.finish(End::Broken)),
                    Poll::Pending => return Poll::Pending,
                },
            };
            let end = match frame {
                None => End::Whole,
                Some(Err(_)) => End::Broken,
                Some(Ok(frame)) => match frame.into_data() {
                    // Trailers are not passed on.
                    Err(_) => continue,
                    Ok(piece) => {
                        self.last = Instant::now();
                        match self.pass(piece) {
                            Ok(piece) if piece.is_empty() => continue,
                            Ok(piece) => return Poll::Ready(Some(Ok(piece))),
                            Err(refusal) => End::Stopped(refusal),
                        }
                    }
                },
            };
            return Poll::Ready(self.finish(end));
        }
    }

    /// Ready when nothing has come for too long. The timer is set anew only when it has run out.
    fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(reception) = &self.reception else {
            return Poll::Pending;
        };
        let patience = reception.broker.config.limits.idle;
        while self.idle.as_mut().poll(context).is_ready() {
            if self.last.elapsed() >= patience {
                return Poll::Ready(());
            }
            let until = tokio::time::Instant::from_std(self.last + patience);
            self.idle.as_mut().reset(until);
        }
        Poll::Pending
    }

    /// Looks at a piece, counts it, and returns what of it is passed on.
    fn pass(&mut self, piece: Bytes) -> Result<Bytes, Refusal> {
        let Some(reception) = &mut self.reception else {
            return Ok(Bytes::new());
        };
        let broker = &reception.broker;
        let most = broker.config.limits.reply_bytes;
        self.bytes = self
            .bytes
            .saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if self.bytes > most {
            let why = format!("its reply has more than {most} bytes");
            return Err(Refusal::Upstream(why));
        }
        if self.keys.feed(&broker.own_keys, &piece).is_some() {
            let why = "its reply holds the key, which is kept from you".to_owned();
            return Err(Refusal::Upstream(why));
        }
        reception.meter.feed(&piece);
        let (tokens, is_exact) = reception.meter.tokens();
        if let Some(over) = reception.bill.so_far(tokens, is_exact) {
            reception.session.halt(Halt::OverBudget { detail: over });
        }
        let must_stop = *self.stage.borrow() > Stage::Open;
        self.is_between =
            !reception.is_stream || piece.ends_with(b"\n\n") || piece.ends_with(b"\r\n\r\n");
        let (piece, is_last) = if must_stop && reception.is_stream {
            until_the_end_of_an_event(piece)
        } else {
            (piece, false)
        };
        self.is_between |= is_last;
        reception.take.piece(&piece);
        Ok(piece)
    }

    /// Accounts for the reply, and returns what the agent still hears.
    fn finish(&mut self, end: End) -> Option<Result<Bytes, Cut>> {
        let mut reception = self.reception.take()?;
        reception.meter.finish();
        let (tokens, is_exact) = reception.meter.tokens();
        drop(reception.bill.so_far(tokens, is_exact));
        let Reception {
            bill,
            session,
            take,
            is_stream,
            family,
            call,
            place,
            ..
        } = reception;
        drop(bill);
        let last = match end {
            End::Whole => {
                take.finish();
                None
            }
            End::Broken => {
                take.cut();
                Some(Err(Cut))
            }
            End::Stopped(refusal) => {
                take.cut();
                session.refused(refusal.sentence());
                Some(if is_stream {
                    Ok(refusal.event(family, call))
                } else {
                    Err(Cut)
                })
            }
        };
        drop(place);
        last
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // The agent went away before the end; what it took is counted all the same.
        drop(self.finish(End::Broken));
    }
}

/// Cuts a piece of a stream that must stop behind its last whole event, if it holds the end of one:
/// clients read the events before it, and then why there are no more.
fn until_the_end_of_an_event(piece: Bytes) -> (Bytes, bool) {
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
