//! Transactions: BEGIN, COMMIT and ROLLBACK, as statements and as requests.

use super::{End, Frame, Machine};
use crate::{Stop, error, instance::Instance, sql::ast::Stmt};

impl Machine {
    pub(super) fn transaction_statement(&mut self, w: &mut Instance, stmt: &Stmt) -> Result<(), Stop> {
        let spid = self.spid;
        let Some(s) = w.session_mut(spid) else { return Err(Stop::Killed) };
        match stmt {
            Stmt::Begin => s.transactions += 1,
            Stmt::Commit if s.transactions == 0 => {
                return error(3902, "The COMMIT TRANSACTION request has no corresponding BEGIN TRANSACTION.");
            }
            Stmt::Commit if s.doomed => {
                return error(
                    3930,
                    "The current transaction cannot be committed and cannot support operations that write to the log file. Roll back the transaction.",
                );
            }
            Stmt::Commit => {
                s.transactions -= 1;
                if s.transactions == 0 {
                    w.finish(spid);
                }
            }
            Stmt::Rollback(_) if s.transactions == 0 => {
                return error(3903, "The ROLLBACK TRANSACTION request has no corresponding BEGIN TRANSACTION.");
            }
            Stmt::Rollback(name) => {
                let mark = name
                    .as_ref()
                    .and_then(|n| s.savepoints.iter().rev().find(|p| p.0.eq_ignore_ascii_case(n)).map(|p| p.1));
                match mark {
                    Some(mark) => w.undo_to(spid, mark),
                    None => w.rollback(spid),
                }
            }
            Stmt::Save(name) => {
                let mark = s.undo.len();
                s.savepoints.push((name.clone(), mark));
            }
            _ => {}
        }
        Ok(())
    }

    /// Runs a transaction manager request (2.2.6.9): begin, commit or roll back.
    pub(crate) fn transaction(&mut self, body: &[u8]) -> End {
        let kind = body.first().copied().unwrap_or(0);
        // bit 0 of the flags: another transaction begins at once
        let (sql, again) = match kind {
            5 => ("begin transaction", false),
            7 => ("commit transaction", body.get(3).is_some_and(|f| f & 1 != 0)),
            8 => ("if @@trancount > 0 rollback transaction", body.get(3).is_some_and(|f| f & 1 != 0)),
            _ => return End::Close,
        };
        self.start("TM REQUEST");
        let mut result = self.text(sql, Frame::default());
        if again && result.is_ok() {
            result = self.text("begin transaction", Frame::default());
        }
        self.end(result.map(|_| ()))
    }
}
