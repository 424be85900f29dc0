//! Judgement of a signed token: OpenID Connect Core section 3.1.3.7, and the further needs of a
//! step-up.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::claims::Claims;
use super::config::OidcConfig;
use super::refused::{Refused, shown};
use crate::clock::{Time, after, span};
use crate::mfa::{Challenge, Once, VerifiedFactor};

/// Largest number of `amr` values that are logged.
const MOST_LOGGED: usize = 16;

/// A token whose signature is right.
pub(super) struct Signed<'a> {
    pub(super) claims: &'a Claims,
    pub(super) kid: &'a str,
    /// Digest that names the token if it has no name of its own.
    pub(super) digest: [u8; 32],
}

/// Judges what the token says, by the wall clock.
pub(super) fn judge(
    config: &OidcConfig,
    token: &Signed<'_>,
    challenge: &Challenge<'_>,
    wall: Time,
) -> Result<VerifiedFactor, Refused> {
    let claims = token.claims;
    let issuer = claims.text("iss")?;
    if issuer != config.issuer {
        return Err(Refused::Issuer { found: shown(issuer), expected: config.issuer.clone() });
    }
    for_us(config, claims)?;
    let expires = in_force(config, claims, challenge.now, wall)?;
    about(config, claims, challenge)?;
    match claims.text_if("nonce")? {
        None => return Err(Refused::NoNonce),
        Some(nonce) if nonce != challenge.nonce => return Err(Refused::Nonce),
        Some(_) => {}
    }
    let at = proven_at(config, claims, challenge.now, wall)?;
    let shown_factor = second_factor(config, claims)?;
    let said = [("issuer", shown(issuer)), ("subject", shown(claims.text("sub")?)), ("kid", shown(token.kid))];
    let details = said.into_iter().chain(shown_factor).map(|(name, said)| (name.to_owned(), said)).collect();
    let once = Once { key: name(issuer, claims.text_if("jti")?, &token.digest), until: after(expires, config.leeway) };
    Ok(VerifiedFactor { at: at.min(challenge.now), details, keep: None, once: Some(once) })
}

/// Checks that the token is meant for us, and that it was given to us.
fn for_us(config: &OidcConfig, claims: &Claims) -> Result<(), Refused> {
    let audience = claims.texts("aud")?;
    if !audience.contains(&config.audience.as_str()) {
        let found = audience.into_iter().take(MOST_LOGGED).map(shown).collect();
        return Err(Refused::Audience { found, expected: config.audience.clone() });
    }
    match claims.text_if("azp")? {
        Some(party) if party == config.audience => Ok(()),
        Some(party) => Err(Refused::Party { found: shown(party), expected: config.audience.clone() }),
        None if audience.len() > 1 => Err(Refused::NoParty),
        None => Ok(()),
    }
}

/// Checks that the token is in force; returns when it expires.
///
/// The token expires by either clock. So a used token stays unusable as long as the store remembers
/// it, even if somebody sets the wall clock back.
fn in_force(config: &OidcConfig, claims: &Claims, now: Time, wall: Time) -> Result<Time, Refused> {
    let expires = claims.time("exp")?;
    if after(expires, config.leeway) <= wall.max(now) {
        return Err(Refused::Expired { at: expires });
    }
    let begins = [("iat", Some(claims.time("iat")?)), ("nbf", claims.time_if("nbf")?)];
    let latest = after(wall, config.leeway);
    match begins.into_iter().find_map(|(claim, at)| at.filter(|at| *at > latest).map(|at| (claim, at))) {
        Some((claim, at)) => Err(Refused::NotYet { claim, at }),
        None => Ok(expires),
    }
}

/// Checks that the token is about the person who has to prove their identity.
fn about(config: &OidcConfig, claims: &Claims, challenge: &Challenge<'_>) -> Result<(), Refused> {
    let claim = config.claim.as_str();
    let found = claims.text(claim)?;
    let expected = config.subject_of(challenge.who);
    if found != expected {
        let found = format!("`{}`", shown(found));
        return Err(Refused::Subject { claim: claim.to_owned(), found, expected: format!("`{}`", shown(&expected)) });
    }
    // otherwise whoever may write any address into their profile could be anybody
    if claim == "email" && !claims.is_true("email_verified") {
        return Err(Refused::Unverified { found: shown(found) });
    }
    Ok(())
}

/// Returns the time at which the person proved their identity.
fn proven_at(config: &OidcConfig, claims: &Claims, now: Time, wall: Time) -> Result<Time, Refused> {
    let at = claims.time_if("auth_time")?.ok_or(Refused::NoAuthTime)?;
    if at > after(wall, config.leeway) {
        return Err(Refused::NotYet { claim: "auth_time", at });
    }
    if span(at, wall.max(now)) > config.max_age {
        return Err(Refused::TooOld { at, max_age: config.max_age });
    }
    Ok(at)
}

/// Checks that more than a password was asked for; returns what the token says about it.
fn second_factor(config: &OidcConfig, claims: &Claims) -> Result<BTreeMap<&'static str, String>, Refused> {
    let (amr, acr) = (claims.texts("amr")?, claims.text_if("acr")?);
    let shown_amr = || amr.iter().take(MOST_LOGGED).map(|one| shown(one)).collect::<Vec<_>>();
    let does = |accepted: &BTreeSet<String>, said: &str| accepted.contains(said);
    if !amr.iter().any(|one| does(&config.amr, one)) && !acr.is_some_and(|acr| does(&config.acr, acr)) {
        return Err(Refused::NoSecondFactor {
            amr: shown_amr(),
            acr: acr.map(shown),
            accepted_amr: config.amr.iter().cloned().collect(),
            accepted_acr: config.acr.iter().cloned().collect(),
        });
    }
    let amr = (!amr.is_empty()).then(|| ("amr", shown_amr().join(" ")));
    Ok(amr.into_iter().chain(acr.map(|acr| ("acr", shown(acr)))).collect())
}

/// Names a token among all tokens of its issuer: by `jti`, otherwise by a digest of the signed
/// text.
fn name(issuer: &str, jti: Option<&str>, digest: &[u8; 32]) -> String {
    let Some(jti) = jti else { return format!("sha256:{}", URL_SAFE_NO_PAD.encode(digest)) };
    let named = Sha256::new().chain_update(issuer).chain_update([0]).chain_update(jti).finalize();
    format!("jti:{}", URL_SAFE_NO_PAD.encode(named))
}
