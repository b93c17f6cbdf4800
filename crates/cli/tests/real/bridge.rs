//! The bridge in a real cell: one model is reached, its own, and nothing beside.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use agents::{CommandDriver, command};
use domain::agent::EndReason;
use ports::agents::{Driver as _, Stream};
use testkit::agents::{Recorder, Setting};
use testkit::scripted_model::ScriptedModel;

use crate::scene::{cells, own};

/// Asks over loopback and prints the first line of the answer; tells how everything else went.
const PROBE: &str = r#"
import errno, http.client, os, socket, sys
other, port = sys.argv[1], int(sys.argv[2])
address = os.environ.get("PALISADE_MODEL_URL", "http://127.0.0.1:4141").removeprefix("http://")
def attempt(name, code):
    try:
        print(name, code())
    except OSError as error:
        print(name, errno.errorcode.get(error.errno, error))
def ask():
    model = http.client.HTTPConnection(address, timeout=20)
    model.request("GET", "/anthropic/v1/models")
    return model.getresponse().status
def unix(path):
    socket.socket(socket.AF_UNIX).connect(path)
    return "open"
attempt("model", ask)
attempt("own", lambda: unix("/palisade/model.sock"))
attempt("other", lambda: unix(other))
attempt("host", lambda: socket.create_connection(("127.0.0.1", port), 5) and "open")
attempt("world", lambda: socket.create_connection(("192.0.2.1", 443), 5) and "open")
attempt("replace", lambda: os.unlink("/palisade/model.sock") or "gone")
sys.stdout.flush()
"#;

/// Runs the probe in a cell with one of two models, and returns what it printed.
fn probe(setting: &mut Setting, other: &Path, port: u16) -> String {
    std::fs::write(setting.tree().join("probe.py"), PROBE).unwrap();
    let spec = format!(
        "python3 -I /workspace/probe.py '{}' {port}",
        other.display()
    );
    let argv = command::parse(&spec, Path::new("/")).unwrap();
    let recorder = Recorder::default();
    let outcome = CommandDriver::new(argv, cells(), own()).run(setting.task.clone(), &recorder);
    let ended = EndReason::NoSignal {
        code: Some(0),
        killed_by: None,
    };
    let printed = recorder.output(Stream::Out);
    let errors = recorder.output(Stream::Err);
    assert_eq!(outcome.reason, ended, "{printed}{errors}");
    printed
}

#[test]
fn a_session_reaches_its_own_model_and_nothing_else() {
    let mut setting = Setting::new();
    let folders = ["one", "two"].map(|it| setting.folder().join(it));
    let [one, two] = folders.map(|folder| {
        std::fs::create_dir(&folder).unwrap();
        ScriptedModel::listen(&folder, Vec::new()).unwrap()
    });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    setting.task.model_socket = Some(one.socket());
    let printed = probe(&mut setting, &two.socket(), port);
    assert_eq!(
        printed,
        "model 200\nown open\nother ENOENT\nhost ECONNREFUSED\nworld ENETUNREACH\nreplace EROFS\n"
    );
    assert_eq!(one.asked().len(), 1);
    assert!(two.asked().is_empty());
    // Control: on the host the same probe reaches both.
    let outside = Command::new("/usr/bin/python3")
        .args(["-I", "-c", PROBE])
        .arg(two.socket())
        .arg(port.to_string())
        .output()
        .unwrap();
    let outside = String::from_utf8(outside.stdout).unwrap();
    assert!(
        outside.contains("other open") && outside.contains("host open"),
        "{outside}"
    );
}

#[test]
fn a_session_without_a_model_reaches_none() {
    let mut setting = Setting::new();
    let other = ScriptedModel::listen(&setting.folder(), Vec::new()).unwrap();
    let printed = probe(&mut setting, &other.socket(), 9);
    assert!(
        printed.starts_with("model ECONNREFUSED\nown ENOENT\nother ENOENT\n"),
        "{printed}"
    );
}
