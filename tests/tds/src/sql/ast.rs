//! Syntax tree of a batch.

use super::value::{Ty, Value};

/// Name of one to four parts.
pub(crate) type Name = Vec<String>;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expr {
    Literal(Value),
    Variable(String),
    Global(String),
    Column(Name),
    Unary(&'static str, Box<Expr>),
    Binary(&'static str, Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    IsNull { of: Box<Expr>, not: bool },
    In { of: Box<Expr>, list: Vec<Expr>, not: bool },
    InQuery { of: Box<Expr>, query: Box<Query>, not: bool },
    Exists(Box<Query>),
    Between { of: Box<Expr>, low: Box<Expr>, high: Box<Expr>, not: bool },
    Like { of: Box<Expr>, pattern: Box<Expr>, escape: Option<Box<Expr>>, not: bool },
    Case { of: Option<Box<Expr>>, when: Vec<(Expr, Expr)>, other: Option<Box<Expr>> },
    Cast { of: Box<Expr>, ty: Ty, style: Option<Box<Expr>>, forgiving: bool },
    Call { name: String, args: Vec<Expr>, distinct: bool, within: Vec<(Expr, bool)> },
    Subquery(Box<Query>),
    Collate(Box<Expr>, String),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Query {
    pub ctes: Vec<Cte>,
    pub body: Body,
    /// Sort expressions; true for a descending one.
    pub order: Vec<(Expr, bool)>,
    pub offset: Option<Expr>,
    pub fetch: Option<Expr>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cte {
    pub name: String,
    pub columns: Vec<String>,
    pub query: Query,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Body {
    Select(Box<Select>),
    Values(Vec<Vec<Expr>>),
    Set { kind: SetKind, left: Box<Body>, right: Box<Body> },
    Nested(Box<Query>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetKind {
    UnionAll,
    Union,
    Except,
    Intersect,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Select {
    pub distinct: bool,
    pub top: Option<Expr>,
    pub items: Vec<Item>,
    pub from: Option<From>,
    pub filter: Option<Expr>,
    pub group: Vec<Expr>,
    pub having: Option<Expr>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Item {
    Star(Option<String>),
    Expr { expr: Expr, alias: Option<String> },
    Assign { variable: String, op: &'static str, expr: Expr },
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum From {
    Table { name: Name, alias: Option<String>, dirty: bool },
    Variable { name: String, alias: Option<String> },
    Derived { query: Query, alias: String, columns: Vec<String> },
    OpenJson { args: Vec<Expr>, with: Vec<(String, Ty, Option<String>)>, alias: Option<String> },
    Function { name: Name, args: Vec<Expr>, alias: Option<String>, columns: Vec<String> },
    Join { kind: JoinKind, left: Box<From>, right: Box<From>, on: Option<Expr> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JoinKind {
    Inner,
    Left,
    Right,
    Full,
    Cross,
    OuterApply,
}

/// Statement with its line number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    pub line: u32,
    pub stmt: Stmt,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ColumnDef {
    pub name: String,
    pub ty: Ty,
    pub not_null: bool,
    pub unique: bool,
    pub identity: bool,
    pub default: Option<Expr>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    Query(Box<Query>),
    Exec(Box<Stmt>),
    Default,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Argument {
    pub name: Option<String>,
    pub value: Expr,
    pub output: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    Add(String),
    Drop(String),
    Rename(String),
}

/// Securable of a GRANT, DENY or REVOKE.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Securable {
    /// Database or server, depending on the permission.
    Whole,
    Object(Name),
    Schema(String),
    /// Principal of a database: `ROLE::`, `USER::`, `APPLICATION ROLE::`
    Principal(String),
    /// Principal of the server: `LOGIN::`, `SERVER ROLE::`
    ServerPrincipal(String),
    Database(String),
}

/// Parameters and body of a stored procedure.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Routine {
    /// Parameters: name, type, and true for OUTPUT.
    pub parameters: Vec<(String, Ty, bool)>,
    pub body: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Stmt {
    Query(Query),
    Declare(Vec<(String, Ty, Option<Expr>)>),
    DeclareTable {
        name: String,
        columns: Vec<ColumnDef>,
    },
    SetVariable {
        name: String,
        op: &'static str,
        expr: Expr,
    },
    SetOption {
        names: Vec<String>,
        value: Option<Expr>,
        on: bool,
    },
    If {
        test: Expr,
        then: Box<Line>,
        other: Option<Box<Line>>,
    },
    While {
        test: Expr,
        body: Box<Line>,
    },
    Block(Vec<Line>),
    Try {
        body: Vec<Line>,
        catch: Vec<Line>,
    },
    Throw(Option<(Expr, Expr, Expr)>),
    RaisError {
        message: Expr,
        severity: Expr,
        state: Expr,
        args: Vec<Expr>,
    },
    Print(Expr),
    Begin,
    Commit,
    Rollback(Option<String>),
    Save(String),
    Use(String),
    ExecString {
        parts: Vec<Expr>,
    },
    Exec {
        into: Option<String>,
        name: Name,
        args: Vec<Argument>,
    },
    WaitFor(Expr),
    Kill(Expr),
    Return(Option<Expr>),
    Break,
    Continue,
    CreateLogin {
        name: String,
        password: Option<String>,
        sid: Option<Vec<u8>>,
        database: Option<String>,
    },
    AlterLogin {
        name: String,
        rename: Option<String>,
        password: Option<String>,
        disable: Option<bool>,
    },
    DropLogin(String),
    CreateUser {
        name: String,
        login: Option<String>,
        password: Option<String>,
        without: bool,
    },
    AlterUser {
        name: String,
        rename: Option<String>,
        password: Option<String>,
        login: Option<String>,
    },
    DropUser {
        name: String,
        if_exists: bool,
    },
    CreateRole {
        name: String,
        owner: Option<String>,
        server: bool,
    },
    AlterRole {
        name: String,
        change: Change,
        server: bool,
    },
    DropRole {
        name: String,
        server: bool,
        if_exists: bool,
    },
    Permission {
        state: char,
        permissions: Vec<String>,
        on: Securable,
        to: Vec<String>,
        option: bool,
    },
    ExecuteAs {
        login: bool,
        name: Expr,
    },
    Revert,
    CreateTable {
        name: Name,
        columns: Vec<ColumnDef>,
    },
    CreateProcedure {
        name: Name,
        routine: Routine,
        runs_as: Option<String>,
        or_alter: bool,
    },
    DropProcedure {
        name: Name,
        if_exists: bool,
    },
    /// Trigger on a table, or on the statements that change the database.
    CreateTrigger {
        name: Name,
        on: Option<Name>,
        body: Vec<Line>,
    },
    DropTable {
        names: Vec<Name>,
        if_exists: bool,
    },
    CreateSchema {
        name: String,
        owner: Option<String>,
    },
    DropSchema(String),
    AlterAuthorization {
        on: Securable,
        to: String,
    },
    CreateDatabase {
        name: String,
        contained: bool,
    },
    AlterDatabase {
        name: String,
        read_only: Option<bool>,
    },
    DropDatabase(String),
    Insert {
        ctes: Vec<Cte>,
        into: Target,
        columns: Vec<String>,
        source: Source,
    },
    Update {
        ctes: Vec<Cte>,
        target: Target,
        set: Vec<(String, Expr)>,
        from: Option<From>,
        filter: Option<Expr>,
    },
    Delete {
        ctes: Vec<Cte>,
        target: Target,
        output: Vec<Item>,
        from: Option<From>,
        filter: Option<Expr>,
    },
    Nothing,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Target {
    Table(Name),
    Variable(String),
}
