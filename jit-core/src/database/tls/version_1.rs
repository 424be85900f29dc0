//! Certificates of X.509 version 1, which rustls does not read. For a long time `openssl x509 -req`
//! made them unless extensions were asked for, so they have no alternative names. They are accepted
//! only if a configured authority signed them directly.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error};
use webpki::RawPublicKeyEntity;
use x509_cert::der::asn1::AnyRef;
use x509_cert::der::{Decode, Encode};
use x509_cert::{Certificate, Version};

/// Returns the certificate, if it is one of version 1.
pub(super) fn read(der: &CertificateDer<'_>) -> Option<Certificate> {
    let certificate = Certificate::from_der(der).ok()?;
    let tbs = &certificate.tbs_certificate;
    let is_first = tbs.version == Version::V1 && tbs.extensions.is_none();
    is_first.then_some(certificate)
}

/// Verifies that one of these authorities signed the certificate, and that it is valid now.
///
/// # Errors
/// When no authority signed it, or it is not valid now.
pub(super) fn verify_issued(
    certificate: &Certificate,
    authorities: &[Certificate],
    now: UnixTime,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
) -> Result<(), Error> {
    let tbs = &certificate.tbs_certificate;
    let (begin, end) = (tbs.validity.not_before.to_unix_duration(), tbs.validity.not_after.to_unix_duration());
    if now.as_secs() < begin.as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now.as_secs() > end.as_secs() {
        return Err(CertificateError::Expired.into());
    }
    let encoding = |_| Error::from(CertificateError::BadEncoding);
    let signed = tbs.to_der().map_err(encoding)?;
    let algorithm = certificate.signature_algorithm.to_der().map_err(encoding)?;
    let algorithm = AnyRef::from_der(&algorithm).map_err(encoding)?;
    let signature = certificate.signature.as_bytes().unwrap_or_default();
    if certificate.signature_algorithm != tbs.signature {
        return Err(CertificateError::BadSignature.into());
    }
    for authority in authorities.iter().filter(|authority| authority.tbs_certificate.subject == tbs.issuer) {
        let key = key_of(authority)?;
        let key = RawPublicKeyEntity::try_from(&key).map_err(|_| CertificateError::BadEncoding)?;
        let fitting = algorithms.iter().filter(|known| known.signature_alg_id().as_ref() == algorithm.value());
        if fitting.into_iter().any(|known| key.verify_signature(*known, &signed, signature).is_ok()) {
            return Ok(());
        }
    }
    Err(CertificateError::UnknownIssuer.into())
}

/// Verifies as [`rustls::crypto::verify_tls12_signature`] does.
pub(super) fn verify_tls12_signature(
    message: &[u8],
    certificate: &Certificate,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let key = key_of(certificate)?;
    let key = RawPublicKeyEntity::try_from(&key).map_err(|_| CertificateError::BadEncoding)?;
    let mut fitting =
        algorithms.mapping.iter().filter(|(scheme, _)| *scheme == signed.scheme).flat_map(|(_, all)| *all);
    if fitting.any(|known| key.verify_signature(*known, message, signed.signature()).is_ok()) {
        Ok(HandshakeSignatureValid::assertion())
    } else {
        Err(CertificateError::BadSignature.into())
    }
}

/// Verifies as [`rustls::crypto::verify_tls13_signature`] does.
pub(super) fn verify_tls13_signature(
    message: &[u8],
    certificate: &Certificate,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    verify_tls13_signature_with_raw_key(message, &key_of(certificate)?, signed, algorithms)
}

fn key_of(certificate: &Certificate) -> Result<SubjectPublicKeyInfoDer<'static>, Error> {
    let key = certificate.tbs_certificate.subject_public_key_info.to_der();
    Ok(key.map_err(|_| Error::from(CertificateError::BadEncoding))?.into())
}
