//! The provider's process, for use in a test.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

/// Running provider; it ends with this value.
pub(crate) struct Provider {
    process: Child,
    pub(crate) issuer: String,
}

impl Provider {
    pub(crate) fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_oidc-provider"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the provider starts");
        let mut issuer = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut issuer).unwrap();
        Self { process, issuer: issuer.trim().to_owned() }
    }

    /// Ends the process, so that nothing listens any more.
    pub(crate) fn stop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Returns a signed token with these claims.
    pub(crate) fn token(&self, algorithm: &str, claims: &serde_json::Value) -> String {
        self.ask("POST", &format!("/sign?{algorithm}"), &claims.to_string())
    }

    pub(crate) fn rotate(&self) {
        self.ask("POST", "/rotate", "");
    }

    pub(crate) fn behave(&self, how: &str) {
        self.ask("POST", "/behave", how);
    }

    /// Returns the number of requests for its keys.
    pub(crate) fn asked(&self) -> u64 {
        self.ask("GET", "/asked", "").parse().unwrap()
    }

    pub(crate) fn rsa_pem(&self) -> String {
        self.ask("GET", "/rsa.pem", "")
    }

    /// Fetches its keys, which counts as a request.
    pub(crate) fn keys(&self) -> serde_json::Value {
        serde_json::from_str(&self.ask("GET", "/keys", "")).unwrap()
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let address = self.issuer.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        let length = body.len();
        write!(stream, "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {length}\r\n\r\n{body}")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        body.to_owned()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
