//! Certificates for one server.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// Where the files are.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The authority that signed the server's certificate.
    pub ca: PathBuf,
    /// One that did not.
    pub other_ca: PathBuf,
    /// The server's, for 127.0.0.1 and localhost.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes them, in this folder.
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
        let issuer = authority("jit tests", &files.ca)?;
        authority("nobody trusts this", &files.other_ca)?;
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        std::fs::write(&files.certificate, params.signed_by(&key, &issuer)?.pem())?;
        std::fs::write(&files.key, key.serialize_pem())?;
        Ok(files)
    }
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
