//! S13, from within a real cell of a real work: an agent with a model of its own tries everything else.
//! The broker is the program itself, its provider listens on the loopback of the host.

use std::path::Path;
use std::process::Command;

use crate::road::{Hand, KEY, Road};

/// Tries one thing after the other, and says how each went. Last it tries to send what it was told.
const HOSTILE: &str = r#"
import errno, glob, http.client, os, socket, sys
provider, state, secret = int(sys.argv[1]), sys.argv[2], sys.argv[3]
def attempt(name, code):
    try:
        print(name, code(), flush=True)
    except OSError as error:
        print(name, errno.errorcode.get(error.errno, error), flush=True)
class Own(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect("/palisade/model.sock")
def ask(path, model="claude-sonnet-4-5", text="hello", headers={}, method="POST"):
    def code():
        own = Own("x")
        body = '{"model":"%s","max_tokens":9,"messages":[{"role":"user","content":"%s"}]}' % (model, text)
        own.request(method, path, body, {"content-type": "application/json", **headers})
        return own.getresponse().status
    return code
def unix(path):
    def code():
        socket.socket(socket.AF_UNIX).connect(path)
        return "open"
    return code
def sources():
    for line in open("/proc/self/mountinfo"):
        words = line.split()
        if words[4] == "/palisade/model.sock":
            yield os.path.dirname(words[3])
attempt("S13-past-the-broker", lambda: socket.create_connection(("127.0.0.1", provider), 5) and "open")
for folder in list(sources()) + ["/palisade"]:
    attempt("S13-control-socket", unix(folder + "/control.sock"))
attempt("S13-other-sockets", lambda: len([it for it in glob.glob("/palisade/*.sock") if it != "/palisade/model.sock"]))
attempt("S13-store", lambda: open(state + "/broker.toml").read())
attempt("S13-connect", ask("127.0.0.1:%d" % provider, method="CONNECT"))
attempt("S13-path", ask("/anthropic/v1/files"))
attempt("S13-model", ask("/anthropic/v1/messages", model="claude-other"))
attempt("S13-other-provider", ask("/openai/v1/chat/completions"))
attempt("allowed", ask("/anthropic/v1/messages", text="this one is allowed", headers={"x-palisade-session": "session_1", "x-api-key": "mine"}))
attempt("S13-prompt-canary", ask("/anthropic/v1/messages", text="note " + secret))
"#;

/// What stands in the `.env` of the house, which no cell may know.
const WITHHELD: &str = "canary-0a1b2c";

fn arguments(road: &Road) -> (u16, String) {
    let port = road.provider.upstream();
    let port = port.rsplit(':').next().unwrap().parse().unwrap();
    let state = road.house.path("repo/.git/palisade");
    (port, state.display().to_string())
}

#[test]
fn an_agent_reaches_its_model_and_nothing_past_it() {
    let broker = Path::new(env!("CARGO_BIN_EXE_palisade")).with_file_name("palisade-broker");
    assert!(broker.is_file(), "build it: cargo build -p palisade-broker");
    let road = Road::new(Hand::CLAUDE, |_| Vec::new());
    let house = &road.house;
    house.put("repo/hostile.py", HOSTILE);
    house.git(&["add", "hostile.py"]);
    house.git(&["commit", "--quiet", "--message", "a program"]);
    house.put(
        "repo/palisade.toml",
        "[models]\nevery_agent = true\nallowed = [\"claude-sonnet-*\"]\n",
    );
    let (port, state) = arguments(&road);
    // It is told what it may not know: so an agent would that had come by it somehow.
    let agent =
        format!("command:/usr/bin/python3 -I /workspace/hostile.py {port} {state} {WITHHELD}");
    let said = house.run(&["run", "../spec.md", "--agent", &agent]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("incident"), "{said:?}");
    let printed = house.run(&["log", &house.session("spec", "builder")]).out;
    for held in [
        "S13-past-the-broker ECONNREFUSED",
        "S13-control-socket ENOENT",
        "S13-other-sockets 0",
        "S13-store ENOENT",
        "allowed 200",
    ] {
        assert!(printed.contains(held), "{held}: {printed}");
    }
    for refused in ["connect", "path", "model", "other-provider"] {
        assert!(printed.contains(&format!("S13-{refused} 4")), "{printed}");
    }
    // The world: the provider heard what was allowed, with the broker's key and no header of the
    // agent's, and nothing else.
    let asked = road.provider.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].body.to_string().contains("this one is allowed"));
    assert_eq!(asked[0].header("x-api-key"), Some(KEY));
    assert_eq!(asked[0].header("x-palisade-session"), None);
}

/// The control: without a cell the same program reaches the provider and reads the store.
#[test]
fn without_a_cell_the_same_program_gets_past() {
    let road = Road::new(Hand::CLAUDE, |_| Vec::new());
    let (port, state) = arguments(&road);
    let outside = Command::new("/usr/bin/python3")
        .args(["-I", "-c", HOSTILE, &port.to_string(), &state, WITHHELD])
        .output()
        .unwrap();
    let outside = String::from_utf8(outside.stdout).unwrap();
    assert!(outside.contains("S13-past-the-broker open"), "{outside}");
    assert!(outside.contains("S13-store [anthropic]"), "{outside}");
}
