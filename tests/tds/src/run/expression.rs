//! Evaluation of expressions.

use std::{
    cell::{Cell, RefCell},
    cmp::Ordering,
    collections::HashMap,
};

use super::Machine;
use crate::{
    SqlError, Stop, error,
    instance::{Instance, Rel},
    sql::{
        Data, Ty, Value,
        ast::{Expr, Query},
        fold,
    },
};

/// Column in scope.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub table: String,
    pub name: String,
    pub ty: Ty,
}

/// Current row, with the rows of the outer queries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub columns: &'a [Column],
    pub values: &'a [Value],
    /// Rows of the group, for aggregates.
    pub group: Option<&'a [Vec<Value>]>,
    pub up: Option<&'a Row<'a>>,
}

/// Environment in which expressions are evaluated.
pub(super) struct Eval<'a> {
    pub w: &'a Instance,
    pub m: &'a Machine,
    pub spid: i32,
    pub ctes: RefCell<HashMap<String, Rel>>,
    /// Only types and names are wanted. All branches are visited, and only errors that a compiler
    /// sees count.
    pub probe: Cell<bool>,
}

pub(super) type Up<'a> = Option<&'a Row<'a>>;

impl Machine {
    pub(super) fn eval<'a>(&'a self, w: &'a Instance) -> Eval<'a> {
        Eval { w, m: self, spid: self.spid, ctes: RefCell::default(), probe: Cell::new(false) }
    }
}

