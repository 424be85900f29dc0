//! Report on a run of all tests: which laws hold on which engine, and one plain line over all test
//! programs.

use std::collections::BTreeMap;

/// Counts over all test programs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

/// Laws of one engine, in the order in which they ended.
#[derive(Debug)]
struct Engine<'l> {
    name: &'l str,
    laws: Vec<LawLine<'l>>,
}

/// A law's line in the output of a test program.
#[derive(Debug, PartialEq, Eq)]
struct LawLine<'l> {
    engine: &'l str,
    /// Kind of the test. A law that does not apply has its reason there.
    kind: &'l str,
    /// Last word of the line.
    outcome: &'l str,
}

/// Prints the report on the output of all test programs, which ended with this exit code. The last
/// line is `N passed, N failed, N skipped`.
pub(crate) fn print(log: &str, status: i32, skipped_servers: &str) {
    let mut counts = counts(log);
    if status != 0 && counts.failed == 0 {
        eprintln!("something failed outside of the tests (status {status}): see above");
        counts.failed = 1;
    }
    print!("{}", table(&engines(log), &versions(log)));
    if !skipped_servers.is_empty() {
        println!("skipped servers: {skipped_servers}");
    }
    println!("{} passed, {} failed, {} skipped", counts.passed, counts.failed, counts.skipped);
}

/// Adds up the results of all test programs.
fn counts(log: &str) -> Counts {
    let mut counts = Counts::default();
    for line in log.lines().filter(|line| line.starts_with("test result: ")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        for pair in words.windows(2) {
            let [number, what] = pair else { continue };
            let sum = match *what {
                "passed;" => &mut counts.passed,
                "failed;" => &mut counts.failed,
                "ignored;" => &mut counts.skipped,
                _ => continue,
            };
            *sum = sum.saturating_add(number.parse().unwrap_or_default());
        }
    }
    counts
}

/// Returns the version of each engine, as the supervisor of the servers printed it.
fn versions(log: &str) -> BTreeMap<&str, &str> {
    log.lines().filter_map(version).collect()
}

/// Reads `ENGINE: VERSION on port N`. A note in brackets and MariaDB's suffix are no part of the
/// version.
fn version(line: &str) -> Option<(&str, &str)> {
    let (engine, rest) = line.split_once(": ")?;
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-';
    if engine.is_empty() || !engine.chars().all(is_name) {
        return None;
    }
    let (version, port) = rest.rsplit_once(" on port ")?;
    if port.is_empty() || !port.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let end = ["-MariaDB", " ("].into_iter().filter_map(|suffix| version.find(suffix)).min();
    Some((engine, end.and_then(|end| version.get(..end)).unwrap_or(version)))
}

/// Reads `test [KIND] ENGINE/law_NAME ... OUTCOME`; a contract counts as a law. Neither stores nor
/// groups of tests are engines.
fn law(line: &str) -> Option<LawLine<'_>> {
    let rest = line.strip_prefix("test ")?.trim_start();
    let (kind, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.rsplit_once("] ")?,
        None => ("", rest),
    };
    let (test, _) = rest.trim_start().split_once(" ... ")?;
    let (test, (_, outcome)) = (test.trim_end(), line.rsplit_once(' ')?);
    let (engine, _) = test.split_once('/')?;
    let is_law = ["/law_", "/contract_"].into_iter().any(|mark| test.contains(mark)) && !test.contains(' ');
    let (_, version) = engine.rsplit_once('-')?;
    let is_version = !version.is_empty() && version.chars().all(|c| c.is_ascii_digit() || c == '.');
    let is_engine = !engine.starts_with("store-") && (is_version || version == "double" || version == "server");
    (is_law && is_engine).then_some(LawLine { engine, kind: kind.trim_end(), outcome })
}

/// Gathers the laws of each engine, in the order in which the engines came.
fn engines(log: &str) -> Vec<Engine<'_>> {
    let mut engines: Vec<Engine<'_>> = Vec::new();
    for law in log.lines().filter_map(law) {
        match engines.iter_mut().find(|engine| engine.name == law.engine) {
            Some(engine) => engine.laws.push(law),
            None => engines.push(Engine { name: law.engine, laws: vec![law] }),
        }
    }
    engines
}

/// Lays the engines out as a table; nothing without engines.
fn table(engines: &[Engine<'_>], versions: &BTreeMap<&str, &str>) -> String {
    let Some(width) = engines.iter().map(|engine| engine.name.len()).max() else { return String::new() };
    let line = |engine: &str, version: &str, passed: &str, failed: &str, without: &str| {
        format!("{engine:<width$}  {version:<30}  {passed:>6}  {failed:>6}  {without}\n")
    };
    let mut text = format!("\n{}", line("engine", "version", "passed", "failed", "laws that do not apply"));
    for engine in engines {
        let version = versions.get(engine.name).copied().unwrap_or("-");
        let count = |is: fn(&str) -> bool| engine.laws.iter().filter(|law| is(law.outcome)).count().to_string();
        let (passed, failed) = (count(|word| word == "ok"), count(|word| word != "ok" && word != "ignored"));
        text.push_str(&line(engine.name, version, &passed, &failed, &engine.without()));
    }
    text.push('\n');
    text
}

impl Engine<'_> {
    /// Says how many laws do not apply, and why: `3: no roles (2); no clock`.
    fn without(&self) -> String {
        let reasons: Vec<&str> = self.laws.iter().filter(|law| law.outcome == "ignored").map(|law| law.kind).collect();
        let mut said: Vec<&str> = Vec::new();
        let mut text = reasons.len().to_string();
        for reason in &reasons {
            if said.contains(reason) {
                continue;
            }
            text.push_str(if said.is_empty() { ": " } else { "; " });
            said.push(reason);
            text.push_str(reason);
            let times = reasons.iter().filter(|other| *other == reason).count();
            if times > 1 {
                text.push_str(&format!(" ({times})"));
            }
        }
        text
    }
}
