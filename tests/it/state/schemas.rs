//! `schemas/` holds what the types say. REPLANT_TEST_UPDATE_SCHEMAS=1 writes it anew: right for a
//! format that nobody has stored yet, else a sign that a new version is needed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use replant::cli::schema::PUBLISHED;

use crate::support::replant;

#[test]
fn published_schemas_are_what_the_types_say() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let update = std::env::var_os("REPLANT_TEST_UPDATE_SCHEMAS").is_some();
    let mut names = BTreeSet::new();
    for schema in PUBLISHED {
        let text = schema.text().unwrap();
        let path = directory.join(schema.file_name());
        names.insert(schema.file_name());
        if update {
            fs::create_dir_all(&directory).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let held = fs::read_to_string(&path).unwrap_or_default();
        assert!(held == text, "{} has drifted; REPLANT_TEST_UPDATE_SCHEMAS=1 writes it anew", path.display());
    }
    let there: BTreeSet<String> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(there, names);
}

#[test]
fn the_command_prints_them() {
    let directory = tempfile::tempdir().unwrap();
    let names = replant(directory.path(), ["schema"]).success().stdout;
    assert_eq!(names.lines().count(), PUBLISHED.len());
    for schema in PUBLISHED {
        assert_eq!(
            replant(directory.path(), ["schema", schema.name]).success().stdout,
            schema.text().unwrap()
        );
    }
    let refused = replant(directory.path(), ["schema", "nonsense"]).code(1);
    assert!(refused.stderr.starts_with("error[cli::unknown_schema]"), "{}", refused.stderr);
}
