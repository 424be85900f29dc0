//! Test environment of an engine: the database under test, and the powers of the people around it.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::clock::Time;
use crate::database::{Database, MembershipScope};
use crate::store::BoxError;

/// A server with a least-privileged broker of its own, and no other names. Each law gets a fresh
/// world, so that laws run in parallel on one server.
#[async_trait]
pub trait World: Debug + Send + Sync {
    /// Returns why the environment lacks this, in the words of the engine's facts; `None` if it has
    /// it.
    fn lacks(&self, need: Need) -> Option<&'static str>;

    /// Returns a name that is new on the server and contains the hint unchanged.
    fn fresh(&self, hint: &str) -> String;

    /// Length of the longest name that the engine accepts uncut.
    fn longest_name(&self) -> usize;

    /// Checks whether that length counts bytes; otherwise it counts characters.
    fn counts_bytes(&self) -> bool;

    /// Returns names that the engine would refuse, cut or misread, apart from those that are too
    /// long.
    fn refused_names(&self) -> Vec<String>;

    /// Returns the name of the broker's own account.
    fn broker(&self) -> String;

    /// Returns the adapter under test with this login. The same login may return the same value.
    ///
    /// # Errors
    /// Returns an error if the adapter cannot be constructed.
    async fn database(&self, login: Login) -> Result<Arc<dyn Database>, BoxError>;

    /// Does what a DBA does by hand.
    ///
    /// # Errors
    /// Returns an error if the server refuses it.
    async fn act(&self, act: Act<'_>) -> Result<(), BoxError>;

    /// Opens a session of the account.
    ///
    /// # Errors
    /// Returns an error if the server refuses the login.
    async fn session(&self, account: &str) -> Result<Box<dyn UserSession>, BoxError>;

    /// Opens a foreign transaction that touched this membership and stays open: orders for the
    /// membership wait.
    ///
    /// # Errors
    /// Returns an error if the server refuses it.
    async fn hold(&self, role: &str, account: &str) -> Result<Box<dyn Hold>, BoxError>;

    /// Reads the role's direct members from the catalog as an administrator, without the adapter.
    ///
    /// # Errors
    /// Returns an error if the catalog cannot be read.
    async fn members(&self, role: &str) -> Result<Vec<Row>, BoxError>;

    /// Returns the rights that the set-up script gives the broker, one by one, without the roles.
    /// Empty if [`Need::Privileges`] is lacking.
    fn privileges(&self) -> Vec<Privilege> {
        Vec::new()
    }

    /// Returns what a stranger could plant where the dead man's switch is kept, one by one. Empty
    /// if [`Need::Planted`] is lacking.
    fn plants(&self) -> Vec<Plant> {
        Vec::new()
    }

    /// Returns defaults of the database or the broker's account that would cut, block or redirect
    /// the broker's work, all in one plant.
    fn hostile_defaults(&self) -> Option<Plant> {
        None
    }

    /// Number of the broker's statements that wait for a lock.
    ///
    /// # Errors
    /// Returns an error if the number cannot be read.
    async fn waiting(&self) -> Result<usize, BoxError>;

    /// Reads the server's own clock, in UTC.
    ///
    /// # Errors
    /// Returns an error if the clock cannot be read.
    async fn server_time(&self) -> Result<Time, BoxError>;

    /// Lets this much time pass on the server's clock.
    async fn pass(&self, how_long: std::time::Duration);
}

/// A right of the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Privilege {
    /// Statement that gives the right.
    pub given: String,
    /// Statement that takes the right.
    pub taken: String,
    /// Words that a check's remedy has to contain.
    pub named: Vec<String>,
}

/// An obstacle that is put in the broker's way by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plant {
    /// Statements that put it there.
    pub put: String,
    /// Statements that take it away again.
    pub taken: String,
    /// Word that the check has to contain.
    pub named: String,
}

