//! Statements of the procedural language: batches, blocks, variables, EXECUTE, data changes.

use super::{
    ast::{Argument, ColumnDef, Expr, Item, Line, Name, Routine, Source, Stmt, Target},
    lex::{Token, lex},
    value::Ty,
};
use crate::SqlError;

/// Parses a whole batch. If any part has an error, nothing of the batch runs.
pub(crate) fn parse(sql: &str) -> Result<Vec<Line>, SqlError> {
    let mut p = Parser::new(sql)?;
    let mut out = Vec::new();
    while p.peek() != &Token::End {
        if !p.sign(";") {
            out.push(p.line()?);
        }
    }
    Ok(out)
}

/// Parses the parameters that sp_executesql and sp_prepare declare: name, type, and true for
/// OUTPUT.
pub(crate) fn parse_parameters(text: &str) -> Result<Vec<(String, Ty, bool)>, SqlError> {
    let mut p = Parser::new(text)?;
    if p.peek() == &Token::End {
        return Ok(Vec::new());
    }
    let out = p.parameters()?;
    if p.peek() == &Token::End { Ok(out) } else { p.wrong() }
}

/// Words that cannot be names unless quoted.
const RESERVED: &str = " add all alter and any as asc authorization backup begin between break browse bulk by cascade case check \
    checkpoint close clustered coalesce collate column commit compute constraint contains containstable continue convert create cross \
    current current_date current_time current_timestamp current_user cursor database dbcc deallocate declare default delete deny desc \
    disk distinct distributed double drop dump else end errlvl escape except exec execute exists exit external fetch file fillfactor \
    for foreign freetext freetexttable from full function goto grant group having holdlock identity identity_insert identitycol if in \
    index inner insert intersect into is join key kill left like lineno load merge national nocheck nonclustered not null nullif of off \
    offsets on open opendatasource openquery openrowset openxml option or order outer over percent pivot plan precision primary print \
    proc procedure public raiserror read readtext reconfigure references replication restore restrict return revert revoke right \
    rollback rowcount rowguidcol rule save schema select session_user set setuser shutdown some statistics system_user table \
    tablesample textsize then to top tran transaction trigger truncate try_convert tsequal union unique unpivot update updatetext use \
    user values varying view waitfor when where while with within writetext ";

pub(super) fn reserved(word: &str) -> bool {
    RESERVED.contains(&format!(" {} ", word.to_lowercase()))
}

pub(crate) struct Parser {
    tokens: Vec<(Token, u32)>,
    at: usize,
}

impl Parser {
    pub(crate) fn new(sql: &str) -> Result<Self, SqlError> {
        Ok(Self { tokens: lex(sql)?, at: 0 })
    }

    pub(super) fn peek(&self) -> &Token {
        self.ahead(0)
    }

    pub(super) fn ahead(&self, n: usize) -> &Token {
        self.tokens.get(self.at + n).map_or(&Token::End, |t| &t.0)
    }

