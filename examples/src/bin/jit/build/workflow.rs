//! Building second factors, outside systems, notifiers and the directory from the configuration.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jit_core::approver::{self, ApproverError, Opa, Test, TicketCheck, Tracker, WebhookApprover};
use jit_core::clock::SystemEntropy;
use jit_core::directory::HttpDirectory;
use jit_core::engine::TenantBuilder;
use jit_core::http::{HttpClient, HttpConfig, Plaintext, WebhookSecret};
use jit_core::mfa::{OidcConfig, OidcFactor, SealKey, TotpFactor};
use jit_core::notify::{Email, EmailConfig, Slack, TracingNotifier, WebhookNotifier};
use secrecy::{ExposeSecret, SecretString};

use super::credentials;
use crate::config::{Approver, DirectoryAt, Http, Mail, MailTls, NotifierSettings, Oidc, Password, Secret, Workflow};
use crate::error::Failure;

/// Adds what the workflow needs.
pub(super) async fn workflow(mut builder: TenantBuilder, config: &Workflow) -> Result<TenantBuilder, Failure> {
    if let Some(link) = &config.link {
        builder = builder.link(link);
    }
    if let Some(totp) = &config.totp {
        let key = SealKey::load_or_create(&totp.key, &SystemEntropy).map_err(|error| {
            Failure::configuration(error.to_string(), "`[mfa.totp] key` in jit.toml says where it is")
        })?;
        builder = builder.factor("totp", TotpFactor::new(&totp.issuer, key));
    }
    if let Some(oidc) = &config.oidc {
        builder = builder.factor("oidc", step_up(oidc)?);
    }
    for (name, settings) in &config.notify {
        builder = add_notifier(builder, name, settings).await?;
    }
    for (name, approver) in &config.approvers {
        builder = approve(builder, name, approver).await?;
    }
    match &config.directory {
        Some(at) => Ok(builder.directory(directory(at).await?)),
        None => Ok(builder),
    }
}

fn step_up(oidc: &Oidc) -> Result<OidcFactor, Failure> {
    let mut config = OidcConfig::new(&oidc.issuer, &oidc.audience).http(http(&oidc.http));
    if let Some(url) = &oidc.jwks_uri {
        config = config.jwks_uri(url);
    }
    if let Some(claim) = &oidc.claim {
        config = config.principal_claim(claim);
    }
    if let Some(template) = &oidc.template {
        config = config.principal_template(template);
    }
    if let Some(amr) = &oidc.amr {
        config = config.amr(amr);
    }
    if let Some(acr) = &oidc.acr {
        config = config.acr(acr);
    }
    if let Some(max_age) = oidc.max_age {
        config = config.max_age(max_age);
    }
    OidcFactor::new(config)
        .map_err(|error| Failure::configuration(format!("`[mfa.oidc]`: {error}"), "fix it in jit.toml"))
}

async fn add_notifier(
    builder: TenantBuilder,
    name: &str,
    settings: &NotifierSettings,
) -> Result<TenantBuilder, Failure> {
    let what = format!("`[notify.{}]`", name.replacen(':', ".", 1));
    Ok(match settings {
        NotifierSettings::Slack { http, url } => {
            builder.notifier(name, Slack::new(client(&what, http)?, text(&what, url).await?))
        }
        NotifierSettings::Webhook { http, url, secret } => {
            let secrets = vec![webhook_secret(&what, secret).await?];
            builder.notifier(name, WebhookNotifier::new(client(&what, http)?, text(&what, url).await?, secrets))
        }
        NotifierSettings::Email(mail) => builder.notifier(name, email(&what, mail).await?),
        NotifierSettings::Log => builder.notifier(name, TracingNotifier),
    })
}

async fn email(what: &str, mail: &Mail) -> Result<Email, Failure> {
    let password = match &mail.password {
        Some(from) => Some(read(what, from).await?),
        None => None,
    };
    let tls = match mail.tls {
        MailTls::Starttls => jit_core::notify::MailTls::StartTls,
        MailTls::Implicit => jit_core::notify::MailTls::Implicit,
        MailTls::DangerPlaintext => jit_core::notify::MailTls::DangerousPlaintext,
    };
    let mut config = EmailConfig::new(&mail.host, &mail.from).port(mail.port).tls(tls);
    config.ca.clone_from(&mail.ca);
    config.login = mail.user.clone().zip(password);
    config.to.clone_from(&mail.to);
    Email::new(config).map_err(|error| Failure::configuration(format!("{what}: {error}"), "fix it in jit.toml"))
}

