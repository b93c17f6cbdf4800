//! TCP: only with a certificate of the operator's own authority, and only whose is configured.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::authority::{Authority, Identity};
use crate::scene::{Answer, PATIENCE, Running, Scene, answer};

fn private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Asks by TLS; none when the connection does not come about, or just ends.
fn ask(running: &Running, authority: &Authority, own: Option<&Identity>) -> Option<Answer> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.0.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some(it) => {
            let key = PrivateKeyDer::Pkcs8(it.key.serialize_der().into());
            builder
                .with_client_auth_cert(vec![it.certificate.clone()], key)
                .unwrap()
        }
    };
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(&running.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = StreamOwned::new(connection, stream);
    let head = "GET /actions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).ok()?;
    let mut all = Vec::new();
    drop(stream.read_to_end(&mut all));
    answer(&all)
}

#[test]
fn only_a_configured_certificate_of_our_authority_is_heard() {
    let mut scene = Scene::new();
    let authority = Authority::new();
    let server = authority.issues();
    let peer = authority.issues();
    private(&scene.path("server.pem"), &server.pem);
    private(&scene.path("server.key"), &server.key.serialize_pem());
    private(&scene.path("clients.pem"), &authority.0.pem());
    let digest = ring::digest::digest(&ring::digest::SHA256, &peer.certificate);
    let fingerprint: String = digest
        .as_ref()
        .iter()
        .map(|it| format!("{it:02x}"))
        .collect();
    let at = |name: &str| scene.path(name).display().to_string();
    scene.more = format!(
        "[[peers]]\nprincipal = \"service:remote\"\ncertificate = \"{fingerprint}\"\n\
         [tls]\naddress = \"127.0.0.1:0\"\ncertificate = \"{}\"\nkey = \"{}\"\nclients = \"{}\"\n",
        at("server.pem"),
        at("server.key"),
        at("clients.pem"),
    );
    let running = scene.start();
    assert_eq!(ask(&running, &authority, Some(&peer)).unwrap().status, 200);
    // Nobody, a stranger of our own authority, and one who made an authority of their own.
    assert_eq!(ask(&running, &authority, None), None);
    assert_eq!(ask(&running, &authority, Some(&authority.issues())), None);
    assert_eq!(
        ask(&running, &authority, Some(&Authority::new().issues())),
        None
    );
    // And not in the clear.
    let mut plain = TcpStream::connect(&running.address).unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    plain
        .write_all(b"GET /actions HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    let mut all = Vec::new();
    drop(plain.read_to_end(&mut all));
    assert!(!all.starts_with(b"HTTP"));
    let refused = scene.refusals();
    assert_eq!(refused.len(), 1, "{refused:?}");
}
