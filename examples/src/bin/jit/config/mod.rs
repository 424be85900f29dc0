//! Parser of `jit.toml`: strict, with paths relative to its own folder.

mod workflow;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jit_core::clock::to_std;
use jit_core::database::TlsMode;
use jit_core::id::TenantId;
use serde::Deserialize;
use toml::Spanned;

use self::workflow::{HttpTable, MfaTable, NotifyTables, Tables};
use crate::error::Failure;
use crate::policy::PolicyFiles;
use crate::spans::duration;

pub(crate) use self::workflow::{
    Approver, Condition, DirectoryAt, Http, Mail, MailTls, NotifierSettings, Oidc, Secret, Workflow,
};

/// Configuration of the binary.
#[derive(Debug)]
pub(crate) struct Config {
    /// Location of the store.
    pub(crate) store: StoreAt,
    /// Configuration of each tenant; at least one.
    pub(crate) tenants: BTreeMap<TenantId, TenantConfig>,
}

/// Location of the store, where everything is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoreAt {
    /// Path of an SQLite file.
    Sqlite(PathBuf),
    /// Database of a PostgreSQL server, for many nodes.
    Postgres {
        /// Server and database of the store.
        server: ServerConfig,
        /// URL for listening, if a pooler stands before the server.
        listen_url: Option<String>,
    },
    /// Memory, until the process ends.
    Memory,
}

/// Configuration of one tenant.
#[derive(Debug)]
pub(crate) struct TenantConfig {
    /// Files of the policy.
    pub(crate) policy: PolicyFiles,
    /// Databases, by the names that people ask for.
    pub(crate) targets: BTreeMap<String, ServerConfig>,
    /// Settings of the log.
    pub(crate) audit: AuditConfig,
    /// Settings for the workflow around approvals.
    pub(crate) workflow: Workflow,
}

/// Server and database, of a target or of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerConfig {
    /// URL like `postgres://user@host:5432/database` or `mysql://user@host:3306`; a password in it
    /// is refused.
    pub(crate) url: String,
    /// Source of the user's password.
    pub(crate) password: Option<Password>,
    /// Protection of the connection.
    pub(crate) tls: TlsMode,
    /// Time from the end until the database itself revokes a role; none: the adapter's default.
    pub(crate) dead_mans_switch_grace: Option<Duration>,
    /// Administrators of a PostgreSQL target, who do not count as members of accounts.
    pub(crate) administrators: Vec<String>,
    /// Name of its realm, if what the server says of itself is no identity.
    pub(crate) realm: Option<String>,
}

/// Adapter that a URL asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    /// Adapter for `postgres://` URLs.
    Postgres,
    /// Adapter for `mysql://` and `mariadb://` URLs: the server says which of the two it is.
    MySql,
    /// Adapter for `mssql://` URLs.
    MsSql,
}

impl Engine {
    fn of(url: &str) -> Option<Self> {
        match url.split_once("://")?.0 {
            "postgres" | "postgresql" => Some(Self::Postgres),
            "mysql" | "mariadb" => Some(Self::MySql),
            "mssql" => Some(Self::MsSql),
            _ => None,
        }
    }
}

impl ServerConfig {
    /// Returns the adapter that its URL asks for.
    pub(crate) fn engine(&self) -> Option<Engine> {
        Engine::of(&self.url)
    }
}

/// Source of a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Password {
    /// File that holds nothing else.
    File(PathBuf),
    /// Name of an environment variable.
    Env(String),
    /// Program and its arguments.
    Command(Vec<String>),
}

/// Settings of the audit log.
#[derive(Debug, Default)]
pub(crate) struct AuditConfig {
    /// Key that signs its checkpoints; created on first use.
    pub(crate) signing_key: Option<PathBuf>,
    /// File that gets every entry.
    pub(crate) file: Option<PathBuf>,
    /// Name under which the position in that file is remembered; none: an id beside the file.
    pub(crate) name: Option<String>,
}

