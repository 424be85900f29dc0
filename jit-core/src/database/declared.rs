//! Realms that an operator names, for servers whose own identity cannot be used.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    ArmOrder, Armed, Call, Capabilities, Check, Continuity, Database, DatabaseError, Disarmed, GrantOrder, Granted,
    Holders, Identity, Membership, NameError, Observation, OfTheBroker, Owned, RevokeOrder, RevokeReport, SettleOrder,
    StoreMarks,
};
use crate::id::{Account, InvalidId, RealmId, RoleName};

/// Prefix of the names of declared realms. No server calls itself so.
const DECLARED: &str = "declared:";
/// Checks whether an operator gave the realm its name.
pub(crate) fn is_declared(realm: &RealmId) -> bool {
    realm.as_str().starts_with(DECLARED)
}

/// Separator in an incarnation, between the server's own incarnation and the realm that it reports.
const OWN: &str = " as ";

/// A database whose realm has a name that the operator gives it. Two copies with one identifier get
/// two names. A server that changes its identifier when it fails over keeps its name. The identity
/// that the server reports becomes a part of its incarnation.
///
/// ```
/// # use jit_core::database::{Database, InRealm as _};
/// # fn embed(staging: impl Database) -> Result<(), Box<dyn std::error::Error>> {
/// let staging = staging.in_realm("staging")?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct DeclaredRealm<D> {
    inner: D,
    realm: RealmId,
}

/// Gives a database's realm a name.
///
/// ```
/// use jit_core::Jit;
/// use jit_core::database::{Database, InRealm};
/// # use jit_core::id::InvalidId;
///
/// # fn embed(production: impl Database, staging: impl Database) -> Result<(), InvalidId> {
/// // staging was restored from a copy of production, so both servers report one realm
/// let builder = Jit::builder()
///     .database("orders-prod", production)
///     .database("orders-staging", staging.in_realm("staging")?);
/// # Ok(())
/// # }
/// ```
pub trait InRealm: Database + Sized {
    /// Returns the database with this name for its realm.
    ///
    /// # Errors
    /// [`InvalidId`] if the text cannot be a name.
    fn in_realm(self, name: &str) -> Result<DeclaredRealm<Self>, InvalidId> {
        Ok(DeclaredRealm { inner: self, realm: RealmId::new(format!("{DECLARED}{name}"))? })
    }
}

impl<D: Database> InRealm for D {}

impl<D> DeclaredRealm<D> {
    fn declared(&self, own: &Identity) -> Identity {
        let Identity { realm, incarnation, position } = own;
        let incarnation = format!("{incarnation}{OWN}{realm}");
        Identity { realm: self.realm.clone(), incarnation, position: position.clone() }
    }

    /// Returns the identity by which the adapter knows the server. An identity that was never this
    /// database's stays as it is, since no server has it.
    fn own(&self, declared: &Identity) -> Identity {
        let own = declared.incarnation.rsplit_once(OWN).filter(|_| declared.realm == self.realm);
        let own = own.and_then(|(incarnation, realm)| {
            let (realm, position) = (RealmId::new(realm).ok()?, declared.position.clone());
            Some(Identity { realm, incarnation: incarnation.to_owned(), position })
        });
        own.unwrap_or_else(|| declared.clone())
    }

    fn call(&self, call: &Call) -> Call {
        Call { server: call.server.as_ref().map(|server| self.own(server)), ..call.clone() }
    }
}

#[async_trait]
impl<D: Database> Database for DeclaredRealm<D> {
    fn account(&self, name: &str) -> Result<Account, NameError> {
        self.inner.account(name)
    }

    fn role(&self, name: &str) -> Result<RoleName, NameError> {
        self.inner.role(name)
    }

    async fn identify(&self) -> Result<Identity, DatabaseError> {
        Ok(self.declared(&self.inner.identify().await?))
    }

    fn continues(&self, before: &Identity, now: &Identity) -> Continuity {
        let (before, now) = (self.own(before), self.own(now));
        // the operator says that it is one server, whatever it calls itself and wherever it failed
        // over to
        if before.realm != now.realm {
            return Continuity::Same;
        }
        match self.inner.continues(&before, &now) {
            other @ Continuity::Other(_) => other,
            Continuity::Same | Continuity::Restarted | Continuity::Unclear(_) => Continuity::Same,
        }
    }

    async fn capabilities(&self) -> Result<Capabilities, DatabaseError> {
        self.inner.capabilities().await
    }

    async fn check(&self, roles: &[RoleName]) -> Result<Vec<Check>, DatabaseError> {
        let mut checks = self.inner.check(roles).await?;
        // this finding is about the server's own identity, which decides nothing here
        checks.retain(|check| check.about.what != FOLLOWS_THE_HOST);
        Ok(checks)
    }

