//! States that EC2 never leaves: the run ends at a stated time, says what to do, and goes on from
//! there when the state is left at last.

use std::sync::Arc;
use std::time::Duration;

use replant::apply::{Limits, NodeOutcome};
use replant::provider::Provider;
use serde_json::json;

use super::open;
use super::story::{Restore, instance};
use crate::support::driver::{self, Outcome};

fn limits() -> Limits {
    let volume = Duration::from_secs(2);
    Limits { volume, instance: volume, ..Limits::default() }
}

/// Codes, details and helps of what failed.
fn said(outcome: &Outcome) -> String {
    let Ok((_, receipt)) = outcome else { return format!("{outcome:?}") };
    let failed = receipt.nodes.iter().filter_map(|node| match &node.outcome {
        NodeOutcome::Failed { diagnostic } => Some(format!("{diagnostic:?}")),
        _ => None,
    });
    failed.collect()
}

#[test]
fn a_state_that_is_never_left_ends_the_run_and_not_what_was_made() {
    let body = instance("web", "  state = \"stopped\"");
    for (state, helps, destroys) in [
        ("creating", "apply again", false),
        ("attaching", "aws ec2 detach-volume --force --volume-id vol-", false),
        ("detaching", "aws ec2 detach-volume --force --volume-id vol-", false),
        ("pending", "apply again", false),
        ("stopping", "aws ec2 stop-instances --force --instance-ids i-", false),
        ("shutting-down", "apply again", true),
    ] {
        let restore = Restore::new(json!({}), "", &body);
        let image = restore.workspace.raw_image("web.raw", 2, 1);
        let provider: Arc<dyn Provider> = open(&restore.cloud);
        let run =
            |destroy| driver::run(restore.workspace.path(), destroy, limits(), &|_| Arc::clone(&provider));
        if destroys {
            assert!(run(false).unwrap().1.complete);
        }
        restore.cloud.set(&json!({ "stuck": [state] }));
        let outcome = run(destroys);
        let said = said(&outcome);
        assert!(said.contains("apply::timeout") && said.contains("within 2 s"), "{state}: {outcome:?}");
        assert!(said.contains(helps), "{state}: {said}");
        restore.cloud.set(&json!({ "stuck": [] }));
        let outcome = run(destroys);
        assert!(outcome.as_ref().is_ok_and(|(_, receipt)| receipt.complete), "{state}: {outcome:?}");
        if !destroys {
            restore.assert_holds("instance.web.volume.root", &image);
            let listed = restore.listed();
            assert_eq!((listed.volumes.len(), listed.instances.len()), (1, 1), "{state}");
            assert!(run(true).unwrap().1.complete);
        }
        restore.assert_nothing_is_left(state);
    }
}
