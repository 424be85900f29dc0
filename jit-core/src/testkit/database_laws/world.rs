//! What an engine's test environment offers the laws: the database under test, and the powers of the people around it.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::clock::Time;
use crate::database::{Database, Width};
use crate::store::BoxError;

/// A server with one broker of its own, least-privileged, and nobody else's names in it. A law gets a fresh one, so that laws
/// run in parallel on one server.
#[async_trait]
pub trait World: Debug + Send + Sync {
    /// Why this cannot be had here, in the words of the engine's facts; `None` where it can.
    fn lacks(&self, need: Need) -> Option<&'static str>;

    /// A name that nothing on the server has yet and that holds the hint unchanged.
    fn fresh(&self, hint: &str) -> String;

    /// The longest name that the engine takes whole.
    fn longest_name(&self) -> usize;

    /// Whether that counts bytes; else characters.
    fn counts_bytes(&self) -> bool;

    /// Names that the engine would refuse, cut or take for something else, besides the too long ones.
    fn refused_names(&self) -> Vec<String>;

    /// The broker's own account.
    fn broker(&self) -> String;

    /// The adapter under test, logged in like this. The same login may answer with the same value.
    ///
    /// # Errors
    /// When it cannot be constructed.
    async fn database(&self, login: Login) -> Result<Arc<dyn Database>, BoxError>;

    /// Something that a DBA does by hand.
    ///
    /// # Errors
    /// When the server refuses it.
    async fn act(&self, act: Act<'_>) -> Result<(), BoxError>;

    /// A session of the account.
    ///
    /// # Errors
    /// When the server refuses the login.
    async fn session(&self, account: &str) -> Result<Box<dyn UserSession>, BoxError>;

    /// A transaction of somebody else's that stays open and has touched this membership: orders for it wait.
    ///
    /// # Errors
    /// When the server refuses it.
    async fn hold(&self, role: &str, account: &str) -> Result<Box<dyn Hold>, BoxError>;

    /// The catalog as an administrator reads it, without the adapter: the role's direct members.
    ///
    /// # Errors
    /// When it cannot be read.
    async fn members(&self, role: &str) -> Result<Vec<Row>, BoxError>;

    /// What the README has a DBA give the broker, each right for itself, roles apart. Empty where [`Need::Privileges`] is lacking.
    fn privileges(&self) -> Vec<Privilege> {
        Vec::new()
    }

    /// What a stranger could have put where the dead man's switch is kept, each by itself. Empty where
    /// [`Need::Planted`] is lacking.
    fn plants(&self) -> Vec<Plant> {
        Vec::new()
    }

    /// Defaults of the database or of the broker's account that would cut, block or redirect what the broker does, all of them together.
    fn hostile_defaults(&self) -> Option<Plant> {
        None
    }

    /// How many of the broker's statements wait for a lock.
    ///
    /// # Errors
    /// When it cannot be read.
    async fn waiting(&self) -> Result<usize, BoxError>;

    /// The server's own clock, UTC.
    ///
    /// # Errors
    /// When it cannot be read.
    async fn server_time(&self) -> Result<Time, BoxError>;

    /// Lets so much time pass on the server's clock.
    async fn pass(&self, how_long: std::time::Duration);
}

/// One right of the broker's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Privilege {
    /// The statement that gives it.
    pub given: String,
    /// The statement that takes it.
    pub taken: String,
    /// What the mending statement of a check has to have in it.
    pub named: Vec<String>,
}

/// Something that is put in the broker's way by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plant {
    /// The statements that put it there.
    pub put: String,
    /// The statements that take it away again.
    pub taken: String,
    /// A word that the check has to say of it.
    pub named: String,
}

/// What a law needs of the engine or of its environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Need {
    /// The catalog keeps one membership per grantor.
    GrantorRecorded,
    /// The catalog keeps one membership per role and member, whoever granted it.
    OneRowPerMember,
    /// A grant can withhold `SET ROLE`.
    SetOption,
    /// Default roles: what of its roles a session has from its beginning.
    DefaultRoles,
    /// The rights of the broker can be taken one by one.
    Privileges,
    /// Somebody plants things where the dead man's switch is kept, and where the broker looks for names.
    Planted,
    /// The adapter sees what somebody owns.
    Belongings,
    /// A dead-man, which fires a second after the end.
    DeadMan,
    /// An account can be granted like a role.
    AccountMembers,
    /// The server shows who holds a lock.
    BlockersShown,
    /// A role alone may hold the power to create accounts, and the engine lets it.
    CanGrant,
    /// Lasting ids: a renamed account is found again.
    LastingIds,
    /// Two-phase transactions.
    Prepared,
    /// Cursors.
    Cursors,
    /// Two databases that share one realm.
    TwoDatabases,
    /// A network with TLS and passwords.
    Network,
    /// A server that may be restarted and stopped: a world of its own.
    OwnServer,
}

/// How the adapter logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Login {
    /// As the least-privileged broker, by password, over verified TLS.
    Broker,
    /// The same, into another database of the realm.
    OtherDatabase,
    /// As a superuser.
    Superuser,
    /// As a broker that everything was forgotten for: it may log in.
    Nobody,
    /// Trusting a CA that has not signed the server's certificate.
    UnknownCa,
    /// By a host name that the certificate does not have.
    WrongHost,
    /// Through somebody who says that the server speaks no TLS.
    Stripped,
    /// Without TLS, by the spelled-out dangerous mode.
    Plaintext,
    /// By the name of the certificates of [`Act::Show`], [`CERTIFICATE_NAME`], instead of the host's.
    NameInCertificate,
    /// By another such name.
    AnotherName,
    /// By that name, trusting a CA that has not signed the server's certificate.
    NameByUnknownCa,
    /// By the chain of the certificate alone.
    ChainAlone,
    /// By the chain alone, trusting a CA that has not signed the server's certificate.
    ChainByUnknownCa,
    /// With a password that is not the broker's. It is [`WRONG_PASSWORD`].
    WrongPassword,
    /// To a port where nobody listens.
    NobodyThere,
}

