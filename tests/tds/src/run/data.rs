//! INSERT, UPDATE and DELETE, on tables and on table variables.

use std::cmp::Ordering;

use super::{
    Machine,
    expression::{Column, Row},
};
use crate::{
    SqlError, Stop, error,
    instance::{Instance, Rel, Table, Undo, class},
    sql::{
        Data, Ty, Value,
        ast::{Body, ColumnDef, Cte, Expr, From, Item, Source, Stmt, Target},
        fold,
    },
};

/// Rows that a statement changes, as they were before.
struct Held {
    columns: Vec<ColumnDef>,
    rows: Vec<Vec<Value>>,
    identity: i64,
    place: Place,
}

enum Place {
    Table { database: i32, table: Table },
    Variable(String),
}

impl Held {
    /// Returns the name that messages use.
    fn name(&self) -> String {
        match &self.place {
            Place::Table { table, .. } => format!("dbo.{}", table.name),
            Place::Variable(name) => name.clone(),
        }
    }
}

impl Machine {
    pub(super) fn change_rows(&mut self, stmt: &Stmt) -> Result<(), Stop> {
        let (count, command) = match stmt {
            Stmt::Insert { ctes, into, columns, source } => (self.insert(ctes, into, columns, source)?, 0xc3),
            Stmt::Update { ctes, target, set, from, filter } => {
                let target = aliased(target, from.as_ref())?;
                (self.patient(|m, w| m.update(w, ctes, &target, set, filter.as_ref()))?, 0xc5)
            }
            Stmt::Delete { ctes, target, output, from, filter } => {
                let target = aliased(target, from.as_ref())?;
                let (count, gone) = self.patient(|m, w| m.delete(w, ctes, &target, output, filter.as_ref()))?;
                if !output.is_empty() {
                    self.result(gone);
                }
                (count, 0xc4)
            }
            _ => (0, 0),
        };
        self.rowcount = count as i64;
        if !self.nocount {
            self.out.done(self.in_proc, command, Some(count as u64));
        }
        Ok(())
    }

    fn insert(&mut self, ctes: &[Cte], into: &Target, columns: &[String], source: &Source) -> Result<usize, Stop> {
        let executed = match source {
            Source::Exec(stmt) => {
                let before = self.capture.replace(Vec::new());
                let result = self.statement(stmt);
                let sets = std::mem::replace(&mut self.capture, before).unwrap_or_default();
                result?;
                let columns = sets.first().map(|s| s.columns.clone()).unwrap_or_default();
                Some(Rel { columns, rows: sets.into_iter().flat_map(|s| s.rows).collect() })
            }
            _ => None,
        };
        self.patient(|m, w| {
            let mut held = m.held(w, into, "INSERT")?;
            let names: Vec<String> = if columns.is_empty() {
                held.columns.iter().filter(|c| !c.identity).map(|c| c.name.clone()).collect()
            } else {
                columns.to_vec()
            };
            let mut places = Vec::new();
            for name in &names {
                match held.columns.iter().position(|c| fold(&c.name) == fold(name)) {
                    Some(at) if held.columns.get(at).is_some_and(|c| c.identity) => {
                        return error(
                            544,
                            "Cannot insert explicit value for identity column when IDENTITY_INSERT is set to OFF.",
                        );
                    }
                    Some(at) => places.push(at),
                    None => return error(207, format!("Invalid column name '{name}'.")),
                }
            }
            let rows = match (source, &executed) {
                (Source::Query(query), _) => {
                    if matches!(&query.body, Body::Values(rows) if rows.len() > 1000) {
                        return error(10738, "The number of row value expressions in the INSERT statement exceeds the maximum allowed number of 1000 row values.");
                    }
                    let eval = m.eval(w);
                    eval.bind(ctes, None)?;
                    let rel = eval.query(query, None)?;
                    if rel.columns.len() < places.len() {
                        return error(
                            120,
                            "The select list for the INSERT statement contains fewer items than the insert list.",
                        );
                    }
                    if rel.columns.len() > places.len() {
                        return error(
                            121,
                            "The select list for the INSERT statement contains more items than the insert list.",
                        );
                    }
                    rel.rows
                }
                (_, Some(rel)) => rel.rows.clone(),
                _ => vec![Vec::new()],
            };
            let count = rows.len();
            let mut made = Vec::new();
            for given in rows {
                let mut row = Vec::new();
                for (at, column) in held.columns.iter().enumerate() {
                    let value = match places.iter().position(|p| *p == at).and_then(|i| given.get(i)) {
                        Some(value) => value.clone(),
                        None if column.identity => {
                            held.identity += 1;
                            Value::big(held.identity)
                        }
                        None => column.default.as_ref().map_or(Ok(Value::NULL), |e| m.eval(w).expr(e, None))?,
                    };
                    row.push(value);
                }
                made.push(row);
            }
            for row in made {
                let row = fitting(&held, row)?;
                held.rows.push(row);
            }
            m.put(w, held)?;
            Ok(count)
        })
    }

