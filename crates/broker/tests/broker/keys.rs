//! The key is at the provider and nowhere else.

use std::path::Path;

use ports::models::Tape;
use secrets::Watch;
use testkit::models::contract::grant;

use crate::scene::{KEY, Scene, always, begin_stream, piece};

const ASK: &str = r#"{"model":"claude-sonnet-4-5","stream":true}"#;

fn watch() -> Watch {
    Watch::of([("the key", KEY.as_bytes())])
}

#[test]
fn a_reply_that_holds_the_key_is_kept_from_the_agent() {
    let reversed: String = KEY.chars().rev().collect();
    let hexadecimal: String = KEY.bytes().map(|it| format!("{it:02x}")).collect();
    for form in [KEY, &reversed, &hexadecimal] {
        for status in ["401 Unauthorized", "200 OK"] {
            let body = format!(r#"{{"error":"incorrect key {form}"}}"#);
            let scene = Scene::with(always(status, "application/json", &body), "");
            let agent = scene.open(&grant(1, 1));
            let got = agent.post("/anthropic/v1/messages", ASK);
            assert_eq!(watch().look(got.body.as_bytes()), None, "{}", got.body);
            assert!(got.status == 502 || !got.is_whole);
            let account = format!("{:?}", scene.account(&grant(1, 1)));
            assert_eq!(watch().look(account.as_bytes()), None);
        }
    }
}

#[test]
fn a_stream_that_holds_the_key_in_pieces_is_cut() {
    let act = Box::new(|_: &_, stream: &mut _| {
        begin_stream(stream);
        for part in ["data: {\"text\":\"", &KEY[..9], &KEY[9..], "\"}\n\n", ""] {
            if !piece(stream, part) {
                return;
            }
        }
    });
    let scene = Scene::with(act, "");
    let agent = scene.open(&grant(1, 1));
    let got = agent.post("/anthropic/v1/messages", ASK);
    assert_eq!(watch().look(got.body.as_bytes()), None, "{}", got.body);
}

#[test]
fn nothing_that_the_broker_leaves_holds_the_key() {
    let body = r#"{"usage":{"input_tokens":1,"output_tokens":1}}"#;
    let scene = Scene::with(always("200 OK", "application/json", body), "");
    let mut taped = grant(1, 1);
    taped.tape = Tape::Record;
    let agent = scene.open(&taped);
    assert_eq!(agent.post("/anthropic/v1/messages", ASK).status, 200);
    let account = scene.close(&taped);
    assert_eq!(watch().look(format!("{account:?}").as_bytes()), None);
    assert_eq!(watch().look(format!("{:?}", scene.broker).as_bytes()), None);
    let mut files = Vec::new();
    walk(scene.folder.path(), &mut files);
    assert!(files.len() >= 3, "{files:?}");
    for file in files.iter().filter(|it| !it.ends_with("key")) {
        let content = std::fs::read(file).unwrap();
        assert_eq!(watch().look(&content), None, "{}", file.display());
    }
    assert!(
        scene.provider.asked()[0]
            .header("x-api-key")
            .unwrap()
            .contains(KEY)
    );
}

fn walk(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            walk(&entry.path(), files);
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
}
