//! Notices by mail, through an SMTP server.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use lettre::message::{Mailbox, header::ContentType};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use secrecy::{ExposeSecret, SecretString};

use super::notice::Notice;
use super::notifier::{Notifier, NotifyError};
use super::words::line;
use crate::text::{cut, escaped};

/// Longest time that a mail server may take for one answer.
const LIMIT: Duration = Duration::from_secs(20);
/// Answers of a mail server that wants another login (RFC 4954, section 6).
const LOGIN_REFUSED: [u16; 4] = [530, 534, 535, 538];
/// Largest number of characters of a subject: mail programs cut longer ones anyway.
const SUBJECT: usize = 200;

/// Protection of the connection to a mail server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MailTls {
    /// TLS begins within the conversation, or nothing is sent (STARTTLS, usually port 587).
    #[default]
    StartTls,
    /// TLS from the first byte (usually port 465).
    Implicit,
    /// No protection: whoever listens on the way reads the mail and the password, and can forge
    /// both.
    DangerousPlaintext,
}

/// Configuration of mail: its recipients and the server to use.
///
/// ```
/// use jit_core::Jit;
/// use jit_core::notify::{Email, EmailConfig};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), jit_core::notify::EmailError> {
/// let config = EmailConfig::new("smtp.example.com", "jit <jit@example.com>")
///     .login("jit", "hunter2")
///     .to("dba@example.com");
/// let builder = Jit::builder().notifier("mail:dba", Email::new(config)?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EmailConfig {
    /// Host name of the mail server.
    pub host: String,
    /// Port of the mail server.
    pub port: u16,
    /// Protection of the connection to the mail server.
    pub tls: MailTls,
    /// File with certificates (PEM) that are trusted besides those of the system.
    pub ca: Option<std::path::PathBuf>,
    /// User name and password, if the server wants them.
    pub login: Option<(String, SecretString)>,
    /// Address of the sender.
    pub from: String,
    /// Addresses of the recipients.
    pub to: Vec<String>,
}

impl EmailConfig {
    /// Creates the configuration of this mail server and sender. It uses STARTTLS on port 587, logs
    /// in nowhere and names no recipient.
    pub fn new(host: impl Into<String>, from: impl Into<String>) -> Self {
        let (tls, ca, login, to) = (MailTls::StartTls, None, None, Vec::new());
        Self { host: host.into(), port: 587, tls, ca, login, from: from.into(), to }
    }

    /// Adds a recipient.
    #[must_use]
    pub fn to(mut self, address: impl Into<String>) -> Self {
        self.to.push(address.into());
        self
    }

    /// Sets the port of the mail server.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// Sets the protection of the connection.
    #[must_use]
    pub fn tls(self, tls: MailTls) -> Self {
        Self { tls, ..self }
    }

    /// Trusts the certificates of this file (PEM) too.
    #[must_use]
    pub fn ca(self, path: impl Into<std::path::PathBuf>) -> Self {
        Self { ca: Some(path.into()), ..self }
    }

    /// Sets the user name and the password.
    #[must_use]
    pub fn login(self, name: impl Into<String>, password: impl Into<SecretString>) -> Self {
        Self { login: Some((name.into(), password.into())), ..self }
    }
}

/// Sends notices as plain text mail.
#[derive(Debug)]
pub struct Email {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

/// Mistake in the configuration of mail.
#[derive(Debug, thiserror::Error)]
#[error("mail: {why}")]
pub struct EmailError {
    /// Description of the mistake, and what would work.
    why: String,
}

impl Email {
    /// Makes a notifier for these recipients. The mail server may be down at that time.
    ///
    /// # Errors
    /// [`EmailError`], if an address is not valid, nobody is named, or the certificates cannot be
    /// used.
    pub fn new(config: EmailConfig) -> Result<Self, EmailError> {
        let mailbox = |text: &str| {
            let wrong = |_| EmailError { why: format!("`{text}` is not an address like `jit@example.com`") };
            text.parse::<Mailbox>().map_err(wrong)
        };
        let to: Vec<Mailbox> = config.to.iter().map(|text| mailbox(text)).collect::<Result<_, _>>()?;
        if to.is_empty() {
            return Err(EmailError { why: "no recipient is named".to_owned() });
        }
        if config.tls == MailTls::DangerousPlaintext && config.login.is_some() {
            return Err(EmailError { why: "a password is not sent without TLS: remove one of the two".to_owned() });
        }
        let tls = match config.tls {
            MailTls::StartTls => Tls::Required(parameters(&config.host, config.ca.as_deref())?),
            MailTls::Implicit => Tls::Wrapper(parameters(&config.host, config.ca.as_deref())?),
            MailTls::DangerousPlaintext => Tls::None,
        };
        let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&config.host);
        let mut builder = builder.port(config.port).tls(tls).timeout(Some(LIMIT));
        if let Some((name, password)) = &config.login {
            builder = builder.credentials(Credentials::new(name.clone(), password.expose_secret().to_owned()));
        }
        Ok(Self { transport: builder.build(), from: mailbox(&config.from)?, to })
    }