    pub(super) fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn here(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |t| t.1)
    }

    /// Returns error 102 or 156 at the current token.
    pub(super) fn wrong<T>(&self) -> Result<T, SqlError> {
        let near = match self.peek() {
            Token::Word(w) if reserved(w) => {
                return Err(SqlError::new(156, format!("Incorrect syntax near the keyword '{w}'.")).at(self.here()));
            }
            Token::Word(w) | Token::Quoted(w) | Token::Variable(w) | Token::Number(w) => w.clone(),
            Token::Text { text, .. } => text.clone(),
            Token::Hex(h) => format!("0x{h}"),
            Token::Global(g) => format!("@@{g}"),
            Token::Sign(s) => (*s).to_owned(),
            Token::End => match self.at.checked_sub(1).and_then(|i| self.tokens.get(i)) {
                Some((Token::Word(w) | Token::Quoted(w) | Token::Variable(w), _)) => w.clone(),
                Some((Token::Sign(s), _)) => (*s).to_owned(),
                _ => String::new(),
            },
        };
        Err(SqlError::new(102, format!("Incorrect syntax near '{near}'.")).at(self.here()))
    }

    pub(super) fn is(&self, word: &str) -> bool {
        self.is_at(0, word)
    }

    pub(super) fn is_at(&self, n: usize, word: &str) -> bool {
        matches!(self.ahead(n), Token::Word(w) if w.eq_ignore_ascii_case(word))
    }

    /// Takes these keywords if all of them come next.
    pub(super) fn take(&mut self, words: &str) -> bool {
        let words: Vec<&str> = words.split(' ').collect();
        let all = words.iter().enumerate().all(|(i, w)| self.is_at(i, w));
        if all {
            self.at += words.len();
        }
        all
    }

    pub(super) fn want(&mut self, words: &str) -> Result<(), SqlError> {
        if self.take(words) { Ok(()) } else { self.wrong() }
    }

    pub(super) fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Token::Sign(s) if *s == sign)
    }

    pub(super) fn sign(&mut self, sign: &str) -> bool {
        let yes = self.is_sign(sign);
        self.at += usize::from(yes);
        yes
    }

    pub(super) fn want_sign(&mut self, sign: &str) -> Result<(), SqlError> {
        if self.sign(sign) { Ok(()) } else { self.wrong() }
    }

    /// Checks whether a name can start at the current token.
    pub(super) fn is_name(&self) -> bool {
        match self.peek() {
            Token::Quoted(_) => true,
            Token::Word(w) => !reserved(w),
            _ => false,
        }
    }

    pub(super) fn name(&mut self) -> Result<String, SqlError> {
        if !self.is_name() {
            return self.wrong();
        }
        match self.next() {
            Token::Word(w) | Token::Quoted(w) => Ok(w),
            _ => self.wrong(),
        }
    }

    /// Parses a name whose parts are separated by dots. A middle part may be empty.
    pub(super) fn dotted(&mut self) -> Result<Name, SqlError> {
        let mut name = vec![self.name()?];
        while self.sign(".") {
            if self.is_sign(".") {
                name.push(String::new());
            } else {
                name.push(self.name()?);
            }
        }
        if name.len() > 4 { self.wrong() } else { Ok(name) }
    }

    pub(super) fn variable(&mut self) -> Result<String, SqlError> {
        match self.peek().clone() {
            Token::Variable(v) => {
                self.at += 1;
                Ok(v)
            }
            _ => self.wrong(),
        }
    }

    pub(super) fn text(&mut self) -> Result<String, SqlError> {
        match self.peek().clone() {
            Token::Text { text, .. } => {
                self.at += 1;
                Ok(text)
            }
            _ => self.wrong(),
        }
    }

    pub(super) fn hex(&mut self) -> Result<Vec<u8>, SqlError> {
        match self.peek().clone() {
            Token::Hex(h) => {
                self.at += 1;
                Ok(super::value::unhex(&h).unwrap_or_default())
            }
            _ => self.wrong(),
        }
    }

    pub(super) fn list<T>(
        &mut self,
        mut one: impl FnMut(&mut Self) -> Result<T, SqlError>,
    ) -> Result<Vec<T>, SqlError> {
        let mut out = vec![one(self)?];
        while self.sign(",") {
            out.push(one(self)?);
        }
        Ok(out)
    }

    /// Parses parameters: name, type, and true for OUTPUT.
    fn parameters(&mut self) -> Result<Vec<(String, Ty, bool)>, SqlError> {
        self.list(|p| {
            let name = p.variable()?;
            p.take("as");
            let ty = p.ty()?;
            if p.sign("=") {
                p.primary()?;
            }
            Ok((name, ty, p.take("output") || p.take("out")))
        })
    }

    /// Parses a trigger. Its body is the rest of the batch.
    fn trigger(&mut self) -> Result<Stmt, SqlError> {
        let name = self.dotted()?;
        self.want("on")?;
        let on = if self.take("database") { None } else { Some(self.dotted()?) };
        if !self.take("after") {
            self.want("for")?;
        }
        // the list of statements is skipped: a trigger here runs for all of them
        while !self.take("as") {
            self.next();
        }
        let mut body = Vec::new();
        while self.peek() != &Token::End {
            if !self.sign(";") {
                body.push(self.line()?);
            }
        }
        Ok(Stmt::CreateTrigger { name, on, body })
    }

    /// Parses a procedure. Its body is the rest of the batch.
    fn procedure(&mut self, opens: bool, or_alter: bool) -> Result<Stmt, SqlError> {
        if !opens {
            let text = "'CREATE/ALTER PROCEDURE' must be the first statement in a query batch.";
            return Err(SqlError::new(111, text).at(self.here()));
        }
        let name = self.dotted()?;
        let bracket = self.sign("(");
        let declared = matches!(self.peek(), Token::Variable(_));
        let parameters = if declared { self.parameters()? } else { Vec::new() };
        if bracket {
            self.want_sign(")")?;
        }
        let mut runs_as = None;
        if self.take("with") {
            self.want("execute as")?;
            if matches!(self.peek(), Token::Text { .. }) {
                runs_as = Some(self.text()?);
            } else if self.take("owner") {
                runs_as = Some("dbo".to_owned());
            } else {
                self.want("caller")?;
            }
        }
        self.want("as")?;
        let mut body = Vec::new();
        while self.peek() != &Token::End {
            if !self.sign(";") {
                body.push(self.line()?);
            }
        }
        Ok(Stmt::CreateProcedure { name, routine: Routine { parameters, body }, runs_as, or_alter })
    }

    pub(super) fn names_in_brackets(&mut self) -> Result<Vec<String>, SqlError> {
        self.want_sign("(")?;
        let names = self.list(Self::name)?;
        self.want_sign(")")?;
        Ok(names)
    }

    /// Parses a data type; `sysname` is nvarchar(128).
    pub(super) fn ty(&mut self) -> Result<Ty, SqlError> {
        let name = match self.next() {
            Token::Word(w) | Token::Quoted(w) => w.to_lowercase(),
            _ => {
                self.at -= 1;
                return self.wrong();
            }
        };
        let mut length = None;
        let mut max = false;
        if self.sign("(") {
            if self.take("max") {
                max = true;
            } else if let Token::Number(n) = self.next() {
                length = n.parse::<u16>().ok();
                if self.sign(",") {
                    self.next();
                }
            } else {
                self.at -= 1;
                return self.wrong();
            }
            self.want_sign(")")?;
        }
        let sized = |default: u16| if max { None } else { Some(length.unwrap_or(default)) };
        Ok(match name.as_str() {
            "bit" => Ty::Bit,
            "tinyint" => Ty::TinyInt,
            "smallint" => Ty::SmallInt,
            "int" | "integer" => Ty::Int,
            "bigint" => Ty::BigInt,
            "float" | "real" | "decimal" | "numeric" => Ty::Float,
            "char" | "varchar" => Ty::VarChar(sized(30)),
            "nchar" | "nvarchar" => Ty::NVarChar(sized(30)),
            "sysname" => Ty::NVarChar(Some(128)),
            "binary" | "varbinary" => Ty::VarBinary(sized(30)),
            "uniqueidentifier" => Ty::Guid,
            "date" => Ty::Date,
            "datetime" | "smalldatetime" => Ty::DateTime,
            "datetime2" => Ty::DateTime2(length.map_or(7, |n| n.min(7) as u8)),
            _ => return Err(SqlError::new(243, format!("Type {name} is not a defined system type.")).at(self.here())),
        })
    }

    pub(super) fn line(&mut self) -> Result<Line, SqlError> {
        let line = self.here();
        let stmt = self.statement()?;
        self.sign(";");
        Ok(Line { line, stmt })
    }

    fn lines_until(&mut self, end: &str) -> Result<Vec<Line>, SqlError> {
        let mut out = Vec::new();
        loop {
            while self.sign(";") {}
            if self.take(end) {
                // a block holds at least one statement
                return if out.is_empty() && end != "end catch" {
                    self.at -= 1;
                    self.wrong()
                } else {
                    Ok(out)
                };
            }
            if self.peek() == &Token::End {
                return self.wrong();
            }
            out.push(self.line()?);
        }
    }

    fn statement(&mut self) -> Result<Stmt, SqlError> {
        if self.is("select") || self.is_sign("(") {
            return Ok(Stmt::Query(self.query()?));
        }
        if self.is("with") {
            let ctes = self.ctes()?;
            return match self.peek() {
                Token::Word(w) if w.eq_ignore_ascii_case("insert") => self.insert(ctes),
                Token::Word(w) if w.eq_ignore_ascii_case("update") => self.update(ctes),
                Token::Word(w) if w.eq_ignore_ascii_case("delete") => self.delete(ctes),
                _ => {
                    let mut query = self.query()?;
                    query.ctes = ctes;
                    Ok(Stmt::Query(query))
                }
            };
        }
        if self.take("begin try") {
            let body = self.lines_until("end try")?;
            self.sign(";");
            self.want("begin catch")?;
            let catch = self.lines_until("end catch")?;
            return Ok(Stmt::Try { body, catch });
        }
        if self.take("begin tran") || self.take("begin transaction") {
            if self.is_name() || matches!(self.peek(), Token::Variable(_)) {
                self.next();
            }
            return Ok(Stmt::Begin);
        }
        if self.take("begin") {
            return Ok(Stmt::Block(self.lines_until("end")?));
        }
        if self.take("commit") {
            let said = self.take("tran") || self.take("transaction") || self.take("work");
            if said && (self.is_name() && !self.is("throw") || matches!(self.peek(), Token::Variable(_))) {
                self.next();
            }
            return Ok(Stmt::Commit);
        }
        if self.take("rollback") {
            let mut name = None;
            if (self.take("tran") || self.take("transaction") || self.take("work"))
                && self.is_name()
                && !self.is("throw")
            {
                name = Some(self.name()?);
            }
            return Ok(Stmt::Rollback(name));
        }
        if self.take("save tran") || self.take("save transaction") {
            return Ok(Stmt::Save(self.name()?));
        }
        if self.take("if") {
            let test = self.expr()?;
            let then = Box::new(self.line()?);
            let other = if self.take("else") { Some(Box::new(self.line()?)) } else { None };
            return Ok(Stmt::If { test, then, other });
        }
        if self.take("while") {
            return Ok(Stmt::While { test: self.expr()?, body: Box::new(self.line()?) });
        }
        if self.take("declare") {
            return self.declare();
        }
        if self.take("set") {
            return self.set();
        }
        if self.take("print") {
            return Ok(Stmt::Print(self.expr()?));
        }
        if self.take("throw") {
            if self.is_sign(";") || self.peek() == &Token::End || self.is("end") || self.is("else") {
                return Ok(Stmt::Throw(None));
            }
            let number = self.expr()?;
            self.want_sign(",")?;
            let message = self.expr()?;
            self.want_sign(",")?;
            return Ok(Stmt::Throw(Some((number, message, self.expr()?))));
        }
        if self.take("raiserror") {
            self.want_sign("(")?;
            let mut parts = self.list(Self::expr)?;
            self.want_sign(")")?;
            if self.take("with") {
                self.list(
                    |p| if p.take("nowait") || p.take("log") || p.take("seterror") { Ok(()) } else { p.wrong() },
                )?;
            }
            if parts.len() < 3 {
                return self.wrong();
            }
            let args = parts.split_off(3);
            let (state, severity) = (parts.remove(2), parts.remove(1));
            return Ok(Stmt::RaisError { message: parts.remove(0), severity, state, args });
        }
        if self.take("use") {
            return Ok(Stmt::Use(self.name()?));
        }
        if self.take("waitfor delay") {
            return Ok(Stmt::WaitFor(self.expr()?));
        }
        if self.take("kill") {
            let spid = self.expr()?;
            if self.take("with statusonly") {
                return Ok(Stmt::Nothing);
            }
            return Ok(Stmt::Kill(spid));
        }
        if self.take("return") {
            let ends =
                self.is_sign(";") || self.peek() == &Token::End || matches!(self.peek(), Token::Word(w) if reserved(w));
            return Ok(Stmt::Return(if ends { None } else { Some(self.expr()?) }));
        }
        if self.take("break") {
            return Ok(Stmt::Break);
        }
        if self.take("continue") {
            return Ok(Stmt::Continue);
        }
        if self.is("insert") {
            return self.insert(Vec::new());
        }
        if self.is("update") {
            return self.update(Vec::new());
        }
        if self.is("delete") {
            return self.delete(Vec::new());
        }
        let opens = self.at == 0;
        for (words, or_alter) in [("create", false), ("create or alter", true)] {
            if self.take(&format!("{words} procedure")) || self.take(&format!("{words} proc")) {
                return self.procedure(opens, or_alter);
            }
        }
        if self.take("create trigger") {
            return self.trigger();
        }
        if self.take("drop procedure") || self.take("drop proc") {
            let if_exists = self.take("if exists");
            return Ok(Stmt::DropProcedure { name: self.dotted()?, if_exists });
        }
        if let Some(stmt) = self.security()? {
            return Ok(stmt);
        }
        if self.take("exec") || self.take("execute") {
            return self.execute();
        }
        // a procedure may be called without EXEC at the start of a batch
        if self.at == 0 && self.is_name() {
            return self.execute();
        }
        self.wrong()
    }

    fn declare(&mut self) -> Result<Stmt, SqlError> {
        if let (Token::Variable(name), true) = (self.peek().clone(), self.is_at(1, "table") || self.is_at(2, "table")) {
            self.at += 1;
            self.take("as");
            self.want("table")?;
            return Ok(Stmt::DeclareTable { name, columns: self.column_defs()? });
        }
        Ok(Stmt::Declare(self.list(|p| {
            let name = p.variable()?;
            p.take("as");
            let ty = p.ty()?;
            let value = if p.sign("=") { Some(p.expr()?) } else { None };
            Ok((name, ty, value))
        })?))
    }

    pub(super) fn column_defs(&mut self) -> Result<Vec<ColumnDef>, SqlError> {
        self.want_sign("(")?;
        let mut columns: Vec<ColumnDef> = Vec::new();
        loop {
            if self.take("primary key") || self.take("unique") {
                self.take("clustered");
                self.take("nonclustered");
                // a constraint over several columns is not enforced here
                let names = self.names_in_brackets()?;
                if let [only] = names.as_slice() {
                    columns.iter_mut().filter(|c| c.name.eq_ignore_ascii_case(only)).for_each(|c| c.unique = true);
                }
            } else {
                let (name, ty) = (self.name()?, self.ty()?);
                let mut c = ColumnDef { name, ty, not_null: false, unique: false, identity: false, default: None };
                loop {
                    if self.take("not null") {
                        c.not_null = true;
                    } else if self.take("null") || self.take("clustered") || self.take("nonclustered") {
                    } else if self.take("primary key") {
                        (c.unique, c.not_null) = (true, true);
                    } else if self.take("unique") {
                        c.unique = true;
                    } else if self.take("collate") {
                        self.name()?;
                    } else if self.take("identity") {
                        c.identity = true;
                        if self.sign("(") {
                            self.list(Self::expr)?;
                            self.want_sign(")")?;
                        }
                    } else if self.take("default") {
                        c.default = Some(self.expr()?);
                    } else if self.take("constraint") {
                        self.name()?;
                    } else {
                        break;
                    }
                }
                columns.push(c);
            }
            if !self.sign(",") {
                break;
            }
        }
        self.want_sign(")")?;
        Ok(columns)
    }

    fn set(&mut self) -> Result<Stmt, SqlError> {
        if let Token::Variable(name) = self.peek().clone() {
            self.at += 1;
            for op in ["=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^="] {
                if self.sign(op) {
                    return Ok(Stmt::SetVariable { name, op, expr: self.expr()? });
                }
            }
            return self.wrong();
        }
        if self.take("transaction isolation level") {
            for level in ["read uncommitted", "read committed", "repeatable read", "snapshot", "serializable"] {
                if self.take(level) {
                    let on = level == "read uncommitted";
                    return Ok(Stmt::SetOption { names: vec!["isolation".into()], value: None, on });
                }
            }
            return self.wrong();
        }
        const SWITCHES: [&str; 17] = [
            "xact_abort",
            "nocount",
            "ansi_nulls",
            "ansi_padding",
            "ansi_warnings",
            "ansi_null_dflt_on",
            "ansi_null_dflt_off",
            "ansi_defaults",
            "arithabort",
            "arithignore",
            "concat_null_yields_null",
            "quoted_identifier",
            "numeric_roundabort",
            "cursor_close_on_commit",
            "implicit_transactions",
            "fmtonly",
            "noexec",
        ];
        const VALUES: [&str; 8] = [
            "lock_timeout",
            "deadlock_priority",
            "context_info",
            "textsize",
            "language",
            "dateformat",
            "datefirst",
            "rowcount",
        ];
        let names = self.list(|p| match p.next() {
            Token::Word(w) => Ok(w.to_lowercase()),
            _ => {
                p.at -= 1;
                p.wrong()
            }
        })?;
        if names.iter().all(|n| SWITCHES.contains(&n.as_str())) {
            return if self.take("on") {
                Ok(Stmt::SetOption { names, value: None, on: true })
            } else {
                self.want("off")?;
                Ok(Stmt::SetOption { names, value: None, on: false })
            };
        }
        if names.len() == 1 && VALUES.contains(&names[0].as_str()) {
            let value = match self.peek().clone() {
                Token::Word(w) => {
                    self.at += 1;
                    Expr::Literal(super::value::Value::text(w))
                }
                _ => self.expr()?,
            };
            return Ok(Stmt::SetOption { names, value: Some(value), on: true });
        }
        self.at -= 1;
        self.wrong()
    }

    fn execute(&mut self) -> Result<Stmt, SqlError> {
        if self.sign("(") {
            let mut parts = vec![self.concatenation_part()?];
            while self.sign("+") {
                parts.push(self.concatenation_part()?);
            }
            self.want_sign(")")?;
            return Ok(Stmt::ExecString { parts });
        }
        let mut into = None;
        if let (Token::Variable(v), Token::Sign("=")) = (self.peek().clone(), self.ahead(1)) {
            self.at += 2;
            into = Some(v);
        }
        let name = self.dotted()?;
        let mut args = Vec::new();
        let starts = |p: &Self| match p.peek() {
            Token::Variable(_)
            | Token::Text { .. }
            | Token::Number(_)
            | Token::Hex(_)
            | Token::Global(_)
            | Token::Quoted(_) => true,
            Token::Sign(s) => *s == "-",
            Token::Word(w) => !reserved(w) || w.eq_ignore_ascii_case("null") || w.eq_ignore_ascii_case("default"),
            Token::End => false,
        };
        if starts(self) {
            args = self.list(|p| {
                let mut name = None;
                if let (Token::Variable(v), Token::Sign("=")) = (p.peek().clone(), p.ahead(1)) {
                    p.at += 2;
                    name = Some(v);
                }
                // an argument is a constant or a variable, never an expression
                let value = match p.peek().clone() {
                    Token::Word(w) if !reserved(&w) => {
                        p.at += 1;
                        Expr::Literal(super::value::Value::text(w))
                    }
                    Token::Quoted(w) => {
                        p.at += 1;
                        Expr::Literal(super::value::Value::text(w))
                    }
                    Token::Sign("-") => {
                        p.at += 1;
                        Expr::Unary("-", Box::new(p.primary()?))
                    }
                    Token::Text { .. } | Token::Number(_) | Token::Hex(_) | Token::Variable(_) | Token::Global(_) => {
                        p.primary()?
                    }
                    _ if p.is("null") => p.primary()?,
                    _ => return p.wrong(),
                };
                let output = p.take("output") || p.take("out");
                Ok(Argument { name, value, output })
            })?;
        }
        Ok(Stmt::Exec { into, name, args })
    }

    fn concatenation_part(&mut self) -> Result<Expr, SqlError> {
        match self.peek() {
            Token::Text { .. } | Token::Variable(_) => self.primary(),
            _ => self.wrong(),
        }
    }

    fn target(&mut self) -> Result<Target, SqlError> {
        if matches!(self.peek(), Token::Variable(_)) {
            return Ok(Target::Variable(self.variable()?));
        }
        let name = self.dotted()?;
        self.hints()?;
        Ok(Target::Table(name))
    }

    fn insert(&mut self, ctes: Vec<super::ast::Cte>) -> Result<Stmt, SqlError> {
        self.want("insert")?;
        self.take("into");
        let into = self.target()?;
        let columns =
            if self.is_sign("(") && !matches!(self.ahead(1), Token::Word(w) if w.eq_ignore_ascii_case("select")) {
                self.names_in_brackets()?
            } else {
                Vec::new()
            };
        let source = if self.take("default values") {
            Source::Default
        } else if self.take("exec") || self.take("execute") {
            Source::Exec(Box::new(self.execute()?))
        } else {
            Source::Query(Box::new(self.query()?))
        };
        Ok(Stmt::Insert { ctes, into, columns, source })
    }

    fn update(&mut self, ctes: Vec<super::ast::Cte>) -> Result<Stmt, SqlError> {
        self.want("update")?;
        let target = self.target()?;
        self.want("set")?;
        let set = self.list(|p| {
            let column = p.dotted()?.pop().unwrap_or_default();
            p.want_sign("=")?;
            Ok((column, p.expr()?))
        })?;
        let from = if self.take("from") { Some(self.from()?) } else { None };
        let filter = if self.take("where") { Some(self.expr()?) } else { None };
        Ok(Stmt::Update { ctes, target, set, from, filter })
    }

    fn delete(&mut self, ctes: Vec<super::ast::Cte>) -> Result<Stmt, SqlError> {
        self.want("delete")?;
        self.take("from");
        let target = self.target()?;
        let output: Vec<Item> = if self.take("output") { self.list(Self::item)? } else { Vec::new() };
        let from = if self.take("from") { Some(self.from()?) } else { None };
        let filter = if self.take("where") { Some(self.expr()?) } else { None };
        Ok(Stmt::Delete { ctes, target, output, from, filter })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_does_not_know_is_error_102_or_156() {
        assert_eq!(parse("alter role r add member").unwrap_err().number, 102);
        assert_eq!(
            parse("selekt 1").unwrap()[0].stmt,
            Stmt::Exec {
                into: None,
                name: vec!["selekt".into()],
                args: vec![Argument {
                    name: None,
                    value: Expr::Literal(crate::sql::value::Value::int(1)),
                    output: false
                }]
            }
        );
        assert_eq!(parse("select 1 selekt 2").unwrap_err().number, 102);
        assert_eq!(parse("select from").unwrap_err().number, 156);
        assert_eq!(parse("begin end").unwrap_err().number, 156);
        assert_eq!(parse("grant select on t").unwrap_err().number, 102);
    }

    #[test]
    fn an_argument_of_exec_is_no_expression() {
        assert!(parse("exec sp_executesql N'a' + N'b'").is_err());
        assert!(parse("exec(N'a' + @b)").is_ok());
        assert!(parse("exec(quotename(@b))").is_err());
    }
}
