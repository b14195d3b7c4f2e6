//! `replant validate`.

use std::fs;

use serde_json::Value;

use super::support::directory;
use crate::support::replant;

#[test]
fn a_valid_configuration_is_said_to_be() {
    let directory =
        directory("instance \"web\" {\n  instance_type = \"m6i.large\"\n  image = \"disk.raw\"\n}\n");
    let output = replant(directory.path(), ["validate"]).success();
    assert_eq!(output.stdout, "The configuration is valid: 1 instance.\n");
    let json: Value =
        serde_json::from_str(&replant(directory.path(), ["validate", "--json"]).success().stdout).unwrap();
    assert_eq!((json["valid"].as_bool(), json["errors"].as_u64()), (Some(true), Some(0)));
}

#[test]
fn mistakes_are_shown_with_their_places() {
    let directory =
        directory("instance \"web\" {\n  instance_type = var.kind\n  image = \"nothing.ova\"\n}\n");
    let output = replant(directory.path(), ["validate"]).code(1);
    assert_eq!(output.stdout, "");
    assert!(output.stderr.contains("main.replant.hcl:2:23"), "{}", output.stderr);
    assert!(output.stderr.contains("main.replant.hcl:3:11"), "{}", output.stderr);
    let json: Value =
        serde_json::from_str(&replant(directory.path(), ["validate", "--json"]).code(1).stdout).unwrap();
    assert_eq!((json["valid"].as_bool(), json["errors"].as_u64()), (Some(false), Some(2)));
    assert_eq!(json["diagnostics"][0]["code"], "config::unknown_variable");
    assert_eq!(json["diagnostics"][0]["span"]["line"], 2);
}

#[test]
fn variables_are_given_in_every_way() {
    let directory = directory("variable \"size\" { type = number }\noutput \"x\" { value = var.size }\n");
    replant(directory.path(), ["validate"]).code(1);
    replant(directory.path(), ["validate", "--var", "size=4"]).success();
    replant(directory.path(), ["validate", "--var", "size=big"]).code(1);
    let output = replant(directory.path(), ["validate", "--var", "size"]).code(1);
    assert!(output.stderr.contains("config::bad_variable_argument"), "{}", output.stderr);
    fs::write(directory.path().join("sizes.json"), "{ \"size\": 4 }").unwrap();
    replant(directory.path(), ["validate", "--var-file", "sizes.json"]).success();
}

#[test]
fn an_empty_directory_says_how_to_begin() {
    let directory = tempfile::TempDir::new().unwrap();
    let output = replant(directory.path(), ["validate"]).code(1);
    assert!(output.stderr.contains("config::no_configuration"), "{}", output.stderr);
    assert!(output.stderr.contains("replant init"), "{}", output.stderr);
}
