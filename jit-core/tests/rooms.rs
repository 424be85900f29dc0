//! Checks that the arrows between the modules of this crate point down: no two of them import each
//! other, directly or through others.
#![allow(clippy::unwrap_used, clippy::panic, reason = "it is a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Modules that the pure half may import: words, times and names, and nothing that can act.
const BELOW_THE_MODEL: [&str; 9] =
    ["actor", "audit_event", "catalog", "clock", "handling", "hex", "id", "names", "text"];

/// Rooms of the model that may make a proof.
const PROVING: [&str; 2] = ["model::holding", "model::proof"];

type Arrows = BTreeMap<String, BTreeSet<String>>;

/// Returns every Rust file below the folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|is| is == "rs"))
        .collect()
}

/// Returns the room of a path: its first name, or the first two in the model.
fn room<N: AsRef<str>>(path: impl IntoIterator<Item = N>) -> String {
    let mut names = path.into_iter();
    let mut next = || names.next().map(|name| name.as_ref().trim_end_matches(".rs").to_owned());
    let first = next().unwrap_or_default();
    match next() {
        Some(second) if first == "model" => format!("{first}::{second}"),
        _ => first,
    }
}

/// Returns what each module imports of the others. Tests and the testkit are left out: they look at
/// everything.
fn arrows() -> Arrows {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found: Arrows = BTreeMap::new();
    for path in files(&root) {
        let inside = path.strip_prefix(&root).unwrap();
        let module = room(inside.iter().map(|part| part.to_string_lossy()));
        if module == "lib" || module == "testkit" || inside.to_string_lossy().contains("tests") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let imports = found.entry(module.clone()).or_default();
        for line in code {
            for part in line.split("crate::").skip(1) {
                let path = part.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').next().unwrap();
                imports.insert(room(path.split("::")));
            }
        }
        imports.remove(&module);
    }
    let modules: BTreeSet<String> = found.keys().cloned().collect();
    for imports in found.values_mut() {
        imports.retain(|name| modules.contains(name));
    }
    found
}

/// Returns every module that can be reached from this one.
fn reached(arrows: &Arrows, from: &str) -> BTreeSet<String> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(module) = next.pop() {
        for name in arrows.get(&module).into_iter().flatten() {
            if seen.insert(name.clone()) {
                next.push(name.clone());
            }
        }
    }
    seen
}

#[test]
fn modules_import_each_other_in_no_circle() {
    let arrows = arrows();
    assert!(arrows.len() > 25, "the modules were not found: {arrows:?}");
    for module in arrows.keys() {
        let below = reached(&arrows, module);
        let circle: Vec<&String> = below.iter().filter(|name| reached(&arrows, name).contains(module)).collect();
        assert!(!below.contains(module), "a circle of imports: move what all need to a module below them: {circle:?}");
    }
}

#[test]
fn the_model_imports_nothing_that_acts() {
    let arrows = arrows();
    let model = arrows.iter().filter(|(module, _)| module.starts_with("model::"));
    let mut rooms = 0;
    for (module, imports) in model {
        rooms += 1;
        let over: Vec<&String> = imports
            .iter()
            .filter(|name| !name.starts_with("model::") && !BELOW_THE_MODEL.contains(&name.as_str()))
            .collect();
        assert!(over.is_empty(), "{module} imports {over:?}");
    }
    assert!(rooms > 5, "the model was not found: {arrows:?}");
}

#[test]
fn law_05_only_a_holding_makes_a_proof() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut makers = BTreeSet::new();
    for path in files(&root) {
        let inside = path.strip_prefix(&root).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        if code.into_iter().any(|line| line.contains("Clear {") || line.contains("VerifiedEnd {")) {
            makers.insert(room(inside.iter().map(|part| part.to_string_lossy())));
        }
    }
    assert_eq!(makers, PROVING.map(str::to_owned).into());
}
