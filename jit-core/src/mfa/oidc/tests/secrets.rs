use super::*;

/// Text in a token that nobody may see.
const MARK: &str = "c0ffee-c0ffee";

#[tokio::test]
async fn law_12_no_token_is_in_an_error_a_debug_or_the_log() {
    let scene = Scene::new();
    let claims = |changes: Value| {
        let mut claims = scene.claims(changes);
        claims["secret"] = MARK.into();
        claims
    };
    let header = |alg: &str, kid: &str| json!({ "alg": alg, "kid": kid });
    let mut tokens = vec![
        scene.key.token_with(&header("none", "first"), &claims(json!({}))),
        scene.key.token_with(&header("EdDSA", "second"), &claims(json!({}))),
        scene.key.token_with(&header("RS256", "first"), &claims(json!({}))),
        SignsAs::new("first", 2).token(&claims(json!({}))),
        format!("{}.{MARK}", scene.key.token(&claims(json!({})))),
        scene.key.token(&json!([MARK])),
        MARK.to_owned(),
    ];
    for claim in ["iss", "aud", "sub", "exp", "nbf", "iat", "nonce", "auth_time", "amr", "acr", "azp", "jti"] {
        tokens.push(scene.key.token(&claims(json!({ claim: null, "amr": null }))));
        tokens.push(scene.key.token(&claims(json!({ claim: { "a": MARK } }))));
    }
    for token in &tokens {
        let error = scene.verify(token).await.unwrap_err();
        assert!(is_silent(token, &format!("{error} {error:?}")), "{error:?}");
    }
    let token = scene.key.token(&claims(json!({})));
    let verified = scene.verify(&token).await.unwrap();
    assert!(is_silent(&token, &format!("{verified:?} {:?} {:?}", scene.factor, scene.factor.keys)));
    // the nonce is part of the token too: it is not repeated
    let error = scene.says(json!({ "nonce": MARK })).await.unwrap_err();
    assert!(is_silent(MARK, &format!("{error} {error:?}")));
}

/// Checks whether the text repeats nothing of the token except the names that it gives.
fn is_silent(token: &str, text: &str) -> bool {
    let mut parts = token.split('.').filter(|part| part.len() > 8);
    !text.contains(MARK) && !parts.any(|part| text.contains(part))
}
