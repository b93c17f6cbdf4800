//! moto as AWS: a server of its own for each test, filled with the roles and policies of deploy/iam.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::road::{Manner, Road};
use crate::scene::{PATIENCE, SECRET, Scene};

pub(crate) const REGION: &str = "eu-central-1";

/// The parameter that holds `SECRET`.
pub(crate) const PARAMETER: &str = "/palisade/staging/deploy-token";

/// The lanes, as files of deploy/iam are named.
pub(crate) const LANES: [&str; 3] = ["read_only", "dry_run", "execute"];

pub(crate) struct Moto {
    child: Child,
    pub(crate) port: u16,
}

impl Drop for Moto {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Returns where `./check` puts moto: beside the programs that are tested.
fn server() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_palisade-executor"));
    let target = program.parent().and_then(Path::parent).unwrap();
    target.join("moto").join("bin").join("moto_server")
}

impl Moto {
    pub(crate) fn start() -> Self {
        let mut child = Command::new(server())
            .args(["-H", "127.0.0.1", "-p", "0"])
            .env_clear()
            .env("PYTHONUNBUFFERED", "1")
            .env("HOME", "/nonexistent")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|it| panic!("{}: {it}; run .ci/moto-for-tests", server().display()));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let place = " * Running on http://127.0.0.1:";
        let port = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|it| it.strip_prefix(place)?.trim().parse().ok())
            .unwrap();
        // It goes on telling, and must not stand still over it.
        drop(std::thread::spawn(move || lines.for_each(drop)));
        Self { child, port }
    }

    /// Has it look at signatures and policies from now on.
    pub(crate) fn enforce(&self) {
        let told = ask(
            self.port,
            "POST /moto-api/reset-auth HTTP/1.1\r\nhost: a\r\ncontent-type: text/plain\r\n\
             content-length: 1\r\nconnection: close\r\n\r\n0",
        );
        assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    }

    /// Asks a service that takes forms. Nothing is signed: nobody looks yet.
    pub(crate) fn form(&self, service: &str, action: &str, fields: &[(&str, &str)]) -> String {
        let version = if service == "iam" {
            "2010-05-08"
        } else {
            "2011-06-15"
        };
        let fields = fields.iter();
        let fields: String = fields
            .map(|(name, value)| format!("&{name}={}", encoded(value)))
            .collect();
        let body = format!("Action={action}&Version={version}{fields}");
        self.post(service, "", "application/x-www-form-urlencoded", &body)
    }

    /// Puts a parameter there, of a type.
    pub(crate) fn put(&self, name: &str, value: &str, kind: &str) {
        let body = json!({"Name": name, "Value": value, "Type": kind, "Overwrite": true});
        let target = "x-amz-target: AmazonSSM.PutParameter\r\n";
        self.post(
            "ssm",
            target,
            "application/x-amz-json-1.1",
            &body.to_string(),
        );
    }

    fn post(&self, service: &str, more: &str, kind: &str, body: &str) -> String {
        let told = ask(
            self.port,
            &format!(
                "POST / HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-type: {kind}\r\n{more}\
                 authorization: AWS4-HMAC-SHA256 Credential=setup/20260101/{REGION}/{service}/aws4_request, \
                 SignedHeaders=host, Signature=none\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ),
        );
        assert!(told.starts_with("HTTP/1.1 200"), "{told}");
        told
    }

    /// Makes a role with the trust and the permissions of a lane.
    pub(crate) fn role(&self, lane: &str, trust: &Value, permissions: &Value) {
        let name = format!("palisade-executor-{}", lane.replace('_', "-"));
        let trust = trust.to_string();
        let role = [
            ("RoleName", name.as_str()),
            ("AssumeRolePolicyDocument", &trust),
        ];
        self.form("iam", "CreateRole", &role);
        let permissions = coarse(permissions).to_string();
        let policy = [
            ("RoleName", name.as_str()),
            ("PolicyName", lane),
            ("PolicyDocument", &permissions),
        ];
        self.form("iam", "PutRolePolicy", &policy);
    }

    /// Makes the executor's user, and returns its access key.
    pub(crate) fn user(&self, policy: &Value) -> (String, String) {
        let name = ("UserName", "palisade-executor");
        self.form("iam", "CreateUser", &[name]);
        let policy = policy.to_string();
        let fields = [name, ("PolicyName", "caller"), ("PolicyDocument", &policy)];
        self.form("iam", "PutUserPolicy", &fields);
        let key = self.form("iam", "CreateAccessKey", &[name]);
        (
            within(&key, "AccessKeyId").unwrap(),
            within(&key, "SecretAccessKey").unwrap(),
        )
    }
}

