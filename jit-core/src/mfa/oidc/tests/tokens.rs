use chrono::TimeDelta;

use super::*;

#[tokio::test]
async fn a_good_token_proves_when_the_person_logged_in() {
    let scene = Scene::new();
    let verified = scene.says(json!({ "acr": "gold" })).await.unwrap();
    assert_eq!(verified.at.timestamp(), scene.now() - 10);
    assert_eq!(verified.keep, None);
    let once = verified.once.unwrap();
    assert_eq!(once.until.timestamp(), scene.now() + 300 + 60);
    assert!(once.key.len() <= 200);
    let details: Vec<(&str, &str)> =
        verified.details.iter().map(|(name, said)| (name.as_str(), said.as_str())).collect();
    let wanted = [("acr", "gold"), ("amr", "pwd otp"), ("issuer", ISSUER), ("kid", "first"), ("subject", "alice")];
    assert_eq!(details, wanted);
}

#[tokio::test]
async fn each_thing_that_a_token_lacks_is_refused() {
    let scene = Scene::new();
    for claim in ["iss", "aud", "sub", "exp", "iat", "auth_time", "nonce", "amr"] {
        let why = scene.refused(json!({ claim: null })).await;
        assert!(why.contains(claim) || claim == "aud" && why.contains("is for nobody"), "{claim}: {why}");
    }
    let why = scene.refused(json!({ "nonce": "" })).await;
    assert!(why.contains("it has no `nonce`"), "{why}");
}

#[tokio::test]
async fn each_thing_that_is_somebody_elses_is_refused() {
    let scene = Scene::new();
    let other = "01890a5d-ac96-774b-bcce-b302099a8058";
    for (changes, expected) in [
        (json!({ "iss": "https://login.example.com/" }), "is from `https://login.example.com/`"),
        (json!({ "aud": "shop" }), "the token is for `shop`, and one for `jit` is needed"),
        (json!({ "aud": ["shop", "jit"] }), "does not say to whom it was given"),
        (json!({ "aud": ["shop", "jit"], "azp": "shop" }), "was given to `shop`"),
        (json!({ "azp": "shop" }), "was given to `shop`"),
        (json!({ "sub": "bob" }), "is about `bob`, and one about `alice` is needed (`sub`)"),
        (json!({ "sub": "Alice" }), "is about `Alice`"),
        (json!({ "nonce": other }), "made for something else"),
        (json!({ "nonce": format!("{ACCESS}.1") }), "made for something else"),
        (json!({ "nonce": [ACCESS] }), "`nonce` is not what it has to be"),
    ] {
        let why = scene.refused(changes).await;
        assert!(why.contains(expected), "{why}");
    }
    scene.says(json!({ "aud": ["shop", "jit"], "azp": "jit" })).await.unwrap();
}

#[tokio::test]
async fn times_are_judged_with_a_minute_of_leeway() {
    let scene = Scene::new();
    let now = scene.now();
    for good in [
        json!({ "exp": now - 59 }),
        json!({ "nbf": now + 60 }),
        json!({ "iat": now + 60 }),
        json!({ "auth_time": now + 60 }),
        json!({ "auth_time": now - 3600 }),
    ] {
        scene.says(good).await.unwrap();
    }
    for (bad, expected) in [
        (json!({ "exp": now - 60 }), "expired at 2025-12-31 23:59:00 UTC"),
        (json!({ "nbf": now + 61 }), "valid from 2026-01-01 00:01:01 UTC only (`nbf`)"),
        (json!({ "iat": now + 61 }), "(`iat`)"),
        (json!({ "auth_time": now + 61 }), "(`auth_time`)"),
        (json!({ "auth_time": now - 3601 }), "1h ago at most"),
        (json!({ "exp": "tomorrow" }), "`exp` is not what it has to be"),
        (json!({ "exp": 1e300 }), "`exp` is not what it has to be"),
    ] {
        let why = scene.refused(bad).await;
        assert!(why.contains(expected), "{why}");
    }
}

#[tokio::test]
async fn it_was_not_proven_later_than_the_stores_time() {
    let scene = Scene::new();
    let token = scene.key.token(&scene.claims(json!({ "auth_time": scene.now() + 30 })));
    let earlier = scene.clock.wall() - TimeDelta::seconds(100);
    assert_eq!(scene.verify_at(&token, earlier).await.unwrap().at, earlier);
}

#[tokio::test]
async fn a_wall_clock_set_back_revives_no_token_that_the_store_has_forgotten() {
    let scene = Scene::new();
    let token = scene.key.token(&scene.claims(json!({})));
    let until = scene.verify(&token).await.unwrap().once.unwrap().until;
    scene.clock.advance(Duration::from_secs(200));
    scene.clock.step_wall(TimeDelta::seconds(-150));
    scene.verify_at(&token, until - TimeDelta::seconds(1)).await.unwrap();
    assert!(why(scene.verify_at(&token, until).await.unwrap_err()).contains("expired"));
}

