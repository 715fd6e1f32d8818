//! A connection to the manager interface: TCP, or TLS on it.

use std::{fs, path::Path, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
        client::{
            WebPkiServerVerifier,
            danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        },
        crypto::ring,
        pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    },
};

use crate::config::Ami;

/// Connecting takes so long at most, TLS included.
const LONGEST: Duration = Duration::from_secs(10);

/// What is read from and written to.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects as the configuration says. The answer also tells whether nobody else can listen.
///
/// # Errors
/// Why not, in words.
pub async fn connect(ami: &Ami) -> Result<(Box<dyn Stream>, bool), String> {
    timeout(LONGEST, open(ami))
        .await
        .map_err(|_| format!("no answer within {} s", LONGEST.as_secs()))?
}

async fn open(ami: &Ami) -> Result<(Box<dyn Stream>, bool), String> {
    let host = ami.host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, ami.port())).await;
    let stream = stream.map_err(|error| error.to_string())?;
    if !ami.tls {
        let peer = stream.peer_addr().map_err(|error| error.to_string())?;
        return Ok((Box::new(stream), peer.ip().to_canonical().is_loopback()));
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let connector = connector(ami.ca_file.as_deref().unwrap_or(Path::new("")))?;
    let stream = connector.connect(name, stream).await;
    let stream = stream.map_err(|error| format!("TLS: {error}"))?;
    Ok((Box::new(stream), true))
}

fn connector(ca_file: &Path) -> Result<TlsConnector, String> {
    let unusable = |error: String| format!("asterisk.ami.ca-file: {}: {error}", ca_file.display());
    let pem = fs::read(ca_file).map_err(|error| unusable(error.to_string()))?;
    let known: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    if roots.add_parsable_certificates(known.clone()).0 == 0 {
        return Err(unusable("no certificate in PEM".to_owned()));
    }
    let provider = Arc::new(ring::default_provider());
    let signed = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| unusable(error.to_string()))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(KnownOrSigned { known, signed }))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Accepts a certificate of the file itself, whatever is in it, and what one of the file has signed
/// for the host. Asterisk's own script writes certificates that name no host in a way that counts
/// today, and many sign themselves.
#[derive(Debug)]
struct KnownOrSigned {
    known: Vec<CertificateDer<'static>>,
    signed: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for KnownOrSigned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.known.contains(end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        self.signed
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signed.supported_verify_schemes()
    }
}
