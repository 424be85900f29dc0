//! Laws about names: law 11 trusts none.

use std::sync::Arc;

use super::scene::Scene;
use super::{Outcome, Tried, World, laws, must};
use crate::database::{Database, MembershipScope, RevokeHow};
use crate::store::BoxError;

laws! {
    law_11_hard_names_are_quoted: [], ["pg-63"];
    law_11_longest_name_works_and_a_longer_one_is_refused: [], ["pg-63"];
    law_11_what_the_engine_would_alter_is_refused: [], ["pg-63"];
}

async fn law_11_hard_names_are_quoted(world: Arc<dyn World>) -> Outcome {
    let hints = [
        "a\"b",
        "O'Brien",
        "100%",
        "two words",
        "zoë ключ 鍵",
        "Upper",
        "back\\slash",
        "$$ $1 %s {}",
        "x\"; DROP ROLE y; --",
        "x]; DROP ROLE y; --",
        "a`b",
    ];
    for hint in hints {
        round(world.clone(), world.fresh(hint), world.fresh(hint))
            .await
            .map_err(|error| -> BoxError { format!("{hint}: {error}").into() })?;
    }
    Ok(())
}

async fn law_11_longest_name_works_and_a_longer_one_is_refused(world: Arc<dyn World>) -> Outcome {
    let pad = |name: String, length: usize| {
        let missing = length.saturating_sub(name.len());
        name + &"x".repeat(missing)
    };
    let longest = world.longest_name();
    let (account, role) = (pad(world.fresh("a"), longest), pad(world.fresh("r"), longest));
    let database = world.database(super::Login::Broker).await?;
    let longer = format!("{account}x");
    must(database.account(&longer).is_err(), format!("an account of {} bytes was taken", longer.len()))?;
    must(database.role(&longer).is_err(), format!("a role of {} bytes was taken", longer.len()))?;
    let most = if world.counts_bytes() { longest.checked_div(2).unwrap_or_default() } else { longest };
    must(database.account(&"é".repeat(most)).is_ok(), format!("an account of {most} wide characters was refused"))?;
    let wide = "é".repeat(most.saturating_add(1));
    must(database.account(&wide).is_err(), format!("an account of {} bytes was taken", wide.len()))?;
    round(world, account, role).await
}

async fn law_11_what_the_engine_would_alter_is_refused(world: Arc<dyn World>) -> Outcome {
    let database: Arc<dyn Database> = world.database(super::Login::Broker).await?;
    for name in world.refused_names() {
        must(database.account(&name).is_err(), format!("the account {name:?} was taken"))?;
        must(database.role(&name).is_err(), format!("the role {name:?} was taken"))?;
    }
    Ok(())
}

/// Grants, uses and revokes the role.
async fn round(world: Arc<dyn World>, account: String, role: String) -> Outcome {
    let scene = Scene::named(world, account, role).await?;
    scene.grant(MembershipScope::Inherit).await?;
    scene.usable(Tried::Done).await?;
    scene.revoke(RevokeHow::Remove).await?;
    must(scene.rows().await? == 0, "the membership is still there")?;
    scene.usable(Tried::Denied).await
}