impl Config {
    /// Reads the configuration from a file.
    pub(crate) fn load(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            if error.kind() == std::io::ErrorKind::NotFound {
                let message = format!("there is no configuration `{}`", path.display());
                return Failure::configuration(message, "make one with `jit init`, or name another with --config");
            }
            Failure::configuration(format!("`{}` cannot be read: {error}", path.display()), "look at its permissions")
        })?;
        // an empty parent adds nothing to paths relative to it
        let folder = path.parent().unwrap_or(Path::new(""));
        let reader = Reader { path, text: &text, folder };
        let file: File = toml::from_str(&text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            reader.wrong(at, error.message())
        })?;
        reader.config(file)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    store: StoreTable,
    #[serde(default)]
    tenants: BTreeMap<String, Spanned<TenantTable>>,
    // the keys of tenant `default`; a flattened table could not be strict
    policy: Option<PathBuf>,
    cedar: Option<PathBuf>,
    #[serde(default)]
    targets: BTreeMap<String, Spanned<TargetTable>>,
    audit: Option<AuditTable>,
    link: Option<String>,
    mfa: Option<MfaTable>,
    notify: Option<NotifyTables>,
    #[serde(default)]
    approvers: BTreeMap<String, Spanned<HttpTable>>,
    directory: Option<Spanned<HttpTable>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreTable {
    url: Spanned<String>,
    listen_url: Option<Spanned<String>>,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
    password_command: Option<Spanned<CommandLine>>,
    tls: Option<TlsMode>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TenantTable {
    policy: Option<PathBuf>,
    cedar: Option<PathBuf>,
    #[serde(default)]
    targets: BTreeMap<String, Spanned<TargetTable>>,
    audit: Option<AuditTable>,
    link: Option<String>,
    mfa: Option<MfaTable>,
    notify: Option<NotifyTables>,
    #[serde(default)]
    approvers: BTreeMap<String, Spanned<HttpTable>>,
    directory: Option<Spanned<HttpTable>>,
}

impl TenantTable {
    /// Checks whether something is configured beside the policy.
    fn has_more(&self) -> bool {
        self.cedar.is_some()
            || !self.targets.is_empty()
            || self.audit.is_some()
            || self.link.is_some()
            || self.mfa.is_some()
            || self.notify.is_some()
            || !self.approvers.is_empty()
            || self.directory.is_some()
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetTable {
    url: Spanned<String>,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
    password_command: Option<Spanned<CommandLine>>,
    #[serde(default)]
    tls: TlsMode,
    #[serde(alias = "dead_man_grace")]
    dead_mans_switch_grace: Option<Spanned<String>>,
    #[serde(default)]
    administrators: Vec<String>,
    realm: Option<String>,
}

/// Possible sources of a password: one of these.
struct Passwords {
    file: Option<PathBuf>,
    env: Option<String>,
    command: Option<Spanned<CommandLine>>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum CommandLine {
    Line(String),
    Words(Vec<String>),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuditTable {
    signing_key: Option<PathBuf>,
    file: Option<PathBuf>,
    name: Option<String>,
}

/// Reader that knows where the text came from, for the place of an error and for relative paths.
struct Reader<'t> {
    path: &'t Path,
    text: &'t str,
    folder: &'t Path,
}

impl Reader<'_> {
    fn config(&self, file: File) -> Result<Config, Failure> {
        let store = self.store(file.store)?;
        let mut tenants = BTreeMap::new();
        let table = TenantTable {
            policy: file.policy,
            cedar: file.cedar,
            targets: file.targets,
            audit: file.audit,
            link: file.link,
            mfa: file.mfa,
            notify: file.notify,
            approvers: file.approvers,
            directory: file.directory,
        };
        if table.policy.is_some() || file.tenants.is_empty() {
            tenants.insert(TenantId::default(), self.tenant(table, 0, "the top level")?);
        } else if table.has_more() {
            return Err(self.wrong(
                0,
                "the top level has targets, audit or the like but no `policy`: add one, or move them under a tenant",
            ));
        }
        for (name, table) in file.tenants {
            let at = table.span().start;
            let id = TenantId::new(name.as_str()).map_err(|error| self.wrong(at, &error.to_string()))?;
            let what = format!("[tenants.{name}]");
            if tenants.insert(id, self.tenant(table.into_inner(), at, &what)?).is_some() {
                return Err(self.wrong(at, "the top level is tenant `default` already: keep one of the two"));
            }
        }
        Ok(Config { store, tenants })
    }

    fn store(&self, table: StoreTable) -> Result<StoreAt, Failure> {
        let (at, url) = (table.url.span().start, table.url.get_ref().clone());
        if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            let what = "the store";
            let listen_url = table.listen_url.map(|url| self.server_url(what, &url)).transpose()?;
            let url = self.server_url(what, &table.url)?;
            let password = self.password(
                what,
                at,
                Passwords { file: table.password_file, env: table.password_env, command: table.password_command },
            )?;
            let tls = self.tls(table.tls.unwrap_or_default());
            return Ok(StoreAt::Postgres {
                server: ServerConfig {
                    url,
                    password,
                    tls,
                    dead_mans_switch_grace: None,
                    administrators: Vec::new(),
                    realm: None,
                },
                listen_url,
            });
        }
        if table.listen_url.is_some()
            || table.password_file.is_some()
            || table.password_env.is_some()
            || table.password_command.is_some()
            || table.tls.is_some()
        {
            return Err(self.wrong(at, "only a store at `postgres://` has a password, tls or listen_url"));
        }
        if url == "memory:" {
            return Ok(StoreAt::Memory);
        }
        if let Some(path) = url.strip_prefix("sqlite:").filter(|path| !path.is_empty()) {
            return Ok(StoreAt::Sqlite(self.beside(PathBuf::from(path))));
        }
        let line = "this is not a store: write `sqlite:jit.db`, `postgres://jit_node@host:5432/jit`, or `memory:` for a trial that \
                    forgets everything";
        Err(self.wrong(at, line))
    }

    fn tenant(&self, table: TenantTable, at: usize, what: &str) -> Result<TenantConfig, Failure> {
        let policy = table.policy.ok_or_else(|| {
            self.wrong(at, &format!("{what} has no `policy`: add one, like `policy = \"policy.toml\"`"))
        })?;
        let mut targets = BTreeMap::new();
        for (name, table) in table.targets {
            let at = table.span().start;
            targets.insert(name.clone(), self.target(&name, table.into_inner(), at)?);
        }
        let audit = table.audit.unwrap_or_default();
        let workflow = self.workflow(Tables {
            link: table.link,
            mfa: table.mfa,
            notify: table.notify,
            approvers: table.approvers,
            directory: table.directory,
        })?;
        Ok(TenantConfig {
            policy: PolicyFiles { document: self.beside(policy), cedar: table.cedar.map(|path| self.beside(path)) },
            targets,
            audit: AuditConfig {
                signing_key: audit.signing_key.map(|path| self.beside(path)),
                file: audit.file.map(|path| self.beside(path)),
                name: audit.name,
            },
            workflow,
        })
    }

    fn target(&self, name: &str, table: TargetTable, at: usize) -> Result<ServerConfig, Failure> {
        let dead_mans_switch_grace = table.dead_mans_switch_grace.map(|given| {
            let read = duration(given.get_ref()).map(to_std);
            read.map_err(|why| self.wrong(given.span().start, &format!("`dead_mans_switch_grace`: {why}")))
        });
        let dead_mans_switch_grace = dead_mans_switch_grace.transpose()?;
        let what = format!("target `{name}`");
        let url = self.server_url(&what, &table.url)?;
        let password = self.password(
            &what,
            at,
            Passwords { file: table.password_file, env: table.password_env, command: table.password_command },
        )?;
        if !table.administrators.is_empty() && Engine::of(&url) != Some(Engine::Postgres) {
            return Err(self.wrong(at, &format!("{what} has `administrators`, which only a target of PostgreSQL has")));
        }
        let (administrators, realm) = (table.administrators, table.realm);
        Ok(ServerConfig { url, password, tls: self.tls(table.tls), dead_mans_switch_grace, administrators, realm })
    }

    fn password(&self, what: &str, at: usize, given: Passwords) -> Result<Option<Password>, Failure> {
        let command = match given.command {
            None => None,
            Some(command) => {
                let at = command.span().start;
                let words = match command.into_inner() {
                    CommandLine::Line(line) => line.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
                    CommandLine::Words(words) => words,
                };
                if words.is_empty() {
                    return Err(self.wrong(at, "`password_command` is empty: write `[\"program\", \"argument\"]`"));
                }
                Some(Password::Command(words))
            }
        };
        let file = given.file.map(|path| Password::File(self.beside(path)));
        let mut given = [file, given.env.map(Password::Env), command].into_iter().flatten();
        let password = given.next();
        if given.next().is_some() {
            let line =
                format!("{what} names its password twice: keep one of password_file, password_env, password_command");
            return Err(self.wrong(at, &line));
        }
        Ok(password)
    }

    fn tls(&self, tls: TlsMode) -> TlsMode {
        match tls {
            TlsMode::VerifyFull { ca, server_name } => {
                TlsMode::VerifyFull { ca: ca.map(|path| self.beside(path)), server_name }
            }
            TlsMode::VerifyCa { ca } => TlsMode::VerifyCa { ca: self.beside(ca) },
            plain => plain,
        }
    }

    /// Checks the URL: it must name an engine that this version knows, and hold no password.
    fn server_url(&self, what: &str, url: &Spanned<String>) -> Result<String, Failure> {
        let (at, url) = (url.span().start, url.get_ref());
        let Some((_, rest)) = url.split_once("://") else {
            let line = format!("{what} has no URL like `postgres://jit_broker@127.0.0.1:5432/orders`");
            return Err(self.wrong(at, &line));
        };
        if Engine::of(url).is_none() {
            return Err(
                self.wrong(at, "this version knows targets of `postgres://`, `mysql://`, `mariadb://` and `mssql://`")
            );
        }
        let login = rest.split('/').next().unwrap_or_default().rsplit_once('@').map_or("", |(login, _)| login);
        if login.contains(':') {
            let line = format!(
                "the URL of {what} holds a password: take it out, and name password_file, \
                                password_env or password_command"
            );
            return Err(self.wrong(at, &line));
        }
        Ok(url.clone())
    }

    fn beside(&self, path: PathBuf) -> PathBuf {
        self.folder.join(path)
    }

    /// Returns an error with its place: line and column from 1, columns in characters.
    fn wrong(&self, at: usize, what: &str) -> Failure {
        let before = self.text.get(..at).unwrap_or_default();
        let line = before.matches('\n').count().saturating_add(1);
        let column = before.chars().rev().take_while(|letter| *letter != '\n').count().saturating_add(1);
        let what = what.lines().map(str::trim).collect::<Vec<_>>().join("; ");
        Failure::configuration(format!("{}:{line}:{column}: {what}", self.path.display()), "")
    }
}

#[cfg(test)]
mod tests;
