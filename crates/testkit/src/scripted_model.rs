//! A scripted model: what real agent programs speak to in tests, on a session's unix socket or, as a
//! provider behind a broker, on the loopback.
//!
//! A script is a list of turns; each is one answer of the model. Which is due is read from the
//! request itself (how many answers its history holds), so the server has no state to get wrong,
//! and a repeated request is answered the same. Requests without tools (titles, summaries) get a
//! short fixed text. Everything asked is kept for the test to look at.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;

mod anthropic;
mod chat;
mod gemini;
mod openai;

/// The longest request that is read, in bytes.
const REQUEST_BYTES_MAX: u64 = 32 << 20;

/// One answer of the model.
#[derive(Clone, Debug)]
pub enum Turn {
    /// A call of a tool by its name, with its input.
    Call(&'static str, Value),
    /// Words, which end the turn.
    Say(&'static str),
    /// The beginning of an answer that never ends, until the client hangs up.
    Hang(&'static str),
    /// The same, after so many tokens were told as written.
    Spend(u64),
    /// A refusal of the provider.
    Fail(u16, &'static str),
}

impl Turn {
    /// Returns whether the answer has a beginning and no end.
    const fn hangs(&self) -> bool {
        matches!(self, Self::Hang(_) | Self::Spend(_))
    }

    /// Returns the words of an answer that has some.
    const fn words(&self) -> &'static str {
        match self {
            Self::Say(text) | Self::Hang(text) | Self::Fail(_, text) => text,
            Self::Call(..) | Self::Spend(_) => "",
        }
    }
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `POST` and the like.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The header fields, names in small letters.
    pub headers: Vec<(String, String)>,
    /// The body, if it is JSON.
    pub body: Value,
}

impl Asked {
    /// Returns a header field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(it, _)| it == name);
        found.map(|(_, value)| value.as_str())
    }
}

#[derive(Debug, Default)]
struct Heard {
    asked: Vec<Asked>,
    hung_up: usize,
}

#[derive(Debug, Default)]
struct Ears {
    heard: Mutex<Heard>,
    changed: Condvar,
}

impl Ears {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is answered, by the text of all that the request says.
type Script = dyn Fn(&str) -> Vec<Turn> + Send + Sync;

/// The model; it listens for as long as the test's process lives.
#[derive(Debug)]
pub struct ScriptedModel {
    socket: PathBuf,
    address: Option<SocketAddr>,
    ears: Arc<Ears>,
}

impl ScriptedModel {
    /// Listens at `model.sock` in a folder.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn listen(folder: &Path, script: Vec<Turn>) -> io::Result<Self> {
        let socket = folder.join("model.sock");
        let listener = UnixListener::bind(&socket)?;
        let clients = move || listener.accept().map(|(it, _)| it);
        let ears = open(clients, UnixStream::try_clone, move |_: &str| {
            script.clone()
        })?;
        Ok(Self {
            socket,
            address: None,
            ears,
        })
    }

    /// Listens on the loopback, as a provider behind a broker does. The script is chosen by the text
    /// of all messages of a request: who asks, and in which round, is in the prompt.
    ///
    /// # Errors
    /// When there is no port to be had.
    pub fn on_loopback(
        script: impl Fn(&str) -> Vec<Turn> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let clients = move || listener.accept().map(|(it, _)| it);
        let ears = open(clients, TcpStream::try_clone, script)?;
        Ok(Self {
            socket: PathBuf::new(),
            address: Some(address),
            ears,
        })
    }

    /// Returns its address on the loopback, as `upstream` in `broker.toml` names it; empty for one
    /// that listens at a socket.
    #[must_use]
    pub fn upstream(&self) -> String {
        let address = self.address.map(|it| format!("http://{it}"));
        address.unwrap_or_default()
    }

    /// Returns the path of its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.socket.clone()
    }

    /// Returns all that was asked until now.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.ears.heard().asked.clone()
    }

    /// Waits until so many requests have come; tells whether they have.
    #[must_use]
    pub fn wait_asked(&self, count: usize, patience: Duration) -> bool {
        let heard = self.ears.heard();
        let waited = self
            .ears
            .changed
            .wait_timeout_while(heard, patience, |it| it.asked.len() < count);
        waited.is_ok_and(|(heard, _)| heard.asked.len() >= count)
    }

    /// Waits until a client has hung up in the middle of an answer; tells whether one has.
    #[must_use]
    pub fn wait_hung_up(&self, patience: Duration) -> bool {
        let heard = self.ears.heard();
        let waited = self
            .ears
            .changed
            .wait_timeout_while(heard, patience, |it| it.hung_up == 0);
        waited.is_ok_and(|(heard, _)| heard.hung_up > 0)
    }
}

/// Serves every client on a thread of its own.
fn open<Peer: Read + Write + Send + 'static>(
    clients: impl Fn() -> io::Result<Peer> + Send + 'static,
    twice: impl Fn(&Peer) -> io::Result<Peer> + Copy + Send + 'static,
    script: impl Fn(&str) -> Vec<Turn> + Send + Sync + 'static,
) -> io::Result<Arc<Ears>> {
    let ears = Arc::new(Ears::default());
    let (hears, script): (_, Arc<Script>) = (Arc::clone(&ears), Arc::new(script));
    thread::Builder::new().spawn(move || {
        while let Ok(client) = clients() {
            let (ears, script) = (Arc::clone(&hears), Arc::clone(&script));
            thread::spawn(move || {
                // A client that went away in the middle is its own matter.
                drop(twice(&client).and_then(|from| serve(from, client, &*script, &ears)));
            });
        }
    })?;
    Ok(ears)
}

