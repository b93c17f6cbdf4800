//! The road to AWS: records what is asked on the way, and can be bad in some ways.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::moto::within;
use crate::scene::PATIENCE;

/// A call that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// As policies name it.
    pub(crate) action: String,
    /// The access key that signed it; nothing when it is not signed.
    pub(crate) key: String,
    /// What it said: the fields of a form, or of a document.
    pub(crate) fields: Value,
}

/// How the road is.
#[derive(Clone)]
pub(crate) enum Manner {
    /// As it should be.
    Pass,
    /// Nobody answers.
    Silent,
    /// Somebody else answers.
    Page,
    /// As it should be, and the machine's metadata vouches with a session's key, secret and token.
    Machine([String; 3]),
}

pub(crate) struct Road {
    pub(crate) port: u16,
    calls: Arc<Mutex<Vec<Call>>>,
    /// Roles, by the access keys of their sessions.
    sessions: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Road {
    /// Returns a road to a port of this machine. It is there until the test ends.
    pub(crate) fn to(port: u16, manner: Manner) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let road = Self {
            port: listener.local_addr().unwrap().port(),
            calls: Arc::default(),
            sessions: Arc::default(),
        };
        let (calls, sessions) = (Arc::clone(&road.calls), Arc::clone(&road.sessions));
        drop(std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (calls, sessions) = (Arc::clone(&calls), Arc::clone(&sessions));
                let manner = manner.clone();
                drop(std::thread::spawn(move || {
                    carry(stream.unwrap(), port, &manner, &calls, &sessions);
                }));
            }
        }));
        road
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// Returns the role that a session's access key is of.
    pub(crate) fn role(&self, key: &str) -> Option<String> {
        self.sessions.lock().unwrap().get(key).cloned()
    }
}

fn carry(
    mut stream: TcpStream,
    port: u16,
    manner: &Manner,
    calls: &Mutex<Vec<Call>>,
    sessions: &Mutex<BTreeMap<String, String>>,
) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let Some((head, body)) = request(&mut stream) else {
        return;
    };
    let call = understood(&head, &body);
    calls.lock().unwrap().push(call.clone());
    let answer = match manner {
        Manner::Silent => {
            // Until whoever asks has gone.
            drop(stream.read_to_end(&mut Vec::new()));
            return;
        }
        Manner::Page => answer("text/html", "<h1>It works!</h1>"),
        Manner::Machine(session) if head.contains(" /latest/") => metadata(&head, session),
        Manner::Pass | Manner::Machine(_) => passed(port, &head, &body),
    };
    if let Some(key) = within(&answer, "AccessKeyId") {
        let role = call.fields["RoleArn"].as_str().unwrap_or_default();
        sessions.lock().unwrap().insert(key, role.to_owned());
    }
    // Who has gone in the middle hears nothing.
    drop(stream.write_all(answer.as_bytes()));
}

/// Reads one request; the road takes one for each connection.
fn request(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = header(head, "content-length").map_or(0, |it| it.parse().unwrap());
            if body.len() >= length {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
        let read = stream.read(&mut piece).ok().filter(|it| *it > 0)?;
        bytes.extend_from_slice(&piece[..read]);
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|it| it.split_once(": "));
    lines
        .find(|it| it.0.eq_ignore_ascii_case(name))
        .map(|it| it.1)
}

fn understood(head: &str, body: &str) -> Call {
    let signed = header(head, "authorization").unwrap_or_default();
    let scope = signed.split_once("Credential=").map_or("", |it| it.1);
    let key = scope.split('/').next().unwrap_or_default().to_owned();
    let (action, fields) = match header(head, "x-amz-target") {
        Some(target) => {
            let name = target.rsplit('.').next().unwrap();
            (format!("ssm:{name}"), serde_json::from_str(body).unwrap())
        }
        None if head.starts_with("POST / ") => {
            let fields: BTreeMap<String, String> = body
                .split('&')
                .filter_map(|it| it.split_once('='))
                .map(|(name, value)| (name.to_owned(), decoded(value)))
                .collect();
            (format!("sts:{}", fields["Action"]), json!(fields))
        }
        None => (head.lines().next().unwrap().to_owned(), Value::Null),
    };
    Call {
        action,
        key,
        fields,
    }
}

fn decoded(value: &str) -> String {
    let mut parts = value.split('%');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (byte, rest) = part.split_at(2);
        out.push(char::from(u8::from_str_radix(byte, 16).unwrap()));
        out.push_str(rest);
    }
    out
}

/// Passes a request on as it is: signatures are over it.
fn passed(port: u16, head: &str, body: &str) -> String {
    let mut moto = TcpStream::connect(("127.0.0.1", port)).unwrap();
    moto.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("{head}\r\nconnection: close\r\n\r\n{body}");
    moto.write_all(request.as_bytes()).unwrap();
    let mut told = Vec::new();
    moto.read_to_end(&mut told).unwrap();
    let told = String::from_utf8(told).unwrap();
    if told.starts_with("HTTP/1.1 200 ") {
        return told;
    }
    refused(&told, header(head, "x-amz-target").is_some())
}

/// Returns what moto refuses as AWS does: what moto writes is neither the form of the one service nor
/// that of the other, and no SDK finds the code in it.
fn refused(told: &str, is_document: bool) -> String {
    let code = within(told, "Code").unwrap_or_default();
    let body = if is_document {
        let code = code.replace("AccessDenied", "AccessDeniedException");
        json!({"__type": code, "message": "told by nobody"}).to_string()
    } else {
        format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error>\
             <Type>Sender</Type><Code>{code}</Code><Message>told by nobody</Message></Error>\
             <RequestId>0</RequestId></ErrorResponse>"
        )
    };
    let status = told.lines().next().unwrap_or_default();
    let kind = if is_document {
        "application/x-amz-json-1.1"
    } else {
        "text/xml"
    };
    answer(kind, &body).replacen("HTTP/1.1 200 OK", status, 1)
}

/// Answers as the metadata of a machine do, to who has fetched a token first.
fn metadata(head: &str, [key, secret, token]: &[String; 3]) -> String {
    let first = head.lines().next().unwrap();
    if first.starts_with("PUT /latest/api/token ") {
        let token = answer("text/plain", "a-token-of-the-machine");
        return token.replace(
            "content-type",
            "x-aws-ec2-metadata-token-ttl-seconds: 60\r\ncontent-type",
        );
    }
    if header(head, "x-aws-ec2-metadata-token") != Some("a-token-of-the-machine") {
        return "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            .into();
    }
    let folder = "GET /latest/meta-data/iam/security-credentials/";
    match first.strip_prefix(folder) {
        Some(rest) if rest.starts_with("palisade ") => {
            let keys = json!({
                "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": key, "SecretAccessKey": secret,
                "Token": token, "LastUpdated": "2026-01-01T00:00:00Z", "Expiration": "2999-01-01T00:00:00Z",
            });
            answer("application/json", &keys.to_string())
        }
        Some(rest) if rest.starts_with(' ') => answer("text/plain", "palisade"),
        Some(_) | None => {
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".into()
        }
    }
}

fn answer(kind: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}