/// Returns a policy as far as moto looks at it: actions, and neither resources nor conditions.
fn coarse(policy: &Value) -> Value {
    let mut policy = policy.clone();
    for statement in policy["Statement"].as_array_mut().unwrap() {
        statement["Resource"] = json!("*");
        statement.as_object_mut().unwrap().remove("Condition");
    }
    policy
}

/// Returns what stands in an element.
pub(crate) fn within(text: &str, element: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{element}>"))?;
    Some(rest.split_once("</")?.0.to_owned())
}

/// Reads a file of deploy/iam.
pub(crate) fn document(name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/iam");
    let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn ask(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut told = Vec::new();
    stream.read_to_end(&mut told).unwrap();
    String::from_utf8(told).unwrap()
}

fn encoded(value: &str) -> String {
    let byte = |it: u8| {
        if it.is_ascii_alphanumeric() {
            char::from(it).to_string()
        } else {
            format!("%{it:02X}")
        }
    };
    value.bytes().map(byte).collect()
}

/// A scene whose secret is at AWS, everything in place as deploy/iam says, and a road that records.
pub(crate) struct Cloud {
    pub(crate) moto: Moto,
    pub(crate) road: Road,
    pub(crate) scene: Scene,
    /// The executor's own access key.
    pub(crate) key: (String, String),
}

impl Cloud {
    pub(crate) fn new() -> Self {
        Self::new_before_it_is_enforced(|_| {})
    }

    /// The same, with what is put there before anybody has to be allowed to.
    pub(crate) fn new_before_it_is_enforced(put: impl FnOnce(&Moto)) -> Self {
        let moto = Moto::start();
        put(&moto);
        for lane in LANES {
            let (trust, permissions) = (format!("{lane}.trust"), format!("{lane}.permissions"));
            moto.role(lane, &document(&trust), &document(&permissions));
        }
        let key = moto.user(&document("caller"));
        moto.put(PARAMETER, SECRET, "SecureString");
        moto.enforce();
        Self::of(moto, key)
    }

    /// Returns a cloud of a server that is set up.
    pub(crate) fn of(moto: Moto, key: (String, String)) -> Self {
        let road = Road::to(moto.port, Manner::Pass);
        let mut scene = Scene::new();
        std::fs::remove_file(scene.path("TOKEN")).unwrap();
        scene.secrets = format!("TOKEN = {{ ssm = \"{PARAMETER}\" }}");
        let mut cloud = Self {
            moto,
            road,
            scene,
            key,
        };
        cloud.configure("environment", "palisade-staging", cloud.road.port);
        cloud
    }

    /// Says how AWS is asked.
    pub(crate) fn configure(&mut self, credentials: &str, external_id: &str, port: u16) {
        let role = |lane: &str| {
            let name = lane.replace('_', "-");
            format!("{lane} = \"arn:aws:iam::123456789012:role/palisade-executor-{name}\"")
        };
        self.scene.more = format!(
            "[aws]\nregion = \"{REGION}\"\ncredentials = \"{credentials}\"\n\
             external_id = \"{external_id}\"\nendpoint = \"http://127.0.0.1:{port}\"\n\
             roles = {{ {} }}\n",
            LANES.map(role).join(", ")
        );
        self.scene.env = vec![
            ("AWS_ACCESS_KEY_ID".to_owned(), self.key.0.clone()),
            ("AWS_SECRET_ACCESS_KEY".to_owned(), self.key.1.clone()),
        ];
    }

    /// Tries to start, and returns what is said when that does not work: never a secret, and nothing
    /// is begun.
    pub(crate) fn refusal(&self) -> String {
        self.scene.configure();
        let told = self.scene.refusal_to_start();
        let hidden = [SECRET, self.key.1.as_str(), "told by nobody"];
        assert!(hidden.iter().all(|it| !told.contains(it)), "{told}");
        assert!(!self.scene.path("state/audit.jsonl").exists());
        told
    }
}
