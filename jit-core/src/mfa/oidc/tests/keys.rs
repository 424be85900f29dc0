use std::collections::BTreeSet;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

async fn accepted(scene: &Scene, key: &SignsAs) -> Result<(), FactorError> {
    scene.verify(&key.token(&scene.claims(json!({})))).await.map(drop)
}

fn unavailable(result: Result<(), FactorError>) -> String {
    let Err(FactorError::Unavailable { why, .. }) = result else { panic!("{result:?}") };
    why
}

#[tokio::test]
async fn keys_are_fetched_once_in_ten_minutes() {
    let scene = Scene::new();
    for _ in 0..3 {
        accepted(&scene, &scene.key).await.unwrap();
    }
    scene.clock.advance(599 * SECOND);
    accepted(&scene, &scene.key).await.unwrap();
    assert_eq!(scene.provider.asked_for_keys(), 1);
    scene.clock.advance(SECOND);
    accepted(&scene, &scene.key).await.unwrap();
    assert_eq!(scene.provider.asked_for_keys(), 2);
}

#[tokio::test]
async fn a_rotated_key_counts_after_one_fetch_and_the_old_one_no_longer() {
    let scene = Scene::new();
    accepted(&scene, &scene.key).await.unwrap();
    let next = SignsAs::new("second", 2);
    scene.provider.has_keys(&[&next]);
    accepted(&scene, &next).await.unwrap();
    assert_eq!(scene.provider.asked_for_keys(), 2);
    assert!(why(accepted(&scene, &scene.key).await.unwrap_err()).contains("`first`, which is not one"));
}

#[tokio::test]
async fn unknown_keys_have_the_provider_asked_every_half_minute_at_most() {
    let scene = Scene::new();
    accepted(&scene, &scene.key).await.unwrap();
    for kid in ["a", "b", "c", "d"] {
        let why = why(accepted(&scene, &SignsAs::new(kid, 3)).await.unwrap_err());
        assert!(why.contains("not one of the provider's"), "{why}");
    }
    assert_eq!(scene.provider.asked_for_keys(), 2);
    scene.clock.advance(29 * SECOND);
    accepted(&scene, &SignsAs::new("e", 3)).await.unwrap_err();
    assert_eq!(scene.provider.asked_for_keys(), 2);
    scene.clock.advance(SECOND);
    accepted(&scene, &SignsAs::new("f", 3)).await.unwrap_err();
    assert_eq!(scene.provider.asked_for_keys(), 3);
    accepted(&scene, &scene.key).await.unwrap();
}

#[tokio::test]
async fn old_keys_count_for_an_hour_while_the_provider_is_down() {
    let scene = Scene::new();
    accepted(&scene, &scene.key).await.unwrap();
    scene.provider.is_down();
    scene.clock.advance(59 * MINUTE);
    accepted(&scene, &scene.key).await.unwrap();
    // nobody knows now if this key is right
    let why = unavailable(accepted(&scene, &SignsAs::new("second", 2)).await);
    assert!(why.contains("does not answer") && why.contains("connection refused"), "{why}");
    scene.clock.advance(MINUTE);
    unavailable(accepted(&scene, &scene.key).await);
    scene.provider.answer(DISCOVERY, &json!({ "issuer": ISSUER, "jwks_uri": JWKS }));
    scene.provider.has_keys(&[&scene.key]);
    unavailable(accepted(&scene, &scene.key).await);
    scene.clock.advance(5 * SECOND);
    accepted(&scene, &scene.key).await.unwrap();
}

#[tokio::test]
async fn a_provider_that_is_down_is_asked_every_five_seconds_at_most() {
    let scene = Scene::new();
    scene.provider.is_down();
    for _ in 0..10 {
        unavailable(accepted(&scene, &scene.key).await);
    }
    assert_eq!(scene.provider.asked.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_keys_waits_for_the_same_ones() {
    let scene = Scene::new();
    *scene.provider.delay.lock().unwrap() = SECOND;
    let token = scene.key.token(&scene.claims(json!({})));
    let all = futures_util::future::join_all((0..20).map(|_| scene.verify(&token))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(scene.provider.asked_for_keys(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_does_not_have_it_begun_again() {
    let scene = Scene::new();
    *scene.provider.delay.lock().unwrap() = SECOND;
    for _ in 0..5 {
        tokio::time::timeout(SECOND / 100, accepted(&scene, &scene.key)).await.unwrap_err();
    }
    accepted(&scene, &scene.key).await.unwrap();
    assert_eq!(scene.provider.asked_for_keys(), 1);
}

#[tokio::test]
async fn a_known_key_does_not_wait_for_an_unknown_one() {
    let scene = Arc::new(Scene::new());
    accepted(&scene, &scene.key).await.unwrap();
    *scene.provider.delay.lock().unwrap() = 3600 * SECOND;
    let stuck = tokio::spawn({
        let scene = scene.clone();
        async move { accepted(&scene, &SignsAs::new("unknown", 9)).await }
    });
    tokio::task::yield_now().await;
    tokio::time::timeout(5 * SECOND, accepted(&scene, &scene.key)).await.unwrap().unwrap();
    stuck.abort();
}

#[tokio::test]
async fn a_discovery_document_of_another_issuer_is_not_believed() {
    let scene = Scene::new();
    let mut seen = BTreeSet::new();
    for (document, expected) in [
        (json!({ "issuer": "https://evil.example.com", "jwks_uri": JWKS }), "is of `https://evil.example.com`"),
        (json!({ "issuer": format!("{ISSUER}/"), "jwks_uri": JWKS }), "not of this issuer"),
        (json!({ "jwks_uri": JWKS }), "is not a discovery document"),
        (json!([]), "is not a discovery document"),
    ] {
        scene.provider.answer(DISCOVERY, &document);
        scene.clock.advance(5 * SECOND);
        let why = unavailable(accepted(&scene, &scene.key).await);
        assert!(why.contains(expected), "{why}");
        seen.insert(why);
    }
    assert_eq!(scene.provider.asked_for_keys(), 0);
}

#[tokio::test]
async fn keys_can_be_named_without_discovery() {
    let scene = Scene::with(|config| config.jwks_uri(JWKS));
    accepted(&scene, &scene.key).await.unwrap();
    assert_eq!(*scene.provider.asked.lock().unwrap(), [JWKS]);
}