/// The common name of the certificates of [`Act::Show`]: none that a host could have.
pub const CERTIFICATE_NAME: &str = "project:instance";

/// What [`Login::WrongPassword`] offers, to be looked for where no password may stand.
pub const WRONG_PASSWORD: &str = "wr0ng-hunter2-secret";

/// Something that a DBA does by hand.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Act<'a> {
    /// A login.
    CreateAccount {
        /// Its name.
        account: &'a str,
        /// Whether it inherits by default.
        inherits: bool,
    },
    /// A role with a table of its own that only the role may read and write, grantable by the broker.
    CreateRole {
        /// Its name.
        role: &'a str,
    },
    /// A membership, granted by somebody.
    Grant {
        /// What (an account can be it, too).
        role: &'a str,
        /// To whom.
        to: &'a str,
        /// By whom.
        by: By,
        /// How wide.
        width: Width,
        /// With the admin option.
        admin: bool,
    },
    /// Takes away whatever this one granted.
    Revoke {
        /// What.
        role: &'a str,
        /// From whom.
        from: &'a str,
        /// By whom.
        by: By,
    },
    /// Renames an account or a role.
    Rename {
        /// From.
        from: &'a str,
        /// To.
        to: &'a str,
    },
    /// Drops an account or a role, its memberships with it.
    Drop {
        /// Which.
        name: &'a str,
    },
    /// Gives the role the power to create accounts.
    LetCreateAccounts {
        /// Which.
        role: &'a str,
    },
    /// Takes the broker's right to grant this role.
    TakeAdminOption {
        /// Which.
        role: &'a str,
    },
    /// Takes the broker's right to grant this role, and gives it to a group that the broker is in.
    AdminThroughGroup {
        /// Which.
        role: &'a str,
    },
    /// Takes the broker's right to end sessions.
    TakeSignal,
    /// Lets the broker act as the account, which is what ending its prepared transactions takes.
    LetActAs {
        /// Which.
        account: &'a str,
    },
    /// Changes the broker's password, on the server and where the adapter reads it, and ends the broker's connections.
    RotatePassword,
    /// Gives or takes one of [`World::privileges`].
    Run {
        /// Its statement.
        statement: &'a str,
    },
    /// Lets the role make objects where the tests keep theirs.
    LetMake {
        /// Which.
        role: &'a str,
    },
    /// Turns off what dead-men need, or on again.
    LetDeadMen {
        /// On.
        live: bool,
    },
    /// Commits a prepared transaction, as an administrator.
    CommitPrepared {
        /// Its name.
        gid: &'a str,
    },
    /// Has the server show another certificate, of the same authority as before.
    Show {
        /// Which.
        certificate: Certificate,
    },
    /// Stops the server and starts it again.
    Restart,
    /// Stops the server.
    Stop,
    /// Starts it again, as a standby where so asked: it reads only.
    Start {
        /// Whether it may only read.
        read_only: bool,
    },
}

/// A certificate that a server can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Certificate {
    /// Right in everything but its time.
    Expired,
    /// Without alternative names; its common name is [`CERTIFICATE_NAME`].
    Nameless,
    /// The same, of X.509 version 1.
    NamelessFirstVersion,
    /// With that common name, and the alternative name of a host that the server is not.
    Elsewhere,
}

/// By whom something is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The server's administrator.
    Admin,
    /// Our broker's account, by hand, behind this system's back.
    Broker,
}

/// One direct membership as an administrator reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Who is in.
    pub member: String,
    /// Who granted it.
    pub grantor: String,
    /// Whether its privileges are inherited. Where the engine has it on the account, that is said here.
    pub inherits: bool,
    /// Whether `SET ROLE` is allowed.
    pub set: bool,
    /// Whether it carries the admin option.
    pub admin: bool,
}

/// A session of a user.
#[async_trait]
pub trait UserSession: Send {
    /// The server's own id of it.
    fn id(&self) -> String;

    /// Tries something.
    ///
    /// # Errors
    /// When it failed otherwise than by missing privileges or by the session's end.
    async fn attempt(&mut self, what: Attempt<'_>) -> Result<Tried, BoxError>;
}

/// What a user tries.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Attempt<'a> {
    /// To become the role.
    SetRole(&'a str),
    /// To read the role's table.
    Read(&'a str),
    /// To write to the role's table.
    Write(&'a str),
    /// To open a cursor on the role's table, in a transaction that stays open.
    OpenCursor(&'a str),
    /// To fetch a row from that cursor.
    Fetch,
    /// To write to the role's table and prepare the transaction under this name.
    Prepare {
        /// Which role's table.
        role: &'a str,
        /// Its name.
        gid: &'a str,
    },
    /// To make an object that runs or holds something, by the role's right.
    Make {
        /// By which role's right.
        role: &'a str,
        /// Its name.
        name: &'a str,
    },
    /// To do something that needs no privilege at all.
    Ping,
}

/// How an attempt went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    /// It worked.
    Done,
    /// The privilege is missing.
    Denied,
    /// The session is gone.
    Ended,
}

/// An open transaction of somebody else's.
#[async_trait]
pub trait Hold: Send {
    /// The session that holds it, as the server names it.
    fn id(&self) -> String;

    /// Rolls it back.
    ///
    /// # Errors
    /// When the server refuses it.
    async fn release(self: Box<Self>) -> Result<(), BoxError>;
}
