//! Transactions: the previous state of the catalog, to restore it.

use super::{Database, Grant, Instance, Key, Login, Principal, Procedure, Schema, Table};

/// Entry of the catalog with its previous value.
#[derive(Debug, Clone)]
pub(crate) enum Undo {
    Login(i32, Option<Login>),
    ServerMember((i32, i32), bool),
    ServerPermission(Key, Option<Grant>),
    Principal(i32, i32, Option<Principal>),
    Member(i32, (i32, i32), bool),
    Permission(i32, Key, Option<Grant>),
    Schema(i32, i32, Option<Schema>),
    Table(i32, i32, Option<Table>),
    Procedure(i32, i32, Option<Box<Procedure>>),
    Database(i32, Option<Box<Database>>),
}

impl Instance {
    /// Changes entries of the catalog (or removes them), and remembers the previous values.
    pub(crate) fn change(&mut self, spid: i32, change: Undo) {
        let before = self.put(change);
        if let (Some(before), Some(session)) = (before, self.sessions.get_mut(&spid)) {
            session.undo.push(before);
        }
    }

    fn put(&mut self, change: Undo) -> Option<Undo> {
        fn swap<K: Ord, V>(map: &mut std::collections::BTreeMap<K, V>, key: K, value: Option<V>) -> Option<V> {
            match value {
                Some(v) => map.insert(key, v),
                None => map.remove(&key),
            }
        }
        fn toggle(set: &mut std::collections::BTreeSet<(i32, i32)>, pair: (i32, i32), there: bool) -> bool {
            if there { !set.insert(pair) } else { set.remove(&pair) }
        }
        Some(match change {
            Undo::Login(id, v) => Undo::Login(id, swap(&mut self.logins, id, v)),
            Undo::ServerMember(pair, there) => Undo::ServerMember(pair, toggle(&mut self.server_members, pair, there)),
            Undo::ServerPermission(key, v) => {
                Undo::ServerPermission(key.clone(), swap(&mut self.server_permissions, key, v))
            }
            Undo::Database(id, v) => Undo::Database(id, swap(&mut self.databases, id, v.map(|d| *d)).map(Box::new)),
            Undo::Principal(db, id, v) => {
                Undo::Principal(db, id, swap(&mut self.databases.get_mut(&db)?.principals, id, v))
            }
            Undo::Member(db, pair, there) => {
                Undo::Member(db, pair, toggle(&mut self.databases.get_mut(&db)?.members, pair, there))
            }
            Undo::Permission(db, key, v) => {
                Undo::Permission(db, key.clone(), swap(&mut self.databases.get_mut(&db)?.permissions, key, v))
            }
            Undo::Schema(db, id, v) => Undo::Schema(db, id, swap(&mut self.databases.get_mut(&db)?.schemas, id, v)),
            Undo::Procedure(db, id, v) => Undo::Procedure(
                db,
                id,
                swap(&mut self.databases.get_mut(&db)?.procedures, id, v.map(|p| *p)).map(Box::new),
            ),
            Undo::Table(db, id, v) => Undo::Table(db, id, swap(&mut self.databases.get_mut(&db)?.tables, id, v)),
        })
    }

    /// Undoes all changes back to a mark.
    pub(crate) fn undo_to(&mut self, spid: i32, mark: usize) {
        while let Some(undo) =
            self.sessions.get_mut(&spid).and_then(|s| if s.undo.len() > mark { s.undo.pop() } else { None })
        {
            self.put(undo);
        }
    }

    pub(crate) fn rollback(&mut self, spid: i32) {
        self.undo_to(spid, 0);
        self.finish(spid);
    }

    /// Keeps the changes, and releases the locks.
    pub(crate) fn finish(&mut self, spid: i32) {
        if let Some(s) = self.sessions.get_mut(&spid) {
            s.undo.clear();
            s.savepoints.clear();
            s.transactions = 0;
            s.doomed = false;
        }
        self.release(spid);
    }
}
