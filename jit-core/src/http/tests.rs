use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Serves one answer, and returns the request that it was sent.
async fn answering(answer: &'static [u8]) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut heard = vec![0; 65_536];
        let length = socket.read(&mut heard).await.unwrap();
        if answer.is_empty() {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        let _ = socket.write_all(answer).await;
        let _ = socket.shutdown().await;
        String::from_utf8_lossy(&heard[..length]).into_owned()
    });
    (url, task)
}

fn plaintext() -> HttpConfig {
    HttpConfig { plaintext: Plaintext::DangerousAllowed, limit: Duration::from_millis(500), ..HttpConfig::default() }
}

fn client(config: HttpConfig) -> HttpClient {
    HttpClient::new(config).unwrap()
}

#[tokio::test]
async fn what_is_sent_arrives_and_what_comes_back_is_read() {
    let (url, heard) = answering(b"HTTP/1.1 429 Slow\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\nno").await;
    let request = HttpRequest::post_json(format!("{url}/x"), b"{}".to_vec()).header("webhook-id", "msg_1");
    let answer = client(plaintext()).send(&request).await.unwrap();
    assert_eq!(
        (answer.status, answer.body.as_slice(), answer.retry_after),
        (429, b"no".as_slice(), Some(TimeDelta::seconds(7)))
    );
    let heard = heard.await.unwrap();
    assert!(
        heard.starts_with("POST /x HTTP/1.1\r\n") && heard.contains("webhook-id: msg_1") && heard.ends_with("{}"),
        "{heard}"
    );
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let (url, _) = answering(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(client(plaintext()).send(&HttpRequest::get(url)).await.unwrap().status, 302);
}

/// Law 12: errors show no header and no part of an address but its host.
#[tokio::test]
async fn law_12_errors_say_what_is_wrong_and_no_secret() {
    let (slow, _) = answering(b"").await;
    let (huge, _) =
        answering(b"HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\n0123456789012345678901234567890123456789").await;
    let (torn, _) = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\n0123").await;
    let (nonsense, _) = answering(b"MARKER-ANSWER what\r\n\r\n").await;
    let small = HttpConfig { most_bytes: 16, ..plaintext() };
    let cases = [
        (plaintext(), "http://127.0.0.1:1".to_owned(), "cannot be reached"),
        (plaintext(), slow, "gave no complete answer within 0.5 s"),
        (small, huge, "more than 16 bytes"),
        (plaintext(), torn, "cannot be reached"),
        (plaintext(), nonsense, "cannot be reached"),
        (HttpConfig::default(), "http://127.0.0.1:1".to_owned(), "is without TLS"),
        (plaintext(), "https://127.0.0.1:1".to_owned(), "cannot be reached"),
        (plaintext(), "ftp://127.0.0.1".to_owned(), "not an http or https URL"),
        (plaintext(), "MARKER-URL".to_owned(), "not an http or https URL"),
    ];
    for (config, base, says) in cases {
        let url = base.replace("://", "://user:MARKER-LOGIN@") + "/MARKER-PATH?key=MARKER-QUERY";
        let request = HttpRequest::get(url).header("authorization", "Bearer MARKER-HEADER");
        let error = client(config).send(&request).await.unwrap_err();
        let shown =
            format!("{error} {error:?} {request:?} {:?}", std::error::Error::source(&error).map(ToString::to_string));
        assert!(error.to_string().contains(says), "{base}: {error}");
        assert!(!shown.contains("MARKER"), "{shown}");
    }
    let broken = HttpRequest::get("http://127.0.0.1:1").header("x", "MARKER\n");
    assert_eq!(client(plaintext()).send(&broken).await, Err(HttpError::InvalidHeader));
}

#[test]
fn certificates_that_are_none_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    for text in [None, Some("nonsense")] {
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        let refused = HttpClient::new(HttpConfig { ca: Some(path.clone()), ..HttpConfig::default() }).unwrap_err();
        assert!(matches!(refused, HttpError::Ca { .. }), "{refused}");
    }
}
