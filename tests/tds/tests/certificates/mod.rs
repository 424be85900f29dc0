//! Certificates of a double.

use std::path::{Path, PathBuf};

use anyhow::Result;
use jit_tds::Tls;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// Paths of the certificate files.
#[derive(Debug)]
pub struct Certificates {
    /// Authority that signed the double's certificate.
    pub ca: PathBuf,
    /// Authority that did not sign it.
    pub other_ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl Certificates {
    /// Makes the files in this folder.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn make(folder: &Path) -> Result<Self> {
        let at = |name: &str| folder.join(name);
        let files = Self {
            ca: at("ca.pem"),
            other_ca: at("other-ca.pem"),
            certificate: at("server.pem"),
            key: at("server.key"),
        };
        let issuer = authority(&files.ca)?;
        authority(&files.other_ca)?;
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        std::fs::write(&files.certificate, params.signed_by(&key, &issuer)?.pem())?;
        std::fs::write(&files.key, key.serialize_pem())?;
        Ok(files)
    }

    /// Returns encryption for every client that can.
    pub fn offered(&self) -> Tls {
        Tls::Offered { certificate: self.certificate.clone(), key: self.key.clone() }
    }

    /// Returns encryption for every client.
    #[allow(dead_code, reason = "one of the two test programs forces nobody")]
    pub fn forced(&self) -> Tls {
        Tls::Forced { certificate: self.certificate.clone(), key: self.key.clone() }
    }
}

/// Makes an authority. It has a name of its own: OpenSSL takes a certificate whose issuer has the
/// same name for one that signed itself.
fn authority(file: &Path) -> Result<Issuer<'static, KeyPair>> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "authority of a test");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    std::fs::write(file, params.self_signed(&key)?.pem())?;
    Ok(Issuer::new(params, key))
}
