//! A ruling with 1,000 Cedar policies.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use jit_core::directory::Person;
use jit_core::id::TargetName;
use jit_core::policy::CedarPolicy;

use crate::policy::ruling;
use crate::table::Table;

const DOCUMENT: &str = "version = 1\n[groups]\nteam = [\"alice\"]\ndba = [\"bob\"]\n[plan.dba]\nmax = \"1h\"\n\
                        [[plan.dba.stage]]\npeople = [{ group = \"dba\" }]\n";

pub fn rows(table: &mut Table, person: &Person, of_document: Duration) -> Result<()> {
    let floor = format!("the TOML document {:.2} microseconds", of_document.as_secs_f64() * 1e6);
    let target = TargetName::new("db-999-x")?;
    let ways = [
        ("each names its role in the scope", ", resource == Jit::Role::\"db-NUMBER-x/role_NUMBER\");\n", 20_000),
        (
            "each names its role in a condition",
            ", resource) when { resource in [Jit::Role::\"db-NUMBER-x/role_NUMBER\"] };\n",
            500,
        ),
    ];
    for (what, resource, rounds) in ways {
        let mut text = String::new();
        for number in 0..1_000 {
            write!(
                text,
                "@id(\"rule {number}\") @plan(\"dba\") permit(principal in Jit::Group::\"team\", action == Jit::Action::\"request\"{}",
                resource.replace("NUMBER", &number.to_string())
            )?;
        }
        let each = ruling(&CedarPolicy::parse(&text, DOCUMENT, "bench")?, &target, person, rounds)?;
        table.row(
            &format!("a ruling on 1,000 Cedar policies ({what})"),
            format!("{:.2} microseconds", each.as_secs_f64() * 1e6),
            floor.clone(),
            "",
        );
    }
    Ok(())
}