    fn message(&self, notice: &Notice) -> Result<Message, NotifyError> {
        let mut builder = Message::builder()
            .from(self.from.clone())
            // the id is the same for every delivery, so mail programs drop the second copy
            .message_id(Some(format!("<{}@jit.invalid>", notice.id)))
            .subject(cut(&format!("[jit] {}", line(notice)), SUBJECT).into_owned())
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        let unwritable = |error: lettre::error::Error| NotifyError::Permanent {
            why: "it cannot be written as a mail".to_owned(),
            source: Some(Box::new(error)),
        };
        builder.body(text(notice)).map_err(unwritable)
    }
}

fn parameters(host: &str, ca: Option<&Path>) -> Result<TlsParameters, EmailError> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(path) = ca {
        let wrong =
            |why: String| EmailError { why: format!("the certificates `{}` cannot be used: {why}", path.display()) };
        let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let certificate = Certificate::from_pem(&pem).map_err(|_| wrong("they are not in PEM form".to_owned()))?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build_rustls().map_err(|error| EmailError { why: format!("TLS cannot be set up: {error}") })
}

/// Writes the text of the mail: the line, and every field that people read.
fn text(notice: &Notice) -> String {
    let mut text = format!("{}\n\n", line(notice));
    let shown = [
        ("principal", "Who"),
        ("role", "Role"),
        ("target", "Target"),
        ("account", "Account"),
        ("reason", "Reason"),
        ("ticket", "Ticket"),
        ("duration", "For"),
        ("expires_at", "Until"),
        ("awaits", "Pending on"),
        ("by", "By"),
        ("note", "Note"),
        ("why", "Why"),
        ("rule", "Rule"),
        ("state", "State"),
        ("link", "Link"),
        ("approve", "Approve with"),
    ];
    for (name, title) in shown {
        if let Some(field) = notice.fields.get(name).filter(|field| !field.is_empty()) {
            // text that people wrote stays on its line, so it cannot look like another field
            text.push_str(&format!("{title}: {}\n", escaped(field)));
        }
    }
    if let Some(access) = notice.access {
        text.push_str(&format!("Access: {access}\n"));
    }
    text.push_str(&format!("Time: {}\n", notice.at.to_rfc3339()));
    text
}

#[async_trait]
impl Notifier for Email {
    async fn notify(&self, notice: &Notice) -> Result<(), NotifyError> {
        let message = self.message(notice)?;
        let sent = tokio::time::timeout(LIMIT, self.transport.send(message)).await;
        let error = match sent {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => {
                let why = format!("the mail server took longer than {} s", LIMIT.as_secs());
                return Err(NotifyError::Temporary { why, retry_after: None, source: None });
            }
        };
        let why = match error.status() {
            // a wrong password does not lose the mail: somebody will fix it
            Some(status) if LOGIN_REFUSED.contains(&u16::from(status)) => {
                format!("the mail server does not take the login ({status})")
            }
            Some(status) if error.is_permanent() => {
                let why = format!("the mail server refuses it ({status})");
                return Err(NotifyError::Permanent { why, source: Some(Box::new(error)) });
            }
            Some(status) => format!("the mail server did not take it ({status})"),
            // the server cannot be reached, is not trusted, or offers no STARTTLS: lettre says
            // which, without the text that was sent
            None => format!("the mail server cannot be used: {error}"),
        };
        Err(NotifyError::Temporary { why, retry_after: None, source: Some(Box::new(error)) })
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::audit_event::EventKind;
    use crate::clock::{SystemEntropy, Time};
    use crate::id::TenantId;

    fn config() -> EmailConfig {
        EmailConfig {
            host: "127.0.0.1".to_owned(),
            port: 1,
            tls: MailTls::DangerousPlaintext,
            ca: None,
            login: None,
            from: "jit <jit@example.com>".to_owned(),
            to: vec!["dba@example.com".to_owned()],
        }
    }

    #[tokio::test]
    async fn a_mail_has_its_subject_on_one_line_and_one_id() {
        let email = Email::new(config()).unwrap();
        let fields = [
            ("principal", "alice"),
            ("role", "x\r\nBcc: eve@example.com"),
            ("target", "t"),
            ("reason", "a\nLink: evil"),
        ];
        let notice = Notice::new(TenantId::default(), EventKind::Requested, Time::UNIX_EPOCH, &SystemEntropy);
        let notice = fields.iter().fold(notice, |notice, (name, text)| notice.field(*name, *text));
        let mail = String::from_utf8(email.message(&notice).unwrap().formatted()).unwrap();
        assert_eq!(mail, String::from_utf8(email.message(&notice).unwrap().formatted()).unwrap().as_str());
        assert!(mail.contains(&format!("Message-ID: <{}@jit.invalid>", notice.id)), "{mail}");
        assert!(!mail.lines().any(|line| line.starts_with("Bcc:") || line.starts_with("Link:")), "{mail}");
        let error = email.notify(&notice).await.unwrap_err();
        assert!(matches!(error, NotifyError::Temporary { .. }), "{error}");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (config, says) in [
            (EmailConfig { to: Vec::new(), ..config() }, "no recipient is named"),
            (EmailConfig { from: "jit".to_owned(), ..config() }, "`jit` is not an address"),
            (EmailConfig { login: Some(("a".to_owned(), "b".into())), ..config() }, "not sent without TLS"),
            (EmailConfig { tls: MailTls::StartTls, ca: Some("/nowhere".into()), ..config() }, "cannot be used"),
        ] {
            let error = Email::new(config).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
