use super::*;

#[tokio::test]
async fn a_rotated_key_counts_after_one_fetch_and_the_old_one_no_longer() {
    let scene = Scene::new();
    let old = scene.token(json!({}));
    scene.verify(&old).await.unwrap();
    scene.provider.rotate();
    let new = scene.token(json!({}));
    scene.verify(&new).await.unwrap();
    assert_eq!(scene.provider.asked(), 2);
    let why = scene.refused(&old).await;
    assert_eq!(why, "the token is signed with the key `p256-1`, which is not one of the provider's");
    // the unknown key already caused a fetch within the last half minute
    assert_eq!(scene.provider.asked(), 2);
}

#[tokio::test]
async fn unknown_keys_do_not_flood_the_provider() {
    let (scene, other) = (Scene::new(), Provider::start());
    scene.verify(&scene.token(json!({}))).await.unwrap();
    for _ in 0..5 {
        other.rotate();
        let why = scene.refused(&other.token("ES256", &scene.claims(json!({})))).await;
        assert!(why.contains("which is not one of the provider's"), "{why}");
    }
    assert_eq!(scene.provider.asked(), 2);
    scene.clock.advance(30 * SECOND);
    scene.refused(&other.token("ES256", &scene.claims(json!({})))).await;
    assert_eq!(scene.provider.asked(), 3);
}

#[tokio::test]
async fn many_at_once_fetch_the_keys_once() {
    let scene = Scene::new();
    let token = scene.token(json!({}));
    let all = futures_util::future::join_all((0..50).map(|_| scene.verify(&token))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    assert_eq!(scene.provider.asked(), 1);
}

#[tokio::test]
async fn old_keys_count_for_a_while_when_the_provider_is_down() {
    let mut scene = Scene::with(|config| config.max_age(7200 * SECOND));
    scene.verify(&scene.token(json!({}))).await.unwrap();
    let token = scene.token(json!({ "exp": scene.clock.wall().timestamp() + 7200 }));
    scene.provider.stop();
    scene.clock.advance(3590 * SECOND);
    scene.verify(&token).await.unwrap();
    scene.clock.advance(10 * SECOND);
    let why = scene.unavailable(&token).await;
    assert!(why.contains("does not answer as it should at"), "{why}");
}

#[tokio::test]
async fn a_provider_that_answers_badly_is_as_good_as_none() {
    let scene = Scene::new();
    for how in ["failing", "html", "huge", "endless", "moved", "slow"] {
        scene.provider.behave(how);
        scene.clock.advance(5 * SECOND);
        let why = scene.unavailable(&scene.token(json!({}))).await;
        println!("{how}: {why}");
        assert!(why.contains(&scene.provider.issuer), "{how}: {why}");
    }
    scene.provider.behave("well");
    scene.clock.advance(5 * SECOND);
    scene.verify(&scene.token(json!({}))).await.unwrap();
    // the keys known by then stay valid
    scene.provider.behave("failing");
    scene.clock.advance(600 * SECOND);
    scene.verify(&scene.token(json!({}))).await.unwrap();
}

#[tokio::test]
async fn a_provider_that_speaks_for_another_is_not_believed() {
    let scene = Scene::new();
    // the same process under another name: its discovery document names its real issuer
    let alias = scene.provider.issuer.replace("127.0.0.1", "localhost");
    let factor = OidcFactor::new(trusting(&alias, &scene.clock)).unwrap();
    let scene = Scene { factor, ..scene };
    let why = scene.unavailable(&scene.token(json!({}))).await;
    assert!(why.contains("not of this issuer"), "{why}");
}