    fn update(
        &mut self,
        w: &mut Instance,
        ctes: &[Cte],
        (target, alias): &(Target, String),
        set: &[(String, Expr)],
        filter: Option<&Expr>,
    ) -> Result<usize, Stop> {
        let mut held = self.held(w, target, "UPDATE")?;
        let scope = scope(&held, alias);
        let mut count = 0;
        let before = std::mem::take(&mut held.rows);
        let mut after = Vec::new();
        {
            let eval = self.eval(w);
            eval.bind(ctes, None)?;
            let nulls: Vec<Value> = scope.iter().map(|c| Value::null(c.ty)).collect();
            let probe = Row { columns: &scope, values: &nulls, group: None, up: None };
            for (name, e) in set {
                if !held.columns.iter().any(|c| fold(&c.name) == fold(name)) {
                    return error(207, format!("Invalid column name '{name}'."));
                }
                eval.probe(e, Some(&probe))?;
            }
            for values in before {
                let row = Row { columns: &scope, values: &values, group: None, up: None };
                if filter.map_or(Ok(Some(true)), |f| eval.truth(f, Some(&row)))? != Some(true) {
                    after.push((values, false));
                    continue;
                }
                count += 1;
                let mut new = values.clone();
                for (name, e) in set {
                    let at = held.columns.iter().position(|c| fold(&c.name) == fold(name));
                    if let Some(slot) = at.and_then(|at| new.get_mut(at)) {
                        *slot = eval.expr(e, Some(&row))?;
                    }
                }
                after.push((new, true));
            }
        }
        // unchanged rows come first, so that a changed key does not collide with its own old value
        let (changed, kept): (Vec<_>, Vec<_>) = after.into_iter().partition(|r| r.1);
        held.rows = kept.into_iter().map(|r| r.0).collect();
        for (row, _) in changed {
            let row = fitting(&held, row)?;
            held.rows.push(row);
        }
        self.put(w, held)?;
        Ok(count)
    }

    fn delete(
        &mut self,
        w: &mut Instance,
        ctes: &[Cte],
        (target, alias): &(Target, String),
        output: &[Item],
        filter: Option<&Expr>,
    ) -> Result<(usize, Rel), Stop> {
        let mut held = self.held(w, target, "DELETE")?;
        let deleted = scope(&held, "deleted");
        let scope = scope(&held, alias);
        let mut gone = Rel::default();
        let before = std::mem::take(&mut held.rows);
        let total = before.len();
        {
            let eval = self.eval(w);
            eval.bind(ctes, None)?;
            let nulls: Vec<Value> = deleted.iter().map(|c| Value::null(c.ty)).collect();
            let probe = Row { columns: &deleted, values: &nulls, group: None, up: None };
            let shown = returned(output)?;
            for (name, e) in &shown {
                gone.columns.push((name.clone(), eval.probe(e, Some(&probe))?));
            }
            for values in before {
                let row = Row { columns: &scope, values: &values, group: None, up: None };
                if filter.map_or(Ok(Some(true)), |f| eval.truth(f, Some(&row)))? != Some(true) {
                    held.rows.push(values);
                    continue;
                }
                let row = Row { columns: &deleted, values: &values, group: None, up: None };
                let one = shown.iter().map(|(_, e)| eval.expr(e, Some(&row)));
                gone.rows.push(one.collect::<Result<Vec<_>, _>>()?);
            }
        }
        let count = total - held.rows.len();
        self.put(w, held)?;
        Ok((count, gone))
    }

    /// Returns the rows to change, after it has checked the permission and taken the lock.
    fn held(&mut self, w: &mut Instance, target: &Target, permission: &str) -> Result<Held, Stop> {
        let name = match target {
            Target::Variable(name) => {
                let Some(t) = self.frame().tables.get(name).cloned() else {
                    return error(1087, format!("Must declare the table variable \"{name}\"."));
                };
                return Ok(Held {
                    columns: t.columns,
                    rows: t.rows,
                    identity: t.identity,
                    place: Place::Variable(name.clone()),
                });
            }
            Target::Table(name) => name,
        };
        let (database, schema, short) = match name.as_slice() {
            [t] => (None, "", t.as_str()),
            [s, t] => (None, s.as_str(), t.as_str()),
            [.., d, s, t] => (Some(d.as_str()), s.as_str(), t.as_str()),
            [] => (None, "", ""),
        };
        let database = self.eval(w).database(database)?;
        let Some(db) = w.databases.get(&database) else { return error(208, format!("Invalid object name '{short}'.")) };
        let Some(table) = db.table_named(schema, short).cloned() else {
            return error(208, format!("Invalid object name '{}'.", name.join(".")));
        };
        if !w.may(self.spid, database, class::OBJECT, table.id, permission) {
            let schema = db.schemas.get(&table.schema).map(|s| s.name.as_str()).unwrap_or_default();
            return error(
                229,
                format!(
                    "The {permission} permission was denied on the object '{}', database '{}', schema '{schema}'.",
                    table.name, db.name
                ),
            );
        }
        self.writable(w, database)?;
        w.lock(self.spid, database, "table", table.id)?;
        Ok(Held {
            columns: table.columns.clone(),
            rows: table.rows.clone(),
            identity: table.identity,
            place: Place::Table { database, table },
        })
    }

