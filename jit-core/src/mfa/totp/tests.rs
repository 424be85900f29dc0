use std::time::Duration;

use super::*;
use crate::id::{AccessId, Principal, TenantId};
use crate::testkit::ManualClock;

struct Person {
    clock: ManualClock,
    factor: TotpFactor,
    tenant: TenantId,
    who: Principal,
    kept: Option<Vec<u8>>,
    seed: Vec<u8>,
}

impl Person {
    /// Enrols a person with a known seed; the first code was that of the step before.
    async fn enrolled() -> Self {
        let clock = ManualClock::default();
        clock.advance(Duration::from_secs(1_800_000_000));
        let factor = TotpFactor::new("jit", SealKey::generate(&SystemEntropy)).clock(Arc::new(clock.clone()));
        let (tenant, who) = (TenantId::default(), Principal::new("alice").unwrap());
        let mut person = Self { clock, factor, tenant, who, kept: None, seed: Vec::new() };
        let enrollment = person.factor.enroll(&person.challenge(false), &SystemEntropy).unwrap().unwrap();
        person.kept = Some(enrollment.keep.clone());
        person.seed = person.factor.open(&person.challenge(false)).unwrap().unwrap().seed.clone();
        assert!(
            matches!(person.give(&person.code(0), true).await, Err(FactorError::NotEnrolled)),
            "before a first code"
        );
        person.take(&person.code(0), false).await.unwrap();
        person.clock.advance(Duration::from_secs(30));
        person
    }

    fn challenge(&self, access: bool) -> Challenge<'_> {
        Challenge {
            tenant: &self.tenant,
            who: &self.who,
            access: access.then(|| "01890a5d-ac96-774b-bcce-b302099a8057".parse::<AccessId>().unwrap()),
            nonce: "",
            now: self.clock.wall(),
            kept: self.kept.as_deref(),
        }
    }

    fn code(&self, steps: i64) -> String {
        let at = self.clock.wall().timestamp() + steps * 30;
        self.factor.totp(&self.seed, "alice").unwrap().generate(at as u64).to_string()
    }

    async fn give(&self, code: &str, access: bool) -> Result<VerifiedFactor, FactorError> {
        self.factor.verify(&self.challenge(access), &code.into()).await
    }

    /// Gives a code and keeps the data that is to be kept.
    async fn take(&mut self, code: &str, access: bool) -> Result<VerifiedFactor, FactorError> {
        let answer = self.give(code, access).await;
        let keep = match &answer {
            Ok(verified) => verified.keep.clone(),
            Err(FactorError::Wrong { keep, .. }) => keep.clone(),
            Err(_) => None,
        };
        self.kept = keep.or(self.kept.take());
        answer
    }
}

/// RFC 6238, appendix B, the rows of SHA-1: codes of eight digits, whose last six are the six-digit
/// code.
#[test]
fn codes_are_those_of_the_rfc() {
    let factor = TotpFactor::new("jit", SealKey::generate(&SystemEntropy));
    let totp = factor.totp(b"12345678901234567890", "alice").unwrap();
    for (at, code) in [
        (59, "94287082"),
        (1_111_111_109, "07081804"),
        (1_111_111_111, "14050471"),
        (1_234_567_890, "89005924"),
        (2_000_000_000, "69279037"),
        (20_000_000_000, "65353130"),
    ] {
        assert_eq!(totp.generate(at).to_string(), code[2..]);
    }
}

#[tokio::test]
async fn a_code_is_taken_once_and_within_a_step_of_its_time() {
    let mut person = Person::enrolled().await;
    for early_or_late in [-1, 0, 1] {
        assert_eq!(
            person.give(&person.code(early_or_late), true).await.is_ok(),
            early_or_late != -1,
            "{early_or_late}"
        );
    }
    for off in [-2, 2, 5] {
        assert!(person.give(&person.code(off), true).await.is_err());
    }
    let code = person.code(0);
    assert_eq!(person.take(&code, true).await.unwrap().at, person.clock.wall());
    let again = person.take(&code, true).await.unwrap_err();
    assert!(again.to_string().contains("used already"), "{again}");
    person.clock.advance(Duration::from_secs(30));
    assert!(person.take(&code, true).await.is_err(), "still within a step, and used");
    let spaced = format!("{} {}", &person.code(0)[..3], &person.code(0)[3..]);
    person.take(&spaced, true).await.unwrap();
}

#[tokio::test]
async fn the_sixth_wrong_code_locks_and_each_further_one_twice_as_long() {
    let mut person = Person::enrolled().await;
    for _ in 0..5 {
        let wrong = person.take("000000", true).await.unwrap_err();
        assert!(matches!(wrong, FactorError::Wrong { locked_until: None, .. }), "{wrong:?}");
    }
    let sixth = person.take("000000", true).await.unwrap_err();
    let FactorError::Wrong { locked_until: Some(until), .. } = sixth else { panic!("{sixth:?}") };
    assert_eq!(until, after(person.clock.wall(), LOCKED_FOR));
    // during the lock even the right code is not looked at
    assert!(matches!(person.take(&person.code(0), true).await, Err(FactorError::Locked { .. })));
    person.clock.advance(Duration::from_secs(15 * 60));
    let seventh = person.take("000000", true).await.unwrap_err();
    let FactorError::Wrong { locked_until: Some(until), .. } = seventh else { panic!("{seventh:?}") };
    assert_eq!(until, after(person.clock.wall(), TimeDelta::minutes(30)));
    person.clock.advance(Duration::from_secs(30 * 60));
    person.take(&person.code(0), true).await.unwrap();
    assert!(
        matches!(person.take("000000", true).await, Err(FactorError::Wrong { locked_until: None, .. })),
        "counted anew"
    );
    for _ in 0..100 {
        let _ = person.take("000000", true).await;
        person.clock.advance(Duration::from_secs(24 * 60 * 60));
    }
    person.take(&person.code(0), true).await.unwrap();
}

#[tokio::test]
async fn what_is_kept_opens_for_nobody_else_and_under_an_older_key() {
    let mut person = Person::enrolled().await;
    person.who = Principal::new("mallory").unwrap();
    assert!(matches!(person.give(&person.code(0), true).await, Err(FactorError::Unavailable { .. })));
    person.who = Principal::new("alice").unwrap();
    let older = person.factor.key.clone();
    let newer = TotpFactor::new("jit", SealKey::generate(&SystemEntropy)).also(older);
    person.factor = newer.clock(Arc::new(person.clock.clone()));
    person.take(&person.code(0), true).await.unwrap();
    person.factor.older.clear();
    person.clock.advance(Duration::from_secs(30));
    person.take(&person.code(0), true).await.unwrap();
}

#[tokio::test]
async fn set_up_twice_needs_the_first() {
    let person = Person::enrolled().await;
    let again = person.factor.enroll(&person.challenge(false), &SystemEntropy).unwrap();
    assert!(matches!(again, Err(FactorError::Wrong { .. })));
    let uri = TotpFactor::new("jit: prod", SealKey::generate(&SystemEntropy));
    let fresh = Challenge { kept: None, ..person.challenge(false) };
    let uri = uri.enroll(&fresh, &SystemEntropy).unwrap().unwrap().uri;
    assert!(uri.expose_secret().starts_with("otpauth://totp/jit%20%20prod:alice?secret="), "{}", uri.expose_secret());
}
