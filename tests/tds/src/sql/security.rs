//! Data definition and data control: principals, roles, permissions, tables, databases.

use super::{
    ast::{Change, Securable, Stmt},
    lex::Token,
    parse::Parser,
};
use crate::SqlError;

impl Parser {
    /// Parses one of these statements, if one starts here.
    pub(super) fn security(&mut self) -> Result<Option<Stmt>, SqlError> {
        let stmt = if self.take("create login") {
            self.create_login()?
        } else if self.take("alter login") {
            self.alter_login()?
        } else if self.take("drop login") {
            Stmt::DropLogin(self.name()?)
        } else if self.take("create user") {
            self.create_user()?
        } else if self.take("alter user") {
            self.alter_user()?
        } else if self.take("drop user") {
            let if_exists = self.take("if exists");
            Stmt::DropUser { name: self.name()?, if_exists }
        } else if self.take("create server role") {
            self.create_role(true)?
        } else if self.take("create role") {
            self.create_role(false)?
        } else if self.take("alter server role") {
            self.alter_role(true)?
        } else if self.take("alter role") {
            self.alter_role(false)?
        } else if self.take("drop server role") {
            Stmt::DropRole { name: self.name()?, server: true, if_exists: false }
        } else if self.take("drop role") {
            let if_exists = self.take("if exists");
            Stmt::DropRole { name: self.name()?, server: false, if_exists }
        } else if self.take("grant") {
            self.permission('G')?
        } else if self.take("deny") {
            self.permission('D')?
        } else if self.take("revoke") {
            self.permission('R')?
        } else if self.take("execute as") || self.take("exec as") {
            let login = self.take("login");
            if !login {
                self.want("user")?;
            }
            self.want_sign("=")?;
            Stmt::ExecuteAs { login, name: self.primary()? }
        } else if self.take("revert") {
            Stmt::Revert
        } else if self.take("create table") {
            Stmt::CreateTable { name: self.dotted()?, columns: self.column_defs()? }
        } else if self.take("drop table") {
            let if_exists = self.take("if exists");
            Stmt::DropTable { names: self.list(Self::dotted)?, if_exists }
        } else if self.take("create schema") {
            let name = self.name()?;
            let owner = if self.take("authorization") { Some(self.name()?) } else { None };
            Stmt::CreateSchema { name, owner }
        } else if self.take("drop schema") {
            Stmt::DropSchema(self.name()?)
        } else if self.take("alter authorization on") {
            let on = self.securable()?;
            self.want("to")?;
            Stmt::AlterAuthorization { on, to: self.name()? }
        } else if self.take("create database") {
            let name = self.name()?;
            let contained = self.take("containment");
            if contained {
                self.want_sign("=")?;
                self.want("partial")?;
            }
            Stmt::CreateDatabase { name, contained }
        } else if self.take("alter database") {
            let name = self.name()?;
            self.want("set")?;
            let read_only = if self.take("read_only") {
                Some(true)
            } else if self.take("read_write") {
                Some(false)
            } else {
                return self.wrong();
            };
            if self.take("with") && !(self.take("no_wait") || self.take("rollback immediate")) {
                return self.wrong();
            }
            Stmt::AlterDatabase { name, read_only }
        } else if self.take("drop database") {
            Stmt::DropDatabase(self.name()?)
        } else {
            return Ok(None);
        };
        Ok(Some(stmt))
    }

    fn create_login(&mut self) -> Result<Stmt, SqlError> {
        let name = self.name()?;
        if self.take("from windows") {
            return Err(SqlError::new(
                15407,
                format!("'{name}' is not a valid Windows NT name. Give the complete name: <domain\\username>."),
            ));
        }
        self.want("with password")?;
        self.want_sign("=")?;
        let password = Some(self.text()?);
        self.take("must_change");
        let (mut sid, mut database) = (None, None);
        while self.sign(",") {
            if self.take("sid") {
                self.want_sign("=")?;
                sid = Some(self.hex()?);
            } else if self.take("default_database") {
                self.want_sign("=")?;
                database = Some(self.name()?);
            } else {
                self.login_policy()?;
            }
        }
        Ok(Stmt::CreateLogin { name, password, sid, database })
    }

    fn login_policy(&mut self) -> Result<(), SqlError> {
        if self.take("check_policy") || self.take("check_expiration") {
            self.want_sign("=")?;
            return if self.take("on") { Ok(()) } else { self.want("off") };
        }
        self.want("default_language")?;
        self.want_sign("=")?;
        self.name().map(drop)
    }

