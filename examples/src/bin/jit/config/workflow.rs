//! Settings of the workflow around approvals: second factors, outside systems, notifiers, a
//! directory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jit_core::clock::to_std;
use serde::Deserialize;
use toml::Spanned;

use super::{CommandLine, Password, Passwords, Reader};
use crate::error::Failure;
use crate::spans::duration;

/// Settings of the workflow for one tenant.
#[derive(Debug, Default)]
pub(crate) struct Workflow {
    /// Address where people decide, for notices; `{id}` stands for the access, `{question}`
    /// for the pending question.
    pub(crate) link: Option<String>,
    /// Codes of RFC 6238.
    pub(crate) totp: Option<Totp>,
    /// Step-up by OpenID Connect.
    pub(crate) oidc: Option<Oidc>,
    /// Notifiers, by the names that the policy has for them (`slack:dba`).
    pub(crate) notify: BTreeMap<String, NotifierSettings>,
    /// Outside systems, by the names that the policy has for them.
    pub(crate) approvers: BTreeMap<String, Approver>,
    /// Directory of people, if they are not in the policy.
    pub(crate) directory: Option<DirectoryAt>,
}

/// Settings for codes of RFC 6238.
#[derive(Debug)]
pub(crate) struct Totp {
    /// Issuer that people see beside the code in their application.
    pub(crate) issuer: String,
    /// Key under which seeds are sealed; created on first use.
    pub(crate) key: PathBuf,
}

/// Settings for step-up by OpenID Connect.
#[derive(Debug)]
pub(crate) struct Oidc {
    pub(crate) http: Http,
    pub(crate) issuer: String,
    pub(crate) audience: String,
    pub(crate) jwks_uri: Option<String>,
    /// Claim that names the principal; `template` says how the principal is made of it.
    pub(crate) claim: Option<String>,
    pub(crate) template: Option<String>,
    pub(crate) amr: Option<Vec<String>>,
    pub(crate) acr: Option<Vec<String>>,
    pub(crate) max_age: Option<Duration>,
}

/// Text that is a secret, or may be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    /// Text in the configuration itself.
    Here(String),
    /// Source from which the text is read.
    From(Password),
}

/// Settings for HTTP calls to an outside system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Http {
    /// Certificates that are trusted beside those of the system.
    pub(crate) ca: Option<PathBuf>,
    /// Addresses without TLS are allowed.
    pub(crate) plaintext: bool,
    /// Time limit for one call.
    pub(crate) limit: Option<Duration>,
}

/// Notifier, which delivers notices.
#[derive(Debug)]
pub(crate) enum NotifierSettings {
    /// Incoming webhook of Slack.
    Slack { http: Http, url: Secret },
    /// Webhook of any program.
    Webhook { http: Http, url: Secret, secret: Secret },
    /// Mail to some addresses.
    Email(Box<Mail>),
    /// Log of this process.
    Log,
}

/// Settings for sending mail.
#[derive(Debug)]
pub(crate) struct Mail {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: MailTls,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Password>,
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
}

/// Protection of the connection to a mail server.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MailTls {
    #[default]
    Starttls,
    Implicit,
    DangerPlaintext,
}

/// Outside system that approves.
#[derive(Debug)]
pub(crate) enum Approver {
    /// Jira: the ticket exists and is not done.
    Jira { http: Http, url: String, user: Option<String>, token: Option<Password>, assignee: Option<String> },
    /// GitHub: the issue exists and is open.
    Github { http: Http, url: String, repository: String, token: Option<Password>, assignee: Option<String> },
    /// Ticket in another tracker.
    Ticket { http: Http, url: String, token: Option<Password>, conditions: Vec<Condition> },
    /// Webhook of any program.
    Webhook { http: Http, url: Secret, secret: Secret, callback: Option<String> },
    /// Open Policy Agent.
    Opa { http: Http, url: Secret, token: Option<Password> },
}

/// Condition that a ticket has to meet.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Condition {
    pub(crate) name: String,
    pub(crate) at: String,
    pub(crate) one_of: Option<Vec<String>>,
    pub(crate) none_of: Option<Vec<String>>,
    pub(crate) requester: Option<String>,
}