impl Eval<'_> {
    /// Returns the type of an expression, or the error in its names.
    pub(super) fn probe(&self, e: &Expr, row: Up<'_>) -> Result<Ty, Stop> {
        let before = self.probe.replace(true);
        let result = self.expr(e, row);
        self.probe.set(before);
        match result {
            Ok(v) => Ok(v.ty),
            Err(Stop::Error(e)) if e.compile || e.number == 137 || e.number == 195 => Err(Stop::Error(e)),
            Err(Stop::Blocked { by, resource, wait }) => Err(Stop::Blocked { by, resource, wait }),
            Err(_) => Ok(Ty::Null),
        }
    }

    pub(super) fn expr(&self, e: &Expr, row: Up<'_>) -> Result<Value, Stop> {
        Ok(match e {
            Expr::Literal(v) => v.clone(),
            Expr::Variable(name) => match self.m.frames.last().and_then(|f| f.variables.get(name)) {
                Some((_, v)) => v.clone(),
                None => return error(137, format!("Must declare the scalar variable \"{name}\".")),
            },
            Expr::Global(name) => self.global(name)?,
            Expr::Column(name) => column(name, row)?,
            Expr::Collate(of, _) => self.expr(of, row)?,
            Expr::Unary(op, of) => {
                let v = self.expr(of, row)?;
                match (*op, &v.data) {
                    (_, Data::Null) => v,
                    ("-", Data::Float(f)) => Value { ty: v.ty, data: Data::Float(-f) },
                    ("-", Data::Int(i)) => Value { ty: v.ty, data: Data::Int(i.wrapping_neg()) },
                    ("~", Data::Int(i)) => {
                        Value { ty: v.ty, data: Data::Int(if v.ty == Ty::Bit { 1 - i } else { !i }) }
                    }
                    _ => v,
                }
            }
            Expr::Binary("and" | "or" | "=" | "<>" | "<" | ">" | "<=" | ">=", ..)
            | Expr::Not(_)
            | Expr::IsNull { .. }
            | Expr::In { .. }
            | Expr::InQuery { .. }
            | Expr::Exists(_)
            | Expr::Between { .. }
            | Expr::Like { .. } => {
                if self.probe.get() {
                    self.truth(e, row)?;
                }
                // a condition is not a value
                return Err(Stop::Error(SqlError::new(
                    102,
                    "Incorrect syntax near a condition where a value is expected.",
                )));
            }
            Expr::Binary(op, a, b) => self.arithmetic(op, &self.expr(a, row)?, &self.expr(b, row)?)?,
            Expr::Case { of, when, other } => {
                let of = of.as_ref().map(|o| self.expr(o, row)).transpose()?;
                let mut out: Option<Value> = None;
                let mut ty = Ty::Null;
                let probing = self.probe.get();
                for (test, then) in when {
                    let hit = match &of {
                        Some(of) => of.compare(&self.expr(test, row)?, false)? == Some(Ordering::Equal),
                        None => self.truth(test, row)? == Some(true),
                    };
                    if hit && !probing {
                        return self.expr(then, row);
                    }
                    if probing {
                        let v = self.expr(then, row)?;
                        ty = ty.meet(v.ty);
                        out = Some(Value::null(ty));
                    }
                }
                let last = other.as_ref().map_or(Ok(Value::NULL), |o| self.expr(o, row))?;
                match out {
                    Some(_) => Value::null(ty.meet(last.ty)),
                    None => last,
                }
            }
            Expr::Cast { of, ty, style, forgiving } => {
                let v = self.expr(of, row)?;
                let style =
                    style.as_ref().map(|s| self.expr(s, row)).transpose()?.and_then(|s| s.as_int()).unwrap_or(0);
                match v.cast(*ty, style) {
                    Err(_) if *forgiving => Value::null(*ty),
                    other => other?,
                }
            }
            Expr::Call { name, args, distinct, within } => self.call(name, args, *distinct, within, row)?,
            Expr::Subquery(query) => self.scalar(query, row)?,
        })
    }

    fn scalar(&self, query: &Query, row: Up<'_>) -> Result<Value, Stop> {
        let rel = self.query(query, row)?;
        let ty = rel.columns.first().map_or(Ty::Null, |c| c.1);
        if rel.columns.len() != 1 {
            return error(
                116,
                "Only one expression can be specified in the select list when the subquery is not introduced with EXISTS.",
            );
        }
        let mut rows = rel.rows.into_iter();
        let first = rows.next();
        if rows.next().is_some() {
            return error(
                512,
                "Subquery returned more than 1 value. This is not permitted when the subquery follows =, !=, <, <= , >, >= or when the subquery is used as an expression.",
            );
        }
        Ok(first.and_then(|r| r.into_iter().next()).unwrap_or(Value::null(ty)))
    }

    fn arithmetic(&self, op: &str, a: &Value, b: &Value) -> Result<Value, Stop> {
        let ty = a.ty.meet(b.ty);
        if op == "+" && (ty.is_string() || matches!(ty, Ty::VarBinary(_))) {
            return self.concatenate(a, b, ty);
        }
        if a.is_null() || b.is_null() {
            return Ok(Value::null(ty));
        }
        if matches!(ty, Ty::DateTime) && matches!(op, "+" | "-") {
            let (Data::Time(t), Some(days)) = (&a.data, b.as_int()) else {
                return error(402, "The data types are incompatible in the operator.");
            };
            let days = chrono::Duration::days(if op == "+" { days } else { -days });
            return Ok(Value::datetime(t.checked_add_signed(days).unwrap_or(*t)));
        }
        if ty == Ty::Float {
            let (a, b) = (a.cast(ty, 0)?, b.cast(ty, 0)?);
            let (Data::Float(a), Data::Float(b)) = (a.data, b.data) else { return Ok(Value::null(ty)) };
            let f = match op {
                "+" => a + b,
                "-" => a - b,
                "*" => a * b,
                "/" if b == 0.0 => return error(8134, "Divide by zero error encountered."),
                "/" => a / b,
                _ => a % b,
            };
            return Ok(Value { ty, data: Data::Float(f) });
        }
        if !matches!(ty, Ty::Bit | Ty::TinyInt | Ty::SmallInt | Ty::Int | Ty::BigInt) {
            return error(
                402,
                format!("The data types {} and {} are incompatible in the operator.", a.ty.name(), b.ty.name()),
            );
        }
        let (a, b) = (a.cast(Ty::BigInt, 0)?.as_int().unwrap_or(0), b.cast(Ty::BigInt, 0)?.as_int().unwrap_or(0));
        let n = match op {
            "+" => a.checked_add(b),
            "-" => a.checked_sub(b),
            "*" => a.checked_mul(b),
            "/" | "%" if b == 0 => return error(8134, "Divide by zero error encountered."),
            "/" => a.checked_div(b),
            "%" => a.checked_rem(b),
            "&" => Some(a & b),
            "|" => Some(a | b),
            _ => Some(a ^ b),
        };
        let n = n.ok_or_else(|| {
            SqlError::new(8115, "Arithmetic overflow error converting expression to data type bigint.")
        })?;
        Ok(Value::big(n).cast(ty, 0)?)
    }

    fn concatenate(&self, a: &Value, b: &Value, ty: Ty) -> Result<Value, Stop> {
        let sum = |x: Option<u16>, y: Option<u16>, most: u16| Some(x?.saturating_add(y?).min(most));
        let ty = match (a.ty, b.ty) {
            (Ty::VarBinary(x), Ty::VarBinary(y)) => Ty::VarBinary(sum(x, y, 8000)),
            (x, y) => {
                let length = |t| match t {
                    Ty::VarChar(n) | Ty::NVarChar(n) => n,
                    _ => Some(30),
                };
                if matches!(ty, Ty::NVarChar(_)) {
                    Ty::NVarChar(sum(length(x), length(y), 4000))
                } else {
                    Ty::VarChar(sum(length(x), length(y), 8000))
                }
            }
        };
        if a.is_null() || b.is_null() {
            let keeps = !self.w.session(self.spid).concat_null && ty.is_string();
            return Ok(match (keeps, a.is_null(), b.is_null()) {
                (true, true, false) => b.cast(ty, 0)?,
                (true, false, true) => a.cast(ty, 0)?,
                _ => Value::null(ty),
            });
        }
        if let (Data::Bin(x), Data::Bin(y)) = (&a.data, &b.data) {
            return Ok(Value { ty, data: Data::Bin([x.clone(), y.clone()].concat()) });
        }
        // a number and a string are added, not concatenated
        let texts = (a.as_text().unwrap_or_default(), b.as_text().unwrap_or_default());
        Ok(Value { ty: Ty::NVarChar(None), data: Data::Str(texts.0 + &texts.1) }.cast(ty, 0)?)
    }

    /// Evaluates a condition with three-valued logic: `None` is unknown.
    pub(super) fn truth(&self, e: &Expr, row: Up<'_>) -> Result<Option<bool>, Stop> {
        let probing = self.probe.get();
        let flip = |t: Option<bool>, not: bool| t.map(|t| t != not);
        Ok(match e {
            Expr::Binary("and", a, b) => {
                let a = self.truth(a, row)?;
                if a == Some(false) && !probing {
                    return Ok(a);
                }
                match (a, self.truth(b, row)?) {
                    (_, Some(false)) | (Some(false), _) => Some(false),
                    (Some(true), Some(true)) => Some(true),
                    _ => None,
                }
            }
            Expr::Binary("or", a, b) => {
                let a = self.truth(a, row)?;
                if a == Some(true) && !probing {
                    return Ok(a);
                }
                match (a, self.truth(b, row)?) {
                    (_, Some(true)) | (Some(true), _) => Some(true),
                    (Some(false), Some(false)) => Some(false),
                    _ => None,
                }
            }
            Expr::Not(of) => self.truth(of, row)?.map(|t| !t),
            Expr::Binary(op @ ("=" | "<>" | "<" | ">" | "<=" | ">="), a, b) => {
                let binary = exact(a) || exact(b);
                let order = self.expr(a, row)?.compare(&self.expr(b, row)?, binary);
                let order = if probing { order.unwrap_or(None) } else { order? };
                order.map(|o| match *op {
                    "=" => o == Ordering::Equal,
                    "<>" => o != Ordering::Equal,
                    "<" => o == Ordering::Less,
                    ">" => o == Ordering::Greater,
                    "<=" => o != Ordering::Greater,
                    _ => o != Ordering::Less,
                })
            }
            Expr::IsNull { of, not } => Some(self.expr(of, row)?.is_null() != *not),
            Expr::In { of, list, not } => {
                let binary = exact(of);
                let v = self.expr(of, row)?;
                let list = list.iter().map(|e| self.expr(e, row)).collect::<Result<Vec<_>, _>>()?;
                flip(among(&v, &list, binary)?, *not)
            }
            Expr::InQuery { of, query, not } => {
                let v = self.expr(of, row)?;
                let rel = self.query(query, row)?;
                if rel.columns.len() != 1 {
                    return error(
                        116,
                        "Only one expression can be specified in the select list when the subquery is not introduced with EXISTS.",
                    );
                }
                let list: Vec<Value> = rel.rows.into_iter().flatten().collect();
                flip(among(&v, &list, exact(of))?, *not)
            }
            Expr::Exists(query) => Some(!self.query(query, row)?.rows.is_empty()),
            Expr::Between { of, low, high, not } => {
                let v = self.expr(of, row)?;
                let low = v.compare(&self.expr(low, row)?, exact(of))?.map(|o| o != Ordering::Less);
                let high = v.compare(&self.expr(high, row)?, exact(of))?.map(|o| o != Ordering::Greater);
                let both = match (low, high) {
                    (Some(false), _) | (_, Some(false)) => Some(false),
                    (Some(true), Some(true)) => Some(true),
                    _ => None,
                };
                flip(both, *not)
            }
            Expr::Like { of, pattern, escape, not } => {
                let escape = escape
                    .as_ref()
                    .map(|e| self.expr(e, row))
                    .transpose()?
                    .and_then(|e| e.as_text())
                    .and_then(|e| e.chars().next());
                let (text, pattern) = (self.expr(of, row)?.as_text(), self.expr(pattern, row)?.as_text());
                let hit = text.zip(pattern).map(|(t, p)| {
                    let (t, p) = if exact(of) { (t, p) } else { (fold(&t), p.to_lowercase()) };
                    let (t, p): (Vec<char>, Vec<char>) = (t.chars().collect(), p.chars().collect());
                    like(&t, &p, escape)
                });
                flip(hit, *not)
            }
            _ => {
                return error(
                    4145,
                    "An expression of non-boolean type specified in a context where a condition is expected.",
                );
            }
        })
    }
}

