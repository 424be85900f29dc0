//! Queries: sources, joins, grouping, ordering, sets.

use std::{cmp::Ordering, collections::HashMap};

use super::expression::{Column, Eval, Row, Up};
use crate::{
    SqlError, Stop, error,
    instance::{Rel, view},
    sql::{
        Ty, Value,
        ast::{Body, Cte, Expr, From, Item, JoinKind, Query, Select, SetKind},
        fold,
    },
};

/// Row, and the rows of its group where rows are grouped.
type Unit = (Vec<Value>, Option<Vec<Vec<Value>>>);

/// Rows with the columns that they consist of.
#[derive(Debug, Clone, Default)]
pub(super) struct Source {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Value>>,
}

fn named(rel: Rel, alias: &str) -> Source {
    let columns = rel.columns.into_iter().map(|(name, ty)| Column { table: alias.to_owned(), name, ty }).collect();
    Source { columns, rows: rel.rows }
}

fn has_aggregate(e: &Expr) -> bool {
    match e {
        Expr::Call { name, args, .. } => {
            matches!(name.as_str(), "count" | "count_big" | "min" | "max" | "sum" | "avg" | "string_agg")
                || args.iter().any(has_aggregate)
        }
        Expr::Unary(_, a)
        | Expr::Not(a)
        | Expr::Collate(a, _)
        | Expr::Cast { of: a, .. }
        | Expr::IsNull { of: a, .. } => has_aggregate(a),
        Expr::Binary(_, a, b) => has_aggregate(a) || has_aggregate(b),
        Expr::Case { of, when, other } => {
            of.as_deref().is_some_and(has_aggregate)
                || other.as_deref().is_some_and(has_aggregate)
                || when.iter().any(|(a, b)| has_aggregate(a) || has_aggregate(b))
        }
        Expr::In { of, list, .. } => has_aggregate(of) || list.iter().any(has_aggregate),
        Expr::Between { of, low, high, .. } => [of, low, high].iter().any(|e| has_aggregate(e)),
        _ => false,
    }
}

pub(super) fn order_values(a: &Value, b: &Value) -> Ordering {
    match (a.is_null(), b.is_null()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        _ => a.compare(b, false).ok().flatten().unwrap_or(Ordering::Equal),
    }
}

fn key(row: &[Value]) -> String {
    row.iter().map(|v| v.as_text().map_or("\u{0}".to_owned(), |t| format!("{}\u{1}", fold(&t)))).collect()
}

