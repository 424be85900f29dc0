//! Tests of a server that asks for the password in the clear, as servers do that check it elsewhere
//! (a cloud's tokens, PAM, LDAP).

use std::sync::Arc;

use jit_core::database::{Database as _, FixedCredentials};
use jit_core::store::BoxError;
use jit_core::testkit::database_laws::Login;
use jit_mysql::{MySqlConfig, MySqlDatabase};
use jit_tests::servers::RunningMySql;
use jit_tests::tls::{Certificates, mode};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::must;

/// Answer of the client: true if it uses TLS, and the password; `None` if the client left.
type Given = (bool, Option<Vec<u8>>);

pub(crate) async fn in_the_clear(running: RunningMySql) -> Result<(), BoxError> {
    let folder = tempfile::tempdir()?;
    let files = Certificates::make(folder.path())?;
    let tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(&files.certificate)?],
            PrivateKeyDer::from_pem_file(&files.key)?,
        )?;
    let tls = TlsAcceptor::from(Arc::new(tls));
    let version = if running.flavour.is_mariadb() { "11.8.1-MariaDB" } else { "8.4.0" };
    let secret = "the broker's own secret";
    for (login, expected) in [
        (Login::Plaintext, Some((false, None))),
        // anybody with a certificate of that authority can pose as the server
        (Login::ChainAlone, Some((true, None))),
        (Login::UnknownCa, None),
        (Login::Broker, Some((true, Some([secret.as_bytes(), b"\0"].concat())))),
    ] {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("mysql://jit_broker@127.0.0.1:{}", listener.local_addr()?.port());
        let config = MySqlConfig::from_url(&url)?.tls(mode(login, Some(files.ca.clone()), &files.other_ca));
        let database = MySqlDatabase::new(config.credentials(Arc::new(FixedCredentials::new(secret.into()))))?;
        let tls = tls.clone();
        let server = async move {
            let (client, _) = listener.accept().await?;
            // one connection is enough
            drop(listener);
            ask(client, &tls, version).await
        };
        let (given, answer) = tokio::join!(server, database.identify());
        must(answer.is_err(), format!("{login:?}: it was let in"))?;
        must(given.as_ref().ok() == expected.as_ref(), format!("{login:?}: it was given {given:?}"))?;
    }
    Ok(())
}

/// Greets the client, asks for the password in the clear, and refuses it.
async fn ask(mut client: TcpStream, tls: &TlsAcceptor, version: &str) -> Result<Given, BoxError> {
    // all capabilities except compression
    let able = (!0x20_u32).to_le_bytes();
    let greeting = [
        &[10],
        version.as_bytes(),
        b"\0\x07\0\0\0abcdefgh\0",
        &able[..2],
        &[45, 2, 0],
        &able[2..],
        &[21, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        b"abcdefghijkl\0mysql_native_password\0",
    ];
    send(&mut client, 0, &greeting.concat()).await?;
    let (number, answer) = receive(&mut client).await?;
    // a short answer without a name asks for TLS
    if answer.len() > 32 {
        return Ok((false, switch(client, number).await?));
    }
    let mut client = tls.accept(client).await?;
    let (number, _) = receive(&mut client).await?;
    Ok((true, switch(client, number).await?))
}

async fn switch(mut client: impl AsyncRead + AsyncWrite + Unpin, number: u8) -> Result<Option<Vec<u8>>, BoxError> {
    send(&mut client, number + 1, b"\xfemysql_clear_password\0").await?;
    let Ok((number, password)) = receive(&mut client).await else { return Ok(None) };
    send(&mut client, number + 1, b"\xff\x15\x04#28000Access denied").await?;
    Ok(Some(password).filter(|password| !password.is_empty()))
}

async fn send(client: &mut (impl AsyncWrite + Unpin), number: u8, body: &[u8]) -> Result<(), BoxError> {
    let length = u32::try_from(body.len())?.to_le_bytes();
    Ok(client.write_all(&[&length[..3], &[number], body].concat()).await?)
}

async fn receive(client: &mut (impl AsyncRead + Unpin)) -> Result<(u8, Vec<u8>), BoxError> {
    let mut head = [0; 4];
    client.read_exact(&mut head).await?;
    let [one, two, three, number] = head;
    let mut body = vec![0; usize::try_from(u32::from_le_bytes([one, two, three, 0]))?];
    client.read_exact(&mut body).await?;
    Ok((number, body))
}