#[tokio::test]
async fn a_second_factor_is_shown_by_amr_or_acr() {
    let scene = Scene::with(|config| config.acr(["gold"]));
    for good in [
        json!({ "amr": ["mfa"] }),
        json!({ "amr": "hwk" }),
        json!({ "amr": null, "acr": "gold" }),
        json!({ "amr": ["pwd"], "acr": "gold" }),
    ] {
        scene.says(good).await.unwrap();
    }
    for bad in [
        json!({ "amr": null }),
        json!({ "amr": [] }),
        json!({ "amr": ["pwd", "sms", "MFA"] }),
        json!({ "amr": ["gold"] }),
        json!({ "amr": null, "acr": "mfa" }),
        json!({ "amr": null, "acr": "silver" }),
    ] {
        let why = scene.refused(bad).await;
        assert!(why.contains("shows no second factor") && why.contains("or an `acr` of `gold`"), "{why}");
    }
    assert!(scene.refused(json!({ "amr": [1] })).await.contains("a list of texts"));
}

#[tokio::test]
async fn another_claim_can_name_the_person() {
    let scene = Scene::with(|config| config.principal_claim("email").principal_template("{principal}@example.com"));
    let email = "alice@example.com";
    let verified = scene.says(json!({ "sub": "77", "email": email, "email_verified": true })).await.unwrap();
    assert_eq!(verified.details["subject"], "77");
    let why = scene.refused(json!({ "sub": "77", "email": email })).await;
    assert!(why.contains("did not verify"), "{why}");
    let why = scene.refused(json!({ "sub": "alice", "email": "alice@example.org", "email_verified": true })).await;
    assert!(why.contains("one about `alice@example.com` is needed (`email`)"), "{why}");
    assert!(scene.refused(json!({})).await.contains("lacks `email`"));
}

#[tokio::test]
async fn a_token_is_named_by_its_jti_or_by_what_is_signed() {
    let scene = Scene::new();
    let key = async |changes| scene.says(changes).await.unwrap().once.unwrap().key;
    assert_eq!(key(json!({})).await, key(json!({ "amr": ["mfa"] })).await);
    assert_ne!(key(json!({})).await, key(json!({ "jti": "two" })).await);
    let nameless = key(json!({ "jti": null })).await;
    assert_eq!(nameless, key(json!({ "jti": null })).await);
    assert_ne!(nameless, key(json!({ "jti": null, "amr": ["mfa"] })).await);
    assert!(key(json!({ "jti": "x".repeat(5000) })).await.len() <= 200);
}

#[tokio::test]
async fn the_token_does_not_choose_how_it_is_verified() {
    let scene = Scene::new();
    let claims = scene.claims(json!({}));
    let public = scene.key.key.verifying_key();
    let jwk = json!({ "kty": "oct", "k": URL_SAFE_NO_PAD.encode(public.as_bytes()) });
    for (header, expected) in [
        (json!({ "alg": "none", "kid": "first" }), "signed by `none`, which is not accepted"),
        (json!({ "alg": "HS256", "kid": "first" }), "signed by `HS256`, which is not accepted"),
        (json!({ "alg": "RS256", "kid": "first" }), "the provider's key `first` is not for that"),
        (json!({ "alg": "ES256", "kid": "first" }), "the provider's key `first` is not for that"),
        (json!({ "alg": "EdDSA", "kid": "second" }), "key `second`, which is not one of the provider's"),
        (json!({ "alg": "EdDSA", "jwk": jwk }), "does not name the key"),
        (json!({ "alg": "EdDSA", "kid": "first", "typ": "at+jwt" }), "of type `at+jwt`"),
    ] {
        let why = why(scene.verify(&scene.key.token_with(&header, &claims)).await.unwrap_err());
        assert!(why.contains(expected), "{why}");
    }
    // with no signature at all, and with somebody else's
    let (signed, _) = { scene.key.token(&claims) }.rsplit_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let other = SignsAs::new("first", 2);
    for token in [format!("{signed}."), other.token(&claims)] {
        assert_eq!(why(scene.verify(&token).await.unwrap_err()), "the token's signature is not valid");
    }
}

#[tokio::test]
async fn only_the_algorithms_that_were_chosen_are_accepted() {
    let scene = Scene::with(|config| config.algorithms([SigningAlgorithm::Es256, SigningAlgorithm::Ps256]));
    let why = scene.refused(json!({})).await;
    assert_eq!(why, "the token is signed by `EdDSA`, which is not accepted: accepted are `PS256`, `ES256`");
}

#[tokio::test]
async fn a_token_proves_nothing_where_no_access_is_named() {
    let scene = Scene::new();
    let token = SecretString::from(scene.key.token(&scene.claims(json!({ "nonce": "" }))));
    let challenge = Challenge {
        tenant: &scene.tenant,
        who: &scene.who,
        access: None,
        nonce: "",
        now: scene.clock.wall(),
        kept: None,
    };
    let why = why(scene.factor.verify(&challenge, &token).await.unwrap_err());
    assert!(why.contains("one access only"), "{why}");
    assert!(scene.factor.enroll(&challenge, &crate::clock::SystemEntropy).is_none());
}