    async fn observe(&self, memberships: &[Membership]) -> Result<Observation, DatabaseError> {
        let observation = self.inner.observe(memberships).await?;
        Ok(Observation { identity: self.declared(&observation.identity), ..observation })
    }

    async fn grant(&self, call: &Call, orders: &[GrantOrder]) -> Vec<Result<Granted, DatabaseError>> {
        let answers = self.inner.grant(&self.call(call), orders).await.into_iter();
        answers.map(|one| one.map(|one| Granted { identity: self.declared(&one.identity), ..one })).collect()
    }

    async fn revoke(&self, call: &Call, orders: &[RevokeOrder]) -> Vec<Result<RevokeReport, DatabaseError>> {
        let answers = self.inner.revoke(&self.call(call), orders).await.into_iter();
        answers.map(|one| one.map(|one| RevokeReport { identity: self.declared(&one.identity), ..one })).collect()
    }

    async fn settle(&self, orders: &[SettleOrder]) -> Result<Identity, DatabaseError> {
        Ok(self.declared(&self.inner.settle(orders).await?))
    }

    async fn arm(&self, call: &Call, orders: &[ArmOrder]) -> Vec<Result<Armed, DatabaseError>> {
        let answers = self.inner.arm(&self.call(call), orders).await.into_iter();
        answers.map(|one| one.map(|one| Armed { identity: self.declared(&one.identity), ..one })).collect()
    }

    async fn disarm(&self, call: &Call, orders: &[Membership]) -> Vec<Result<Disarmed, DatabaseError>> {
        let answers = self.inner.disarm(&self.call(call), orders).await.into_iter();
        answers.map(|one| one.map(|one| Disarmed { identity: self.declared(&one.identity), ..one })).collect()
    }

    async fn owned_objects(&self, memberships: &[Membership]) -> Result<Owned, DatabaseError> {
        let owned = self.inner.owned_objects(memberships).await?;
        Ok(Owned { identity: self.declared(&owned.identity), ..owned })
    }

    async fn holders(&self, roles: &[RoleName]) -> Result<Holders, DatabaseError> {
        let holders = self.inner.holders(roles).await?;
        Ok(Holders { identity: self.declared(&holders.identity), ..holders })
    }

    async fn of_the_broker(&self) -> Result<OfTheBroker, DatabaseError> {
        let its = self.inner.of_the_broker().await?;
        Ok(OfTheBroker { identity: its.identity.as_ref().map(|identity| self.declared(identity)), ..its })
    }

    async fn set_up(&self, roles: &[RoleName]) -> Result<String, DatabaseError> {
        self.inner.set_up(roles).await
    }

    async fn stores(&self) -> Result<Vec<StoreMarks>, DatabaseError> {
        self.inner.stores().await
    }
}

/// Stable word of the check that says that a server's own identity follows its host.
pub const FOLLOWS_THE_HOST: &str = "identity-follows-host";

/// Returns a shared database with a name for its realm, if one is declared.
///
/// # Errors
/// [`InvalidId`] if the text cannot be a name.
pub fn declared(database: Arc<dyn Database>, realm: Option<&str>) -> Result<Arc<dyn Database>, InvalidId> {
    match realm {
        Some(realm) => Ok(Arc::new(database.in_realm(realm)?)),
        None => Ok(database),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::mock::{MockServer, Profile};

    #[tokio::test]
    async fn a_declared_realm_is_the_realm_and_what_the_server_calls_itself_is_its_incarnation() {
        let clock = || Arc::new(crate::clock::SystemClock) as Arc<dyn crate::clock::Clock>;
        let one = MockServer::new(Profile::postgres(17), clock());
        let (database, plain) = (one.database().in_realm("staging").unwrap(), one.database());
        let (declared, own) = (database.identify().await.unwrap(), plain.identify().await.unwrap());
        assert_eq!(declared.realm.as_str(), "declared:staging");
        assert_eq!(database.own(&declared), own);
        let other = MockServer::new(Profile::postgres(17), clock()).database().in_realm("staging").unwrap();
        let after = other.identify().await.unwrap();
        assert!(declared.realm == after.realm && declared.incarnation != after.incarnation);
        assert_eq!(database.continues(&declared, &after), Continuity::Same, "a failover to another identifier");
        let copy = one.copy().database().in_realm("staging").unwrap().identify().await.unwrap();
        let copy = database.continues(&declared, &copy);
        assert!(matches!(copy, Continuity::Other(_)), "a copy with the same identifier, beside it");
    }
}
