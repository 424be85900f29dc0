//! Expressions, from the loosest operator to the tightest.

use super::{
    ast::Expr,
    lex::Token,
    parse::{Parser, reserved},
    value::{Ty, Value},
};
use crate::SqlError;

impl Parser {
    pub(super) fn expr(&mut self) -> Result<Expr, SqlError> {
        let mut left = self.conjunction()?;
        while self.take("or") {
            left = Expr::Binary("or", Box::new(left), Box::new(self.conjunction()?));
        }
        Ok(left)
    }

    fn conjunction(&mut self) -> Result<Expr, SqlError> {
        let mut left = self.negation()?;
        while self.take("and") {
            left = Expr::Binary("and", Box::new(left), Box::new(self.negation()?));
        }
        Ok(left)
    }

    fn negation(&mut self) -> Result<Expr, SqlError> {
        if self.take("not") { Ok(Expr::Not(Box::new(self.negation()?))) } else { self.predicate() }
    }

    fn predicate(&mut self) -> Result<Expr, SqlError> {
        let left = self.sum()?;
        for op in ["=", "<>", "!=", "<=", ">=", "<", ">"] {
            if self.sign(op) {
                let op = if op == "!=" { "<>" } else { op };
                return Ok(Expr::Binary(op, Box::new(left), Box::new(self.sum()?)));
            }
        }
        let of = Box::new(left);
        if self.take("is") {
            let not = self.take("not");
            self.want("null")?;
            return Ok(Expr::IsNull { of, not });
        }
        let not = self.take("not");
        if self.take("in") {
            self.want_sign("(")?;
            let out = if self.is("select") {
                Expr::InQuery { of, query: Box::new(self.query()?), not }
            } else {
                Expr::In { of, list: self.list(Self::expr)?, not }
            };
            self.want_sign(")")?;
            return Ok(out);
        }
        if self.take("between") {
            let low = Box::new(self.sum()?);
            self.want("and")?;
            return Ok(Expr::Between { of, low, high: Box::new(self.sum()?), not });
        }
        if self.take("like") {
            let pattern = Box::new(self.sum()?);
            let escape = if self.take("escape") { Some(Box::new(self.sum()?)) } else { None };
            return Ok(Expr::Like { of, pattern, escape, not });
        }
        if not { self.wrong() } else { Ok(*of) }
    }

    fn sum(&mut self) -> Result<Expr, SqlError> {
        let mut left = self.product()?;
        loop {
            let Some(op) = ["+", "-", "&", "|", "^"].into_iter().find(|op| self.sign(op)) else { return Ok(left) };
            left = Expr::Binary(op, Box::new(left), Box::new(self.product()?));
        }
    }

    fn product(&mut self) -> Result<Expr, SqlError> {
        let mut left = self.unary()?;
        loop {
            let Some(op) = ["*", "/", "%"].into_iter().find(|op| self.sign(op)) else { return Ok(left) };
            left = Expr::Binary(op, Box::new(left), Box::new(self.unary()?));
        }
    }

    fn unary(&mut self) -> Result<Expr, SqlError> {
        for op in ["-", "+", "~"] {
            if self.sign(op) {
                return Ok(Expr::Unary(op, Box::new(self.unary()?)));
            }
        }
        let mut out = self.primary()?;
        while self.take("collate") {
            out = Expr::Collate(Box::new(out), self.name()?);
        }
        Ok(out)
    }