/// Checks whether the expression asks for a case-sensitive collation.
fn exact(e: &Expr) -> bool {
    matches!(e, Expr::Collate(_, c) if c.to_uppercase().contains("_BIN") || c.to_uppercase().contains("_CS_"))
}

fn among(v: &Value, list: &[Value], binary: bool) -> Result<Option<bool>, Stop> {
    let mut unknown = v.is_null() && !list.is_empty();
    for one in list {
        match v.compare(one, binary)? {
            Some(Ordering::Equal) => return Ok(Some(true)),
            None => unknown = true,
            Some(_) => {}
        }
    }
    Ok(if unknown { None } else { Some(false) })
}

fn like(t: &[char], p: &[char], escape: Option<char>) -> bool {
    match p {
        [] => t.is_empty(),
        [e, c, rest @ ..] if Some(*e) == escape => t.first() == Some(c) && like(&t[1..], rest, escape),
        ['%', rest @ ..] => (0..=t.len()).any(|i| like(&t[i..], rest, escape)),
        ['_', rest @ ..] => !t.is_empty() && like(&t[1..], rest, escape),
        ['[', rest @ ..] => {
            let Some(end) = rest.iter().position(|c| *c == ']') else { return false };
            let Some(first) = t.first() else { return false };
            let (not, set) = if rest[0] == '^' { (true, &rest[1..end]) } else { (false, &rest[..end]) };
            let inside = set.windows(3).any(|w| w[1] == '-' && w[0] <= *first && *first <= w[2]) || set.contains(first);
            inside != not && like(&t[1..], &rest[end + 1..], escape)
        }
        [c, rest @ ..] => t.first() == Some(c) && like(&t[1..], rest, escape),
    }
}

fn column(name: &[String], row: Up<'_>) -> Result<Value, Stop> {
    let (column, table) = match name {
        [c] => (c, None),
        [.., t, c] => (c, Some(t)),
        [] => return error(207, "Invalid column name ''."),
    };
    let mut at = row;
    while let Some(r) = at {
        let mut hits = r
            .columns
            .iter()
            .enumerate()
            .filter(|(_, c)| fold(&c.name) == fold(column) && table.is_none_or(|t| fold(&c.table) == fold(t)));
        if let Some((i, c)) = hits.next() {
            if hits.next().is_some() {
                return error(209, format!("Ambiguous column name '{column}'."));
            }
            return Ok(r.values.get(i).cloned().unwrap_or(Value::null(c.ty)));
        }
        at = r.up;
    }
    match table {
        None => error(207, format!("Invalid column name '{column}'.")),
        Some(_) => error(4104, format!("The multi-part identifier \"{}\" could not be bound.", name.join("."))),
    }
}
