//! Grammar of queries.

use super::{
    ast::{Body, Cte, Expr, From, Item, JoinKind, Query, Select, SetKind},
    lex::Token,
    parse::Parser,
};
use crate::SqlError;

impl Parser {
    pub(super) fn query(&mut self) -> Result<Query, SqlError> {
        let ctes = if self.is("with") { self.ctes()? } else { Vec::new() };
        let body = self.body()?;
        let order = if self.take("order by") { self.list(Self::ordering)? } else { Vec::new() };
        let (mut offset, mut fetch) = (None, None);
        if !order.is_empty() && self.take("offset") {
            offset = Some(self.expr()?);
            if !(self.take("rows") || self.take("row")) {
                return self.wrong();
            }
            if self.take("fetch next") || self.take("fetch first") {
                fetch = Some(self.expr()?);
                if !(self.take("rows only") || self.take("row only")) {
                    return self.wrong();
                }
            }
        }
        if self.take("option") {
            self.want_sign("(")?;
            self.list(|p| {
                if p.take("recompile") {
                    Ok(())
                } else if p.take("maxrecursion") || p.take("maxdop") {
                    p.primary().map(drop)
                } else {
                    p.wrong()
                }
            })?;
            self.want_sign(")")?;
        }
        Ok(Query { ctes, body, order, offset, fetch })
    }

    pub(super) fn ctes(&mut self) -> Result<Vec<Cte>, SqlError> {
        self.want("with")?;
        self.list(|p| {
            let name = p.name()?;
            let columns = if p.is_sign("(") { p.names_in_brackets()? } else { Vec::new() };
            p.want("as")?;
            p.want_sign("(")?;
            let query = p.query()?;
            p.want_sign(")")?;
            Ok(Cte { name, columns, query })
        })
    }

    fn body(&mut self) -> Result<Body, SqlError> {
        let mut left = self.body_part()?;
        loop {
            let kind = if self.take("union all") {
                SetKind::UnionAll
            } else if self.take("union") {
                SetKind::Union
            } else if self.take("except") {
                SetKind::Except
            } else if self.take("intersect") {
                SetKind::Intersect
            } else {
                return Ok(left);
            };
            left = Body::Set { kind, left: Box::new(left), right: Box::new(self.body_part()?) };
        }
    }

    fn body_part(&mut self) -> Result<Body, SqlError> {
        if self.sign("(") {
            let query = self.query()?;
            self.want_sign(")")?;
            return Ok(Body::Nested(Box::new(query)));
        }
        if self.take("values") {
            return Ok(Body::Values(self.list(|p| {
                p.want_sign("(")?;
                let row =
                    p.list(|p| if p.take("default") { Ok(Expr::Column(vec!["default".into()])) } else { p.expr() })?;
                p.want_sign(")")?;
                Ok(row)
            })?));
        }
        self.want("select")?;
        let distinct = self.take("distinct");
        if !distinct {
            self.take("all");
        }
        let top = if self.take("top") {
            if self.sign("(") {
                let n = self.expr()?;
                self.want_sign(")")?;
                Some(n)
            } else {
                Some(self.primary()?)
            }
        } else {
            None
        };
        let items = self.list(Self::item)?;
        let from = if self.take("from") { Some(self.from()?) } else { None };
        let filter = if self.take("where") { Some(self.expr()?) } else { None };
        let group = if self.take("group by") { self.list(Self::expr)? } else { Vec::new() };
        let having = if self.take("having") { Some(self.expr()?) } else { None };
        Ok(Body::Select(Box::new(Select { distinct, top, items, from, filter, group, having })))
    }

    pub(super) fn item(&mut self) -> Result<Item, SqlError> {
        if self.sign("*") {
            return Ok(Item::Star(None));
        }
        if self.is_name() && matches!((self.ahead(1), self.ahead(2)), (Token::Sign("."), Token::Sign("*"))) {
            let table = self.name()?;
            self.next();
            self.next();
            return Ok(Item::Star(Some(table)));
        }
        if let Token::Variable(variable) = self.peek().clone() {
            for op in ["=", "+=", "-="] {
                if matches!(self.ahead(1), Token::Sign(s) if *s == op) {
                    self.next();
                    self.next();
                    return Ok(Item::Assign { variable, op, expr: self.expr()? });
                }
            }
        }
        if self.is_name() && matches!(self.ahead(1), Token::Sign("=")) {
            let alias = self.name()?;
            self.next();
            return Ok(Item::Expr { expr: self.expr()?, alias: Some(alias) });
        }
        let expr = self.expr()?;
        Ok(Item::Expr { expr, alias: self.column_alias()? })
    }

    fn column_alias(&mut self) -> Result<Option<String>, SqlError> {
        if self.take("as") {
            return match self.peek() {
                Token::Text { .. } => self.text().map(Some),
                _ => self.name().map(Some),
            };
        }
        // without AS, only a name can be an alias: a label or the next statement cannot
        if self.is_name() && !self.is("throw") { self.name().map(Some) } else { Ok(None) }
    }

