//! An identity provider for tests, as its own process. It publishes keys and signs whatever it is
//! given.
//!
//! `oidc-provider` prints its issuer as the first line. It ends when its input does.
//!
//! | request | effect or answer |
//! | --- | --- |
//! | `GET /.well-known/openid-configuration`, `GET /keys` | as every provider has them |
//! | `GET /rsa.pem` | its public RSA key |
//! | `POST /sign?ES256` | a token that says what the body says |
//! | `POST /rotate` | replaces the keys by others, under other names |
//! | `POST /behave` | the manner: `well`, `slow`, `failing`, `huge`, `endless`, `html`, `moved` |
//! | `GET /asked` | the number of requests for its keys |

mod keys;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use keys::Keys;

/// Longest body that is read, in bytes.
const LONGEST_BODY: usize = 64 * 1024;

struct Provider {
    issuer: String,
    state: Mutex<State>,
}

struct State {
    keys: Keys,
    behaves: String,
    asked: u64,
}

/// Answer to a request: status, type and body.
type Answer = (&'static str, &'static str, Vec<u8>);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let issuer = format!("http://{}", listener.local_addr()?);
    println!("{issuer}");
    let state = State { keys: Keys::generate(1)?, behaves: "well".to_owned(), asked: 0 };
    let provider = Arc::new(Provider { issuer, state: Mutex::new(state) });
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    loop {
        let (stream, _) = listener.accept().await?;
        let provider = Arc::clone(&provider);
        tokio::spawn(async move {
            // clients hang up on a provider that was told to answer badly
            if let Err(error) = provider.serve(stream).await {
                eprintln!("oidc-provider: {error:#}");
            }
        });
    }
}

impl Provider {
    /// Serves the one request of a connection, then closes it.
    async fn serve(&self, stream: TcpStream) -> Result<()> {
        let mut stream = BufReader::new(stream);
        let Some((method, path, body)) = request(&mut stream).await? else { return Ok(()) };
        let (status, kind, body) = match (method.as_str(), path.as_str()) {
            ("GET", "/.well-known/openid-configuration" | "/keys") => {
                return self.published(&path, stream.get_mut()).await;
            }
            _ => self
                .told(&method, &path, &body)
                .unwrap_or_else(|error| ("400 Bad Request", "text/plain", format!("{error:#}").into_bytes())),
        };
        write(stream.get_mut(), status, kind, "", &body).await
    }

    /// Returns a published document, in the way that the test has told.
    async fn published(&self, path: &str, stream: &mut TcpStream) -> Result<()> {
        let (behaves, keys) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.asked = state.asked.saturating_add(u64::from(path == "/keys"));
            (state.behaves.clone(), state.keys.public())
        };
        let good = match path {
            "/keys" => json!({ "keys": keys }),
            _ => json!({ "issuer": self.issuer, "jwks_uri": format!("{}/keys", self.issuer) }),
        };
        let (json, good) = ("application/json", good.to_string().into_bytes());
        match behaves.as_str() {
            "slow" => tokio::time::sleep(Duration::from_secs(20)).await,
            "failing" => return write(stream, "500 Internal Server Error", json, "", &good).await,
            "html" => return write(stream, "200 OK", "text/html", "", b"<html>under maintenance</html>").await,
            "huge" => {
                let huge = [good, vec![b' '; 64 * 1024 * 1024]].concat();
                return write(stream, "200 OK", json, "", &huge).await;
            }
            "endless" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await?;
                loop {
                    stream.write_all(&[b' '; 64 * 1024]).await?;
                }
            }
            "moved" => {
                let elsewhere = format!("location: {}/rsa.pem\r\n", self.issuer);
                return write(stream, "302 Found", json, &elsewhere, &good).await;
            }
            _ => {}
        }
        write(stream, "200 OK", json, "", &good).await
    }

    /// Answers the requests that only a test sends.
    fn told(&self, method: &str, path: &str, body: &[u8]) -> Result<Answer> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let text = |text: String| Ok(("200 OK", "text/plain", text.into_bytes()));
        match (method, path.split_once('?').unwrap_or((path, ""))) {
            ("POST", ("/sign", algorithm)) => text(state.keys.token(algorithm, body)?),
            ("GET", ("/rsa.pem", _)) => text(state.keys.rsa_pem()?),
            ("GET", ("/asked", _)) => text(state.asked.to_string()),
            ("POST", ("/behave", _)) => {
                state.behaves = String::from_utf8(body.to_vec())?;
                text(String::new())
            }
            ("POST", ("/rotate", _)) => {
                let next = state.keys.generation().saturating_add(1);
                state.keys = Keys::generate(next)?;
                text(String::new())
            }
            _ => bail!("nothing is at {method} {path}"),
        }
    }
}

async fn request(stream: &mut BufReader<TcpStream>) -> Result<Option<(String, String, Vec<u8>)>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut first = lines.first().context("no request line")?.split(' ');
    let (method, path) = (first.next().context("no method")?.to_owned(), first.next().context("no path")?.to_owned());
    let headers = lines.iter().filter_map(|line| line.split_once(':'));
    let mut length =
        headers.filter(|(name, _)| name.eq_ignore_ascii_case("content-length")).map(|(_, value)| value.trim());
    let length: usize = length.next_back().map_or(Ok(0), str::parse)?;
    if length > LONGEST_BODY {
        bail!("a body of {length} bytes");
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Some((method, path, body)))
}

async fn write(stream: &mut TcpStream, status: &str, kind: &str, more: &str, body: &[u8]) -> Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n{more}\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    Ok(stream.shutdown().await?)
}