    fn put(&mut self, w: &mut Instance, held: Held) -> Result<(), Stop> {
        match held.place {
            Place::Table { database, table } => {
                let new = Table { rows: held.rows, identity: held.identity, ..table };
                w.change(self.spid, Undo::Table(database, new.id, Some(new)));
            }
            // no transaction rolls back a table variable
            Place::Variable(name) => {
                if let Some(t) = self.frame().tables.get_mut(&name) {
                    (t.rows, t.identity) = (held.rows, held.identity);
                }
            }
        }
        Ok(())
    }
}

/// Returns the OUTPUT expressions with the names of their columns.
fn returned(output: &[Item]) -> Result<Vec<(String, &Expr)>, Stop> {
    let each = output.iter().map(|item| match item {
        Item::Expr { expr, alias: Some(alias) } => Ok((alias.clone(), expr)),
        Item::Expr { expr: expr @ Expr::Column(name), .. } => Ok((name.last().cloned().unwrap_or_default(), expr)),
        _ => error(40510, "Statement 'OUTPUT without a name' is not supported in this version of SQL Server."),
    });
    each.collect()
}

/// Returns the target of an UPDATE or DELETE and its name. The FROM clause may define an alias.
fn aliased(target: &Target, from: Option<&From>) -> Result<(Target, String), Stop> {
    let own = match target {
        Target::Table(name) => name.last().cloned().unwrap_or_default(),
        Target::Variable(name) => name.clone(),
    };
    match from {
        None => Ok((target.clone(), own)),
        Some(From::Table { name, alias, .. }) => Ok((Target::Table(name.clone()), alias.clone().unwrap_or(own))),
        Some(From::Variable { name, alias }) => Ok((Target::Variable(name.clone()), alias.clone().unwrap_or(own))),
        Some(_) => {
            error(40510, "Statement 'UPDATE or DELETE over a join' is not supported in this version of SQL Server.")
        }
    }
}

fn scope(held: &Held, alias: &str) -> Vec<Column> {
    held.columns.iter().map(|c| Column { table: alias.to_owned(), name: c.name.clone(), ty: c.ty }).collect()
}

/// Converts the row to the types of its columns, and checks that it may stand among the others.
fn fitting(held: &Held, row: Vec<Value>) -> Result<Vec<Value>, Stop> {
    let mut out = Vec::new();
    for (value, column) in row.into_iter().zip(&held.columns) {
        if value.is_null() && column.not_null {
            return error(
                515,
                format!(
                    "Cannot insert the value NULL into column '{}', table '{}'; column does not allow nulls.",
                    column.name,
                    held.name()
                ),
            );
        }
        let longest = match column.ty {
            Ty::NVarChar(Some(n)) | Ty::VarChar(Some(n)) | Ty::VarBinary(Some(n)) => usize::from(n),
            _ => usize::MAX,
        };
        let length = match &value.data {
            Data::Str(text) => text.trim_end_matches(' ').encode_utf16().count(),
            Data::Bin(bytes) => bytes.len(),
            _ => 0,
        };
        if length > longest {
            let shown: String = value.as_text().unwrap_or_default().chars().take(longest).collect();
            return error(
                2628,
                format!(
                    "String or binary data would be truncated in table '{}', column '{}'. Truncated value: '{shown}'.",
                    held.name(),
                    column.name
                ),
            );
        }
        let value = value.cast(column.ty, 0)?;
        if column.unique {
            let at = out.len();
            for other in &held.rows {
                let same = match other.get(at) {
                    Some(o) if o.is_null() && value.is_null() => true,
                    Some(o) => o.compare(&value, false)? == Some(Ordering::Equal),
                    None => false,
                };
                if same {
                    let text = value.as_text().unwrap_or_else(|| "<NULL>".to_owned());
                    return Err(SqlError::new(2627, format!("Violation of PRIMARY KEY or UNIQUE constraint. Cannot insert duplicate key in object '{}'. The duplicate key value is ({text}).", held.name())).into());
                }
            }
        }
        out.push(value);
    }
    Ok(out)
}