fn serve(from: impl Read, mut to: impl Write, script: &Script, ears: &Ears) -> io::Result<()> {
    let mut from = BufReader::new(from);
    while let Some(asked) = read(&mut from)? {
        let turn = ask(&asked, script);
        ears.heard().asked.push(asked.clone());
        ears.changed.notify_all();
        let answered = answer(&asked, &turn, &mut to);
        if turn.hangs() {
            // Held open: the end of what it sends is the client's hanging up.
            let end = io::copy(&mut from, &mut io::sink());
            ears.heard().hung_up += 1;
            ears.changed.notify_all();
            end?;
        }
        answered?;
    }
    Ok(())
}

fn ask(asked: &Asked, script: &Script) -> Turn {
    let body = &asked.body;
    let offers_tools = body["tools"].as_array().is_some_and(|it| !it.is_empty());
    if !offers_tools {
        return Turn::Say("ok");
    }
    let (answers, said) = if body["messages"].is_array() {
        (anthropic::answers(body), &body["messages"])
    } else if body["contents"].is_array() {
        (gemini::answers(body), &body["contents"])
    } else {
        (openai::answers(body), &body["input"])
    };
    let turn = script(&said.to_string()).get(answers).cloned();
    turn.unwrap_or(Turn::Say("The script is over."))
}

fn answer(asked: &Asked, turn: &Turn, to: &mut impl Write) -> io::Result<()> {
    let path = asked.path.split('?').next().unwrap_or_default();
    if asked.method == "HEAD" {
        return plain(to, 200, "");
    }
    if let Turn::Fail(status, message) = turn {
        let error = serde_json::json!({"type": "api_error", "message": message});
        let body = serde_json::json!({"type": "error", "error": error});
        return plain(to, *status, &body.to_string());
    }
    let events = if path.ends_with("/v1/messages") {
        anthropic::events(&asked.body, turn)
    } else if path.ends_with("/v1/responses") {
        openai::events(&asked.body, turn)
    } else if path.ends_with("/v1/chat/completions") {
        chat::events(&asked.body, turn)
    } else if path.ends_with(":streamGenerateContent") {
        gemini::events(&asked.body, turn)
    } else if path.ends_with(":generateContent") {
        let whole = gemini::events(&asked.body, turn).remove(0);
        return plain(to, 200, &whole.to_string());
    } else if path.ends_with(":countTokens") {
        return plain(to, 200, r#"{"totalTokens":42}"#);
    } else if path.ends_with("/count_tokens") {
        return plain(to, 200, r#"{"input_tokens":42}"#);
    } else if path.ends_with("/models") {
        return plain(to, 200, r#"{"object":"list","data":[],"models":[]}"#);
    } else {
        return plain(to, 404, r#"{"error":{"message":"no such path"}}"#);
    };
    let mut text = String::new();
    for event in events {
        if let Some(name) = event["type"].as_str() {
            writeln!(text, "event: {name}").map_err(io::Error::other)?;
        }
        writeln!(text, "data: {event}\n").map_err(io::Error::other)?;
    }
    if path.ends_with("/chat/completions") && !turn.hangs() {
        text.push_str("data: [DONE]\n\n");
    }
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
        transfer-encoding: chunked\r\n\r\n";
    to.write_all(head.as_bytes())?;
    write!(to, "{:x}\r\n{text}\r\n", text.len())?;
    if !turn.hangs() {
        to.write_all(b"0\r\n\r\n")?;
    }
    to.flush()
}

fn plain(to: &mut impl Write, status: u16, body: &str) -> io::Result<()> {
    write!(
        to,
        "HTTP/1.1 {status} scripted\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    to.flush()
}

fn read(from: &mut BufReader<impl Read>) -> io::Result<Option<Asked>> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next(), words.next());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.trim().to_lowercase(), value.trim().to_owned()));
        }
    }
    let mut asked = Asked {
        method: method.unwrap_or_default(),
        path: path.unwrap_or_default(),
        headers,
        body: Value::Null,
    };
    let body = body(from, &asked)?;
    asked.body = serde_json::from_slice(&body).unwrap_or_default();
    Ok(Some(asked))
}

fn body(from: &mut BufReader<impl Read>, asked: &Asked) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if asked.header("transfer-encoding") == Some("chunked") {
        loop {
            let mut line = String::new();
            from.read_line(&mut line)?;
            let length = u64::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            from.take(length.min(REQUEST_BYTES_MAX))
                .read_to_end(&mut body)?;
            from.read_line(&mut line)?;
            if length == 0 {
                return Ok(body);
            }
        }
    }
    let length = asked.header("content-length").map_or(Ok(0), str::parse);
    let length: u64 = length.map_err(io::Error::other)?;
    from.take(length.min(REQUEST_BYTES_MAX))
        .read_to_end(&mut body)?;
    Ok(body)
}
