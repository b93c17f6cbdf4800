//! Serving: connections by the unix socket and by TLS, each of a known peer, none for ever.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::door;
use crate::executor::Executor;
use crate::peer::{self, Peer};
use crate::tls;

/// Connections at once.
const CONNECTIONS_MAX: usize = 128;

/// How long the head of a request, or a handshake, may take.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);

/// The largest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Serves the unix socket for ever.
pub(crate) async fn serve_processes(executor: Arc<Executor>, listener: UnixListener) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: those that are open end at some time.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // The kernel says who is at the other end; whose end is unknown is nobody.
        let Ok(credentials) = stream.peer_cred() else {
            continue;
        };
        let peer = Peer::Process {
            uid: credentials.uid(),
        };
        let is_near = peer::is_of_our_namespace(credentials.pid());
        let executor = Arc::clone(&executor);
        drop(tokio::spawn(async move {
            if is_near {
                converse(executor, peer, stream).await;
            } else {
                turn_away(executor, peer).await;
            }
            drop(place);
        }));
    }
}

/// Serves TLS for ever. Who has no certificate that the operator's authority signed gets no further
/// than the handshake.
pub(crate) async fn serve_certificates(
    executor: Arc<Executor>,
    listener: TcpListener,
    acceptor: TlsAcceptor,
) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (executor, acceptor) = (Arc::clone(&executor), acceptor.clone());
        drop(tokio::spawn(async move {
            let shaken = tokio::time::timeout(HEAD_PATIENCE, acceptor.accept(stream)).await;
            if let Ok(Ok(stream)) = shaken
                && let Some(fingerprint) = tls::fingerprint(stream.get_ref().1)
            {
                converse(executor, Peer::Certificate { fingerprint }, stream).await;
            }
            drop(place);
        }));
    }
}

/// Answers the requests of one connection; of a stranger not a byte is read.
async fn converse(
    executor: Arc<Executor>,
    peer: Peer,
    stream: impl AsyncRead + AsyncWrite + Unpin,
) {
    if executor.config.principal(&peer).is_none() {
        turn_away(executor, peer).await;
        return;
    }
    let answer = service_fn(|request: hyper::Request<Incoming>| {
        let (executor, peer) = (Arc::clone(&executor), peer.clone());
        async move { Ok::<_, Infallible>(door::answer(executor, peer, request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
    // However a connection ends, there is nobody left to tell.
    drop(served);
}

async fn turn_away(executor: Arc<Executor>, peer: Peer) {
    drop(tokio::task::spawn_blocking(move || executor.refuse_stranger(&peer)).await);
}