    fn alter_login(&mut self) -> Result<Stmt, SqlError> {
        let name = self.name()?;
        let (mut rename, mut password, mut disable) = (None, None, None);
        if self.take("enable") {
            disable = Some(false);
        } else if self.take("disable") {
            disable = Some(true);
        } else {
            self.want("with")?;
            loop {
                if self.take("name") {
                    self.want_sign("=")?;
                    rename = Some(self.name()?);
                } else if self.take("password") {
                    self.want_sign("=")?;
                    password = Some(self.text()?);
                    if self.take("old_password") {
                        self.want_sign("=")?;
                        self.text()?;
                    }
                    self.take("unlock");
                } else if self.take("default_database") {
                    self.want_sign("=")?;
                    self.name()?;
                } else {
                    self.login_policy()?;
                }
                if !self.sign(",") {
                    break;
                }
            }
        }
        Ok(Stmt::AlterLogin { name, rename, password, disable })
    }

    fn create_user(&mut self) -> Result<Stmt, SqlError> {
        let name = self.name()?;
        let (mut login, mut password, mut without) = (None, None, false);
        if self.take("for login") || self.take("from login") {
            login = Some(self.name()?);
        } else if self.take("without login") {
            without = true;
        }
        if self.take("with") {
            loop {
                if self.take("password") {
                    self.want_sign("=")?;
                    password = Some(self.text()?);
                } else if self.take("default_schema") {
                    self.want_sign("=")?;
                    self.name()?;
                } else {
                    return self.wrong();
                }
                if !self.sign(",") {
                    break;
                }
            }
        }
        Ok(Stmt::CreateUser { name, login, password, without })
    }

    fn alter_user(&mut self) -> Result<Stmt, SqlError> {
        let name = self.name()?;
        let (mut rename, mut password, mut login) = (None, None, None);
        self.want("with")?;
        loop {
            if self.take("name") {
                self.want_sign("=")?;
                rename = Some(self.name()?);
            } else if self.take("login") {
                self.want_sign("=")?;
                login = Some(self.name()?);
            } else if self.take("password") {
                self.want_sign("=")?;
                password = Some(self.text()?);
            } else if self.take("default_schema") {
                self.want_sign("=")?;
                self.name()?;
            } else {
                return self.wrong();
            }
            if !self.sign(",") {
                break;
            }
        }
        Ok(Stmt::AlterUser { name, rename, password, login })
    }

    fn create_role(&mut self, server: bool) -> Result<Stmt, SqlError> {
        let name = self.name()?;
        let owner = if self.take("authorization") { Some(self.name()?) } else { None };
        Ok(Stmt::CreateRole { name, owner, server })
    }

    fn alter_role(&mut self, server: bool) -> Result<Stmt, SqlError> {
        let name = self.name()?;
        let change = if self.take("add member") {
            Change::Add(self.name()?)
        } else if self.take("drop member") {
            Change::Drop(self.name()?)
        } else {
            self.want("with name")?;
            self.want_sign("=")?;
            Change::Rename(self.name()?)
        };
        Ok(Stmt::AlterRole { name, change, server })
    }

    fn permission(&mut self, state: char) -> Result<Stmt, SqlError> {
        let mut option = state == 'R' && self.take("grant option for");
        let permissions = self.list(|p| {
            let mut words = Vec::new();
            while let Token::Word(w) = p.peek() {
                if ["on", "to", "from"].iter().any(|end| w.eq_ignore_ascii_case(end)) {
                    break;
                }
                words.push(w.to_uppercase());
                p.next();
            }
            if words.is_empty() { p.wrong() } else { Ok(words.join(" ")) }
        })?;
        let on = if self.take("on") { self.securable()? } else { Securable::Whole };
        if !(self.take("to") || (state == 'R' && self.take("from"))) {
            return self.wrong();
        }
        let to = self.list(|p| if p.take("public") { Ok("public".to_owned()) } else { p.name() })?;
        if state == 'G' && self.take("with grant option") {
            option = true;
        }
        if state != 'G' {
            self.take("cascade");
        }
        if self.take("as") {
            self.name()?;
        }
        Ok(Stmt::Permission { state, permissions, on, to, option })
    }

    fn securable(&mut self) -> Result<Securable, SqlError> {
        let class = |p: &mut Self, words: &str| {
            let n = words.split(' ').count();
            let all = words.split(' ').enumerate().all(|(i, w)| p.is_at(i, w));
            if all && matches!(p.ahead(n), Token::Sign("::")) {
                (0..=n).for_each(|_| drop(p.next()));
                true
            } else {
                false
            }
        };
        Ok(if class(self, "role") || class(self, "user") || class(self, "application role") {
            Securable::Principal(if self.take("public") { "public".into() } else { self.name()? })
        } else if class(self, "login") || class(self, "server role") {
            Securable::ServerPrincipal(self.name()?)
        } else if class(self, "schema") {
            Securable::Schema(self.name()?)
        } else if class(self, "database") {
            Securable::Database(self.name()?)
        } else {
            class(self, "object");
            Securable::Object(self.dotted()?)
        })
    }
}