impl Eval<'_> {
    /// Runs a query.
    pub(super) fn query(&self, q: &Query, up: Up<'_>) -> Result<Rel, Stop> {
        let before = self.ctes.borrow().clone();
        let result = self.bind(&q.ctes, up).and_then(|()| self.ordered(q, up));
        *self.ctes.borrow_mut() = before;
        result
    }

    pub(super) fn bind(&self, ctes: &[Cte], up: Up<'_>) -> Result<(), Stop> {
        for cte in ctes {
            let rel = self.cte(cte, up)?;
            self.ctes.borrow_mut().insert(fold(&cte.name), rel);
        }
        Ok(())
    }

    fn cte(&self, cte: &Cte, up: Up<'_>) -> Result<Rel, Stop> {
        let rename = |mut rel: Rel| {
            if !cte.columns.is_empty() {
                if cte.columns.len() != rel.columns.len() {
                    return error(
                        8158,
                        format!("'{}' has more columns than were specified in the column list.", cte.name),
                    );
                }
                rel.columns.iter_mut().zip(&cte.columns).for_each(|(c, n)| c.0.clone_from(n));
            }
            Ok(rel)
        };
        // recursive: the last member of a UNION ALL refers to the expression itself
        if let Body::Set { kind: SetKind::UnionAll, left, right } = &cte.query.body
            && names(right, &cte.name)
        {
            recursive(right)?;
            let mut all = rename(self.body(left, &[], up)?)?;
            let mut fresh = all.clone();
            for depth in 0.. {
                if fresh.rows.is_empty() {
                    return Ok(all);
                }
                if depth > 100 {
                    return error(
                        530,
                        "The statement terminated. The maximum recursion 100 has been exhausted before statement completion.",
                    );
                }
                self.ctes.borrow_mut().insert(fold(&cte.name), fresh);
                fresh = rename(self.body(right, &[], up)?)?;
                let other = fresh.columns.iter().zip(&all.columns).find(|(f, a)| f.1 != a.1);
                if let Some((column, _)) = other {
                    return error(
                        240,
                        format!(
                            "Types don't match between the anchor and the recursive part in column \"{}\" of recursive query \"{}\".",
                            column.0, cte.name
                        ),
                    );
                }
                fresh.columns.clone_from(&all.columns);
                all.rows.extend(fresh.rows.iter().cloned());
            }
        }
        rename(self.query(&cte.query, up)?)
    }

    fn ordered(&self, q: &Query, up: Up<'_>) -> Result<Rel, Stop> {
        let mut rel = self.body(&q.body, &q.order, up)?;
        let number = |e: &Option<Expr>| -> Result<Option<usize>, Stop> {
            Ok(e.as_ref()
                .map(|e| self.expr(e, up))
                .transpose()?
                .and_then(|v| v.as_int())
                .and_then(|n| usize::try_from(n).ok()))
        };
        if let Some(offset) = number(&q.offset)? {
            rel.rows = rel.rows.split_off(offset.min(rel.rows.len()));
        }
        if let Some(fetch) = number(&q.fetch)? {
            rel.rows.truncate(fetch);
        }
        Ok(rel)
    }

    fn body(&self, body: &Body, order: &[(Expr, bool)], up: Up<'_>) -> Result<Rel, Stop> {
        let mut rel = match body {
            Body::Select(select) => return self.select(select, order, up),
            Body::Nested(q) => self.query(q, up)?,
            Body::Values(rows) => {
                let rows = rows
                    .iter()
                    .map(|r| r.iter().map(|e| self.expr(e, up)).collect())
                    .collect::<Result<Vec<Vec<_>>, _>>()?;
                let width = rows.first().map_or(0, Vec::len);
                if rows.iter().any(|r| r.len() != width) {
                    return error(
                        10709,
                        "The number of columns for each row in a table value constructor must be the same.",
                    );
                }
                unify(vec![(String::new(), Ty::Null); width], rows)?
            }
            Body::Set { kind, left, right } => {
                let (left, right) = (self.body(left, &[], up)?, self.body(right, &[], up)?);
                if left.columns.len() != right.columns.len() {
                    return error(
                        205,
                        "All queries combined using a UNION, INTERSECT or EXCEPT operator must have an equal number of expressions in their target lists.",
                    );
                }
                let columns =
                    left.columns.iter().zip(&right.columns).map(|(l, r)| (l.0.clone(), l.1.meet(r.1))).collect();
                let (keys, mut seen) = (right.rows.iter().map(|r| key(r)).collect::<Vec<_>>(), Vec::new());
                let mut rows = left.rows;
                match kind {
                    SetKind::UnionAll | SetKind::Union => rows.extend(right.rows),
                    SetKind::Except => rows.retain(|r| !keys.contains(&key(r))),
                    SetKind::Intersect => rows.retain(|r| keys.contains(&key(r))),
                }
                if *kind != SetKind::UnionAll {
                    rows.retain(|r| {
                        let k = key(r);
                        let new = !seen.contains(&k);
                        seen.push(k);
                        new
                    });
                }
                unify(columns, rows)?
            }
        };
        if !order.is_empty() {
            let columns: Vec<Column> = named(rel.clone(), "").columns;
            let mut keyed = Vec::new();
            for values in rel.rows {
                let row = Row { columns: &columns, values: &values, group: None, up: None };
                let keys = order
                    .iter()
                    .map(|(e, _)| self.order_key(e, &columns, &values, &row))
                    .collect::<Result<Vec<_>, _>>()?;
                keyed.push((keys, values));
            }
            sort(&mut keyed, order);
            rel.rows = keyed.into_iter().map(|k| k.1).collect();
        }
        Ok(rel)
    }

    /// Returns the sort key: a position, an alias, or any expression over the source.
    fn order_key(&self, e: &Expr, columns: &[Column], out: &[Value], row: &Row<'_>) -> Result<Value, Stop> {
        match e {
            Expr::Literal(v) => {
                let i = v.as_int().and_then(|i| usize::try_from(i - 1).ok()).and_then(|i| out.get(i));
                i.cloned().ok_or_else(|| {
                    SqlError::new(
                        108,
                        "The ORDER BY position number is out of range of the number of items in the select list.",
                    )
                    .into()
                })
            }
            Expr::Column(name) if name.len() == 1 => {
                match columns.iter().position(|c| fold(&c.name) == fold(&name[0])) {
                    Some(i) => Ok(out.get(i).cloned().unwrap_or(Value::NULL)),
                    None => self.expr(e, Some(row)),
                }
            }
            _ => self.expr(e, Some(row)),
        }
    }

    fn select(&self, s: &Select, order: &[(Expr, bool)], up: Up<'_>) -> Result<Rel, Stop> {
        let mut source = match &s.from {
            Some(from) => self.from(from, up)?,
            None => Source { columns: Vec::new(), rows: vec![Vec::new()] },
        };
        // raises the errors that a compiler would find, even when there is no row
        let nulls: Vec<Value> = source.columns.iter().map(|c| Value::null(c.ty)).collect();
        let empty = [nulls.clone()];
        let probe = Row { columns: &source.columns, values: &nulls, group: Some(&empty), up };
        let mut columns: Vec<(String, Ty)> = Vec::new();
        let mut items: Vec<Expr> = Vec::new();
        for item in &s.items {
            match item {
                Item::Star(table) => {
                    let before = items.len();
                    for c in source.columns.iter().filter(|c| table.as_ref().is_none_or(|t| fold(t) == fold(&c.table)))
                    {
                        columns.push((c.name.clone(), c.ty));
                        items.push(Expr::Column(if c.table.is_empty() {
                            vec![c.name.clone()]
                        } else {
                            vec![c.table.clone(), c.name.clone()]
                        }));
                    }
                    if before == items.len() {
                        return error(263, "Must specify table to select from.");
                    }
                }
                Item::Expr { expr, alias } => {
                    let name = alias.clone().unwrap_or_else(|| match expr {
                        Expr::Column(n) => n.last().cloned().unwrap_or_default(),
                        _ => String::new(),
                    });
                    columns.push((name, self.probe(expr, Some(&probe))?));
                    items.push(expr.clone());
                }
                Item::Assign { expr, .. } => {
                    columns.push((String::new(), self.probe(expr, Some(&probe))?));
                    items.push(expr.clone());
                }
            }
        }
        let shown = |e: &Expr| {
            let alias =
                matches!(e, Expr::Column(n) if n.len() == 1 && columns.iter().any(|c| fold(&c.0) == fold(&n[0])));
            alias || matches!(e, Expr::Literal(_)) || items.contains(e)
        };
        if s.distinct && !order.iter().all(|(e, _)| shown(e)) {
            return error(145, "ORDER BY items must appear in the select list if SELECT DISTINCT is specified.");
        }
        let grouped = !s.group.is_empty() || s.having.is_some() || items.iter().any(has_aggregate);
        for e in s.filter.iter().chain(&s.having) {
            let before = self.probe.replace(true);
            let result = self.truth(e, Some(&probe));
            self.probe.set(before);
            if let Err(Stop::Error(e)) = result
                && (e.compile || matches!(e.number, 137 | 195 | 4145))
            {
                return Err(e.into());
            }
        }
        if self.probe.get() {
            return Ok(Rel { columns, rows: Vec::new() });
        }
        if let Some(filter) = &s.filter {
            let mut kept = Vec::new();
            for values in source.rows {
                let row = Row { columns: &source.columns, values: &values, group: None, up };
                if self.truth(filter, Some(&row))? == Some(true) {
                    kept.push(values);
                }
            }
            source.rows = kept;
        }
        // each row with the rows that its aggregates cover
        let mut units: Vec<Unit> = Vec::new();
        if grouped {
            let mut at: HashMap<String, usize> = HashMap::new();
            for values in source.rows {
                let row = Row { columns: &source.columns, values: &values, group: None, up };
                let k = key(&s.group.iter().map(|e| self.expr(e, Some(&row))).collect::<Result<Vec<_>, _>>()?);
                match at.get(&k).and_then(|i| units.get_mut(*i)) {
                    Some((_, Some(group))) => group.push(values),
                    _ => {
                        at.insert(k, units.len());
                        units.push((values.clone(), Some(vec![values])));
                    }
                }
            }
            if units.is_empty() && s.group.is_empty() {
                units.push((nulls.clone(), Some(Vec::new())));
            }
        } else {
            units = source.rows.into_iter().map(|r| (r, None)).collect();
        }
        let out_columns: Vec<Column> =
            columns.iter().map(|(n, t)| Column { table: String::new(), name: n.clone(), ty: *t }).collect();
        let mut keyed = Vec::new();
        for (values, group) in &units {
            let row = Row { columns: &source.columns, values, group: group.as_deref(), up };
            if let Some(having) = &s.having
                && self.truth(having, Some(&row))? != Some(true)
            {
                continue;
            }
            let out = items.iter().map(|e| self.expr(e, Some(&row))).collect::<Result<Vec<_>, _>>()?;
            let keys = order
                .iter()
                .map(|(e, _)| self.order_key(e, &out_columns, &out, &row))
                .collect::<Result<Vec<_>, _>>()?;
            keyed.push((keys, out));
        }
        if s.distinct {
            let mut seen = std::collections::HashSet::new();
            keyed.retain(|(_, r)| seen.insert(key(r)));
        }
        sort(&mut keyed, order);
        if let Some(top) = &s.top {
            let n = self.expr(top, up)?.as_int().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
            keyed.truncate(n);
        }
        unify(columns, keyed.into_iter().map(|k| k.1).collect())
    }

    pub(super) fn from(&self, from: &From, up: Up<'_>) -> Result<Source, Stop> {
        match from {
            From::Table { name, alias, dirty } => {
                let short = name.last().cloned().unwrap_or_default();
                let rel = self.table(name, *dirty)?;
                Ok(named(rel, alias.as_ref().unwrap_or(&short)))
            }
            From::Variable { name, alias } => {
                let Some(table) = self.m.frames.last().and_then(|f| f.tables.get(name)) else {
                    return error(1087, format!("Must declare the table variable \"{name}\"."));
                };
                let columns = table.columns.iter().map(|c| (c.name.clone(), c.ty)).collect();
                Ok(named(Rel { columns, rows: table.rows.clone() }, alias.as_ref().unwrap_or(name)))
            }
            From::Derived { query, alias, columns } => {
                let mut rel = self.query(query, up)?;
                if !columns.is_empty() {
                    if columns.len() != rel.columns.len() {
                        return error(
                            8158,
                            format!("'{alias}' has more columns than were specified in the column list."),
                        );
                    }
                    rel.columns.iter_mut().zip(columns).for_each(|(c, n)| c.0.clone_from(n));
                }
                Ok(named(rel, alias))
            }
            From::OpenJson { args, with, alias } => self.openjson(args, with, alias.as_deref().unwrap_or(""), up),
            From::Function { name, args, alias, .. } => {
                let short = name.last().map(|n| n.to_lowercase()).unwrap_or_default();
                let arg = args.iter().map(|a| self.expr(a, up)).collect::<Result<Vec<_>, _>>()?;
                let text = |i: usize| arg.get(i).and_then(Value::as_text);
                let rel = match short.as_str() {
                    "string_split" => {
                        let (Some(text), Some(mark)) = (text(0), text(1)) else { return Ok(Source::default()) };
                        let rows = text.split(&mark).map(|p| vec![Value::text(p)]).collect();
                        Rel { columns: vec![("value".into(), Ty::NVarChar(Some(4000)))], rows }
                    }
                    _ => return error(208, format!("Invalid object name '{}'.", name.join("."))),
                };
                Ok(named(rel, alias.as_ref().unwrap_or(&short)))
            }
            From::Join { kind, left, right, on } => self.join(*kind, left, right, on.as_ref(), up),
        }
    }

    fn join(&self, kind: JoinKind, left: &From, right: &From, on: Option<&Expr>, up: Up<'_>) -> Result<Source, Stop> {
        let left = self.from(left, up)?;
        let lateral = matches!(kind, JoinKind::Cross | JoinKind::OuterApply)
            && matches!(right, From::Derived { .. } | From::OpenJson { .. } | From::Function { .. });
        if lateral {
            let nulls: Vec<Value> = left.columns.iter().map(|c| Value::null(c.ty)).collect();
            let row = Row { columns: &left.columns, values: &nulls, group: None, up };
            let before = self.probe.replace(true);
            let shape = self.from(right, Some(&row));
            self.probe.set(before);
            let shape = shape?.columns;
            let mut rows = Vec::new();
            for values in &left.rows {
                let row = Row { columns: &left.columns, values, group: None, up };
                let inner = self.from(right, Some(&row))?;
                if inner.rows.is_empty() && kind == JoinKind::OuterApply {
                    rows.push([values.clone(), shape.iter().map(|c| Value::null(c.ty)).collect()].concat());
                }
                rows.extend(inner.rows.into_iter().map(|r| [values.clone(), r].concat()));
            }
            return Ok(Source { columns: [left.columns.clone(), shape].concat(), rows });
        }
        let right = self.from(right, up)?;
        let columns = [left.columns.clone(), right.columns.clone()].concat();
        let nulls = |c: &[Column]| -> Vec<Value> { c.iter().map(|c| Value::null(c.ty)).collect() };
        if let Some(on) = on {
            let values = nulls(&columns);
            let before = self.probe.replace(true);
            let result = self.truth(on, Some(&Row { columns: &columns, values: &values, group: None, up }));
            self.probe.set(before);
            result?;
        }
        // for an equality of two columns, only the matching rows are visited
        let index = on.and_then(|on| equality(on, &left.columns, &right.columns)).map(|(l, r)| {
            let mut map: HashMap<String, Vec<usize>> = HashMap::new();
            for (i, row) in right.rows.iter().enumerate() {
                map.entry(key(&row[r..=r])).or_default().push(i);
            }
            (l, map)
        });
        let every: Vec<usize> = (0..right.rows.len()).collect();
        let mut matched = vec![false; right.rows.len()];
        let mut rows = Vec::new();
        for l in &left.rows {
            let mut any = false;
            let candidates = match &index {
                Some((at, map)) => map.get(&key(&l[*at..=*at])).map_or(&[][..], Vec::as_slice),
                None => &every,
            };
            for i in candidates {
                let values = [l.clone(), right.rows[*i].clone()].concat();
                let hit = match on {
                    Some(on) => {
                        self.truth(on, Some(&Row { columns: &columns, values: &values, group: None, up }))?
                            == Some(true)
                    }
                    None => true,
                };
                if hit {
                    any = true;
                    matched[*i] = true;
                    rows.push(values);
                }
            }
            if !any && matches!(kind, JoinKind::Left | JoinKind::Full) {
                rows.push([l.clone(), nulls(&right.columns)].concat());
            }
        }
        if matches!(kind, JoinKind::Right | JoinKind::Full) {
            let alone = right.rows.iter().zip(&matched).filter(|(_, m)| !**m);
            rows.extend(alone.map(|(r, _)| [nulls(&left.columns), r.clone()].concat()));
        }
        Ok(Source { columns, rows })
    }

    /// Runs OPENJSON over an array or an object, with or without a schema.
    fn openjson(
        &self,
        args: &[Expr],
        with: &[(String, Ty, Option<String>)],
        alias: &str,
        up: Up<'_>,
    ) -> Result<Source, Stop> {
        let columns: Vec<(String, Ty)> = if with.is_empty() {
            vec![
                ("key".into(), Ty::NVarChar(Some(4000))),
                ("value".into(), Ty::NVarChar(None)),
                ("type".into(), Ty::Int),
            ]
        } else {
            with.iter().map(|(n, t, _)| (n.clone(), *t)).collect()
        };
        let first = args.first().map(|a| self.expr(a, up)).transpose()?;
        let Some(text) = first.and_then(|v| v.as_text()).filter(|_| !self.probe.get()) else {
            return Ok(named(Rel { columns, rows: Vec::new() }, alias));
        };
        let wrong = || {
            SqlError::new(13609, "JSON text is not properly formatted. Unexpected character is found at position 0.")
        };
        let mut json: serde_json::Value = serde_json::from_str(&text).map_err(|_| wrong())?;
        if let Some(path) = args.get(1).map(|a| self.expr(a, up)).transpose()?.and_then(|v| v.as_text()) {
            json = walk(&json, &path).cloned().unwrap_or(serde_json::Value::Null);
        }
        let entries: Vec<(String, serde_json::Value)> = match json {
            serde_json::Value::Array(a) => a.into_iter().enumerate().map(|(i, v)| (i.to_string(), v)).collect(),
            serde_json::Value::Object(o) if with.is_empty() => o.into_iter().collect(),
            serde_json::Value::Null => Vec::new(),
            other if with.is_empty() => {
                return Err(SqlError::new(13608, format!("{other} is no array or object.")).into());
            }
            other => vec![(String::new(), other)],
        };
        let plain = |v: &serde_json::Value| match v {
            serde_json::Value::Null => Value::null(Ty::NVarChar(None)),
            serde_json::Value::String(s) => Value::text(s.as_str()),
            other => Value::text(other.to_string()),
        };
        let mut rows = Vec::new();
        for (k, v) in &entries {
            if with.is_empty() {
                let kind = match v {
                    serde_json::Value::Null => 0,
                    serde_json::Value::String(_) => 1,
                    serde_json::Value::Number(_) => 2,
                    serde_json::Value::Bool(_) => 3,
                    serde_json::Value::Array(_) => 4,
                    serde_json::Value::Object(_) => 5,
                };
                rows.push(vec![Value::text(k.as_str()), plain(v), Value::int(kind)]);
                continue;
            }
            let mut row = Vec::new();
            for (name, ty, path) in with {
                let path = path.clone().unwrap_or_else(|| format!("$.{name}"));
                row.push(match walk(v, &path) {
                    Some(v) if !v.is_array() && !v.is_object() => plain(v).cast(*ty, 0)?,
                    _ => Value::null(*ty),
                });
            }
            rows.push(row);
        }
        Ok(named(Rel { columns, rows }, alias))
    }
}

