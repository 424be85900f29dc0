use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::*;

#[tokio::test]
async fn a_good_token_is_accepted_whatever_algorithm_signed_it() {
    let scene = Scene::new();
    for (algorithm, kid) in
        [("RS256", "rsa-1"), ("PS256", "rsa-1"), ("ES256", "p256-1"), ("ES384", "p384-1"), ("EdDSA", "ed-1")]
    {
        let token = scene.provider.token(algorithm, &scene.claims(json!({ "acr": "gold" })));
        let verified = scene.verify(&token).await.unwrap();
        assert_eq!(verified.at.timestamp(), scene.clock.wall().timestamp() - 10);
        let details: Vec<(&str, &str)> =
            verified.details.iter().map(|(name, said)| (name.as_str(), said.as_str())).collect();
        let issuer = scene.provider.issuer.as_str();
        let wanted = [("acr", "gold"), ("amr", "pwd otp"), ("issuer", issuer), ("kid", kid), ("subject", "alice")];
        assert_eq!(details, wanted);
    }
    assert_eq!(scene.provider.asked(), 1);
}

#[tokio::test]
async fn what_does_not_prove_it_is_refused_in_words() {
    let scene = Scene::new();
    let now = scene.clock.wall().timestamp();
    let other = "01890a5d-ac96-774b-bcce-b302099a8058";
    for (changes, expected) in [
        (json!({ "aud": "shop" }), "the token is for `shop`, and one for `jit` is needed"),
        (json!({ "iss": "https://other.example.com" }), "the token is from `https://other.example.com`, and one from"),
        (json!({ "auth_time": now - 7200 }), "1h ago at most: log in anew"),
        (json!({ "auth_time": null }), "does not say when the person proved who they are (`auth_time`)"),
        (json!({ "amr": null }), "shows no second factor: it has no `amr` and no `acr`; needed is an `amr` of"),
        (json!({ "amr": ["pwd"], "acr": "0" }), "its `amr` is `pwd` and its `acr` is `0`"),
        (json!({ "nonce": other }), "made for something else: its `nonce` is not that of this access"),
        (json!({ "nonce": null }), "not bound to an access: it has no `nonce`"),
        (json!({ "exp": now - 3600 }), "the token expired at "),
        (json!({ "nbf": now + 3600 }), "the token is valid from "),
        (json!({ "sub": "bob" }), "the token is about `bob`, and one about `alice` is needed (`sub`)"),
    ] {
        let why = scene.refused(&scene.token(changes)).await;
        assert!(why.contains(expected), "{why}");
    }
    scene.verify(&scene.token(json!({}))).await.unwrap();
}

#[tokio::test]
async fn a_token_without_a_signature_is_refused() {
    let scene = Scene::new();
    for alg in ["none", "None", "nOnE"] {
        let signed = signed_part(&json!({ "alg": alg, "kid": "p256-1" }), &scene.claims(json!({})));
        let why = scene.refused(&format!("{signed}.")).await;
        assert!(why.contains(&format!("signed by `{alg}`, which is not accepted: accepted are `RS256`")), "{why}");
    }
    let token = scene.token(json!({}));
    let cut = &token[..=token.rfind('.').unwrap()];
    assert_eq!(scene.refused(cut).await, "the token's signature is not valid");
}

#[tokio::test]
async fn a_public_key_is_no_secret_to_sign_with() {
    let scene = Scene::new();
    let keys = scene.provider.keys();
    let key = |kid: &str| keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == kid).unwrap().clone();
    let (rsa, ed) = (key("rsa-1"), key("ed-1"));
    let decoded = |part: &Value| URL_SAFE_NO_PAD.decode(part.as_str().unwrap()).unwrap();
    for (kid, secret) in [
        ("rsa-1", scene.provider.rsa_pem().into_bytes()),
        ("rsa-1", scene.provider.rsa_pem().trim_end().as_bytes().to_vec()),
        ("rsa-1", rsa.to_string().into_bytes()),
        ("rsa-1", decoded(&rsa["n"])),
        ("ed-1", ed.to_string().into_bytes()),
        ("ed-1", decoded(&ed["x"])),
    ] {
        let signed = signed_part(&json!({ "alg": "HS256", "kid": kid }), &scene.claims(json!({})));
        let forged = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(hmac(&secret, signed.as_bytes())));
        let why = scene.refused(&forged).await;
        assert!(why.contains("signed by `HS256`, which is not accepted"), "{why}");
    }
}

#[tokio::test]
async fn a_key_of_another_provider_or_another_purpose_is_refused() {
    let (scene, other) = (Scene::new(), Provider::start());
    // signed by a key of the same name, with the same claims
    let forged = other.token("ES256", &scene.claims(json!({})));
    assert_eq!(scene.refused(&forged).await, "the token's signature is not valid");
    let encrypts = scene.provider.token("enc", &scene.claims(json!({})));
    let why = scene.refused(&encrypts).await;
    assert_eq!(why, "the token is signed with the key `enc-1`, which is not one of the provider's");
}

#[tokio::test]
async fn a_token_that_is_used_twice_is_known_by_the_same_key() {
    let scene = Scene::new();
    let once = async |token: String| scene.verify(&token).await.unwrap().once.unwrap();
    let token = scene.token(json!({}));
    let first = once(token.clone()).await;
    assert_eq!(first, once(token).await);
    assert_eq!(first.until.timestamp(), scene.clock.wall().timestamp() + 360);
    assert_ne!(first.key, once(scene.token(json!({ "jti": "two" }))).await.key);
    // ECDSA signs the same claims differently each time, yet it is one token
    let (a, b) = (scene.token(json!({ "jti": null })), scene.token(json!({ "jti": null })));
    assert_ne!(a, b);
    assert_eq!(once(a).await.key, once(b).await.key);
}

fn signed_part(header: &Value, claims: &Value) -> String {
    let part = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    format!("{}.{}", part(header), part(claims))
}

/// Computes an HMAC (RFC 2104) with SHA-256.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = if key.len() > 64 { Sha256::digest(key).to_vec() } else { key.to_vec() };
    block.resize(64, 0);
    let padded = |pad: u8| block.iter().map(|byte| byte ^ pad).collect::<Vec<u8>>();
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().to_vec()
}