/// A need that a law has of the engine or of its environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Need {
    /// Catalog keeps one membership per grantor.
    GrantorRecorded,
    /// Catalog keeps one membership per role and member, whoever granted it.
    OneRowPerMember,
    /// Grant can withhold `SET ROLE`.
    SetOption,
    /// Default roles: roles that are active from the beginning of a session.
    DefaultRoles,
    /// Broker's rights can be taken one by one.
    Privileges,
    /// Stranger can plant objects where the dead man's switch is kept, and where the broker looks
    /// up names.
    Planted,
    /// Adapter sees the objects that an account or a role owns.
    OwnedObjects,
    /// Dead man's switch, which fires a second after the end.
    DeadMansSwitch,
    /// Account can be granted like a role.
    AccountMembers,
    /// Server shows who holds a lock.
    BlockersShown,
    /// Engine lets a role alone hold the power to create accounts.
    CanGrant,
    /// Lasting ids: a renamed account is found again.
    LastingIds,
    /// Transactions with two-phase commit.
    Prepared,
    /// Cursors that stay open.
    Cursors,
    /// Two databases that share one realm.
    TwoDatabases,
    /// Network with TLS and passwords.
    Network,
    /// Server that may be restarted and stopped: a world of its own.
    OwnServer,
}

/// Logins and connections that the adapter can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Login {
    /// Least-privileged broker, by password, over verified TLS.
    Broker,
    /// The same broker, into another database of the realm.
    OtherDatabase,
    /// Superuser instead of a broker.
    Superuser,
    /// Broker that has no rights at all beside the login.
    Nobody,
    /// Trust in a CA that has not signed the server's certificate.
    UnknownCa,
    /// Host name that the certificate does not have.
    WrongHost,
    /// Man in the middle who claims that the server speaks no TLS.
    Stripped,
    /// Connection without TLS, by the dangerous mode that has to be spelled out.
    Plaintext,
    /// Name of the certificates of [`Act::Show`], [`CERTIFICATE_NAME`], instead of the host's name.
    NameInCertificate,
    /// Another expected name of this kind.
    AnotherName,
    /// That name, with trust in a CA that has not signed the server's certificate.
    NameByUnknownCa,
    /// Chain of the certificate alone, without a name.
    ChainAlone,
    /// Chain alone, with trust in a CA that has not signed the server's certificate.
    ChainByUnknownCa,
    /// Wrong password for the broker: [`WRONG_PASSWORD`].
    WrongPassword,
    /// Port on which nobody listens.
    NobodyThere,
}

/// Common name of the certificates of [`Act::Show`]: a name that no host can have.
pub const CERTIFICATE_NAME: &str = "project:instance";

/// Password of [`Login::WrongPassword`]: tests search for it in places where no password may
/// appear.
pub const WRONG_PASSWORD: &str = "wr0ng-hunter2-secret";

/// An action that a DBA does by hand.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Act<'a> {
    /// Creates a login.
    CreateAccount {
        /// Name of the account.
        account: &'a str,
        /// Flag: the account inherits by default.
        inherits: bool,
    },
    /// Creates a role that the broker can grant. It has a table that only the role may read and
    /// write.
    CreateRole {
        /// Name of the role.
        role: &'a str,
    },
    /// Adds a membership that somebody grants.
    Grant {
        /// Role that is granted; it can also be an account.
        role: &'a str,
        /// Member that receives the role.
        to: &'a str,
        /// Grantor of the membership.
        by: By,
        /// Scope of the membership.
        scope: MembershipScope,
        /// Flag: the admin option is included.
        admin: bool,
    },
    /// Takes away whatever this grantor granted.
    Revoke {
        /// Role that is revoked.
        role: &'a str,
        /// Member that loses the role.
        from: &'a str,
        /// Grantor whose grants are revoked.
        by: By,
    },
    /// Renames an account or a role.
    Rename {
        /// Name before the change.
        from: &'a str,
        /// Name after the change.
        to: &'a str,
    },
    /// Drops an account or a role with its memberships.
    Drop {
        /// Name of the account or the role.
        name: &'a str,
    },
    /// Gives the role the power to create accounts.
    LetCreateAccounts {
        /// Name of the role.
        role: &'a str,
    },
    /// Takes the broker's right to grant this role.
    TakeAdminOption {
        /// Name of the role.
        role: &'a str,
    },
    /// Moves the broker's right to grant this role to a group that the broker is in.
    AdminThroughGroup {
        /// Name of the role.
        role: &'a str,
    },
    /// Takes the broker's right to end sessions.
    TakeSignal,
    /// Lets the broker act as the account, which it needs to end the account's prepared
    /// transactions.
    LetActAs {
        /// Name of the account.
        account: &'a str,
    },
    /// Changes the broker's password, on the server and where the adapter reads it. Ends the
    /// broker's connections.
    RotatePassword,
    /// Runs a statement, such as one of [`World::privileges`].
    Run {
        /// Statement to run.
        statement: &'a str,
    },
    /// Lets the role make objects where the tests keep theirs.
    LetMake {
        /// Name of the role.
        role: &'a str,
    },
    /// Turns off, or on again, what dead man's switches need.
    LetDeadMen {
        /// Flag: on if true.
        live: bool,
    },
    /// Commits a prepared transaction, as an administrator.
    CommitPrepared {
        /// Name of the transaction.
        gid: &'a str,
    },
    /// Makes the server show another certificate, of the same authority as before.
    Show {
        /// Certificate to show.
        certificate: Certificate,
    },
    /// Stops the server and starts it again.
    Restart,
    /// Stops the server.
    Stop,
    /// Starts the server again, as a read-only standby if asked.
    Start {
        /// Flag: the server only reads.
        read_only: bool,
    },
}

