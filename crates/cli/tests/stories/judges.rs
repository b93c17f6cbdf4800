//! A judge is asked before anything is built: through a real broker, by a scripted provider, and
//! again from its tape with nobody there.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::house::{GOOD, House};

/// A provider on the loopback that answers in turn, and keeps what it was asked.
struct Provider {
    port: u16,
    asked: Arc<Mutex<Vec<Value>>>,
}

fn provider(answers: &[String]) -> Provider {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (kept, answers) = (Arc::clone(&asked), answers.to_vec());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            let body = read(&stream);
            let number = {
                let mut kept = kept.lock().unwrap();
                kept.push(body);
                kept.len() - 1
            };
            let Some(answer) = answers.get(number) else {
                return;
            };
            let body = json!({
                "choices": [{"message": {"role": "assistant", "content": answer}}],
                "usage": {"prompt_tokens": 100, "completion_tokens": 20},
            })
            .to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
                 connection: close\r\n\r\n",
                body.len()
            );
            (&stream).write_all((head + &body).as_bytes()).unwrap();
        }
    });
    Provider { port, asked }
}

fn read(stream: &TcpStream) -> Value {
    let mut from = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        from.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).unwrap();
    serde_json::from_slice(&body).unwrap()
}

fn set_up(house: &House, port: u16, tape: &str) {
    house.put(
        "repo/.git/palisade/broker.toml",
        &format!(
            "[compatible.local]\nupstream = \"http://127.0.0.1:{port}\"\nmodels = [\"tiny\"]\n\
             free = true\n"
        ),
    );
    let models = format!("[models]\njudge = \"compatible/local/tiny\"\ntape = \"{tape}\"\n");
    house.put("repo/palisade.toml", &models);
}

fn triage(house: &House, spec: &str) -> i32 {
    let agent = "scripted:../story.toml";
    let spec = format!("../{spec}.md");
    let said = house.run(&["run", &spec, "--formula", "triage-cycle", "--agent", agent]);
    assert!(said.code == 4, "{said:?}");
    said.code
}

fn verdict(ambiguities: &Value) -> String {
    json!({"pass": true, "reasons": [], "ambiguities": ambiguities}).to_string()
}

#[test]
fn a_formula_that_asks_a_judge_says_what_is_missing() {
    let house = House::with(GOOD);
    let arguments = ["run", "../spec.md", "--formula", "triage-cycle"];
    let agent = ["--agent", "scripted:../story.toml"];
    let said = house.run(&[&arguments[..], &agent].concat());
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("set `judge = "), "{said:?}");
    house.put("repo/palisade.toml", "[models]\njudge = \"strong\"\n");
    let said = house.run(&[&arguments[..], &agent].concat());
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("write `anthropic/NAME`"), "{said:?}");
    house.put("repo/palisade.toml", "[models]\njudge = \"gemini/pro\"\n");
    let said = house.run(&["status"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(
        said.err
            .contains("palisade.toml:2:9: `gemini/pro` tells no"),
        "{said:?}"
    );
}

#[test]
fn a_judge_asks_before_anything_is_built_and_again_from_its_tape() {
    let program = Path::new(env!("CARGO_BIN_EXE_palisade")).with_file_name("palisade-broker");
    if !program.is_file() {
        let mut out = std::io::stdout().lock();
        writeln!(out, "skipped: {} is not built", program.display()).unwrap();
        return;
    }
    let house = House::with(GOOD);
    let question = json!([{
        "priority": "P0", "question": "In which language?", "why": "It is not said.",
        "options": ["English", "French"], "recommended": "English", "impact": "The word.",
        "default_held": "English",
    }]);
    let answers = ["{\"pass\": 1}".to_owned(), verdict(&question)];
    let there = provider(&answers);
    set_up(&house, there.port, "record");
    assert_eq!(triage(&house, "spec"), 4);
    // The question parks the work: nothing is built before it is answered.
    assert_eq!(house.run(&["show", "spec", "--json"]).code, 0);
    let shown: Value =
        serde_json::from_str(&house.run(&["show", "latest", "--prompt", "--json"]).out).unwrap();
    assert_eq!(shown["about"]["actor"], "judge");
    assert_eq!(shown["judgement"]["attempts"], 2);
    assert_eq!(shown["judgement"]["passes"], true);
    let session = shown["id"].as_str().unwrap().to_owned();
    let told = shown["told"]["text"].as_str().unwrap();
    let asked = there.asked.lock().unwrap().clone();
    assert_eq!(asked[0]["messages"][0]["content"], told);
    assert_eq!(asked[0]["response_format"]["json_schema"]["strict"], true);
    let complaint = asked[1]["messages"][2]["content"].as_str().unwrap();
    assert!(
        complaint.contains("/pass: must be true or false"),
        "{complaint}"
    );
    let cost = house.run(&["cost", "--json"]);
    let cost: Value = serde_json::from_str(&cost.out).unwrap();
    assert_eq!(cost["total"]["calls"], 2);
    assert_eq!(cost["lines"][0]["role"], "judge");
    let human = house.run(&["show", "latest"]);
    assert!(human.out.contains("no cell"), "{human:?}");

    // Nobody is there any more: the same question is answered from the tape.
    set_up(&house, 9, &format!("replay:{session}"));
    house.put(
        "again.md",
        &std::fs::read_to_string(house.path("spec.md")).unwrap(),
    );
    assert_eq!(triage(&house, "again"), 4);
    let shown: Value = serde_json::from_str(&house.run(&["show", "latest", "--json"]).out).unwrap();
    assert_ne!(shown["id"], session.as_str());
    assert_eq!(shown["judgement"]["attempts"], 2);
    let open = house.run(&["queue"]);
    assert!(
        open.out.contains("spec, again (judge at `triage`)"),
        "{open:?}"
    );
}