/// Follows a path: `$`, `$.a.b`, `$[0]`, optionally after `lax` or `strict`.
fn walk<'a>(json: &'a serde_json::Value, path: &str) -> Option<&'a serde_json::Value> {
    let path = path.trim_start_matches("lax ").trim_start_matches("strict ").trim().strip_prefix('$')?;
    let mut at = json;
    for step in path.split(['.', '[']).filter(|s| !s.is_empty()) {
        at = match step.strip_suffix(']') {
            Some(index) => at.get(index.parse::<usize>().ok()?)?,
            None => at.get(step.trim_matches('"'))?,
        };
    }
    Some(at)
}

/// Checks that the recursive part of an expression has nothing that is forbidden there.
fn recursive(body: &Body) -> Result<(), Stop> {
    fn outer(from: &From) -> bool {
        match from {
            From::Join { kind, left, right, .. } => {
                matches!(kind, JoinKind::Left | JoinKind::Right | JoinKind::Full | JoinKind::OuterApply)
                    || outer(left)
                    || outer(right)
            }
            _ => false,
        }
    }
    let Body::Select(s) = body else { return Ok(()) };
    let aggregates = s.items.iter().any(|i| matches!(i, Item::Expr { expr, .. } if has_aggregate(expr)));
    if s.distinct {
        return error(
            460,
            "DISTINCT operator is not allowed in the recursive part of a recursive common table expression.",
        );
    }
    if s.top.is_some() {
        return error(1055, "'TOP' is not allowed in the recursive part of a recursive common table expression.");
    }
    if s.from.as_ref().is_some_and(outer) {
        return error(462, "Outer join is not allowed in the recursive part of a recursive common table expression.");
    }
    if aggregates || !s.group.is_empty() || s.having.is_some() {
        return error(
            467,
            "GROUP BY, HAVING, or aggregate functions are not allowed in the recursive part of a recursive common table expression.",
        );
    }
    Ok(())
}

