//! The control socket: the engine's questions, each answered in turn. Only who runs as the broker's
//! own user, or as one of `peers`, is heard.

use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use wire::message::{MESSAGE_BYTES_MAX, Refusal, Reply, Request};

use crate::broker::Broker;

/// Connections at once.
const CONNECTIONS_MAX: usize = 64;

/// Answers whoever may ask, for ever.
pub async fn serve(broker: Arc<Broker>, listener: UnixListener) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let Some(user) = asker(&broker, &stream) else {
            continue;
        };
        let Ok(place) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        let broker = Arc::clone(&broker);
        drop(tokio::spawn(async move {
            // Whoever went away learns nothing more.
            drop(converse(&broker, stream, user).await);
            drop(place);
        }));
    }
}

/// Returns who is at the other end, if they may ask.
fn asker(broker: &Broker, stream: &UnixStream) -> Option<u32> {
    let own = rustix::process::geteuid().as_raw();
    // The kernel says who is at the other end; a socket whose end is unknown is nobody's.
    let user = stream.peer_cred().ok()?.uid();
    (user == own || broker.config.peers.contains(&user)).then_some(user)
}

async fn converse(broker: &Arc<Broker>, stream: UnixStream, user: u32) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    loop {
        let mut line = Vec::new();
        let length = (&mut read)
            .take(MESSAGE_BYTES_MAX)
            .read_until(b'\n', &mut line)
            .await?;
        if length == 0 {
            return Ok(());
        }
        let request = serde_json::from_slice::<Request>(&line);
        // A grant holds what is watched for; nothing of it stays behind in this buffer.
        zeroize::Zeroize::zeroize(&mut line);
        let reply = match request {
            Ok(request) => answer(broker, request, user).await,
            Err(_) => Reply::Refused {
                refusal: Refusal::Refused {
                    detail: "the message is not understood; are engine and broker of one version?"
                        .to_owned(),
                },
            },
        };
        let mut line = serde_json::to_vec(&reply)?;
        line.push(b'\n');
        write.write_all(&line).await?;
    }
}

async fn answer(broker: &Arc<Broker>, request: Request, user: u32) -> Reply {
    let told = match request {
        // What others opened is as if it were not there.
        Request::Account { session } | Request::Close { session }
            if !broker.may_hear_of(session, user) =>
        {
            Err(Refusal::NotFound { session })
        }
        Request::Open { grant } => broker
            .open(&grant, user)
            .map(|socket| Reply::Opened { socket }),
        Request::Account { session } => broker.account(session).map(account),
        Request::Close { session } => broker.close(session).await.map(account),
    };
    told.unwrap_or_else(|refusal| Reply::Refused { refusal })
}

fn account(account: ports::models::Account) -> Reply {
    Reply::Account {
        account: Box::new(account),
    }
}