    pub(super) fn primary(&mut self) -> Result<Expr, SqlError> {
        match self.peek().clone() {
            Token::Text { text, national } => {
                self.next();
                let mut value = Value::text(text);
                if let (false, Ty::NVarChar(n)) = (national, value.ty) {
                    value.ty = Ty::VarChar(n);
                }
                Ok(Expr::Literal(value))
            }
            Token::Number(n) => {
                self.next();
                Ok(Expr::Literal(match (n.parse::<i64>(), n.parse::<f64>()) {
                    (Ok(i), _) if i32::try_from(i).is_ok() => Value::int(i),
                    (Ok(i), _) => Value::big(i),
                    (_, Ok(f)) => Value { ty: Ty::Float, data: super::value::Data::Float(f) },
                    _ => return self.wrong(),
                }))
            }
            Token::Hex(_) => Ok(Expr::Literal(Value::bin(self.hex()?))),
            Token::Variable(v) => {
                self.next();
                Ok(Expr::Variable(v))
            }
            Token::Global(g) => {
                self.next();
                Ok(Expr::Global(g))
            }
            Token::Sign("(") => {
                self.next();
                let out = if self.is("select") || self.is("with") {
                    Expr::Subquery(Box::new(self.query()?))
                } else {
                    self.expr()?
                };
                self.want_sign(")")?;
                Ok(out)
            }
            Token::Word(w) => self.word(&w.to_lowercase()),
            Token::Quoted(_) => Ok(Expr::Column(self.dotted()?)),
            _ => self.wrong(),
        }
    }

    fn word(&mut self, word: &str) -> Result<Expr, SqlError> {
        match word {
            "null" => {
                self.next();
                return Ok(Expr::Literal(Value::NULL));
            }
            "exists" => {
                self.next();
                self.want_sign("(")?;
                let query = self.query()?;
                self.want_sign(")")?;
                return Ok(Expr::Exists(Box::new(query)));
            }
            "case" => return self.case(),
            "cast" | "try_cast" | "convert" | "try_convert" if matches!(self.ahead(1), Token::Sign("(")) => {
                self.next();
                self.next();
                let forgiving = word.starts_with("try");
                let out = if word.ends_with("cast") {
                    let of = Box::new(self.expr()?);
                    self.want("as")?;
                    Expr::Cast { of, ty: self.ty()?, style: None, forgiving }
                } else {
                    let ty = self.ty()?;
                    self.want_sign(",")?;
                    let of = Box::new(self.expr()?);
                    let style = if self.sign(",") { Some(Box::new(self.expr()?)) } else { None };
                    Expr::Cast { of, ty, style, forgiving }
                };
                self.want_sign(")")?;
                return Ok(out);
            }
            "current_timestamp" | "current_user" | "session_user" | "system_user" | "user" => {
                self.next();
                return Ok(Expr::Call { name: word.to_owned(), args: Vec::new(), distinct: false, within: Vec::new() });
            }
            _ => {}
        }
        let call = matches!(self.ahead(1), Token::Sign("("));
        if call && (!reserved(word) || ["coalesce", "nullif", "left", "right"].contains(&word)) {
            self.next();
            return self.call(word);
        }
        Ok(Expr::Column(self.dotted()?))
    }

    fn call(&mut self, name: &str) -> Result<Expr, SqlError> {
        self.want_sign("(")?;
        let distinct = self.take("distinct");
        let mut args = Vec::new();
        let datepart = ["dateadd", "datediff", "datediff_big", "datepart", "datename"].contains(&name);
        if name == "count" || name == "count_big" {
            if self.sign("*") {
                self.want_sign(")")?;
                return Ok(Expr::Call { name: name.to_owned(), args, distinct, within: Vec::new() });
            }
        } else if datepart {
            let part = self.name()?;
            args.push(Expr::Literal(Value::text(part.to_lowercase())));
            self.want_sign(",")?;
        }
        if !self.is_sign(")") {
            args.extend(self.list(Self::expr)?);
        }
        self.want_sign(")")?;
        let mut within = Vec::new();
        if self.take("within group") {
            self.want_sign("(")?;
            self.want("order by")?;
            within = self.list(Self::ordering)?;
            self.want_sign(")")?;
        }
        Ok(Expr::Call { name: name.to_owned(), args, distinct, within })
    }

    fn case(&mut self) -> Result<Expr, SqlError> {
        self.want("case")?;
        let of = if self.is("when") { None } else { Some(Box::new(self.expr()?)) };
        let mut when = Vec::new();
        while self.take("when") {
            let test = self.expr()?;
            self.want("then")?;
            when.push((test, self.expr()?));
        }
        if when.is_empty() {
            return self.wrong();
        }
        let other = if self.take("else") { Some(Box::new(self.expr()?)) } else { None };
        self.want("end")?;
        Ok(Expr::Case { of, when, other })
    }
}
