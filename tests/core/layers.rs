//! Who may import whom: the table of `design/architecture.md`, read against the source.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A module, and those that it may import. Leaves are above what is built on them.
const MAY_IMPORT: [(&str, &[&str]); 20] = [
    ("error", &[]),
    ("digest", &[]),
    ("device", &["error"]),
    ("process", &["error"]),
    ("runtime", &["error", "process"]),
    ("aws", &["error", "process"]),
    ("kernels", &["error"]),
    ("hub", &["error", "digest"]),
    ("tokenize", &["error", "digest"]),
    ("reference", &["error", "digest"]),
    ("batch", &["error", "tokenize"]),
    ("format", &["error", "batch", "reference", "tokenize"]),
    ("store", &["error", "process", "reference", "runtime", "aws"]),
    ("backend", &["error", "batch", "hub", "kernels"]),
    ("model", &["error", "backend", "batch", "device", "hub"]),
    ("head", &["error", "backend", "batch", "device", "hub", "model"]),
    ("engine", &["error", "batch", "device", "head", "hub", "model", "tokenize"]),
    ("predict", &["error", "batch", "device", "engine", "head", "hub", "tokenize"]),
    ("quantize", &["error", "backend", "head", "hub", "model"]),
    (
        "python",
        &[
            "error",
            "digest",
            "device",
            "aws",
            "process",
            "runtime",
            "hub",
            "tokenize",
            "reference",
            "format",
            "store",
            "head",
            "kernels",
            "engine",
            "predict",
            "quantize",
            "python",
        ],
    ),
];

/// A crate that is heavy or foreign, and the only modules that may name it.
const HOMES: [(&str, &[&str]); 18] = [
    ("pyo3", &["python"]),
    ("numpy", &["python"]),
    ("tokenizers", &["tokenize"]),
    ("parquet", &["format"]),
    ("zstd", &["format"]),
    ("arrow_array", &["format"]),
    ("arrow_schema", &["format"]),
    ("candle_core", &["backend", "device", "engine", "head", "model", "predict"]),
    ("candle_nn", &["backend"]),
    ("gemm", &["kernels"]),
    ("safetensors", &["backend", "format", "hub"]),
    ("tokio", &["aws", "python", "runtime", "store"]),
    ("aws_config", &["aws"]),
    ("aws_sdk_s3", &["aws", "store"]),
    ("aws_sdk_sts", &["aws"]),
    ("crc_fast", &["reference"]),
    ("percent_encoding", &["store"]),
    ("async_trait", &["store"]),
];

/// A module's name and the code of one of its files, without comments and tests.
fn sources() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut found, mut folders) = (Vec::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let below = path.strip_prefix(&root).unwrap();
            let module = below.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            let code = code.lines().map(|line| line.split("//").next().unwrap());
            found.push((module.to_owned(), path.clone(), code.collect::<Vec<_>>().join("\n")));
        }
    }
    found
}

/// The first names of the paths that start with `start`, as in `crate::store::Key`.
fn names_after<'c>(code: &'c str, start: &str) -> BTreeSet<&'c str> {
    let name =
        |rest: &'c str| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
    code.split(start).skip(1).map(name).collect()
}

/// Whether `name::` stands in `code` as a path's beginning, and not as the end of another word.
fn names(code: &str, name: &str) -> bool {
    let path = format!("{name}::");
    code.match_indices(&path)
        .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
}

#[test]
fn modules_import_what_they_may() {
    let modules = sources();
    let mut seen = BTreeSet::new();
    for (module, path, code) in &modules {
        if module == "lib" {
            continue;
        }
        let (_, allowed) = MAY_IMPORT
            .iter()
            .find(|(name, _)| name == module)
            .unwrap_or_else(|| panic!("{module} is not in the table; give it a place"));
        assert!(!code.contains("crate::{"), "{}: write one `use crate::` a module", path.display());
        for import in names_after(code, "crate::") {
            // pub(in crate::x) and the crate's own re-exports would hide the layer.
            let layer = import == module || allowed.contains(&import);
            assert!(layer, "{}: {module} may not import {import}", path.display());
        }
        seen.insert(module.as_str());
    }
    for (module, _) in MAY_IMPORT {
        assert!(seen.contains(module), "{module} is in the table and not in src/");
    }
}

#[test]
fn heavy_crates_have_one_home() {
    for (module, path, code) in sources() {
        for (name, homes) in HOMES {
            let used = names(&code, name);
            assert!(!used || homes.contains(&module.as_str()), "{}: {name}", path.display());
        }
    }
    for (name, homes) in HOMES {
        for home in homes {
            let used =
                sources().iter().any(|(module, _, code)| module == home && names(code, name));
            assert!(used, "{home} does not name {name} any more; take it off the list");
        }
    }
}

#[test]
fn features_of_accelerators_are_asked_in_one_place() {
    for (module, path, code) in sources() {
        let asks = code.contains("feature = \"cuda\"") || code.contains("feature = \"metal\"");
        assert!(!asks || module == "device", "{}", path.display());
    }
}