async fn approve(builder: TenantBuilder, name: &str, approver: &Approver) -> Result<TenantBuilder, Failure> {
    let what = format!("`[approvers.{name}]`");
    let wrong = |error: ApproverError| Failure::configuration(format!("{what}: {error}"), "fix it in jit.toml");
    Ok(match approver {
        Approver::Jira { http, url, user, token, assignee } => {
            let mut tracker = Tracker::jira(url, assignee.as_deref());
            tracker.headers.extend(authorization(&what, user.as_deref(), token.as_ref()).await?);
            builder.approver(name, TicketCheck::new(client(&what, http)?, tracker).map_err(wrong)?)
        }
        Approver::Github { http, url, repository, token, assignee } => {
            let mut tracker = Tracker::github(url, repository, assignee.as_deref());
            tracker.headers.extend(authorization(&what, None, token.as_ref()).await?);
            builder.approver(name, TicketCheck::new(client(&what, http)?, tracker).map_err(wrong)?)
        }
        Approver::Ticket { http, url, token, conditions } => {
            let headers = authorization(&what, None, token.as_ref()).await?.into_iter().collect();
            let conditions = conditions.iter().map(condition).collect();
            let mut tracker = Tracker::new(url, conditions);
            tracker.headers = headers;
            builder.approver(name, TicketCheck::new(client(&what, http)?, tracker).map_err(wrong)?)
        }
        Approver::Webhook { http, url, secret, callback } => {
            let secrets = vec![webhook_secret(&what, secret).await?];
            let webhook = WebhookApprover::new(client(&what, http)?, text(&what, url).await?, secrets);
            match callback {
                Some(address) => builder.approver(name, webhook.callback(address)),
                None => builder.approver(name, webhook),
            }
        }
        Approver::Opa { http, url, token } => {
            let opa = Opa::new(client(&what, http)?, text(&what, url).await?);
            match token {
                Some(from) => builder.approver(name, opa.token(read(&what, from).await?)),
                None => builder.approver(name, opa),
            }
        }
    })
}

fn condition(given: &crate::config::Condition) -> approver::Condition {
    let test = match (&given.one_of, &given.none_of, &given.requester) {
        (Some(these), _, _) => Test::OneOf(these.clone()),
        (_, Some(these), _) => Test::NoneOf(these.clone()),
        (_, _, who) => Test::Requester(who.clone().unwrap_or_default()),
    };
    approver::Condition::new(&given.name, &given.at, test)
}

async fn directory(at: &DirectoryAt) -> Result<HttpDirectory, Failure> {
    let what = "`[directory]`";
    let mut directory = HttpDirectory::new(client(what, &at.http)?, text(what, &at.url).await?);
    if let Some(from) = &at.token {
        directory = directory.token(read(what, from).await?);
    }
    Ok(match (at.fresh, at.valid) {
        (None, None) => directory,
        (fresh, valid) => {
            let fresh = fresh.unwrap_or(HttpDirectory::FRESH);
            directory.ages(fresh, valid.unwrap_or(HttpDirectory::VALID))
        }
    })
}

fn http(given: &Http) -> HttpConfig {
    let mut config = HttpConfig::default();
    config.ca.clone_from(&given.ca);
    if given.plaintext {
        config = config.plaintext(Plaintext::DangerousAllowed);
    }
    config.limit = given.limit.unwrap_or(config.limit);
    config
}

fn client(what: &str, given: &Http) -> Result<HttpClient, Failure> {
    HttpClient::new(http(given))
        .map_err(|error| Failure::configuration(format!("{what}: {error}"), "fix it in jit.toml"))
}

/// Returns the header with `Bearer` and a token, or with `Basic` if a user goes with it.
async fn authorization(
    what: &str,
    user: Option<&str>,
    token: Option<&Password>,
) -> Result<BTreeMap<String, SecretString>, Failure> {
    let Some(from) = token else { return Ok(BTreeMap::new()) };
    let token = read(what, from).await?;
    let value = match user {
        Some(user) => format!("Basic {}", STANDARD.encode(format!("{user}:{}", token.expose_secret()))),
        None => format!("Bearer {}", token.expose_secret()),
    };
    Ok(BTreeMap::from([("authorization".to_owned(), value.into())]))
}

async fn webhook_secret(what: &str, secret: &Secret) -> Result<WebhookSecret, Failure> {
    let text = text(what, secret).await?;
    let parsed = text.expose_secret().parse();
    parsed.map_err(|error| Failure::configuration(format!("{what}: {error}"), "give both sides the same one"))
}

async fn text(what: &str, secret: &Secret) -> Result<SecretString, Failure> {
    match secret {
        Secret::Here(text) => Ok(text.clone().into()),
        Secret::From(from) => read(what, from).await,
    }
}

async fn read(what: &str, from: &Password) -> Result<SecretString, Failure> {
    let wrong = |error: jit_core::database::CredentialsError| {
        let message = error.to_string().replacen("the password", "the secret", 1);
        Failure::configuration(format!("{what}: {message}"), "fix it in jit.toml, or where it is read from")
    };
    credentials(from).password().await.map_err(wrong)
}