    pub(super) fn ordering(&mut self) -> Result<(Expr, bool), SqlError> {
        let expr = self.expr()?;
        let descends = self.take("desc");
        if !descends {
            self.take("asc");
        }
        Ok((expr, descends))
    }

    pub(super) fn from(&mut self) -> Result<From, SqlError> {
        let mut left = self.joined()?;
        while self.sign(",") {
            left =
                From::Join { kind: JoinKind::Cross, left: Box::new(left), right: Box::new(self.joined()?), on: None };
        }
        Ok(left)
    }

    fn joined(&mut self) -> Result<From, SqlError> {
        let mut left = self.table()?;
        loop {
            let kind = if self.take("inner join") || self.take("join") {
                JoinKind::Inner
            } else if self.take("left join") || self.take("left outer join") {
                JoinKind::Left
            } else if self.take("right join") || self.take("right outer join") {
                JoinKind::Right
            } else if self.take("full join") || self.take("full outer join") {
                JoinKind::Full
            } else if self.take("cross join") || self.take("cross apply") {
                JoinKind::Cross
            } else if self.take("outer apply") {
                JoinKind::OuterApply
            } else {
                return Ok(left);
            };
            let right = Box::new(self.table()?);
            let on = if matches!(kind, JoinKind::Cross | JoinKind::OuterApply) {
                None
            } else {
                self.want("on")?;
                Some(self.expr()?)
            };
            left = From::Join { kind, left: Box::new(left), right, on };
        }
    }

    fn table(&mut self) -> Result<From, SqlError> {
        if let Token::Variable(name) = self.peek().clone() {
            self.next();
            return Ok(From::Variable { name, alias: self.table_alias()? });
        }
        if self.sign("(") {
            if self.is("select") || self.is("values") || self.is("with") {
                let query = self.query()?;
                self.want_sign(")")?;
                let Some(alias) = self.table_alias()? else { return self.wrong() };
                let columns = if self.is_sign("(") { self.names_in_brackets()? } else { Vec::new() };
                return Ok(From::Derived { query, alias, columns });
            }
            let inner = self.joined()?;
            self.want_sign(")")?;
            return Ok(inner);
        }
        let name = self.dotted()?;
        if self.is_sign("(") && !self.is_at(1, "nolock") {
            self.want_sign("(")?;
            let args = if self.is_sign(")") { Vec::new() } else { self.list(Self::expr)? };
            self.want_sign(")")?;
            if name.len() == 1 && name[0].eq_ignore_ascii_case("openjson") {
                return self.openjson(args);
            }
            let alias = self.table_alias()?;
            let columns = if alias.is_some() && self.is_sign("(") { self.names_in_brackets()? } else { Vec::new() };
            return Ok(From::Function { name, args, alias, columns });
        }
        let mut dirty = self.hints()?;
        let alias = self.table_alias()?;
        dirty |= self.hints()?;
        Ok(From::Table { name, alias, dirty })
    }

    fn openjson(&mut self, args: Vec<Expr>) -> Result<From, SqlError> {
        let mut with = Vec::new();
        if self.take("with") {
            self.want_sign("(")?;
            with = self.list(|p| {
                let (name, ty) = (p.name()?, p.ty()?);
                let path = if matches!(p.peek(), Token::Text { .. }) { Some(p.text()?) } else { None };
                if p.take("as json") {
                    return p.wrong();
                }
                Ok((name, ty, path))
            })?;
            self.want_sign(")")?;
        }
        Ok(From::OpenJson { args, with, alias: self.table_alias()? })
    }

    /// Parses `WITH (hint, ...)`. True if a hint reads uncommitted rows or skips locked ones.
    pub(super) fn hints(&mut self) -> Result<bool, SqlError> {
        if !(self.is("with") && matches!(self.ahead(1), Token::Sign("("))) {
            return Ok(false);
        }
        self.next();
        self.next();
        let hints = self.list(|p| match p.next() {
            Token::Word(w) => Ok(w.to_lowercase()),
            _ => p.wrong(),
        })?;
        self.want_sign(")")?;
        const KNOWN: [&str; 13] = [
            "nolock",
            "readuncommitted",
            "readpast",
            "updlock",
            "holdlock",
            "serializable",
            "rowlock",
            "tablock",
            "tablockx",
            "xlock",
            "readcommitted",
            "repeatableread",
            "paglock",
        ];
        if let Some(unknown) = hints.iter().find(|h| !KNOWN.contains(&h.as_str())) {
            return Err(SqlError::new(321, format!("\"{unknown}\" is not a recognized table hints option.")));
        }
        Ok(hints.iter().any(|h| matches!(h.as_str(), "nolock" | "readuncommitted" | "readpast")))
    }

    fn table_alias(&mut self) -> Result<Option<String>, SqlError> {
        if self.take("as") {
            return self.name().map(Some);
        }
        if self.is_name() && !self.is("throw") { self.name().map(Some) } else { Ok(None) }
    }
}
