//! Certificates of one server.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine as _;
use jit_core::database::TlsMode;
use jit_core::testkit::database_laws::{CERTIFICATE_NAME, Certificate, Login};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SigningKey as _, date_time_ymd,
};
use x509_cert::Version;
use x509_cert::der::asn1::BitString;
use x509_cert::der::{Decode, Encode};

/// File name of the server's certificate.
const SERVER: &str = "server.pem";

/// Paths of the certificate files.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// Authority that signed the server's certificate.
    pub ca: PathBuf,
    /// Authority that did not sign it.
    pub other_ca: PathBuf,
    /// Certificate of the server, for 127.0.0.1 and localhost.
    pub certificate: PathBuf,
    /// Key of the server's certificate.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes the files in this folder.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn make(folder: &Path) -> Result<Self> {
        let at = |name: &str| folder.join(name);
        let files =
            Self { ca: at("ca.pem"), other_ca: at("other-ca.pem"), certificate: at(SERVER), key: at("server.key") };
        let issuer = authority("jit tests", &files.ca)?;
        authority("nobody trusts this", &files.other_ca)?;
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        std::fs::write(&files.certificate, params.signed_by(&key, &issuer)?.pem())?;
        let mut expired = params;
        (expired.not_before, expired.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        let mut nameless = CertificateParams::new(Vec::new())?;
        nameless.distinguished_name.push(DnType::CommonName, CERTIFICATE_NAME);
        let mut elsewhere = CertificateParams::new(vec!["elsewhere.example".to_owned()])?;
        elsewhere.distinguished_name.push(DnType::CommonName, CERTIFICATE_NAME);
        for (which, params) in
            [(Certificate::Expired, expired), (Certificate::Nameless, nameless), (Certificate::Elsewhere, elsewhere)]
        {
            let certificate = params.signed_by(&key, &issuer)?;
            std::fs::write(at(&file_of(which)), certificate.pem())?;
            if which == Certificate::Nameless {
                let first = first_version(certificate.der(), issuer.key())?;
                std::fs::write(at(&file_of(Certificate::NamelessFirstVersion)), first)?;
            }
        }
        std::fs::write(&files.key, key.serialize_pem())?;
        Ok(files)
    }
}

/// Replaces the server's certificate with another one of the same authority, which has `ca` as its
/// file. The server has to read it again.
///
/// # Errors
/// When it cannot be written.
pub fn show(ca: &Path, certificate: Certificate) -> Result<()> {
    let folder = ca.parent().context("the certificates are in no folder")?;
    std::fs::copy(folder.join(file_of(certificate)), folder.join(SERVER))?;
    Ok(())
}

/// Returns the way in which a login verifies the server.
#[must_use]
pub fn mode(login: Login, ca: Option<PathBuf>, other_ca: &Path) -> TlsMode {
    let other = other_ca.to_owned();
    let named = |ca, name: &str| TlsMode::VerifyFull { ca, server_name: Some(name.to_owned()) };
    match login {
        Login::UnknownCa => TlsMode::verify_full(Some(other)),
        Login::NameInCertificate => named(ca, CERTIFICATE_NAME),
        Login::AnotherName => named(ca, "project:another"),
        Login::NameByUnknownCa => named(Some(other), CERTIFICATE_NAME),
        Login::ChainAlone => TlsMode::VerifyCa { ca: ca.unwrap_or_default() },
        Login::ChainByUnknownCa => TlsMode::VerifyCa { ca: other },
        Login::Plaintext => TlsMode::DangerPlaintext,
        _ => TlsMode::verify_full(ca),
    }
}

fn file_of(certificate: Certificate) -> String {
    format!("{certificate:?}.pem")
}

/// Returns the same certificate in version 1, which has no extensions, as PEM.
fn first_version(certificate: &[u8], issuer: &KeyPair) -> Result<String> {
    let mut certificate = x509_cert::Certificate::from_der(certificate)?;
    certificate.tbs_certificate.version = Version::V1;
    certificate.tbs_certificate.extensions = None;
    certificate.signature = BitString::from_bytes(&issuer.sign(&certificate.tbs_certificate.to_der()?)?)?;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate.to_der()?);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(std::str::from_utf8).collect::<Result<_, _>>()?;
    Ok(format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n")))
}

fn authority(name: &str, file: &Path) -> Result<Issuer<'static, KeyPair>> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate()?;
    std::fs::write(file, params.self_signed(&key)?.pem())?;
    Ok(Issuer::new(params, key))
}
