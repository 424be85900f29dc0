//! Laws about the identity of a store.

use futures_util::future::join_all;

use super::bench::Bench;
use super::{Broken, StoreLaw, hold, laws};
use crate::clock::SystemEntropy;
use crate::store::{MemoryStore, identity};

pub(super) fn laws() -> Vec<StoreLaw> {
    let mut all = laws![Nothing: a_store_is_one_for_all_processes_and_not_another];
    all.extend(laws![Durable: a_store_that_is_opened_again_is_the_same]);
    all
}

async fn a_store_is_one_for_all_processes_and_not_another(bench: Bench) -> Result<(), Broken> {
    let (one, two) = (bench.open().await?, bench.open().await?);
    // at once: the second one takes the identity that the first one made
    let all = join_all([&one, &two, &one, &two].map(|store| identity(&**store, &SystemEntropy))).await;
    let all = all.into_iter().collect::<Result<Vec<_>, _>>()?;
    hold!(all.iter().all(|id| Some(id) == all.first()), "one store is several: {all:?}");
    let other = identity(&MemoryStore::default(), &SystemEntropy).await?;
    hold!(!all.contains(&other), "two stores are one: {other}");
    Ok(())
}

async fn a_store_that_is_opened_again_is_the_same(bench: Bench) -> Result<(), Broken> {
    let before = identity(&*bench.open().await?, &SystemEntropy).await?;
    let after = identity(&*bench.open().await?, &SystemEntropy).await?;
    hold!(before == after, "it was {before} and is {after}");
    Ok(())
}
