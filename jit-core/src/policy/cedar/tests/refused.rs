//! Tests of texts that are no valid policy.

use super::*;

fn problems(cedar: &str, document: &str) -> String {
    CedarPolicy::parse(cedar, document, "test").unwrap_err().to_string()
}

#[test]
fn each_problem_has_its_place_and_says_what_to_do() {
    let request = "action == Jit::Action::\"request\"";
    let role = "resource == Jit::Role::\"orders-prod/x\"";
    for (text, expected) in [
        ("permit(principal".to_owned(), "test:1:17: this is not valid Cedar: "),
        (
            "\n\npermit(principal, action, resource);".to_owned(),
            "test:3:1: this policy has no name: add one, like `@id(",
        ),
        (
            format!("@id(\"a\") permit(principal, {request}, {role});"),
            "1:1: policy `a` permits `request` without a plan",
        ),
        (
            format!("@id(\"a\") @plan(\"two dba\") permit(principal, {request}, {role});"),
            "there is no plan `two dba` for policy `a`: did you mean `two dbas`?",
        ),
        (
            format!(
                "@id(\"a\") @plan(\"kept\") permit(principal == Jit::Principal::\"group:dba\", {request}, {role});"
            ),
            "test:1:1: `group:dba` in policy `a` begins with an unknown prefix, `group:`: known are",
        ),
        (
            format!("@id(\"a\") @plan(\"kept\") @maxx(\"1h\") permit(principal, {request}, {role});"),
            "unknown annotation `@maxx` of policy `a`: did you mean `@max`?",
        ),
        (
            format!("@id(\"a\") @plan(\"kept\") @max(\"2h\") permit(principal, {request}, {role});"),
            "`@max` of policy `a` is over that of plan `kept` (`1h`): it only narrows",
        ),
        (
            format!("@id(\"a\") @plan(\"kept\") @max(\"soon\") permit(principal, {request}, {role});"),
            "`@max` of policy `a`: `soon` is not a length of time",
        ),
        (
            format!(
                "@id(\"a\") forbid(principal, action, resource);\n@id(\"a\") forbid(principal, {request}, resource);"
            ),
            "test:2:1: two policies have `@id(\"a\")`: rename one",
        ),
        (
            format!("@id(\"a\") @plan(\"kept\") permit(principal, {request}, resource);"),
            "policy `a` does not name the roles that it gives",
        ),
        (
            format!(
                "@id(\"a\") @plan(\"kept\") permit(principal, {request}, resource in Jit::Target::\"orders-prod\");"
            ),
            "policy `a` does not name the roles that it gives",
        ),
        (
            format!(
                "@id(\"a\") @plan(\"kept\") permit(principal, {request}, resource) when {{ resource == Jit::Role::\"a/b\" || context.scheduled }};"
            ),
            "policy `a` does not name the roles that it gives",
        ),
        (
            format!("@id(\"a\") @plan(\"kept\") permit(principal, {request}, resource == Jit::Role::\"orders\");"),
            "`orders` in policy `a` is no role: write it `\"target/role\"`",
        ),
        (
            "@id(\"a\") permit(principal, action, resource);".to_owned(),
            "policy `a` permits `request` with other actions: permit it in a policy of its own",
        ),
        (
            format!("@id(\"a\") @plan(\"kept\") forbid(principal, {request}, resource);"),
            "policy `a` has `@plan`, which only a permit of `request` has: remove it",
        ),
        (
            format!("@id(\"a\") @plan(\"kept\") permit(principal in Jit::Group::\"dbas\", {request}, {role});"),
            "there is no group `dbas` for policy `a`: did you mean `dba`?",
        ),
        (
            format!("@id(\"a\") @plan(\"kept\") permit(principal == ?principal, {request}, {role});"),
            "templates are not taken here",
        ),
        // policies that do not validate
        (format!("@id(\"a\")\nforbid(principal, {request}, resource) when {{ context.weight > 1 }};"), "test:2:"),
        (format!("@id(\"a\") forbid(principal, {request}, resource) when {{ context.ticket == \"a\" }};"), "ticket"),
        (format!("@id(\"a\") forbid(principal, {request}, resource) when {{ context.duration == \"a\" }};"), "test:1:"),
        ("@id(\"a\") forbid(principal, action == Jit::Action::\"delete\", resource);".to_owned(), "delete"),
        ("@id(\"a\") forbid(principal == Jit::User::\"x\", action, resource);".to_owned(), "User"),
        (
            "@id(\"a\") forbid(principal, action == Jit::Action::\"stop\", resource == Jit::Tenant::\"acme\");"
                .to_owned(),
            "acme",
        ),
        // policies that can never apply
        (format!("@id(\"a\") forbid(principal, {request}, resource == Jit::Target::\"orders-prod\");"), "test:1:"),
        (format!("@id(\"a\") forbid(principal, {request}, resource) when {{ false }};"), "test:1:"),
    ] {
        let problems = problems(&text, DOCUMENT);
        assert!(
            problems.starts_with("test:") && problems.contains(expected),
            "{text}\nsays {problems}\nnot {expected}"
        );
        assert!(!problems.contains("policy0"), "{problems}");
    }
}

#[test]
fn the_document_is_read_as_strictly_as_one_with_rules() {
    for (more, expected) in [
        ("[[rule]]\nname = \"x\"\n", "test (document):35:3: unknown key `rule` in `the document`"),
        ("[plan.x]\n", "`[plan.NAME]` has no `max`"),
        ("[plan.x]\nmax = \"25h\"\n", "over the ceiling"),
        ("[plan.x]\nmax = \"1h\"\nroles = [\"a\"]\n", "unknown key `roles` in `[plan.NAME]`"),
        ("[plan.x]\nmax = \"1h\"\nbreak_glass = {}\n", "unknown key `break_glass`"),
        ("[plan.x]\nmax = \"1h\"\nstage = {}\n", "write `[[plan.NAME.stage]]`"),
        ("[plan.x]\nmax = \"1h\"\n[[plan.x.stage]]\n", "this stage asks for nothing"),
        ("[plan.x]\nmax = \"1h\"\n[[plan.x.stage]]\npeople = [{ group = \"dbas\" }]\n", "there is no group `dbas`"),
        (
            "[plan.x]\nmax = \"1h\"\n[[plan.x.stage]]\npeople = [{ person = \"person:bob\" }]\n",
            "`person:bob` begins with an unknown prefix, `person:`",
        ),
        (
            "[plan.x]\nmax = \"1h\"\n[[plan.x.stage]]\npeople = [{ group = \"dba\", quorum = 9 }]\n",
            "nobody could ever be approved under plan `x`",
        ),
    ] {
        let problems = problems(CHANGE, &format!("{DOCUMENT}{more}"));
        assert!(problems.contains(expected), "{more}\nsays {problems}\nnot {expected}");
    }
}

#[test]
fn a_directory_elsewhere_takes_every_group() {
    let document = "version = 1\ndirectory = \"elsewhere\"\n[plan.\"two dbas\"]\nmax = \"2h\"\n";
    let policy = CedarPolicy::parse(CHANGE, document, "test").unwrap();
    assert!(policy.directory().is_none());
    assert_eq!(policy.groups().len(), 1);
}
