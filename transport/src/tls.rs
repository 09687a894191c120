//! How TLS is spoken between nodes: version 1.3, both sides with a certificate of the cluster's CA.
//!
//! Whoever dials a node demands the name of that node in its certificate. Whoever is dialled accepts any
//! certificate of the CA, or none at all: only then does the caller introduce itself, and its introduction must fit
//! the certificate (`handshake.rs`); without one, it may do nothing but ask to join (`join.rs`).

use std::sync::Arc;

use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{
    Resumption, WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor, verify_server_name,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};

use shardforge_runtime::NodeId;

use crate::certificates::fingerprint;
use crate::error::TransportError;
use crate::identity::{ClusterId, node_name};
use crate::token::Fingerprint;

/// What is spoken over a connection, as its two ends agree on in TLS (ALPN).
const HTTP2: &[u8] = b"h2";
const TUNNEL: &[u8] = b"shardforge-tunnel";

fn failed(error: impl std::fmt::Display) -> TransportError {
    TransportError::Certificate(error.to_string())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn roots(ca: &[CertificateDer<'static>]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in ca {
        roots.add(certificate.clone())?;
    }
    Ok(roots)
}

/// What a node shows of itself.
pub(crate) struct Identity<'a> {
    pub ca: &'a [CertificateDer<'static>],
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

/// What a node needs for either end of a connection.
pub(crate) struct Configs {
    /// For dialling HTTP/2.
    pub client: Arc<ClientConfig>,
    /// For dialling a tunnel.
    pub tunnel_client: Arc<ClientConfig>,
    /// For being dialled, for whatever it is.
    pub server: Arc<ServerConfig>,
}

/// Whether the two ends have agreed on a tunnel.
pub(crate) fn is_tunnel(alpn: Option<&[u8]>) -> bool {
    alpn == Some(TUNNEL)
}

/// Makes the settings of a node.
pub(crate) fn configs(identity: Identity<'_>) -> Result<Configs, TransportError> {
    let roots = Arc::new(roots(identity.ca).map_err(failed)?);
    let servers = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), provider())
        .build()
        .map_err(failed)?;
    let clients = WebPkiClientVerifier::builder_with_provider(roots, provider())
        .allow_unauthenticated()
        .build()
        .map_err(failed)?;
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(failed)?
        .with_webpki_verifier(servers)
        .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
        .map_err(failed)?;
    client.alpn_protocols = vec![HTTP2.to_vec()];
    // Connections live long; resuming one would go by a certificate that may have been replaced.
    client.resumption = Resumption::disabled();
    let mut tunnel_client = client.clone();
    tunnel_client.alpn_protocols = vec![TUNNEL.to_vec()];
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(failed)?
        .with_client_cert_verifier(clients)
        .with_single_cert(identity.chain, identity.key)
        .map_err(failed)?;
    server.alpn_protocols = vec![HTTP2.to_vec(), TUNNEL.to_vec()];
    server.send_tls13_tickets = 0;
    Ok(Configs { client: Arc::new(client), tunnel_client: Arc::new(tunnel_client), server: Arc::new(server) })
}

/// The settings of a node that joins: it has no certificate, and knows the CA by its fingerprint.
pub(crate) fn joining_config(ca: Fingerprint) -> Result<Arc<ClientConfig>, TransportError> {
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(failed)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(KnownCa { ca, provider: provider() }))
        .with_no_client_auth();
    client.alpn_protocols = vec![HTTP2.to_vec()];
    client.resumption = Resumption::disabled();
    Ok(Arc::new(client))
}

/// The name by which a node is dialled.
pub(crate) fn server_name(cluster: ClusterId, node: NodeId) -> Result<ServerName<'static>, TransportError> {
    ServerName::try_from(node_name(cluster, node)).map_err(failed)
}

/// Whether a certificate is that of a node.
pub(crate) fn names_node(certificate: &CertificateDer<'_>, cluster: ClusterId, node: NodeId) -> bool {
    let (Ok(parsed), Ok(name)) = (ParsedCertificate::try_from(certificate), server_name(cluster, node))
    else {
        return false;
    };
    verify_server_name(&parsed, &name).is_ok()
}

/// Checks that a certificate is valid and signed by one of some CAs.
pub(crate) fn check_chain(
    certificate: &CertificateDer<'_>,
    ca: &[CertificateDer<'static>],
) -> Result<(), TransportError> {
    let check = || {
        let parsed = ParsedCertificate::try_from(certificate)?;
        let algorithms = provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &roots(ca)?, &[], UnixTime::now(), algorithms)
    };
    check().map_err(failed)
}

/// Accepts every node of the cluster whose CA has a certain fingerprint. Which node answers does not matter to one
/// that joins, and it has no way to know.
#[derive(Debug)]
struct KnownCa {
    ca: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for KnownCa {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let ca = intermediates.iter().find(|certificate| fingerprint(certificate) == self.ca);
        let ca = ca.ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        let roots = roots(&[ca.clone().into_owned()])?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