fn names(body: &Body, name: &str) -> bool {
    fn inside(from: &From, name: &str) -> bool {
        match from {
            From::Table { name: n, .. } => n.len() == 1 && fold(&n[0]) == fold(name),
            From::Join { left, right, .. } => inside(left, name) || inside(right, name),
            _ => false,
        }
    }
    match body {
        Body::Select(s) => s.from.as_ref().is_some_and(|f| inside(f, name)),
        _ => false,
    }
}

/// Finds a part of the AND condition that equates a column of one side with one of the other.
fn equality(on: &Expr, left: &[Column], right: &[Column]) -> Option<(usize, usize)> {
    let find = |columns: &[Column], name: &[String]| {
        let [table, column] = name else { return None };
        columns.iter().position(|c| fold(&c.table) == fold(table) && fold(&c.name) == fold(column))
    };
    match on {
        Expr::Binary("and", a, b) => equality(a, left, right).or_else(|| equality(b, left, right)),
        Expr::Binary("=", a, b) => match (&**a, &**b) {
            (Expr::Column(a), Expr::Column(b)) => {
                let pair = find(left, a).zip(find(right, b)).or_else(|| find(left, b).zip(find(right, a)))?;
                // equal values of other types may differ as text
                let same = matches!(
                    (left[pair.0].ty, right[pair.1].ty),
                    (
                        Ty::Int | Ty::SmallInt | Ty::BigInt | Ty::TinyInt,
                        Ty::Int | Ty::SmallInt | Ty::BigInt | Ty::TinyInt
                    )
                );
                let names = left[pair.0].ty.is_string() && right[pair.1].ty.is_string();
                (same || names).then_some(pair)
            }
            _ => None,
        },
        _ => None,
    }
}