/// Directory over HTTP.
#[derive(Debug)]
pub(crate) struct DirectoryAt {
    pub(crate) http: Http,
    pub(crate) url: Secret,
    pub(crate) token: Option<Password>,
    pub(crate) fresh: Option<Duration>,
    pub(crate) valid: Option<Duration>,
}

/// Table `[mfa]` of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MfaTable {
    totp: Option<TotpTable>,
    oidc: Option<Spanned<OidcTable>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OidcTable {
    issuer: String,
    audience: String,
    jwks_uri: Option<String>,
    claim: Option<String>,
    template: Option<String>,
    amr: Option<Vec<String>>,
    acr: Option<Vec<String>>,
    max_age: Option<String>,
    ca: Option<PathBuf>,
    #[serde(default)]
    plaintext: PlaintextWord,
    limit: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TotpTable {
    issuer: String,
    key: PathBuf,
}

/// Tables `[notify.KIND.NAME]` of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NotifyTables {
    #[serde(default)]
    slack: BTreeMap<String, Spanned<HttpTable>>,
    #[serde(default)]
    webhook: BTreeMap<String, Spanned<HttpTable>>,
    #[serde(default)]
    email: BTreeMap<String, Spanned<MailTable>>,
    #[serde(default)]
    log: BTreeMap<String, LogTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogTable {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MailTable {
    host: String,
    port: Option<u16>,
    #[serde(default)]
    tls: MailTls,
    ca: Option<PathBuf>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
    password_command: Option<Spanned<CommandLine>>,
    from: String,
    to: Vec<String>,
}

/// Keys that any outside system may have. The code checks, with clear errors, which of them each
/// kind has.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpTable {
    kind: Option<String>,
    url: Option<String>,
    url_file: Option<PathBuf>,
    url_env: Option<String>,
    secret_file: Option<PathBuf>,
    secret_env: Option<String>,
    token_file: Option<PathBuf>,
    token_env: Option<String>,
    token_command: Option<Spanned<CommandLine>>,
    user: Option<String>,
    repository: Option<String>,
    assignee: Option<String>,
    conditions: Option<Vec<Condition>>,
    callback: Option<String>,
    fresh: Option<String>,
    valid: Option<String>,
    ca: Option<PathBuf>,
    #[serde(default)]
    plaintext: PlaintextWord,
    limit: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
enum PlaintextWord {
    #[default]
    #[serde(rename = "refused")]
    Refused,
    #[serde(rename = "danger-allowed")]
    DangerAllowed,
}

/// Tables of one tenant.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) link: Option<String>,
    pub(super) mfa: Option<MfaTable>,
    pub(super) notify: Option<NotifyTables>,
    pub(super) approvers: BTreeMap<String, Spanned<HttpTable>>,
    pub(super) directory: Option<Spanned<HttpTable>>,
}

impl Reader<'_> {
    pub(super) fn workflow(&self, tables: Tables) -> Result<Workflow, Failure> {
        let MfaTable { totp, oidc } = tables.mfa.unwrap_or_default();
        let oidc = oidc.map(|table| self.oidc(table)).transpose()?;
        let totp = totp.map(|totp| Totp { issuer: totp.issuer, key: self.beside(totp.key) });
        let mut notify = BTreeMap::new();
        let given = tables.notify.unwrap_or_default();
        for (name, table) in given.slack {
            let (at, mut table) = (table.span().start, table.into_inner());
            let what = format!("`[notify.slack.{name}]`");
            let notifier_name =
                NotifierSettings::Slack { http: self.http(&mut table, at)?, url: self.url(&what, &mut table, at)? };
            self.nothing_else(&what, &table, at)?;
            notify.insert(format!("slack:{name}"), notifier_name);
        }
        for (name, table) in given.webhook {
            let (at, mut table) = (table.span().start, table.into_inner());
            let what = format!("`[notify.webhook.{name}]`");
            let notifier_name = NotifierSettings::Webhook {
                http: self.http(&mut table, at)?,
                url: self.url(&what, &mut table, at)?,
                secret: self.secret(&what, &mut table, at)?,
            };
            self.nothing_else(&what, &table, at)?;
            notify.insert(format!("webhook:{name}"), notifier_name);
        }
        for (name, table) in given.email {
            let (at, table) = (table.span().start, table.into_inner());
            notify.insert(format!("email:{name}"), self.mail(&format!("`[notify.email.{name}]`"), table, at)?);
        }
        notify.extend(given.log.into_keys().map(|name| (format!("log:{name}"), NotifierSettings::Log)));
        let mut approvers = BTreeMap::new();
        for (name, table) in tables.approvers {
            let (at, table) = (table.span().start, table.into_inner());
            approvers.insert(name.clone(), self.approver(&format!("`[approvers.{name}]`"), table, at)?);
        }
        let directory = tables.directory.map(|table| self.directory(table)).transpose()?;
        Ok(Workflow { link: tables.link, totp, oidc, notify, approvers, directory })
    }

    fn oidc(&self, table: Spanned<OidcTable>) -> Result<Oidc, Failure> {
        let (at, table) = (table.span().start, table.into_inner());
        let http = Http {
            ca: table.ca.map(|path| self.beside(path)),
            plaintext: table.plaintext == PlaintextWord::DangerAllowed,
            limit: self.span("limit", table.limit.as_ref(), at)?,
        };
        Ok(Oidc {
            http,
            issuer: table.issuer,
            audience: table.audience,
            jwks_uri: table.jwks_uri,
            claim: table.claim,
            template: table.template,
            amr: table.amr,
            acr: table.acr,
            max_age: self.span("max_age", table.max_age.as_ref(), at)?,
        })
    }

    fn mail(&self, what: &str, table: MailTable, at: usize) -> Result<NotifierSettings, Failure> {
        let given = Passwords { file: table.password_file, env: table.password_env, command: table.password_command };
        let password = self.password(what, at, given)?;
        if table.user.is_some() != password.is_some() {
            return Err(self.wrong(at, &format!("{what} needs `user` and a password together, or neither")));
        }
        let port = table.port.unwrap_or(match table.tls {
            MailTls::Starttls => 587,
            MailTls::Implicit => 465,
            MailTls::DangerPlaintext => 25,
        });
        Ok(NotifierSettings::Email(Box::new(Mail {
            host: table.host,
            port,
            tls: table.tls,
            ca: table.ca.map(|path| self.beside(path)),
            user: table.user,
            password,
            from: table.from,
            to: table.to,
        })))
    }

    fn approver(&self, what: &str, mut table: HttpTable, at: usize) -> Result<Approver, Failure> {
        let http = self.http(&mut table, at)?;
        let kinds = "one of `jira`, `github`, `ticket`, `webhook`, `opa`";
        let kind = table.kind.take().ok_or_else(|| self.wrong(at, &format!("{what} has no `kind`: {kinds}")))?;
        let token = self.token(what, &mut table, at)?;
        let plain = |table: &mut HttpTable| {
            let missing = || self.wrong(at, &format!("{what} has no `url`: add one"));
            table.url.take().ok_or_else(missing)
        };
        let approver = match kind.as_str() {
            "jira" => Approver::Jira {
                http,
                url: plain(&mut table)?,
                user: table.user.take(),
                token,
                assignee: table.assignee.take(),
            },
            "github" => {
                let missing = || self.wrong(at, &format!("{what} has no `repository`: add one, like `owner/name`"));
                Approver::Github {
                    http,
                    url: table.url.take().unwrap_or_else(|| "https://api.github.com".to_owned()),
                    repository: table.repository.take().ok_or_else(missing)?,
                    token,
                    assignee: table.assignee.take(),
                }
            }
            "ticket" => {
                let conditions = table.conditions.take().unwrap_or_default();
                let tests = |one: &Condition| {
                    [one.one_of.is_some(), one.none_of.is_some(), one.requester.is_some()]
                        .iter()
                        .filter(|has| **has)
                        .count()
                };
                if let Some(one) = conditions.iter().find(|one| tests(one) != 1) {
                    let name = &one.name;
                    let line =
                        format!("condition `{name}` of {what} says exactly one of `one_of`, `none_of`, `requester`");
                    return Err(self.wrong(at, &line));
                }
                Approver::Ticket { http, url: plain(&mut table)?, token, conditions }
            }
            "webhook" => Approver::Webhook {
                http,
                url: self.url(what, &mut table, at)?,
                secret: self.secret(what, &mut table, at)?,
                callback: table.callback.take(),
            },
            "opa" => Approver::Opa { http, url: self.url(what, &mut table, at)?, token },
            other => return Err(self.wrong(at, &format!("{what} cannot be of kind `{other}`: it is {kinds}"))),
        };
        self.nothing_else(what, &table, at)?;
        Ok(approver)
    }

    fn directory(&self, table: Spanned<HttpTable>) -> Result<DirectoryAt, Failure> {
        let (at, mut table) = (table.span().start, table.into_inner());
        let what = "`[directory]`";
        let (fresh, valid) = (table.fresh.take(), table.valid.take());
        let directory = DirectoryAt {
            http: self.http(&mut table, at)?,
            url: self.url(what, &mut table, at)?,
            token: self.token(what, &mut table, at)?,
            fresh: self.span("fresh", fresh.as_ref(), at)?,
            valid: self.span("valid", valid.as_ref(), at)?,
        };
        self.nothing_else(what, &table, at)?;
        Ok(directory)
    }

    fn http(&self, table: &mut HttpTable, at: usize) -> Result<Http, Failure> {
        let plaintext = std::mem::take(&mut table.plaintext) == PlaintextWord::DangerAllowed;
        let limit = self.span("limit", table.limit.take().as_ref(), at)?;
        Ok(Http { ca: table.ca.take().map(|path| self.beside(path)), plaintext, limit })
    }

    fn span(&self, key: &str, given: Option<&String>, at: usize) -> Result<Option<Duration>, Failure> {
        let read = given.map(|text| duration(text).map(to_std));
        read.transpose().map_err(|why| self.wrong(at, &format!("`{key}`: {why}")))
    }

    fn url(&self, what: &str, table: &mut HttpTable, at: usize) -> Result<Secret, Failure> {
        let elsewhere = Passwords { file: table.url_file.take(), env: table.url_env.take(), command: None };
        match (table.url.take(), self.password(what, at, elsewhere)?) {
            (Some(url), None) => Ok(Secret::Here(url)),
            (None, Some(from)) => Ok(Secret::From(from)),
            (None, None) => Err(self.wrong(at, &format!("{what} has no `url`, `url_file` or `url_env`: add one"))),
            (Some(_), Some(_)) => Err(self.wrong(at, &format!("{what} names its address twice: keep one"))),
        }
    }

    fn secret(&self, what: &str, table: &mut HttpTable, at: usize) -> Result<Secret, Failure> {
        let given = Passwords { file: table.secret_file.take(), env: table.secret_env.take(), command: None };
        let missing = || self.wrong(at, &format!("{what} has no `secret_file` or `secret_env`: it signs what is sent"));
        self.password(what, at, given)?.map(Secret::From).ok_or_else(missing)
    }

    fn token(&self, what: &str, table: &mut HttpTable, at: usize) -> Result<Option<Password>, Failure> {
        let (file, env) = (table.token_file.take(), table.token_env.take());
        self.password(what, at, Passwords { file, env, command: table.token_command.take() })
    }

    /// Refuses keys that are left over: they belong to another kind.
    fn nothing_else(&self, what: &str, left: &HttpTable, at: usize) -> Result<(), Failure> {
        let names = [
            ("kind", left.kind.is_some()),
            ("url", left.url.is_some()),
            ("url_file", left.url_file.is_some()),
            ("url_env", left.url_env.is_some()),
            ("secret_file", left.secret_file.is_some()),
            ("secret_env", left.secret_env.is_some()),
            ("token_file", left.token_file.is_some()),
            ("token_env", left.token_env.is_some()),
            ("token_command", left.token_command.is_some()),
            ("user", left.user.is_some()),
            ("repository", left.repository.is_some()),
            ("assignee", left.assignee.is_some()),
            ("conditions", left.conditions.is_some()),
            ("callback", left.callback.is_some()),
            ("fresh", left.fresh.is_some()),
            ("valid", left.valid.is_some()),
        ];
        match names.into_iter().find(|(_, there)| *there) {
            None => Ok(()),
            Some((name, _)) => Err(self.wrong(at, &format!("{what} has no use for `{name}`: remove it"))),
        }
    }
}
