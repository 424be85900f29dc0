//! Verification of the server's certificate: rustls verifies the chain, and the name as [`TlsMode`]
//! demands.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme, SupportedProtocolVersion,
};
use x509_cert::Certificate;
use x509_cert::der::asn1::{PrintableStringRef, TeletexStringRef, Utf8StringRef};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode, Tag, Tagged};
use x509_cert::ext::pkix::SubjectAltName;

use super::TlsMode;
use super::version_1;
use crate::store::BoxError;

/// The `commonName` of a subject (X.520, 5.2.2).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// TLS cannot be set up as it is configured.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
#[non_exhaustive]
pub struct TlsError {
    /// Problem, and what would do instead.
    pub why: String,
    /// Cause of the error.
    #[source]
    pub source: Option<BoxError>,
}

impl TlsError {
    fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), source: None }
    }

    fn by(why: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self { why: why.into(), source: Some(source.into()) }
    }
}

/// Makes a client of these versions of TLS that verifies the server as the mode says. `None` if the
/// mode is plaintext.
///
/// The cryptography provider is named here, so that nothing depends on one that the process
/// installed or did not install. No session is resumed, so each connection sees the server's
/// certificate.
///
/// # Errors
/// When the CA file cannot be used, or is missing although it is needed. Also when the system has
/// no CA certificates and none are named.
pub fn client_config(
    mode: &TlsMode,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<Option<ClientConfig>, TlsError> {
    let expected = match mode {
        TlsMode::DangerPlaintext => return Ok(None),
        TlsMode::VerifyFull { server_name: None, .. } => None,
        TlsMode::VerifyFull { server_name: Some(name), .. } if name.is_empty() => {
            return Err(TlsError::new(
                "`server_name` in `tls` is empty: write the name that the server's certificate is for",
            ));
        }
        TlsMode::VerifyFull { ca: None, .. } => {
            return Err(TlsError::new(
                "`server_name` in `tls` needs `ca`: name the file of the authority that signed the server's certificate",
            ));
        }
        TlsMode::VerifyFull { server_name: Some(name), .. } => Some(Expected::Name(name.clone())),
        TlsMode::VerifyCa { .. } => Some(Expected::AnyName),
    };
    let trusted = trusted(mode.ca())?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted.iter().cloned());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|error| TlsError::by("TLS cannot be set up", error))?;
    let builder = match expected {
        None => builder.with_root_certificates(roots),
        Some(expected) => {
            let authorities = trusted.iter().filter_map(|ca| Certificate::from_der(ca).ok()).collect();
            let verifier = Verifier { roots, authorities, expected, algorithms };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    let mut config = builder.with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Some(config))
}

/// Reads the CA certificates of this file, all of which must be usable, or else the system's.
/// Returns at least one.
///
/// # Errors
/// When the file cannot be used, or the system has none.
pub fn trusted(ca: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let Some(path) = ca else {
        let found = rustls_native_certs::load_native_certs().certs;
        if found.is_empty() {
            return Err(TlsError::new(
                "the system has no trusted CA certificates: install them (ca-certificates), or name a CA file in `tls`",
            ));
        }
        return Ok(found);
    };
    let path_is = |what: &str| format!("the CA file `{}` {what}", path.display());
    let unreadable =
        |error: rustls::pki_types::pem::Error| TlsError::by(path_is(&format!("cannot be read: {error}")), error);
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        let certificate = certificate.map_err(unreadable)?;
        RootCertStore::empty().add(certificate.clone()).map_err(|error| {
            TlsError::by(path_is(&format!("holds a certificate that cannot be used: {error}")), error)
        })?;
        found.push(certificate);
    }
    if found.is_empty() {
        return Err(TlsError::new(path_is("holds no PEM certificate")));
    }
    Ok(found)
}

/// Name that the server's certificate has to be for.
#[derive(Debug)]
enum Expected {
    /// The certificate must be for this name.
    Name(String),
    /// The certificate may be for any name.
    AnyName,
}

/// Verifies the chain as rustls does by default, and the name by the configuration instead of the
/// address.
#[derive(Debug)]
struct Verifier {
    roots: RootCertStore,
    /// Roots again, as whole certificates.
    authorities: Vec<Certificate>,
    expected: Expected,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = if let Some(certificate) = version_1::read(end_entity) {
            version_1::verify_issued(&certificate, &self.authorities, now, self.algorithms.all)?;
            None
        } else {
            let parsed = ParsedCertificate::try_from(end_entity)?;
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
            Some(parsed)
        };
        if let Expected::Name(name) = &self.expected
            && !is_for(end_entity, parsed.as_ref(), name)
        {
            return Err(refused(format!("the server's certificate is not for `{name}`")));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match version_1::read(certificate) {
            Some(first) => version_1::verify_tls12_signature(message, &first, signed, &self.algorithms),
            None => verify_tls12_signature(message, certificate, signed, &self.algorithms),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match version_1::read(certificate) {
            Some(first) => version_1::verify_tls13_signature(message, &first, signed, &self.algorithms),
            None => verify_tls13_signature(message, certificate, signed, &self.algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Checks whether a certificate is for this name. An alternative name counts, as rustls compares
/// them. The one common name counts if the certificate has no alternative names at all.
fn is_for(der: &CertificateDer<'_>, parsed: Option<&ParsedCertificate<'_>>, name: &str) -> bool {
    if let (Some(parsed), Ok(name)) = (parsed, ServerName::try_from(name))
        && verify_server_name(parsed, &name).is_ok()
    {
        return true;
    }
    common_name(der).is_some_and(|common| common == name)
}

/// Returns the common name, if it is the only one and the certificate has no alternative names.
fn common_name(der: &CertificateDer<'_>) -> Option<String> {
    let certificate = Certificate::from_der(der).ok()?.tbs_certificate;
    if !matches!(certificate.get::<SubjectAltName>(), Ok(None)) {
        return None;
    }
    let parts = certificate.subject.0.iter().flat_map(|part| part.0.iter());
    let mut names = parts.filter(|part| part.oid == COMMON_NAME);
    let (Some(name), None) = (names.next(), names.next()) else { return None };
    let text = match name.value.tag() {
        Tag::Utf8String => name.value.decode_as::<Utf8StringRef<'_>>().map(|text| text.to_string()),
        Tag::PrintableString => name.value.decode_as::<PrintableStringRef<'_>>().map(|text| text.to_string()),
        Tag::TeletexString => name.value.decode_as::<TeletexStringRef<'_>>().map(|text| text.to_string()),
        _ => return None,
    };
    text.ok()
}

/// Makes the error for a server that is not the expected one.
fn refused(why: String) -> Error {
    Error::Other(OtherError(Arc::new(TlsError::new(why))))
}
