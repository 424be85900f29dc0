//! Certificates for one server.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd};

/// The server's certificate.
const SERVER: &str = "server.pem";
/// The one that has expired.
const EXPIRED: &str = "expired.pem";

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
        let files =
            Self { ca: at("ca.pem"), other_ca: at("other-ca.pem"), certificate: at(SERVER), key: at("server.key") };
        let issuer = authority("jit tests", &files.ca)?;
        authority("nobody trusts this", &files.other_ca)?;
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        std::fs::write(&files.certificate, params.signed_by(&key, &issuer)?.pem())?;
        let mut expired = params;
        (expired.not_before, expired.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        std::fs::write(at(EXPIRED), expired.signed_by(&key, &issuer)?.pem())?;
        std::fs::write(&files.key, key.serialize_pem())?;
        Ok(files)
    }
}

/// Puts the certificate that has expired in the place of the server's: signed by the same authority, for the same names. The server has to read
/// it again.
///
/// # Errors
/// When it cannot be written.
pub fn expire(ca: &Path) -> Result<()> {
    let folder = ca.parent().context("the certificates are in no folder")?;
    std::fs::copy(folder.join(EXPIRED), folder.join(SERVER))?;
    Ok(())
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
