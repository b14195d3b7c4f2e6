//! The policy of docs/src/iam-policy.json allows each call that the provider can make, and nothing
//! else.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use regex::Regex;
use serde_json::Value;

/// Actions that IAM asks for beside those of the calls' own names, and the call that needs them.
const BESIDE: [(&str, &str); 6] = [
    // EC2 User Guide, "Grant permissions to pass an IAM role to instances".
    ("iam:PassRole", "ec2:RunInstances"),
    // EBS User Guide, "Required permissions" of "Amazon EBS encryption".
    ("kms:CreateGrant", "ec2:CreateVolume"),
    ("kms:Decrypt", "ec2:CreateVolume"),
    ("kms:GenerateDataKeyWithoutPlaintext", "ec2:CreateVolume"),
    ("kms:ReEncryptFrom", "ec2:CreateVolume"),
    ("kms:ReEncryptTo", "ec2:CreateVolume"),
];
/// Actions that a plan does not try, and why ("Dry run" is a parameter of EC2's calls only, and not of
/// all of them).
const UNTRIED: [(&str, &str); 28] = [
    ("ec2:AssociateIamInstanceProfile", PROFILE),
    ("ec2:DescribeIamInstanceProfileAssociations", PROFILE),
    ("ec2:DescribeImages", READ),
    ("ec2:DescribeInstanceAttribute", READ),
    ("ec2:DescribeInstanceCreditSpecifications", READ),
    ("ec2:DescribeInstanceTypeOfferings", READ),
    ("ec2:DescribeInstanceTypes", READ),
    ("ec2:DescribeInstances", READ),
    ("ec2:DescribeKeyPairs", READ),
    ("ec2:DescribeNetworkInterfaces", READ),
    ("ec2:DescribeSecurityGroups", READ),
    ("ec2:DescribeSnapshots", READ),
    ("ec2:DescribeSubnets", READ),
    ("ec2:DescribeVolumes", READ),
    ("ec2:DisassociateIamInstanceProfile", PROFILE),
    ("ec2:GetEbsEncryptionByDefault", READ),
    ("ec2:GetConsoleScreenshot", "it is evidence only: a start without it is as good"),
    ("ec2:ModifyInstancePlacement", "EC2 has no dry run of it"),
    ("ec2:ReplaceIamInstanceProfileAssociation", PROFILE),
    ("iam:PassRole", "RunInstances tries it"),
    ("kms:CreateGrant", KEY),
    ("kms:Decrypt", KEY),
    ("kms:DescribeKey", READ),
    ("kms:GenerateDataKeyWithoutPlaintext", KEY),
    ("kms:ListAliases", READ),
    ("kms:ReEncryptFrom", KEY),
    ("kms:ReEncryptTo", KEY),
    ("sts:AssumeRole", READ),
];
const PROFILE: &str = "EC2 has no dry run of what changes a profile";
const READ: &str = "the plan itself calls it";
const KEY: &str = "EC2 calls it, after it has accepted a volume (apply::volume_given_up says so)";
/// As [`UNTRIED`], of a whole service.
const UNTRIED_SERVICE: (&str, &str) = ("servicequotas:", "it is called while planning, and may be missing");

/// Characters of a managed policy, blanks not counted ("IAM and AWS STS quotas").
const MOST: usize = 6144;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The provider's source, with each file's path.
fn source() -> Vec<(String, String)> {
    fn read(directory: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, found);
            } else {
                let text = fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
                found.push((path.display().to_string(), text));
            }
        }
    }
    let mut found = Vec::new();
    read(&root().join("src/provider/aws"), &mut found);
    found
}

