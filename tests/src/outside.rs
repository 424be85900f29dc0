//! Programs outside of jit, each in its own process: one that speaks HTTP, and a mail server.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::tls::Certificates;

/// Longest wait for something that has to arrive. A delivery that a killed process had claimed is
/// free again after 120 s, and a delivery that failed for a while is retried after as long.
const PATIENCE: Duration = Duration::from_secs(300);

/// Running `outside` process; it ends with this value.
#[derive(Debug)]
pub struct Outside {
    process: Child,
    address: String,
}

impl Outside {
    /// Starts the process. Its binary lies beside the test's own.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start() -> Result<Self> {
        let here = std::env::current_exe()?;
        let binary = here.parent().and_then(Path::parent).context("no target folder")?.join("outside");
        let mut process = Command::new(&binary)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} does not start", binary.display()))?;
        let mut address = String::new();
        BufReader::new(process.stdout.take().context("no output")?).read_line(&mut address)?;
        Ok(Self { process, address: address.trim().to_owned() })
    }

    /// Returns the URL of this name.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        format!("{}/at/{name}", self.address)
    }

    /// Sets the answers under this name.
    ///
    /// # Errors
    /// When the process refuses that.
    pub fn behaves(&self, name: &str, behaviour: &Value) -> Result<()> {
        let (status, _) = post(&format!("{}/behave/{name}", self.address), &[], &behaviour.to_string())?;
        ensure!(status == 200, "it does not take how to behave");
        Ok(())
    }

    /// Returns the requests that it received under this name.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn heard(&self, name: &str) -> Result<Vec<Value>> {
        let (_, body) = http("GET", &format!("{}/heard/{name}", self.address), &[], "")?;
        Ok(serde_json::from_str(&body)?)
    }

    /// Waits until it has received a request for which `is` returns true.
    ///
    /// # Errors
    /// When no such request arrives in time.
    pub fn hears(&self, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
        arrives(|| self.heard(name), is).with_context(|| format!("`{name}` never hears {what}"))
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Running mail server; it ends with this value.
#[derive(Debug)]
pub struct MailServer {
    process: Child,
    /// Port on 127.0.0.1.
    pub port: u16,
    mails: Arc<Mutex<Vec<Value>>>,
}

impl MailServer {
    /// Starts the server. It demands STARTTLS and this login (name and password), or offers
    /// neither.
    ///
    /// # Errors
    /// When it does not start: Debian's `python3-aiosmtpd` is needed.
    pub fn start(protected: Option<(&Certificates, [&str; 2])>) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/smtpd.py");
        let mut command = Command::new("/usr/bin/python3");
        command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some((certificates, login)) = protected {
            command.args([&certificates.certificate, &certificates.key]).args(login);
        }
        let mut process = command.spawn().context("the mail server does not start: is python3-aiosmtpd there?")?;
        let mut lines = BufReader::new(process.stdout.take().context("no output")?).lines();
        let port = lines.next().context("the mail server ended at once: is python3-aiosmtpd there?")??.parse()?;
        let mails: Arc<Mutex<Vec<Value>>> = Arc::default();
        let kept = Arc::clone(&mails);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mail = serde_json::from_str(&line).unwrap_or(Value::Null);
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(mail);
            }
        });
        Ok(Self { process, port, mails })
    }

    /// Returns the mails that have arrived.
    #[must_use]
    pub fn mails(&self) -> Vec<Value> {
        self.mails.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until a mail with this text has arrived.
    ///
    /// # Errors
    /// When none arrives in time.
    pub fn receives(&self, text: &str) -> Result<Value> {
        let has = |mail: &Value| mail["text"].as_str().is_some_and(|whole| whole.contains(text));
        arrives(|| Ok(self.mails()), has).with_context(|| format!("no mail with `{text}`"))
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits until one of all items matches.
fn arrives(all: impl Fn() -> Result<Vec<Value>>, is: impl Fn(&Value) -> bool) -> Result<Value> {
    let begun = Instant::now();
    loop {
        let there = all()?;
        if let Some(found) = there.iter().find(|one| is(one)) {
            return Ok(found.clone());
        }
        ensure!(begun.elapsed() < PATIENCE, "there are only {there:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Sends a POST request, without an HTTP library. Returns status and body of the answer.
///
/// # Errors
/// When there is no answer.
pub fn post(url: &str, headers: &[(&str, &str)], body: &str) -> Result<(u16, String)> {
    http("POST", url, headers, body)
}

fn http(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Result<(u16, String)> {
    let rest = url.strip_prefix("http://").context("not http")?;
    let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    let mut head =
        format!("{method} /{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok((status, body.to_owned()))
}

/// Computes the header `webhook-signature` without jit's own code: HMAC-SHA-256 over
/// `id.timestamp.body` (Standard Webhooks).
#[must_use]
pub fn signature(secret: &[u8], id: &str, timestamp: i64, body: &str) -> String {
    use base64::Engine as _;
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    let tag = aws_lc_rs::hmac::sign(&key, format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", base64::engine::general_purpose::STANDARD.encode(tag.as_ref()))
}
