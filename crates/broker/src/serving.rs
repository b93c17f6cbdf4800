//! Serving one session's socket: connections, requests, and what each is answered with.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, mpsc};

use crate::broker::Broker;
use crate::exchange;
use crate::relay::Relay;
use crate::session::{Session, Stage};

/// Connections of one session at once.
const CONNECTIONS_MAX: usize = 64;

/// How long the head of a request may take.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);

/// The largest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// A stream was cut: the connection ends without the end of the reply.
#[derive(Debug, thiserror::Error)]
#[error("the reply was cut")]
pub struct Cut;

/// The body of a reply: whole, or in pieces as they come.
#[derive(Debug)]
pub enum Reply {
    /// All of it.
    Whole(Option<Bytes>),
    /// One piece after the other; the sender waits for each to be taken.
    Pieces(mpsc::Receiver<Result<Bytes, Cut>>),
    /// As it comes from a provider.
    Relayed(Box<Relay>),
    /// Cut, once what came before is on its way.
    Ending,
}

impl Reply {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        match self {
            Self::Pieces(pieces) => pieces.poll_recv(context),
            Self::Relayed(relay) => relay.poll_next(context),
            Self::Whole(_) | Self::Ending => Poll::Ready(None),
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|it| Ok(Frame::data(it)))),
            Self::Pieces(_) | Self::Relayed(_) => match self.poll_next(context) {
                // The connection throws away what it has not written when a body fails; it writes
                // when there is nothing to take. So there is nothing, once.
                Poll::Ready(Some(Err(Cut))) => {
                    *self = Self::Ending;
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                Poll::Ready(Some(Ok(piece))) => Poll::Ready(Some(Ok(Frame::data(piece)))),
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            },
            Self::Ending => Poll::Ready(Some(Err(Cut))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Pieces(_) | Self::Relayed(_) | Self::Ending => false,
        }
    }
}

/// Serves a session until it is closed. A halted session is still answered, with why.
pub async fn serve(broker: Arc<Broker>, session: Arc<Session>, listener: UnixListener) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut stage = session.stage();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _closed = stage.wait_for(|it| *it == Stage::Closed) => return,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors: those that are open end at some time.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // Where others come as far as the socket, it is who opened the session that is answered.
        let is_other = || {
            stream
                .peer_cred()
                .map_or(true, |it| it.uid() != session.user)
        };
        if !broker.config.peers.is_empty() && is_other() {
            continue;
        }
        let Ok(place) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        let (broker, session) = (Arc::clone(&broker), Arc::clone(&session));
        drop(tokio::spawn(async move {
            let answer = service_fn(|request: Request<Incoming>| {
                let (broker, session) = (Arc::clone(&broker), Arc::clone(&session));
                async move {
                    Ok::<Response<Reply>, Infallible>(
                        exchange::answer(broker, session, request).await,
                    )
                }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_PATIENCE)
                .max_buf_size(HEAD_BYTES_MAX)
                .serve_connection(TokioIo::new(stream), answer)
                .with_upgrades();
            let mut stage = session.stage();
            tokio::select! {
                // However a connection ends, there is nobody left to tell.
                _ended = served => {}
                _closed = stage.wait_for(|it| *it == Stage::Closed) => {}
            }
            drop(place);
        }));
    }
}