/// IAM's actions of every call that the source can make.
fn called() -> BTreeSet<String> {
    let calls = [
        (r#"(?:\bsend!|\bpages!|\.judge)\(\s*"(\w+)""#, "ec2"),
        (r#""TrentService\.(\w+)""#, "kms"),
        (r#""ServiceQuotasV20190624\.(\w+)""#, "servicequotas"),
        (r"\b(AssumeRole)Provider::builder", "sts"),
    ];
    let mut found = BTreeSet::new();
    for (pattern, service) in calls {
        let pattern = Regex::new(pattern).unwrap();
        for (_, text) in source() {
            found.extend(pattern.captures_iter(&text).map(|call| format!("{service}:{}", &call[1])));
        }
    }
    found
}

fn policy() -> Value {
    let text = fs::read_to_string(root().join("docs/src/iam-policy.json")).unwrap();
    assert!(
        text.chars().filter(|c| !c.is_whitespace()).count() <= MOST,
        "IAM takes at most {MOST} characters"
    );
    serde_json::from_str(&text).unwrap()
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
        value => value.as_str().into_iter().collect(),
    }
}

#[test]
fn the_policy_allows_what_the_provider_calls_and_no_more() {
    let policy = policy();
    let statements = policy["Statement"].as_array().unwrap();
    let allowed: BTreeSet<String> =
        statements.iter().flat_map(|statement| texts(&statement["Action"])).map(str::to_owned).collect();
    let called = called();
    assert!(called.len() > 20, "the source's calls are no longer found: {called:?}");
    let beside =
        BESIDE.iter().filter(|(_, call)| called.contains(*call)).map(|(action, _)| (*action).to_owned());
    let needed: BTreeSet<String> = called.iter().cloned().chain(beside).collect();
    let missing: Vec<&String> = needed.difference(&allowed).collect();
    assert!(
        missing.is_empty(),
        "the provider calls {missing:?}, which docs/src/iam-policy.json does not allow.\n\
         Add each to the statement it belongs to (what describes to `Read`; what changes to one with a \
         condition on tags), and to the table of docs/src/iam.md when that says something new."
    );
    let surplus: Vec<&String> = allowed.difference(&needed).collect();
    assert!(
        surplus.is_empty(),
        "docs/src/iam-policy.json allows {surplus:?}, which the provider never calls.\n\
         Remove them; what IAM asks for beside a call's own name stands in BESIDE of this test."
    );
}

#[test]
fn what_changes_something_is_bound_to_tags_or_names() {
    let policy = policy();
    let mut sids = BTreeSet::new();
    for statement in policy["Statement"].as_array().unwrap() {
        let sid = statement["Sid"].as_str().unwrap();
        assert!(sid.chars().all(|c| c.is_ascii_alphanumeric()) && sids.insert(sid), "{sid}");
        assert_eq!(statement["Effect"], "Allow");
        let actions = texts(&statement["Action"]);
        assert!(actions.is_sorted(), "{sid}: {actions:?}");
        assert!(actions.iter().all(|action| !action.contains('*')), "{sid}: {actions:?}");
        let reads = |action: &&str| {
            let (_, name) = action.split_once(':').unwrap();
            name.starts_with("Describe") || name.starts_with("Get") || name.starts_with("List")
        };
        if !actions.iter().all(reads) {
            let everything = texts(&statement["Resource"]).contains(&"*");
            assert!(!everything || statement.get("Condition").is_some(), "{sid} changes everything");
        }
    }
    let page = fs::read_to_string(root().join("docs/src/iam.md")).unwrap();
    assert!(page.contains("{{#include iam-policy.json}}"));
    for sid in sids {
        assert!(page.contains(&format!("`{sid}`")), "docs/src/iam.md does not say what {sid} is for");
    }
}

/// A call that says no operation would not be found by the tests above.
#[test]
fn every_call_of_the_sdk_says_its_operation() {
    let judged = Regex::new(r#"\.judge\(\s*"\w+""#).unwrap();
    for (path, text) in source().into_iter().filter(|(path, _)| !path.ends_with("/call.rs")) {
        let sent = text.matches(".send()").count();
        assert!(
            sent == judged.find_iter(&text).count() && !text.contains(".into_paginator()"),
            "{path} calls without saying what: use send!(\"Operation\", …) or pages!(…)"
        );
    }
}

/// What a plan will call is tried before anything is made, or it stands here why not.
#[test]
fn each_call_is_tried_ahead_or_it_is_said_why_not() {
    let sources = source();
    let (_, text) = sources.iter().find(|(path, _)| path.ends_with("preflight/permissions.rs")).unwrap();
    let all = |pattern: &str| -> BTreeSet<String> {
        Regex::new(pattern).unwrap().captures_iter(text).map(|found| found[1].to_owned()).collect()
    };
    let (chosen, made) = (all(r#"\bon\(\s*"(\w+)""#), all(r#"\n {12}"(\w+)" =>"#));
    assert_eq!(chosen, made, "each trial that is chosen is made");
    let mut tried: BTreeSet<String> = chosen.iter().map(|name| format!("ec2:{name}")).collect();
    // By `launches`, with all of its parameters.
    tried.insert("ec2:RunInstances".to_owned());
    let beside = BESIDE.iter().map(|(action, _)| (*action).to_owned());
    let untried: BTreeSet<String> = called()
        .into_iter()
        .chain(beside)
        .filter(|action| !tried.contains(action) && !action.starts_with(UNTRIED_SERVICE.0))
        .collect();
    let explained: BTreeSet<String> = UNTRIED.iter().map(|(action, _)| (*action).to_owned()).collect();
    assert_eq!(
        untried, explained,
        "each call of src/provider/aws has a trial in preflight/permissions.rs, or a reason in UNTRIED"
    );
    assert!(UNTRIED.iter().all(|(_, why)| !why.is_empty()) && !UNTRIED_SERVICE.1.is_empty());
}
