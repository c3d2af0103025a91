//! All tests that look at the program from outside, in one binary. Every file beside this one is listed here; the last
//! test fails when one is forgotten.

mod policy;
mod policy_edges;
mod policy_example;
mod policy_places;
mod policy_properties;
mod policy_secrets;
mod policy_times;
mod support;

#[test]
fn every_file_beside_this_one_is_listed() {
    let main = include_str!("main.rs");
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    for entry in std::fs::read_dir(here).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.trim_end_matches(".rs");
        let listed = main.contains(&format!("mod {module};"));
        assert!(
            listed || ["main", "policies", "snapshots"].contains(&module),
            "tests/it/{name} is not listed in tests/it/main.rs"
        );
    }
}