fn sort(rows: &mut [(Vec<Value>, Vec<Value>)], order: &[(Expr, bool)]) {
    rows.sort_by(|a, b| {
        a.0.iter().zip(&b.0).zip(order).fold(Ordering::Equal, |found, ((x, y), (_, descends))| {
            found.then_with(|| if *descends { order_values(y, x) } else { order_values(x, y) })
        })
    });
}

/// Finds one type for each column, from what the compiler saw and what the rows hold.
fn unify(mut columns: Vec<(String, Ty)>, rows: Vec<Vec<Value>>) -> Result<Rel, Stop> {
    for row in &rows {
        for ((_, ty), v) in columns.iter_mut().zip(row) {
            *ty = ty.meet(v.ty);
        }
    }
    for (_, ty) in &mut columns {
        if *ty == Ty::Null {
            *ty = Ty::Int;
        }
    }
    let typed = |row: Vec<Value>| -> Result<Vec<Value>, SqlError> {
        row.into_iter().zip(&columns).map(|(v, (_, ty))| v.cast(*ty, 0)).collect()
    };
    let rows = rows.into_iter().map(typed).collect::<Result<Vec<_>, _>>()?;
    Ok(Rel { columns, rows })
}

impl Eval<'_> {
    /// Returns the rows of a table, a view or a common table expression.
    fn table(&self, name: &[String], dirty: bool) -> Result<Rel, Stop> {
        let unknown = || error(208, format!("Invalid object name '{}'.", name.join(".")));
        if let [only] = name
            && let Some(rel) = self.ctes.borrow().get(&fold(only))
        {
            return Ok(rel.clone());
        }
        let (database, schema, table) = match name {
            [t] => (None, "", t.as_str()),
            [s, t] => (None, s.as_str(), t.as_str()),
            [d, s, t] => (Some(d.as_str()), s.as_str(), t.as_str()),
            _ => return error(7202, "Could not find server in sys.servers."),
        };
        let database = self.database(database)?;
        if fold(schema) == "sys" {
            // NOLOCK or READPAST skips the locks
            let spid = self.spid;
            let rel = if dirty { self.dirty_view(database, table)? } else { view(self.w, spid, database, table)? };
            return rel.map_or_else(unknown, Ok);
        }
        let Some(db) = self.w.databases.get(&database) else { return unknown() };
        if fold(&db.name) == "msdb" && fold(table) == "sysjobs" && self.w.may_server(self.spid, "CONTROL SERVER") {
            let columns = vec![("name".to_owned(), Ty::NVarChar(Some(128)))];
            let rows = self.w.jobs.values().map(|job| vec![Value::name(job.name.as_str())]);
            return Ok(Rel { columns, rows: rows.collect() });
        }
        let Some(table) = db.table_named(schema, table) else { return unknown() };
        if !self.w.may(self.spid, database, 1, table.id, "SELECT") {
            return error(
                229,
                format!(
                    "The SELECT permission was denied on the object '{}', database '{}', schema '{}'.",
                    table.name,
                    db.name,
                    db.schemas.get(&table.schema).map(|s| s.name.as_str()).unwrap_or_default()
                ),
            );
        }
        if !dirty && !self.w.session(self.spid).dirty_reads {
            let resource = format!("table:{database}:{}", table.id);
            if let Some(lock) = self.w.locks.get(&resource).filter(|l| l.spid != self.spid) {
                return self.w.wait(self.spid, lock.spid, resource, "LCK_M_S").map(|()| Rel::default());
            }
        }
        Ok(Rel { columns: table.columns.iter().map(|c| (c.name.clone(), c.ty)).collect(), rows: table.rows.clone() })
    }

    fn dirty_view(&self, database: i32, name: &str) -> Result<Option<Rel>, Stop> {
        // hints do not skip the locks of catalog views; management views have no locks
        view(self.w, self.spid, database, name)
    }

    /// Returns the database of this name, or the current one. Error 916 if the session has no user
    /// in it.
    pub(super) fn database(&self, name: Option<&str>) -> Result<i32, Stop> {
        let session = self.w.session(self.spid);
        let Some(name) = name.filter(|n| !n.is_empty()) else { return Ok(session.database) };
        let Some(db) = self.w.database_named(name) else { return error(208, format!("Invalid object name '{name}'.")) };
        if self.w.user_in(self.spid, db.id).is_none() {
            return error(
                916,
                format!(
                    "The server principal \"{}\" is not able to access the database \"{}\" under the current security context.",
                    session.login_name(),
                    db.name
                ),
            );
        }
        Ok(db.id)
    }
}