/// A certificate that a server can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Certificate {
    /// Expired certificate that is right in everything else.
    Expired,
    /// Certificate without alternative names; its common name is [`CERTIFICATE_NAME`].
    Nameless,
    /// The same certificate, of X.509 version 1.
    NamelessFirstVersion,
    /// Certificate with that common name, and the alternative name of another host.
    Elsewhere,
}

/// Grantor of a membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Administrator of the server.
    Admin,
    /// Broker's own account, by hand, behind this system's back.
    Broker,
}

/// A direct membership as an administrator reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Name of the member.
    pub member: String,
    /// Name of the grantor.
    pub grantor: String,
    /// Flag: privileges are inherited. Some engines keep this on the account; it is repeated here.
    pub inherits: bool,
    /// Flag: `SET ROLE` is allowed.
    pub set: bool,
    /// Flag: the member has the admin option.
    pub admin: bool,
}

/// A session of a user.
#[async_trait]
pub trait UserSession: Send {
    /// Returns the server's own id of the session.
    fn id(&self) -> String;

    /// Tries something as the user.
    ///
    /// # Errors
    /// Returns an error if it failed for another reason than missing privileges or the session's
    /// end.
    async fn attempt(&mut self, what: Attempt<'_>) -> Result<Tried, BoxError>;
}

/// An action that a user tries.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Attempt<'a> {
    /// Becomes the role.
    SetRole(&'a str),
    /// Reads the role's table.
    Read(&'a str),
    /// Writes to the role's table.
    Write(&'a str),
    /// Opens a cursor on the role's table, in a transaction that stays open.
    OpenCursor(&'a str),
    /// Fetches a row from that cursor.
    Fetch,
    /// Writes to the role's table and prepares the transaction under this name.
    Prepare {
        /// Role that owns the table.
        role: &'a str,
        /// Name of the transaction.
        gid: &'a str,
    },
    /// Makes an object that runs or holds something, by the role's right.
    Make {
        /// Role whose right is used.
        role: &'a str,
        /// Name of the object.
        name: &'a str,
    },
    /// Does something that needs no privilege at all.
    Ping,
}

/// Result of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    /// Attempt worked as asked.
    Done,
    /// Privilege is missing.
    Denied,
    /// Session is gone.
    Ended,
}

/// An open transaction that belongs to somebody else.
#[async_trait]
pub trait Hold: Send {
    /// Returns the id of the session that holds it, as the server names it.
    fn id(&self) -> String;

    /// Rolls the transaction back.
    ///
    /// # Errors
    /// Returns an error if the server refuses it.
    async fn release(self: Box<Self>) -> Result<(), BoxError>;
}
