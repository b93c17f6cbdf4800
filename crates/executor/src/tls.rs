//! TLS both ways: the executor shows its certificate, and whoever asks must show one that the
//! operator's own authority has signed. Which certificate is which peer is configured.

use std::sync::Arc;

use ring::digest::{SHA256, digest};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use tokio_rustls::TlsAcceptor;

use crate::config::Tls;
use crate::paper::{self, Readers};

/// The largest file of certificates, in bytes.
const PEM_BYTES_MAX: u64 = 256 << 10;

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// A file is not believed.
    #[error(transparent)]
    Paper(#[from] paper::Fault),
    /// A file holds no certificate or key.
    #[error("{0} holds none that can be read as PEM")]
    Pem(&'static str),
    /// The library refuses what was read.
    #[error("TLS cannot be set up: {0}")]
    Refused(String),
}

/// Returns what accepts connections.
pub(crate) fn acceptor(settings: &Tls) -> Result<TlsAcceptor, Fault> {
    let certificates = certificates(&settings.certificate, "`tls.certificate`")?;
    let key = paper::read(&settings.key, PEM_BYTES_MAX, Readers::Owner)?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| Fault::Pem("`tls.key`"))?;
    let mut authorities = RootCertStore::empty();
    for authority in self::certificates(&settings.clients, "`tls.clients`")? {
        authorities
            .add(authority)
            .map_err(|it| Fault::Refused(it.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), Arc::clone(&provider))
            .build()
            .map_err(|it| Fault::Refused(it.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|it| Fault::Refused(it.to_string()))?
        .with_client_cert_verifier(clients)
        .with_single_cert(certificates, key)
        .map_err(|it| Fault::Refused(it.to_string()))?;
    // A resumed session would be believed without its certificate being looked at again.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Returns the SHA-256 of the other end's certificate.
pub(crate) fn fingerprint(connection: &ServerConnection) -> Option<String> {
    let first = connection.peer_certificates()?.first()?;
    let digest = digest(&SHA256, first);
    Some(
        digest
            .as_ref()
            .iter()
            .map(|it| format!("{it:02x}"))
            .collect(),
    )
}

pub(crate) fn certificates(
    path: &std::path::Path,
    what: &'static str,
) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let bytes = paper::read(path, PEM_BYTES_MAX, Readers::Anybody)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) | Err(_) => Err(Fault::Pem(what)),
    }
}
