//! Laws about leftovers: objects that an account or a role came to own outlive the membership, and
//! are seen.

use std::sync::Arc;

use super::scene::{Scene, expect, only};
use super::{Act, Attempt, Outcome, Tried, World, laws, must};
use crate::database::{OwnedObject, RevokeHow};
use crate::model::holding::{leftovers, marks};
use crate::policy::Stance;
use crate::store::BoxError;

laws! {
    contract_owned_objects_show_what_was_made_in_a_window: [OwnedObjects], ["my-routine", "pg-definer"];
    contract_owned_objects_of_nobody_are_nothing: [OwnedObjects], [];
}

async fn owned(scene: &Scene) -> Result<Vec<OwnedObject>, BoxError> {
    only(scene.database.owned_objects(&[scene.membership()?]).await?.each)?.ok_or_else(|| "too many".into())
}

async fn contract_owned_objects_show_what_was_made_in_a_window(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    scene.world.act(Act::LetMake { role: &scene.role }).await?;
    let before = owned(&scene).await?;
    // on MariaDB, the right to make routines counts as a power
    let order = scene.order_accepting(scene.soon().await?, Stance::Refused, Stance::Accepted)?;
    scene.send_grant(order).await??;
    let mut session = scene.session().await?;
    let (first, second) = (scene.world.fresh("made"), scene.world.fresh("made"));
    expect(&mut session, Attempt::Make { role: &scene.role, name: &first }, Tried::Done).await?;
    expect(&mut session, Attempt::SetRole(&scene.role), Tried::Done).await?;
    expect(&mut session, Attempt::Make { role: &scene.role, name: &second }, Tried::Done).await?;
    scene.revoke(RevokeHow::Remove).await?;
    let now = owned(&scene).await?;
    let left = leftovers(&marks(&before), &now);
    for name in [&first, &second] {
        must(left.iter().any(|what| what.contains(name.as_str())), format!("`{name}` is not among {left:?}"))?;
    }
    must(leftovers(&marks(&now), &now).is_empty(), "what was there before is news")
}

async fn contract_owned_objects_of_nobody_are_nothing(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    scene.world.act(Act::Drop { name: &scene.account }).await?;
    owned(&scene).await.map(drop)
}
