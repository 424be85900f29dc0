//! Checks that the arrows between the modules of this crate point down: no two of them import each
//! other, directly or through others.
#![allow(clippy::unwrap_used, clippy::panic, reason = "it is a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Circles that are known and are to be broken: an access keeps what a holding proved, and a
/// holding is made of accesses.
const KNOWN: [&[&str]; 1] = [&["access", "holding"]];

type Arrows = BTreeMap<String, BTreeSet<String>>;

/// Returns every Rust file below the folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|is| is == "rs"))
        .collect()
}

/// Returns what each module imports of the others. Tests and the testkit are left out: they look at
/// everything.
fn arrows() -> Arrows {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found: Arrows = BTreeMap::new();
    for path in files(&root) {
        let inside = path.strip_prefix(&root).unwrap();
        let module = inside.iter().next().unwrap().to_string_lossy().trim_end_matches(".rs").to_owned();
        if module == "lib" || module == "testkit" || inside.to_string_lossy().contains("tests") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let imports = found.entry(module.clone()).or_default();
        for line in code {
            for part in line.split("crate::").skip(1) {
                let name: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                imports.insert(name);
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
    assert!(arrows.len() > 20, "the modules were not found: {arrows:?}");
    let mut circles = BTreeSet::new();
    for module in arrows.keys() {
        let below = reached(&arrows, module);
        let circle: Vec<String> =
            below.iter().filter(|name| reached(&arrows, name).contains(module)).cloned().collect();
        if below.contains(module) {
            circles.insert(circle);
        }
    }
    let known: BTreeSet<Vec<String>> = KNOWN.map(|names| names.iter().map(ToString::to_string).collect()).into();
    assert_eq!(circles, known, "a circle of imports came or went: move what both need to a module below them");
}
