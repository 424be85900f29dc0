//! A ruling with 1,000 rules. With feature `cedar`, the same in Cedar stands beside it.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::Result;
use chrono::TimeDelta;
use jit_core::directory::Person;
use jit_core::id::{Principal, RoleName, TargetName};
use jit_core::policy::{Policy, PolicyDocument, Question, Ruling};

use crate::table::Table;

pub fn rows(table: &mut Table) -> Result<()> {
    let mut text = "version = 1\n[groups]\nteam = [\"alice\"]\ndba = [\"bob\"]\n".to_owned();
    for number in 0..1_000 {
        write!(
            text,
            "[[rule]]\nname = \"rule {number}\"\ntargets = [\"db-{number}-*\"]\nroles = [\"role_{number}\"]\n\
             requesters = [\"group:team\"]\nmax = \"1h\"\n[[rule.stage]]\npeople = [{{ group = \"dba\" }}]\n"
        )?;
    }
    let policy = PolicyDocument::parse(&text, "bench")?;
    let alice = Principal::new("alice")?;
    let person = Person::new(alice).groups(policy.groups());
    let target = TargetName::new("db-999-x")?;
    let each = ruling(&policy, &target, &person, 100_000)?;
    let names: Vec<String> = (0..1_000).map(|number| format!("role_{number}")).collect();
    let started = Instant::now();
    for _ in 0..1_000 {
        std::hint::black_box(names.iter().position(|name| name == std::hint::black_box("role_999")));
    }
    let floor = started.elapsed() / 1_000;
    table.row(
        "a ruling on 1,000 rules (the last one matches)",
        format!("{:.2} microseconds", each.as_secs_f64() * 1e6),
        format!("a linear look for the role's name {:.2} microseconds", floor.as_secs_f64() * 1e6),
        "10 microseconds",
    );
    crate::cedar::rows(table, &person, each)
}

/// Measures the average time of a ruling that plans role `role_999` for the person.
pub fn ruling(policy: &dyn Policy, target: &TargetName, person: &Person, rounds: u32) -> Result<Duration> {
    let role = RoleName::new("role_999")?;
    let mut question = Question::new(target, &role, person, TimeDelta::minutes(30));
    question.reason = "because";
    let started = Instant::now();
    for _ in 0..rounds {
        let ruling = std::hint::black_box(policy.rule(std::hint::black_box(&question)));
        anyhow::ensure!(matches!(ruling, Ruling::Planned(_)));
    }
    Ok(started.elapsed() / rounds)
}
